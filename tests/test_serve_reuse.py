"""An answer of the server is used again only while it is what a fresh read would give."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import pytest
from asgi_request import request
from conftest import LANE, NOON, RuntimeDatabase, some_of
from gateway_process import GatewayProcess

from vpanalysis import answer_cache
from vpanalysis.answer_cache import Answer, AnswerCache
from vpanalysis.data import sqlite_file
from vpanalysis.data.snapshot import Snapshot
from vpanalysis.data.source import SqliteSource
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError
from vpanalysis.serve import create_app

OPS = "/api/v1/ops/metrics/coder-vp"
DONE = ("vp.mission.dispatched", "vp.mission.completed")
RUNNING, FAILED = (f"UPDATE vp_missions SET status = '{s}' WHERE mission_id = 'm1'" for s in ("running", "failed"))


class Watched(SqliteSource):
    """A source whose clock the test sets, and whose reads it counts."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.moment = NOON + timedelta(hours=1)
        self.reads = 0
        self.after_read: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return self.moment

    def load(self, window: RolloutWindow) -> Tables:
        self.reads += 1
        tables = super().load(window)
        self.after_read()
        return tables

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> Snapshot:
        self.reads += 1
        return super().gateway_snapshot(vp_id, mission_limit, event_limit)


class Server:
    """The application over a file, asked without a network."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = Watched(path)
        self._app = create_app(self.source, None)

    def ask(self, **query: Any) -> dict[str, Any]:
        reply = request(self._app, OPS, **{name: int(value) for name, value in query.items()})
        assert reply.status == 200, reply.body
        return dict(json.loads(reply.body))

    def ask_fresh(self, **query: Any) -> dict[str, Any]:
        """What a server that was started just now answers."""
        other = Server(self.path)
        other.source.moment = self.source.moment
        return other.ask(**query)


def without_moment(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "generated_at"}


def fill(path: Path) -> RuntimeDatabase:
    made = RuntimeDatabase(path)
    made.session(last_heartbeat_at=(NOON + timedelta(minutes=50)).isoformat())
    made.session_event("vp.session.created", NOON)
    made.mission("m1", NOON, events=DONE)
    made.mission("m2", NOON + timedelta(minutes=1), status="running", run=None, events=DONE[:1])
    return made


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A closed database; its times are settled after 50 ms, which are several ticks of this machine's file systems."""
    monkeypatch.setattr(sqlite_file, "_SETTLED_SECONDS", 0.05)
    fill(tmp_path / "vp_state.db").connection.close()
    return tmp_path / "vp_state.db"


@pytest.fixture
def gateway(path: Path) -> Iterator[GatewayProcess]:
    """The database, open in another process that has written, checkpointed and written again."""
    process = GatewayProcess(path)
    process.run("PRAGMA synchronous = OFF", *[f"UPDATE vp_missions SET source = '{number}'" for number in range(20)])
    process.run("PRAGMA wal_checkpoint(PASSIVE)", "UPDATE vp_sessions SET last_error = 'none'")
    yield process
    process.close()


def kept(server: Server, **query: Any) -> dict[str, Any]:
    """Asks until the answer is one that a further request uses again, and returns it; fails when none is."""
    for _ in range(5):
        time.sleep(0.06)
        server.ask(**query)
        reads = server.source.reads
        answer = server.ask(**query)
        if server.source.reads == reads:
            return answer
    raise AssertionError("no answer was used again")


# --- every way in which SQLite, or an operator, changes a database


def commit(gateway: GatewayProcess, path: Path) -> None:
    gateway.run(FAILED)


def commit_and_checkpoint(mode: str) -> Callable[[GatewayProcess, Path], None]:
    return lambda gateway, path: gateway.run(FAILED, f"PRAGMA wal_checkpoint({mode})") and None


def checkpoint_and_commit(mode: str) -> Callable[[GatewayProcess, Path], None]:
    return lambda gateway, path: gateway.run(f"PRAGMA wal_checkpoint({mode})", FAILED) and None


