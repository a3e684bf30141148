"""The metrics endpoint's JSON contract ("the snapshot"): its model and what its numbers are."""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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


class Strict(BaseModel):
    """What is published as JSON: it cannot be changed, and a field that it does not name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Fallback(Strict):
    """How many of the missions considered fell back to the primary path."""

    missions_considered: int = Field(ge=0, description="Distinct non-empty mission ids.")
    missions_with_fallback: int = Field(ge=0, description="Those with a vp.mission.fallback event.")
    rate: float = Field(ge=0, le=1, description="Share with a fallback; 0.0 without missions.")


class LatencySeconds(Strict):
    """Durations in seconds; every statistic but ``count`` is null without a duration."""

    count: int = Field(ge=0, description="Missions with both times.")
    avg_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    max_seconds: float | None


class Recovery(Strict):
    """Degraded sessions and how many of them were resumed."""

    attempts: int = Field(ge=0, description="vp.session.degraded events.")
    successes: int = Field(ge=0, description="Those followed by a vp.session.resumed while open.")
    success_rate: float | None = Field(description="successes / attempts; null without attempts.")


class SessionHealth(Strict):
    """Whether the lane's session was left without a working owner."""

    currently_orphaned: bool = Field(description="The session's status is degraded or recovering.")
    orphan_signals: int = Field(ge=0, description="Attempts still open; at least 1 when currently orphaned.")
    orphan_rate: float = Field(description="signals / attempts; without attempts 1.0 when orphaned, else 0.0.")


class RecentMission(Strict):
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


class Snapshot(Strict):
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

    @property
    def of_any(self) -> float | None:
        """The rate, or ``None`` without missions, of which the contract says 0."""
        return self.rate if self.missions_considered else None


@dataclass(frozen=True)
class Numbers:
    """The contract's numbers over a window; of what a snapshot does not say, ``None``."""

    fallback: FallbackShare
    latency_seconds: LatencySeconds
    mission_counts: Mapping[str, int] | None
    event_counts: Mapping[str, int] | None
    session_event_counts: Mapping[str, int] | None
    recovery: Recovery | None
    session_health: SessionHealth | None


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


def session_view(row: Mapping[str, Any] | None, now: datetime | None) -> dict[str, Any] | None:
    """Returns the ``vp_sessions`` row with ``metadata`` (when it is an object) and its staleness at ``now``."""
    if row is None:
        return None
    metadata = parse_payload(row.get("metadata_json"))
    reason = _stale_reason(row, now)
    return {
        **row,
        **({"metadata": metadata} if isinstance(metadata, dict) else {}),
        "stale": reason is not None,
        "stale_reason": reason,
        "effective_status": "stale" if reason else session_status(row) or UNKNOWN,
    }


def session_status(row: Mapping[str, Any]) -> str:
    """Returns a session's status as the gateway compares it: stripped and lowered; ``""`` without one."""
    return str(row.get("status") or "").strip().lower()


def _stale_reason(row: Mapping[str, Any], now: datetime | None) -> str | None:
    """Why an active session counts as stale (the gateway's words); ``None`` when it does not."""
    if now is None or session_status(row) not in ("active", "running", "healthy"):
        return None
    for column, reason in (("last_heartbeat_at", "heartbeat_timeout"), ("updated_at", "update_timeout")):
        moment = moment_of(row.get(column))
        if moment is not None:
            return reason if (now - moment).total_seconds() > stale_seconds() else None
    return "missing_timestamps"


def moment_of(value: Any) -> datetime | None:
    """Returns the moment that a stamp means, in UTC; ``None`` when it is none."""
    return parse_time(value) if isinstance(value, str) else None


def stale_seconds() -> int:
    """Returns the seconds after which a heartbeat is stale: ``UA_VP_STALE_SESSION_SECONDS``, at least 60; else 900."""
    try:
        return max(60, int(os.environ["UA_VP_STALE_SESSION_SECONDS"]))
    except (KeyError, ValueError):
        return STALE_SECONDS


def event_view(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an event's columns with ``payload`` (the parsed JSON or ``None``) in place of ``payload_json``."""
    view = {column: value for column, value in row.items() if column != "payload_json"}
    view["event_type"] = view.get("event_type") or UNKNOWN
    view["payload"] = parse_payload(row.get("payload_json"))
    return view


def parse_payload(text: Any) -> Any:
    """Returns the JSON value of a payload's text, or ``None`` where it is not JSON.

    NaN and 1e999 are not; nor is what nests deeper than ``MAX_DEPTH``, which would make the whole answer unreadable
    for ``jq``. Lone surrogates, which no encoder takes, become question marks.
    """
    if not isinstance(text, str):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_strictly_finite)
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
    while nested := [part for part in level if isinstance(part, list | dict)]:
        level = [item for part in nested for item in (part.values() if isinstance(part, dict) else part)]
        depth += 1
    return depth


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _strictly_finite(text: str) -> float:
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
