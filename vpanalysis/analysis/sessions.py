"""The lane's session: its lifecycle against the expected one, and how long it took to recover."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.data.schema import (
    DISPATCH_HELD,
    ORPHANED_STATUSES,
    SESSION_CREATED,
    SESSION_DEGRADED,
    SESSION_EVENT_TYPES,
    SESSION_RESUMED,
    SESSION_STATUSES,
    UNKNOWN,
)


@dataclass(frozen=True)
class SessionStory:
    """A lane's session up to a window's end.

    Attributes:
        known: Whether the source tells about the session at all.
        status: Status at the window's end; ``None`` without a row, or when nothing tells it.
        stale: Whether an active session's heartbeat was over 900 s old at the moment of judgement: shown, it
            never gates. ``None`` without a row.
        stale_reason: Which time is too old; ``None`` unless stale.
        degraded_in_window: ``degraded`` events within the window; ``None`` when unknown.
        attempts: ``degraded`` events of the lane up to the window's end; ``None`` when unknown.
        successes: Those that a ``resumed`` event closed; ``None`` when unknown.
        success_rate: ``successes / attempts``; ``None`` without attempts.
        orphan_rate: Degradations still open as a share of attempts (playbook §3.4); ``None`` when unknown.
        recovery_seconds: degraded → resumed times in seconds, in the order of the resumptions: each ``resumed``
            closes the oldest that is open. A pair with an unreadable time is left out.
        open_since: When the oldest degradation that is still open began; ``None`` when none is.
        longest_open_seconds: From then to the window's end; ``None`` when none is open.
        sequence: The lifecycle's event types in time order, without their common prefix; empty when unknown.
        deviations: What departs from created → resumed with a rare degraded, in words; empty when nothing does.
        finding: One sentence for a heading.
    """

    known: bool
    status: str | None
    stale: bool | None
    stale_reason: str | None
    degraded_in_window: int | None
    attempts: int | None
    successes: int | None
    success_rate: float | None
    orphan_rate: float | None
    recovery_seconds: tuple[float, ...]
    open_since: datetime | None
    longest_open_seconds: float | None
    sequence: tuple[str, ...]
    deviations: tuple[str, ...]
    finding: str


def session_story(metrics: Metrics) -> SessionStory:
    """Returns the session's story; from a snapshot without session events, what its counts tell."""
    events = metrics.session_events
    recovery_seconds, open_since = _recoveries(events)
    longest = (metrics.end - open_since).total_seconds() if open_since and metrics.end else None
    session, recovery, health = metrics.session, metrics.recovery, metrics.session_health
    types = [str(name) for name in events["event_type"].fillna("")]
    stale = bool(session.get("stale")) if session is not None else None
    reason = session.get("stale_reason") if session is not None else None
    return SessionStory(
        known=metrics.known.session,
        status=metrics.session_status and shown(metrics.session_status, 40),
        stale=stale,
        stale_reason=shown(reason, 80) if reason else None,
        degraded_in_window=metrics.degraded_events,
        attempts=recovery.attempts if recovery else None,
        successes=recovery.successes if recovery else None,
        success_rate=recovery.success_rate if recovery else None,
        orphan_rate=health.orphan_rate if health else None,
        recovery_seconds=recovery_seconds,
        open_since=open_since,
        longest_open_seconds=longest,
        sequence=tuple(shown(name, 40).removeprefix("vp.session.") or UNKNOWN for name in types),
        deviations=tuple(_deviations(metrics, types)),
        finding=_finding(metrics, recovery_seconds, longest),
    )


def _recoveries(events: pd.DataFrame) -> tuple[tuple[float, ...], datetime | None]:
    """Returns degraded → resumed times in seconds, and since when the oldest degradation is open."""
    still_open: deque[datetime | None] = deque()
    seconds: list[float] = []
    for name, moment in zip(events["event_type"], events["created_at"], strict=True):
        at = None if pd.isna(moment) else moment.to_pydatetime()
        if name == SESSION_DEGRADED:
            still_open.append(at)
        elif name == SESSION_RESUMED and still_open:
            since = still_open.popleft()
            if since is not None and at is not None:
                seconds.append((at - since).total_seconds())
    return tuple(seconds), min((at for at in still_open if at is not None), default=None)


def _deviations(metrics: Metrics, types: Sequence[str]) -> list[str]:
    found = []
    counts = Counter(types)
    if metrics.known.session and metrics.session is None and metrics.fallback.missions_considered:
        found.append("there are missions, but no session row: the session was never bootstrapped")
    if types and not counts[SESSION_CREATED]:
        found.append("no created event: the lifecycle has no beginning")
    elif types and types[0] != SESSION_CREATED:
        found.append(f"begins with {shown(types[0], 40) or 'an event without a type'} instead of {SESSION_CREATED}")
    if counts[SESSION_CREATED] > 1:
        found.append(f"created {counts[SESSION_CREATED]:,} times: the session was lost and made anew")
    if metrics.degraded_events:
        found.append(f"degraded {formatting.times(metrics.degraded_events)} in the window")
    if metrics.session_health is not None and metrics.session_health.orphan_signals:
        open_ones = formatting.count(metrics.session_health.orphan_signals, "degradation")
        found.append(f"{open_ones} still open at the window's end")
    if counts[DISPATCH_HELD]:
        found.append(f"dispatch held {formatting.times(counts[DISPATCH_HELD])}")
    unknown = sum(count for name, count in counts.items() if name not in SESSION_EVENT_TYPES)
    if unknown:
        found.append(f"{formatting.count(unknown, 'event')} of a type outside the contract")
    status = metrics.session_status
    if status is not None and status not in SESSION_STATUSES:
        found.append("the session's status is outside the contract")
    return found


def _finding(metrics: Metrics, recovery_seconds: Sequence[float], longest: float | None) -> str:
    if not metrics.known.session:
        return "The source says nothing about the session."
    if metrics.session is None:
        return "No session row: the session was not bootstrapped, or the runtime database is another one."
    status = metrics.session_status and shown(metrics.session_status, 40)
    parts = [f"Session {status} at the window's end" if status else "Session status at the window's end unknown"]
    if metrics.session.get("stale"):
        parts.append("its heartbeat stale")
    if metrics.degraded_events:
        parts.append(f"degraded {formatting.times(metrics.degraded_events)} in the window")
    elif metrics.degraded_events == 0 and status not in ORPHANED_STATUSES:
        parts.append("not degraded in the window")
    if longest is None and metrics.recovery is not None and metrics.recovery.attempts and metrics.degraded_events != 0:
        degradations = formatting.count(metrics.recovery.attempts, "degradation")
        slowest = "the slowest " if len(recovery_seconds) > 1 else ""
        within = f", {slowest}in {formatting.duration(max(recovery_seconds))}" if recovery_seconds else ""
        parts.append(f"resumed after {metrics.recovery.successes:,} of {degradations} since the lane began{within}")
    if longest is not None:
        left = metrics.recovery.attempts - metrics.recovery.successes if metrics.recovery else 1
        since = "" if left == 1 else ", the oldest"
        of = f" of {formatting.count(metrics.recovery.attempts, 'degradation')}" if metrics.recovery else ""
        parts.append(f"{left:,}{of} still open{since} for {formatting.duration(longest)}")
    return "; ".join(parts) + "."
