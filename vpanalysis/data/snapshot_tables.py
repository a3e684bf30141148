"""What a snapshot that somebody else made tells: checked, its own numbers, and the tables of a window out of it."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from numbers import Real
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ValidationError

from vpanalysis.data.schema import (
    BEYOND_SECONDS,
    BRIDGE,
    DISPATCHED,
    EVENT_COLUMNS,
    FALLBACK,
    MISSION_STATUSES,
    PROGRESS,
    SESSION_EVENT_COLUMNS,
    STARTED,
    TERMINAL_EVENTS,
    UNKNOWN,
)
from vpanalysis.data.snapshot import (
    FallbackShare,
    LatencySeconds,
    Numbers,
    RecentMission,
    Recovery,
    SessionHealth,
    Snapshot,
    clean,
    moment_of,
)
from vpanalysis.data.tables import DataQuality, Known, Tables, events_frame, missions_frame
from vpanalysis.data.timestamps import parse_time
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

_Model = TypeVar("_Model", bound=BaseModel)

#: The event limits that playbook, capture helper and endpoint use: a saved snapshot does not say which one it had.
USUAL_EVENT_LIMITS = (100, 180, 200, 400, 500, 1000)
_TEXTS = ("mission_id", "run_id", "objective", "result_ref")
_TIMES = ("started_at", "completed_at", "updated_at")


def parse_snapshot(data: bytes, name: str) -> dict[str, Any]:
    """Returns the snapshot in ``data``, unwrapped where it is the dashboard endpoint's answer.

    Numbers that JSON does not have (NaN, Infinity, 1e999) become ``None``: unknown.

    Raises:
        InputError: It is no JSON, no snapshot, or the dashboard's word that there are no metrics.
    """
    try:
        content = json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None, parse_float=_finite)
        content = clean(content)
    except (ValueError, RecursionError):
        raise InputError(f"{name} is not JSON: give the answer of a metrics endpoint.") from None
    return snapshot_of(content, name)


def snapshot_of(content: Any, name: str) -> dict[str, Any]:
    """Returns ``content`` as a snapshot, unwrapped where it is the dashboard endpoint's answer.

    Raises:
        InputError: It is no snapshot, or the dashboard's word that there are no metrics.
    """
    if isinstance(content, Mapping) and "metrics" in content and "fallback" not in content:
        if not isinstance(content["metrics"], Mapping) or content.get("status") == "unavailable":
            detail = " ".join(str(content.get("detail") or "no reason given").split())[:200]
            raise InputError(f"{name} says that the metrics are unavailable ({detail}): see the gateway's log.")
        content = content["metrics"]
    if not isinstance(content, Mapping):
        raise InputError(f"{name} is not a metrics snapshot: it is JSON, but not an object.")
    for part in ("fallback", "latency_seconds"):
        if not isinstance(content.get(part), Mapping):
            raise InputError(f"{name} is not a metrics snapshot: its {part!r} is missing or not an object.")
    return dict(content)


def as_model(content: Mapping[str, Any], name: str) -> Snapshot:
    """Returns a snapshot as the contract's model; keys that the contract does not know are left out.

    Raises:
        InputError: It lacks a key of the contract, or holds something else there.
    """
    known = {key: content[key] for key in Snapshot.model_fields if key in content}
    if isinstance(known.get("recent_missions"), list):
        known["recent_missions"] = [
            {key: row[key] for key in RecentMission.model_fields if key in row} if isinstance(row, dict) else row
            for row in known["recent_missions"]
        ]
    try:
        return Snapshot.model_validate(known)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(f"{name} does not follow the snapshot's contract at {where}.") from None


def counts(value: Any) -> dict[str, int] | None:
    """Returns a snapshot's counts by name; ``None`` when it has none, or one of them is no count."""
    if not isinstance(value, Mapping):
        return None
    found = {str(name): whole(item) for name, item in value.items()}
    return None if None in found.values() else {name: count or 0 for name, count in found.items()}


#: No count and no number of seconds is larger.
_LARGEST = 1e12


