"""How little would have to be different for another verdict, found by judging changed windows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pandas as pd

from vpanalysis.analysis.gates import finished_in_order
from vpanalysis.analysis.metrics import FallbackShare, Metrics
from vpanalysis.analysis.verdict import CAUTION, FORCE, LaneStatus
from vpanalysis.data import endpoint
from vpanalysis.data.schema import FAILED_STATUSES

#: More clean missions than this are no small change.
MOST_CLEAN = 1000


@dataclass(frozen=True)
class _Change:
    """A kind of change: its name, how often it can be made at most, and the window after so many of it."""

    name: str
    most: int
    window_after: Callable[[int], Metrics]


def fragility(metrics: Metrics, judge: Callable[[Metrics], LaneStatus], matured_seconds: float) -> str:
    """Returns the smallest changes that flip the verdict, in a sentence; empty without missions.

    A change turns the newest missions that allow it into fallbacks or failures or back, or adds clean missions. Each
    way to a less cautious verdict is named, and the smallest one to a more cautious verdict.

    Args:
        metrics: The window.
        judge: Gives a window's lane status.
        matured_seconds: How long before the moment of judgement the added missions started.
    """
    if not metrics.fallback.missions_considered:
        return ""
    now = judge(metrics)
    better: dict[LaneStatus, list[str]] = {}
    worse: list[tuple[int, str, LaneStatus]] = []
    for change in _changes(metrics, now, matured_seconds):
        number = _smallest(change, judge, now)
        if number is None:
            continue
        status = judge(change.window_after(number))
        way = f"one {change.name}" if number == 1 else f"{number:,} {change.name}s"
        if CAUTION.index(status) < CAUTION.index(now):
            better.setdefault(status, []).append(way)
        else:
            worse.append((number, way, status))
    flips = [(ways, status) for status, ways in better.items()] + [
        ([way], status) for _, way, status in sorted(worse, key=lambda flip: flip[0])[:1]
    ]
    if not flips:
        return "No change in fallbacks, failures or clean missions alone flips the verdict."
    line = "; ".join(
        f"{' or '.join(ways)} turn{'s' if len(ways) == 1 and ways[0].startswith('one ') else ''} {now} into {status}"
        for ways, status in flips
    )
    return f"{line[0].upper()}{line[1:]}."


def _smallest(change: _Change, judge: Callable[[Metrics], LaneStatus], now: LaneStatus) -> int | None:
    """The fewest of a change that flip the verdict: the more of it, the further it moves, so halving finds it."""
    if change.most < 1 or judge(change.window_after(change.most)) == now:
        return None
    same, flipped = 0, change.most
    while flipped - same > 1:
        middle = (same + flipped) // 2
        same, flipped = (middle, flipped) if judge(change.window_after(middle)) == now else (same, middle)
    return flipped


def _changes(metrics: Metrics, now: LaneStatus, matured_seconds: float) -> Iterator[_Change]:
    """The changes that can move the verdict from ``now``."""
    n, k = metrics.fallback.missions_considered, metrics.fallback.missions_with_fallback
    known = n is not None and k is not None and k <= n
    completed, failed = _outcomes(metrics)
    if now != "HEALTHY":
        if known:
            yield _Change("fewer fallback", k or 0, lambda by: _with_fallbacks(metrics, -by))
        yield _Change("fewer failure", failed, lambda by: _with_failures(metrics, -by))
        if known:
            yield _Change("more clean mission", MOST_CLEAN, lambda by: _with_clean(metrics, by, matured_seconds))
    if now != FORCE:
        if known:
            yield _Change("more fallback", (n or 0) - (k or 0), lambda by: _with_fallbacks(metrics, by))
        yield _Change("more failure", completed, lambda by: _with_failures(metrics, by))


def _outcomes(metrics: Metrics) -> tuple[int, int]:
    """How many missions completed, and how many failed or timed out; 0 when unknown."""
    if metrics.missions is not None:
        outcomes = metrics.missions["outcome"]
        return int((outcomes == "completed").sum()), int(outcomes.isin(FAILED_STATUSES).sum())
    counts = metrics.mission_counts or {}
    return counts.get("completed", 0), sum(counts.get(status, 0) for status in FAILED_STATUSES)


def _with_fallbacks(metrics: Metrics, by: int) -> Metrics:
    """The window with ``by`` more missions that fell back; fewer when negative."""
    missions = metrics.missions
    if missions is not None:
        named = missions[missions["mission_id"].fillna("") != ""].drop_duplicates("mission_id", keep="last")
        newest = named.index[named["fallback_seen"] == (by < 0)][-abs(by) :]
        missions = missions.assign(fallback_seen=missions["fallback_seen"].mask(missions.index.isin(newest), by > 0))
    share = metrics.fallback
    return replace(
        metrics, missions=missions, fallback=_share(share.missions_considered, share.missions_with_fallback, 0, by)
    )


def _with_failures(metrics: Metrics, by: int) -> Metrics:
    """The window with ``by`` more missions that failed instead of completing; fewer when negative."""
    old, new = (["completed"], "failed") if by > 0 else (list(FAILED_STATUSES), "completed")
    if metrics.missions is not None:
        finished = finished_in_order(metrics.missions)
        newest = finished.index[finished["outcome"].isin(old)][-abs(by) :]
        outcome = metrics.missions["outcome"].mask(metrics.missions.index.isin(newest), new)
        return replace(metrics, missions=metrics.missions.assign(outcome=outcome))
    completed, failed = _outcomes(metrics)
    counts = {**(metrics.mission_counts or {}), "completed": completed - by, "failed": failed + by, "timed_out": 0}
    return replace(metrics, mission_counts=counts)


def _with_clean(metrics: Metrics, by: int, matured_seconds: float) -> Metrics:
    """The window with ``by`` more missions that completed in the median run time without a fallback."""
    share = metrics.fallback
    counts = dict(metrics.mission_counts or {})
    counts["completed"] = counts.get("completed", 0) + by
    changed = replace(
        metrics,
        fallback=_share(share.missions_considered, share.missions_with_fallback, by, 0),
        mission_counts=counts if metrics.mission_counts is not None else None,
    )
    if metrics.missions is None or metrics.generated_at is None:
        return changed
    seconds = metrics.latency_seconds.p50_seconds or 0.0
    end = pd.Timestamp(metrics.generated_at)
    start = end - timedelta(seconds=max(matured_seconds, seconds))
    added = metrics.missions.iloc[[-1] * by].assign(
        mission_id=[f"clean mission {number}" for number in range(by)],
        status="completed",
        outcome="completed",
        created_at=start,
        started_at=start,
        ended_at=end,
        duration_seconds=seconds,
        fallback_seen=False,
    )
    missions = pd.concat([metrics.missions, added], ignore_index=True)
    return replace(changed, missions=missions, latency_seconds=endpoint.latency(missions["duration_seconds"].dropna()))


def _share(n: int | None, k: int | None, more: int, fallbacks: int) -> FallbackShare:
    considered, fell_back = (n or 0) + more, (k or 0) + fallbacks
    return FallbackShare(considered, fell_back, fell_back / considered)
