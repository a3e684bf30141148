"""The endpoint's JSON contract from our own metrics, and our metrics from such a snapshot."""

import math
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import pandas as pd

from vpanalysis.analysis.metrics import FallbackShare, Metrics, summarize, texts
from vpanalysis.data import endpoint
from vpanalysis.data.schema import EVENT_COLUMNS, SESSION_EVENT_COLUMNS
from vpanalysis.data.tables import DataQuality, Tables
from vpanalysis.data.timestamps import parse_time


def snapshot(tables: Tables, *, event_limit: int = 200) -> endpoint.Snapshot:
    """Returns the endpoint's answer for a window, counted from *all* events of its missions.

    Args:
        tables: A window's tables.
        event_limit: How many of the newest events the ``recent_*`` lists hold, clamped to 1..1000; it shapes
            nothing else.
    """
    metrics = summarize(tables)
    limit = endpoint.clamp_event_limit(event_limit)
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
        content: A mapping that follows the endpoint's contract; only ``fallback`` and ``latency_seconds`` are
            needed.

    Raises:
        ValueError: One of those two is not a mapping.
    """
    fallback, seconds = _part(content, "fallback"), _part(content, "latency_seconds")
    generated = content.get("generated_at")
    session = content.get("session")
    recovery, health = content.get("recovery"), content.get("session_health")
    return Metrics(
        vp_id=str(content.get("vp_id") or ""),
        generated_at=parse_time(generated) if isinstance(generated, str) else None,
        window=None,
        start=None,
        end=None,
        provisional=True,
        source="snapshot",
        kind="snapshot",
        fallback=FallbackShare(
            missions_considered=_count(fallback.get("missions_considered")),
            missions_with_fallback=_count(fallback.get("missions_with_fallback")),
            rate=_number(fallback.get("rate")),
        ),
        latency_seconds=endpoint.LatencySeconds(
            count=_count(seconds.get("count")) or 0,
            avg_seconds=_number(seconds.get("avg_seconds")),
            p50_seconds=_number(seconds.get("p50_seconds")),
            p95_seconds=_number(seconds.get("p95_seconds")),
            max_seconds=_number(seconds.get("max_seconds")),
        ),
        queue_wait_seconds=None,
        mission_counts=_counts(content.get("mission_counts")),
        event_counts=_counts(content.get("event_counts")),
        session_event_counts=_counts(content.get("session_event_counts")),
        recovery=endpoint.Recovery(**recovery) if isinstance(recovery, Mapping) else None,
        session_health=endpoint.SessionHealth(**health) if isinstance(health, Mapping) else None,
        session_known="session" in content,
        session=session if isinstance(session, Mapping) else None,
        session_status=str(session.get("status") or "unknown") if isinstance(session, Mapping) else None,
        degraded_events=None,
        missions=None,
        events=None,
        session_events=None,
        quality=DataQuality(truncated_events=None if content.get("events_complete") else True),
    )


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = content.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"This is no metrics snapshot: its {name!r} is missing or not an object.")
    return part


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or number < 0 or number != int(number) else int(number)


def _counts(value: Any) -> dict[str, int] | None:
    if not isinstance(value, Mapping):
        return None
    return {str(name): count for name, item in value.items() if (count := _count(item)) is not None}


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
