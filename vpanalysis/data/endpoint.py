"""The metrics endpoint's JSON contract ("the snapshot"): its model, and how each number of it is defined."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vpanalysis.data.schema import (
    MAX_EVENT_LIMIT,
    MAX_MISSION_LIMIT,
    ORPHANED_STATUSES,
    SESSION_DEGRADED,
    SESSION_RESUMED,
    STALE_SECONDS,
    UNKNOWN,
)
from vpanalysis.data.timestamps import parse_time


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fallback(_Part):
    """How many of the missions considered fell back to the primary path."""

    missions_considered: int = Field(ge=0, description="Distinct non-empty mission ids.")
    missions_with_fallback: int = Field(ge=0, description="Those with a vp.mission.fallback event.")
    rate: float = Field(ge=0, le=1, description="Share with a fallback; 0.0 without missions.")


class LatencySeconds(_Part):
    """Durations in seconds; every statistic but ``count`` is null without a duration."""

    count: int = Field(ge=0, description="Missions with both times.")
    avg_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    max_seconds: float | None


class Recovery(_Part):
    """Degraded sessions and how many of them were resumed."""

    attempts: int = Field(ge=0, description="vp.session.degraded events.")
    successes: int = Field(ge=0, description="Those followed by a vp.session.resumed while open.")
    success_rate: float | None = Field(description="successes / attempts; null without attempts.")


class SessionHealth(_Part):
    """Whether the lane's session was left without a working owner."""

    currently_orphaned: bool = Field(description="The session's status is degraded or recovering.")
    orphan_signals: int = Field(ge=0, description="Attempts still open; at least 1 when currently orphaned.")
    orphan_rate: float = Field(description="signals / attempts; without attempts 1.0 when orphaned, else 0.0.")


class RecentMission(_Part):
    """One mission considered, its columns as stored."""

    mission_id: str | None
    status: str | None
    objective: str | None
    run_id: str | None
    started_at: str | None
    completed_at: str | None
    updated_at: str | None
    result_ref: str | None
    duration_seconds: float | None
    fallback_seen: bool


class Snapshot(_Part):
    """The answer of ``GET /api/v1/ops/metrics/coder-vp``.

    ``events_complete`` is our own key: ``true`` when every event of the missions considered was counted. The
    gateway's own answer lacks it, and counts only the lane's oldest ``event_limit`` events.
    """

    generated_at: str = Field(description="ISO 8601, UTC.")
    vp_id: str
    session: dict[str, Any] | None = Field(description="The vp_sessions row; null when there is none.")
    mission_counts: dict[str, int]
    event_counts: dict[str, int]
    session_event_counts: dict[str, int]
    fallback: Fallback
    latency_seconds: LatencySeconds
    recovery: Recovery
    session_health: SessionHealth
    recent_missions: list[RecentMission] = Field(description="Newest first.")
    recent_events: list[dict[str, Any]] = Field(description="Oldest first.")
    recent_session_events: list[dict[str, Any]] = Field(description="Oldest first.")
    events_complete: bool | None = Field(
        default=None, exclude_if=lambda value: value is None, description="Absent in the gateway's own answer."
    )


def clamp_mission_limit(limit: int) -> int:
    """Returns ``limit`` within the endpoint's 1..500."""
    return max(1, min(limit, MAX_MISSION_LIMIT))


def clamp_event_limit(limit: int) -> int:
    """Returns ``limit`` within the endpoint's 1..1000."""
    return max(1, min(limit, MAX_EVENT_LIMIT))


def count_names(names: Iterable[str | None]) -> dict[str, int]:
    """Returns how often each name occurs, most frequent first; empty and missing ones as ``unknown``."""
    return dict(Counter(name or UNKNOWN for name in names).most_common())


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """Returns the value at index ``round((n - 1) * q)`` (half to even) of n sorted values; ``None`` at n = 0."""
    return ordered[round((len(ordered) - 1) * q)] if ordered else None


