"""The gateway's own answer, held against plain sqlite3 and Python that were written from the data contract alone."""

import json
import random
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import LANE, SCHEMA, some_of

import vpanalysis as vp
from vpanalysis.data.source import SqliteSource

OTHER = "vp.general.primary"
NOW = datetime(2026, 2, 18, 12, 0, tzinfo=UTC)
STALENESS_LIMIT = "UA_VP_STALE_SESSION_SECONDS"


@pytest.fixture(autouse=True)
def fixed_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read happens at NOW, under the default limit of staleness."""
    monkeypatch.setattr(SqliteSource, "now", lambda source: NOW)
    monkeypatch.delenv(STALENESS_LIMIT, raising=False)


def text(value: Any) -> str | None:
    """A stored value as text; a blob that is no UTF-8 is missing."""
    try:
        return value.decode() if isinstance(value, bytes) else None if value is None else str(value)
    except UnicodeDecodeError:
        return None


def moment(value: Any) -> datetime | None:
    try:
        parsed = datetime.fromisoformat((text(value) or "").strip())
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parsed_payload(value: Any) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(text(value) or "", parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def named(value: Any) -> str:
    return text(value) or "unknown"


def count(values: Sequence[Any]) -> dict[str, int]:
    names = [named(value) for value in values]
    return {name: names.count(name) for name in names}


def at_share(ordered: list[float], q: float) -> float | None:
    return ordered[round((len(ordered) - 1) * q)] if ordered else None


def expected_session(row: dict[str, Any], limit: float) -> dict[str, Any]:
    shown = {name: text(value) if isinstance(value, bytes) else value for name, value in row.items()}
    if isinstance(parsed_payload(row["metadata_json"]), dict):
        shown["metadata"] = parsed_payload(row["metadata_json"])
    status = (text(row["status"]) or "").strip().lower()
    heartbeat, update = moment(row["last_heartbeat_at"]), moment(row["updated_at"])
    reason = None
    if status in ("active", "running", "healthy"):
        if heartbeat is None and update is None:
            reason = "missing_timestamps"
        elif heartbeat is not None:
            reason = "heartbeat_timeout" if NOW - heartbeat > timedelta(seconds=limit) else None
        elif update is not None:
            reason = "update_timeout" if NOW - update > timedelta(seconds=limit) else None
    effective = "stale" if reason else status or "unknown"
    return shown | {"stale": reason is not None, "stale_reason": reason, "effective_status": effective}


def expected(path: Path, vp_id: str, mission_limit: int, event_limit: int, stale_after: float = 900) -> dict[str, Any]:
    """What the contract says the gateway answers at NOW."""
    mission_limit, event_limit = min(max(mission_limit, 1), 500), min(max(event_limit, 1), 1000)
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    connection.text_factory = bytes  # a TEXT may hold bytes that are no text
    tables = {row[0].decode() for row in connection.execute("SELECT name FROM sqlite_schema")}

    def of_lane(table: str) -> list[dict[str, Any]]:
        """The lane's rows in text order: missing stamps, numbers, texts, blobs; ties as they were inserted."""
        if table not in tables:
            return []
        query = f"SELECT *, typeof(created_at) AS kind, rowid AS rid FROM {table} WHERE vp_id = ?"
        kinds = [b"null", b"integer", b"text", b"blob"]
        return sorted(
            (dict(row) for row in connection.execute(query, [vp_id])),
            key=lambda row: (kinds.index(row["kind"]), row["created_at"] or b"", row["rid"]),
        )

    missions = of_lane("vp_missions")[::-1][:mission_limit]
    events = of_lane("vp_events")[:event_limit]
    session_events = of_lane("vp_session_events")[:event_limit]
    session = next(
        (dict(row) for row in connection.execute("SELECT * FROM vp_sessions WHERE vp_id = ?", [vp_id])), None
    )
    connection.close()

    ids = {text(mission["mission_id"]) for mission in missions} - {None, ""}
    fell_back = {text(event["mission_id"]) for event in events if text(event["event_type"]) == "vp.mission.fallback"}
    fell_back &= ids
    durations = []
    for mission in missions:
        start, end = moment(mission["started_at"]), moment(mission["completed_at"])
        durations.append(None if start is None or end is None else max(0.0, (end - start).total_seconds()))
    ordered = sorted(value for value in durations if value is not None)

    attempts = successes = still_open = 0
    for event in session_events:
        if text(event["event_type"]) == "vp.session.degraded":
            attempts, still_open = attempts + 1, still_open + 1
        if text(event["event_type"]) == "vp.session.resumed" and still_open > 0:
            successes, still_open = successes + 1, still_open - 1
    orphaned = session is not None and text(session["status"]) in ("degraded", "recovering")
    signals = max(still_open, 1) if orphaned else still_open

    def listed(event: dict[str, Any], *columns: str) -> dict[str, Any]:
        shown = {name: text(event[name]) for name in ("event_id", *columns, "vp_id", "created_at")}
        return shown | {"event_type": named(event["event_type"]), "payload": parsed_payload(event["payload_json"])}

    return {
        "generated_at": "2026-02-18T12:00:00+00:00",
        "vp_id": vp_id,
        "session": None if session is None else expected_session(session, stale_after),
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
            {
                "mission_id": text(mission["mission_id"]),
                "status": named(mission["status"]),
                "objective": text(mission["objective"]),
                "run_id": text(mission["run_id"]),
                "started_at": text(mission["started_at"]),
                "completed_at": text(mission["completed_at"]),
                "updated_at": text(mission["updated_at"]),
                "result_ref": text(mission["result_ref"]),
                "duration_seconds": seconds,
                "fallback_seen": text(mission["mission_id"]) in fell_back,
            }
            for mission, seconds in zip(missions, durations, strict=True)
        ],
        "recent_events": [listed(event, "mission_id") for event in events],
        "recent_session_events": [listed(event) for event in session_events],
    }


