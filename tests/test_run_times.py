"""Run times with missions that still run: counted by hand, by loops, and by SciPy."""

from datetime import timedelta
from itertools import count

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import NOON, metrics_from_snapshot, metrics_of, mission
from scipy.stats import CensoredData, binomtest, ecdf, quantile_test

from vpanalysis.analysis.run_times import TierWait, latency_profile, matured_slow, run_times, slowness, waiting

T = 90.0
numbers = count()


def started(ago: float, run: float | None, status: str = "completed", **columns: object) -> dict:
    """A mission of its own that started ``ago`` seconds before noon."""
    return mission(-ago - 1, run=run, status=status, **{"mission_id": f"s{next(numbers)}"} | columns)


def test_only_missions_with_the_time_to_be_slow_are_matured():
    metrics = metrics_of(
        [
            started(3600, 10),  # matured, fast
            started(3600, 91),  # matured, slow
            started(3600, None, "running"),  # matured, slow although unfinished
            started(60, 10),  # finished, but had 60 s only
            started(60, None, "running"),  # too young
            mission(-3600, wait=None, run=None, status="queued"),  # never started
        ]
    )
    share = matured_slow(metrics, T)
    assert (share.slow, share.matured, share.share) == (2, 3, 2 / 3)
    assert slowness(metrics, T).tolist() == [False, True, True, pd.NA, pd.NA, pd.NA]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (started(T, 1), (0, 1)),  # exactly T to run
        (started(T - 0.001, 1), (0, 0)),
        (started(T, None, "running"), (0, 1)),  # ran exactly T so far: not yet slower
        (started(T + 0.001, None, "running"), (1, 1)),
        (started(3600, T), (0, 1)),
        (started(3600, T + 0.001), (1, 1)),
        (started(3600, 5, "cancelled"), (0, 0)),  # nobody knows how long it would have run
        (started(3600, T, "cancelled"), (0, 1)),
        (started(3600, T + 1, "cancelled"), (1, 1)),
        (started(3600, 5, "failed"), (0, 1)),
        (started(3600, 300, "timed_out"), (1, 1)),
        (started(3600, None), (0, 0)),  # ended, nobody knows when
        (started(3600, None, ended_event_at=NOON - timedelta(seconds=3500)), (1, 1)),  # the event tells
        (started(3600, None, updated_at=NOON - timedelta(seconds=3590)), (0, 1)),  # failing that the last update
        (started(3600, None, "cancelled"), (0, 0)),
        (started(3600, None, "running", ended_event="vp.mission.completed"), (0, 0)),  # running or over: nobody knows
        (started(3600, None, "failed", ended_event="vp.mission.completed"), (0, 0)),
        (started(3600, None, "unknown"), (1, 1)),  # nothing says that it ended
        (started(3600, 30, "unknown"), (0, 1)),  # an unknown status with both stamps has a duration
        (started(3600, 0.0, "completed"), (0, 1)),  # clocks that ran backwards count as 0 s
        (started(-60, None, "running"), (0, 0)),  # starts after the moment of judgement
    ],
)
def test_edges_of_slow_and_matured(row, expected):
    share = matured_slow(metrics_of([row]), T)
    assert (share.slow, share.matured) == expected


@pytest.mark.parametrize(("ago", "overdue"), [(900, 1), (900 - 1e-6, 0)])
def test_overdue_missions_are_left_out_on_request(ago, overdue):
    metrics = metrics_of([started(ago, None, "running"), started(3600, 10)])
    assert metrics.account.count("overdue") == overdue
    assert (matured_slow(metrics, T).slow, matured_slow(metrics, T).matured) == (1, 2)
    in_time = matured_slow(metrics, T, overdue=False)
    assert (in_time.slow, in_time.matured) == (1 - overdue, 2 - overdue)