def latency(seconds: Iterable[float]) -> LatencySeconds:
    """Returns the endpoint's latency statistics of durations in seconds."""
    ordered = sorted(seconds)
    return LatencySeconds(
        count=len(ordered),
        avg_seconds=math.fsum(ordered) / len(ordered) if ordered else None,
        p50_seconds=percentile(ordered, 0.50),
        p95_seconds=percentile(ordered, 0.95),
        max_seconds=ordered[-1] if ordered else None,
    )


def fallback(considered: int, with_fallback: int) -> Fallback:
    """Returns the fallback metrics; the rate is 0.0 without missions."""
    return Fallback(
        missions_considered=considered,
        missions_with_fallback=with_fallback,
        rate=with_fallback / considered if considered else 0.0,
    )


def session_signals(status: str | None, event_types: Iterable[str | None]) -> tuple[Recovery, SessionHealth]:
    """Walks session events in time order: ``degraded`` opens an attempt, ``resumed`` closes one that is open."""
    attempts = successes = still_open = 0
    for event_type in event_types:
        if event_type == SESSION_DEGRADED:
            attempts += 1
            still_open += 1
        elif event_type == SESSION_RESUMED and still_open:
            successes += 1
            still_open -= 1
    orphaned = status in ORPHANED_STATUSES
    signals = max(still_open, 1) if orphaned else still_open
    return (
        Recovery(attempts=attempts, successes=successes, success_rate=successes / attempts if attempts else None),
        SessionHealth(
            currently_orphaned=orphaned,
            orphan_signals=signals,
            orphan_rate=signals / attempts if attempts else float(orphaned),
        ),
    )


def session_view(row: Mapping[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    """Returns the ``vp_sessions`` row with ``metadata`` (when it is an object) and its staleness at ``now``."""
    if row is None:
        return None
    view = dict(row)
    metadata = parse_payload(row.get("metadata_json"))
    if isinstance(metadata, dict):
        view["metadata"] = metadata
    age, column = session_age_seconds(row, now)
    stale = row.get("status") == "active" and age is not None and age > STALE_SECONDS
    view["stale"] = stale
    view["stale_reason"] = f"{column} older than {STALE_SECONDS} s" if stale else None
    view["effective_status"] = "stale" if stale else row.get("status")
    return view


def event_view(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an event's columns with ``payload`` (the parsed JSON or ``None``) in place of ``payload_json``."""
    view = {column: value for column, value in row.items() if column != "payload_json"}
    view["payload"] = parse_payload(row.get("payload_json"))
    return view


def session_age_seconds(row: Mapping[str, Any], now: datetime) -> tuple[float | None, str]:
    """Returns the seconds since the session's heartbeat, or failing that its update, and which it is."""
    for column in ("last_heartbeat_at", "updated_at"):
        text = row.get(column)
        moment = parse_time(text) if isinstance(text, str) else None
        if moment is not None:
            return (now - moment).total_seconds(), column
    return None, "updated_at"


def parse_payload(text: Any) -> Any:
    """Returns the JSON value of a payload's text, or ``None`` where it is not JSON.

    NaN and 1e999 are not; nor is what nests deeper than ``MAX_DEPTH``, which would make the whole answer unreadable
    for ``jq``. Lone surrogates, which no encoder takes, become question marks.
    """
    if not isinstance(text, str):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        return clean(value) if _depth_of(value) <= MAX_DEPTH else None
    except (ValueError, RecursionError):
        return None


#: How deep a payload may nest: jq 1.6 gives up on a document of 257 levels, pydantic on one of 255.
MAX_DEPTH = 200


def clean(value: Any) -> Any:
    """Returns a JSON value with lone surrogates in its texts replaced; most often the value itself."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        return _map_text(value, lambda part: part.encode("utf-8", "replace").decode())


def _depth_of(value: Any) -> int:
    depth, level = 0, [value]
    while level := [
        item
        for part in level
        if isinstance(part, list | dict)
        for item in (part.values() if isinstance(part, dict) else part)
    ]:
        depth += 1
    return depth


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_text(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): _map_text(item, change) for key, item in value.items()}
    return value