def number(value: Any) -> float | None:
    """Returns a number from 0 to 10¹²; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if 0 <= found <= _LARGEST else None


def whole(value: Any) -> int | None:
    """Returns a whole number that is not negative; ``None`` for anything else."""
    found = number(value)
    return None if found is None or found != int(found) else int(found)


def generated_at(content: Mapping[str, Any]) -> datetime | None:
    """Returns when the snapshot was taken, in UTC; ``None`` when it does not say."""
    return moment_of(content.get("generated_at"))


def stated_numbers(content: Mapping[str, Any]) -> Numbers:
    """Returns a snapshot's own numbers; what is absent, NaN, infinite or negative is unknown."""
    fallback, seconds = content["fallback"], content["latency_seconds"]
    rate = number(fallback.get("rate"))
    none = whole(seconds.get("count")) == 0  # then there is nothing that a statistic could be of
    statistics = {
        name: None if none else number(seconds.get(name)) for name in LatencySeconds.model_fields if name != "count"
    }
    return Numbers(
        fallback=FallbackShare(
            missions_considered=whole(fallback.get("missions_considered")),
            missions_with_fallback=whole(fallback.get("missions_with_fallback")),
            rate=None if rate is None or rate > 1 else rate,
        ),
        latency_seconds=LatencySeconds(count=whole(seconds.get("count")) or 0, **statistics),
        mission_counts=counts(content.get("mission_counts")),
        event_counts=counts(content.get("event_counts")),
        session_event_counts=counts(content.get("session_event_counts")),
        recovery=_model(Recovery, content.get("recovery")),
        session_health=_model(SessionHealth, content.get("session_health")),
    )


def snapshot_tables(
    content: Mapping[str, Any],
    *,
    window: RolloutWindow | None = None,
    as_of: datetime | None = None,
    source: str = "snapshot",
    kind: str = "snapshot",
    event_limit: int | None = None,
    ends_before_window: datetime | None = None,
) -> Tables:
    """Returns what a snapshot tells, as the tables of a window.

    Of a mission, ``created_at`` is the time of its dispatched event or, failing that, its earliest stamp, for
    snapshots do not hold it; ``queue_wait_seconds`` is unknown, and of a worker only that there was one. A snapshot
    that does not list all its missions has none.

    Args:
        content: The snapshot, as `snapshot_of` returns it.
        window: The window it stands for; ``None``: its newest missions.
        as_of: The moment of judgement; ``None``: when it was taken.
        source: What was read, as reports name it.
        kind: ``snapshot`` or ``gateway``.
        event_limit: How many events it was asked for; ``None`` when that is not known.
        ends_before_window: As in :class:`~vpanalysis.data.tables.DataQuality`.
    """
    stated = stated_numbers(content)
    listed = _mappings(content.get("recent_missions"))
    events = _events(content.get("recent_events"), EVENT_COLUMNS)
    session_events = _events(content.get("recent_session_events"), SESSION_EVENT_COLUMNS)
    truncated = _truncated(content, listed, events, event_limit)
    every_event = truncated is not True and sum((stated.event_counts or {"": -1}).values()) == len(events)
    known = listed is not None and len(listed) == sum((stated.mission_counts or {}).values())
    missions = missions_frame(_missions(listed[::-1], events, every_event) if listed and known else [])
    if known:
        considered = set(missions["mission_id"])
        events = [event for event in events if event["mission_id"] in considered]
    session = content.get("session")
    taken = as_of or generated_at(content)
    return Tables(
        window=window or _own_window(content, stated),
        as_of=taken,
        source=source,
        kind=kind,
        missions=missions,
        events=events_frame(events, EVENT_COLUMNS),
        event_counts=stated.event_counts or {},
        session=session if isinstance(session, Mapping) else None,
        session_events=events_frame(session_events, SESSION_EVENT_COLUMNS),
        quality=DataQuality(
            truncated_events=truncated,
            ends_before_window=ends_before_window,
            malformed=tuple(
                name
                for name in ("mission_counts", "event_counts", "session_event_counts", "session_health")
                if content.get(name) is not None and getattr(stated, name) is None
            ),
            **_quality(missions, taken),
        ),
        known=Known(
            missions=known,
            events="recent_events" in content,
            queue_wait=False,
            session="session" in content,
            session_events=_all_session_events(content, stated, session_events, missions, event_limit),
        ),
        snapshot=content,
    )


def _own_window(content: Mapping[str, Any], stated: Numbers) -> RolloutWindow:
    missions = max(stated.fallback.missions_considered or 0, 1)
    try:
        return RolloutWindow(content["vp_id"], last_missions=missions)
    except (KeyError, InputError):
        return RolloutWindow(UNKNOWN, last_missions=missions)


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
    if _reaches(total, limit):
        return True
    dispatching = [row for row in listed or [] if not (_text(row.get("mission_id")) or BRIDGE).startswith(BRIDGE)]
    if listed is not None and total == len(events):
        dispatched = {event["mission_id"] for event in events if event["event_type"] == DISPATCHED}
        return any(_text(row.get("mission_id")) not in dispatched for row in dispatching)
    considered = whole(_mapping(content.get("fallback")).get("missions_considered")) or 0
    return by_type.get(DISPATCHED, 0) < (considered if listed is None else min(considered, len(dispatching)))


