"""Evidence against SciPy: strength, intervals, missions needed; and every degenerate window's own outcome."""

import math
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import LANE, NOON, metrics_from_snapshot, metrics_of, mission
from scipy.special import betainc, betaincc, betaln
from scipy.stats import binomtest, quantile_test

from vpanalysis.analysis.evidence import claim, weigh
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Claim, Evidence
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow

POLICY = Policy.load("playbook")
CLOSED = RolloutWindow(LANE, start=NOON - timedelta(hours=6), end=NOON - timedelta(hours=1), as_of=NOON)
OPEN = RolloutWindow(LANE, last_missions=1000, as_of=NOON)
GROWING = RolloutWindow(LANE, start=NOON - timedelta(hours=6), as_of=NOON)


def lane(n: int, fallbacks: int = 0, failures: int = 0, window: RolloutWindow = CLOSED, **columns: Any) -> Metrics:
    """So many missions within the closed window; the first fell back, the last failed."""
    rows = [
        mission(
            -9000.0 + at, fallback=at < fallbacks, status="failed" if at >= n - failures else "completed", **columns
        )
        for at in range(n)
    ]
    return metrics_of(rows, window=window)


def stated(k: Any, n: Any, finished: Any = None, **latency: Any) -> Evidence:
    """A snapshot's evidence, without its missions; ``finished`` are said to have completed."""
    content: dict[str, Any] = {
        "fallback": {"missions_considered": n, "missions_with_fallback": k}, "latency_seconds": latency,
    }  # fmt: skip
    if finished is not None:
        content["mission_counts"] = {"completed": finished, "running": n - finished}
    return weigh(metrics_from_snapshot(content), POLICY)


# --- a claim


@pytest.mark.parametrize(
    ("fell_back", "missions", "size", "needed"),
    [
        ((), 40, 100, 25),  # of none that fell back the claim takes 65
        ((50,), 100, 100, 51),  # of one it takes 148, more than the window holds: the 51st has to leave
        ((0,), 120, 200, 28),  # here nothing leaves before 80 more have come
        ((0, 1, 190), 200, 200, 1),  # 3 take 233 missions, 2 take 193
        ((), 20, 64, None),
    ],
)
def test_as_new_missions_come_the_oldest_leave_a_window_of_the_newest(
    fell_back: tuple[int, ...], missions: int, size: int, needed: int | None
) -> None:
    rows = [mission(-9000.0 + at, fallback=at in fell_back) for at in range(missions)]
    found = weigh(metrics_of(rows, window=RolloutWindow(LANE, last_missions=size, as_of=NOON)), POLICY)
    assert (found.strength, found.missions_needed) == ("insufficient", needed)
    if needed is None:
        assert (
            found.distance == "0 of 20 so far; a window of 64 missions is too small to show a fallback rate below 5 %."
        )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_looks_bounds_interval_and_strength_are_scipys(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 600))
    k = data.draw(st.integers(0, n))
    below = data.draw(st.sampled_from([0.01, 0.05, 0.19]))
    found = claim(k, n, below, "fixed")
    upper = binomtest(k, n, alternative="less").proportion_ci(0.95, "exact").high
    lower = binomtest(k, n, alternative="greater").proportion_ci(0.95, "exact").low
    wilson = binomtest(k, n).proportion_ci(0.95, "wilson")
    assert found.upper_bound == pytest.approx(upper)
    assert found.lower_bound == pytest.approx(lower)
    assert (found.interval_low, found.interval_high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    if min(abs(upper - below), abs(lower - below)) > 1e-9:
        assert found.strength == ("supports" if upper < below else "refutes" if lower >= below else "insufficient")
    assert (found.missions, found.against, found.claim_below) == (n, k, below)


def log_mixture_below(k: int, n: int, p0: float) -> float:
    """The design's M against "rate >= p0", by SciPy's incomplete beta function."""
    spread = math.log(betainc(k + 0.5, n - k + 0.5, p0)) + betaln(k + 0.5, n - k + 0.5)
    spread -= betaln(0.5, 0.5) + math.log(betainc(0.5, 0.5, p0))
    mixture = 0.5 * math.exp(spread) + (0.5 if k == 0 else 0.0)
    return math.log(mixture) - k * math.log(p0) - (n - k) * math.log1p(-p0)


def log_mixture_above(k: int, n: int, p0: float) -> float:
    """Its mirror: the bet is Beta(1/2, 2) above p0."""
    spread = math.log(betaincc(k + 0.5, n - k + 2, p0)) + betaln(k + 0.5, n - k + 2)
    spread -= math.log(betaincc(0.5, 2, p0)) + betaln(0.5, 2)
    return spread - k * math.log(p0) - (n - k) * math.log1p(-p0)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_open_windows_strength_is_the_e_processes(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 400))
    k = data.draw(st.integers(0, min(n, 60)))
    below = data.draw(st.sampled_from([0.01, 0.05, 0.10, 0.19]))
    found = claim(k, n, below, "anytime")
    supports, refutes = log_mixture_below(k, n, below) - math.log(20), log_mixture_above(k, n, below) - math.log(20)
    if min(abs(supports), abs(refutes)) > 1e-9:
        assert found.strength == ("supports" if supports > 0 else "refutes" if refutes > 0 else "insufficient")
    # the bounds are where the same claim about another share would be shown
    if k < n:
        assert found.upper_bound is not None
        assert log_mixture_below(k, n, found.upper_bound) == pytest.approx(math.log(20), abs=1e-6)
    if k > 0:
        assert found.lower_bound is not None
        assert log_mixture_above(k, n, found.lower_bound) == pytest.approx(math.log(20), abs=1e-6)


