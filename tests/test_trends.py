"""Rolling rates and one window against another: loops, SciPy, the sample's scenarios."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import LANE, NOON, metrics_from_snapshot, metrics_of, mission
from scipy.stats import fisher_exact, quantile_test

from vpanalysis.analysis.metrics import summarize
from vpanalysis.analysis.trends import compare, rolling_fallback
from vpanalysis.data.source import open_source
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow

SLOW = 90.0


def lane(n, *, fallbacks=0, run=10.0, wait=2.0, slow=0, spread=0.3, seed=1, queued=0):
    """A window of ``n`` missions: log-normal times around the medians, the first ones fallen back or 150 s slow."""
    rng = np.random.default_rng(seed)
    rows = [
        mission(
            -5000 - i,
            wait=float(wait * rng.lognormal(0, spread)),
            run=150.0 if i < slow else float(run * rng.lognormal(0, spread)),
            fallback=i < fallbacks,
        )
        for i in range(n)
    ]
    rows += [mission(-300 - i, wait=None, run=None, status="queued") for i in range(queued)]
    return metrics_of(rows)


# -- the rolling share -------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), max_size=30), st.integers(1, 25))
def test_rolling_share_equals_a_plain_loop(fell_back, size):
    rows = [mission(-5000 + i, fallback=fallback) for i, fallback in enumerate(fell_back)]
    rolling = rolling_fallback(metrics_of(rows), size)
    assert list(rolling.columns) == ["created_at", "rate", "missions"]
    assert len(rolling) == len(fell_back)
    for i, row in enumerate(rolling.itertuples()):
        newest = fell_back[max(0, i + 1 - size) : i + 1]
        assert row.missions == len(newest)
        assert row.rate == pytest.approx(sum(newest) / len(newest))
        assert row.created_at == rows[i]["created_at"]


def test_rolling_share_over_all_missions_is_the_contracts_rate():
    rows = [
        mission(1, mission_id="a"),
        mission(2, mission_id="b"),
        mission(3, mission_id="a", fallback=True),  # the id again: one mission, which fell back
        mission(4, mission_id="", fallback=True),  # no id: not considered
        mission(5, mission_id=None, fallback=True),
        mission(6, mission_id="c"),
    ]
    rolling = rolling_fallback(metrics_of(rows), 20)
    assert rolling["missions"].tolist() == [1, 2, 3]
    assert rolling["rate"].tolist() == pytest.approx([0, 1 / 2, 1 / 3])  # b, a, c
    assert rolling["rate"].iloc[-1] == pytest.approx(metrics_of(rows).fallback.rate) == pytest.approx(1 / 3)


def test_rolling_share_keeps_missions_without_a_time():
    rolling = rolling_fallback(metrics_of([mission(1, created_at=None, fallback=True), mission(2)]))
    assert rolling["created_at"].isna().tolist() == [True, False]
    assert rolling["rate"].tolist() == [1.0, 0.5]


UNLISTED = metrics_from_snapshot({"fallback": {"missions_considered": 9, "rate": 0.0}, "latency_seconds": {}})


@pytest.mark.parametrize("metrics", [metrics_of([]), UNLISTED])
def test_rolling_share_of_nothing_is_empty(metrics):
    rolling = rolling_fallback(metrics)
    assert rolling.empty
    assert rolling["rate"].dtype == float
    assert rolling["missions"].dtype == int
    assert str(rolling["created_at"].dt.tz) == "UTC"


# -- a window against its baseline -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "conclusion", "words"),
    some_of(
        [
            ("healthy", "neither", "Neither load pressure nor degradation: the fallback rate shows no rise"),
            ("elevated", "neither", "Neither load pressure nor degradation, but the fallback rate rose (1.0 % → 8.0 %"),
            ("load-pressure", "load_pressure", "Load or queue pressure: run time rose"),
            ("adapter-unstable", "degradation", "Runtime degradation or adapter instability: run time rose"),
            ("stalled", "neither", "7 missions overdue: hanging, not slow."),
            ("no-traffic", "not_enough_data", "0 missions before and 0 now"),
        ],
        3,
    ),
)
def test_sample_lane_reaches_the_conclusion_its_scenario_says(scenario, conclusion, words):
    with open_source(f"sample:{scenario}") as source:
        tables = source.load(RolloutWindow(LANE, last_missions=100))
        window = tables.window.baseline()
        assert window is not None
        baseline = summarize(source.load(window))
    found = compare(summarize(tables), baseline, slow_seconds=SLOW)
    assert found.conclusion == conclusion
    assert words in found.sentence
    assert ("in the meantime" in found.sentence) == (conclusion != "not_enough_data")


@pytest.mark.parametrize(
    ("after", "conclusion", "risen"),
    [
        ({}, "neither", (False, False, False)),
        ({"wait": 20.0}, "load_pressure", (False, False, True)),
        ({"run": 40.0}, "load_pressure", (False, True, False)),
        ({"slow": 12}, "load_pressure", (False, True, False)),
        ({"queued": 40}, "load_pressure", (False, False, True)),  # 40 still wait, 300 s by now
        ({"fallbacks": 20}, "neither", (True, False, False)),
        ({"fallbacks": 20, "slow": 12}, "degradation", (True, True, False)),
        ({"fallbacks": 20, "wait": 20.0}, "degradation", (True, False, True)),
        ({"fallbacks": 3}, "neither", (False, False, False)),  # more than none, but not beyond chance
    ],
)
def test_conclusion_follows_from_what_rose(after, conclusion, risen):
    found = compare(lane(80, seed=2, **after), lane(80, seed=1), slow_seconds=SLOW)
    assert (found.fallback_up, found.run_time_up, found.queue_wait_up) == risen
    assert found.conclusion == conclusion


def test_sentence_tells_queue_wait_from_run_time():
    found = compare(lane(80, seed=2, wait=20.0), lane(80, seed=1), slow_seconds=SLOW)
    assert re.search(
        r"run time shows no rise \(p50 [\d.]+ s → [\d.]+ s, p95 .*\), but queue wait rose \(p50", found.sentence
    )


def test_fallback_rate_that_fell_is_said_to_have_fallen():
    found = compare(lane(80, seed=2), lane(80, seed=1, fallbacks=20), slow_seconds=SLOW)
    assert "the fallback rate fell (25.0 % → 0.0 %" in found.sentence
    assert found.conclusion == "neither"


def test_change_is_after_minus_before():
    found = compare(lane(60, fallbacks=9, slow=6), lane(50, fallbacks=2, slow=1), slow_seconds=SLOW)
    assert (found.missions_before, found.missions_after) == (50, 60)
    assert found.fallback.change == pytest.approx(9 / 60 - 2 / 50)
    assert found.fallback.p_value == pytest.approx(fisher_exact([[9, 51], [2, 48]]).pvalue)
    assert (found.slow_before.slow, found.slow_before.matured) == (1, 50)
    assert (found.slow_after.slow, found.slow_after.matured) == (6, 60)
    assert found.slow.change == pytest.approx(6 / 60 - 1 / 50)


def test_quantiles_are_the_contracts_and_their_intervals_scipys():
    before, after = lane(90, seed=3), lane(75, seed=4, run=30.0)
    found = compare(after, before, slow_seconds=SLOW)
    runs = after.missions["duration_seconds"].tolist()
    ordered = sorted(runs)
    assert found.run_p95.after == ordered[round(74 * 0.95)] == after.latency_seconds.p95_seconds
    assert found.run_p50.after == ordered[37]
    oracle = quantile_test(runs, p=0.95).confidence_interval()
    assert (found.run_p95.interval_after.low, found.run_p95.interval_after.high) == (oracle.low, oracle.high)
    waits = before.missions["queue_wait_seconds"].tolist()
    oracle = quantile_test(waits, p=0.5).confidence_interval()
    assert (found.queue_p50.interval_before.low, found.queue_p50.interval_before.high) == (oracle.low, oracle.high)
    assert found.run_p50.up
    assert found.run_p50.interval_after.low > found.run_p50.interval_before.high


def test_rise_of_less_than_a_second_is_no_pressure():
    found = compare(lane(80, seed=2, wait=0.02), lane(80, seed=1, wait=0.005), slow_seconds=SLOW)
    assert found.queue_p50.interval_after.low > found.queue_p50.interval_before.high
    assert not found.queue_wait_up


def test_rise_of_less_than_a_quarter_is_no_pressure():
    found = compare(lane(80, seed=2, run=110.0, spread=0.01), lane(80, run=100.0, spread=0.01), slow_seconds=300.0)
    assert found.run_p50.interval_after.low > found.run_p50.interval_before.high
    assert found.run_p50.after > found.run_p50.before + 1
    assert not found.run_time_up


def ran(*seconds):
    """A window whose missions ran for these seconds, after no wait."""
    return metrics_of([mission(-5000 - i, wait=0.0, run=float(run)) for i, run in enumerate(seconds)])


def test_intervals_that_touch_are_no_rise():
    rank = int(quantile_test(range(1, 41), p=0.5).confidence_interval().low)  # whose value the lower end of p50 is
    before = ran(*[10] * 40)
    touching = compare(ran(*[10] * rank, *[20] * (40 - rank)), before, slow_seconds=SLOW)
    assert (touching.run_p50.before, touching.run_p50.after) == (10, 20)
    assert touching.run_p50.interval_after.low == touching.run_p50.interval_before.high == 10
    assert not touching.run_p50.up
    apart = compare(ran(*[10] * (rank - 1), *[20] * (41 - rank)), before, slow_seconds=SLOW)
    assert apart.run_p50.interval_after.low == 20
    assert apart.run_p50.up


@pytest.mark.parametrize(
    ("before", "after", "up"),
    [
        (100, 125, True),
        (100, 124.999, False),
        (2, 3, True),
        (2, 2.999, False),
        (4, 5, True),
        (0, 1, True),
        (0, 0.9, False),
    ],
)
def test_rise_matters_from_a_quarter_and_a_second_on(before, after, up):
    found = compare(ran(*[after] * 40), ran(*[before] * 40), slow_seconds=300.0)
    assert (found.run_p50.up, found.run_time_up) == (up, up)


def test_twenty_missions_with_times_are_enough():
    found = compare(lane(20), lane(20, seed=2), slow_seconds=SLOW)
    assert found.conclusion == "neither"
    untimed = [mission(-5000 - i, wait=None, run=None, status="completed") for i in range(1)]
    timed = [mission(-4000 - i) for i in range(19)]
    found = compare(metrics_of(untimed + timed), lane(20), slow_seconds=SLOW)
    assert found.conclusion == "not_enough_data"
    assert "20 missions with a known time before and 19 now; each side needs 20" in found.sentence


def test_all_missions_may_have_fallen_back():
    found = compare(lane(30, fallbacks=30), lane(30), slow_seconds=SLOW)
    assert (found.fallback.before, found.fallback.after, found.fallback_up) == (0.0, 1.0, True)
    found = compare(lane(30), lane(30, fallbacks=30), slow_seconds=SLOW)
    assert (found.fallback.before, found.fallback.after, found.fallback_up) == (1.0, 0.0, False)


def test_missions_that_hang_are_no_load():
    hanging = [mission(-4000 - i, run=None, status="running") for i in range(15)]
    rows = [mission(-5000 - i) for i in range(60)]
    found = compare(metrics_of(rows + hanging), metrics_of(rows), slow_seconds=SLOW)
    assert (found.slow_after.slow, found.slow_after.matured, found.overdue) == (15, 75, 15)
    assert not found.run_time_up
    slow = [mission(-400 - i, run=None, status="running") for i in range(15)]  # under 900 s: slow, not hanging
    found = compare(metrics_of(rows + slow), metrics_of(rows), slow_seconds=SLOW)
    assert (found.slow_after.slow, found.overdue) == (15, 0)
    assert found.conclusion == "load_pressure"


@pytest.mark.parametrize("n", some_of([0, 1, 19], 3))
def test_few_missions_conclude_nothing(n):
    for before, after in ((lane(n), lane(80)), (lane(80), lane(n)), (lane(n), lane(n))):
        found = compare(after, before, slow_seconds=SLOW)
        assert found.conclusion == "not_enough_data"
        assert "each side needs 20" in found.sentence


def test_few_missions_that_show_both_rises_conclude_degradation():
    found = compare(lane(15, fallbacks=14, slow=14), lane(15), slow_seconds=SLOW)
    assert found.conclusion == "degradation"
    found = compare(lane(15, slow=14), lane(15), slow_seconds=SLOW)
    assert found.conclusion == "not_enough_data"  # whether the fallback rate held, 15 missions cannot show
    assert "What rose: run time." in found.sentence


def test_without_a_baseline_there_is_nothing_to_compare():
    found = compare(lane(80, fallbacks=30), None, slow_seconds=SLOW)
    assert found.conclusion == "not_enough_data"
    assert (found.missions_before, found.fallback, found.slow, found.run_p95.before) == (None, None, None, None)
    assert found.missions_after == 80
    assert "there is no window before this one" in found.sentence


def test_snapshots_compare_rates_but_no_durations():
    def snapshot(fallbacks, p95):
        seconds = {"count": 100, "avg_seconds": 9, "p50_seconds": 8, "p95_seconds": p95, "max_seconds": 300}
        rate = {"missions_considered": 100, "missions_with_fallback": fallbacks, "rate": fallbacks / 100}
        return metrics_from_snapshot({"fallback": rate, "latency_seconds": seconds})

    found = compare(snapshot(30, 200.0), snapshot(1, 20.0), slow_seconds=SLOW)
    assert found.fallback_up
    assert (found.run_p95.before, found.run_p95.after, found.run_p95.up) == (20, 200, False)
    assert found.conclusion == "not_enough_data"
    assert "What rose: fallback rate." in found.sentence


def test_more_fallbacks_than_missions_are_unknown():
    broken = {"missions_considered": 5, "missions_with_fallback": 6, "rate": 0.0}
    seconds = {"count": 5, "avg_seconds": 9, "p50_seconds": 8, "p95_seconds": 9, "max_seconds": 9}
    found = compare(
        metrics_from_snapshot({"fallback": broken, "latency_seconds": seconds}), lane(30), slow_seconds=SLOW
    )
    assert (found.fallback, found.conclusion) == (None, "not_enough_data")


def test_truncated_events_show_no_fallback_rate():
    truncated = replace(lane(80, slow=12, seed=2), quality=DataQuality(truncated_events=True))
    for after, before in ((truncated, lane(80)), (lane(80, fallbacks=20, slow=12), truncated)):
        found = compare(after, before, slow_seconds=SLOW)
        assert (found.fallback, found.conclusion) == (None, "not_enough_data")
        assert "lacks events of its missions" in found.sentence


def test_unknown_queue_wait_is_not_said_to_have_held():
    rows = [mission(-5000 + i, wait=1.0, queue_wait_seconds=None) for i in range(30)]
    found = compare(metrics_of(rows), metrics_of(rows), slow_seconds=SLOW)
    assert "queue wait is unknown" in found.sentence
    assert "n/a" not in found.sentence


def test_window_whose_times_are_all_missing_shows_no_rise():
    blank = [mission(i, wait=None, run=None, created_at=None) for i in range(30)]
    found = compare(metrics_of(blank), lane(30), slow_seconds=SLOW)
    assert (found.run_p95.after, found.queue_p95.after, found.slow) == (None, None, None)
    assert found.conclusion == "not_enough_data"


@pytest.mark.thorough  # fifty pairs
def test_two_healthy_windows_seldom_differ():
    """Four quantiles and two shares are looked at; together they alarm in under 5 % of pairs."""
    alarms = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        pair = [
            lane(
                100,
                fallbacks=int(rng.binomial(100, 0.02)),
                seed=1000 * side + seed,
                spread=0.8,
                slow=int(rng.binomial(100, 0.03)),
            )
            for side in (1, 2)
        ]
        alarms += compare(pair[1], pair[0], slow_seconds=SLOW).conclusion != "neither"
    assert alarms <= 2


def test_frames_are_not_changed():
    metrics, baseline = lane(30), lane(30)
    copy = metrics.missions.copy(deep=True)
    compare(metrics, baseline, slow_seconds=SLOW)
    rolling_fallback(metrics)
    pd.testing.assert_frame_equal(metrics.missions, copy)
    assert metrics.generated_at == NOON
