"""The endpoint's JSON contract from our own metrics, and our metrics from such a snapshot."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ValidationError

from vpanalysis.analysis.metrics import FallbackShare, Metrics, summarize, texts
from vpanalysis.data import endpoint, snapshot_tables
from vpanalysis.data.schema import EVENT_COLUMNS, SESSION_DEGRADED, SESSION_EVENT_COLUMNS, UNKNOWN
from vpanalysis.data.tables import Tables

_Part = TypeVar("_Part", bound=BaseModel)


def snapshot(tables: Tables, *, event_limit: int = 200) -> endpoint.Snapshot:
    """Returns the endpoint's answer for a window, counted from *all* events of its missions.

    Args:
        tables: A window's tables.
        event_limit: How many of the newest events the ``recent_*`` lists hold, clamped to 1..1000; it shapes
            nothing else.

    Raises:
        InputError: All that the source has is a snapshot, and that lacks a key of the contract.
    """
    limit = endpoint.clamp_event_limit(event_limit)
    if tables.snapshot is not None:
        answer = snapshot_tables.as_model(tables.snapshot, tables.source)
        return answer.model_copy(
            update={
                "recent_events": answer.recent_events[-limit:],
                "recent_session_events": answer.recent_session_events[-limit:],
            }
        )
    metrics = summarize(tables)
    newest_first = tables.missions.iloc[::-1]
    recent = tables.events[tables.events["recent"]].tail(limit)
    assert metrics.recovery is not None
    assert metrics.session_health is not None
    return endpoint.Snapshot(
        generated_at=tables.as_of.astimezone(UTC).isoformat(),
        vp_id=tables.window.vp_id,
        session=endpoint.session_view(tables.session, tables.as_of),
        mission_counts=endpoint.count_names(texts(tables.missions["status_text"])),
        event_counts=dict(tables.event_counts),
        session_event_counts=dict(metrics.session_event_counts or {}),
        fallback=endpoint.fallback(
            metrics.fallback.missions_considered or 0, metrics.fallback.missions_with_fallback or 0
        ),
        latency_seconds=metrics.latency_seconds,
        recovery=metrics.recovery,
        session_health=metrics.session_health,
        recent_missions=[_recent_mission(row) for row in newest_first.to_dict("records")],
        recent_events=[_event(row) for row in recent.to_dict("records")],
        recent_session_events=[_event(row) for row in tables.session_events.tail(limit).to_dict("records")],
        events_complete=True,
    )


def metrics_from_snapshot(content: Mapping[str, Any]) -> Metrics:
    """Returns the metrics that a snapshot's own numbers give; what is absent, NaN or infinite is unknown.

    Args:
        content: A mapping that follows the endpoint's contract, or the dashboard's wrapper around one; only
            ``fallback`` and ``latency_seconds`` are needed.

    Raises:
        InputError: One of those two is not a mapping.
    """
    content = snapshot_tables.snapshot_of(content, "The mapping")
    rows = snapshot_tables.read_rows(content)
    missions, session_events = rows.missions, rows.session_events
    if missions is not None:
        missions = missions.assign(fallback_seen=missions["fallback_events"] > 0)
    created = [] if missions is None else list(missions["created_at"].dropna())
    start = min(created).to_pydatetime() if created else None
    taken = snapshot_tables.generated_at(content)
    fallback, seconds = content["fallback"], content["latency_seconds"]
    rate = snapshot_tables.number(fallback.get("rate"))
    session = content.get("session")
    return Metrics(
        vp_id=str(content.get("vp_id") or ""),
        generated_at=taken,
        window=None,
        start=start,
        end=taken,
        provisional=True,
        source="snapshot",
        kind="snapshot",
        fallback=FallbackShare(
            missions_considered=snapshot_tables.whole(fallback.get("missions_considered")),
            missions_with_fallback=snapshot_tables.whole(fallback.get("missions_with_fallback")),
            rate=None if rate is None or rate > 1 else rate,
        ),
        latency_seconds=endpoint.LatencySeconds(
            count=snapshot_tables.whole(seconds.get("count")) or 0,
            avg_seconds=snapshot_tables.number(seconds.get("avg_seconds")),
            p50_seconds=snapshot_tables.number(seconds.get("p50_seconds")),
            p95_seconds=snapshot_tables.number(seconds.get("p95_seconds")),
            max_seconds=snapshot_tables.number(seconds.get("max_seconds")),
        ),
        queue_wait_seconds=None,
        mission_counts=snapshot_tables.counts(content.get("mission_counts")),
        event_counts=snapshot_tables.counts(content.get("event_counts")),
        session_event_counts=snapshot_tables.counts(content.get("session_event_counts")),
        recovery=_part(endpoint.Recovery, content.get("recovery")),
        session_health=_part(endpoint.SessionHealth, content.get("session_health")),
        session_known="session" in content,
        session=session if isinstance(session, Mapping) else None,
        session_status=str(session.get("status") or UNKNOWN) if isinstance(session, Mapping) else None,
        degraded_events=_degraded_events(content, session_events, start),
        missions=missions,
        events=rows.events if "recent_events" in content else None,
        session_events=session_events if "recent_session_events" in content else None,
        quality=rows.quality,
    )


def metrics_of_snapshot_tables(tables: Tables) -> Metrics:
    """Returns the metrics of tables that were made from a snapshot: its own numbers, over the tables' window."""
    assert tables.snapshot is not None
    return replace(
        metrics_from_snapshot(tables.snapshot),
        vp_id=tables.window.vp_id,
        generated_at=tables.as_of,
        window=tables.window,
        end=tables.as_of,
        source=tables.source,
        kind=tables.kind,
        quality=tables.quality,
    )


def _part(model: type[_Part], value: Any) -> _Part | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _degraded_events(content: Mapping[str, Any], session_events: pd.DataFrame, start: datetime | None) -> int | None:
    """Counts degraded events since ``start``; ``None`` where the gateway's oldest events may hide the newest."""
    known = snapshot_tables.counts(content.get("session_event_counts"))
    if known is None or "recent_session_events" not in content:
        return None
    if not content.get("events_complete") and sum(known.values()) in snapshot_tables.USUAL_EVENT_LIMITS:
        return None
    degraded = session_events[session_events["event_type"] == SESSION_DEGRADED]
    return len(degraded) if start is None else int((degraded["created_at"] >= start).sum())


def _recent_mission(row: Mapping[Any, Any]) -> endpoint.RecentMission:
    plain = {column: None if pd.isna(value) else value for column, value in row.items()}
    return endpoint.RecentMission(
        mission_id=plain["mission_id"],
        status=plain["status_text"],
        objective=plain["objective"],
        run_id=plain["run_id"],
        started_at=plain["started_at_text"],
        completed_at=plain["completed_at_text"],
        updated_at=plain["updated_at_text"],
        result_ref=plain["result_ref"],
        duration_seconds=plain["duration_seconds"],
        fallback_seen=bool(plain["fallback_events"]),
    )


def _event(row: Mapping[Any, Any]) -> dict[str, Any]:
    columns = EVENT_COLUMNS if "mission_id" in row else SESSION_EVENT_COLUMNS
    stored = {**row, "created_at": row["created_at_text"]}
    return endpoint.event_view({column: None if pd.isna(stored[column]) else stored[column] for column in columns})