def commit_that_only_the_index_shows(gateway: GatewayProcess, path: Path) -> None:
    """The WAL begins again and does not grow, and nothing is checkpointed; only its time would tell."""
    wal = path.with_name(path.name + "-wal")
    before = wal.stat()
    gateway.run(FAILED)
    os.utime(wal, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert wal.stat().st_size == before.st_size


def vacuum(gateway: GatewayProcess, path: Path) -> None:
    gateway.run("DELETE FROM vp_events", "VACUUM")


def close(gateway: GatewayProcess, path: Path) -> None:
    gateway.run(FAILED)
    gateway.close()
    assert not path.with_name(path.name + "-wal").exists()


def close_and_open(gateway: GatewayProcess, path: Path) -> None:
    gateway.run(FAILED, "REOPEN", "SELECT * FROM vp_sessions")


def crash(gateway: GatewayProcess, path: Path) -> None:
    gateway.run(FAILED)
    gateway.kill()


def crash_and_another(gateway: GatewayProcess, path: Path) -> None:
    gateway.kill()
    write_alone(path, FAILED)


def to_rollback(gateway: GatewayProcess, path: Path) -> None:
    assert gateway.run("PRAGMA journal_mode = DELETE") == [["delete"]]
    gateway.run(FAILED)


def to_rollback_and_back(gateway: GatewayProcess, path: Path) -> None:
    gateway.run("PRAGMA journal_mode = TRUNCATE", FAILED, "PRAGMA journal_mode = WAL", "SELECT * FROM vp_sessions")


def exclusive(gateway: GatewayProcess, path: Path) -> None:
    """A WAL without a -shm: its index is in the writer's memory."""
    gateway.run("REOPEN", "PRAGMA locking_mode = EXCLUSIVE", FAILED, "REOPEN", "SELECT * FROM vp_sessions")


def drop_a_table(gateway: GatewayProcess, path: Path) -> None:
    gateway.run("DROP TABLE vp_session_events")


def many_commits(gateway: GatewayProcess, path: Path) -> None:
    gateway.run(*[(RUNNING, FAILED)[number % 2] for number in range(1000)])


def write_alone(path: Path, *statements: str) -> None:
    writer = GatewayProcess(path)
    writer.run(*statements)
    writer.close()


WHILE_OPEN = {
    "commit": commit,
    **{f"commit, then {mode}": commit_and_checkpoint(mode) for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE")},
    **{f"{mode}, then commit": checkpoint_and_commit(mode) for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE")},
    "commit that only the index shows": commit_that_only_the_index_shows,
    "vacuum": vacuum,
    "commit and close": close,
    "commit, close and open": close_and_open,
    "commit and crash": crash,
    "crash, then another writer": crash_and_another,
    "to a rollback journal": to_rollback,
    "to a rollback journal and back": to_rollback_and_back,
    "exclusive locking": exclusive,
    "another schema": drop_a_table,
    "1,000 commits": many_commits,
}


#: The cache knows a question and the file's state, not how an answer is read; so most ask what is read fastest.
ASKED = [(change, True) for change in WHILE_OPEN] + [("commit", False), ("commit and close", False)]


@pytest.mark.parametrize(("change", "compatible"), some_of(ASKED, 2))
def test_a_change_beside_a_gateway_is_seen(path: Path, gateway: GatewayProcess, change: str, compatible: bool) -> None:
    server = Server(path)
    before = kept(server, gateway_compatible=compatible)
    WHILE_OPEN[change](gateway, path)
    after = server.ask(gateway_compatible=compatible)
    assert after != before
    assert after == server.ask_fresh(gateway_compatible=compatible)


def test_a_checkpoint_alone_changes_no_answer(path: Path, gateway: GatewayProcess) -> None:
    server = Server(path)
    before = kept(server)
    for mode in ("PASSIVE", "RESTART", "TRUNCATE"):
        gateway.run(f"PRAGMA wal_checkpoint({mode})")
        assert server.ask() == before == server.ask_fresh()


def another(path: Path, *statements: str) -> Path:
    """A copy of the database, changed by ``statements``."""
    copy = path.with_name("another.db")
    shutil.copy(path, copy)
    write_alone(copy, *statements)
    return copy


def by_rename(path: Path) -> None:
    another(path, FAILED).replace(path)


def by_rename_with_the_same_times(path: Path) -> None:
    status, copy = path.stat(), another(path, FAILED)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)


def restored_in_place(path: Path) -> None:
    """Like ``cp --preserve backup.db vp_state.db``: the same file, the same size, an older time."""
    content = another(path, FAILED).read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))


