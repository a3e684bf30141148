"""Run times with missions that still run: the share of slow ones, the survival curve, and p95 with its bound."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis import intervals
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.data.schema import TERMINAL_STATUSES
from vpanalysis.data.snapshot import latency

#: A lane is proven fast when at most this share of its missions can be slow; the slow-share gate's limit.
SLOW_LIMIT = 0.05
#: The runtime's priority tiers, the most urgent first.
_TIERS = ("operator_daily", "operator_signal", "maintenance", "background")


@dataclass(frozen=True)
class SlowShare:
    """Missions slower than a threshold among those that had the time to show it.

    Attributes:
        seconds: The threshold T.
        slow: Matured missions that ran longer than T, finished or not.
        matured: Missions with at least T seconds between their start and the moment of judgement; a mission
            cancelled before T is left out, for nobody knows how long it would have run.
        cut_short: Missions left out for that.
        share: ``slow / matured``; ``None`` without a matured mission.
        upper_bound: One-sided 95 % upper bound of the true share (Clopper–Pearson); ``None`` as ``share``.
    """

    seconds: float
    slow: int
    matured: int
    cut_short: int
    share: float | None
    upper_bound: float | None

    @property
    def proven_fast(self) -> bool:
        """Whether the data show, at 95 %, that fewer than 5 % of the missions are slower than T."""
        return self.upper_bound is not None and self.upper_bound < SLOW_LIMIT


@dataclass(frozen=True)
class TierWait:
    """Queue wait of one priority tier.

    Attributes:
        tier: The tier's name.
        missions: Missions of it that started.
        p50_seconds: p50 of created → started; ``None`` when none started.
        p95_seconds: p95 of created → started; ``None`` likewise.
        waiting: Missions of it still in the queue.
    """

    tier: str
    missions: int
    p50_seconds: float | None
    p95_seconds: float | None
    waiting: int


@dataclass(frozen=True)
class LatencyProfile:
    """One window's run times, finished or not, and its queue.

    Attributes:
        slow: The share of slow missions at the policy's critical p95.
        curve: Kaplan–Meier share finished by run time, for the distribution plot; running missions count as
            "longer than so far", and so do cancelled ones. ``None`` without a mission that started.
        finished: Missions with a known run time that were not cancelled.
        running: Started missions without an end.
        cancelled: Cancelled missions with a known run time.
        p50_seconds: The contract's p50 over finished durations; ``None`` without one.
        p95_seconds: The contract's p95, likewise.
        p95_interval: Two-sided 95 % interval of p95 by order statistics; an end is ``None`` when the missions
            are too few (the upper end needs 72).
        p95_upper_bound: One-sided 95 % upper bound of p95 in seconds; ``None`` below 59 finished missions.
        p95_with_running_seconds: Run time by which 95 % of missions finish, running ones included; ``None`` when
            the curve stays below 95 %.
        p95_sentence: p95 with its interval, or "no upper bound yet (12 of 59)".
        tiers: Queue wait by priority tier, the most urgent first: missions are claimed by tier, priority, then age.
        queue_wait_p50_seconds: p50 of created → started; ``None`` when unknown.
        queue_wait_p95_seconds: p95 of created → started; ``None`` when unknown.
        waiting: Missions still in the queue; ``None`` when the source cannot tell.
        longest_waiting_seconds: The longest wait so far of those; ``None`` without one.
        finding: One sentence for a heading: queue wait and run time apart, and what is proved.
    """

    slow: SlowShare
    curve: intervals.SurvivalCurve | None
    finished: int
    running: int
    cancelled: int
    p50_seconds: float | None
    p95_seconds: float | None
    p95_interval: intervals.Interval
    p95_upper_bound: float | None
    p95_with_running_seconds: float | None
    p95_sentence: str
    tiers: tuple[TierWait, ...]
    queue_wait_p50_seconds: float | None
    queue_wait_p95_seconds: float | None
    waiting: int | None
    longest_waiting_seconds: float | None
    finding: str


def run_times(metrics: Metrics) -> pd.DataFrame:
    """Returns how long each mission ran, or has run so far; same index as ``metrics.missions``.

    Returns:
        ``seconds`` (started → completed, else → its end, never below 0; for a mission without an end its time so far;
        NaN for one that never started or whose end is unknown), ``state`` (``finished``, ``cancelled``, ``running``)
        and ``available_seconds`` (from the start to the moment of judgement; NaN when either is unknown).
    """
    missions = metrics.missions
    now: Any = pd.NaT if metrics.generated_at is None else pd.Timestamp(metrics.generated_at)
    available, until_its_end = (
        (until - missions["started_at"]).dt.total_seconds().to_numpy() for until in (now, missions["ended_at"])
    )
    known = missions["duration_seconds"].to_numpy(float)
    # One that nobody can account for is over, too, when its status or an event says so.
    over = missions["status"].isin(TERMINAL_STATUSES) | missions["ended_event"].notna() | ~np.isnan(known)
    ran = np.where(np.isnan(known), np.maximum(until_its_end, 0), known)
    so_far = np.where(available >= 0, available, np.nan)
    state = np.where(missions["outcome"] == "cancelled", "cancelled", np.where(over, "finished", "running"))
    return pd.DataFrame(
        {"seconds": np.where(over, ran, so_far), "state": state.astype(object), "available_seconds": available},
        missions.index,
    )


def slowness(metrics: Metrics, seconds: float) -> "pd.Series[Any]":
    """Returns for each mission whether it ran longer than ``seconds``; missing where it is not matured."""
    return _slowness(run_times(metrics), seconds)[0]


def _slowness(times: pd.DataFrame, seconds: float) -> "tuple[pd.Series[Any], int]":
    """Whether each mission ran longer than ``seconds``, and how many are left out because they were cancelled."""
    ran, state = times["seconds"].to_numpy(), times["state"].to_numpy()
    had_the_time = ~np.isnan(ran) & (times["available_seconds"].to_numpy() >= seconds)
    cut_short = had_the_time & (state == "cancelled") & (ran < seconds)
    slower = pd.arrays.BooleanArray(ran > seconds, ~had_the_time | cut_short)
    return pd.Series(slower, index=times.index), int(cut_short.sum())


def matured_slow(metrics: Metrics, seconds: float, *, overdue: bool = True) -> SlowShare:
    """Returns the share of missions slower than ``seconds`` among those with at least that long to run.

    A finished mission is not enough: of missions started just now only fast ones can have finished, so that
    completed missions alone understate how slow a lane is. Those that started at least ``seconds`` before the moment of
    judgement are all known to be slower or not.

    Args:
        metrics: The window; one without listed missions has no matured mission.
        seconds: The threshold T.
        overdue: Whether overdue missions count: they hang rather than run slowly.
    """
    times = run_times(metrics)
    if not overdue:
        times = times[metrics.missions["outcome"] != "overdue"]
    slower, cut_short = _slowness(times, seconds)
    slow, matured = int(slower.sum()), int(slower.notna().sum())
    return SlowShare(
        seconds=seconds,
        slow=slow,
        matured=matured,
        cut_short=cut_short,
        share=slow / matured if matured else None,
        upper_bound=intervals.upper_bound(slow, matured),
    )


def waiting(metrics: Metrics) -> pd.DataFrame:
    """Returns the missions still in the queue with ``waited_seconds``, their wait so far; empty when unknown."""
    missions = metrics.missions
    if metrics.generated_at is None or not metrics.known.queue_wait:
        return missions.iloc[:0].assign(waited_seconds=pd.Series(dtype=float))
    queued = missions[missions["outcome"].isin(("pending", "overdue")) & missions["begun_at"].isna()]
    waited = (pd.Timestamp(metrics.generated_at) - queued["created_at"]).dt.total_seconds()
    kept: pd.DataFrame = queued.assign(waited_seconds=waited).loc[waited >= 0]
    return kept


def durations(missions: pd.DataFrame) -> list[float]:
    """Returns the contract's durations (started → completed) in seconds; empty when unknown."""
    return [float(value) for value in missions["duration_seconds"].dropna()]