@pytest.mark.parametrize(
    ("basis", "needed"), [("fixed", [59, 93, 124, 153, 181]), ("anytime", [65, 148, 193, 233, 270])]
)
def test_missions_needed_are_the_designs(basis: Any, needed: Sequence[int]) -> None:
    for k, n in enumerate(needed):
        assert claim(k, n, 0.05, basis).strength == "supports"
        assert claim(k, n, 0.05, basis).missions_needed == 0
        assert claim(k, n - 1, 0.05, basis).strength == "insufficient"
        assert claim(k, n - 1, 0.05, basis).missions_needed == 1
        assert claim(k, max(k, 1), 0.05, basis).missions_needed == n - max(k, 1)


@pytest.mark.parametrize(
    ("k", "n", "needed", "distance"),
    [
        (0, 4, 55, "0 of 4 so far; 55 more clean missions would show a fallback rate below 5 % with 95 % confidence."),
        (0, 58, 1, "0 of 58 so far; 1 more clean mission would show a fallback rate below 5 % with 95 % confidence."),
        (0, 59, 0, "0 of 59, so the fallback rate is below 5 % with 95 % confidence."),
        (1, 92, 1, "1 of 92 so far; 1 more clean mission would show a fallback rate below 5 % with 95 % confidence."),
        (1, 93, 0, "1 of 93, so the fallback rate is below 5 % with 95 % confidence."),
        (4, 180, 1, "4 of 180 so far; 1 more clean mission would show a fallback rate below 5 % with 95 % confidence."),
    ],
)
def test_distance_in_missions(k: int, n: int, needed: int, distance: str) -> None:
    found = weigh(lane(n, k), POLICY)
    assert (found.missions_needed, found.distance) == (needed, distance)
    assert found.strength == ("insufficient" if needed else "supports")
    assert (found.basis, found.signal, found.claim_below) == ("fixed", "recorded", 0.05)


