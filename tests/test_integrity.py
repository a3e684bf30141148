"""Damaged files and odd tables give a sentence, never a wrong number or a traceback."""

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from command_line import run_command
from conftest import LANE, NOON, SCHEMA, RuntimeDatabase, some_of

from vpanalysis.analysis.answer import snapshot
from vpanalysis.analysis.gates.data_quality import judge_quality
from vpanalysis.analysis.metrics import summarize
from vpanalysis.data import integrity
from vpanalysis.data.sample import write_sample
from vpanalysis.data.source import SqliteSource
from vpanalysis.data.sqlite_file import CHECK_VARIABLE
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

WINDOW = RolloutWindow(LANE, last_missions=100, as_of="2026-02-17T00:00:00Z")


def fill(database: RuntimeDatabase, missions: int = 100) -> None:
    for number in range(missions):
        row = (f"m{number}", LANE, "completed", *[NOON.isoformat()] * 4)
        database.connection.execute(
            "INSERT INTO vp_missions (mission_id, vp_id, status, created_at, started_at, completed_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        for kind in ("dispatched", "completed"):
            database.event(f"m{number}", f"vp.mission.{kind}", NOON)
    database.connection.execute("PRAGMA journal_mode = DELETE")


def forget_pages(path: Path) -> None:
    """Lets the missions' table forget all its pages but two, as a flipped count does."""
    with sqlite3.connect(path) as connection:
        [[root]] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'vp_missions'")
        [[size]] = connection.execute("PRAGMA page_size")
    content = bytearray(path.read_bytes())
    page = (root - 1) * size
    assert content[page] == 5  # an inner page of a table
    content[page + 3 : page + 5] = (1).to_bytes(2, "big")
    path.write_bytes(content)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM vp_missions NOT INDEXED").fetchone()[0] < 100


@pytest.fixture
def damaged(make_database: Callable[..., RuntimeDatabase]) -> Path:
    """A lane of 100 missions of which a walk through the table finds a few."""
    database = make_database()
    fill(database)
    database.connection.close()
    forget_pages(database.path)
    return database.path


@pytest.mark.parametrize("command", ["capture", "snapshot"])
def test_a_damaged_page_gives_no_verdict(command: str, damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_command(capsys, command, "--source", str(damaged))
    assert ran.code == 2
    assert ran.out == ""
    assert "vp_state.db is damaged (vp_missions: " in ran.err


@pytest.fixture
def stale_index(make_database: Callable[..., RuntimeDatabase]) -> Path:
    """A lane with an event that its index does not know."""
    database = make_database()
    fill(database, 5)
    database.connection.execute("PRAGMA writable_schema = ON")
    [index] = database.connection.execute("SELECT * FROM sqlite_master WHERE name = 'idx_events'").fetchall()
    database.connection.execute("DELETE FROM sqlite_master WHERE name = 'idx_events'")
    database.connection.commit()
    database.connection.close()
    with sqlite3.connect(database.path) as connection:
        connection.execute("INSERT INTO vp_events (event_id, vp_id) VALUES ('late', ?)", [LANE])
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
    return database.path


def test_an_index_that_lacks_rows_gives_no_verdict(stale_index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_command(capsys, "snapshot", "--source", str(stale_index))
    assert ran.code == 2
    assert "is damaged (vp_events: " in ran.err


def test_very_large_tables_are_checked_when_asked(
    stale_index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(integrity, "ALWAYS_BYTES", 1000)
    tables = SqliteSource(stale_index).load(WINDOW)
    assert tables.quality.unchecked
    assert "--check" in " ".join(note.sentence for note in judge_quality(summarize(tables)))
    assert run_command(capsys, "capture", "--source", str(stale_index)).code == 0
    ran = run_command(capsys, "capture", "--source", str(stale_index), "--check")
    assert "is damaged" in ran.err
    assert CHECK_VARIABLE not in os.environ


def test_a_file_whose_vp_tables_are_small_is_checked_however_large_the_others_are(
    make_database: Callable[..., RuntimeDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make_database()
    fill(database, 5)
    database.connection.execute("CREATE TABLE others (text)")
    database.connection.execute("INSERT INTO others VALUES (zeroblob(2000000))")
    database.connection.commit()
    monkeypatch.setattr(integrity, "ALWAYS_BYTES", 100_000)
    assert SqliteSource(database.path).load(WINDOW).quality.unchecked is False


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_number_after_a_flip_is_explained_by_a_value(seed: int, tmp_path: Path) -> None:
    """Whatever a damaged copy still tells is what its own rows say, counted by a walk that uses no index."""
    content = write_sample(tmp_path / "whole.db", missions=40).read_bytes()
    chance = random.Random(seed)
    for number in range(30):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 1, 20])):
            place = chance.randrange(100, len(damaged))
            damaged[place] ^= 1 << chance.randrange(8)
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged[: chance.randrange(len(damaged))] if chance.random() < 0.2 else damaged)
        try:
            with SqliteSource(path) as source:
                metrics = summarize(source.load(RolloutWindow(LANE, last_missions=500, as_of="2027-01-01")))
        except InputError:
            continue
        with sqlite3.connect(path) as connection:
            connection.text_factory = bytes
            rows = connection.execute("SELECT vp_id, mission_id, created_at FROM vp_missions NOT INDEXED").fetchall()
        kept = {mission for lane, mission, _ in rows if lane == LANE.encode()}
        assert metrics.fallback.missions_considered <= len(kept)
        assert metrics.fallback.missions_considered >= 40 - 3


def test_what_is_read_again_and_again_is_checked_again_after_a_while_and_another_file_at_once(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = damaged.read_bytes(), write_sample(tmp_path / "whole.db", missions=40)
    damaged.write_bytes(whole.read_bytes())
    source = SqliteSource(damaged)
    assert len(source.load(WINDOW).missions) == 0  # they are of another time
    damaged.write_bytes(broken)  # the same file
    source.load(WINDOW)
    monkeypatch.setattr(integrity, "AGAIN_SECONDS", -1.0)
    with pytest.raises(InputError, match="is damaged"):
        source.load(WINDOW)
    monkeypatch.undo()
    whole.replace(damaged)
    source.load(WINDOW)
    whole.write_bytes(broken)
    whole.replace(damaged)
    with pytest.raises(InputError, match="is damaged"):
        source.load(WINDOW)


ODD = {
    "view": ("ALTER TABLE vp_events RENAME TO e; CREATE VIEW vp_events AS SELECT * FROM e", "is a view"),
    "endless view": (
        "DROP TABLE vp_events; CREATE VIEW vp_events AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT i AS event_id, 'm' AS mission_id, 'vp.coder.primary' AS vp_id, 'x' AS event_type, '' AS payload_json,"
        " '' AS created_at FROM n",
        "is a view",
    ),
    "virtual": (
        "DROP TABLE vp_session_events; CREATE VIRTUAL TABLE vp_session_events USING fts5(vp_id, event_type)",
        "is a virtual table",
    ),
    "without row ids": (
        "DROP TABLE vp_missions; CREATE TABLE vp_missions (mission_id TEXT PRIMARY KEY, vp_id, status, created_at) "
        "WITHOUT ROWID",
        "has no row ids",
    ),
    "rowid": ("ALTER TABLE vp_missions ADD COLUMN RowID TEXT", "has no row ids"),
    "no lane": ("DROP INDEX idx_events; ALTER TABLE vp_events DROP COLUMN vp_id", "lacks the column vp_id"),
    "no session lane": (
        "DROP TABLE vp_sessions; CREATE TABLE vp_sessions (status TEXT)",
        "lacks the column vp_id",
    ),
    "no stamp": (
        "DROP INDEX idx_missions; ALTER TABLE vp_missions DROP COLUMN created_at",
        "lacks the column created_at",
    ),
    "no event type": ("ALTER TABLE vp_events RENAME event_type TO event_typd", "lacks the column event_type"),
    "no mission": (
        "DROP INDEX idx_mission_events; ALTER TABLE vp_events DROP COLUMN mission_id",
        "lacks the column mission_id",
    ),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("command", [["snapshot"], ["snapshot", "--gateway-compatible"], ["capture"]])
def test_odd_tables_are_refused_by_a_sentence(
    command: list[str], kind: str, make_database: Callable[..., RuntimeDatabase], capsys: pytest.CaptureFixture[str]
) -> None:
    statements, words = ODD[kind]
    database = make_database()
    database.connection.executescript(statements)
    ran = run_command(capsys, *command, "--source", str(database.path))
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.err


COLUMNS = [
    (table.split()[2], column.split()[0])
    for table in SCHEMA.split(";")
    if "CREATE TABLE" in table
    for column in table.partition("(")[2].rpartition(")")[0].split(",")
]


@pytest.mark.parametrize(("table", "column"), some_of(COLUMNS, 16))
def test_any_column_may_be_missing(
    table: str, column: str, make_database: Callable[..., RuntimeDatabase], capsys: pytest.CaptureFixture[str]
) -> None:
    database = make_database(schema=SCHEMA.replace(" PRIMARY KEY", ""))
    database.mission("m1", events=["vp.mission.dispatched", "vp.mission.completed"])
    database.session()
    for index in ("idx_missions", "idx_events", "idx_mission_events", "idx_session_events"):
        database.connection.execute(f"DROP INDEX {index}")
    database.connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    ran = run_command(capsys, "capture", "--source", str(database.path))
    assert ran.code in (0, 2), ran.err
    assert "Traceback" not in ran.err
    with suppress(InputError), SqliteSource(database.path) as source:
        assert source.gateway_snapshot(LANE).model_dump_json()
        if ran.code == 0:
            assert snapshot(source.load(WINDOW)).model_dump_json()


@pytest.mark.parametrize("name", some_of(["rid", "sentinel", "", "type of status", 'a"b', "x' OR 1", "value 0"], 3))
def test_columns_of_any_other_name_are_passed_on(name: str, make_database: Callable[..., RuntimeDatabase]) -> None:
    database = make_database()
    database.session(status="idle")
    quoted = name.replace('"', '""')
    for table in ("vp_sessions", "vp_missions", "vp_events", "vp_session_events"):
        database.connection.execute(f'ALTER TABLE {table} ADD COLUMN "{quoted}"')
    database.connection.execute(f'UPDATE vp_sessions SET "{quoted}" = 7')
    database.mission("m1", events=["vp.mission.dispatched"])
    tables = SqliteSource(database.path).load(WINDOW)
    assert tables.session is not None
    assert tables.session.get(name) == (None if name in ("rid", "sentinel", "", "type of status") else 7)
    assert list(tables.missions["mission_id"]) == ["m1"]


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Another process, as locks do not hold against one's own, locks a database for so long."""
    program = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN EXCLUSIVE'); print(flush=True); time.sleep(float(sys.argv[2]))"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        yield
    finally:
        writer.kill()
        writer.communicate()


def test_a_locked_database_is_waited_for(make_database: Callable[..., RuntimeDatabase]) -> None:
    database = make_database()
    fill(database, 2)
    database.connection.close()
    with locked(database.path, 1.0):
        assert len(SqliteSource(database.path).load(WINDOW).missions) == 2


def test_but_not_for_ever(make_database: Callable[..., RuntimeDatabase], capsys: pytest.CaptureFixture[str]) -> None:
    database = make_database()
    fill(database, 2)
    database.connection.close()
    with locked(database.path, 60.0):
        ran = run_command(capsys, "capture", "--source", str(database.path), "--wait", "0.2")
    assert ran.code == 2
    assert "database is locked (after a wait; --wait SECONDS waits longer)" in ran.err


def test_a_database_that_is_read_for_ever_is_given_up(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    database = make_database()
    fill(database, 400)
    statement = "CREATE INDEX slow ON vp_missions (vp_id) WHERE "
    never = "length(replace(hex(zeroblob(2000000 + length(mission_id))), '0', 'ab')) < 0"  # 80 ms a row
    database.connection.executescript(f"{statement}vp_id IS NULL; PRAGMA writable_schema = ON")
    database.connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'slow'", [statement + never])
    database.connection.commit()
    database.connection.close()
    program = (
        "import sys; from vpanalysis.data import sqlite_file as file; file.READ_SECONDS, file.READ_BYTES = 0.3, 1e12; "
        "from vpanalysis.cli import main; sys.argv[0] = 'vpanalysis'; main()"
    )
    arguments = ["capture", "--source", str(database.path), "--wait", "0"]
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(
        "ERROR: vp_state.db was not read within 0 s: it may be built so that reading never ends."
    )
    assert ran.stderr.count("\n") == 1
