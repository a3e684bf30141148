"""The sample database: counted with plain sqlite3 and loops, against what each scenario promises."""

import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from math import comb
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import some_of

from vpanalysis.data import schema
from vpanalysis.data.sample import SAMPLE_END, SCENARIOS, SampleError, write_sample

SEEDS = (7, 1, 2, 3)
#: Scenarios whose newest 100 missions are not "2 isolated failures".
FAILING = ("no-traffic", "failing", "failing-in-twos")
HOUR = timedelta(hours=1)
SLOW = ("load-pressure", "adapter-unstable")
FAILED = ("failed", "timed_out")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
BACKLOG = "vp_mission_backlog_history"
#: Tables of the file, with their columns: the contract's four, and the history of the queues.
TABLES = {**schema.TABLES, BACKLOG: ("measured_at", "vp_id", "priority_tier", "queued_count", "running_count")}
INTEGERS = {"priority", "cancel_requested", "result_published", "queued_count", "running_count"}
TIERS = ("operator_daily", "operator_signal", "maintenance", "background")
ENDS = {"completed": schema.COMPLETED, "failed": schema.FAILED, "timed_out": schema.FAILED}
ENDS["cancelled"] = schema.CANCELLED
FOREIGN_KEYS = {
    "vp_sessions": set(),
    "vp_missions": {("vp_id", "vp_sessions")},
    "vp_events": {("vp_id", "vp_sessions"), ("mission_id", "vp_missions")},
    "vp_session_events": {("vp_id", "vp_sessions")},
}
INDEXES = {
    ("vp_missions", ("vp_id", "status", "created_at")),
    ("vp_events", ("vp_id", "created_at")),
    ("vp_events", ("mission_id", "created_at")),
    ("vp_session_events", ("vp_id", "created_at")),
}


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY rowid")]


def read(path: Path) -> SimpleNamespace:
    """All rows, and each mission with its events, newest first, with its run time and wait in seconds."""
    missions = sorted(rows(path, "vp_missions"), key=lambda row: row["created_at"], reverse=True)
    events = rows(path, "vp_events")
    for mission in missions:
        mission["events"] = [event for event in events if event["mission_id"] == mission["mission_id"]]
        mission["types"] = [event["event_type"] for event in mission["events"]]
        created, started, completed = (
            datetime.fromisoformat(mission[name]) if mission[name] else None
            for name in ("created_at", "started_at", "completed_at")
        )
        mission["seconds"] = (completed - started).total_seconds() if started and completed else None
        mission["wait"] = (started - created).total_seconds() if started else None
    return SimpleNamespace(
        missions=missions,
        events=events,
        session=rows(path, "vp_sessions"),
        session_events=rows(path, "vp_session_events"),
        backlog=rows(path, BACKLOG),
    )


def runtime(mission: dict[str, Any]) -> str:
    """Which runtime serves a mission, by what the contract says of its row and events."""
    if mission["source"] == "redis_bridge":
        return "bridge"
    if mission["worker_id"]:
        return "worker"
    return "in-process" if mission["started_at"] else "queue"


def age(mission: dict[str, Any], column: str = "created_at") -> timedelta:
    return SAMPLE_END - datetime.fromisoformat(mission[column])


def p95(missions: list[dict[str, Any]]) -> float:
    seconds = sorted(mission["seconds"] for mission in missions if mission["seconds"] is not None)
    return seconds[round((len(seconds) - 1) * 0.95)]


def fallbacks(missions: list[dict[str, Any]]) -> int:
    return sum(schema.FALLBACK in mission["types"] for mission in missions)


def failures(missions: list[dict[str, Any]]) -> int:
    return sum(mission["status"] in FAILED for mission in missions)


def unfinished(missions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [mission for mission in missions if mission["status"] in ("queued", "running", "blocked")]


def finished(missions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [mission for mission in missions if mission["status"] in ("completed", *FAILED)]


def slow(missions: list[dict[str, Any]]) -> int:
    return sum(mission["seconds"] is not None and mission["seconds"] >= 90 for mission in missions)


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SimpleNamespace]:
    """Writes and reads each lane once."""
    lanes: dict[tuple[object, ...], SimpleNamespace] = {}
    folder = tmp_path_factory.mktemp("samples")

    def make(scenario: str, seed: int = 7, missions: int = 240) -> SimpleNamespace:
        key = (scenario, seed, missions)
        if key not in lanes:
            path = folder / f"{scenario}-{seed}-{missions}.db"
            lanes[key] = read(write_sample(path, scenario, seed=seed, missions=missions))
        return lanes[key]

    return make


@pytest.fixture(scope="module")
def healthy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("healthy") / "coder_vp_state.db")


# --- the file


