"""Run times with missions that still run: counted by hand, by loops, and by SciPy."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import NOON, metrics_from_snapshot, metrics_of, mission, missions_frame
from scipy.stats import CensoredData, binomtest, ecdf, quantile_test

from vpanalysis.analysis.latency import (
    latency_profile,
    matured_slow,
    overdue,
    run_times,
    slowness,
    waiting_seconds,
)

T = 90.0


def started(ago: float, run: float | None, status: str = "completed", **columns: object) -> dict:
    """A mission that started ``ago`` seconds before noon."""
    return mission(-ago - 1, run=run, status=status, **columns)


def test_only_missions_with_the_time_to_be_slow_are_matured():
    missions = missions_frame(
        [
            started(3600, 10),  # matured, fast
            started(3600, 91),  # matured, slow
            started(3600, None, "running"),  # matured, slow although unfinished
            started(60, 10),  # finished, but had 60 s only
            started(60, None, "running"),  # too young
            mission(-3600, wait=None, run=None, status="queued"),  # never started
        ]
    )
    share = matured_slow(missions, NOON, T)
    assert (share.slow, share.matured, share.share) == (2, 3, 2 / 3)
    assert slowness(missions, NOON, T).tolist() == [False, True, True, pd.NA, pd.NA, pd.NA]


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
        (started(3600, None, "completed", ended_at=None), (0, 0)),  # ended, nobody knows when
        (started(3600, None, "completed", ended_at=NOON - timedelta(seconds=3500)), (1, 1)),  # the event tells
        (started(3600, None, "cancelled", ended_at=None), (0, 0)),
        (started(3600, 30, "unknown"), (0, 1)),  # an unknown status with both stamps has a duration
        (started(3600, 0.0, "completed"), (0, 1)),  # clocks that ran backwards count as 0 s
        (started(-60, None, "running"), (0, 0)),  # starts after the moment of judgement
    ],
)
def test_edges_of_slow_and_matured(row, expected):
    share = matured_slow(missions_frame([row]), NOON, T)
    assert (share.slow, share.matured) == expected


@pytest.mark.parametrize("missions", [None, missions_frame([]), missions_frame([mission(wait=None, run=None)])])
def test_no_matured_mission_proves_nothing(missions):
    share = matured_slow(missions, NOON, T)
    assert (share.slow, share.matured, share.share, share.upper_bound) == (0, 0, None, None)
    assert not share.proven_fast


def test_without_a_moment_of_judgement_nothing_is_matured():
    missions = missions_frame([started(3600, 10)])
    assert matured_slow(missions, None, T).matured == 0
    assert waiting_seconds(missions, None) == []
    assert not overdue(missions, None).any()


@pytest.mark.parametrize(("fast", "proven"), [(58, False), (59, True)])
def test_proven_fast_needs_59_fast_missions(fast, proven):
    share = matured_slow(missions_frame([started(3600 + i, 10) for i in range(fast)]), NOON, T)
    assert share.proven_fast is proven
    exact = binomtest(0, fast, alternative="less").proportion_ci(0.95, method="exact")
    assert share.upper_bound == pytest.approx(exact.high)


@settings(max_examples=60, deadline=None)
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
    share = matured_slow(missions_frame(rows), NOON, T)
    assert (share.slow, share.matured) == (slow, matured)


def test_bound_on_matured_missions_holds_where_completed_ones_deceive():
    """A lane with 5 % of missions over T, seen 4 minutes after its start: how often is it called proven fast?"""
    rng = np.random.default_rng(5)
    sigma = 1.0
    mean = np.log(T) - 1.6448536269514722 * sigma  # 5 % above T
    by_matured = by_completed = 0
    for _ in range(300):
        ago = rng.uniform(0, 240, size=120)
        runs = rng.lognormal(mean, sigma, size=120)
        done = runs <= ago
        begun = pd.to_datetime([NOON] * 120, utc=True) - pd.to_timedelta(ago, unit="s")
        missions = pd.DataFrame(
            {
                "started_at": begun,
                "ended_at": (begun + pd.to_timedelta(runs, unit="s")).where(done),
                "duration_seconds": np.where(done, runs, np.nan),
                "outcome": np.where(done, "completed", None),
            }
        )
        by_matured += matured_slow(missions, NOON, T).proven_fast
        slow, n = int((runs[done] > T).sum()), int(done.sum())
        by_completed += binomtest(slow, n, alternative="less").proportion_ci(0.95, method="exact").high < 0.05
    assert by_matured / 300 <= 0.05
    assert by_completed / 300 > 0.10
    assert by_completed > 2 * by_matured


def test_run_times_tell_finished_cancelled_and_running_apart():
    missions = missions_frame(
        [started(600, 10), started(600, 20, "cancelled"), started(600, None, "running"), mission(wait=None, run=None)]
    )
    times = run_times(missions, NOON)
    assert times["seconds"].tolist()[:3] == [10, 20, 600]
    assert np.isnan(times["seconds"].iloc[3])
    assert times["state"].tolist()[:3] == ["finished", "cancelled", "running"]


def test_clocks_that_run_backwards_give_no_negative_run_time():
    rows = [
        started(600, None, "completed", ended_at=NOON - timedelta(seconds=700)),  # ended before it started
        started(-60, None, "running"),  # starts after the moment of judgement
    ]
    times = run_times(missions_frame(rows), NOON)
    assert times["seconds"].iloc[0] == 0
    assert np.isnan(times["seconds"].iloc[1])
    profile = latency_profile(metrics_of(rows), slow_seconds=T)
    assert (profile.finished, profile.running) == (1, 0)


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
        assert "at 95 % at most" in profile.p95_sentence
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
    assert "; proven fast: 0 of 60 (0.0 %) over 90.0 s" in latency_profile(metrics_of(fast), slow_seconds=T).finding
    few = latency_profile(metrics_of(fast[:5]), slow_seconds=T).finding
    assert "; not proven fast: 0 of 5 (0.0 %) over 90.0 s, at 95 % at most 45.1 %" in few  # 1 - 0.05 ** (1 / 5)


def test_empty_window_says_so():
    profile = latency_profile(metrics_of([]), slow_seconds=T)
    assert profile.curve is None
    assert (profile.finished, profile.running, profile.waiting, profile.p95_seconds) == (0, 0, 0, None)
    assert profile.p95_sentence == "p95 unknown: no mission has a run time."
    assert "no mission had the time to show" in profile.finding


def test_snapshot_without_missions_keeps_its_own_p95():
    numbers = {"count": 4, "avg_seconds": 1, "p50_seconds": 2, "p95_seconds": 30, "max_seconds": 31}
    fallback = {"missions_considered": 4, "missions_with_fallback": 0, "rate": 0.0}
    profile = latency_profile(metrics_from_snapshot({"fallback": fallback, "latency_seconds": numbers}), slow_seconds=T)
    assert (profile.p50_seconds, profile.p95_seconds, profile.waiting, profile.curve) == (2, 30, None, None)
    assert profile.p95_upper_bound is None


@pytest.mark.parametrize(
    ("row", "late"),
    [
        (started(900, None, "running"), True),
        (started(899, None, "running"), False),
        (started(5000, 10), False),
        (mission(-900, wait=None, run=None, status="queued"), True),  # dispatched, never started
        (mission(-5000, wait=None, run=None, status="queued", dispatched_at=None), False),  # never dispatched
        (started(5000, None, "unknown"), True),
        (started(5000, 30, "unknown"), False),  # both stamps: it ended, whatever its status says
    ],
)
def test_overdue_missions_have_no_end_900_s_after_their_start(row, late):
    assert overdue(missions_frame([row]), NOON).tolist() == [late]