@pytest.mark.parametrize("rows", [[], [mission(wait=None, run=None)]])
def test_no_matured_mission_proves_nothing(rows):
    share = matured_slow(metrics_of(rows), T)
    assert (share.slow, share.matured, share.cut_short, share.share, share.upper_bound) == (0, 0, 0, None, None)
    assert not share.proven_fast


def test_missions_cut_short_are_counted_apart():
    rows = [started(3600, 5, "cancelled"), started(3600, T, "cancelled"), started(60, 5, "cancelled")]
    share = matured_slow(metrics_of(rows), T)
    assert (share.slow, share.matured, share.cut_short) == (0, 1, 1)


def test_without_a_moment_of_judgement_nothing_is_matured():
    content = {
        "fallback": {"missions_considered": 1, "missions_with_fallback": 0, "rate": 0.0},
        "latency_seconds": {"count": 1},
        "mission_counts": {"completed": 1},
        "recent_missions": [
            {
                "mission_id": "m",
                "status": "completed",
                "started_at": "2026-02-16T10:00:00Z",
                "completed_at": "2026-02-16T10:05:00Z",
                "duration_seconds": 300.0,
            }
        ],
    }
    metrics = metrics_from_snapshot(content)
    assert (len(metrics.missions), metrics.generated_at) == (1, None)
    assert matured_slow(metrics, T).matured == 0
    assert waiting(metrics).empty
    at_eleven = metrics_from_snapshot(content | {"generated_at": "2026-02-16T11:00:00Z"})
    assert matured_slow(at_eleven, T).slow == 1


@pytest.mark.parametrize(("fast", "proven"), [(58, False), (59, True)])
def test_proven_fast_needs_59_fast_missions(fast, proven):
    share = matured_slow(metrics_of([started(3600 + i, 10) for i in range(fast)]), T)
    assert share.proven_fast is proven
    exact = binomtest(0, fast, alternative="less").proportion_ci(0.95, method="exact")
    assert share.upper_bound == pytest.approx(exact.high)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.one_of(st.none(), st.integers(0, 300)),
            st.sampled_from(["completed", "failed", "cancelled", "running"]),
        ),
        max_size=12,
    )
)
def test_slow_share_equals_a_plain_loop(lane):
    slow = matured = 0
    rows = []
    for ago, run, status in lane:
        ended = status != "running" and run is not None and run <= ago
        rows.append(started(ago, run if ended else None, status if ended else "running"))
        if ago < T or (ended and status == "cancelled" and run < T):
            continue
        matured += 1
        slow += (run if ended else ago) > T
    share = matured_slow(metrics_of(rows), T)
    assert (share.slow, share.matured) == (slow, matured)


@pytest.mark.thorough
def test_bound_on_matured_missions_holds_where_completed_ones_deceive():
    """A lane with 5 % of missions over T, seen 4 minutes after its start: how often is it called proven fast?"""
    rng = np.random.default_rng(5)
    sigma = 1.0
    mean = np.log(T) - 1.6448536269514722 * sigma  # 5 % above T
    by_matured = by_completed = 0
    for _ in range(80):
        ago = rng.uniform(0, 240, size=120)
        runs = rng.lognormal(mean, sigma, size=120)
        done = runs <= ago
        rows = [
            started(float(since), float(run) if over else None, "completed" if over else "running")
            for since, run, over in zip(ago, runs, done, strict=True)
        ]
        by_matured += matured_slow(metrics_of(rows), T).proven_fast
        slow, n = int((runs[done] > T).sum()), int(done.sum())
        by_completed += binomtest(slow, n, alternative="less").proportion_ci(0.95, method="exact").high < 0.05
    assert by_matured / 80 <= 0.05
    assert by_completed / 80 > 0.10
    assert by_completed > 2 * by_matured


def test_run_times_tell_finished_cancelled_and_running_apart():
    rows = [
        started(600, 10),
        started(601, 20, "cancelled"),
        started(602, None, "running"),
        mission(wait=None, run=None),
    ]
    times = run_times(metrics_of(rows))
    assert times["seconds"].tolist()[:3] == [10, 20, 602]
    assert np.isnan(times["seconds"].iloc[3])
    assert times["state"].tolist()[:3] == ["finished", "cancelled", "running"]
    assert times["available_seconds"].tolist()[:3] == [600, 601, 602]