def answered(path: Path, vp_id: str, mission_limit: int, event_limit: int) -> dict[str, Any]:
    with vp.open_source(path) as source:
        content = source.gateway_snapshot(vp_id, mission_limit, event_limit).model_dump_json(indent=2)
    answer: dict[str, Any] = json.loads(content, parse_constant=pytest.fail)
    return answer


STAMPS = [
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
    "2026-02-30",
    "infinity",
    "now",
    "1771250862",
    1771250862,
    b"2026-02-16T15:00:00Z",
    b"\xff\xfe",
    "",
    None,
]
PAYLOADS = [
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
    '{"reason": "lease_released", "n": [1, 2.5, null, true]}',
    '{"a": 1, "a": 2}',
    '"\\u0000"',
    "\x00",
    "\ufeff{}",
    " [] ",
    '"🦊 | `"',
    7,
    b'{"blob": 1}',
    b"\xff",
]
MISSION_IDS = [*(f"m{number}" for number in range(12)), "", "7", 7, b"m1", b"\xff", "ghost 🦊"]
STATUSES = ["completed", "completed", "failed", "running", "queued", "", None, "Completed", " ", 5, b"failed", b"\xff"]
EVENT_TYPES = [
    *("vp.mission.dispatched", "vp.mission.fallback", "vp.mission.fallback", "vp.mission.completed"),
    *("", None, "x|y\n", 5, b"vp.mission.fallback", b"\xff"),
]
SESSION_TYPES = [
    *("vp.session.degraded", "vp.session.degraded", "vp.session.resumed", "vp.session.created"),
    *("", None, 5, b"vp.session.degraded", b"\xff"),
]
SESSION_STATUSES = [
    *(" Active ", "running", "healthy", "active", "HEALTHY", "paused", "degraded", "recovering", " Degraded "),
    *("idle", "", " ", None, 5, b"active", b"\xff"),
]
AGES = [0, 59, 60, 60.000001, 119, 120, 121, 899, 900, 900.000001, 901, 86_400, -3_600]
TEXTS = [None, "", "fix the lane", 1.5, 42, b"\xf0\x9f\xa6\x8a", b"\xc3", "\x00 | \n", "x" * 2_000]
LIMITS = [1, 2, 7, 30, 1000, 0, -3]


