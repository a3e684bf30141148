"""Rolling rates within a window, and one window against another: the playbook's reading of latency (§3.2)."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis import intervals
from vpanalysis.analysis.account import with_outcomes
from vpanalysis.analysis.gates.rolling_fallback import considered
from vpanalysis.analysis.intervals import Interval, ShareDifference
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.run_times import SlowShare, durations, matured_slow, waiting
from vpanalysis.data.schema import STALE_SECONDS
from vpanalysis.data.snapshot import LatencySeconds, latency
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow

Conclusion = Literal["load_pressure", "degradation", "neither", "not_enough_data"]

#: Durations in seconds, and what the source itself says of them; empty and ``None`` when unknown.
_Side = tuple[list[float], LatencySeconds | None]
#: Fewer missions than this in either window cannot show that a rate held; as in the rolling and slow-share gates.
LEAST_MISSIONS = 20
#: What is significant but small is no pressure: a quantile must rise by a quarter and by a second.
LEAST_RATIO, LEAST_SECONDS = 1.25, 1.0


@dataclass(frozen=True)
class QuantileChange:
    """A quantile of durations in the window and in its baseline.

    Attributes:
        before: The baseline's value in seconds, as a report on it alone shows it; ``None`` without a duration.
        after: The window's value in seconds, likewise.
        interval_before: 95 % interval of the baseline's, by order statistics; an end is ``None`` when the
            durations are too few for it, or unknown. Missions still queued count, with their wait so far.
        interval_after: The window's, likewise.
        up: Whether it rose beyond chance and to a degree that matters: the window's interval lies above the
            baseline's, and the value is at least 1.25 times and 1 s more, missions still queued counted.
    """

    before: float | None
    after: float | None
    interval_before: Interval
    interval_after: Interval
    up: bool


@dataclass(frozen=True)
class Comparison:
    """A window against its baseline. Time separates the two: whatever else changed with it is in the difference.

    Attributes:
        missions_before: Missions considered in the baseline; ``None`` when unknown or without a baseline.
        missions_after: Missions considered in the window; ``None`` when unknown.
        fallback: Change of the fallback rate; ``None`` when either window has no mission, or its counts
            are unknown or from truncated events.
        fallback_up: Whether the whole 95 % interval of that change is above 0.
        slow_before: The baseline's matured missions and the slow ones; ``None`` without a baseline.
        slow_after: The window's.
        slow: Change of the slow share; ``None`` when either window has no matured mission.
        overdue: The window's overdue missions: they hang. Those that started are in ``slow``, but never make the run
            time count as up.
        run_p50: p50 of the run time (started → completed), before and after.
        run_p95: p95 of the run time.
        queue_p50: p50 of the queue wait (created → started).
        queue_p95: p95 of the queue wait.
        waiting_before: The baseline's missions that were still queued at its end, whose wait so far counts in whether
            the queue wait is up; 0 when unknown.
        waiting_after: The window's, likewise.
        run_time_up: ``run_p50`` or ``run_p95`` is up, or the whole interval of the slow share's change, overdue
            missions left out, is above 0.
        queue_wait_up: ``queue_p50`` or ``queue_p95`` is up.
        conclusion: The playbook's §3.2: ``load_pressure`` (run time or queue wait up, fallback not),
            ``degradation`` (one of them and fallback up), ``neither``, or ``not_enough_data``: no baseline, or
            fewer than 20 missions in either window, unless they show a degradation all the same.
        sentence: The conclusion in words with its numbers, queue wait and run time apart; it says that time is a
            confounder.
    """

    missions_before: int | None
    missions_after: int | None
    fallback: ShareDifference | None
    fallback_up: bool
    slow_before: SlowShare | None
    slow_after: SlowShare
    slow: ShareDifference | None
    overdue: int
    run_p50: QuantileChange
    run_p95: QuantileChange
    queue_p50: QuantileChange
    queue_p95: QuantileChange
    waiting_before: int
    waiting_after: int
    run_time_up: bool
    queue_wait_up: bool
    conclusion: Conclusion
    sentence: str

    @property
    def queue_stuck(self) -> bool:
        """Whether the queue wait is up by missions that still wait: of those that started, no quantile shows it."""
        return self.queue_wait_up and not any(_matters(it.before, it.after) for it in (self.queue_p50, self.queue_p95))

    @property
    def remarks(self) -> str:
        """What the numbers do not say: errors to look at, missions that hang, and that time is a confounder."""
        parts = ["Look at the fallback errors."] * (self.fallback_up and self.conclusion == "neither")
        parts += [f"{formatting.count(self.overdue, 'mission')} overdue: hanging, not slow."] * bool(self.overdue)
        return " ".join([*parts, CONFOUNDER])


CONFOUNDER = "Load, callers or code may also have changed in the meantime."


def rolling_fallback(metrics: Metrics, size: int = 20) -> pd.DataFrame:
    """Returns the fallback share over the newest ``size`` missions up to each mission.

    Args:
        metrics: The window; as in the contract's rate, a mission without an id is not considered.
        size: How many missions a share is over; 1 or more.

    Returns:
        One row per mission, from the first on: ``created_at`` (NaT when missing), ``rate`` (0 to 1), and
        ``missions``, how many the rate is over: fewer than ``size`` for the first ones.
    """
    missions = considered(metrics)
    window = missions["fell_back"].astype(float).rolling(size, min_periods=1)
    rolling = pd.DataFrame({"created_at": missions["created_at"], "rate": window.mean()})
    return rolling.assign(missions=window.count().astype(int)).reset_index(drop=True)


@dataclass(frozen=True)
class PastWindow:
    """One of the windows before the baseline and the window itself, for a sparkline.

    Attributes:
        missions: Missions of it.
        fallback_rate: Share that fell back; ``None`` without a mission.
        p95_seconds: p95 of the run time; ``None`` without one.
        failed_share: Share that failed; ``None`` without a mission.
    """

    missions: int
    fallback_rate: float | None
    p95_seconds: float | None
    failed_share: float | None


def past_windows(tables: Tables, window: RolloutWindow, number: int) -> tuple[PastWindow, ...]:
    """Returns the windows of the same length right before ``window``, oldest first, from one reading of them all.

    Args:
        tables: The reading of `RolloutWindow.preceding`.
        window: The window they precede.
        number: How many there may be.
    """
    missions = with_outcomes(tables.missions, tables.as_of, STALE_SECONDS)
    start, end = tables.window.start, tables.window.end
    group: Any
    if window.last_missions is not None:
        group = (len(missions) - 1 - np.arange(len(missions))) // window.last_missions
    elif start is not None and end is not None:
        since = (missions["created_at"] - pd.Timestamp(start)).dt.total_seconds()
        group = number - 1 - since // ((end - start).total_seconds() / number)
    else:
        return ()
    found = []
    for place in reversed(range(number)):
        some = missions[np.asarray(group) == place]
        n = len(some)
        found.append(
            PastWindow(
                missions=n,
                fallback_rate=float(some["fell_back"].mean()) if n else None,
                p95_seconds=latency(some["duration_seconds"].dropna()).p95_seconds,
                failed_share=float((some["outcome"] == "failed").mean()) if n else None,
            )
        )
    return tuple(found)


def compare(metrics: Metrics, baseline: Metrics | None, *, slow_seconds: float) -> Comparison:
    """Returns a window against its baseline, with the playbook's §3.2 conclusion.

    Args:
        metrics: The window.
        baseline: The window before, usually that of ``RolloutWindow.baseline()``; ``None`` without one.
        slow_seconds: The threshold of the slow share: the policy's ``p95_critical_seconds``.
    """
    fallback = _fallback_change(baseline, metrics) if baseline else None
    slow_before = matured_slow(baseline, slow_seconds) if baseline else None
    slow_after = matured_slow(metrics, slow_seconds)
    run_p50, run_p95 = _run_time_change(baseline, metrics, 0.50), _run_time_change(baseline, metrics, 0.95)
    queue_p50, queue_p95 = _queue_wait_change(baseline, metrics, 0.50), _queue_wait_change(baseline, metrics, 0.95)
    fallback_up = _rose(fallback)
    in_time = [matured_slow(window, slow_seconds, overdue=False) if window else None for window in (baseline, metrics)]
    run_time_up = _rose(_slow_change(*in_time)) or run_p50.up or run_p95.up
    queue_wait_up = queue_p50.up or queue_p95.up
    missing = _missing(baseline, metrics)
    conclusion: Conclusion
    if (run_time_up or queue_wait_up) and fallback_up:
        conclusion = "degradation"
    elif missing:
        conclusion = "not_enough_data"
    else:
        conclusion = "load_pressure" if run_time_up or queue_wait_up else "neither"
    comparison = Comparison(
        missions_before=baseline.fallback.missions_considered if baseline else None,
        missions_after=metrics.fallback.missions_considered,
        fallback=fallback,
        fallback_up=fallback_up,
        slow_before=slow_before,
        slow_after=slow_after,
        slow=_slow_change(slow_before, slow_after),
        overdue=metrics.account.count("overdue"),
        run_p50=run_p50,
        run_p95=run_p95,
        queue_p50=queue_p50,
        queue_p95=queue_p95,
        waiting_before=len(waiting(baseline)) if baseline else 0,
        waiting_after=len(waiting(metrics)),
        run_time_up=run_time_up,
        queue_wait_up=queue_wait_up,
        conclusion=conclusion,
        sentence="",
    )
    return replace(comparison, sentence=_sentence(comparison, missing))


def _fallback_change(before: Metrics, after: Metrics) -> ShareDifference | None:
    if before.quality.truncated_events or after.quality.truncated_events:
        return None
    counts = [(each.fallback.missions_with_fallback, each.fallback.missions_considered) for each in (before, after)]
    (was, n_before), (now, n_after) = counts
    if was is None or n_before is None or now is None or n_after is None or was > n_before or now > n_after:
        return None
    return intervals.compare_shares(was, n_before, now, n_after)


def _slow_change(before: SlowShare | None, after: SlowShare | None) -> ShareDifference | None:
    if before is None or after is None:
        return None
    return intervals.compare_shares(before.slow, before.matured, after.slow, after.matured)


def _rose(change: ShareDifference | None) -> bool:
    return change is not None and change.interval.low is not None and change.interval.low > 0


def _run_time_change(before: Metrics | None, after: Metrics, q: float) -> QuantileChange:
    sides = [
        (durations(window.missions), window.latency_seconds) if window else ([], None) for window in (before, after)
    ]
    return _quantile_change(sides[0], sides[1], q)


def _queue_wait_change(before: Metrics | None, after: Metrics, q: float) -> QuantileChange:
    sides = [(_queue_waits(window), window.queue_wait_seconds) if window else ([], None) for window in (before, after)]
    return _quantile_change(sides[0], sides[1], q)


def _queue_waits(window: Metrics) -> list[float]:
    """Queue waits in seconds; a mission still queued has waited at least as long as it has so far."""
    waits = [float(wait) for wait in window.missions["queue_wait_seconds"].dropna()]
    return waits + [float(wait) for wait in waiting(window)["waited_seconds"]]


def _quantile_change(before: _Side, after: _Side, q: float) -> QuantileChange:
    def of(points: LatencySeconds | None) -> float | None:
        return None if points is None else points.p50_seconds if q == 0.50 else points.p95_seconds

    was, now = (of(latency(seconds) if seconds else known) for seconds, known in (before, after))
    earlier, later = (intervals.quantile_interval(seconds, q) for seconds, _ in (before, after))
    apart = earlier.high is not None and later.low is not None and later.low > earlier.high
    return QuantileChange(of(before[1]), of(after[1]), earlier, later, apart and _matters(was, now))


def _matters(was: float | None, now: float | None) -> bool:
    return was is not None and now is not None and now >= max(was * LEAST_RATIO, was + LEAST_SECONDS)


def _missing(before: Metrics | None, after: Metrics) -> str:
    """What the comparison lacks to say that a rate held or a duration did; empty when nothing."""
    if before is None:
        return "there is no window before this one"
    if before.quality.truncated_events or after.quality.truncated_events:
        return "a snapshot that lacks events of its missions shows no fallback rate"
    if not (before.known.missions and after.known.missions):
        return "a snapshot without its missions shows no durations to compare"
    for what, counts in (
        ("missions", [window.fallback.missions_considered or 0 for window in (before, after)]),
        (
            "missions with a known time",
            [max(len(durations(each.missions)), len(_queue_waits(each))) for each in (before, after)],
        ),
    ):
        if min(counts) < LEAST_MISSIONS:
            return f"{counts[0]:,} {what} before and {counts[1]:,} now; each side needs {LEAST_MISSIONS}"
    return ""


def _sentence(found: Comparison, missing: str) -> str:
    if found.conclusion == "not_enough_data":
        rises = {"fallback rate": found.fallback_up, "run time": found.run_time_up, "queue wait": found.queue_wait_up}
        risen = " and ".join(name for name, up in rises.items() if up)
        shown = f" What rose: {risen}." if risen else ""
        return f"Not enough data to tell load from degradation: {missing}.{shown}"
    fallback, times = _fallback_words(found), _duration_words(found)
    if found.conclusion == "degradation":
        text = f"Runtime degradation or adapter instability: {times}, and {fallback}."
    elif found.conclusion == "load_pressure":
        text = f"Load or queue pressure: {times}, while {fallback}."
    elif found.fallback_up:
        text = f"Neither load pressure nor degradation, but {fallback}; {times}."
    else:
        text = f"Neither load pressure nor degradation: {fallback}; {times}."
    return f"{text} {found.remarks}"


def _duration_words(found: Comparison) -> str:
    """Run time and queue wait apart: which of them rose, and how far."""
    parts = []
    for name, up, p50, p95, queued in (
        ("run time", found.run_time_up, found.run_p50, found.run_p95, 0),
        ("queue wait", found.queue_wait_up, found.queue_p50, found.queue_p95, found.waiting_after),
    ):
        if not up and (p95.before is None or p95.after is None):
            parts.append(f"{name} is unknown")
            continue
        changes = [
            f"{label} {formatting.duration(change.before)} → {formatting.duration(change.after)}"
            for label, change in (("p50", p50), ("p95", p95))
        ]
        changes += [f"{queued:,} still waiting"] * bool(queued)
        rose = "rose only by those still waiting" if name == "queue wait" and found.queue_stuck else "rose"
        parts.append(f"{name} {rose if up else 'shows no rise'} ({', '.join(changes)})")
    return (" and " if found.run_time_up == found.queue_wait_up else ", but ").join(parts)


def _fallback_words(found: Comparison) -> str:
    change = found.fallback
    if change is None:
        return "the fallback rate is unknown"
    verb = "rose" if found.fallback_up else "shows no rise"
    if change.interval.high is not None and change.interval.high < 0:
        verb = "fell"
    ends = f"{formatting.points(change.interval.low)} to {formatting.points(change.interval.high)} points"
    values = f"{formatting.percent(change.before)} → {formatting.percent(change.after)}"
    return f"the fallback rate {verb} ({values}, change {ends} at 95 %)"