def test_clocks_that_run_backwards_give_no_negative_run_time():
    rows = [
        started(600, None, ended_event_at=NOON - timedelta(seconds=700)),  # ended before it started
        started(-60, None, "running"),  # starts after the moment of judgement
        started(0, None, "running"),  # starts in this very moment
    ]
    metrics = metrics_of(rows)
    times = run_times(metrics)
    assert times["seconds"].iloc[[0, 2]].tolist() == [0, 0]
    assert np.isnan(times["seconds"].iloc[1])
    profile = latency_profile(metrics, slow_seconds=T)
    assert (profile.finished, profile.running) == (1, 1)


def test_curve_is_kaplan_meier_with_cancelled_and_running_missions_censored():
    finished, cancelled, running = [5, 7, 7, 30, 200], [6, 50], [8, 40, 300]
    rows = [started(900 + i, run) for i, run in enumerate(finished)]
    rows += [started(800 + i, run, "cancelled") for i, run in enumerate(cancelled)]
    rows += [started(ago, None, "running") for ago in running]
    profile = latency_profile(metrics_of(rows), slow_seconds=T)
    oracle = ecdf(CensoredData.right_censored([*finished, *cancelled, *running], [False] * 5 + [True] * 5)).cdf
    assert profile.curve.seconds == tuple(oracle.quantiles)
    assert profile.curve.share_finished == pytest.approx(oracle.probabilities)
    assert (profile.finished, profile.running, profile.cancelled) == (5, 3, 2)
    assert (profile.curve.finished, profile.curve.running) == (5, 3)


def test_p95_with_running_missions_is_above_that_of_finished_ones():
    rows = [started(900 + i, 10 + i) for i in range(19)] + [started(500, None, "running")]
    profile = latency_profile(metrics_of(rows), slow_seconds=T)
    assert profile.p95_seconds == 27  # index round(18 * 0.95) = 17 of 10..28
    assert profile.p95_with_running_seconds == 28
    rows += [started(501, None, "running")]
    assert latency_profile(metrics_of(rows), slow_seconds=T).p95_with_running_seconds is None  # 19 of 21 finished


@pytest.mark.parametrize("n", [1, 58, 59, 71, 72, 100])
def test_p95_interval_is_by_order_statistics(n):
    runs = [float(value) for value in np.random.default_rng(n).permutation(n) + 1]
    rows = [started(5000 + i, run) for i, run in enumerate(runs)]
    profile = latency_profile(metrics_of(rows), slow_seconds=T)
    two_sided = quantile_test(runs, p=0.95).confidence_interval()
    one_sided = quantile_test(runs, p=0.95, alternative="less").confidence_interval()
    assert profile.p95_interval.high == (two_sided.high if n >= 72 else None)
    assert profile.p95_upper_bound == (one_sided.high if n >= 59 else None)
    if n < 59:
        assert f"no upper bound yet ({n} of 59 finished missions)" in profile.p95_sentence
    elif n < 72:
        assert "(at most " in profile.p95_sentence
    else:
        assert "95 % interval" in profile.p95_sentence


def test_queue_wait_and_missions_still_waiting():
    rows = [mission(-600 - i, wait=wait) for i, wait in enumerate([1, 2, 30])]
    rows += [mission(-45, wait=None, run=None, status="queued"), mission(-12, wait=None, run=None, status="queued")]
    profile = latency_profile(metrics_of(rows), slow_seconds=T)
    assert (profile.queue_wait_p50_seconds, profile.queue_wait_p95_seconds) == (2, 30)
    assert (profile.waiting, profile.longest_waiting_seconds) == (2, 45)
    assert "2 missions waiting, up to 45.0 s" in profile.finding


