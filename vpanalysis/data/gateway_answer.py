"""The gateway's own answer, computed as it does: from the lane's oldest events, in text order."""

from datetime import datetime
from typing import Any

from vpanalysis.data import snapshot
from vpanalysis.data.reading import Reading, literal, session_row
from vpanalysis.data.schema import EVENT_COLUMNS, FALLBACK, SESSION_EVENT_COLUMNS, UNKNOWN
from vpanalysis.data.timestamps import parse_time

_MISSION_COLUMNS = (
    "mission_id",
    "status",
    "objective",
    "run_id",
    "started_at",
    "completed_at",
    "updated_at",
    "result_ref",
)


def gateway_answer(
    reading: Reading, vp_id: str, mission_limit: int, event_limit: int, now: datetime
) -> snapshot.Snapshot:
    """Returns the endpoint's answer for a lane; an unknown lane is an empty one with ``session: null``.

    It considers the newest ``mission_limit`` missions and the *oldest* ``event_limit`` events, both by the text
    of ``created_at`` (ties by rowid): once a lane has more events than that, new fallbacks are not in it.
    """
    lane = f"vp_id = {literal(vp_id)}"
    newest = f"ORDER BY created_at DESC, rowid DESC LIMIT {mission_limit}"
    oldest = f"ORDER BY created_at, rowid LIMIT {event_limit}"
    reading.fetch("answer_missions", "vp_missions", _MISSION_COLUMNS, lane, order=newest)
    reading.fetch("answer_events", "vp_events", EVENT_COLUMNS, lane, order=oldest)
    reading.fetch("answer_session_events", "vp_session_events", SESSION_EVENT_COLUMNS, lane, order=oldest)
    missions = reading.rows(f"SELECT {', '.join(_MISSION_COLUMNS)} FROM answer_missions")
    events = reading.rows(f"SELECT {', '.join(EVENT_COLUMNS)} FROM answer_events")
    session_events = reading.rows(f"SELECT {', '.join(SESSION_EVENT_COLUMNS)} FROM answer_session_events")
    session = session_row(reading, lane)

    ids = {mission["mission_id"] for mission in missions if mission["mission_id"]}
    fell_back = {event["mission_id"] for event in events if event["event_type"] == FALLBACK} & ids
    seconds = [_duration_seconds(mission) for mission in missions]
    recovery, health = snapshot.session_signals(
        session.get("status") if session else None, (event["event_type"] for event in session_events)
    )
    return snapshot.Snapshot(
        generated_at=now.isoformat(),
        vp_id=vp_id,
        session=snapshot.session_view(session, now),
        mission_counts=snapshot.count_names(mission["status"] for mission in missions),
        event_counts=snapshot.count_names(event["event_type"] for event in events),
        session_event_counts=snapshot.count_names(event["event_type"] for event in session_events),
        fallback=snapshot.fallback(len(ids), len(fell_back)),
        latency_seconds=snapshot.latency(value for value in seconds if value is not None),
        recovery=recovery,
        session_health=health,
        recent_missions=[
            snapshot.RecentMission(
                **{**mission, "status": mission["status"] or UNKNOWN},
                duration_seconds=value,
                fallback_seen=mission["mission_id"] in fell_back,
            )
            for mission, value in zip(missions, seconds, strict=True)
        ],
        recent_events=[snapshot.event_view(event) for event in events],
        recent_session_events=[snapshot.event_view(event) for event in session_events],
    )


def _duration_seconds(mission: dict[str, Any]) -> float | None:
    start, end = parse_time(mission["started_at"]), parse_time(mission["completed_at"])
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
