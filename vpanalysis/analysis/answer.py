"""The endpoint's answer from a window's tables, and how far the gateway's own answer is from it."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis.decision import rule_table
from vpanalysis.analysis.metrics import Metrics, summarize, texts
from vpanalysis.analysis.policy import Policy
from vpanalysis.data import snapshot as contract
from vpanalysis.data.schema import EVENT_COLUMNS, SESSION_EVENT_COLUMNS, UNKNOWN
from vpanalysis.data.snapshot_tables import as_model, snapshot_tables
from vpanalysis.data.tables import Tables


def snapshot(tables: Tables, *, event_limit: int = 200) -> contract.Snapshot:
    """Returns the endpoint's answer for a window, counted from *all* events of its missions.

    Args:
        tables: A window's tables.
        event_limit: How many of the newest events the ``recent_*`` lists hold, clamped to 1..1000; it shapes
            nothing else.

    Raises:
        InputError: All that the source has is a snapshot, and that lacks a key of the contract.
    """
    limit = contract.clamp_event_limit(event_limit)
    if tables.snapshot is not None:
        answer = as_model(tables.snapshot, tables.source)
        return answer.model_copy(
            update={
                "recent_events": answer.recent_events[-limit:],
                "recent_session_events": answer.recent_session_events[-limit:],
            }
        )
    metrics = summarize(tables)
    newest_first = tables.missions.iloc[::-1]
    recent = tables.events[tables.events["recent"]].tail(limit)
    assert metrics.generated_at is not None
    assert metrics.recovery is not None
    assert metrics.session_health is not None
    return contract.Snapshot(
        generated_at=metrics.generated_at.astimezone(UTC).isoformat(),
        vp_id=tables.window.vp_id,
        session=dict(metrics.session) if metrics.session is not None else None,
        mission_counts=contract.count_names(texts(tables.missions["status_text"])),
        event_counts=dict(tables.event_counts),
        session_event_counts=dict(metrics.session_event_counts or {}),
        fallback=contract.fallback(
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


def compare_with_gateway(own: Metrics, gateway: contract.Snapshot) -> str | None:
    """Returns in a sentence how far the gateway's own numbers are from ours; ``None`` when they agree.

    Args:
        own: The newest missions' metrics from all their events; for a fair comparison as many missions as the
            gateway considered.
        gateway: What the gateway answers for the lane, ``source.gateway_snapshot(...)``.
    """
    parts = [
        f"{article}{theirs} {name} instead of {ours}"
        if not article
        else f"{article} {name} of {theirs} instead of {ours}"
        for article, name, theirs, ours in (
            ("", "missions considered", gateway.fallback.missions_considered, own.fallback.missions_considered),
            (
                "",
                "missions with a fallback",
                gateway.fallback.missions_with_fallback,
                own.fallback.missions_with_fallback,
            ),
            ("a", "fallback rate", formatting.percent(gateway.fallback.rate), formatting.percent(own.fallback.rate)),
            (
                "a",
                "p95",
                formatting.duration(gateway.latency_seconds.p95_seconds),
                formatting.duration(own.latency_seconds.p95_seconds),
            ),
        )
        if theirs != ours
    ]
    if not parts:
        return None
    events = formatting.count(sum(gateway.event_counts.values()), "event")
    listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    newest = formatting.count(gateway.fallback.missions_considered, "newest mission")
    return f"For the {newest} the gateway, which counts only the lane's oldest {events}, reports {listed}."


def gateway_misleads(own: Metrics, gateway: contract.Snapshot, policy: Policy) -> bool:
    """Returns whether the gateway's own numbers would have passed the rule table where ours do not.

    Args:
        own: As for `compare_with_gateway`.
        gateway: Likewise.
        policy: Whose thresholds judge both.
    """
    theirs = summarize(snapshot_tables(gateway.model_dump(mode="json")))
    return rule_table(theirs, policy).caution == "HEALTHY" != rule_table(own, policy).caution


def _recent_mission(row: Mapping[Any, Any]) -> contract.RecentMission:
    plain = {column: None if pd.isna(value) else value for column, value in row.items()}
    return contract.RecentMission(
        mission_id=plain["mission_id"],
        status=plain["status_text"] or UNKNOWN,
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
    return contract.event_view({column: None if pd.isna(stored[column]) else stored[column] for column in columns})