def latency_profile(metrics: Metrics, *, slow_seconds: float) -> LatencyProfile:
    """Returns a window's run times with the missions that still run.

    Args:
        metrics: The window; from a snapshot without missions' rows only p50 and p95 are known.
        slow_seconds: The threshold of the slow share: the policy's ``p95_critical_seconds``.
    """
    times = run_times(metrics).dropna(subset=["seconds"])
    by_state = {state: [float(value) for value in group] for state, group in times.groupby("state")["seconds"]}
    finished, running = by_state.get("finished", []), by_state.get("running", [])
    cancelled = by_state.get("cancelled", [])
    curve = intervals.kaplan_meier(finished, running + cancelled)
    known = durations(metrics.missions)
    waits = [float(wait) for wait in waiting(metrics)["waited_seconds"]]
    slow = matured_slow(metrics, slow_seconds)
    queue, run = metrics.queue_wait_seconds, metrics.latency_seconds
    interval, bound = intervals.quantile_interval(known), intervals.quantile_upper_bound(known)
    return LatencyProfile(
        slow=slow,
        curve=curve and replace(curve, running=len(running)),
        finished=len(finished),
        running=len(running),
        cancelled=len(cancelled),
        p50_seconds=run.p50_seconds,
        p95_seconds=run.p95_seconds,
        p95_interval=interval,
        p95_upper_bound=bound,
        p95_with_running_seconds=curve.quantile(0.95) if curve else None,
        p95_sentence=p95_sentence(run.p95_seconds, len(known), interval, bound),
        tiers=tiers(metrics),
        queue_wait_p50_seconds=queue.p50_seconds if queue else None,
        queue_wait_p95_seconds=queue.p95_seconds if queue else None,
        waiting=len(waits) if metrics.known.queue_wait else None,
        longest_waiting_seconds=max(waits, default=None),
        finding=_finding(metrics, slow, len(running), waits),
    )