@pytest.mark.parametrize(
    ("window", "basis"),
    [
        (CLOSED, "fixed"),
        (OPEN, "anytime"),
        (RolloutWindow(LANE, start=NOON - timedelta(hours=6), as_of=NOON), "anytime"),
        (RolloutWindow(LANE, start=NOON - timedelta(hours=6), end=NOON, as_of=NOON), "fixed"),
        (RolloutWindow(LANE, start=NOON - timedelta(hours=6), end=NOON + timedelta(seconds=1), as_of=NOON), "anytime"),
    ],
)
def test_a_closed_window_is_looked_at_once(window: RolloutWindow, basis: str) -> None:
    found = weigh(lane(64, window=window), POLICY)
    assert found.basis == basis
    assert found.strength == ("supports" if basis == "fixed" else "insufficient")
    assert weigh(lane(65, window=window), POLICY).strength == "supports"


def test_missions_needed_is_where_scipys_bound_gets_below_the_claim() -> None:
    for k, n in ((2, 10), (5, 40), (9, 9)):
        total = n + (claim(k, n, 0.05, "fixed").missions_needed or 0)
        assert binomtest(k, total, alternative="less").proportion_ci(0.95, "exact").high < 0.05
        assert binomtest(k, total - 1, alternative="less").proportion_ci(0.95, "exact").high >= 0.05


@pytest.mark.parametrize(("basis", "needed"), [("fixed", 59), ("anytime", 65)])
def test_no_missions(basis: Any, needed: int) -> None:
    found = claim(0, 0, 0.05, basis)
    assert (found.strength, found.missions_needed) == ("none", needed)
    assert (
        found.distance
        == f"No settled mission yet; {needed} clean missions would show a rate below 5 % with 95 % confidence."
    )
    assert (found.interval_low, found.interval_high, found.lower_bound, found.upper_bound) == (None,) * 4
    for whole in (weigh(metrics_of([]), POLICY), stated(0, 0)):
        assert (whole.strength, whole.failure.strength, whole.p95.strength) == ("none",) * 3
        assert whole.signal == "unknown"


def test_a_claim_that_no_rate_can_break_is_never_shown() -> None:
    for basis in ("fixed", "anytime"):
        for n in (0, 10):
            found = claim(0, n, 1.0, basis)  # type: ignore[arg-type]
            assert found.missions_needed is None
            assert (
                "no number of missions can show a rate below 100 %." in found.distance or found.strength == "supports"
            )


@pytest.mark.parametrize(
    ("k", "n", "strength"),
    [(0, 1, "insufficient"), (1, 1, "refutes"), (20, 20, "refutes"), (10, 100, "refutes"), (8, 100, "insufficient")],
)
def test_one_mission_and_all_fallbacks(k: int, n: int, strength: str) -> None:
    found = claim(k, n, 0.05, "fixed")
    assert found.strength == strength
    assert found.upper_bound == pytest.approx(1.0 if k == n else 1 - 0.05 ** (1 / n) if k == 0 else found.upper_bound)
    assert found.lower_bound == pytest.approx(0.05 ** (1 / n) if k == n else found.lower_bound)
    if strength == "refutes":
        assert found.distance.endswith(", so the rate is 5 % or more with 95 % confidence.")


# --- settled missions


def test_only_settled_missions_carry_the_claims() -> None:
    rows = [mission(-9000.0 + at) for at in range(58)]
    unsettled = [
        mission(-8000.0, status="cancelled"),
        mission(-7999.0, wait=None, status="queued"),
        mission(-7998.0, run=None, status="running"),
        mission(-7997.0, status="unknown"),
        mission(-7996.0, ended_event="vp.mission.failed"),
        mission(-7995.0, events=0, ended_event=None),
    ]
    found = weigh(metrics_of(rows + unsettled, window=CLOSED), POLICY)
    assert (found.missions, found.against, found.strength) == (58, 0, "insufficient")
    assert (found.failure.missions, found.failure.against) == (58, 0)
    fell_back = mission(-7000.0, run=None, status="running", fallback=True)  # settled by its fallback
    found = weigh(metrics_of([*rows, *unsettled, fell_back], window=CLOSED), POLICY)
    assert (found.missions, found.against) == (59, 1)
    one_more = weigh(metrics_of([*rows, *unsettled, mission(-7000.0)], window=CLOSED), POLICY)
    assert (one_more.missions, one_more.strength) == (59, "supports")


