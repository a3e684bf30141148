"""Evidence against SciPy: strength, intervals, missions needed; and every degenerate window's own outcome."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import metrics_from_snapshot, metrics_of, mission
from scipy.stats import binomtest, quantile_test

from vpanalysis.analysis.evidence import weigh
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Evidence
from vpanalysis.data.tables import DataQuality

POLICY = Policy.load("playbook")


def weighed(k: Any, n: Any, claim: float = 0.05, **latency: Any) -> Evidence:
    content = {"fallback": {"missions_considered": n, "missions_with_fallback": k}, "latency_seconds": latency}
    return weigh(metrics_from_snapshot(content), Policy.load("playbook", fallback_watch=claim))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bounds_interval_and_strength_are_scipys(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 600))
    k = data.draw(st.integers(0, n))
    claim = data.draw(st.sampled_from([0.01, 0.05, 0.19]))
    found = weighed(k, n, claim)
    upper = binomtest(k, n, alternative="less").proportion_ci(0.95, "exact").high
    lower = binomtest(k, n, alternative="greater").proportion_ci(0.95, "exact").low
    wilson = binomtest(k, n).proportion_ci(0.95, "wilson")
    assert found.upper_bound == pytest.approx(upper)
    assert found.lower_bound == pytest.approx(lower)
    assert (found.interval_low, found.interval_high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    if min(abs(upper - claim), abs(lower - claim)) > 1e-9:
        assert found.strength == ("supports" if upper < claim else "refutes" if lower >= claim else "insufficient")


@pytest.mark.parametrize(
    ("k", "n", "needed", "distance"),
    [
        (0, 4, 55, "0 of 4: 55 more clean missions would show a rate below 0.05 at 95 %."),
        (0, 58, 1, "0 of 58: 1 more clean mission would show a rate below 0.05 at 95 %."),
        (0, 59, 0, "0 of 59 show a rate below 0.05 at 95 %."),
        (1, 92, 1, "1 of 92: 1 more clean mission would show a rate below 0.05 at 95 %."),
        (1, 93, 0, "1 of 93 show a rate below 0.05 at 95 %."),
        (4, 180, 1, "4 of 180: 1 more clean mission would show a rate below 0.05 at 95 %."),
    ],
)
def test_distance_in_missions(k: int, n: int, needed: int, distance: str) -> None:
    found = weighed(k, n)
    assert (found.missions_needed, found.distance) == (needed, distance)
    assert found.strength == ("insufficient" if needed else "supports")
    assert found.claim_below == 0.05


def test_missions_needed_is_where_scipys_bound_gets_below_the_claim() -> None:
    for k, n in ((2, 10), (5, 40), (9, 9)):
        total = n + (weighed(k, n).missions_needed or 0)
        assert binomtest(k, total, alternative="less").proportion_ci(0.95, "exact").high < 0.05
        assert binomtest(k, total - 1, alternative="less").proportion_ci(0.95, "exact").high >= 0.05


def test_no_missions() -> None:
    found = weighed(0, 0)
    assert (found.strength, found.missions_needed) == ("none", 59)
    assert found.distance == "0 of 0: 59 more clean missions would show a rate below 0.05 at 95 %."
    assert (found.interval_low, found.interval_high, found.lower_bound, found.upper_bound) == (None,) * 4


@pytest.mark.parametrize(
    ("k", "n", "strength"),
    [(0, 1, "insufficient"), (1, 1, "refutes"), (20, 20, "refutes"), (10, 100, "refutes"), (8, 100, "insufficient")],
)
def test_one_mission_and_all_fallbacks(k: int, n: int, strength: str) -> None:
    found = weighed(k, n)
    assert found.strength == strength
    assert found.upper_bound == pytest.approx(1.0 if k == n else 1 - 0.05 ** (1 / n) if k == 0 else found.upper_bound)
    assert found.lower_bound == pytest.approx(0.05 ** (1 / n) if k == n else found.lower_bound)


@pytest.mark.parametrize(("k", "n"), [(None, 4), (math.nan, 4), (-1, 4), (1.5, 4), (0, None), (0, math.inf), (0, -3)])
def test_unknown_counts_carry_nothing(k: Any, n: Any) -> None:
    found = weighed(k, n)
    assert (found.strength, found.missions_needed, found.upper_bound) == ("none", None, None)
    assert found.distance == "How many missions fell back is unknown: nothing is shown about the rate."


def test_counts_that_contradict_themselves_carry_nothing() -> None:
    found = weighed(5, 3)
    assert (found.strength, found.upper_bound) == ("insufficient", None)
    assert found.distance == "The source says that 5 of 3 missions fell back: nothing is shown."


def test_missing_events_can_hide_fallbacks_but_not_make_them() -> None:
    lost = DataQuality(truncated_events=True)
    clean = [mission(-3600.0 + at) for at in range(100)]
    found = weigh(metrics_of(clean, quality=lost), POLICY)
    assert found.strength == "insufficient"
    assert found.distance == "Not all events are known, so more missions may have fallen back."
    assert weigh(metrics_of(clean), POLICY).strength == "supports"
    fell_back = [mission(-3600.0 + at, fallback=True) for at in range(10)]
    assert weigh(metrics_of(fell_back, quality=lost), POLICY).strength == "refutes"


# --- p95


@pytest.mark.parametrize("n", [72, 100, 500])
def test_p95s_interval_is_scipys(n: int) -> None:
    runs = np.random.default_rng(n).lognormal(2.5, 0.6, n).round(6)
    found = weigh(metrics_of([mission(-9000.0 - at, run=float(run)) for at, run in enumerate(runs)]), POLICY)
    expected = quantile_test(runs, p=0.95).confidence_interval(0.95)
    assert found.p95_low_seconds == pytest.approx(expected.low)
    assert found.p95_high_seconds == pytest.approx(expected.high)


def test_p95_has_an_upper_bound_from_59_missions_on() -> None:
    def of(n: int) -> Evidence:
        return weigh(metrics_of([mission(-9000.0 - at, run=1.0 + at) for at in range(n)]), POLICY)

    assert (of(58).p95_low_seconds, of(58).p95_high_seconds) == (None, None)
    assert of(58).p95_sentence == "p95 55.0 s, no upper bound yet (58 of 59 finished missions)."
    assert of(59).p95_high_seconds == 59.0  # the largest: it is missed below with a chance of 0.95 ** 59 < 0.05
    assert of(71).p95_high_seconds == 71.0
    assert of(72).p95_high_seconds == 72.0


def test_p95_without_finished_missions_or_without_their_run_times() -> None:
    assert weigh(metrics_of([mission(run=None, status="running")]), POLICY).p95_sentence == (
        "p95 unknown: no mission has a run time."
    )
    found = weighed(0, 100, p95_seconds=3.0, count=100)
    assert (found.p95_low_seconds, found.p95_high_seconds) == (None, None)
    assert found.p95_sentence == "p95 3.00 s; without the run times behind it, no interval."


def test_run_times_that_are_none_are_left_out() -> None:
    rows = [mission(-9000.0 - at, run=10.0) for at in range(100)]
    odd = [mission(-100.0, duration_seconds=value) for value in (math.nan, math.inf, -5.0)]
    found = weigh(metrics_of(rows + odd), POLICY)
    assert (found.p95_low_seconds, found.p95_high_seconds) == (10.0, 10.0)


# --- open windows


def test_looks_at_an_open_window() -> None:
    metrics = metrics_of([mission()])
    assert metrics.provisional
    assert weigh(metrics, POLICY).caveat == "Provisional: more missions may still join the window."
    assert weigh(metrics, POLICY, looks=0).caveat == weigh(metrics, POLICY).caveat
    found = weigh(metrics, POLICY, looks=1)
    assert found.looks == 1
    assert "1 earlier look at it in the evidence log" in found.caveat
    assert "12 earlier looks" in weigh(metrics, POLICY, looks=12).caveat


def test_a_small_window_is_weighed_without_scipy_stats() -> None:
    program = (
        "import sys; from vpanalysis.analysis.decision import classify; from vpanalysis.analysis.policy import Policy\n"
        "content = {'fallback': {'missions_considered': 100, 'missions_with_fallback': 0, 'rate': 0.0},"
        " 'latency_seconds': {'p95_seconds': 1.0}}\n"
        "assert classify(content, Policy.load()).evidence.strength == 'supports'\n"
        "assert 'scipy.stats' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
