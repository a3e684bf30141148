"""Missions' frames and metrics for tests of calculations, with what each test cares about and defaults for the rest."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.data.snapshot_tables import snapshot_of, snapshot_tables
from vpanalysis.data.tables import DataQuality, Tables, missions_frame
from vpanalysis.data.window import RolloutWindow

LANE = "vp.coder.primary"
NOON = datetime(2026, 2, 16, 12, 0, tzinfo=UTC)

_TERMINAL = ("completed", "failed", "cancelled", "timed_out")
_TERMINAL_EVENT = {"timed_out": "failed"}


def mission(
    created: float = -3600.0,
    *,
    wait: float | None = 1.0,
    run: float | None = 10.0,
    status: str = "completed",
    fallback: bool = False,
    **columns: Any,
) -> dict[str, Any]:
    """One mission's row: ``created`` is in seconds from noon; ``wait`` or ``run`` None is a missing stamp."""
    start = NOON + timedelta(seconds=created)
    started = None if wait is None else start + timedelta(seconds=wait)
    completed = None if started is None or run is None else started + timedelta(seconds=run)
    outcome = status if status in _TERMINAL else None
    events = ["dispatched"] + ["started"] * (started is not None) + ["fallback"] * fallback
    events += [_TERMINAL_EVENT.get(outcome, outcome)] if outcome else []
    return {
        "mission_id": f"m{created:g}",
        "status": status,
        "created_at": start,
        "started_at": started,
        "completed_at": completed,
        "dispatched_at": start,
        "started_event_at": started,
        "ended_event_at": completed if outcome else None,
        "queue_wait_seconds": wait,
        "duration_seconds": run if completed else None,
        "events": len(events),
        "fallback_events": int(fallback),
        "ended_event": f"vp.mission.{events[-1]}" if outcome else None,
        "sequence": " > ".join(f"vp.mission.{name}" for name in events),
    } | columns


def events_frame(rows: Sequence[tuple[str | None, str, datetime | None, str | None]] = ()) -> pd.DataFrame:
    """Events of ``(mission_id, event_type, created_at, payload_json)``."""
    frame = pd.DataFrame(list(rows), columns=["mission_id", "event_type", "created_at", "payload_json"])
    frame["created_at"] = pd.to_datetime(frame["created_at"], utc=True)
    return frame.assign(recent=True)


def metrics_from_snapshot(content: Mapping[str, Any]) -> Metrics:
    """The metrics of a mapping that follows the endpoint's contract."""
    return summarize(snapshot_tables(snapshot_of(content, "The mapping")))


def metrics_of(
    rows: Sequence[Mapping[str, Any]] = (),
    *,
    at: datetime = NOON,
    session: Mapping[str, Any] | None = None,
    session_events: Sequence[tuple[str, datetime | None]] = (),
    events: pd.DataFrame | None = None,
    quality: DataQuality | None = None,
    window: RolloutWindow | None = None,
    **more: Any,
) -> Metrics:
    """The metrics of a window of these missions, judged at ``at``."""
    lifecycle = pd.DataFrame(list(session_events), columns=["event_type", "created_at"])
    lifecycle["created_at"] = pd.to_datetime(lifecycle["created_at"], utc=True)
    return summarize(
        Tables(
            window=window or RolloutWindow(LANE, last_missions=1000, as_of=at),
            as_of=at,
            source="vp_state.db",
            kind="sqlite",
            missions=missions_frame(rows),
            events=events_frame() if events is None else events,
            event_counts={},
            session=session,
            session_events=lifecycle,
            quality=quality or DataQuality(),
            **more,
        )
    )
