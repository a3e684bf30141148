"""One window's metrics: the contract's numbers, the account of its missions, and the session at its end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from vpanalysis.analysis.account import Account, account_of, accounted, with_outcomes
from vpanalysis.analysis.masking import mask_counts, mask_tables
from vpanalysis.data import snapshot
from vpanalysis.data.schema import (
    SESSION_AVAILABLE,
    SESSION_CREATED,
    SESSION_DEGRADED,
    SESSION_RECOVERED,
    SESSION_RESUMED,
    STALE_SECONDS,
    UNKNOWN,
)
from vpanalysis.data.snapshot import FallbackShare, LatencySeconds, Numbers, Recovery, SessionHealth
from vpanalysis.data.snapshot_tables import stated_numbers
from vpanalysis.data.tables import DataQuality, Known, Tables
from vpanalysis.data.timestamps import parse_time
from vpanalysis.data.window import RolloutWindow

#: The session status that each lifecycle event leaves behind.
_STATUS_AFTER = {
    SESSION_CREATED: "active",
    SESSION_RESUMED: "active",
    SESSION_RECOVERED: "active",
    SESSION_AVAILABLE: "idle",
    SESSION_DEGRADED: "degraded",
}


@dataclass(frozen=True, eq=False)
class Metrics:
    """What one window's tables say, in the contract's terms; every time is in UTC.

    Attributes:
        vp_id: The lane; ``""`` when a snapshot does not say.
        generated_at: The moment the window is judged at; ``None`` when a snapshot does not say.
        window: The window.
        start: The window's first moment: as asked for, else the oldest mission's ``created_at``; ``None`` when
            neither is known.
        end: The window's end, or ``generated_at`` while it is open; ``None`` when unknown.
        is_open: More missions may still join the window.
        provisional: It is open, or missions of it are pending.
        source: What was read, as reports name it.
        kind: ``sqlite``, ``sample``, ``snapshot`` or ``gateway``; for display only.
        account: What became of each mission.
        fallback: Missions considered, those that fell back, and the rate.
        latency_seconds: Run time (started → completed) in seconds.
        queue_wait_seconds: Queue wait (created → started) in seconds; ``None`` when unknown.
        mission_counts: Missions by status as the contract counts them, ``unknown`` for empty and unknown ones;
            ``None`` when unknown.
        event_counts: Events of the missions by type; ``None`` when unknown.
        session_event_counts: The lane's session events by type up to the window's end; ``None`` when unknown.
        recovery: Degraded sessions and how many were resumed; ``None`` when unknown.
        session_health: Orphan signals; ``None`` when unknown.
        session: The ``vp_sessions`` row with ``metadata`` and its staleness; ``None`` when there is none.
        session_status: The session's status at the window's end, stripped, lower-case: the row's, or from the last
            session event before the end when the row is of a later time; ``None`` without a row or when unknown.
        degraded_events: ``vp.session.degraded`` events within the window, those without a readable time among them;
            ``None`` when unknown.
        events: The events that are shown or grouped, as in ``Tables``.
        session_events: As in ``Tables``.
        last_activity: The newest sign of life of the lane up to ``generated_at``: any row's stamp, or the session's
            heartbeat; ``None`` when unknown.
        known: What the source can tell at all.
        quality: What the reading noticed.
    """

    vp_id: str
    generated_at: datetime | None
    window: RolloutWindow
    start: datetime | None
    end: datetime | None
    is_open: bool
    source: str
    kind: str
    account: Account
    fallback: FallbackShare
    latency_seconds: LatencySeconds
    queue_wait_seconds: LatencySeconds | None
    mission_counts: Mapping[str, int] | None
    event_counts: Mapping[str, int] | None
    session_event_counts: Mapping[str, int] | None
    recovery: Recovery | None
    session_health: SessionHealth | None
    session: Mapping[str, Any] | None
    session_status: str | None
    degraded_events: int | None
    events: pd.DataFrame
    session_events: pd.DataFrame
    last_activity: datetime | None
    known: Known
    quality: DataQuality

    @property
    def missions(self) -> pd.DataFrame:
        """The account's missions, one row each."""
        return self.account.missions

    @property
    def provisional(self) -> bool:
        """Whether the window is open, or missions of it are pending."""
        return self.is_open or self.account.count("pending") > 0

    def overdue_after(self, seconds: float) -> "Metrics":
        """Returns the same with missions overdue from ``seconds`` after their start: what a policy says of its lane."""
        if seconds == self.account.overdue_seconds:
            return self
        missions = with_outcomes(self.missions, self.generated_at, seconds)
        account = (
            accounted(missions, seconds) if self.account.listed else replace(self.account, overdue_seconds=seconds)
        )
        return replace(self, account=account)