def restored_in_place_with_the_same_times(path: Path) -> None:
    status, content = path.stat(), another(path, FAILED).read_bytes()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def written_alone(path: Path) -> None:
    """No page that holds a counter changes: the size, the header and the files beside it are as before."""
    header = first_bytes(path)
    size = path.stat().st_size
    write_alone(path, FAILED)
    assert (first_bytes(path), path.stat().st_size) == (header, size)


def written_alone_with_the_same_times(path: Path) -> None:
    status = path.stat()
    write_alone(path, FAILED)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def a_link_elsewhere(path: Path) -> None:
    copy = another(path, FAILED)
    path.unlink()
    path.symlink_to(copy)


def first_bytes(path: Path) -> bytes:
    code = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read(100))"
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True).stdout


WHILE_CLOSED = [
    by_rename, by_rename_with_the_same_times, restored_in_place, restored_in_place_with_the_same_times, written_alone,
    written_alone_with_the_same_times, a_link_elsewhere,
]  # fmt: skip


@pytest.mark.parametrize(
    ("journal", "pause"), some_of([("WAL", 0), ("DELETE", 0), ("WAL", 0.06), ("PERSIST", 0.06)], 4)
)
@pytest.mark.parametrize("change", WHILE_CLOSED, ids=lambda change: change.__name__)
def test_a_change_of_a_closed_database_is_seen(
    path: Path, change: Callable[[Path], None], pause: float, journal: str
) -> None:
    """At once and when the file's times have settled; which journal it has matters only for what the header tells."""
    write_alone(path, f"PRAGMA journal_mode = {journal}")
    if journal != "WAL" and change is written_alone:
        change = lambda path: write_alone(path, FAILED)  # noqa: E731  # it counts
    server = Server(path)
    before = kept(server, gateway_compatible=1)
    change(path)
    time.sleep(pause)
    after = server.ask(gateway_compatible=1)
    assert after["mission_counts"] == {"failed": 1, "running": 1} != before["mission_counts"]
    assert after == server.ask_fresh(gateway_compatible=1)


def test_a_database_that_is_restored_beside_its_old_wal(path: Path, gateway: GatewayProcess) -> None:
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    gateway.run(FAILED)
    server = Server(path)
    before = kept(server)
    gateway.kill()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    backup.replace(path)
    assert server.ask() == server.ask_fresh() != before


@pytest.mark.parametrize("journal", some_of(["WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY"], 2))
def test_each_of_many_commits_is_seen_at_once(path: Path, gateway: GatewayProcess, journal: str) -> None:
    """Faster than the file system's clock ticks."""
    gateway.run(f"PRAGMA journal_mode = {journal}")
    server = Server(path)
    for number in range(12):
        gateway.run(f"UPDATE vp_sessions SET last_error = '{number:04d}'")
        assert server.ask(mission_limit=1, gateway_compatible=1)["session"]["last_error"] == f"{number:04d}"


def test_writers_that_come_and_go_are_seen_at_once(path: Path, gateway: GatewayProcess) -> None:
    """Each leaves a file of the same size and header, a tick or less after the one before."""
    gateway.run("PRAGMA synchronous = OFF")
    server = Server(path)
    for number in range(25):
        gateway.run("REOPEN", f"UPDATE vp_sessions SET last_error = '{number:04d}'", "REOPEN")
        assert server.ask(mission_limit=1, gateway_compatible=1)["session"]["last_error"] == f"{number:04d}"


@pytest.mark.parametrize(
    ("statements", "proves"),
    [
        (["REOPEN", "PRAGMA journal_mode = DELETE"], (False, False, True)),
        (["REOPEN", "SELECT * FROM vp_sessions"], (False, False, True)),
        ([FAILED], (True, True, True)),
    ],
    ids=["rollback journal", "WAL without a commit", "WAL"],
)
def test_times_prove_nothing_until_they_are_settled(
    path: Path, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch, statements: list[str], proves: tuple[bool]
) -> None:
    """A second write within the same tick of the file system's clock would leave the same times; a WAL counts."""
    monkeypatch.undo()
    gateway.run(*statements)
    os.utime(path)
    for seconds, proof in zip((0, 1.9, 2.1), proves, strict=True):
        now = path.stat().st_ctime_ns + int(seconds * 1e9)
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        assert (sqlite_file.fingerprint(path) is not None) == proof


def test_a_change_during_the_read_is_not_missed(path: Path, gateway: GatewayProcess) -> None:
    server = Server(path)
    server.source.after_read = lambda: gateway.run(FAILED) and None
    assert server.ask()["mission_counts"] == {"completed": 1, "running": 1}
    server.source.after_read = lambda: None
    assert server.ask() == server.ask_fresh()
    assert server.source.reads == 2