def test_missions_that_a_worker_claimed_say_nothing_of_fallbacks() -> None:
    own = [mission(-9000.0 + at) for at in range(58)]
    claimed = [mission(-8000.0 + at, worker_id="w1") for at in range(100)]
    found = weigh(metrics_of(own + claimed, window=CLOSED), POLICY)
    assert (found.missions, found.strength, found.signal) == (58, "insufficient", "recorded")
    assert (found.failure.missions, found.failure.strength) == (158, "supports")
    recorded = mission(-7000.0, worker_id="w1", fallback=True)  # one that did record a fallback, counts
    found = weigh(metrics_of([*own, *claimed, recorded], window=CLOSED), POLICY)
    assert (found.missions, found.against) == (59, 1)


def test_a_lane_whose_runtime_does_not_report_fallbacks() -> None:
    found = weigh(lane(100, worker_id="w1"), POLICY)
    assert (found.strength, found.signal, found.missions, found.against) == ("none", "not recorded", 0, 0)
    assert (found.upper_bound, found.missions_needed) == (None, None)
    assert found.distance == (
        "This lane's runtime does not report fallbacks: every settled mission was claimed by a worker, which cannot "
        "record one. See the claim about failures instead."
    )
    assert found.failure.strength == "supports"
    waiting = [mission(-9000.0, wait=None, status="queued")]
    assert weigh(metrics_of(waiting), POLICY).signal == "unknown"


def test_a_snapshots_claimed_missions_are_those_with_a_started_event() -> None:
    def of(started: int) -> Evidence:
        content = {
            "fallback": {"missions_considered": 100, "missions_with_fallback": 0, "rate": 0.0},
            "latency_seconds": {},
            "mission_counts": {"completed": 100},
            "event_counts": {"vp.mission.started": started, "vp.mission.completed": 100},
            "events_complete": True,
        }
        return weigh(metrics_from_snapshot(content), POLICY)

    assert (of(0).missions, of(0).strength) == (100, "supports")
    assert (of(36).missions, of(36).strength) == (64, "insufficient")
    assert (of(100).signal, of(100).strength) == ("not recorded", "none")


# --- failures


@pytest.mark.parametrize(
    ("failures", "n", "strength"),
    [
        (0, 28, "insufficient"),
        (0, 29, "supports"),  # 0.9 ** 29 = 0.047
        (5, 102, "insufficient"),  # the bound is 10.03 %
        (5, 103, "supports"),  # 9.94 %
        (10, 60, "insufficient"),
        (11, 60, "refutes"),
        (40, 40, "refutes"),
    ],
)
def test_the_claim_on_failures_is_below_the_gates_share(failures: int, n: int, strength: str) -> None:
    upper = binomtest(failures, n, alternative="less").proportion_ci(0.95, "exact").high
    lower = binomtest(failures, n, alternative="greater").proportion_ci(0.95, "exact").low
    assert strength == ("supports" if upper < 0.10 else "refutes" if lower >= 0.10 else "insufficient")
    found = weigh(lane(n, failures=failures), POLICY).failure
    assert (found.strength, found.claim_below) == (strength, 0.10)
    assert (found.missions, found.against) == (n, failures)
    assert found.upper_bound == pytest.approx(upper)
    assert "failure rate" in found.distance


def test_the_claim_on_failures_follows_the_policys_share(tmp_path: Any) -> None:
    path = tmp_path / "strict.toml"
    path.write_text('name = "strict"\nversion = "1"\n[rollout.gates.failures]\nshare = 0.05\n', "utf-8")
    assert weigh(lane(58), Policy.load(path)).failure.strength == "insufficient"
    assert weigh(lane(59), Policy.load(path)).failure.claim_below == 0.05


def test_without_knowing_how_missions_ended_nothing_is_said_of_failures() -> None:
    assert (
        stated(0, 100).failure.model_dump()
        == Claim(claim_below=0.10, distance="It is unknown how the missions ended.").model_dump()
    )