def test_finding_says_whether_the_lane_is_proven_fast():
    fast = [started(3600 + i, 10) for i in range(60)]
    assert ". Proven fast: 0 of 60 (0.0 %) took over 90 s" in latency_profile(metrics_of(fast), slow_seconds=T).finding
    few = latency_profile(metrics_of(fast[:5]), slow_seconds=T).finding
    assert (
        ". Not proven fast: 0 of 5 (0.0 %) took over 90 s; the true share is at most 45.1 % (95 %)" in few
    )  # 1 - 0.05 ** (1 / 5)


def test_empty_window_says_so():
    profile = latency_profile(metrics_of([]), slow_seconds=T)
    assert profile.curve is None
    assert (profile.finished, profile.running, profile.waiting, profile.p95_seconds) == (0, 0, 0, None)
    assert profile.p95_sentence == "p95 unknown: no mission has a run time."
    assert "No mission started long enough ago to show" in profile.finding


def test_snapshot_without_missions_keeps_its_own_p95():
    numbers = {"count": 4, "avg_seconds": 1, "p50_seconds": 2, "p95_seconds": 30, "max_seconds": 31}
    fallback = {"missions_considered": 4, "missions_with_fallback": 0, "rate": 0.0}
    profile = latency_profile(metrics_from_snapshot({"fallback": fallback, "latency_seconds": numbers}), slow_seconds=T)
    assert (profile.p50_seconds, profile.p95_seconds, profile.waiting, profile.curve) == (2, 30, None, None)
    assert profile.p95_upper_bound is None


def test_queue_wait_is_told_by_priority_tier_the_most_urgent_first():
    """Missions are claimed by tier, then priority, then age: a background wait says nothing of an operator's."""
    rows = [mission(-900 - i, wait=wait, priority_tier="background") for i, wait in enumerate([100, 200, 300])]
    rows += [mission(-800 - i, wait=wait, priority_tier="operator_daily") for i, wait in enumerate([4, 2])]
    rows += [mission(-700, wait=7, priority_tier="aged")]  # a tier that the contract does not know comes last
    rows += [mission(-600, wait=5), mission(-599, wait=6, priority_tier="")]  # no tier
    rows += [mission(-30 - i, wait=None, run=None, status="queued", priority_tier="maintenance") for i in range(2)]
    profile = latency_profile(metrics_of(rows), slow_seconds=T)
    assert profile.tiers == (
        TierWait("operator_daily", missions=2, p50_seconds=2, p95_seconds=4, waiting=0),  # index round(0.5) = 0
        TierWait("maintenance", missions=0, p50_seconds=None, p95_seconds=None, waiting=2),
        TierWait("background", missions=3, p50_seconds=200, p95_seconds=300, waiting=0),
        TierWait("aged", missions=1, p50_seconds=7, p95_seconds=7, waiting=0),
    )


@pytest.mark.parametrize(
    ("row", "waited"),
    [
        (mission(-45, wait=None, run=None, status="queued"), [45]),
        (mission(-5000, wait=None, run=None, status="queued"), [5000]),  # overdue, and waiting all the same
        (mission(0, wait=None, run=None, status="queued"), [0]),
        (started(44, None, "blocked"), [45]),  # blocked counts as not started
        (started(44, None, "running"), []),
        (mission(-45, wait=None, run=None, status="running"), []),  # dispatched and running: no longer in the queue
        (mission(-45, wait=None, run=None, status="unknown"), []),
        (mission(-45, wait=None, run=None, status="cancelled"), []),
    ],
)
def test_missions_that_wait_in_the_queue(row, waited):
    assert waiting(metrics_of([row]))["waited_seconds"].tolist() == waited


def test_frames_are_not_changed():
    metrics = metrics_of([started(600, 10), mission(-45, wait=None, run=None, status="queued")])
    copy = metrics.missions.copy(deep=True)
    latency_profile(metrics, slow_seconds=T)
    pd.testing.assert_frame_equal(metrics.missions, copy)