# --- what depends on the moment


def test_the_moment_and_the_staleness_are_of_now(path: Path, gateway: GatewayProcess) -> None:
    server = Server(path)
    kept(server)
    reads = server.source.reads
    for minutes, stale in ((60, False), (65, False), (66, True), (600, True)):
        server.source.moment = NOON + timedelta(minutes=minutes)
        answer = server.ask()
        assert answer == server.ask_fresh()
        assert answer["generated_at"] == server.source.moment.isoformat()
        session = answer["session"]
        reason, status = ("heartbeat_timeout", "stale") if stale else (None, "active")
        assert (session["stale"], session["stale_reason"], session["effective_status"]) == (stale, reason, status)
    assert server.source.reads == reads


LATER = NOON + timedelta(hours=2)
COMES = {
    "mission": lambda made: made.mission("m3", LATER, events=DONE),
    "mission with an offset": lambda made: made.mission("m3", "2026-02-16T09:00:00-05:00", wait=None),
    "mission in basic form": lambda made: made.mission("m3", " 20260216T140000Z", wait=None),
    "mission with a number": lambda made: made.mission("m3", 20260217, wait=None),
    "start": lambda made: made.mission("m3", NOON, wait=7200),
    "completion": lambda made: made.mission("m3", NOON, run=7200),
    "update": lambda made: made.mission("m3", NOON, run=None, status="failed", updated_at=LATER.isoformat()),
    "event": lambda made: made.event("m1", "vp.mission.fallback", LATER),
    "another lane's event": lambda made: made.event("m1", "vp.mission.fallback", LATER, vp_id="other"),
    "session event": lambda made: made.session_event("vp.session.degraded", LATER),
    "session": lambda made: made.connection.execute(
        "UPDATE vp_sessions SET status = 'degraded', updated_at = ?", (LATER.isoformat(),)
    ),
}


@pytest.mark.parametrize("row", some_of(COMES.values(), 6), ids=COMES)
def test_a_row_of_the_future_is_seen_when_its_time_comes(path: Path, row: Callable[[RuntimeDatabase], None]) -> None:
    path.unlink()
    made = fill(path)
    row(made)
    made.connection.commit()
    made.connection.close()
    gateway = GatewayProcess(path)
    gateway.run("UPDATE vp_sessions SET last_error = 'none'")
    server = Server(path)
    before = server.ask()
    server.source.moment = LATER - timedelta(seconds=1)
    assert without_moment(server.ask()) | {"session": 0} == without_moment(before) | {"session": 0}
    server.source.moment = LATER + timedelta(days=1)
    after = server.ask()
    assert after == server.ask_fresh()
    assert without_moment(after) | {"session": 0} != without_moment(before) | {"session": 0}
    kept(server)
    server.source.moment = NOON + timedelta(hours=1)
    assert server.ask() == before, "the clock was set back"
    gateway.close()


@pytest.mark.parametrize("minutes", some_of([-30, 0, 60], 3))
def test_at_any_moment_the_answer_is_that_of_a_fresh_read(path: Path, gateway: GatewayProcess, minutes: int) -> None:
    server = Server(path)
    for later in (0, 15, 61, 100_000):
        server.source.moment = NOON + timedelta(minutes=minutes + later)
        assert server.ask() == server.ask_fresh()


# --- requests at the same time


def together(server: Server, number: int) -> list[Any]:
    pool = ThreadPoolExecutor(number)
    return [pool.submit(Server.ask, server) for _ in range(number)]


def test_equal_requests_cost_one_read(path: Path, gateway: GatewayProcess) -> None:
    server = Server(path)
    go = threading.Event()
    server.source.after_read = lambda: go.wait(20) and None
    answers = together(server, 20)
    time.sleep(0.5)
    assert server.source.reads == 1
    go.set()
    assert len({json.dumps(answer.result(20)) for answer in answers}) == 1
    assert server.source.reads == 1


