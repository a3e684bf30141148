"""The evidence log: a row is appended in one step, and everything else stays byte for byte."""

import fcntl
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import vpanalysis as vp
from vpanalysis.report.log import append_row, count_looks, read_log

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


REF = '`_vp_metrics_snapshot(vp_id="lane", mission_limit=100)`'


@pytest.mark.parametrize(
    ("cells", "looks"),
    [
        (("2026-02-16T14:00:00Z", "any label", "any scope", REF, "0.000"), 1),
        (("2026-02-16", "any label", "any scope", REF, "0.000"), 1),
        (("n/a", "any label", "any scope", REF, "0.000"), 1),
        (("2026-02-16T14:00:00Z", "w", "my scope", "by hand", "0.000"), 1),
        (("2026-02-16T14:00:00Z", "w", "`lane`, real cohort", "by hand", "0.000"), 1),
        (("2026-02-16T14:00:00Z", "w", "my scope", REF.replace("lane", "other"), "0.000"), 0),
        (("2026-02-16T14:00:00Z", "w", "other", "by hand", "0.000"), 0),
        (("2026-02-16T14:00:00Z", "w", "my scope", REF, "n/a"), 0),
        (("2026-02-16T11:59:59Z", "w", "my scope", REF, "0.000"), 0),
        (("2026-02-16T15:00:01Z", "w", "my scope", REF, "0.000"), 0),
    ],
)
def test_looks_are_the_rows_about_the_lane_since_the_window_began(
    log: Path, cells: tuple[str, ...], looks: int
) -> None:
    log.write_text(TABLE + f"| {' | '.join(cells)} | n/a | HOLD_SHADOW | |\n")
    start, until = datetime(2026, 2, 16, 12, tzinfo=UTC), datetime(2026, 2, 16, 15, tzinfo=UTC)
    assert count_looks(log, vp_id="lane", scope="my scope", start=start, until=until) == looks


def test_looks_in_a_file_without_a_table(log: Path) -> None:
    log.write_text("no table")
    with pytest.raises(vp.InputError, match="no evidence table"):
        count_looks(log, vp_id="lane", scope="s", start=None, until=None)


def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.md")
    with pytest.raises(vp.InputError, match="not a regular file"):
        append_row(tmp_path / "log.md", ROW)
    with pytest.raises(vp.InputError, match="not a regular file"):
        read_log(tmp_path / "log.md")


def test_a_row_that_would_be_none_is_refused(log: Path) -> None:
    before = log.read_bytes()
    for row in ("just words", "| a | b |", "# heading", "```"):
        with pytest.raises(vp.InputError, match="cannot be appended to log"):
            append_row(log, row)
    assert log.read_bytes() == before


def test_the_frame_has_a_record_a_row(log: Path) -> None:
    log.write_text(TABLE + OLD + ROW + "\n")
    frame = vp.evidence_log(log)
    assert list(frame["line"]) == [3, 4]
    assert str(frame["date"].dtype) == "datetime64[us, UTC]"
    assert list(frame["date"].dt.hour) == [0, 14]
    assert list(frame["missions"].fillna(-1)) == [-1, 4]
    assert frame["rate"].isna().tolist() == [True, False]
    assert frame.loc[1, ["fallbacks", "rate", "p95_seconds", "decision", "status"]].tolist() == [
        *(1, 0.25, 0.534, "HOLD_SHADOW", "WATCH")
    ]
    assert frame.loc[1, "policy_hash"] == vp.Policy.load("capture").hash
    log.write_text(TABLE)
    assert len(vp.evidence_log(log)) == 0


def test_a_writer_waits_for_the_one_before_it(log: Path) -> None:
    """What is written while it waits is still there afterwards."""
    program = (
        "import sys; from pathlib import Path; from vpanalysis.report.log import append_row\n"
        "print('here', flush=True); append_row(Path(sys.argv[1]), sys.argv[2])"
    )
    folder = os.open(log.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    command = [sys.executable, "-c", program, str(log), ROW]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "here\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.5)
            earlier = ROW.replace("Shadow window", "Earlier window")
            log.write_text(PROSE + TABLE + OLD + earlier + "\n")
        finally:
            os.close(folder)
    assert writer.returncode == 0
    assert log.read_text() == PROSE + TABLE + OLD + earlier + "\n" + ROW + "\n"
