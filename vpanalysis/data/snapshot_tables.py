"""Tables out of a metrics snapshot: what the endpoint's JSON tells about missions, events and the session."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
from typing import Any

import pandas as pd
from pydantic import ValidationError

from vpanalysis.data import endpoint
from vpanalysis.data.schema import (
    DISPATCHED,
    EVENT_COLUMNS,
    FALLBACK,
    MISSION_STATUSES,
    PROGRESS,
    SESSION_EVENT_COLUMNS,
    STARTED,
    TERMINAL_EVENTS,
    TERMINAL_STATUSES,
    UNKNOWN,
)
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.timestamps import parse_time
from vpanalysis.errors import InputError

#: The event limits that playbook, capture helper and endpoint use: a saved snapshot does not say which one it had.
USUAL_EVENT_LIMITS = (100, 180, 200, 400, 500, 1000)
_MISSION_TEXTS = ("mission_id", "run_id", "objective", "result_ref")
_MISSION_TIMES = ("started_at", "completed_at", "updated_at")


@dataclass(frozen=True)
class SnapshotRows:
    """The rows that a snapshot lists, in the shape of :class:`~vpanalysis.data.tables.Tables`.

    Attributes:
        missions: The missions considered; ``None`` when the snapshot does not list them all. ``created_at`` is
            the time of the dispatched event or, failing that, ``started_at``, as snapshots do not hold it;
            ``queue_wait_seconds`` is unknown.
        events: The listed events of these missions.
        event_counts: The snapshot's own.
        session_events: The listed session events.
        quality: What is wrong with them.
    """

    missions: pd.DataFrame | None
    events: pd.DataFrame
    event_counts: Mapping[str, int]
    session_events: pd.DataFrame
    quality: DataQuality


def parse_snapshot(data: bytes, name: str) -> dict[str, Any]:
    """Returns the snapshot in ``data``, unwrapped where it is the dashboard endpoint's answer.

    Numbers that JSON does not have (NaN, Infinity, 1e999) become ``None``: unknown.

    Raises:
        InputError: It is no JSON, no snapshot, or the dashboard's word that there are no metrics.
    """
    try:
        content = json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None, parse_float=_finite)
        content = endpoint.clean(content)
    except (ValueError, RecursionError):
        raise InputError(f"{name} is not JSON: give the answer of a metrics endpoint.") from None
    return snapshot_of(content, name)


def snapshot_of(content: Any, name: str) -> dict[str, Any]:
    """Returns ``content`` as a snapshot, unwrapped where it is the dashboard endpoint's answer.

    Raises:
        InputError: It is no snapshot, or the dashboard's word that there are no metrics.
    """
    if isinstance(content, Mapping) and "metrics" in content and "fallback" not in content:
        if not isinstance(content["metrics"], Mapping):
            detail = " ".join(str(content.get("detail") or "no reason given").split())[:200]
            raise InputError(f"{name} says that the metrics are unavailable ({detail}): see the gateway's log.")
        content = content["metrics"]
    if not isinstance(content, Mapping):
        raise InputError(f"{name} is no metrics snapshot: it is JSON, but not an object.")
    for part in ("fallback", "latency_seconds"):
        if not isinstance(content.get(part), Mapping):
            raise InputError(f"{name} is no metrics snapshot: its {part!r} is missing or not an object.")
    return dict(content)


def as_model(content: Mapping[str, Any], name: str) -> endpoint.Snapshot:
    """Returns a snapshot as the contract's model; keys that the contract does not know are left out.

    Raises:
        InputError: It lacks a key of the contract, or holds something else there.
    """
    known = {key: content[key] for key in endpoint.Snapshot.model_fields if key in content}
    if isinstance(known.get("recent_missions"), list):
        known["recent_missions"] = [
            {key: row[key] for key in endpoint.RecentMission.model_fields if key in row}
            if isinstance(row, dict)
            else row
            for row in known["recent_missions"]
        ]
    try:
        return endpoint.Snapshot.model_validate(known)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(f"{name} does not follow the snapshot's contract at {where}.") from None


def counts(value: Any) -> dict[str, int] | None:
    """Returns a snapshot's counts by name, without what is no count; ``None`` when it has none."""
    if not isinstance(value, Mapping):
        return None
    return {str(name): count for name, item in value.items() if (count := whole(item)) is not None}


