"""Reading beside a live gateway: consistent, without a trace, without harm to the writer."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import adbc_driver_sqlite.dbapi as adbc
import pytest
from conftest import LANE, NOON, RuntimeDatabase, need_root

from vpanalysis.data import sqlite_file
from vpanalysis.data.source import open_source
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

HERE = Path(__file__).parent
GATEWAY_UID, READER_UID = 61001, 61002


@contextmanager
def writing(path: Path, first: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Runs a real writer process beside the block and fails when the writer failed."""
    command = [sys.executable, str(HERE / "live_writer.py"), str(path), str(first)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    try:
        yield writer
    finally:
        written, errors = writer.communicate("stop\n", timeout=30)
    assert writer.returncode == 0, errors
    assert int(written) > 1


def mission_ids(path: Path) -> list[str]:
    with open_source(path) as source:
        return list(source.load(RolloutWindow(LANE, last_missions=100_000)).missions["mission_id"])


def digest(path: Path) -> str:
    """Hashes in another process: closing the file in this one would drop the locks of the test's connection."""
    code = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True, text=True).stdout


def beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def test_every_read_beside_a_writer_is_consistent_and_leaves_the_file_untouched(
    fresh_database: RuntimeDatabase,
) -> None:
    fresh_database.mission("first", NOON - timedelta(days=1))
    fresh_database.connection.close()
    before = digest(fresh_database.path)
    seen = 0
    with writing(fresh_database.path), open_source(fresh_database.path) as source:
        for _ in range(6):
            tables = source.load(RolloutWindow(LANE, last_missions=100_000))
            live = tables.missions[tables.missions["mission_id"] != "first"]
            assert (live["events"] == 5).all()
            assert tables.event_counts.get("vp.mission.progress", 0) == 5 * len(live)
            assert len(live) >= seen
            seen = len(live)
        assert digest(fresh_database.path) == before
    assert seen > 0


