"""Sources: every row counted by sqlite3 and plain loops, on new, old and odd databases."""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import LANE, NOON, SCHEMA, RuntimeDatabase, some_of

from vpanalysis.data.source import SqliteSource, open_source
from vpanalysis.data.tables import MISSION_FRAME, Tables, missions_frame
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

DISPATCHED, PROGRESS, COMPLETED = "vp.mission.dispatched", "vp.mission.progress", "vp.mission.completed"
FAILED, FALLBACK = "vp.mission.failed", "vp.mission.fallback"
STARTED, CANCELLED = "vp.mission.started", "vp.mission.cancelled"
LATER = NOON + timedelta(days=1)
MOMENT, TICK = NOON + timedelta(minutes=30, milliseconds=250), timedelta(microseconds=1)

MakeDatabase = Callable[..., RuntimeDatabase]


def load(database: RuntimeDatabase, **window: object) -> Tables:
    with open_source(database.path) as source:
        return source.load(RolloutWindow(LANE, **{"as_of": LATER, **window}))  # type: ignore[arg-type]


def ids(tables: Tables) -> list[str]:
    return list(tables.missions["mission_id"])


# --- what belongs to a window


def test_a_range_holds_its_start_and_not_its_end(fresh_database: RuntimeDatabase) -> None:
    hour = timedelta(hours=1)
    for name, at in (("before", -TICK), ("first", timedelta(0)), ("last", hour - TICK), ("after", hour)):
        fresh_database.mission(name, NOON + at)
    assert ids(load(fresh_database, start=NOON, end=NOON + hour)) == ["first", "last"]
    assert ids(load(fresh_database, start=NOON + hour)) == ["after"]
    assert ids(load(fresh_database, end=NOON)) == ["before"]


@pytest.mark.parametrize(
    "stamp",
    some_of(
        [
            "2026-02-16T12:00:00Z",
            "2026-02-16T12:00:00",
            "2026-02-16 12:00:00.000+00:00",
            "  2026-02-16T12:00:00+00:00  ",
            "2026-02-17T11:59:00+23:59",
            "2026-02-15T12:01:00-23:59",
            "20260216T120000Z",
            "2026-W08-1T12:00:00",
            "2026-02-16T12",
            b"2026-02-16T12:00:00+00:00",
        ],
        5,
    ),
)
def test_time_bounds_are_decided_on_parsed_values(fresh_database: RuntimeDatabase, stamp: str | bytes) -> None:
    fresh_database.mission("odd", NOON)
    fresh_database.connection.execute("UPDATE vp_missions SET created_at = ?", (stamp,))
    fresh_database.connection.commit()
    minute = timedelta(minutes=1)
    assert ids(load(fresh_database, start=NOON, end=NOON + minute)) == ["odd"]
    assert ids(load(fresh_database, start=NOON - minute, end=NOON)) == []
    assert ids(load(fresh_database, start=NOON + minute, end=NOON + 2 * minute)) == []
    assert ids(load(fresh_database, last_missions=1)) == ["odd"]