def number(value: Any) -> float | None:
    """Returns a finite number that is not negative; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def whole(value: Any) -> int | None:
    """Returns a whole number that is not negative; ``None`` for anything else."""
    found = number(value)
    return None if found is None or found != int(found) else int(found)


def generated_at(content: Mapping[str, Any]) -> datetime | None:
    """Returns when the snapshot was taken, in UTC; ``None`` when it does not say."""
    value = content.get("generated_at")
    return parse_time(value) if isinstance(value, str) else None


def read_rows(content: Mapping[str, Any], event_limit: int | None = None) -> SnapshotRows:
    """Returns what a snapshot lists.

    Args:
        content: The snapshot.
        event_limit: How many events it was asked for; ``None`` when that is not known.
    """
    listed, missions = _mappings(content.get("recent_missions")), None
    events = _events(content.get("recent_events"), EVENT_COLUMNS)
    session_events = _events(content.get("recent_session_events"), SESSION_EVENT_COLUMNS)
    quality: dict[str, Any] = {"truncated_events": _truncated(content, listed, events, event_limit)}
    if listed is not None and len(listed) == sum((counts(content.get("mission_counts")) or {}).values()):
        missions = _missions(listed[::-1], events)
        considered = set(missions["mission_id"])
        events = [event for event in events if event["mission_id"] in considered]
        quality |= _mission_quality(missions)
    return SnapshotRows(
        missions=missions,
        events=_frame(events, EVENT_COLUMNS),
        event_counts=counts(content.get("event_counts")) or {},
        session_events=_frame(session_events, SESSION_EVENT_COLUMNS),
        quality=DataQuality(**quality),
    )


def no_missions() -> pd.DataFrame:
    """Returns a missions frame without a row."""
    return _missions([], [])


def _truncated(
    content: Mapping[str, Any], listed: list[Mapping[str, Any]] | None, events: list[dict[str, Any]], limit: int | None
) -> bool | None:
    """Whether events are missing: ``None`` for certainly not, ``False`` where nothing shows it."""
    if content.get("events_complete") is True:
        return None
    by_type = counts(content.get("event_counts"))
    if by_type is None:
        return False
    total = sum(by_type.values())
    if total in USUAL_EVENT_LIMITS if limit is None else total >= limit:
        return True
    if listed is not None and total == len(events):
        dispatched = {event["mission_id"] for event in events if event["event_type"] == DISPATCHED}
        return any(_text(row.get("mission_id")) not in dispatched for row in listed if row.get("mission_id"))
    considered = whole(_mapping(content.get("fallback")).get("missions_considered")) or 0
    return by_type.get(DISPATCHED, 0) < considered


def _missions(rows: list[Mapping[str, Any]], events: list[dict[str, Any]]) -> pd.DataFrame:
    told: dict[str | None, list[dict[str, Any]]] = {}
    for event in events:
        told.setdefault(event["mission_id"], []).append(event)
    records = [_mission(row, told.get(_text(row.get("mission_id")), [])) for row in rows]
    frame = pd.DataFrame.from_records(records, columns=list(_mission({}, [])))
    for column in frame.columns:
        if column.endswith("_at"):
            frame[column] = _times(frame[column])
        elif column.endswith("_seconds"):
            frame[column] = frame[column].astype(float)
    return frame.astype({"events": "int64", "fallback_events": "int64"})


def _mission(row: Mapping[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    texts = {column: _text(row.get(column)) for column in (*_MISSION_TEXTS, *_MISSION_TIMES, "status")}
    times = {column: parse_time(texts[column]) for column in _MISSION_TIMES}
    first: dict[str, datetime] = {}
    for event in events:
        if event["created_at"] is not None:
            first.setdefault(event["event_type"], event["created_at"])
    ended = [event for event in events if event["event_type"] in TERMINAL_EVENTS][-1:]
    ended_event, ended_event_at = (ended[0]["event_type"], ended[0]["created_at"]) if ended else (None, None)
    terminal = texts["status"] in TERMINAL_STATUSES
    outcome = texts["status"] if terminal else TERMINAL_EVENTS.get(ended_event or "")
    ended_at = times["completed_at"] or ended_event_at or (times["updated_at"] if terminal else None)
    fallbacks = sum(event["event_type"] == FALLBACK for event in events)
    if "fallback_seen" in row:
        fallbacks = max(fallbacks, 1) if row["fallback_seen"] is True else 0
    steps = [(event["event_type"] or UNKNOWN)[:80] for event in events if event["event_type"] != PROGRESS]
    return {
        **{column: texts[column] for column in _MISSION_TEXTS},
        "status": texts["status"] if texts["status"] in MISSION_STATUSES else UNKNOWN,
        "created_at": first.get(DISPATCHED) or times["started_at"],
        **times,
        "dispatched_at": first.get(DISPATCHED),
        "started_event_at": first.get(STARTED),
        "fallback_at": first.get(FALLBACK),
        "ended_event_at": ended_event_at,
        "queue_wait_seconds": None,
        "duration_seconds": number(row.get("duration_seconds")),
        "events": len(events),
        "fallback_events": fallbacks,
        "ended_event": ended_event,
        "sequence": " > ".join(steps) if DISPATCHED in first else "",
        "outcome": outcome,
        "ended_at": ended_at if outcome else None,
        "status_text": texts["status"],
        "created_at_text": None,
        **{f"{column}_text": texts[column] for column in _MISSION_TIMES},
    }


def _mission_quality(missions: pd.DataFrame) -> dict[str, Any]:
    named = missions.loc[missions["mission_id"].fillna("") != "", "mission_id"]
    statuses = [_text(status) or "" for status in missions["status_text"]]
    unreadable = {
        f"vp_missions.{column}": int((missions[column].isna() & (missions[f"{column}_text"].fillna("") != "")).sum())
        for column in _MISSION_TIMES
    }
    return {
        "duplicate_missions": len(named) - named.nunique(),
        "missions_without_id": len(missions) - len(named),
        "unknown_statuses": dict(Counter(status for status in statuses if status not in MISSION_STATUSES)),
        "backwards_clocks": int((missions["completed_at"] < missions["started_at"]).sum()),
        "unreadable_times": {column: count for column, count in unreadable.items() if count},
    }


def _events(value: Any, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Returns listed events, oldest first, their payload as text again."""
    events = []
    for row in _mappings(value) or []:
        event: dict[str, Any] = {column: _text(row.get(column)) for column in columns}
        payload = row.get("payload")
        event["payload_json"] = None if payload is None else json.dumps(payload, ensure_ascii=False)
        event["created_at_text"] = event["created_at"]
        event["created_at"] = parse_time(event["created_at"])
        events.append(event | {"recent": True})
    return sorted(events, key=lambda event: (event["created_at"] is not None, event["created_at"]))


def _frame(events: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(events, columns=[*columns, "created_at_text", "recent"])
    frame["created_at"] = _times(frame["created_at"])
    return frame


def _times(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return pd.Series(list(column), index=column.index, dtype="datetime64[us, UTC]")


def _mappings(value: Any) -> list[Mapping[str, Any]] | None:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    """Returns a value as SQLite's TEXT would hold it; ``None`` when missing."""
    return None if value is None or value != value else str(value)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None