def summarize(tables: Tables) -> Metrics:
    """Returns the window's metrics; a pure function of its tables. A snapshot's numbers are its own."""
    tables = mask_tables(tables)
    start, end = _bounds(tables)
    status = _session_status_at_end(tables)
    if tables.snapshot is not None:
        numbers, vp_id = stated_numbers(tables.snapshot), str(tables.snapshot.get("vp_id") or "")
    else:
        numbers, vp_id = counted(tables, status), tables.window.vp_id
    numbers = replace(
        numbers,
        mission_counts=mask_counts(numbers.mission_counts),
        event_counts=mask_counts(numbers.event_counts),
        session_event_counts=mask_counts(numbers.session_event_counts),
    )
    waits = tables.missions["queue_wait_seconds"].dropna()
    return Metrics(
        vp_id=vp_id,
        generated_at=tables.as_of,
        window=tables.window,
        start=start,
        end=end,
        is_open=tables.as_of is None or tables.window.is_open(tables.as_of),
        source=tables.source,
        kind=tables.kind,
        account=account_of(tables, numbers),
        queue_wait_seconds=snapshot.latency(waits) if tables.known.queue_wait else None,
        session=snapshot.session_view(tables.session, tables.as_of),
        session_status=status,
        degraded_events=degraded_since(tables.session_events, start) if tables.known.session_events else None,
        events=tables.events,
        session_events=tables.session_events,
        last_activity=_last_activity(tables),
        known=tables.known,
        quality=tables.quality,
        **vars(numbers),
    )


def counted(tables: Tables, session_status: str | None) -> Numbers:
    """Returns the contract's numbers of tables that list their missions and events."""
    missions = tables.missions
    named = missions[missions["mission_id"].fillna("") != ""]
    considered = named["mission_id"].nunique()
    fell_back = named.loc[named["fallback_events"] > 0, "mission_id"].nunique()
    recovery, health = snapshot.session_signals(session_status, tables.session_events["event_type"])
    return Numbers(
        fallback=FallbackShare(considered, fell_back, fell_back / considered if considered else 0.0),
        latency_seconds=snapshot.latency(missions["duration_seconds"].dropna()),
        mission_counts=snapshot.count_names(missions["status"].tolist()),  # a list is walked in a fifth of the time
        event_counts=dict(tables.event_counts),
        session_event_counts=snapshot.count_names(texts(tables.session_events["event_type"])),
        recovery=recovery,
        session_health=health,
    )


def texts(column: "pd.Series[Any]") -> list[str | None]:
    """Returns a text column's values, ``None`` for missing ones."""
    return [None if pd.isna(value) else str(value) for value in column]


def degraded_since(session_events: pd.DataFrame, start: datetime | None) -> int:
    """Returns how many degraded events there are from ``start`` on; those without a readable time may be as late."""
    degraded, created = session_events["event_type"] == SESSION_DEGRADED, session_events["created_at"]
    return int((degraded if start is None else degraded & (created.isna() | (created >= start))).sum())


def leaving(metrics: Metrics, joining: int) -> int:
    """Returns how many missions leave a window of the newest ones as ``joining`` more come; 0 for a range of time."""
    size = metrics.window.last_missions
    return 0 if size is None else max(0, len(metrics.missions) + joining - size)


def _bounds(tables: Tables) -> tuple[datetime | None, datetime | None]:
    """Returns the window's first moment (``None`` when unknown) and its end, or ``as_of`` while it is open."""
    window, as_of = tables.window, tables.as_of
    created = tables.missions["created_at"].dropna()
    start = window.start or (created.min().to_pydatetime() if len(created) else None)
    closed = window.end is not None and as_of is not None and window.end <= as_of
    return start, window.end if closed else as_of


def _session_status_at_end(tables: Tables) -> str | None:
    """Returns the session's status at the window's end; ``None`` without a row, or when nothing tells it.

    The row says how the session was when it was written; a session event that is later is the later word. Where the
    window's end lies over 900 s before ``as_of``, or the row was written after ``as_of``, the last session event before
    the end tells, failing that the row when it was written before the end.
    """
    if tables.session is None:
        return None
    status = snapshot.session_status(tables.session) or UNKNOWN
    written, as_of, end = _stamp(tables.session, "updated_at"), tables.as_of, tables.window.end
    if as_of is None:
        return status
    closed = end is not None and as_of - end > timedelta(seconds=STALE_SECONDS)
    events = tables.session_events[tables.session_events["event_type"].isin(list(_STATUS_AFTER))]
    if not closed and written is not None and written <= as_of:
        events = events[events["created_at"] > written]  # else the row is the later word
    if (closed or written is not None) and len(events):
        return _STATUS_AFTER[events["event_type"].iloc[-1]]
    if not closed and (written is None or written <= as_of):
        return status
    return status if closed and end is not None and written is not None and written < end else None


def _last_activity(tables: Tables) -> datetime | None:
    """Returns the newest stamp of the lane; a heartbeat after ``as_of`` shows that the lane lived then, too."""
    as_of = tables.as_of
    if as_of is None:
        return None
    moments = [tables.last_activity]
    for frame in (tables.missions, tables.events, tables.session_events):
        for column in ("created_at", "started_at", "completed_at", "updated_at"):
            if column in frame:
                seen = frame[column][frame[column] <= as_of]
                moments += [seen.max().to_pydatetime()] if len(seen) else []
    for column in ("last_heartbeat_at", "updated_at"):
        beat = _stamp(tables.session or {}, column)
        moments += [min(beat, as_of)] if beat else []
    return max((moment for moment in moments if moment is not None), default=None)


def _stamp(row: Mapping[str, Any], column: str) -> datetime | None:
    value = row.get(column)
    return parse_time(value) if isinstance(value, str) else None