# --- what is unknown, and what contradicts itself


@pytest.mark.parametrize(("k", "n"), [(None, 4), (math.nan, 4), (-1, 4), (1.5, 4), (0, None), (0, math.inf), (0, -3)])
def test_unknown_counts_carry_nothing(k: Any, n: Any) -> None:
    found = stated(k, n)
    assert (found.strength, found.missions_needed, found.upper_bound) == ("none", None, None)
    assert found.distance == "It is unknown how many missions fell back."


def test_what_is_not_known_to_have_finished_shows_no_low_rate_but_can_show_a_high_one() -> None:
    found = stated(0, 1000)
    assert (found.strength, found.missions_needed, found.missions) == ("insufficient", None, 1000)
    assert found.distance == "It is unknown how many of the missions have finished."
    assert stated(30, 100).strength == "refutes"
    assert stated(0, 100, finished=65).strength == "supports"
    assert stated(0, 100, finished=64).strength == "insufficient"


def test_counts_that_contradict_themselves_carry_nothing() -> None:
    for finished in (None, 3):
        found = stated(5, 3, finished=finished)
        assert (found.strength, found.upper_bound) == ("insufficient", None)
        assert found.distance == "The source contradicts itself, so it proves nothing."
    # 0 of 100 would be a proof, but the rate says otherwise
    content = {
        "fallback": {"missions_considered": 100, "missions_with_fallback": 0, "rate": 0.3},
        "latency_seconds": {},
        "mission_counts": {"completed": 100},
    }
    both = weigh(metrics_from_snapshot(content), POLICY)
    assert (both.strength, both.failure.strength) == ("insufficient", "insufficient")
    assert both.distance == both.failure.distance == "The source contradicts itself, so it proves nothing."
    # against the lane they are held all the same
    content["fallback"] = {"missions_considered": 100, "missions_with_fallback": 50, "rate": 0.0}
    assert weigh(metrics_from_snapshot(content), POLICY).strength == "refutes"


def test_missing_events_can_hide_fallbacks_but_not_make_them() -> None:
    lost = DataQuality(truncated_events=True)
    clean = [mission(-9000.0 + at) for at in range(100)]
    found = weigh(metrics_of(clean, quality=lost), POLICY)
    assert found.strength == "insufficient"
    assert found.distance == "Not all events are known, so more missions may have fallen back."
    for quality in (DataQuality(), DataQuality(truncated_events=False)):
        assert weigh(metrics_of(clean, quality=quality), POLICY).strength == "supports"
    fell_back = [mission(-9000.0 + at, fallback=True) for at in range(10)]
    assert weigh(metrics_of(fell_back, quality=lost), POLICY).strength == "refutes"


# --- p95


@pytest.mark.parametrize(
    ("slow", "n", "strength"), [(0, 58, "insufficient"), (0, 59, "supports"), (11, 100, "refutes")]
)
def test_the_claim_on_p95_counts_missions_slower_than_critical(slow: int, n: int, strength: str) -> None:
    rows = [mission(-9000.0 + at, run=90.001 if at < slow else 90.0) for at in range(n)]
    rows += [mission(-60.0 - at, run=5.0) for at in range(31)]  # started under 90 s ago: they say nothing
    found = weigh(metrics_of(rows, window=CLOSED), POLICY)
    assert (found.p95.missions, found.p95.against, found.p95.claim_below) == (n, slow, 0.05)
    assert (found.p95.strength, found.p95_claim_seconds) == (strength, 90.0)
    assert "share of slow missions" in found.p95.distance


def test_p95s_claim_is_on_the_policys_line() -> None:
    policy = Policy.load("playbook", p95_watch_seconds=4.0, p95_critical_seconds=5.0)
    found = weigh(lane(20), policy)  # 10 s each
    assert (found.p95.strength, found.p95.against, found.p95_claim_seconds) == ("refutes", 20, 5.0)


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
    found = stated(0, 100, p95_seconds=3.0, count=100)
    assert (found.p95_low_seconds, found.p95_high_seconds, found.p95.strength) == (None, None, "none")
    assert found.p95_sentence == "p95 3.00 s; no interval without the run times behind it."


