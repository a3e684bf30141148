"""Searches for what the guarantees do not hold against: ``python benchmarks/search.py [--seconds N] [PART ...]``.

Each part does something hostile again and again for N seconds of CPU (120 unless said), its own and its children's, and
prints one row: inputs tried, how they ended, and what was found. A finding is printed with its input and makes the exit
code 1. Parts: see `PARTS`. ``fuzz`` wants atheris (``PYTHONPATH`` of a folder that holds it is enough); ``users`` and
``appends`` are Linux only, and ``users`` wants root. The figures stand in ``docs/guarantees.md``.
"""

import argparse
import base64
import contextlib
import dataclasses
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conftest import LANE, NOON, SCHEMA, RuntimeDatabase  # noqa: E402

TABLES = ("vp_missions", "vp_events", "vp_sessions", "vp_session_events")
SECRET = re.compile(r"sk-A1b2C3d4E5f6\d{4}xyz")
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TOKEN = 'ops"tok\\en/4711'
HEADER = "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |"


class Ran(NamedTuple):
    """What a command exited with (negative: the signal that ended it) and wrote."""

    code: int
    out: str
    err: str


@dataclasses.dataclass
class Search:
    """One part's search: how much longer it goes on, and what came of it so far."""

    folder: Path
    seconds: float
    random: random.Random
    results: Counter[str] = dataclasses.field(default_factory=Counter)
    findings: list[str] = dataclasses.field(default_factory=list)
    started: float = 0.0

    def spent(self) -> float:
        return cpu() - self.started

    def goes_on(self) -> bool:
        return self.spent() < self.seconds

    def found(self, what: str) -> None:
        self.results["FOUND"] += 1
        self.findings.append(what)

    def ended(self, ran: Ran, what: object, codes: Sequence[int] = (0, 2)) -> bool:
        """Counts how a command ended; returns whether it truly succeeded."""
        if ran.code not in codes or "Traceback" in ran.err:
            self.found(f"{what}: exit {ran.code}: {ran.err[-600:]}")
        elif ran.code == 2:
            self.results["refused by a sentence"] += 1
        return ran.code == 0


def cpu() -> float:
    """Seconds of CPU of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def command(*arguments: object, before: Callable[[], None] = lambda: None, seconds: float = 120) -> Ran:
    """Runs ``vpanalysis ARGUMENTS`` in a forked process, which may crash, after ``before`` ran in it."""
    import vpanalysis.cli
    from vpanalysis.report import packaged

    packaged.import_libraries()  # once, before the fork
    streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            for number, stream in enumerate(streams, 1):
                os.dup2(stream.fileno(), number)
            sys.stdout, sys.stderr = (io.TextIOWrapper(open(number, "wb"), write_through=True) for number in (1, 2))  # noqa: PTH123, SIM115
            sys.argv = ["vpanalysis", *map(str, arguments)]
            code = 70
            try:
                before()
                vpanalysis.cli.main()
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(code)
        os._exit(71)
    timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    texts = []
    for stream in streams:
        stream.seek(0)
        texts.append(stream.read().decode("utf-8", "replace"))
        stream.close()
    return Ran(os.waitstatus_to_exitcode(status), *texts)


def answer(path: Path, *options: str) -> tuple[Ran, Any]:
    """The endpoint's answer about a database, without the moment; None where there is none."""
    ran = command("snapshot", "--source", path, "--mission-limit", "100", "--wait", "1", *options)
    told = json.loads(ran.out) if ran.code == 0 else None
    if told:
        told.pop("generated_at")
        (told.get("session") or {}).pop("stale", None)
        (told.get("session") or {}).pop("stale_reason", None)
    return ran, told


def sample(path: Path, scenario: str = "elevated", missions: int = 240) -> Path:
    """A lane of the sample in one file, as after a checkpoint."""
    from vpanalysis.data.sample import write_sample

    write_sample(path, scenario, missions=missions)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    return path


# --- damaged databases ------------------------------------------------------------------------------------------------