def test_schema_is_the_contract(healthy_path: Path) -> None:
    with closing(sqlite3.connect(healthy_path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables == set(TABLES)
        integers = set()
        for table, columns in TABLES.items():
            info = list(db.execute(f"PRAGMA table_info({table})"))
            assert tuple(row[1] for row in info) == columns
            assert [row[1] for row in info if row[5]] == ([] if table == BACKLOG else [columns[0]]), "the primary key"
            integers |= {row[1] for row in info if row[2] == "INTEGER"}
            assert {row[2] for row in info} <= {"TEXT", "INTEGER"}
            keys = {(row[3], row[2]) for row in db.execute(f"PRAGMA foreign_key_list({table})")}
            assert keys == FOREIGN_KEYS.get(table, set())
        assert integers == INTEGERS
        found = set()
        for name, table in db.execute("SELECT name, tbl_name FROM sqlite_master WHERE type='index' AND sql <> ''"):
            found.add((table, tuple(row[2] for row in db.execute(f"PRAGMA index_info({name})"))))
        assert found == INDEXES
        assert list(db.execute("PRAGMA foreign_key_check")) == []
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_every_value_has_its_columns_type(healthy_path: Path) -> None:
    for table in TABLES:
        for row in rows(healthy_path, table):
            for name, value in row.items():
                assert value is None or isinstance(value, int if name in INTEGERS else str), (table, name, value)


def test_file_is_in_wal_mode_and_alone(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "lane.db", "critical")
    assert path == tmp_path / "lane.db"
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes()[18:20] == b"\x02\x02"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_file_has_the_permissions_of_a_usual_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    path = write_sample(tmp_path / "lane.db", "no-traffic")
    assert path.stat().st_mode & ~0o111 == (tmp_path / "usual").stat().st_mode & ~0o111


def test_main_lane_is_written_in_well_under_a_second(tmp_path: Path) -> None:
    start = time.perf_counter()
    write_sample(tmp_path / "lane.db")
    assert time.perf_counter() - start < 1


# --- refusals


def test_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "lane.db"
    path.write_bytes(b"precious")
    with pytest.raises(SampleError, match=r"lane\.db exists already"):
        write_sample(path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_appears_while_writing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vpanalysis.data.sample as module

    path, write = tmp_path / "lane.db", module._write

    def slow_write(*arguments: Any) -> None:
        write(*arguments)
        path.write_bytes(b"precious")

    monkeypatch.setattr(module, "_write", slow_write)
    with pytest.raises(SampleError, match="exists already"):
        write_sample(path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
def test_side_file_of_another_database_is_refused(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"lane.db{ending}").write_bytes(b"left over")
    with pytest.raises(SampleError, match=f"lane.db{ending} exists already"):
        write_sample(tmp_path / "lane.db")


def test_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lane.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(SampleError, match="exists already"):
        write_sample(tmp_path / "lane.db")
    assert not (tmp_path / "elsewhere.db").exists()


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vpanalysis.data.sample as module

    monkeypatch.setattr(module, "_INDEXES", (("vp_events", "no_such_column"),))
    with pytest.raises(SampleError, match=r"cannot be written: .*no_such_column"):
        write_sample(tmp_path / "lane.db")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"no folder .*nowhere.*create it first"):
        write_sample(tmp_path / "nowhere" / "lane.db")
    assert list(tmp_path.iterdir()) == []


def test_unknown_scenario_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SampleError) as caught:
        write_sample(tmp_path / "lane.db", "helthy")
    for name in ("helthy", *SCENARIOS):
        assert name in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("wrong", [{"missions": 0}, {"missions": -3}, {"vp_id": "  "}])
def test_senseless_lane(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(SampleError, match="A sample needs"):
        write_sample(tmp_path / "lane.db", **wrong)
    assert list(tmp_path.iterdir()) == []


# --- determinism and arguments


def contents(path: Path) -> dict[str, str]:
    return {table: hashlib.sha256(repr(rows(path, table)).encode()).hexdigest() for table in TABLES}


@pytest.mark.parametrize("scenario", some_of(SCENARIOS, 4))
def test_same_arguments_give_the_same_rows(tmp_path: Path, scenario: str) -> None:
    first, again, other = (
        contents(write_sample(tmp_path / f"{number}.db", scenario, seed=seed)) for number, seed in enumerate((5, 5, 6))
    )
    assert first == again
    assert first["vp_session_events"] != other["vp_session_events"]
    assert scenario == "no-traffic" or first["vp_missions"] != other["vp_missions"]


def test_lanes_share_no_ids(tmp_path: Path) -> None:
    one, two = (write_sample(tmp_path / f"{name}.db", vp_id=name) for name in ("vp.one", "vp.two"))
    for table in ("vp_missions", "vp_events", "vp_session_events"):
        key = schema.TABLES[table][0]
        assert not {row[key] for row in rows(one, table)} & {row[key] for row in rows(two, table)}
    for table in TABLES:
        assert {row["vp_id"] for row in rows(two, table)} == {"vp.two"}


@pytest.mark.parametrize(
    ("end", "means"),
    [
        (datetime(2026, 5, 1, 3, 30), datetime(2026, 5, 1, 3, 30, tzinfo=UTC)),
        (datetime(2026, 5, 1, 3, 30, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 5, 1, 1, 30, tzinfo=UTC)),
    ],
)
def test_another_end(tmp_path: Path, end: datetime, means: datetime) -> None:
    lane = read(write_sample(tmp_path / "lane.db", end=end))
    assert means - timedelta(minutes=4) < datetime.fromisoformat(lane.missions[0]["created_at"]) < means
    assert lane.session[0]["last_heartbeat_at"] == (means - timedelta(seconds=9)).isoformat(timespec="microseconds")


def test_scenarios_are_listed_in_order() -> None:
    names = "healthy elevated critical failing stalled no-traffic degraded-session load-pressure adapter-unstable"
    names += " worker-lane queue-stuck recent-change stale unaccounted failing-in-twos lease-flapping"
    assert list(SCENARIOS) == names.split()
    assert all(text and "\n" not in text for text in SCENARIOS.values())
    assert SAMPLE_END.utcoffset() == timedelta(0)


# --- what holds in every lane


def stamps(value: object) -> Iterator[str]:
    """Every time stamp in a cell, those within JSON included."""
    yield from re.findall(r"\d{4}-\d\d-\d\d[T ][^\"\s]*", value) if isinstance(value, str) else ()


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_time_stamps(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    lane = sample(scenario, seed)
    longest = timedelta(days=15 if scenario == "stale" else 6)
    for row in [*lane.missions, *lane.events, *lane.session, *lane.session_events, *lane.backlog]:
        for name, cell in row.items():
            if name in ("lease_expires_at", "claim_expires_at"):
                continue  # a held lease or claim ends in the future
            for stamp in stamps(cell):
                assert STAMP.fullmatch(stamp), (name, stamp)
                past = SAMPLE_END - datetime.fromisoformat(stamp)
                assert timedelta(0) <= past <= longest, (name, stamp)
    for mission in lane.missions:
        moments = [mission[name] for name in ("created_at", "started_at", "completed_at") if mission[name]]
        assert moments == sorted(moments)
        last = max((event["created_at"] for event in mission["events"]), default=mission["completed_at"])
        assert mission["updated_at"] == last
    for events in (lane.events, lane.session_events):
        assert [event["created_at"] for event in events] == sorted(event["created_at"] for event in events)


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_missions_and_their_events_agree(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    lane = sample(scenario, seed)
    assert len(lane.missions) == (0 if scenario == "no-traffic" else 240)
    assert len({mission["run_id"] for mission in lane.missions}) == len(lane.missions)
    odd = 0
    for mission in lane.missions:
        types, status = mission["types"], mission["status"]
        assert mission["objective"]
        assert mission["cancel_requested"] == (status == "cancelled") == (schema.CANCEL_REQUESTED in types)
        assert bool(mission["completed_at"]) == (status not in ("queued", "running"))
        assert types.count(schema.PROGRESS) <= 4
        assert json.loads(mission["budget_json"])["max_duration_seconds"] == 900
        terminal = [kind for kind in types if kind in schema.TERMINAL_EVENTS]
        if scenario == "unaccounted" and (status in ("FAILED", "") or not types):
            odd += 1
            continue
        assert types, "every mission has events of its own"
        assert terminal == ([ENDS[status]] if status in ENDS else [])
        assert not terminal or types[-1] == terminal[0]
        if schema.FALLBACK in types:
            assert status == "completed"
        if status == "cancelled":
            assert types[-2:].count(schema.CANCELLED) == 1
            assert types.index(schema.CANCEL_REQUESTED) < types.index(schema.CANCELLED)
    assert odd == (8 if scenario == "unaccounted" else 0)


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_payloads_are_the_writers(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    for mission in sample(scenario, seed).missions:
        for event in mission["events"]:
            payload, kind = json.loads(event["payload_json"]), event["event_type"]
            wanted = {
                schema.DISPATCHED: {"trace_id", "run_id"},
                schema.FALLBACK: {"reason", "error", "trace_id"},
                schema.FAILED: {"error", "trace_id", "completed_at", "result_ref"},
            }.get(kind, {"trace_id"})
            if kind == schema.DISPATCHED and runtime(mission) == "in-process":
                assert payload["started_at"] == mission["started_at"]
            if "stale_reason" in payload:
                assert payload["reason"] == "stale_running_reconciled"
                wanted = {"trace_id", "completed_at"}
            assert wanted <= set(payload)
            assert all(payload[name] for name in wanted)


# --- like the field


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "no-traffic"])
def test_each_runtime_writes_what_it_writes_in_the_field(
    sample: Callable[..., SimpleNamespace], scenario: str, seed: int
) -> None:
    found = set()
    for mission in sample(scenario, seed).missions:
        if not mission["types"]:
            continue  # purged
        types, served_by = mission["types"], runtime(mission)
        found.add(served_by)
        starts = [json.loads(e["payload_json"]) for e in mission["events"] if e["event_type"] == schema.STARTED]
        assert types.count(schema.DISPATCHED) == (served_by != "bridge")
        assert mission["mission_id"].startswith("bridge-") == (served_by == "bridge")
        assert (schema.FALLBACK not in types) or served_by == "in-process"
        assert bool(mission["worker_id"]) == (served_by in ("worker", "bridge"))
        assert bool(mission["started_at"]) == (served_by != "queue")
        if served_by in ("in-process", "queue"):
            assert starts == []
            assert mission["claim_expires_at"] is None
        else:
            assert starts[-1]["worker_id"] == mission["worker_id"]
            first = next(event for event in mission["events"] if event["event_type"] == schema.STARTED)
            assert first["created_at"] == mission["started_at"]
            assert bool(mission["claim_expires_at"]) == (mission["status"] == "running")
        if served_by == "queue":
            assert mission["status"] in ("queued", "cancelled")
    assert found == ({"worker", "bridge", "queue"} if scenario == "worker-lane" else {*found, "in-process", "worker"})


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_most_missions_of_the_healthy_lane_run_in_process(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    served_by = [runtime(mission) for mission in sample("healthy", seed).missions[:100]]
    assert {name: served_by.count(name) for name in set(served_by)} == {
        "in-process": 85, "worker": 11, "queue": 1, "bridge": 3,
    }  # fmt: skip


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_a_lost_worker_is_rare(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    newest = sample("healthy", seed).missions[:100]
    (twice,) = [mission for mission in newest if mission["types"].count(schema.STARTED) > 1]
    starts = [event for event in twice["events"] if event["event_type"] == schema.STARTED]
    workers = [json.loads(event["payload_json"])["worker_id"] for event in starts]
    assert len(starts) == len(set(workers)) == 2
    assert twice["status"] == "completed"
    assert starts[0]["created_at"] == twice["started_at"] < starts[1]["created_at"] < twice["completed_at"]
    assert twice["seconds"] > 30, "it spans both attempts"


def test_waits_grow_with_the_tier(sample: Callable[..., SimpleNamespace]) -> None:
    started = [mission for seed in SEEDS for mission in sample("healthy", seed).missions if mission["started_at"]]
    waits = [median([mission["wait"] for mission in started if mission["priority_tier"] == tier]) for tier in TIERS]
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]
    assert {mission["priority_tier"] for mission in started} == set(TIERS)
    priorities = sorted({(mission["priority"], TIERS.index(mission["priority_tier"])) for mission in started})
    assert [place for _, place in priorities] == [0, 1, 2, 3], "one priority per tier, the first tier first"


@pytest.mark.parametrize("scenario", ["healthy", "queue-stuck", "load-pressure", "stale", "no-traffic"])
def test_backlog_history_is_what_the_missions_say(sample: Callable[..., SimpleNamespace], scenario: str) -> None:
    lane = sample(scenario)
    assert len({row["measured_at"] for row in lane.backlog}) == len(lane.backlog) / 4 == 132
    for row in lane.backlog:
        at, queued, running = row["measured_at"], 0, 0
        for mission in lane.missions:
            if mission["priority_tier"] == row["priority_tier"] and mission["created_at"] <= at:
                began, over = mission["started_at"] or "9", mission["completed_at"] or "9"
                queued += at < began and at < over
                running += began <= at < over
        assert (row["queued_count"], row["running_count"]) == (queued, running)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_held_dispatches_say_why(sample: Callable[..., SimpleNamespace], scenario: str) -> None:
    events = sample(scenario).session_events
    held = [json.loads(event["payload_json"]) for event in events if event["event_type"] == schema.DISPATCH_HELD]
    assert len(held) == (4 if scenario == "queue-stuck" else 1)
    assert all(set(payload) == {"worker", "category", "alert"} and all(payload.values()) for payload in held)


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_reconciler_says_what_was_stale(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    stale = []
    for mission in sample("failing", seed).missions:
        last = json.loads(mission["events"][-1]["payload_json"])
        if last.get("reason") == "stale_running_reconciled":
            assert (runtime(mission), mission["status"]) == ("worker", "failed")
            stale.append(last["stale_reason"])
    assert sorted(stale) == ["claim_expired", "claim_expired", "started_at_timeout", "updated_at_timeout"]


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "no-traffic"])
def test_older_half_is_healthy(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    older = sample(scenario, seed).missions[100:]
    assert fallbacks(older) == (0 if scenario == "worker-lane" else 1)
    assert failures(older) / len(older) < 0.03
    assert unfinished(older) == []
    assert p95(older) < 45
    assert 1 < median([mission["wait"] for mission in older if mission["wait"]]) < 4
    assert 8 < median([mission["seconds"] for mission in older if mission["seconds"]]) < 16
    assert any(mission["status"] == "cancelled" for mission in older)


# --- what each scenario promises of the newest 100


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("healthy", 1),
        ("elevated", 8),
        ("critical", 26),
        ("failing", 1),
        ("stalled", 1),
        ("degraded-session", 1),
        ("load-pressure", 1),
        ("adapter-unstable", 14),
        ("worker-lane", 0),
        ("queue-stuck", 1),
        ("recent-change", 8),
        ("stale", 1),
        ("unaccounted", 1),
        ("failing-in-twos", 1),
        ("lease-flapping", 1),
    ],
)
def test_fallbacks(sample: Callable[..., SimpleNamespace], scenario: str, expected: int, seed: int) -> None:
    newest = sample(scenario, seed).missions[:100]
    assert fallbacks(newest) == expected
    if expected <= 8:
        assert fallbacks(newest[:20]) <= 2


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in FAILING])
def test_failures_are_few_and_isolated(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    missions = sample(scenario, seed).missions
    assert 1 <= failures(missions[:100]) <= 2
    assert failures(missions[:20]) <= 1
    assert failures(missions[:100]) / len(finished(missions[:100])) < 0.03
    done = finished(missions)
    assert max(failures(done[first : first + 20]) for first in range(len(done))) <= 2
    known = {"queued", "running", "completed", "failed", "cancelled"}
    assert {mission["status"] for mission in missions} - known == (
        {"FAILED", ""} if scenario == "unaccounted" else set()
    )


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize(
    "scenario", [name for name in SCENARIOS if name not in ("no-traffic", "load-pressure", "stale")]
)
def test_one_mission_still_runs(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    missions = sample(scenario, seed).missions
    fresh = [mission for mission in unfinished(missions) if age(mission) < timedelta(minutes=5)]
    assert fresh == [missions[0]]
    assert fresh[0]["status"] == "running"
    assert timedelta(seconds=8) <= age(fresh[0], "started_at") <= timedelta(seconds=40)
    assert fresh[0]["claim_expires_at"] is None or fresh[0]["claim_expires_at"] > SAMPLE_END.isoformat()
    assert len(unfinished(missions)) == {"stalled": 8, "queue-stuck": 13}.get(scenario, 1)


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in ("no-traffic", *SLOW)])
def test_latency_is_healthy(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    newest = sample(scenario, seed).missions[:100]
    assert 20 < p95(newest) < 45
    assert slow(newest) == 0
    assert max(mission["wait"] for mission in newest if mission["wait"]) < 10


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_failing(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    newest = sample("failing", seed).missions[:100]
    assert failures(newest) == 18
    assert 0.17 < failures(newest) / len(finished(newest)) < 0.20
    for order in ("created_at", "completed_at"):
        last = sorted(finished(newest), key=lambda mission: mission[order], reverse=True)[:4]
        assert {mission["status"] for mission in last} == set(FAILED)
    assert failures(sample("failing", seed).missions[100:200]) <= 2


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_stalled(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    newest = sample("stalled", seed).missions[:100]
    hung = [m for m in unfinished(newest) if age(m, "started_at") > timedelta(minutes=30)]
    assert len(hung) == 7
    assert {mission["status"] for mission in hung} == {"running"}
    assert not any(kind in schema.TERMINAL_EVENTS for mission in hung for kind in mission["types"])


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_load_pressure(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    missions = sample("load-pressure", seed).missions
    newest, before = missions[:100], missions[100:200]
    assert slow(newest) == 12
    assert p95(newest) >= 95
    waits = [[m["wait"] for m in part if m["wait"]] for part in (newest, before)]
    assert median(waits[0]) > 20
    assert median(waits[0]) > 8 * median(waits[1])
    assert [mission["status"] for mission in unfinished(newest)] == ["queued", "queued", "running"]


def tail(n: int, rate: float, least: int) -> float:
    """The chance of ``least`` or more of ``n`` at a rate."""
    return 1 - sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(least))


def overdue(missions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without an end 900 s after the start, or without a start 3,600 s after the creation."""
    return [
        mission
        for mission in unfinished(missions)
        if (age(mission, "started_at") > timedelta(seconds=900) if mission["started_at"] else age(mission) > HOUR)
    ]


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", ["healthy", "worker-lane"])
def test_healthy_lanes_pass_every_gate(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    lane = sample(scenario, seed)
    newest = lane.missions[:100]
    for n in (20, 40, 80, 100, 160, 240):
        assert fallbacks(lane.missions[:n]) / n <= 0.05
    assert failures(newest) == 2
    assert failures(finished(newest)[:20]) <= 1
    assert overdue(lane.missions) == []
    assert slow(newest) == 0
    assert p95(newest) < 45
    assert max(mission["wait"] for mission in newest if mission["wait"]) < 10
    lost = [event for event in lane.session_events if event["event_type"] == schema.SESSION_DEGRADED]
    assert [event["created_at"] < newest[-1]["created_at"] for event in lost] == [True], "none in the window"
    assert age(lane.session[0], "last_heartbeat_at") < timedelta(seconds=60)
    assert all(mission["status"] in schema.MISSION_STATUSES and mission["events"] for mission in lane.missions)


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_worker_lane(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    missions = sample("worker-lane", seed).missions
    assert fallbacks(missions) == 0
    without = [mission for mission in missions if not mission["worker_id"]]
    assert [(mission["status"], mission["started_at"]) for mission in without] == [("cancelled", None)] * 2
    assert sum(runtime(mission) == "bridge" for mission in missions[:100]) == 3


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_queue_stuck(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    lane = sample("queue-stuck", seed)
    stuck = overdue(lane.missions[:100])
    assert len(stuck) == len(overdue(lane.missions)) == 12
    assert {(m["status"], m["started_at"], m["priority_tier"]) for m in stuck} == {("queued", None, "background")}
    assert all(timedelta(hours=1.5) < age(mission) < timedelta(hours=9) for mission in stuck)
    assert all(mission["types"] == [schema.DISPATCHED] for mission in stuck)
    since = [mission for mission in lane.missions if age(mission) < timedelta(hours=9)]
    assert [mission for mission in since if mission["priority_tier"] == "background"] == stuck
    last = [row["queued_count"] for row in lane.backlog if row["priority_tier"] == "background"][-10:]
    assert last == sorted(last)
    assert (last[0], last[-1]) == (0, 12)
    held = [event for event in lane.session_events if event["event_type"] == schema.DISPATCH_HELD]
    assert sum(age(event) < timedelta(hours=10) for event in held) == 3


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_recent_change(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    missions = sample("recent-change", seed).missions
    suffixes = (20, 40, 80, 160)
    assert fallbacks(missions[:20]) <= 2, "the rolling share is not over 10 %"
    assert fallbacks(missions[:40]) == 8
    assert tail(40, 0.05, 8) < 0.01 / len(suffixes), "shown to be at or above 5 %"
    assert fallbacks(missions[:100]) == 8
    assert fallbacks(missions) == 9
    for n in (200, 220, 240):
        assert fallbacks(missions[:n]) / n < 0.05
    able = [mission for mission in finished(missions) if runtime(mission) == "in-process"]
    assert fallbacks(able) / len(able) < 0.05, "also of those that could have recorded one"
    assert failures(missions[:100]) == 2


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_stale(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    lane = sample("stale", seed)
    for row in [*lane.missions, *lane.events, *lane.session, *lane.session_events, *lane.backlog]:
        for cell in row.values():
            for stamp in stamps(cell):
                assert SAMPLE_END - datetime.fromisoformat(stamp) > timedelta(days=8)
    assert unfinished(lane.missions) == []
    assert fallbacks(lane.missions[:100]) == 1
    (session,) = lane.session
    assert (session["status"], lane.session_events[-1]["event_type"]) == ("idle", schema.SESSION_AVAILABLE)


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_unaccounted(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    missions = sample("unaccounted", seed).missions
    ended = [mission for mission in missions if mission["completed_at"]]
    lost = [mission for mission in ended if not any(kind in schema.TERMINAL_EVENTS for kind in mission["types"])]
    assert lost == [mission for mission in missions[:100] if mission in lost]
    assert sorted(mission["status"] for mission in lost) == ["", "", "", *["FAILED"] * 3, *["completed"] * 2]
    assert all(bool(mission["events"]) == (mission["status"] != "completed") for mission in lost)


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_failing_in_twos(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    missions = sample("failing-in-twos", seed).missions
    assert failures(missions[:100]) == 8
    assert failures(missions[:100]) / len(finished(missions[:100])) < 0.10
    assert tail(20, 0.05, 8) < 0.01, "more than chance"
    for order in ("created_at", "completed_at"):
        last = sorted(finished(missions), key=lambda mission: mission[order], reverse=True)
        flags = "".join("F" if mission["status"] in FAILED else "c" for mission in last)
        assert flags[:12] == "FFcFFcFFcFFc"
        assert "FFF" not in flags


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_lease_flapping(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    lane = sample("lease-flapping", seed)
    since = lane.missions[59]["created_at"]
    kinds = [event["event_type"] for event in lane.session_events if event["created_at"] >= since]
    kinds = [kind for kind in kinds if kind not in (schema.SESSION_AVAILABLE, schema.DISPATCH_HELD)]
    assert kinds.count(schema.SESSION_DEGRADED) == kinds.count(schema.SESSION_RECOVERED) == 4
    for place, kind in enumerate(kinds):
        if kind == schema.SESSION_DEGRADED:
            assert kinds[place + 1 : place + 3] == [schema.SESSION_RECOVERED, schema.SESSION_RESUMED]
    assert lane.session[0]["status"] == "active"
    assert lane.session[0]["last_error"] is None
    assert fallbacks(lane.missions[:100]) == 1


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_adapter_unstable(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    newest = sample("adapter-unstable", seed).missions[:100]
    assert slow(newest) == 10
    assert p95(newest) >= 95
    assert max(mission["wait"] for mission in newest if mission["wait"]) < 10
    for mission in newest:
        for event in mission["events"]:
            if event["event_type"] in (schema.FALLBACK, schema.FAILED):
                assert "adapter" in json.loads(event["payload_json"])["error"]


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in ("degraded-session", "stale")])
def test_session_is_fresh(sample: Callable[..., SimpleNamespace], scenario: str, seed: int) -> None:
    lane = sample(scenario, seed)
    (session,) = lane.session
    assert session["status"] == ("idle" if scenario == "no-traffic" else "active")
    assert SAMPLE_END - datetime.fromisoformat(session["last_heartbeat_at"]) < timedelta(minutes=1)
    assert datetime.fromisoformat(session["lease_expires_at"]) > SAMPLE_END
    assert isinstance(json.loads(session["metadata_json"]), dict)
    types = [event["event_type"] for event in lane.session_events]
    assert types[0] == schema.SESSION_CREATED
    assert session["created_at"] == lane.session_events[0]["created_at"]
    assert not lane.missions or session["created_at"] < lane.missions[-1]["created_at"]
    losses = 5 if scenario == "lease-flapping" else 1
    assert types.count(schema.SESSION_DEGRADED) == types.count(schema.SESSION_RECOVERED) == losses
    assert types.count(schema.SESSION_AVAILABLE) == 5
    assert types.count(schema.SESSION_RESUMED) == 5 + losses, "five mornings and the recoveries"
    assert types[types.index(schema.SESSION_DEGRADED) :][:3] == [
        schema.SESSION_DEGRADED,
        schema.SESSION_RECOVERED,
        schema.SESSION_RESUMED,
    ]


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_degraded_session(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    lane = sample("degraded-session", seed)
    (session,) = lane.session
    assert session["status"] == "degraded"
    assert session["last_error"]
    day = (SAMPLE_END - timedelta(days=1)).isoformat(timespec="microseconds")
    late = [event for event in lane.session_events if event["created_at"] >= day]
    lost = [json.loads(e["payload_json"]) for e in late if e["event_type"] == schema.SESSION_DEGRADED]
    assert len(lost) == 4
    assert {payload["reason"] for payload in lost} == {"lease_heartbeat_failed", "lease_acquisition_failed"}
    assert all(payload["lease_owner"] for payload in lost)
    assert late[-1]["event_type"] == schema.SESSION_DEGRADED
    assert session["updated_at"] == late[-1]["created_at"]
    open_losses = 0
    for event in late:
        if event["event_type"] == schema.SESSION_DEGRADED:
            open_losses += 1
        elif event["event_type"] == schema.SESSION_RESUMED and open_losses:
            open_losses -= 1
    assert open_losses == 2


def test_mornings_resume_a_released_lease(sample: Callable[..., SimpleNamespace]) -> None:
    events = sample("healthy").session_events
    resumed = [json.loads(e["payload_json"]) for e in events if e["event_type"] == schema.SESSION_RESUMED]
    mornings = [payload for payload in resumed if payload.get("reason") == "lease_released"]
    assert len(mornings) == 5
    assert all(payload["recovered_from_status"] == payload["previous_status"] == "idle" for payload in mornings)


# --- realism


@pytest.mark.parametrize("seed", some_of(SEEDS, 4))
def test_arrivals_come_by_day_on_six_days(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    created = [datetime.fromisoformat(mission["created_at"]) for mission in sample("healthy", seed).missions]
    assert len({moment.date() for moment in created}) == 6
    assert sum(6 <= moment.hour < 18 for moment in created) > 0.85 * 240
    assert not any(moment.hour < 6 or moment.hour >= 21 for moment in created)


def test_errors_recur_but_differ_in_detail(sample: Callable[..., SimpleNamespace]) -> None:
    newest = sample("critical").missions[:100]
    errors = [
        json.loads(event["payload_json"])["error"]
        for mission in newest
        for event in mission["events"]
        if event["event_type"] == schema.FALLBACK
    ]
    assert len(set(errors)) == len(errors) == 26
    kinds: dict[str, int] = {}
    for error in errors:
        kind = error.split(":")[0] + error.split(" ")[1]
        kinds[kind] = kinds.get(kind, 0) + 1
    assert len(kinds) == 4
    assert max(kinds.values()) >= 10


@pytest.mark.parametrize("scenario", ["elevated", "critical"])
def test_an_obviously_false_secret_waits_for_masking(sample: Callable[..., SimpleNamespace], scenario: str) -> None:
    newest = sample(scenario).missions[:100]
    texts = [event["payload_json"] for mission in newest for event in mission["events"]]
    assert any(re.search(r"Bearer sk-sample-[0-9a-f]{24}", text) for text in texts)


def test_fallbacks_are_not_equidistant(sample: Callable[..., SimpleNamespace]) -> None:
    places = [n for n, mission in enumerate(sample("critical").missions[:100]) if schema.FALLBACK in mission["types"]]
    gaps = [after - before for before, after in pairwise(places)]
    assert len(set(gaps)) >= 4


# --- other sizes


@pytest.mark.parametrize("missions", some_of([1, 3, 5, 12, 60, 99, 2, 500], 6))
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "no-traffic"])
def test_other_sizes(sample: Callable[..., SimpleNamespace], scenario: str, missions: int) -> None:
    lane = sample(scenario, missions=missions)
    assert len(lane.missions) == missions
    faulty = max(1, missions * 5 // 12)
    older = lane.missions[faulty:]
    assert slow(older) == 0
    assert fallbacks(older) <= 3
    waiting = {"stalled": "running", "queue-stuck": "queued"}.get(scenario)
    assert len(unfinished(lane.missions[3:])) == sum(m["status"] == waiting for m in lane.missions[3:faulty])
    assert max(event["created_at"] for event in lane.events) < SAMPLE_END.isoformat(timespec="microseconds")


@pytest.mark.parametrize(("missions", "faulty"), [(12, 5), (60, 25), (500, 208)])
def test_faults_scale_with_the_lane(sample: Callable[..., SimpleNamespace], missions: int, faulty: int) -> None:
    def share(per_hundred: int) -> range:
        exact = per_hundred * faulty / 100
        return range(max(1, int(exact) - 1), int(exact) + 3)

    assert fallbacks(sample("elevated", missions=missions).missions[:faulty]) in share(8)
    assert fallbacks(sample("critical", missions=missions).missions[:faulty]) in share(26)
    hung = unfinished(sample("stalled", missions=missions).missions)
    assert len(hung) - 1 in share(7)
    last = finished(sample("failing", missions=missions).missions)[:4]
    assert failures(last) == 4
    stuck = len(overdue(sample("queue-stuck", missions=missions).missions))
    assert stuck == 12 if missions == 500 else stuck in (*share(12), 0), "no more than were created in those hours"
    changed = fallbacks(sample("recent-change", missions=missions).missions[:faulty])
    assert changed == 8 if missions == 500 else changed in share(8), "the newest 40, however long the lane"
    odd = sample("unaccounted", missions=missions).missions
    assert sum(mission["status"] not in ENDS or not mission["types"] for mission in odd) - 1 in share(8)


def test_newest_hundred_of_a_large_lane_carry_the_same_counts(sample: Callable[..., SimpleNamespace]) -> None:
    for scenario, expected in (("healthy", 1), ("elevated", 8), ("critical", 26), ("adapter-unstable", 14)):
        assert fallbacks(sample(scenario, missions=500).missions[:100]) == expected
    assert failures(sample("failing", missions=500).missions[:100]) == 18
    assert slow(sample("load-pressure", missions=500).missions[:100]) == 12
    assert len(overdue(sample("queue-stuck", missions=500).missions[:100])) == 12
    assert failures(finished(sample("failing-in-twos", missions=500).missions)[:12]) == 8
    assert fallbacks(sample("recent-change", missions=500).missions[:40]) == 8


@pytest.mark.parametrize("seed", some_of(range(6), 3))
def test_slow_missions_of_a_crowded_lane_have_time_to_end(sample: Callable[..., SimpleNamespace], seed: int) -> None:
    lane = sample("load-pressure", seed, missions=500)
    created = [mission["created_at"] for mission in lane.missions if slow([mission])]
    assert SAMPLE_END - datetime.fromisoformat(max(created)) > timedelta(minutes=44)
