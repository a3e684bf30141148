"""The archive: the same numbers as from the database, whatever was pruned, ended late, killed or named in malice."""

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from command_line import run_command
from conftest import LANE, NOON, RuntimeDatabase, some_of
from test_gateway_answer import NOW, OTHER, write_hostile_database

import vpanalysis as vp
from vpanalysis.data import archive, duck
from vpanalysis.data.source import SqliteSource
from vpanalysis.data.table_source import TableSource
from vpanalysis.data.tables import Tables

WINDOWS = [
    vp.RolloutWindow(LANE, last_missions=100),
    vp.RolloutWindow(LANE, last_missions=3, skip_missions=2),
    vp.RolloutWindow(LANE, start=NOW - timedelta(days=1), end=NOW - timedelta(hours=20)),
    vp.RolloutWindow(OTHER, end="2026-02-17"),
    vp.RolloutWindow(LANE, last_missions=20, as_of=NOW - timedelta(hours=12)),
]


@pytest.fixture(autouse=True)
def fixed_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read happens at NOW."""
    monkeypatch.setattr(TableSource, "now", lambda source: NOW)


def archived(database: Path, to: Path, factory: str = "factory") -> archive.Archived:
    mode = database.stat().st_mode
    return SqliteSource(database).read(lambda reading: archive.write(reading, to, factory, mode), files=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but locks, by name."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_same(found: Tables, wanted: Tables) -> None:
    for name in (field.name for field in fields(Tables)):
        if name in ("source", "kind"):
            continue
        here, there = getattr(found, name), getattr(wanted, name)
        if isinstance(there, pd.DataFrame):
            pd.testing.assert_frame_equal(here, there, obj=name)
        else:
            assert here == there, name
    if wanted.window.last_missions != 100:  # what follows is a function of the tables
        return
    assert vp.snapshot(found).model_dump(exclude={"generated_at"}) == vp.snapshot(wanted).model_dump(
        exclude={"generated_at"}
    )
    for profile in ("rollout", "sustained"):
        policy = vp.Policy.load("playbook", profile=profile)
        judged = [vp.classify(vp.summarize(tables), policy) for tables in (found, wanted)]
        assert judged[0] == judged[1]


Expected = dict[vp.RolloutWindow, Tables | vp.InputError]


def told_by(database: Path, windows: Sequence[vp.RolloutWindow] = WINDOWS) -> Expected:
    """What a database tells of each window, or the error that it tells instead."""
    found: Expected = {}
    with vp.open_source(database) as source:
        for window in windows:
            try:
                found[window] = source.load(window)
            except vp.InputError as error:
                found[window] = error
    return found


def assert_tells(location: Path | Sequence[Path], expected: Expected) -> None:
    with vp.open_source(location) as source:
        for window, wanted in expected.items():
            if isinstance(wanted, Tables):
                assert_same(source.load(window), wanted)
            else:
                with pytest.raises(type(wanted)):
                    source.load(window)


def assert_same_lane(location: Path | Sequence[Path], database: Path) -> None:
    """Of the lane's newest missions; of other windows, `test_an_archive_tells_what_its_database_tells` holds it."""
    assert_tells(location, told_by(database, WINDOWS[:1]))