def _reaches(total: int, limit: int | None) -> bool:
    """Whether so many events may be all that the limit let through; one that is not known may be any usual one."""
    return total in USUAL_EVENT_LIMITS if limit is None else total >= limit


def _all_session_events(
    content: Mapping[str, Any],
    stated: Numbers,
    listed: list[dict[str, Any]],
    missions: pd.DataFrame,
    limit: int | None,
) -> bool:
    """Whether every session event of the window is listed: the gateway shows the oldest, and no more than its limit."""
    if stated.session_event_counts is None or "recent_session_events" not in content:
        return False
    total = sum(stated.session_event_counts.values())
    if content.get("events_complete") is True:
        moments = [event["created_at"] for event in listed if event["created_at"] is not None]
        since = missions["created_at"].min()
        return total == len(listed) or (bool(moments) and bool(moments[0] <= since))
    return total == len(listed) and not _reaches(total, limit)


def _missions(
    rows: list[Mapping[str, Any]], events: list[dict[str, Any]], every_event: bool
) -> Iterable[dict[str, Any]]:
    of_mission: dict[str | None, list[dict[str, Any]]] = {}
    for event in events:
        of_mission.setdefault(event["mission_id"], []).append(event)
    for row in rows:
        own = of_mission.get(_text(row.get("mission_id")), [])
        yield _mission(row, own) | ({} if every_event else {"events": None})


def _mission(row: Mapping[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    texts = {column: _text(row.get(column)) for column in (*_TEXTS, *_TIMES, "status")}
    first: dict[str, datetime] = {}
    for event in events:
        if event["created_at"] is not None:
            first.setdefault(event["event_type"], event["created_at"])
    ended: dict[str, Any] = next((event for event in reversed(events) if event["event_type"] in TERMINAL_EVENTS), {})
    fallbacks = sum(event["event_type"] == FALLBACK for event in events)
    if "fallback_seen" in row:
        fallbacks = max(fallbacks, 1) if row["fallback_seen"] is True else 0
    steps = [(event["event_type"] or UNKNOWN)[:80] for event in events if event["event_type"] != PROGRESS]
    times = {column: parse_time(texts[column]) for column in _TIMES}
    return {
        **{column: texts[column] for column in _TEXTS},
        "status": texts["status"] if texts["status"] in MISSION_STATUSES else UNKNOWN,
        "created_at": first.get(DISPATCHED) or next((times[column] for column in _TIMES if times[column]), None),
        **times,
        "dispatched_at": first.get(DISPATCHED),
        "started_event_at": first.get(STARTED),
        "fallback_at": first.get(FALLBACK),
        "ended_event": ended.get("event_type"),
        "ended_event_at": ended.get("created_at"),
        "duration_seconds": number(row.get("duration_seconds")),
        "events": len(events),
        "fallback_events": fallbacks,
        "starts": sum(event["event_type"] == STARTED for event in events),
        "worker_id": "a worker" if STARTED in first else None,
        "sequence": " > ".join(steps) if DISPATCHED in first else "",
        "status_text": texts["status"],
        **{f"{column}_text": texts[column] for column in _TIMES},
    }


def _quality(missions: pd.DataFrame, as_of: datetime | None) -> dict[str, Any]:
    named = missions.loc[missions["mission_id"].fillna("") != "", "mission_id"]
    statuses = [_text(status) or "" for status in missions["status_text"]]
    unreadable = {
        f"vp_missions.{column}": int((missions[column].isna() & (missions[f"{column}_text"].fillna("") != "")).sum())
        for column in _TIMES
    }
    latest = missions[["started_at", "completed_at", "dispatched_at", "ended_event_at"]].max(axis=1)
    beyond = 0 if as_of is None else int((latest > as_of + timedelta(seconds=BEYOND_SECONDS)).sum())
    return {
        "duplicate_missions": len(named) - named.nunique(),
        "missions_without_id": len(missions) - len(named),
        "unknown_statuses": dict(Counter(status for status in statuses if status not in MISSION_STATUSES)),
        "backwards_clocks": int((missions["completed_at"] < missions["started_at"]).sum()),
        "unreadable_times": {column: count for column, count in unreadable.items() if count},
        "beyond_as_of": beyond,
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


def _model(model: type[_Model], value: Any) -> _Model | None:
    try:
        part = _mapping(value)
        return model.model_validate({name: part[name] for name in model.model_fields if name in part})
    except ValidationError:
        return None


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