def logical(path: Path) -> dict[tuple[str, int], tuple[Any, ...]] | None:
    """Every row of the VP tables by table and rowid, and the columns' names; None where SQLite cannot read them."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = bytes
            rows: dict[tuple[str, int], tuple[Any, ...]] = {}
            for table in TABLES:
                found = connection.execute(f"SELECT rowid, * FROM {table} NOT INDEXED")
                rows[table, -1] = tuple(column[0] for column in found.description)
                rows.update({(table, row[0]): row[1:] for row in found})
            return rows
    except sqlite3.Error:
        return None


def explained(path: Path, truth: dict[tuple[str, int], tuple[Any, ...]]) -> str:
    """What a damage changed that SQLite's checks take for valid, or ``unexplained``."""
    now = logical(path)
    if now is None or now.keys() != truth.keys():
        return "unexplained: rows are missing or new"
    changed = {key: (row, now[key]) for key, row in truth.items() if row != now[key]}
    if any(key[1] == -1 for key in changed):
        return "unexplained: a column's name"
    if not changed:
        return "unexplained: every value is as before"
    cells = sum(old != new for before, after in changed.values() for old, new in zip(before, after, strict=True))
    if len(changed) == 1:
        return "a flip within a value" if cells == 1 else "a flip between the values of one row"
    return f"unexplained: {cells} cells of {len(changed)} rows"


