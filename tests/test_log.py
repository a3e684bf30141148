"""The evidence log: a row is appended in one step, and everything else stays byte for byte."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import vpanalysis as vp
from vpanalysis.report.log import append_row, count_looks

HEADER = "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |"
TABLE = f"{HEADER}\n|---|---|---|---|---:|---:|---|---|\n"


def row_of(window_label: str = "Shadow window", scope: str = "lane", at: str = "2026-02-16T14:07:42Z") -> str:
    content = {
        "generated_at": at,
        "fallback": {"missions_considered": 4, "missions_with_fallback": 1, "rate": 0.25},
        "latency_seconds": {"count": 4, "p95_seconds": 0.5341},
    }
    verdict = vp.classify(content, vp.Policy.load("capture"))
    return vp.evidence_row(verdict, window_label=window_label, scope=scope, ref="GET /x")


ROW = row_of()
PROSE = "# Log\n\nText with a | pipe.\n\n"
OLD = '| 2026-02-16 | Kickoff | s | `GET /x`, `a | b` | n/a | n/a | START_SHADOW_WINDOW | `{"a":1}` |\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.md"
    path.write_bytes((PROSE + TABLE + OLD + "\n---\n\n## After\n| no | table |\n").encode())
    return path


def test_append_adds_one_line_after_the_tables_last_row(log: Path) -> None:
    append_row(log, ROW)
    second = ROW.replace("Shadow window", "Next window")
    append_row(log, second)
    assert (
        log.read_bytes().decode() == PROSE + TABLE + OLD + ROW + "\n" + second + "\n\n---\n\n## After\n| no | table |\n"
    )
    assert [entry.name for entry in log.parent.iterdir()] == ["log.md"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PROSE + TABLE, PROSE + TABLE + ROW + "\n"),
        (PROSE + TABLE + OLD.rstrip("\n"), PROSE + TABLE + OLD + ROW + "\n"),
        ((PROSE + TABLE + OLD).replace("\n", "\r\n"), (PROSE + TABLE + OLD).replace("\n", "\r\n") + ROW + "\r\n"),
        ("```\n" + TABLE + "```\n" + TABLE + OLD, "```\n" + TABLE + "```\n" + TABLE + OLD + ROW + "\n"),
        (TABLE.replace("Date (UTC)", "date (utc) ").replace("|---|", "| --- |") + OLD + "end", None),
    ],
)
def test_append_finds_the_table(log: Path, before: str, after: str | None) -> None:
    log.write_bytes(before.encode())
    append_row(log, ROW)
    assert log.read_bytes().decode() == (before.removesuffix("end") + ROW + "\nend" if after is None else after)


def test_append_keeps_bytes_it_cannot_read(log: Path) -> None:
    log.write_bytes(b"\xef\xbb\xbf\xff\xfe prose\x0c\x85\n\n" + TABLE.encode() + b"| \xff |\n")
    append_row(log, ROW)
    assert (
        log.read_bytes()
        == b"\xef\xbb\xbf\xff\xfe prose\x0c\x85\n\n" + TABLE.encode() + b"| \xff |\n" + ROW.encode() + b"\n"
    )


def test_append_keeps_the_mode_and_follows_a_link(log: Path, tmp_path: Path) -> None:
    log.chmod(0o640)
    link = tmp_path / "link.md"
    link.symlink_to(log)
    append_row(link, ROW)
    assert link.is_symlink()
    assert ROW in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "content", ["", PROSE, HEADER, "```\n" + TABLE + "```\n", "    " + TABLE, "| a | b |\n|---|---|\n"]
)
def test_a_file_without_the_table_is_refused_and_untouched(log: Path, content: str) -> None:
    log.write_text(content)
    with pytest.raises(vp.InputError, match=r"log\.md has no evidence table"):
        append_row(log, ROW)
    assert log.read_text() == content
    assert [entry.name for entry in log.parent.iterdir()] == ["log.md"]


def test_the_identical_row_is_refused_twice(log: Path) -> None:
    append_row(log, ROW)
    before = log.read_bytes()
    with pytest.raises(vp.InputError, match="already"):
        append_row(log, ROW)
    assert log.read_bytes() == before


@pytest.mark.parametrize("name", ["nowhere.md", "folder", "nowhere/log.md"])
def test_a_log_that_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(vp.InputError, match=name.split("/")[0]):
        append_row(tmp_path / name, ROW)


def test_looks_are_the_rows_of_the_same_window_and_scope(log: Path) -> None:
    label, scope = "Window | 1 (a+b)", "lane *"
    assert count_looks(log, window_label=label, scope=scope) == 0
    for minute in range(3):
        append_row(log, row_of(label, scope, f"2026-02-16T15:0{minute}:00Z"))
    append_row(log, row_of(label, "another lane"))
    append_row(log, row_of("Window", scope))
    assert count_looks(log, window_label=label, scope=scope) == 3
    log.write_text("no table")
    with pytest.raises(vp.InputError, match="no evidence table"):
        count_looks(log, window_label=label, scope=scope)


def test_a_writer_waits_for_the_one_before_it(log: Path) -> None:
    """What is written while it waits is still there afterwards."""
    program = (
        "import sys; from pathlib import Path; from vpanalysis.report.log import append_row\n"
        "print('here', flush=True); append_row(Path(sys.argv[1]), sys.argv[2])"
    )
    folder = os.open(log.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        command = [sys.executable, "-c", program, str(log), ROW]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "here\n"
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.5)
        earlier = ROW.replace("Shadow window", "Earlier window")
        log.write_text(PROSE + TABLE + OLD + earlier + "\n")
    finally:
        os.close(folder)
    assert writer.wait(20) == 0
    assert log.read_text() == PROSE + TABLE + OLD + earlier + "\n" + ROW + "\n"