def test_run_times_that_are_none_are_left_out() -> None:
    rows = [mission(-9000.0 - at, run=10.0) for at in range(100)]
    odd = [mission(-100.0 - at, duration_seconds=value) for at, value in enumerate((math.nan, math.inf, -5.0))]
    found = weigh(metrics_of(rows + odd), POLICY)
    assert (found.p95_low_seconds, found.p95_high_seconds) == (10.0, 10.0)


# --- open windows


def test_looks_at_an_open_window() -> None:
    metrics = lane(1, window=GROWING)
    assert metrics.provisional
    assert weigh(metrics, POLICY).caveat == "Provisional: more missions may still join the window."
    assert weigh(metrics, POLICY, looks=0).caveat == weigh(metrics, POLICY).caveat
    found = weigh(metrics, POLICY, looks=1)
    assert found.looks == 1
    assert found.caveat.endswith(
        " The evidence log has 1 earlier look at this window: the claims hold however often one looks; the verdict's "
        "own thresholds do not."
    )
    assert weigh(lane(1, window=OPEN), POLICY, looks=1).caveat.endswith(
        ": the claims hold for each look alone, because old missions leave the window."
    )
    assert "12 earlier looks" in weigh(metrics, POLICY, looks=12).caveat
    assert weigh(lane(1), POLICY, looks=3).caveat == ""  # closed and settled: nothing will change


def test_pending_missions_make_a_window_provisional() -> None:
    running = [mission(-9000.0), mission(-4200.0, wait=4000.0, run=None, status="running")]
    found = weigh(metrics_of(running, window=CLOSED), POLICY)
    assert (found.caveat, found.basis) == ("Provisional: not every mission has ended.", "fixed")
    assert weigh(metrics_of(running, window=OPEN), POLICY).caveat == (
        "Provisional: more missions may still join the window, and 1 of its missions is pending."
    )


@pytest.mark.parametrize("quality", [{"duplicate_missions": 1}, {"beyond_as_of": 1}, {"ends_before_window": NOON}])
def test_what_is_wrong_with_the_data_supports_no_claim_and_may_refute_one(quality: dict[str, Any]) -> None:
    wrong = DataQuality(**quality)
    clean = [mission(-9000.0 + at) for at in range(100)]
    sound, doubted = (weigh(metrics_of(clean, window=CLOSED, quality=one), POLICY) for one in (None, wrong))
    for before, after in zip((sound, sound.failure, sound.p95), (doubted, doubted.failure, doubted.p95), strict=True):
        assert (before.strength, after.strength, after.missions_needed) == ("supports", "insufficient", None)
        assert after.distance == "The faults in the data rule the claim out."
        assert (after.missions, after.against) == (before.missions, before.against)
    fell_back = [mission(-9000.0 + at, fallback=True, status="failed") for at in range(20)]
    refuted = weigh(metrics_of(fell_back, window=CLOSED, quality=wrong), POLICY)
    assert (refuted.strength, refuted.failure.strength) == ("refutes", "refutes")


def test_a_note_without_a_veto_leaves_the_claims() -> None:
    metrics = metrics_of(
        [mission(-9000.0 + at) for at in range(100)], window=CLOSED, quality=DataQuality(orphan_events=9)
    )
    assert weigh(metrics, POLICY).strength == "supports"


def test_a_small_window_is_weighed_without_scipy_stats() -> None:
    program = (
        "import sys; from vpanalysis.analysis.decision import classify; from vpanalysis.analysis.policy import Policy\n"
        "content = {'fallback': {'missions_considered': 100, 'missions_with_fallback': 0, 'rate': 0.0},"
        " 'latency_seconds': {'p95_seconds': 1.0}, 'mission_counts': {'completed': 100}}\n"
        "assert classify(content, Policy.load()).evidence.strength == 'supports'\n"
        "assert 'scipy.stats' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