def damage(content: bytes, dice: random.Random, page: int = 4096) -> tuple[str, bytes]:
    """A damaged copy, and how it was damaged: mostly one bit."""
    broken, at = bytearray(content), dice.randrange(len(content))
    kind = dice.choices(("bit", "byte", "cut", "zeroed page", "swapped pages"), (70, 10, 8, 6, 6))[0]
    if kind == "bit":
        broken[at] ^= 1 << dice.randrange(8)
    elif kind == "byte":
        broken[at] = dice.randrange(256)
    elif kind == "cut":
        del broken[at:]
    else:
        first, second = (dice.randrange(len(content) // page) * page for _ in range(2))
        other = bytes(page) if kind == "zeroed page" else bytes(broken[second : second + page])
        if kind == "swapped pages":
            broken[second : second + page] = broken[first : first + page]
        broken[first : first + page] = other
    return f"{kind} at {at}", bytes(broken)


def flips(search: Search) -> None:
    """Damaged copies of a database against the undamaged one's truth."""
    content = sample(search.folder / "truth.db").read_bytes()
    truth, rows = answer(search.folder / "truth.db")[1], logical(search.folder / "truth.db")
    assert truth is not None
    assert rows is not None
    while search.goes_on():
        what, broken = damage(content, search.random)
        path = search.folder / "broken.db"
        path.write_bytes(broken)
        kind = what.partition(" at")[0]
        search.results[f"tried: {kind}"] += 1
        ran, told = answer(path)
        if not search.ended(ran, what):
            continue
        if told == truth:
            search.results["told the truth"] += 1
            continue
        class_ = explained(path, rows)
        search.results[f"another answer: {class_}"] += 1
        if class_.startswith("unexplained"):
            kept = Path(tempfile.gettempdir()) / f"search-{search.results['FOUND']}.db"
            shutil.copy(path, kept)
            differ = [name for name in truth if truth[name] != told.get(name)]
            search.found(f"{what} (kept as {kept.name}): {class_}; other: {', '.join(differ)}")


# --- generated databases ----------------------------------------------------------------------------------------------

ODD = (
    None, 0, -1, 2**63 - 1, -(2**63), 1e308, -1e308, 5e-324, "", " ", "\0", "x" * 5000,
    b"\xff\xfe", b"", "NaN", "[" * 3000,
    '{"a":' * 500, '{"error": 1e999}', "\u2028|\n`", "\x1b]52;c;AAAA\x07", "\u202e\u2066", "🎃" * 40, "2026-02-16",
    "2026-02-16T12:00:00", "2026-02-16T12:00:00+14:00", "2026-02-30T12:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01",
    "1e400", "completed", "failed", "running", "queued",
    "vp.mission.fallback", "vp.mission.completed", "vp.mission.failed",
)  # fmt: skip
COLUMNS = {
    table.split()[2]: [column.split()[0] for column in table.partition("(")[2].rpartition(")")[0].split(",")]
    for table in SCHEMA.split(";")
    if "CREATE TABLE" in table
}


def strange(path: Path, dice: random.Random) -> int:
    """Writes a database with a lane whose every value may be anything; returns how many missions the lane has."""
    schema = SCHEMA.replace(" PRIMARY KEY", "") if dice.random() < 0.3 else SCHEMA
    database, here = RuntimeDatabase(path, schema), set()
    usual = {
        "status": ("completed", "failed", "running", "queued", "cancelled"),
        "event_type": ("vp.mission.dispatched", "vp.mission.started", "vp.mission.completed", "vp.mission.fallback"),
    }
    for table, columns in COLUMNS.items():
        for number in range(dice.choice((0, 1, 7, 120)) if table in TABLES else 0):
            values: dict[str, Any] = {}
            for column in columns:
                if column == "vp_id":
                    values[column] = dice.choice((LANE,) * 9 + ODD[:14])
                elif dice.random() < 0.15:
                    values[column] = dice.choice(ODD)
                elif column.endswith("_at"):
                    values[column] = (NOON + timedelta(seconds=dice.gauss(0, 9e4))).isoformat()
                elif column.endswith("_id"):
                    values[column] = f"m{dice.randrange(100)}" if table == "vp_events" else f"m{number}"
                else:
                    values[column] = dice.choice(usual.get(column, ("{}", '{"error": "boom"}', "text")))
            with contextlib.suppress(sqlite3.IntegrityError):
                database.insert(table, **values)
                known = values.get("mission_id") not in (
                    None,
                    "",
                    b"",
                    b"\xff\xfe",
                )  # such missions are told, not counted
                future = values["created_at"] == "9999-12-31T23:59:59Z"  # not there yet
                if table == "vp_missions" and values["vp_id"] == LANE and known and not future:
                    here.add(str(values["mission_id"]))
            database.connection.rollback()
    if dice.random() < 0.5:
        database.connection.execute("PRAGMA journal_mode = DELETE")
    database.connection.close()
    return len(here)


def databases(search: Search) -> None:
    """Databases of every value: the count of missions is plain SQL's, the verdict carries, the row is one row."""
    from vpanalysis.report.log_row import evidence_tables

    while search.goes_on():
        path = search.folder / "strange.db"
        for file in search.folder.glob("strange.db*"):
            file.unlink()
        seed = search.random.randrange(2**32)
        missions = strange(path, random.Random(seed))
        search.results["tried: database"] += 1
        if search.random.random() < 0.5:
            ran, told = answer(path)
            if search.ended(ran, f"seed {seed}, snapshot"):
                counted = told["fallback"]["missions_considered"]
                if counted != min(missions, 100) or not 0 <= told["fallback"]["missions_with_fallback"] <= counted:
                    search.found(f"seed {seed}: {missions} missions, told {told['fallback']}")
                search.results["answered"] += 1
            continue
        ran = command("capture", "--source", path)
        if search.ended(ran, f"seed {seed}, capture"):
            row = ran.out.splitlines()[-1]
            tables = evidence_tables(f"{HEADER}\n|---|---|---|---|---|---|---|---|\n{row}\n")
            if len(tables) != 1 or len(tables[0].rows) != 1 or ACTING.search(ran.out):
                search.found(f"seed {seed}: the row is no row: {row[:300]!r}")
            search.results["captured"] += 1


# --- logs -------------------------------------------------------------------------------------------------------------


def logs(search: Search) -> None:
    """Logs that have a table: a row is added, and nothing else changes; the log's own check never fails."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from vpanalysis.analysis.policy import Policy
    from vpanalysis.errors import InputError
    from vpanalysis.report.log import append_row, count_looks, read_log
    from vpanalysis.report.log_check import check, due

    policies = [Policy.load("playbook"), Policy.load("capture")]
    log, rule = search.folder / "log.md", "|---|:--|--:|:-:|---|---|---|---|"
    row = "| 2026-02-16T14:07:42Z | Window 7 | lane | `GET /x` | 0.250 | 0.534s | HOLD_SHADOW | `{}` |"
    cells = st.sampled_from(
        ["", "2026-02-16", "2026-02-16T14:07:42Z", "n/a", "0.250", "1e999", "0.534s", "HOLD_SHADOW", "`a | b`", "\\|",
         "\u2028", "\x85", "\u202e", "missions_considered=9, missions_with_fallback=99", "mission_counts={", "🎃",
         "9" * 400, "-1", "NaN"]
    ) | st.text(st.characters(exclude_characters="\r\n"), max_size=12)  # fmt: skip
    rows = st.lists(cells, min_size=1, max_size=10).map(lambda texts: "| " + " | ".join(texts) + " |")
    prose = st.sampled_from(
        ["", "# Log", "text | pipe", "```", "~~~", "> quoted", "- item", "<!--", "-->", "    code", "\t", "---"]
    )
    prose |= st.text(st.characters(exclude_characters="\r\n"), max_size=20)
    parts = st.tuples(
        st.sampled_from(["", "\ufeff"]), st.lists(prose, max_size=4), st.sampled_from(["", "> ", "  "]),
        st.lists(rows | st.just(row.replace("14:07", "11:11")), max_size=4), st.lists(prose, max_size=4),
        st.sampled_from(["\n", "\r\n"]), st.booleans(),
    )  # fmt: skip

    def attempt(drawn: tuple[Any, ...]) -> None:
        mark, before, indent, lines, after, newline, blank = drawn
        table = [indent + line for line in (HEADER, rule, *lines)]
        content = mark + newline.join([*before, "", *table, *([""] if blank else []), *after])
        log.write_bytes(content.encode("utf-8", "surrogatepass"))
        search.results["tried: log"] += 1
        try:
            tables = read_log(log)
            search.results["has a table"] += 1
            check(tables, policies)
            due([row for table in tables for row in table.rows], NOON)
            count_looks(log, vp_id=LANE, scope=LANE, start=None, until=NOON)
            known = sum(len(table.rows) for table in tables)
            append_row(log, row)
        except InputError:
            search.results["refused by a sentence"] += 1
            assert log.read_bytes() == content.encode("utf-8", "surrogatepass")
            return
        written = log.read_bytes().decode("utf-8", "surrogatepass")
        assert written.replace(row, "", 1).replace("\r", "").replace("\n", "").replace(" ", "").replace(">", "") == (
            content.replace("\r", "").replace("\n", "").replace(" ", "").replace(">", "")
        )
        assert sum(len(table.rows) for table in read_log(log)) == known + 1
        search.results["one row more"] += 1

    tried = settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    while search.goes_on():
        try:
            tried(given(parts)(attempt))()
        except Exception:
            search.found(traceback.format_exc()[-1500:])
            return


# --- fuzz -------------------------------------------------------------------------------------------------------------


def fuzz(search: Search) -> None:
    """Stamps, policies and saved snapshots by coverage (atheris), each in a process of its own."""
    targets = ("stamps", "policies", "snapshots")
    for target in targets:
        corpus = search.folder / target
        corpus.mkdir()
        (corpus / "seed").write_bytes(SEEDS[target])
        limits = ["-max_len=4000", "-timeout=60", "-rss_limit_mb=4000", f"-artifact_prefix={corpus}/crash-"]
        program = [sys.executable, __file__, "--fuzz", target, str(search.seconds / len(targets)), str(corpus), *limits]
        ran = subprocess.run(program, capture_output=True, text=True, errors="replace", check=False, cwd=corpus)
        if ran.returncode == 0 and ran.stdout.strip().isdigit():
            search.results[f"tried: {target}"] += int(ran.stdout)
        else:
            search.found(f"{target}: exit {ran.returncode}: {ran.stderr[-2000:]}")


SEEDS = {
    "stamps": b"2026-02-16T14:07:42.123456+00:00",
    "policies": b'version = "1"\n[rollout]\nmin_missions = 5\nfallback_watch = 0.05\n'
    b"[rollout.gates.failures]\nshare = 0.1\n",
    "snapshots": json.dumps(
        {
            "generated_at": "2026-02-16T12:00:00Z", "vp_id": LANE, "session": {"status": "active"},
            "mission_counts": {"completed": 1}, "event_counts": {"vp.mission.completed": 1},
            "fallback": {"missions_considered": 1, "missions_with_fallback": 0, "rate": 0.0},
            "latency_seconds": {
                "count": 1, "avg_seconds": 1.0, "p50_seconds": 1.0, "p95_seconds": 1.0, "max_seconds": 1.0,
            },
            "recent_missions": [{"mission_id": "m", "status": "completed", "created_at": "2026-02-16T11:00:00Z"}],
            "recent_events": [
                {"mission_id": "m", "event_type": "vp.mission.completed", "created_at": "2026-02-16T11:00:01Z"}
            ],
        }
    ).encode(),
}  # fmt: skip


def fuzz_target(target: str, seconds: str, *arguments: str) -> None:
    """Fuzzes one target in this process for so many seconds of CPU; prints how many inputs it tried."""
    import atheris

    with atheris.instrument_imports(include=["vpanalysis.data", "vpanalysis.analysis.policy"]):
        from vpanalysis.analysis.policy import Policy
        from vpanalysis.data import snapshot_tables
        from vpanalysis.data.timestamps import parse_length, parse_time
    from vpanalysis.analysis.decision import classify
    from vpanalysis.analysis.metrics import summarize
    from vpanalysis.data.source import open_source
    from vpanalysis.data.window import RolloutWindow
    from vpanalysis.errors import InputError

    file = Path(f"fuzzed.{'toml' if target == 'policies' else 'json'}")

    tried = 0

    def one(data: bytes) -> None:
        nonlocal tried
        tried += 1
        if time.process_time() > float(seconds):
            print(tried, flush=True)
            os._exit(0)
        text = data.decode("utf-8", "replace")
        with contextlib.suppress(InputError):
            if target == "stamps":
                moment = parse_time(text)
                assert moment is None or moment.utcoffset() == timedelta(0)
                parse_length(text)
            elif target == "policies":
                file.write_bytes(data)
                Policy.load(file)
            else:
                told = snapshot_tables.parse_snapshot(data, "fuzzed")
                file.write_bytes(data)
                with open_source(file) as source:
                    verdict = classify(summarize(source.load(RolloutWindow(LANE))), Policy.load("playbook"))
                if verdict.lane_status == "HEALTHY":
                    assert told["fallback"]["missions_considered"] > 0

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


# --- the server -------------------------------------------------------------------------------------------------------


def server(search: Search) -> None:
    """Requests by the OpenAPI document, valid and not, over strange databases: every answer follows the document."""
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis.specs.openapi.checks import ignored_auth

    from vpanalysis.data.source import SqliteSource
    from vpanalysis.serve import create_app

    while search.goes_on():
        path, seed = search.folder / "served.db", search.random.randrange(2**32)
        for file in search.folder.glob("served.db*"):
            file.unlink()
        strange(path, random.Random(seed))
        schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(SqliteSource(path), TOKEN, ["testserver"]))
        for place in ("ops/metrics/coder-vp", "ops/metrics/vp", "dashboard/metrics/coder-vp"):
            for mode in schemathesis.GenerationMode:

                def ask(case: Any) -> None:
                    search.results["tried: request"] += 1
                    reply = case.call_and_validate(headers={"x-ua-ops-token": TOKEN}, excluded_checks=[ignored_auth])
                    search.results[f"answered {reply.status_code}"] += 1

                strategy = schema[f"/api/v1/{place}"]["GET"].as_strategy(generation_mode=mode)
                limits = settings(
                    max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
                )
                try:
                    limits(given(strategy)(ask))()
                except Exception:
                    search.found(f"seed {seed}, {place}: {traceback.format_exc()[-1200:]}")
                    return


# --- appends, users, replacement, clocks ------------------------------------------------------------------------------


def appends(search: Search) -> None:
    """100 ``capture --append-log`` at once, then 10 at a log of 30,000 rows: every "Appended" is one whole row."""
    path = sample(search.folder / "lane.db", missions=40)
    old = "| 2026-02-16 | Kickoff | s | `GET /x` | n/a | n/a | START_SHADOW_WINDOW | `{}` |\n"
    for processes, filler in ((100, 1), (10, 30_000)):
        log = search.folder / f"log-{processes}.md"
        log.write_text(f"# Log\n\n{HEADER}\n|---|---|---|---|---|---|---|---|\n{old * filler}\n## After\n", "utf-8")
        size = log.stat().st_size
        told: list[Ran] = []

        def one(number: int, log: Path = log, told: list[Ran] = told) -> None:
            ended = subprocess.run(
                [sys.executable, "-m", "vpanalysis", "capture", "--source", path, "--append-log", log,
                 "--window-label", f"Window <{number}>"],
                capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            told.append(Ran(ended.returncode, ended.stdout, ended.stderr))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = [ran for ran in told if ran.code == 0]
        content = log.read_text("utf-8")
        rows = [line for line in content.splitlines() if "Window <" in line or "Window &lt;" in line]
        expected = sorted(ran.out.rstrip().splitlines()[-1] for ran in done)
        search.results[f"tried: {processes} at once, log of {size / 1e6:.1f} MB"] += processes
        search.results[f"appended of {processes}"] += len(done)
        if sorted(rows) != expected or content.count("| Kickoff |") != filler or not content.endswith("\n## After\n"):
            search.found(f"{processes} appends: {len(done)} said Appended, {len(rows)} rows stand")
        for ran in told:
            search.ended(ran, f"{processes} appends")


def users(search: Search) -> None:
    """Another user than the owner: what may be read is, nothing is left behind, the rest is refused by a sentence."""
    nobody = 65534

    warm, warm_log = sample(search.folder / "warm.db", missions=20), search.folder / "warm.md"
    warm_log.write_text(f"{HEADER}\n|---|---|---|---|---|---|---|---|\n", "utf-8")

    def become() -> None:
        """Imports all that a command does, which that user may not be allowed to, by running them once."""
        import vpanalysis.cli

        given, sys.argv = sys.argv, ["", "capture", "--source", str(warm), "--append-log", str(warm_log)]
        streams, warm_stream = (sys.stdout, sys.stderr), io.StringIO()
        for arguments in (sys.argv, ["", "snapshot", "--source", str(warm)], ["", "snapshot", "--source", "none.db"]):
            sys.argv, sys.stdout, sys.stderr = arguments, warm_stream, warm_stream
            with contextlib.suppress(SystemExit):
                vpanalysis.cli.main()
        sys.argv, (sys.stdout, sys.stderr) = given, streams
        os.setgroups([])
        os.setgid(nobody)
        os.setuid(nobody)

    os.environ["TMPDIR"] = "/tmp"
    while search.goes_on():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            journal, mode = search.random.choice(("WAL", "DELETE")), search.random.choice((0o644, 0o600, 0o640))
            database = RuntimeDatabase(folder / "lane.db")
            database.mission("m1", events=("vp.mission.dispatched", "vp.mission.completed"))
            database.connection.execute(f"PRAGMA journal_mode = {journal}")
            live = search.random.random() < 0.5
            if not live:
                database.connection.close()
            for file in folder.iterdir():
                file.chmod(mode)
            log = folder / "log.md"
            log.write_text(f"{HEADER}\n|---|---|---|---|---|---|---|---|\n", "utf-8")
            before = {file.name: (file.stat().st_uid, file.stat().st_mode) for file in folder.iterdir()}
            for arguments in (["snapshot"], ["capture"], ["capture", "--append-log", str(log)]):
                ran = command(*arguments, "--source", folder / "lane.db", before=become)
                what = f"{arguments} {journal} {mode:o} {'live' if live else 'closed'}"
                search.results["tried: command"] += 1
                succeeded = search.ended(ran, what)
                search.results["read"] += succeeded
                if succeeded != (mode == 0o644 and len(arguments) == 1):
                    search.found(f"{what}: exit {ran.code}: {ran.err[-300:]}")
            after = {file.name: (file.stat().st_uid, file.stat().st_mode) for file in folder.iterdir()}
            if before != after:
                search.found(f"{what}: left {after} of {before}")
            if live:
                database.connection.close()


def replaced(search: Search) -> None:
    """A database that another one replaces all the time: each answer is wholly one's, or a sentence."""
    made = {
        name: sample(search.folder / f"{name}.db", name, missions)
        for name, missions in (("healthy", 60), ("critical", 90))
    }
    known = [answer(path)[1] for path in made.values()]
    live, stop = search.folder / "live.db", search.folder / "stop"
    shutil.copy(made["healthy"], live)
    child = os.fork()
    if child == 0:
        while not stop.exists():
            for path in made.values():
                shutil.copy(path, search.folder / "next.db")
                (search.folder / "next.db").replace(live)
                time.sleep(random.random() * 0.05)
        os._exit(0)
    try:
        while search.goes_on():
            ran, told = answer(live)
            search.results["tried: read"] += 1
            if search.ended(ran, "replaced"):
                search.results["wholly one of the two"] += told in known
                if told not in known:
                    search.found(f"an answer of neither: {told['fallback']} {told['mission_counts']}")
    finally:
        stop.touch()
        os.waitpid(child, 0)


def clocks(search: Search) -> None:
    """A clock that jumps by seconds and by centuries, between and within reads: none is healthy before its data."""
    import vpanalysis as vp
    from vpanalysis.data.table_source import TableSource

    path = sample(search.folder / "lane.db", "healthy", 150)
    with vp.open_source(path) as source:
        newest = source.load(vp.RolloutWindow(LANE)).missions["created_at"].max().to_pydatetime()
    jumps = [1e9, 1e5, 3600, 60, 1, 0.001]

    def now(self: TableSource) -> datetime:
        far = search.random.choice(jumps) * search.random.uniform(-1, 1) * search.random.choice((1, 1, 200))
        try:
            moments.append(newest + timedelta(seconds=far))
        except OverflowError:
            moments.append(datetime(9999, 12, 31, tzinfo=UTC))
        return moments[-1]

    TableSource.now = now  # type: ignore[method-assign]
    while search.goes_on():
        moments: list[datetime] = []
        search.results["tried: read"] += 1
        try:
            with vp.open_source(path) as source:
                verdict = vp.classify(vp.summarize(source.load(vp.RolloutWindow(LANE))), vp.Policy.load("playbook"))
                source.gateway_snapshot(LANE)
            search.results[f"judged {verdict.lane_status}"] += 1
            gap = (newest - moments[0]).total_seconds()
            if verdict.lane_status == "HEALTHY" and not -7 * 86400 < gap < 120:
                search.found(f"healthy {gap:.0f} s before its newest mission")
        except vp.InputError:
            search.results["refused by a sentence"] += 1
        except Exception:
            search.found(f"{moments}: {traceback.format_exc()[-800:]}")


# --- secrets ----------------------------------------------------------------------------------------------------------


def told(content: bytes) -> set[str]:
    """The secrets and the token that a file or stream tells: as they are, in images, as JSON, HTML or URLs."""
    from vpanalysis.data.ops_token import without_token

    texts = [content.decode("utf-8", "ignore"), content.decode("utf-16-le", "ignore")]
    for image in re.findall(r"base64,([A-Za-z0-9+/=]+)", texts[0]):
        texts.append(base64.b64decode(image).decode("utf-8", "ignore"))
    found = {secret for text in texts for secret in SECRET.findall(text)}
    return found | {"the ops token" for text in texts if re.search("(/|%2F)4711", text) or without_token(text) != text}


def secrets(search: Search) -> None:
    """Every command and notebook over a lane of secrets: none is in a file or stream, but where it is promised."""
    from test_secrets import Lane

    os.environ["UA_OPS_TOKEN"] = TOKEN
    os.chdir(search.folder)
    lane = Lane(RuntimeDatabase(search.folder / "lane.db"))
    source = ("--source", lane.path)
    Path("plan.toml").write_text(
        f'out = "batch"\nas_of = "2026-02-17T00:00:00Z"\n[sources]\nalpha = "{lane.path}"\n'
        "[[windows]]\nlast_missions = 60\n"
        '[[windows]]\nfrom = "2026-02-16T00:00:00Z"\nto = "2026-02-17T00:00:00Z"\nevery = "12h"\n'
    )
    clean, verbatim = [
        ("report", *source), ("report", *source, "--engine", "kernel", "--out", "kernel"),
        ("report", *source, "--summary", "summary.md", "--out", "sustained", "--profile", "sustained"),
        *(("report", notebook, *source) for notebook in ("window_comparison", "lane_overview", "rollout_history")),
        ("batch", "plan.toml"), ("index", "reports"), ("index", "batch"), ("capture", *source),
        ("evidence", "init", "log.md"),
        ("capture", *source, "--append-log", "log.md"), ("evidence", "show", "log.md"), ("evidence", "check", "log.md"),
        ("evidence", "verify", "log.md", *source), ("evidence", "due", "log.md"), ("policy", "show", "playbook"),
        ("policy", "replay", *source), ("policy", "replay", *source, "--score"), ("notebook", "list"),
        ("notebook", "copy", "rollout_window", "copied.ipynb"), ("report", "copied.ipynb", *source),
    ], [
        ("snapshot", *source), ("snapshot", *source, "--gateway-compatible"), ("archive", *source, "--to", "archive"),
    ]  # fmt: skip
    for arguments in (*clean, *verbatim, ("report", "--source", "archive", "--out", "archived")):
        known = {path: path.stat().st_mtime_ns for path in search.folder.rglob("*") if path.is_file()}
        ran = command(*arguments, seconds=300)
        search.results["tried: command"] += 1
        search.ended(ran, arguments, (0, 3))
        contents = {"stdout": ran.out.encode(), "stderr": ran.err.encode()}
        for path in search.folder.rglob("*"):
            if path.is_file() and path != lane.path and known.get(path) != path.stat().st_mtime_ns:
                contents[path.name] = path.read_bytes()
        for name, content in contents.items():
            search.results["searched: file or stream"] += 1
            leaked = told(content) - ({*lane.secrets} if arguments in verbatim else set())
            if leaked:
                search.found(f"{arguments[:2]}: {name} tells {sorted({lane.secrets.get(one, one) for one in leaked})}")


PARTS: dict[str, Callable[[Search], None]] = {
    part.__name__: part
    for part in (flips, databases, logs, fuzz, server, appends, users, replaced, clocks, secrets)
}  # fmt: skip


@contextlib.contextmanager
def begun(name: str, seconds: float, seed: int) -> Iterator[Search]:
    with tempfile.TemporaryDirectory(prefix="vpanalysis-search-") as folder:
        yield Search(Path(folder), seconds, random.Random(f"{name} {seed}"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("part", nargs="*")
    given = parser.parse_args()
    found = 0
    print("| part | CPU s | tried | results |\n|---|---:|---|---|", flush=True)
    for name in given.part or PARTS:
        with begun(name, given.seconds, given.seed) as search:
            child = os.fork()  # what a part changes of the process ends with it, and its CPU is counted from here
            if child == 0:
                search.started = cpu()
                try:
                    PARTS[name](search)
                except Exception:
                    search.found(f"the search itself failed: {traceback.format_exc()}")
                results = search.results
                tried = ", ".join(f"{n:,} {key[7:]}" for key, n in results.items() if key.startswith("tried: "))
                rest = ", ".join(f"{n:,} {key}" for key, n in results.items() if not key.startswith("tried: "))
                print(f"| {name} | {search.spent():.0f} | {tried} | {rest} |", flush=True)
                for finding in search.findings:
                    print(f"FOUND in {name}: {finding}", file=sys.stderr, flush=True)
                os._exit(bool(search.findings))
            found |= os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(found != 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fuzz"]:
        fuzz_target(*sys.argv[2:])
    else:
        main()