def write_hostile_database(path: Path, draw: random.Random) -> None:
    """A database of a hostile lane and its neighbours; in some no column has a type, so that numbers stay numbers."""
    connection = sqlite3.connect(path)
    connection.executescript(draw.choice([SCHEMA, SCHEMA, SCHEMA.replace(" TEXT", "")]))

    def lane() -> Any:
        return draw.choice([LANE] * 6 + [OTHER, "", None, LANE.encode()])

    def stamp() -> Any:
        if draw.random() < 0.5:
            return draw.choice(STAMPS)
        minutes = draw.choice([0, 1, 1, 2, draw.randrange(2_000)])
        return (NOW - timedelta(days=1) + timedelta(minutes=minutes)).isoformat()

    def age() -> Any:
        if draw.random() < 0.4:
            return draw.choice([None, None, "", "garbage", b"\xff", 1771250862])
        return (NOW - timedelta(seconds=draw.choice(AGES))).isoformat()

    def insert(table: str, columns: str, row: Sequence[Any], verb: str = "INSERT") -> None:
        marks = ", ".join("?" * len(row))
        connection.execute(f"{verb} INTO {table} ({columns}) VALUES ({marks})", row)

    if draw.random() < 0.3:
        connection.execute("ALTER TABLE vp_sessions ADD COLUMN load REAL DEFAULT 0.5")
        connection.execute("ALTER TABLE vp_missions DROP COLUMN worker_id")
        connection.execute("ALTER TABLE vp_missions ADD COLUMN mood TEXT DEFAULT 'new'")
    for _ in range(draw.choice([0, 3, 15, 40])):
        row = (draw.choice(MISSION_IDS), lane(), draw.choice(STATUSES), *(draw.choice(TEXTS) for _ in range(3)))
        columns = (
            "mission_id, vp_id, status, objective, run_id, result_ref, created_at, started_at, completed_at, updated_at"
        )
        insert("vp_missions", columns, (*row, *(stamp() for _ in range(4))), "INSERT OR IGNORE")
    for _ in range(draw.choice([0, 5, 40, 80])):
        row = (draw.choice([*MISSION_IDS, None]), lane(), draw.choice(EVENT_TYPES), draw.choice(PAYLOADS), stamp())
        insert("vp_events", "mission_id, vp_id, event_type, payload_json, created_at", row)
    for _ in range(draw.choice([0, 4, 40])):
        row = (lane(), draw.choice(SESSION_TYPES), draw.choice(PAYLOADS), stamp())
        insert("vp_session_events", "vp_id, event_type, payload_json, created_at", row)
    for name in (LANE, OTHER):
        if draw.random() < 0.8:
            metadata = draw.choice(['{"lane": {"of": "coder"}}', *PAYLOADS])
            row = (name, draw.choice(SESSION_STATUSES), metadata, age(), age(), draw.choice(TEXTS))
            insert("vp_sessions", "vp_id, status, metadata_json, last_heartbeat_at, updated_at, last_error", row)
    if draw.random() < 0.1:
        connection.execute("DROP TABLE vp_session_events")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("seed", some_of(range(80), 6))
def test_the_answer_is_what_the_contract_says(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    path = tmp_path / "vp_state.db"
    write_hostile_database(path, draw)
    setting, stale_after = draw.choice([(None, 900), ("30", 60), ("120", 120), ("garbage", 900), ("", 900)])
    if setting is not None:
        monkeypatch.setenv(STALENESS_LIMIT, setting)
    for vp_id in (LANE, OTHER, "vp.none"):
        limits = draw.choice(LIMITS), draw.choice(LIMITS)
        assert answered(path, vp_id, *limits) == expected(path, vp_id, *limits, stale_after)


@pytest.mark.parametrize(
    ("session", "stale", "reason", "effective"),
    [
        ({"status": " Active ", "last_heartbeat_at": 900}, False, None, "active"),
        ({"status": " Active ", "last_heartbeat_at": 900.000001}, True, "heartbeat_timeout", "stale"),
        ({"status": "running", "last_heartbeat_at": -3600, "updated_at": 9999}, False, None, "running"),
        ({"status": "healthy", "updated_at": 901}, True, "update_timeout", "stale"),
        ({"status": "healthy", "updated_at": 899}, False, None, "healthy"),
        ({"status": "active"}, True, "missing_timestamps", "stale"),
        ({"status": "paused", "last_heartbeat_at": 9999}, False, None, "paused"),
        ({"status": ""}, False, None, "unknown"),
        ({"status": None}, False, None, "unknown"),
    ],
)
def test_when_a_session_is_stale(
    tmp_path: Path, session: dict[str, Any], stale: bool, reason: str | None, effective: str
) -> None:
    """By hand, what the oracle above says too; numbers are ages in seconds."""
    row = {
        name: (NOW - timedelta(seconds=value)).isoformat() if isinstance(value, int | float) else value
        for name, value in session.items()
    }
    connection = sqlite3.connect(tmp_path / "vp_state.db")
    connection.executescript(SCHEMA)
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO vp_sessions (vp_id, {', '.join(row)}) VALUES (?, {marks})", (LANE, *row.values()))
    connection.commit()
    connection.close()
    found = answered(tmp_path / "vp_state.db", LANE, 1, 1)["session"]
    assert (found["stale"], found["stale_reason"], found["effective_status"]) == (stale, reason, effective)


@pytest.mark.parametrize("limit", [1, 499, 500, 999, 1000, 5000])
def test_limits_cut_where_the_contract_clamps_them(long_lane: Path, limit: int) -> None:
    answer = answered(long_lane, LANE, limit, limit)
    assert answer == expected(long_lane, LANE, limit, limit)
    assert len(answer["recent_missions"]) == min(limit, 500)
    assert len(answer["recent_events"]) == min(limit, 1000)


@pytest.fixture(scope="module")
def long_lane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """510 missions of three events each, all but the oldest 400 with a fallback that the gateway cannot see."""
    path = tmp_path_factory.mktemp("lane") / "long.db"
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