def test_who_asks_after_a_commit_gets_no_answer_from_before_it(path: Path, gateway: GatewayProcess) -> None:
    """The first request's read is over when the gateway commits; those that come then share the next read."""
    server = Server(path)
    was_read, go = threading.Event(), threading.Event()

    def after_read() -> None:
        was_read.set()
        go.wait(20)
        gateway.run("UPDATE vp_sessions SET last_error = last_error || '+'")  # no answer can be used again later

    server.source.after_read = after_read
    [first] = together(server, 1)
    assert was_read.wait(20)
    gateway.run(FAILED)
    others = together(server, 20)
    time.sleep(0.5)
    go.set()
    assert first.result(20)["mission_counts"] == {"completed": 1, "running": 1}
    assert all(answer.result(20)["mission_counts"] == {"failed": 1, "running": 1} for answer in others)
    assert server.source.reads == 2


class Fixed:
    """A database that never changes."""

    def now(self) -> datetime:
        return NOON

    def fingerprint(self) -> str:
        return "the same"


def an_answer(size: int = 10) -> Answer:
    return Answer(NOON, LANE, None, b'{"a":"' + b"x" * size + b'"}', lasting=True)


def test_a_fault_is_shared_by_those_who_waited_and_then_forgotten() -> None:
    cache, reads = AnswerCache(Fixed()), []

    def fail() -> Answer:
        reads.append(1)
        time.sleep(0.3)
        raise InputError("It is not there.")

    with ThreadPoolExecutor(5) as pool:
        faults = [pool.submit(cache.get, "question", fail).exception() for _ in range(1)]
        faults += [future.exception() for future in [pool.submit(cache.get, "question", fail) for _ in range(5)]]
    assert {str(fault) for fault in faults} == {"It is not there."}
    assert len(reads) <= 3
    assert json.loads(cache.get("question", an_answer))["vp_id"] == LANE


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, reads = AnswerCache(Fixed()), []

    def ask(question: int, size: int) -> None:
        cache.get(question, lambda: reads.append(question) or an_answer(size))

    for number in range(500):
        ask(0, 10)
        ask(number, 10)
    assert len(cache._places) == answer_cache._MOST_ANSWERS
    assert reads.count(0) == 1, "what is asked for again and again stays"
    monkeypatch.setattr(answer_cache, "_MOST_BYTES", 5000)
    for number in range(1000, 1010):
        ask(number, 2000)
    assert list(cache._places) == [1008, 1009]


# --- descriptors


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.thorough  # a hundred times
@pytest.mark.parametrize("aside", [False, True], ids=["replaced", "moved aside"])
def test_a_file_that_is_replaced_100_times_leaks_no_descriptor(path: Path, aside: bool) -> None:
    template = path.with_name("template")
    shutil.copy(path, template)
    server = Server(path)
    server.ask()
    before = descriptors()
    for number in range(100):
        shutil.copy(template, path.with_name("next"))
        if aside:
            path.rename(path.with_name(f"old-{number}"))
        path.with_name("next").replace(path)
        server.ask(mission_limit=1, gateway_compatible=1)
    assert descriptors() <= before + 1


def test_a_gateway_that_comes_and_goes_leaks_no_descriptor(path: Path, gateway: GatewayProcess) -> None:
    """Each time the -shm is another file."""
    server = Server(path)
    server.ask()
    before = descriptors()
    for _ in range(20):
        gateway.run("REOPEN", "UPDATE vp_sessions SET last_error = 'x'")
        server.ask(mission_limit=1, gateway_compatible=1)
    assert descriptors() <= before + 1


def test_a_read_keeps_its_locks_when_its_file_is_replaced(path: Path) -> None:
    """Until it is over, the replaced file's descriptor stays open: closing it would drop the lock."""
    write_alone(path, "PRAGMA journal_mode = DELETE")
    new, old = another(path, FAILED), path.with_name("old.db")  # copied here: closing a copied file drops locks, too
    os.link(path, old)
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"

    def is_locked() -> bool:
        return "locked" in subprocess.run([sys.executable, "-c", code, str(old)], capture_output=True, text=True).stderr

    def read(uri: str, opened: Callable[[], None]) -> bool:
        with adbc.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT * FROM vp_events")
            reader = cursor.fetch_arrow()
            opened()
            new.replace(path)
            assert SqliteSource(path).load(RolloutWindow(LANE)).more_to_come is False
            locked = is_locked()
            del reader
            return locked

    assert sqlite_file.read_consistently(path, read)
    assert not is_locked()


def test_now_is_now(path: Path) -> None:
    assert abs(SqliteSource(path).now() - datetime.now(UTC)) < timedelta(seconds=5)