def store_keys_as_text(database: Path) -> None:
    """SQLite tells a lane, id or creation time that is a blob or a number from the same text; an archive does not."""
    with sqlite3.connect(database) as connection:
        for table, columns in connection.execute(
            "SELECT m.name, group_concat(c.name) FROM sqlite_master m, pragma_table_info(m.name) c "
            "WHERE m.type = 'table' AND c.name IN ('vp_id', 'mission_id', 'created_at') GROUP BY m.name"
        ).fetchall():
            for column in columns.split(","):
                connection.execute(f"UPDATE OR IGNORE {table} SET {column} = CAST({column} AS TEXT)")
                connection.execute(f"DELETE FROM {table} WHERE typeof({column}) NOT IN ('text', 'null')")


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
def test_an_archive_tells_what_its_database_tells(seed: int, tmp_path: Path) -> None:
    """With the live database, and with one from which rows were pruned; then alone, the pruned one archived too."""
    draw = random.Random(seed)
    database, pruned = tmp_path / "vp_state.db", tmp_path / "pruned.db"
    write_hostile_database(database, draw)
    store_keys_as_text(database)
    expected = told_by(database)
    archived(database, tmp_path / "archive")
    assert_tells([database, tmp_path / "archive"], expected)
    with sqlite3.connect(database) as full, sqlite3.connect(pruned) as copy:
        full.backup(copy)
        for table in ("vp_missions", "vp_events"):
            rows = [row for (row,) in copy.execute(f"SELECT rowid FROM {table}")]
            for row in draw.sample(rows, len(rows) // 2):
                copy.execute(f"DELETE FROM {table} WHERE rowid = ?", [row])
    assert_tells([pruned, tmp_path / "archive"], expected)
    archived(pruned, tmp_path / "archive")
    assert_tells(tmp_path / "archive", expected)


def three_days(database: RuntimeDatabase) -> RuntimeDatabase:
    """One lane with two missions a day on the 14th, 15th and 16th, the last one running."""
    database.session(at=NOON)
    for day in (2, 1, 0):
        for number in (0, 1):
            running = day == 0 and number == 1
            database.mission(
                f"m{day}{number}",
                NOON - timedelta(days=day, hours=number + 1),
                status="running" if running else "completed",
                run=None if running else 10.0,
                events=["vp.mission.dispatched", *([] if running else ["vp.mission.completed"])],
            )
    return database


def test_the_same_rows_are_the_same_bytes(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    three_days(fresh_database)
    archived(fresh_database.path, tmp_path / "one")
    archived(fresh_database.path, tmp_path / "two")
    once = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == once
    again = archived(fresh_database.path, tmp_path / "one")
    assert (again.written, contents(tmp_path / "one")) == (0, once)


def test_a_mission_that_ends_late_is_written_into_its_own_day(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    three_days(fresh_database)
    archived(fresh_database.path, tmp_path / "archive")
    before = contents(tmp_path / "archive")
    late = NOON + timedelta(days=2)
    fresh_database.connection.execute(
        "UPDATE vp_missions SET status = 'completed', completed_at = ? WHERE mission_id = 'm01'", [late.isoformat()]
    )
    fresh_database.event("m01", "vp.mission.completed", late)
    run = archived(fresh_database.path, tmp_path / "archive")
    after = contents(tmp_path / "archive")
    changed = {name.rpartition("/")[2][:10] for name in before.keys() ^ after.keys()}
    assert (run.written, changed) == (2, {NOON.date().isoformat()})  # the mission's day, of missions and of events
    assert_same_lane(tmp_path / "archive", fresh_database.path)


def test_a_late_event_of_a_pruned_mission_joins_it(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    three_days(fresh_database)
    archived(fresh_database.path, tmp_path / "archive")
    fresh_database.connection.execute("DELETE FROM vp_events")
    fresh_database.connection.execute("DELETE FROM vp_missions WHERE mission_id = 'm20'")
    fresh_database.event("m20", "vp.mission.fallback", NOON, event_id="late")
    archived(fresh_database.path, tmp_path / "archive")
    for location in (tmp_path / "archive", [fresh_database.path, tmp_path / "archive"]):
        with vp.open_source(location) as source:
            missions = source.load(vp.RolloutWindow(LANE, end="2026-02-15")).missions.set_index("mission_id")
        assert missions.loc["m20", ["events", "fallback_events"]].tolist() == [3, 1]


def test_a_live_row_wins_over_the_archived_one(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    three_days(fresh_database)
    archived(fresh_database.path, tmp_path / "archive")
    fresh_database.connection.execute("UPDATE vp_missions SET status = 'failed' WHERE mission_id = 'm10'")
    fresh_database.connection.commit()
    assert_same_lane([fresh_database.path, tmp_path / "archive"], fresh_database.path)


@pytest.mark.thorough
def test_row_ids_below_zero(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    """SQLite allows them; by the newest one it is guessed how many events there are."""
    three_days(fresh_database).event("gone", "vp.mission.failed", NOON - timedelta(hours=3))
    fresh_database.connection.execute("UPDATE vp_events SET rowid = -rowid")
    fresh_database.connection.commit()
    archived(fresh_database.path, tmp_path / "archive")
    for location in (tmp_path / "archive", [fresh_database.path, tmp_path / "archive"]):
        assert_same_lane(location, fresh_database.path)


KILLED = """
import os, signal, sys
from pathlib import Path
from vpanalysis.data import archive, duck
from vpanalysis.data.source import SqliteSource
settle, left = archive._settle, [int(sys.argv[3])]
def settle_until(*given):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    settle(*given)
archive._settle = settle_until
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
SqliteSource(source).read(lambda reading: archive.write(reading, folder, "factory", 0o644), files=True)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("settled", [0, 2, 7])
def test_a_killed_run_changes_nothing_and_the_next_one_finishes(
    settled: int, make_database: Callable[..., RuntimeDatabase], tmp_path: Path
) -> None:
    """Killed before its first file is in place, between two, and before the last one, the manifest."""
    database = three_days(make_database())
    command = [sys.executable, "-c", KILLED, str(database.path), str(tmp_path / "a"), str(settled)]
    assert subprocess.run(command, check=False).returncode == -9
    assert list((tmp_path / "a").rglob("*.tmp"))
    with pytest.raises(vp.InputError, match="without an archive"):
        vp.open_source(tmp_path / "a")
    archived(database.path, tmp_path / "a")
    archived(database.path, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    database.connection.execute("UPDATE vp_missions SET status = 'failed'")
    database.connection.commit()
    before = contents(tmp_path / "a")
    if settled < 3:  # of the second run, which writes three days of missions
        assert subprocess.run(command, check=False).returncode == -9
        assert before.items() <= contents(tmp_path / "a").items()
        archived(database.path, tmp_path / "a")
        assert_same_lane(tmp_path / "a", database.path)
        assert not list((tmp_path / "a").rglob("*.tmp"))


def test_commands_read_an_archive_and_several_sources(
    fresh_database: RuntimeDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_days(fresh_database)
    fresh_database.path.chmod(0o640)
    live, to = str(fresh_database.path), str(tmp_path / "archive")
    ran = run_command(capsys, "archive", "--source", live, "--to", to, "--factory", "north")
    assert (ran.code, ran.out) == (0, f"{to}/north\n")
    assert all(path.stat().st_mode & 0o777 == 0o640 & ~0o022 for path in Path(to).rglob("*.parquet"))
    answers = [
        json.loads(run_command(capsys, "snapshot", *sources, "--as-of", NOON.isoformat()).out)
        for sources in (["--source", live], ["--source", to], ["--source", live, "--source", to])
    ]
    assert answers[0]["fallback"]["missions_considered"] == 6
    assert answers[1] == answers[0] == answers[2]
    for arguments, sentence in (
        (["archive", "--source", to, "--to", to], "Only a runtime database"),
        (["archive", "--source", "sample", "--to", to], "Only a runtime database"),
        (["archive", "--source", "", "--to", to], "--source is empty"),
        (["snapshot", "--source", live, "--source", ""], "empty"),
        (["snapshot", "--source", live, "--source", "sample"], "read together"),
    ):
        refused = run_command(capsys, *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert sentence in refused.err


LANES = [
    *("../../etc", "..", ".", "/", "a/b", "a%2fb", "Lane", "lane", "é", "e\u0301", "x" * 300, "x" * 301),
    *("\n\x1b[2J", "*[", "~", "", " ", "con", "'; --", "🦊"),
]


def test_lanes_of_any_name_have_files_of_their_own(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    for number, lane in enumerate(LANES):
        fresh_database.mission(f"m{number}", vp_id=lane, events=["vp.mission.dispatched"])
    archived(fresh_database.path, tmp_path / "in" / "archive")
    names = [path.parts[-3] for path in (tmp_path / "in").rglob("vp_missions/*.parquet")]
    assert len({name.casefold() for name in names}) == len(LANES)
    assert all(name.isascii() and name.isprintable() and len(name) < 200 for name in names)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["archive"]
    with vp.open_source(tmp_path / "in" / "archive") as source:
        assert sorted(source.lanes()) == sorted(lane for lane in LANES if lane.strip())
        for lane in ("../../etc", "a%2fb", "lane", "*["):
            assert source.load(vp.RolloutWindow(lane)).missions["mission_id"].tolist() == [f"m{LANES.index(lane)}"]


def test_a_folder_of_any_name_is_one(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    name = "a[b]*? b'c ü$"
    three_days(fresh_database)
    archived(fresh_database.path, tmp_path / name)
    archived(fresh_database.path, tmp_path / name)
    assert_same_lane(tmp_path / name, fresh_database.path)


def test_values_are_kept_byte_for_byte(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    """Read back by DuckDB alone, against sqlite3."""
    kept: list[Any] = [None, "", "a\x00b", "  2026-02-16T14:07:42+00:00 ", b"\xff\xfe", "x" * 20_000, "🦊"]
    for number, value in enumerate(kept):
        fresh_database.mission(f"m{number}", payload_json=value)
    archived(fresh_database.path, tmp_path)
    files = str(tmp_path / "*" / "*" / "vp_missions" / "*.parquet")
    rows = duckdb.sql(
        f"""SELECT mission_id, coalesce("lost payload_json", encode(payload_json)) """
        f"FROM read_parquet('{files}', hive_partitioning = false) ORDER BY rowid"
    ).fetchall()
    wanted = fresh_database.connection.execute(
        "SELECT mission_id, CAST(payload_json AS BLOB) FROM vp_missions ORDER BY rowid"
    ).fetchall()
    assert rows == wanted


def test_a_folder_that_is_no_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(vp.InputError, match="without an archive"):
        vp.open_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not an archive's manifest"),
        ('{"format": 99}', "update vpanalysis"),
        ("[]", "not an archive's manifest"),
        ("\xff", "not an archive's manifest"),
    ],
)
def test_a_manifest_that_cannot_be_read_says_so(
    content: str, sentence: str, fresh_database: RuntimeDatabase, tmp_path: Path
) -> None:
    archived(fresh_database.path, tmp_path / "a")
    (tmp_path / "a" / "factory" / archive.MANIFEST).write_text(content, "latin-1")
    with pytest.raises(vp.InputError, match=sentence):
        vp.open_source(tmp_path / "a")


@pytest.mark.parametrize("harm", some_of(["cut", "garbage", "gone"], 3))
def test_a_damaged_file_says_so(harm: str, fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    three_days(fresh_database)
    archived(fresh_database.path, tmp_path / "a")
    file = next((tmp_path / "a").rglob("vp_missions/*.parquet"))
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100] if harm == "cut" else b"garbage" * 100)
    with vp.open_source(tmp_path / "a") as source, pytest.raises(vp.InputError, match="damaged"):
        source.load(vp.RolloutWindow(LANE))
    with vp.open_source([fresh_database.path, tmp_path / "a"]) as source, pytest.raises(vp.InputError, match="damaged"):
        source.load(vp.RolloutWindow(LANE))


def test_two_factories_are_never_one(make_database: Callable[..., RuntimeDatabase], tmp_path: Path) -> None:
    """Their missions may have equal ids: which one is meant must be said."""
    for name in ("north", "south"):
        archived(three_days(make_database(f"{name}.db")).path, tmp_path / "a", name)
    with pytest.raises(vp.InputError, match=r"several factories.*north.*south"):
        vp.open_source(tmp_path / "a")
    with pytest.raises(vp.InputError, match="factor"):
        vp.open_source([tmp_path / "a" / "north", tmp_path / "a" / "south"])
    assert_same_lane(tmp_path / "a" / "south", tmp_path / "south.db")


def test_a_second_run_at_the_same_time_says_so(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    with archive._locked(tmp_path), pytest.raises(vp.InputError, match="Another run"):
        archived(fresh_database.path, tmp_path.parent, tmp_path.name)


def test_extensions_and_the_network_are_not_needed(
    fresh_database: RuntimeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_days(fresh_database)
    connect = duckdb.connect

    def locked(config: dict[str, str]) -> duckdb.DuckDBPyConnection:
        assert config["autoinstall_known_extensions"] == config["autoload_known_extensions"] == "false"
        nowhere = {"allow_community_extensions": "false", "extension_directory": "/nonexistent"}
        return connect(config=config | nowhere)

    monkeypatch.setattr(duckdb, "connect", locked)
    monkeypatch.setattr(duck, "_databases", {})
    archived(fresh_database.path, tmp_path / "a")
    assert_same_lane(tmp_path / "a", fresh_database.path)