def test_a_load_keeps_the_locks_of_other_loads_in_the_process(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    code = (
        "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('PRAGMA journal_mode = DELETE').fetchone())"
    )
    command = [sys.executable, "-c", code, str(fresh_database.path)]

    def read(uri: str, opened: Callable[[], None]) -> str:
        with adbc.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM vp_missions")
            reader = cursor.fetch_arrow()
            opened()
            assert mission_ids(fresh_database.path) == ["m"]
            change = subprocess.run(command, capture_output=True, text=True, check=False)
            del reader
            return change.stderr

    assert "locked" in sqlite_file.read_consistently(fresh_database.path, read)


def test_rows_that_are_only_in_the_wal_are_seen(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("in-the-wal", NOON)
    assert mission_ids(fresh_database.path) == ["in-the-wal"]


def test_a_closed_database_is_read_without_making_files(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    fresh_database.connection.close()
    assert beside(fresh_database.path) == ["vp_state.db"]
    assert mission_ids(fresh_database.path) == ["m"]
    assert beside(fresh_database.path) == ["vp_state.db"]


def test_a_database_of_a_rollback_journal_is_read(tmp_path: Path, fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    fresh_database.connection.execute("PRAGMA journal_mode = DELETE")
    fresh_database.connection.close()
    assert mission_ids(fresh_database.path) == ["m"]
    assert beside(fresh_database.path) == ["vp_state.db"]


def test_a_wal_without_its_shm_is_recovered_by_its_owner(tmp_path: Path, fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    (tmp_path / "copy").mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{fresh_database.path}{suffix}", tmp_path / "copy" / f"vp_state.db{suffix}")
    assert mission_ids(tmp_path / "copy" / "vp_state.db") == ["m"]


def test_a_link_is_followed_to_where_the_wal_is(tmp_path: Path, fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(fresh_database.path)
    assert mission_ids(link) == ["m"]
    assert beside(link) == ["link.db"]


def test_a_writer_that_comes_during_an_immutable_read_makes_it_start_again(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    fresh_database.connection.close()
    uris = []

    def read(uri: str, opened: Callable[[], None]) -> int:
        uris.append(uri)
        if len(uris) == 1:
            writer = sqlite3.connect(fresh_database.path)
            writer.execute("UPDATE vp_missions SET status = 'failed'")
            writer.commit()
            writer.close()
        return len(uris)

    assert sqlite_file.read_consistently(fresh_database.path, read) == 2
    assert all("immutable=1" in uri for uri in uris)


def test_a_file_that_keeps_changing_is_given_up_with_a_sentence(
    fresh_database: RuntimeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_database.connection.close()
    monkeypatch.setattr(sqlite_file, "_WAIT_SECONDS", 0)

    def read(uri: str, opened: Callable[[], None]) -> None:
        os.utime(fresh_database.path, ns=(0, len(calls)))
        calls.append(uri)

    calls: list[str] = []
    with pytest.raises(InputError, match="changed by a writer on each of 20 attempts"):
        sqlite_file.read_consistently(fresh_database.path, read)


@pytest.fixture
def copies(fresh_database: RuntimeDatabase, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """More databases of one mission than descriptors are kept, beside the fresh one, which lies open."""
    fresh_database.mission("first", NOON)
    fresh_database.connection.execute("PRAGMA journal_mode = DELETE")
    found = [fresh_database.path.with_name(f"copy-{number}.db") for number in range(7)]
    for copy in found:
        shutil.copy(fresh_database.path, copy)
    monkeypatch.setattr(sqlite_file, "_DESCRIPTORS", 4)
    return found


def test_many_databases_are_read_without_keeping_a_descriptor_for_each(copies: list[Path]) -> None:
    assert [mission_ids(copy) for copy in copies] == [["first"]] * 7
    held = {file.resolve() for file in Path("/dev/fd").iterdir()}
    assert len(held & set(copies)) <= 5


def test_the_locks_of_an_open_connection_outlive_the_reading_of_many_others(
    fresh_database: RuntimeDatabase, copies: list[Path]
) -> None:
    """The descriptor that is kept of its file is not among those that make room."""
    assert mission_ids(fresh_database.path) == ["first"]
    fresh_database.connection.execute("BEGIN IMMEDIATE")
    for copy in copies:
        mission_ids(copy)
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    command = [sys.executable, "-c", code, str(fresh_database.path)]
    assert "locked" in subprocess.run(command, capture_output=True, text=True).stderr
    fresh_database.connection.rollback()
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0


# --- two users: the gateway's and the reader's

WRITE = """
import os, sqlite3, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
values = (sys.argv[3], "vp.coder.primary", "2026-02-16")
connection.execute("INSERT INTO vp_missions (mission_id, vp_id, created_at) VALUES (?, ?, ?)", values)
connection.commit()
if sys.argv[4] == "crash":
    os._exit(0)
connection.close()
"""


def read_as(uid: int, path: Path) -> str:
    """What a forked copy of this process, whose imports are done, reads of a database once it is another user."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(uid)
            os.setuid(uid)
            text = str(len(mission_ids(path)))
        except BaseException as error:
            text = str(error)
        os.write(sending, text.encode())
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as told:
        text = told.read()
    os.waitpid(child, 0)
    return text


def as_user(script: str, uid: int, path: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", script, str(path), str(uid), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture
def gateways_database() -> Iterator[Path]:
    """A closed database in a folder that anybody may write to, owned by the gateway's user."""
    need_root()
    # not pytest's tmp_path: other users may not enter its parents
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vp_state.db"
        RuntimeDatabase(path).connection.close()
        path.parent.chmod(0o777)
        os.chown(path, GATEWAY_UID, GATEWAY_UID)
        yield path


@pytest.mark.parametrize("reader", [READER_UID, 0])
def test_another_user_leaves_nothing_and_the_gateway_can_write(gateways_database: Path, reader: int) -> None:
    as_user(WRITE, GATEWAY_UID, gateways_database, "one", "close")
    assert read_as(reader, gateways_database) == "1"
    assert beside(gateways_database) == ["vp_state.db"]
    as_user(WRITE, GATEWAY_UID, gateways_database, "two", "close")
    assert read_as(reader, gateways_database) == "2"


@pytest.mark.parametrize("reader", [READER_UID, 0])
def test_another_user_reads_a_crashed_gateways_wal(gateways_database: Path, reader: int) -> None:
    as_user(WRITE, GATEWAY_UID, gateways_database, "one", "crash")
    assert read_as(reader, gateways_database) == "1"
    assert all(file.stat().st_uid == GATEWAY_UID for file in gateways_database.parent.iterdir())
    as_user(WRITE, GATEWAY_UID, gateways_database, "two", "close")
    assert read_as(reader, gateways_database) == "2"


def test_another_user_does_not_recover_a_wal(gateways_database: Path) -> None:
    as_user(WRITE, GATEWAY_UID, gateways_database, "one", "crash")
    gateways_database.with_name("vp_state.db-shm").unlink()
    assert "only its owner may recover it" in read_as(READER_UID, gateways_database)
    assert beside(gateways_database) == ["vp_state.db", "vp_state.db-wal"]


def test_a_user_without_permission_is_told_so(gateways_database: Path) -> None:
    gateways_database.chmod(0o600)
    assert "may not be read by this user" in read_as(READER_UID, gateways_database)


def test_a_read_only_folder_is_no_obstacle(gateways_database: Path) -> None:
    as_user(WRITE, GATEWAY_UID, gateways_database, "one", "close")
    gateways_database.parent.chmod(0o555)
    assert read_as(READER_UID, gateways_database) == "1"
