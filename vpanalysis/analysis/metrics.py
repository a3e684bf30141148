"""The contract's metrics over one window, from all events of its missions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from vpanalysis.data import endpoint
from vpanalysis.data.schema import (
    SESSION_AVAILABLE,
    SESSION_CREATED,
    SESSION_DEGRADED,
    SESSION_RECOVERED,
    SESSION_RESUMED,
    STALE_SECONDS,
    UNKNOWN,
)
from vpanalysis.data.tables import DataQuality, Tables
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


@dataclass(frozen=True)
class FallbackShare:
    """How many of the missions considered fell back.

    Attributes:
        missions_considered: Distinct non-empty mission ids; ``None`` when unknown.
        missions_with_fallback: Those with a fallback event; ``None`` when unknown.
        rate: Their share, 0.0 without missions; ``None`` when unknown.
    """

    missions_considered: int | None
    missions_with_fallback: int | None
    rate: float | None


@dataclass(frozen=True, eq=False)
class Metrics:
    """What one window's tables say, in the contract's terms; every time is in UTC.

    Attributes:
        vp_id: The lane.
        generated_at: The moment the window is judged at; ``None`` when a snapshot does not say.
        window: The window asked for; ``None`` when only a snapshot was given.
        start: The window's first moment: as asked for, else the oldest mission's ``created_at``; ``None`` when
            neither is known.
        end: The window's end, or ``generated_at`` while it is open; ``None`` when unknown.
        provisional: More missions may still join the window.
        source: What was read, as reports name it.
        kind: ``sqlite``, ``sample``, ``snapshot`` or ``gateway``.
        fallback: Missions considered, those that fell back, and the rate.
        latency_seconds: Run time (started → completed) in seconds.
        queue_wait_seconds: Queue wait (created → started) in seconds; ``None`` when the source lacks
            ``created_at``.
        mission_counts: Missions by status, ``unknown`` for empty and unknown ones; ``None`` when unknown.
        event_counts: Events of the missions by type; ``None`` when unknown.
        session_event_counts: The lane's session events by type up to the window's end; ``None`` when unknown.
        recovery: Degraded sessions and how many were resumed; ``None`` when unknown.
        session_health: Orphan signals; ``None`` when unknown.
        session_known: Whether the source tells about the session at all.
        session: The ``vp_sessions`` row with ``metadata`` and its staleness; ``None`` when there is none.
        session_status: The session's status at the window's end: the row's, or from the last session event
            before the end when the row is of a later time; ``None`` without a row or when unknown.
        degraded_events: ``vp.session.degraded`` events within the window; ``None`` when unknown.
        missions: One row per mission, oldest first, as in :class:`~vpanalysis.data.tables.Tables`, with
            ``fallback_seen``; ``None`` when the source has no missions' rows.
        events: The events that are shown or grouped, as in ``Tables``.
        session_events: As in ``Tables``.
        quality: What the reading noticed.
    """

    vp_id: str
    generated_at: datetime | None
    window: RolloutWindow | None
    start: datetime | None
    end: datetime | None
    provisional: bool
    source: str
    kind: str
    fallback: FallbackShare
    latency_seconds: endpoint.LatencySeconds
    queue_wait_seconds: endpoint.LatencySeconds | None
    mission_counts: Mapping[str, int] | None
    event_counts: Mapping[str, int] | None
    session_event_counts: Mapping[str, int] | None
    recovery: endpoint.Recovery | None
    session_health: endpoint.SessionHealth | None
    session_known: bool
    session: Mapping[str, Any] | None
    session_status: str | None
    degraded_events: int | None
    missions: pd.DataFrame | None
    events: pd.DataFrame | None
    session_events: pd.DataFrame | None
    quality: DataQuality


def summarize(tables: Tables) -> Metrics:
    """Returns the window's metrics; a pure function of its tables. A snapshot's numbers are its own."""
    if tables.snapshot is not None:
        from vpanalysis.analysis.snapshot import metrics_of_snapshot_tables  # it needs this module

        return metrics_of_snapshot_tables(tables)
    missions = tables.missions.assign(fallback_seen=tables.missions["fallback_events"] > 0)
    start, end = window_bounds(tables)
    named = missions[missions["mission_id"].fillna("") != ""]
    fell_back = named.loc[named["fallback_seen"], "mission_id"]
    status = session_status_at_end(tables)
    recovery, health = endpoint.session_signals(status, tables.session_events["event_type"])
    degraded = tables.session_events[tables.session_events["event_type"] == SESSION_DEGRADED]
    queue_wait = missions["queue_wait_seconds"].dropna()
    return Metrics(
        vp_id=tables.window.vp_id,
        generated_at=tables.as_of,
        window=tables.window,
        start=start,
        end=end,
        provisional=tables.window.is_open(tables.as_of),
        source=tables.source,
        kind=tables.kind,
        fallback=_share(named["mission_id"].nunique(), fell_back.nunique()),
        latency_seconds=endpoint.latency(missions["duration_seconds"].dropna()),
        queue_wait_seconds=endpoint.latency(queue_wait),
        mission_counts=endpoint.count_names(missions["status"]),
        event_counts=dict(tables.event_counts),
        session_event_counts=endpoint.count_names(texts(tables.session_events["event_type"])),
        recovery=recovery,
        session_health=health,
        session_known=True,
        session=endpoint.session_view(tables.session, tables.as_of),
        session_status=status,
        degraded_events=len(degraded) if start is None else int((degraded["created_at"] >= start).sum()),
        missions=missions,
        events=tables.events,
        session_events=tables.session_events,
        quality=tables.quality,
    )


def texts(column: "pd.Series[Any]") -> list[str | None]:
    """Returns a text column's values, ``None`` for missing ones."""
    return [None if pd.isna(value) else str(value) for value in column]


def window_bounds(tables: Tables) -> tuple[datetime | None, datetime]:
    """Returns the window's first moment (``None`` when unknown) and its end, or ``as_of`` while it is open."""
    window = tables.window
    start = window.start
    created = tables.missions["created_at"].dropna()
    if start is None and len(created):
        start = created.min().to_pydatetime()
    return start, window.end if window.end is not None and window.end <= tables.as_of else tables.as_of


def session_status_at_end(tables: Tables) -> str | None:
    """Returns the session's status at the window's end; ``None`` without a row, or when nothing tells it.

    The row says how the session is when it was written. Where the window's end lies over 900 s before ``as_of``,
    or the row was written after ``as_of``, the last session event before the end tells instead.
    """
    if tables.session is None:
        return None
    updated = tables.session.get("updated_at")
    written = parse_time(updated) if isinstance(updated, str) else None
    end = tables.window.end
    closed = end is not None and tables.as_of - end > timedelta(seconds=STALE_SECONDS)
    if closed or (written is not None and written > tables.as_of):
        known = [_STATUS_AFTER[name] for name in tables.session_events["event_type"] if name in _STATUS_AFTER]
        return known[-1] if known else None
    return str(tables.session.get("status") or UNKNOWN)


def _share(considered: int, with_fallback: int) -> FallbackShare:
    share = endpoint.fallback(considered, with_fallback)
    return FallbackShare(share.missions_considered, share.missions_with_fallback, share.rate)
