"""The gateway's own answer, held against a plain loop over sqlite3 that was written from the data contract."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import LANE, SCHEMA
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import vpanalysis as vp

OTHER = "vp.general.primary"
STALENESS = ("stale", "stale_reason", "effective_status")


def moment(text: str | None) -> datetime | None:
    try:
        parsed = datetime.fromisoformat((text or "").strip())
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parsed_payload(text: str | None) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(text or "", parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def count(names: Sequence[str | None]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for name in names:
        counted[name or "unknown"] = counted.get(name or "unknown", 0) + 1
    return counted


def at_share(ordered: list[float], q: float) -> float | None:
    return ordered[round((len(ordered) - 1) * q)] if ordered else None


def expected(path: Path, vp_id: str, mission_limit: int, event_limit: int) -> dict[str, Any]:
    """What the contract says the gateway answers; without ``generated_at`` and the staleness fields."""
    mission_limit, event_limit = min(max(mission_limit, 1), 500), min(max(event_limit, 1), 1000)
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row

    def lane(table: str) -> list[dict[str, Any]]:
        rows = [dict(row) for row in connection.execute(f"SELECT *, rowid AS rid FROM {table}")]
        rows = [row for row in rows if row["vp_id"] == vp_id]
        return sorted(
            rows, key=lambda row: (row["created_at"] is not None, (row["created_at"] or "").encode(), row["rid"])
        )

    missions = lane("vp_missions")[::-1][:mission_limit]
    events = lane("vp_events")[:event_limit]
    session_events = lane("vp_session_events")[:event_limit]
    session = next(
        (dict(row) for row in connection.execute("SELECT * FROM vp_sessions") if row["vp_id"] == vp_id), None
    )
    connection.close()

    ids = {mission["mission_id"] for mission in missions if mission["mission_id"]}
    fell_back = {event["mission_id"] for event in events if event["event_type"] == "vp.mission.fallback"} & ids
    durations = []
    for mission in missions:
        start, end = moment(mission["started_at"]), moment(mission["completed_at"])
        durations.append(None if start is None or end is None else max(0.0, (end - start).total_seconds()))
    ordered = sorted(value for value in durations if value is not None)

    attempts = successes = still_open = 0
    for event in session_events:
        if event["event_type"] == "vp.session.degraded":
            attempts, still_open = attempts + 1, still_open + 1
        if event["event_type"] == "vp.session.resumed" and still_open > 0:
            successes, still_open = successes + 1, still_open - 1
    orphaned = session is not None and session["status"] in ("degraded", "recovering")
    signals = max(still_open, 1) if orphaned else still_open

    if session is not None and isinstance(parsed_payload(session["metadata_json"]), dict):
        session["metadata"] = parsed_payload(session["metadata_json"])

    def shown(event: dict[str, Any]) -> dict[str, Any]:
        columns = {name: value for name, value in event.items() if name not in ("payload_json", "rid")}
        return columns | {"payload": parsed_payload(event["payload_json"])}

    listed = ("mission_id", "status", "objective", "run_id", "started_at", "completed_at", "updated_at", "result_ref")
    return {
        "vp_id": vp_id,
        "session": session,
        "mission_counts": count([mission["status"] for mission in missions]),
        "event_counts": count([event["event_type"] for event in events]),
        "session_event_counts": count([event["event_type"] for event in session_events]),
        "fallback": {
            "missions_considered": len(ids),
            "missions_with_fallback": len(fell_back),
            "rate": len(fell_back) / len(ids) if ids else 0.0,
        },
        "latency_seconds": {
            "count": len(ordered),
            "avg_seconds": pytest.approx(sum(ordered) / len(ordered)) if ordered else None,
            "p50_seconds": at_share(ordered, 0.50),
            "p95_seconds": at_share(ordered, 0.95),
            "max_seconds": max(ordered) if ordered else None,
        },
        "recovery": {
            "attempts": attempts,
            "successes": successes,
            "success_rate": successes / attempts if attempts else None,
        },
        "session_health": {
            "currently_orphaned": orphaned,
            "orphan_signals": signals,
            "orphan_rate": signals / attempts if attempts else (1.0 if orphaned else 0.0),
        },
        "recent_missions": [
            {name: mission[name] for name in listed}
            | {"duration_seconds": seconds, "fallback_seen": mission["mission_id"] in fell_back}
            for mission, seconds in zip(missions, durations, strict=True)
        ],
        "recent_events": [shown(event) for event in events],
        "recent_session_events": [shown(event) for event in session_events],
    }


def answered(path: Path, vp_id: str, mission_limit: int, event_limit: int) -> dict[str, Any]:
    with vp.open_source(path) as source:
        content = source.gateway_snapshot(vp_id, mission_limit, event_limit).model_dump_json()
    answer = json.loads(content, parse_constant=pytest.fail)
    assert moment(answer.pop("generated_at")) is not None
    if answer["session"] is not None:
        for field in STALENESS:
            del answer["session"][field]
    return answer


stamps = st.one_of(
    st.datetimes(datetime(2026, 2, 15), datetime(2026, 2, 18)).map(lambda value: value.isoformat() + "+00:00"),
    st.datetimes(datetime(2026, 2, 15), datetime(2026, 2, 18)).map(lambda value: value.isoformat(sep=" ")),
    st.sampled_from(
        [
            "2026-02-16T14:07:42.123456+00:00",
            "2026-02-16T14:07:42Z",
            "2026-02-16T16:07:42+02:00",
            "2026-02-16T14:07:42",
            "2026-02-16 14:07:42.5",
            "  2026-02-16T14:07:42+00:00 ",
            "20260216T140742Z",
            "2026-02-16",
            "2026-W08-1T14",
            "2026-02-16T14:07:42,123Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "2026-02-16T24:00:00Z",
            "2026-02-30",
            "infinity",
            "epoch",
            "now",
            "1771250862",
            "",
            None,
        ]
    ),
)
HOSTILE_PAYLOADS = [
    None,
    "",
    "{",
    "[1, 2",
    "null",
    "NaN",
    '{"a": Infinity}',
    "'x'",
    "<script>alert(1)</script>",
    "[" * 100_000,
    '{"error": "%s"}' % ("x" * 20_000),
    '{"a": 1, "a": 2}',
    '"\\u0000"',
    "\x00",
    "\ufeff{}",
    " [] ",
    '"🦊 | `"',
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
payloads = json_values.map(json.dumps) | st.sampled_from(HOSTILE_PAYLOADS)
lanes = st.sampled_from([LANE, LANE, LANE, OTHER, "", None])
mission_ids = st.sampled_from([f"m{number}" for number in range(8)] + ["", None, "ghost"])
statuses = st.sampled_from(["completed", "failed", "running", "queued", "", None, "paused?", "Completed"])
event_types = st.sampled_from(
    ["vp.mission.dispatched", "vp.mission.fallback", "vp.mission.completed", "vp.dispatch.held", "", None, "x|y"]
)
session_types = st.sampled_from(
    ["vp.session.created", "vp.session.degraded", "vp.session.degraded", "vp.session.resumed", "", None]
)
texts = st.none() | st.text(max_size=8)

missions = st.lists(
    st.tuples(mission_ids, lanes, statuses, texts, stamps, stamps, stamps, stamps),
    max_size=12,
    unique_by=lambda row: row[0] if row[0] is not None else object(),
)
events = st.lists(st.tuples(mission_ids, lanes, event_types, payloads, stamps), max_size=20)
session_events = st.lists(st.tuples(lanes, session_types, payloads, stamps), max_size=10)
sessions = st.none() | st.tuples(
    st.sampled_from(["active", "idle", "degraded", "recovering", "", None]), payloads, stamps, stamps, texts
)
limits = st.sampled_from([1, 2, 5, 1000, 0, -3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(missions, events, session_events, sessions, st.sampled_from([LANE, LANE, OTHER, "vp.none"]), limits, limits)
@example([], [], [], None, LANE, 1, 1)
def test_gateway_snapshot_is_what_the_contract_says(
    folder: Path,
    missions: list[Any],
    events: list[Any],
    session_events: list[Any],
    session: Any,
    vp_id: str,
    mission_limit: int,
    event_limit: int,
) -> None:
    path = folder / "vp_state.db"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.executemany(
        "INSERT INTO vp_missions (mission_id, vp_id, status, objective, created_at, started_at, completed_at,"
        " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        missions,
    )
    connection.executemany(
        "INSERT INTO vp_events (mission_id, vp_id, event_type, payload_json, created_at) VALUES (?, ?, ?, ?, ?)", events
    )
    connection.executemany(
        "INSERT INTO vp_session_events (vp_id, event_type, payload_json, created_at) VALUES (?, ?, ?, ?)",
        session_events,
    )
    if session is not None:
        connection.execute(
            "INSERT INTO vp_sessions (vp_id, status, metadata_json, last_heartbeat_at, updated_at, last_error)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (LANE, *session),
        )
    connection.commit()
    connection.close()
    assert answered(path, vp_id, mission_limit, event_limit) == expected(path, vp_id, mission_limit, event_limit)


@pytest.mark.parametrize("limit", [1, 499, 500, 999, 1000, 5000])
def test_limits_cut_where_the_contract_clamps_them(long_lane: Path, limit: int) -> None:
    answer = answered(long_lane, LANE, limit, limit)
    assert answer == expected(long_lane, LANE, limit, limit)
    assert len(answer["recent_missions"]) == min(limit, 500)
    assert len(answer["recent_events"]) == min(limit, 1000)


@pytest.fixture(scope="module")
def long_lane(folder: Path) -> Path:
    """510 missions of three events each, all but the oldest 400 with a fallback that the gateway cannot see."""
    path = folder / "long.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    for number in range(510):
        stamp = f"2026-02-16T{number // 60:02d}:{number % 60:02d}"
        connection.execute(
            "INSERT INTO vp_missions (mission_id, vp_id, status, created_at, started_at, completed_at)"
            " VALUES (?, ?, 'completed', ?, ?, ?)",
            (f"m{number}", LANE, f"{stamp}:00+00:00", f"{stamp}:01+00:00", f"{stamp}:{2 + number % 50}+00:00"),
        )
        last = "vp.mission.completed" if number < 400 else "vp.mission.fallback"
        for second, event_type in enumerate(("vp.mission.dispatched", "vp.mission.progress", last)):
            connection.execute(
                "INSERT INTO vp_events (mission_id, vp_id, event_type, payload_json, created_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (f"m{number}", LANE, event_type, "{}", f"{stamp}:{second:02d}+00:00"),
            )
    connection.commit()
    connection.close()
    return path


def test_new_fallbacks_are_invisible_to_the_gateway_and_visible_to_us(long_lane: Path) -> None:
    with vp.open_source(long_lane) as source:
        theirs = source.gateway_snapshot(LANE, 100, 1000)
        ours = vp.snapshot(source.load(vp.RolloutWindow(LANE, last_missions=100)))
    assert theirs.fallback.rate == 0.0
    assert ours.fallback.rate == 1.0
    assert ours.events_complete is True
    assert "events_complete" not in theirs.model_dump()