def tiers(metrics: Metrics) -> tuple[TierWait, ...]:
    """Returns the queue wait of each tier that any mission is of, the most urgent first."""
    named = metrics.missions["priority_tier"].astype(object).fillna("").astype(str)
    queued = waiting(metrics).index
    found = []
    for tier in sorted(
        set(named) - {""}, key=lambda name: (_TIERS.index(name) if name in _TIERS else len(_TIERS), name)
    ):
        missions = metrics.missions[named == tier]
        waits = latency(missions["queue_wait_seconds"].dropna())
        still = int(missions.index.isin(queued).sum())
        found.append(TierWait(shown(tier, 40), waits.count, waits.p50_seconds, waits.p95_seconds, still))
    return tuple(found)


def p95_sentence(p95: float | None, n: int, interval: intervals.Interval, bound: float | None) -> str:
    """Returns p95 with what the ``n`` durations behind it can say of the true one."""
    if p95 is None:
        return "p95 unknown: no mission has a run time."
    shown = f"p95 {formatting.duration(p95)}"
    if interval.low is not None and interval.high is not None:
        ends = f"{formatting.duration(interval.low)} to {formatting.duration(interval.high)}"
        return f"{shown} (95 % interval {ends}, from {formatting.count(n, 'finished mission')})."
    if bound is not None:
        finished = formatting.count(n, "finished mission")
        return f"{shown} (at most {formatting.duration(bound)} with 95 % confidence, from {finished})."
    return f"{shown}, no upper bound yet ({n} of {intervals.P95_UPPER_BOUND_N} finished missions)."


def _finding(metrics: Metrics, slow: SlowShare, running: int, waits: list[float]) -> str:
    run, queue = metrics.latency_seconds, metrics.queue_wait_seconds
    parts = [f"Run time p95 {formatting.duration(run.p95_seconds)}"]
    if queue is not None:
        parts.append(f"queue wait p95 {formatting.duration(queue.p95_seconds)}")
    if waits:
        parts.append(f"{formatting.count(len(waits), 'mission')} waiting, up to {formatting.duration(max(waits))}")
    if running:
        parts.append(f"{running:,} still running")
    if slow.upper_bound is None:
        shown = "no mission started long enough ago to show whether it is slow"
    else:
        word = "proven fast" if slow.proven_fast else "not proven fast"
        limit = formatting.seconds_limit(slow.seconds)
        bound = f"the true share is at most {formatting.percent(slow.upper_bound)} (95 %)"
        finished = ", finished or not" if running else ""
        shown = f"{word}: {formatting.share(slow.slow, slow.matured)} took over {limit}{finished}; {bound}"
    return f"{', '.join(parts)}. {shown[0].upper()}{shown[1:]}."