def test_the_newest_missions_are_newest_by_time_then_by_rowid(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("a", NOON)
    fresh_database.mission("c", NOON + timedelta(hours=1))
    fresh_database.mission("z-form", (NOON + timedelta(hours=2)).isoformat().replace("+00:00", "Z"))
    fresh_database.mission("d", NOON + timedelta(hours=1))
    fresh_database.mission("east", "2026-02-16T23:00:00+10:00")  # 13:00 UTC, the same hour as c and d
    assert ids(load(fresh_database, last_missions=2)) == ["east", "z-form"]
    assert ids(load(fresh_database, last_missions=4)) == ["c", "d", "east", "z-form"]
    assert ids(load(fresh_database, last_missions=2, skip_missions=2)) == ["c", "d"]


@pytest.mark.parametrize(
    "stamp", some_of(["2026-02-31T25:00:00+00:00", "9999-99-99T10:00:00+00:00", "garbage", None, ""], 2)
)
def test_unreadable_stamps_take_nobodys_place(fresh_database: RuntimeDatabase, stamp: str | None) -> None:
    fresh_database.mission("good", NOON)
    fresh_database.mission("bad", NOON + timedelta(hours=1))
    fresh_database.connection.execute("UPDATE vp_missions SET created_at = ? WHERE mission_id = 'bad'", (stamp,))
    fresh_database.connection.commit()
    assert ids(load(fresh_database, last_missions=1)) == ["good"]
    assert ids(load(fresh_database, last_missions=2)) == ["bad", "good"]
    ranged = load(fresh_database, start="2000-01-01")
    assert ids(ranged) == ["good"]


def test_missions_without_a_time_are_counted(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("good", NOON)
    fresh_database.mission("bad", "garbage")
    quality = load(fresh_database, start="2000-01-01").quality
    assert quality.missions_without_created_at == 1
    assert quality.unreadable_times == {"vp_missions.created_at": 1}


def test_events_belong_to_their_missions_however_late(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("inside", NOON, events=[DISPATCHED, COMPLETED])
    fresh_database.event("inside", FALLBACK, NOON + timedelta(hours=20))
    fresh_database.mission("outside", NOON - timedelta(hours=3), events=[DISPATCHED, FALLBACK])
    tables = load(fresh_database, start=NOON, end=NOON + timedelta(hours=1))
    assert tables.event_counts == {DISPATCHED: 1, COMPLETED: 1, FALLBACK: 1}
    assert tables.missions["fallback_events"].tolist() == [1]
    assert tables.missions["fallback_at"].tolist() == [NOON + timedelta(hours=20)]


def test_what_happened_after_as_of_is_not_seen(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("done", NOON, run=60, events=[DISPATCHED, COMPLETED])
    fresh_database.mission("later", NOON + timedelta(hours=2))
    fresh_database.mission("failed", NOON, status="failed", run=3600)
    fresh_database.event("failed", FAILED, NOON + timedelta(hours=1))
    fresh_database.mission("waiting", NOON, wait=3600, status="cancelled", run=1)
    tables = load(fresh_database, start=NOON, as_of=NOON + timedelta(minutes=30))
    rows = tables.missions.set_index("mission_id")
    assert sorted(rows.index) == ["done", "failed", "waiting"]
    assert rows["status"].to_dict() == {"done": "completed", "failed": "running", "waiting": "queued"}
    assert rows["duration_seconds"].isna().to_dict() == {"done": False, "failed": True, "waiting": True}
    assert rows["completed_at_text"].isna().to_dict() == {"done": False, "failed": True, "waiting": True}
    assert rows["started_at_text"].isna().to_dict() == {"done": False, "failed": False, "waiting": True}
    assert rows["ended_event"].dropna().to_dict() == {"done": COMPLETED}
    assert tables.event_counts == {DISPATCHED: 1, COMPLETED: 1}


@pytest.mark.parametrize("window", [{"start": NOON}, {"last_missions": 4}])
@pytest.mark.parametrize(("late", "seen"), [(-TICK, True), (timedelta(0), True), (TICK, False)])
def test_what_happens_exactly_at_as_of_is_seen(
    fresh_database: RuntimeDatabase, late: timedelta, seen: bool, window: dict[str, Any]
) -> None:
    moment, run = MOMENT + late, (MOMENT + late - NOON).total_seconds()
    fresh_database.session()
    fresh_database.mission("created", moment, status="queued", wait=None)
    fresh_database.mission("started", NOON, status="running", wait=run, run=None)
    fresh_database.mission("ended", NOON, wait=0, run=run)
    fresh_database.mission("fell back", NOON, events=[DISPATCHED])
    fresh_database.event("fell back", FALLBACK, moment)
    fresh_database.session_event("vp.session.created", moment)
    tables = load(fresh_database, **window, as_of=MOMENT)
    rows = tables.missions.set_index("mission_id")
    assert ("created" in rows.index) is seen
    assert rows.loc["started", "status"] == ("running" if seen else "queued")
    assert pd.isna(rows.loc["started", "started_at"]) is not seen
    assert rows.loc["ended", "status"] == ("completed" if seen else "running")
    assert pd.isna(rows.loc["ended", "duration_seconds"]) is not seen
    assert rows.loc["fell back", "fallback_events"] == int(seen)
    assert pd.isna(rows.loc["fell back", "fallback_at"]) is not seen
    assert tables.event_counts.get(FALLBACK, 0) == len(tables.events) - 1 == int(seen)
    assert len(tables.session_events) == int(seen)


@pytest.mark.parametrize(
    ("event", "status", "started", "seen"),
    some_of(
        [
            (COMPLETED, "completed", True, "completed"),
            (FAILED, "timed_out", True, "failed"),
            (FAILED, "completed", True, "failed"),  # what it became later contradicts what it was then
            (None, "completed", True, "running"),
            (None, "failed", False, "queued"),
            ("after", "completed", True, "running"),  # the event came later, too
        ],
        2,
    ),
)
def test_a_status_written_after_as_of_is_taken_back(
    fresh_database: RuntimeDatabase, event: str | None, status: str, started: bool, seen: str
) -> None:
    after = (MOMENT + TICK).isoformat()
    fresh_database.mission("m", NOON, status=status, wait=1 if started else None, run=None, updated_at=after)
    if event == "after":
        fresh_database.event("m", COMPLETED, MOMENT + TICK)
    elif event:
        fresh_database.event("m", event, MOMENT)
    row = load(fresh_database, as_of=MOMENT).missions.iloc[0]
    assert (row["status"], row["status_text"]) == (seen, seen)
    now = load(fresh_database, as_of=MOMENT + TICK).missions.iloc[0]
    assert now["status"] == status


@pytest.mark.parametrize(("late", "seen"), [(timedelta(0), "running"), (TICK, "queued")])
def test_what_ended_later_had_started_by_then_or_not(
    fresh_database: RuntimeDatabase, late: timedelta, seen: str
) -> None:
    wait = (MOMENT + late - NOON).total_seconds()
    fresh_database.mission("m", NOON, wait=wait, run=60)
    row = load(fresh_database, as_of=MOMENT).missions.iloc[0]
    assert (row["status"], pd.isna(row["started_at"])) == (seen, seen == "queued")


@pytest.mark.parametrize("completed_at", [None, NOON.isoformat(), "no time"])
def test_a_status_written_by_as_of_stays(fresh_database: RuntimeDatabase, completed_at: str | None) -> None:
    written = MOMENT + timedelta(hours=5) if completed_at == NOON.isoformat() else MOMENT  # touched after it ended
    fresh_database.mission("m", NOON, status="failed", updated_at=written.isoformat(), completed_at=completed_at)
    assert load(fresh_database, as_of=MOMENT).missions["status"].tolist() == ["failed"]


def test_session_events_belong_up_to_the_windows_end(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    for hours, name in ((-48, "vp.session.created"), (1, "vp.session.degraded"), (2, "vp.session.resumed")):
        fresh_database.session_event(name, NOON + timedelta(hours=hours))
    ranged = load(fresh_database, start=NOON, end=NOON + timedelta(hours=2))
    assert ranged.session_events["event_type"].tolist() == ["vp.session.created", "vp.session.degraded"]
    assert len(load(fresh_database).session_events) == 3


# --- what a mission's row says


def test_durations_are_exact_differences_in_microseconds(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("exact", NOON, wait=0.1, run=0.300001)
    fresh_database.mission("backwards", NOON, wait=-5.0, run=-2.0)
    fresh_database.mission("open", NOON, wait=None, status="queued")
    rows = load(fresh_database).missions.set_index("mission_id")
    assert rows.loc["exact", ["queue_wait_seconds", "duration_seconds"]].tolist() == [0.1, 0.300001]
    assert rows.loc["backwards", ["queue_wait_seconds", "duration_seconds"]].tolist() == [0.0, 0.0]
    assert rows.loc["open", ["queue_wait_seconds", "duration_seconds"]].isna().all()
    assert load(fresh_database).quality.backwards_clocks == 1


def test_a_row_holds_what_the_missions_events_tell(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("quiet", NOON, status="timed_out", events=[DISPATCHED])
    events = [DISPATCHED, STARTED, PROGRESS, FALLBACK, FAILED, STARTED, "", FALLBACK, COMPLETED]
    fresh_database.mission("busy", NOON, events=events)
    fresh_database.mission("mute", NOON)
    rows = load(fresh_database).missions.set_index("mission_id")
    busy = rows.loc["busy"]
    assert (busy["events"], busy["fallback_events"], busy["starts"]) == (9, 2, 2)
    assert busy["dispatched_at"] == NOON
    assert busy["started_event_at"] == NOON + timedelta(seconds=1)  # the first
    assert busy["fallback_at"] == NOON + timedelta(seconds=3)
    assert (busy["ended_event"], busy["ended_event_at"]) == (COMPLETED, NOON + timedelta(seconds=8))  # the last
    assert busy["sequence"].split(" > ") == [
        *[DISPATCHED, STARTED, FALLBACK, FAILED, STARTED],
        *["unknown", FALLBACK, COMPLETED],
    ]
    assert rows.loc["quiet", ["events", "starts", "sequence"]].tolist() == [1, 0, DISPATCHED]
    assert rows.loc["mute", ["events", "fallback_events", "starts", "sequence"]].tolist() == [0, 0, 0, ""]
    assert rows.loc[["quiet", "mute"], "ended_event"].isna().all()


def test_the_last_terminal_event_is_the_newest_and_at_one_moment_the_one_written_last(
    fresh_database: RuntimeDatabase,
) -> None:
    fresh_database.mission("m", NOON)
    for event_type, at in ((FAILED, NOON + timedelta(seconds=9)), (COMPLETED, NOON), (COMPLETED, "no time")):
        fresh_database.event("m", event_type, at)
    assert load(fresh_database).missions["ended_event"].tolist() == [FAILED]
    fresh_database.event("m", CANCELLED, NOON + timedelta(seconds=9))
    assert load(fresh_database).missions["ended_event"].tolist() == [CANCELLED]


def test_what_a_claim_leaves_in_the_row(fresh_database: RuntimeDatabase) -> None:
    told = {"worker_id": "worker-1", "priority_tier": "background", "source": "redis_bridge"}
    for number, cancel in enumerate((1, 0, None, "1", "")):
        fresh_database.mission(f"m{number}", NOON, cancel_requested=cancel, **told)
    rows = load(fresh_database).missions
    assert rows["cancel_requested"].tolist() == [True, False, False, True, False]
    assert (rows[list(told)] == list(told.values())).all().all()


def test_every_kind_of_frame_has_the_same_columns(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    assert list(load(fresh_database).missions.columns) == list(missions_frame([]).columns) == list(MISSION_FRAME)
    ours, theirs = load(fresh_database).missions, missions_frame([])
    for column in MISSION_FRAME:
        if column.endswith("_at"):
            assert ours[column].dtype == theirs[column].dtype == "datetime64[us, UTC]", column
    texts = missions_frame([{"mission_id": "m"}])
    assert (texts["worker_id"].fillna("") == "").all()


def test_unknown_and_empty_statuses_are_counted_and_kept(fresh_database: RuntimeDatabase) -> None:
    for name, status in (("a", "paused_by_moon"), ("b", ""), ("c", None), ("d", "completed")):
        fresh_database.mission(name, NOON)
        fresh_database.connection.execute("UPDATE vp_missions SET status = ? WHERE mission_id = ?", (status, name))
    fresh_database.connection.commit()
    tables = load(fresh_database)
    assert tables.missions["status"].tolist() == ["unknown", "unknown", "unknown", "completed"]
    assert tables.quality.unknown_statuses == {"": 2, "paused_by_moon": 1}


# --- what a database may look like

OLD_SCHEMA = """
CREATE TABLE vp_sessions (vp_id TEXT PRIMARY KEY, session_id TEXT, status TEXT, created_at TEXT, updated_at TEXT);
CREATE TABLE vp_missions (mission_id TEXT PRIMARY KEY, vp_id TEXT, run_id TEXT, status TEXT, objective TEXT,
  budget_json TEXT, result_ref TEXT, created_at TEXT, started_at TEXT, completed_at TEXT, updated_at TEXT);
CREATE TABLE vp_events (event_id TEXT PRIMARY KEY, mission_id TEXT, vp_id TEXT, event_type TEXT,
  payload_json TEXT, created_at TEXT);
"""


def test_an_old_database_loads_and_says_what_it_lacks(make_database: MakeDatabase) -> None:
    database = make_database(schema=OLD_SCHEMA)
    database.mission("old", NOON, events=[DISPATCHED])
    tables = load(database)
    assert ids(tables) == ["old"]
    assert tables.session_events.empty
    assert tables.quality.missing_tables == ("vp_session_events",)
    assert "vp_missions.mission_type" in tables.quality.missing_columns


def test_columns_that_we_do_not_know_are_kept_in_the_session(make_database: MakeDatabase) -> None:
    database = make_database(schema=SCHEMA + "ALTER TABLE vp_sessions ADD COLUMN lease_epoch INTEGER;")
    database.session(lease_epoch=3)
    session = load(database).session
    assert session is not None
    assert session["lease_epoch"] == 3
    assert session["status"] == "active"


def test_other_tables_of_the_file_are_never_read(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    fresh_database.connection.executescript("CREATE TABLE broken (x TEXT); CREATE VIEW secret AS SELECT * FROM nowhere")
    assert ids(load(fresh_database)) == ["m"]


def test_dynamic_types_and_broken_text_never_crash(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(metadata_json=b"\xff\xfe")
    fresh_database.mission("m", NOON, events=[DISPATCHED], objective=5, result_ref=b"\xff\xfe", run_id=b"run")
    fresh_database.event("m", b"\xc3\x28", NOON, payload_json=b"\x80")  # type: ignore[arg-type]
    fresh_database.event("m", None, NOON)
    fresh_database.insert("vp_missions", mission_id=None, vp_id=LANE, created_at=NOON.isoformat())
    tables = load(fresh_database)
    row = tables.missions.set_index("mission_id").loc["m"]
    assert (row["objective"], row["run_id"]) == ("5", "run")
    assert pd.isna(row["result_ref"])
    assert tables.event_counts == {"unknown": 2, DISPATCHED: 1}
    assert tables.quality.undecodable_texts == {
        "vp_missions.result_ref": 1,
        "vp_events.event_type": 1,
        "vp_events.payload_json": 1,
    }
    assert tables.quality.missions_without_id == 1


def test_long_first_batches_of_nulls_are_no_trouble(fresh_database: RuntimeDatabase) -> None:
    rows = [(f"m{n}", LANE, NOON.isoformat(), None if n < 1500 else "late") for n in range(1600)]
    fresh_database.connection.executemany(
        "INSERT INTO vp_missions (mission_id, vp_id, created_at, objective) VALUES (?, ?, ?, ?)", rows
    )
    fresh_database.connection.commit()
    tables = load(fresh_database, last_missions=1600)
    assert tables.missions["objective"].notna().sum() == 100


def test_lane_events_and_orphans_are_counted(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON, events=[DISPATCHED])
    fresh_database.event("m", PROGRESS, NOON, vp_id="vp.other")
    fresh_database.event(None, "vp.dispatch.held", NOON + timedelta(minutes=5))
    fresh_database.event("", "vp.dispatch.held", NOON + timedelta(minutes=6))
    fresh_database.event("gone", COMPLETED, NOON + timedelta(minutes=7))
    fresh_database.event("gone", COMPLETED, NOON - timedelta(days=3))
    quality = load(fresh_database).quality
    assert quality.lane_events == {"vp.dispatch.held": 2}
    assert quality.orphan_events == 1
    assert quality.foreign_events == 1


def test_missionless_events_count_within_the_windows_time(fresh_database: RuntimeDatabase) -> None:
    start, end = NOON, NOON + timedelta(hours=1)
    fresh_database.mission("m", NOON)
    for at in (start - TICK, start, end - TICK, end):
        fresh_database.event("gone", FALLBACK, at)
        fresh_database.event(None, FAILED, at)
        fresh_database.event("gone", PROGRESS, at)
    quality = load(fresh_database, start=start, end=end).quality
    assert (quality.orphan_events, quality.lane_events) == (4, {FAILED: 2})
    assert quality.orphan_signals == 4  # fallbacks of a mission that is gone, and failures that name none
    assert load(fresh_database, start=start, as_of=end).quality.orphan_signals == 6
    assert load(fresh_database, start=start, as_of=end - TICK).quality.orphan_signals == 4
    assert load(fresh_database, last_missions=1).quality.orphan_signals == 6  # since the oldest mission's creation


LIMIT = NOON + timedelta(seconds=60)


@pytest.mark.parametrize(("late", "found"), [(timedelta(0), 0), (TICK, 1)])
@pytest.mark.parametrize(
    ("row", "as_of"),
    some_of(
        [
            *((row, None) for row in ("mission", "east", "start", "end", "event", "session event")),
            *(("mission", as_of) for as_of in (NOON - timedelta(minutes=5), NOON)),
        ],
        4,
    ),
)
def test_stamps_over_a_minute_after_the_moment_of_reading_are_counted(
    fresh_database: RuntimeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    late: timedelta,
    found: int,
    as_of: datetime | None,
) -> None:
    monkeypatch.setattr(SqliteSource, "now", lambda source: NOON)
    stamp, hour = LIMIT + late, timedelta(hours=1)
    fresh_database.session()
    fresh_database.mission("now", NOON - hour, events=[DISPATCHED])
    if row == "mission":
        fresh_database.mission("later", stamp, wait=None)
    elif row == "east":
        fresh_database.mission("later", (stamp + 9 * hour).replace(tzinfo=None).isoformat() + "+09:00", wait=None)
    elif row == "start":
        fresh_database.mission("later", NOON - hour, status="running", started_at=stamp.isoformat(), run=None)
    elif row == "end":
        fresh_database.mission("later", NOON - hour, completed_at=stamp.isoformat())
    elif row == "event":
        fresh_database.event("now", PROGRESS, stamp)
    else:
        fresh_database.session_event("vp.session.resumed", stamp)
    assert load(fresh_database, as_of=as_of).quality.beyond_as_of == found
    assert load(fresh_database, as_of=NOON + timedelta(minutes=1)).quality.beyond_as_of == 0  # judged later: not beyond


def test_a_stamp_from_the_future_is_found_on_a_busy_lane(
    fresh_database: RuntimeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteSource, "now", lambda source: NOON)
    stamps = [(NOON - timedelta(seconds=n)).isoformat() for n in range(1500)]
    missions, events = ([(f"{kind}{n}", LANE, stamp) for n, stamp in enumerate(stamps)] for kind in "me")
    columns = "(mission_id, vp_id, created_at, status)"
    fresh_database.connection.executemany(f"INSERT INTO vp_missions {columns} VALUES (?, ?, ?, 'queued')", missions)
    fresh_database.connection.executemany(
        "INSERT INTO vp_events (event_id, vp_id, created_at) VALUES (?, ?, ?)", events
    )
    fresh_database.mission("tomorrow", LATER)
    fresh_database.event("m1", PROGRESS, LATER)
    assert load(fresh_database, as_of=None).quality.beyond_as_of == 2


def test_the_last_activity_is_the_newest_event_of_the_lane_whatever_its_mission(
    fresh_database: RuntimeDatabase,
) -> None:
    fresh_database.mission("m", NOON, events=[DISPATCHED])
    assert load(fresh_database).last_activity == NOON
    fresh_database.event("another", PROGRESS, NOON + timedelta(hours=3))
    fresh_database.event("m", PROGRESS, NOON + timedelta(hours=4), vp_id="vp.other")
    assert load(fresh_database, start=NOON, end=NOON + timedelta(hours=1)).last_activity == NOON + timedelta(hours=3)
    assert load(fresh_database, as_of=NOON + timedelta(hours=3)).last_activity == NOON + timedelta(hours=3)
    assert load(fresh_database, as_of=NOON + timedelta(hours=3) - TICK).last_activity == NOON


def test_a_thousand_recent_events_and_all_fallbacks_carry_payloads(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    fresh_database.event("m", FALLBACK, NOON - timedelta(hours=1), payload_json='{"error": "first"}')
    rows = [
        (f"e{n}", "m", LANE, PROGRESS, f'{{"n": {n}}}', (NOON + timedelta(seconds=n)).isoformat()) for n in range(1200)
    ]
    fresh_database.connection.executemany("INSERT INTO vp_events VALUES (?, ?, ?, ?, ?, ?)", rows)
    fresh_database.connection.commit()
    events = load(fresh_database).events
    assert len(events) == 1001
    assert events.iloc[0]["payload_json"] == '{"error": "first"}'
    assert events[events["recent"]]["payload_json"].tolist() == [f'{{"n": {n}}}' for n in range(200, 1200)]
    assert load(fresh_database).event_counts == {PROGRESS: 1200, FALLBACK: 1}


def test_another_implementation_finds_the_same_missions_and_events(fresh_database: RuntimeDatabase) -> None:
    chance = random.Random(20260216)
    forms: list[Callable[[datetime], str]] = [
        datetime.isoformat,
        lambda at: at.isoformat().replace("+00:00", "Z"),
        lambda at: at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"),
        lambda at: f" {at.isoformat(sep=' ')} ",
        lambda at: (at + timedelta(hours=9)).replace(tzinfo=None).isoformat() + "+09:00",
        lambda at: "no time",
    ]
    for n in range(400):
        lane = chance.choice([LANE, LANE, "vp.other"])
        at = NOON + timedelta(seconds=chance.randrange(-90_000, 90_000), microseconds=chance.randrange(1_000_000))
        stamp = chance.choices(forms, weights=[20, 2, 2, 2, 2, 1])[0](at)
        types = chance.choices([DISPATCHED, PROGRESS, COMPLETED, FALLBACK, ""], k=chance.randrange(5))
        fresh_database.connection.execute(
            "INSERT INTO vp_missions (mission_id, vp_id, created_at) VALUES (?, ?, ?)", (f"m{n}", lane, stamp)
        )
        for k, event_type in enumerate(types):
            row = (f"e{n}-{k}", f"m{n}", lane, event_type, "{}", chance.choice(forms)(at))
            fresh_database.connection.execute("INSERT INTO vp_events VALUES (?, ?, ?, ?, ?, ?)", row)
    fresh_database.connection.commit()

    def moment(text: str) -> datetime | None:
        try:
            at = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    lane_rows = fresh_database.connection.execute(
        "SELECT rowid, mission_id, created_at FROM vp_missions WHERE vp_id = ?", (LANE,)
    ).fetchall()
    timed = sorted((at, rowid, name) for rowid, name, text in lane_rows if (at := moment(text)) is not None)
    event_rows = fresh_database.connection.execute("SELECT mission_id, event_type FROM vp_events").fetchall()
    for start, end in ((NOON, NOON + timedelta(hours=5)), (NOON - timedelta(days=2), NOON), (NOON, None)):
        expected = [name for at, _, name in timed if start <= at < (end or LATER + timedelta(days=9))]
        tables = load(fresh_database, start=start, end=end, as_of=LATER + timedelta(days=2))
        assert ids(tables) == expected
        assert tables.event_counts == Counter(kind or "unknown" for name, kind in event_rows if name in expected)
    for number in (1, 37, 150):
        tables = load(fresh_database, last_missions=number, as_of=LATER + timedelta(days=2))
        assert ids(tables) == [name for *_, name in timed[-number:]]


# --- what is no source


def test_windows_that_are_loaded_together_are_of_one_moment(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("old", NOON - timedelta(hours=1))
    fresh_database.mission("new", NOON)
    window = RolloutWindow(LANE, start=NOON, as_of=LATER)

    def while_it_is_read(tables: Tables) -> dict[str, RolloutWindow]:
        assert ids(tables) == ["new"]
        with sqlite3.connect(fresh_database.path) as writer:
            writer.execute(
                "INSERT INTO vp_missions (mission_id, vp_id, created_at) VALUES ('too late', ?, ?)",
                (LANE, NOON.isoformat()),
            )
        writer.close()
        return {"again": window, "before": RolloutWindow(LANE, end=NOON, as_of=LATER)}

    with open_source(fresh_database.path) as source:
        tables, others = source.load_with(window, while_it_is_read)
        assert {name: ids(other) for name, other in others.items()} == {"again": ["new"], "before": ["old"]}
        assert ids(source.load(window)) == ["new", "too late"]
    assert ids(tables) == ["new"]


def test_what_cannot_be_read_is_told_of_its_own_window(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("old", NOON - timedelta(days=9), started_at="soon", objective=b"\xff")
    fresh_database.mission("new", NOON, started_at="later")
    old, new = RolloutWindow(LANE, end=NOON - timedelta(days=5), as_of=LATER), RolloutWindow(LANE, last_missions=1)
    with open_source(fresh_database.path) as source:
        first, others = source.load_with(old, lambda tables: {"new": new.at(LATER), "old again": old})
    of_old = {"vp_missions.started_at": 1}, {"vp_missions.objective": 1}
    for tables, expected in ((first, of_old), (others["new"], (of_old[0], {})), (others["old again"], of_old)):
        quality = tables.quality
        assert (dict(quality.unreadable_times), dict(quality.undecodable_texts)) == expected


def test_an_unknown_lane_is_refused_with_the_lanes_there_are(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON, vp_id="vp.other")
    fresh_database.session("vp.third")
    with pytest.raises(InputError, match=r"no lane 'vp.coder.primary'.*vp.other, vp.third"):
        load(fresh_database)


def test_a_database_without_any_lane_is_empty(fresh_database: RuntimeDatabase) -> None:
    tables = load(fresh_database)
    assert tables.missions.empty
    assert tables.session is None


def test_a_lane_without_traffic_is_empty(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    fresh_database.mission("m", NOON)
    tables = load(fresh_database, start=NOON + timedelta(hours=1), end=NOON + timedelta(hours=2))
    assert tables.missions.empty
    assert tables.event_counts == {}


def test_bad_locations_are_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to have a header of a hundred bytes" * 3)
    (tmp_path / "empty.db").touch()
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE vp_missions (mission_id TEXT)")
    for location, sentence in (
        (tmp_path / "missing.db", "does not exist"),
        (tmp_path / "text.db" / "x", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.db", "is not a SQLite database"),
        (tmp_path / "empty.db", "is empty"),
        (tmp_path / "other.db", r"lacks the tables vp_sessions, vp_events.*coder_vp_state.db"),
        ("", "No source"),
        ("sample:unheard-of", "There is no sample 'unheard-of'.*healthy"),
    ):
        with pytest.raises(InputError, match=sentence), open_source(location) as source:
            source.load(RolloutWindow(LANE))


def test_a_damaged_database_is_said_in_a_sentence(fresh_database: RuntimeDatabase) -> None:
    for n in range(300):
        fresh_database.mission(f"m{n}", NOON, objective="x" * 500)
    fresh_database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    fresh_database.connection.close()
    content = bytearray(fresh_database.path.read_bytes())
    content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)
    fresh_database.path.write_bytes(content)
    with pytest.raises(InputError, match=r"vp_state.db could not be read by SQLite: [^:]*malformed[^:]*\.$"):
        load(fresh_database)


def test_names_with_special_characters_are_only_names(make_database: MakeDatabase) -> None:
    database = make_database(name="a?mode=rwc#%20 'x.db")
    database.mission("m", NOON, vp_id="x' OR '1'='1")
    with open_source(database.path) as source:
        tables = source.load(RolloutWindow("x' OR '1'='1", as_of=LATER))
    assert ids(tables) == ["m"]
