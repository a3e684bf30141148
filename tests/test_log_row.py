"""Rows of evidence logs as people keep them, beside what markdown-it renders."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import vpanalysis as vp
from vpanalysis.report.log import append_row
from vpanalysis.report.log_row import LogRow, evidence_tables

HEADER = "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |"
RULE = "|---|---|---|---|---:|---:|---|---|"
TABLE = f"{HEADER}\n{RULE}\n"
NEW = "| 2026-03-01T00:00:00Z | new | s | `r` | 0.000 | n/a | HOLD_SHADOW | missions_considered=0 |"


def row_of(**cells: str) -> LogRow:
    usual = {"date": "2026-02-16T14:07:42Z", "window": "w", "scope": "s", "ref": "r"}
    usual |= {"rate": "0.250", "p95": "0.534s", "decision": "HOLD_SHADOW", "notes": "n"}
    (table,) = evidence_tables(TABLE + f"| {' | '.join((usual | cells).values())} |\n")
    (row,) = table.rows
    return row


def rendered(text: str) -> list[list[str]]:
    """The rows of the evidence tables that markdown-it renders, as a reader sees their cells."""
    html = MarkdownIt("commonmark").enable("table").render(text.removeprefix("\ufeff"))
    rows = []
    for head, body in re.findall(r"<table>\s*<thead>(.*?)</thead>(.*?)</table>", html, re.DOTALL):
        if unescape(re.sub(r"<[^>]*>|\s", "", head)) == re.sub(r"[|\s]", "", HEADER):
            for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL):
                cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
                rows.append([unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in cells])
    return rows


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (TABLE + NEW, [3]),
        ("\ufeff" + TABLE + NEW, [3]),
        ((TABLE + NEW).replace("\n", "\r\n"), [3]),
        (TABLE + "2026-02-16 | w | s | r | n/a | n/a | D | n\n", [3]),
        ("```\n" + TABLE + NEW + "\n```\n\n" + TABLE + NEW, [9]),
        ("<!--\n" + TABLE + NEW + "\n-->\n\n" + TABLE + NEW, [9]),
        ("Prose\u2028with \x0b and \x85.\n\n" + TABLE + NEW, [5]),
        (TABLE + NEW + "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n" + TABLE + NEW + "\n", [3, 11]),
        ("- item\n\n  " + TABLE.replace("\n", "\n  ") + NEW, [5]),
        (TABLE + NEW + "\nprose\n", [3]),
    ],
    ids=["plain", "bom", "crlf", "no outer pipes", "fence", "comment", "separators", "several", "list", "prose"],
)
def test_rows_are_found_where_a_renderer_shows_them(text: str, lines: list[int]) -> None:
    rows = [row for table in evidence_tables(text) for row in table.rows]
    assert [row.line for row in rows] == lines
    assert all(row.faults == () for row in rows)


@pytest.mark.parametrize("row", [NEW + " more |", "| 2026-02-16 | w |", "| 2026-02-16 |"])
def test_a_row_has_eight_cells(row: str) -> None:
    (table,) = evidence_tables(TABLE + row + "\n")
    assert "cells instead of 8" in table.rows[0].faults[-1]


def test_pipes_in_code_are_read_as_they_are_meant() -> None:
    assert row_of(ref=r"`a \| b`", notes='`{"a":1}`').cells[3::4] == ("a | b", '{"a":1}')
    row = row_of(ref="`a | b`, `c`")
    assert row.cells[3:5] == ("a | b, c", "0.250")
    assert "pipe within code" in row.faults[0]


@pytest.mark.parametrize(
    ("date", "since", "length"),
    [
        ("2026-02-16", datetime(2026, 2, 16, tzinfo=UTC), timedelta(days=1)),
        ("2026-02-16T14:07Z", datetime(2026, 2, 16, 14, 7, tzinfo=UTC), timedelta(minutes=1)),
        ("2026-02-16 14:07:42 UTC", datetime(2026, 2, 16, 14, 7, 42, tzinfo=UTC), timedelta(seconds=1)),
        ("2026-02-16T15:07:42+01:00", datetime(2026, 2, 16, 14, 7, 42, tzinfo=UTC), timedelta(seconds=1)),
        ("2026-02-16T14:07:42.5Z", datetime(2026, 2, 16, 14, 7, 42, 500_000, tzinfo=UTC), timedelta(microseconds=1)),
    ],
)
def test_a_date_means_as_long_as_it_is_written(date: str, since: datetime, length: timedelta) -> None:
    row = row_of(date=date)
    assert (row.since, row.until) == (since, since + length - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        ({"date": "yesterday"}, "yesterday"),
        ({"date": "9999-12-31"}, "9999-12-31"),
        ({"rate": "1.250"}, "1.250"),
        ({"rate": "low"}, "low"),
        ({"p95": "5%"}, "5%"),
        ({"decision": ""}, "no decision"),
    ],
)
def test_what_cannot_be_read_is_said(cells: dict[str, str], word: str) -> None:
    row = row_of(**cells)
    assert len(row.faults) == 1
    assert word in row.faults[0]


@pytest.mark.parametrize(
    ("rate", "p95", "values"),
    [("25 %", "534 ms", (0.25, 0.534)), ("0.25", "2 min", (0.25, 120.0)), ("n/a", "–", (None, None))],
)
def test_measures_in_other_units(rate: str, p95: str, values: tuple[float | None, float | None]) -> None:
    row = row_of(rate=rate, p95=p95)
    assert (row.rate and row.rate.value, row.p95 and row.p95.value) == values
    assert row.faults == ()


def test_counts_as_json_and_as_typed() -> None:
    row = row_of(notes='missions_considered=4, missions_with_fallback=1, mission_counts={"a b":3,"c}":1}; x')
    assert (row.missions, row.fallbacks, row.mission_counts) == (4, 1, {"a b": 3, "c}": 1})
    row = row_of(notes="`mission_counts={completed:4}`, `event_counts={dispatched:4, fallback:1}`")
    assert (row.missions, row.fallbacks, row.event_counts) == (4, 1, {"dispatched": 4, "fallback": 1})
    assert row_of(notes="event_counts={fallback:2}").fallbacks is None
    assert (row_of().missions, row_of().fallbacks) == (None, None)


def test_the_window_that_refs_name() -> None:
    def known(ref: str) -> tuple[object, ...] | None:
        found = row_of(ref=f"`{ref}`").looked_at
        return found and (found.vp_id, found.last_missions, found.start, found.end)

    coder = "vp.coder.primary"
    assert known('_vp_metrics_snapshot(vp_id="l 1", mission_limit=60, event_limit=5)') == ("l 1", 60, None, None)
    assert known("scripts/coder_vp_rollout_capture.py --mode http") == (coder, 100, None, None)
    assert known("vpanalysis capture --vp-id lane --mission-limit 7") == ("lane", 7, None, None)
    assert known("GET /api/v1/ops/metrics/coder-vp") == (coder, 50, None, None)
    assert known("GET /api/v1/ops/metrics/vp?vp_id=x&mission_limit=9") == ("x", 9, None, None)
    start, end = "2026-02-16T00:00:00Z", "2026-02-17T00:00:00Z"
    assert known(f'x.db: RolloutWindow(vp_id="l", start="{start}", end="{end}")') == ("l", None, start, end)
    assert known(f'x.db: RolloutWindow(vp_id="l", start="{start}")') == ("l", None, start, None)
    assert known("a probe by hand") is None


def test_statuses_are_the_policies() -> None:
    from vpanalysis.analysis.decision import _DECISIONS

    for profile, decisions in _DECISIONS.items():
        for status, decision in decisions.items():
            row = row_of(decision=decision)
            assert row.profile == profile
            assert row.status == ("WATCH" if decision == "HOLD_SHADOW" else status)
    assert row_of(decision="HOLD_SHADOW", notes="missions_considered=0").status == "NO_TRAFFIC"
    assert row_of(decision="BLOCKED_AUTH").status is None


def test_rows_are_read_without_pandas() -> None:
    code = "import sys, vpanalysis.report.log, vpanalysis.report.log_check\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "markdown_it" in loaded
    assert not {"pandas", "numpy", "pydantic", "matplotlib", "papermill"} & set(loaded)


words = st.text(st.sampled_from([*"ab1 *_`<>&[]()\\-:", "\u2028", "\x0b", "\x85", "é", "\ufeff"]), max_size=9)
cells = st.lists(words.map(lambda text: text.replace("|", "")), min_size=8, max_size=8)
piped = cells.map(lambda row: f"| {' | '.join(row)} |")
prose = st.one_of(
    words,
    st.sampled_from(["", "", "```", "<!--", "-->", "# h", "> q", "- i", "| a | b |", RULE, HEADER, "    x", "---"]),
)
block = st.lists(st.one_of(piped, prose), max_size=5)


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """A log with a table between whatever people write, in any line ending, perhaps with a byte-order mark."""
    lines = [*draw(block), "", HEADER, RULE, *draw(st.lists(piped, max_size=4)), *draw(block), "", *draw(block)]
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = draw(st.sampled_from(["", "\ufeff"])) + ending.join(lines) + draw(st.sampled_from(["", ending]))
    return text.encode() + draw(st.sampled_from([b"", b"\n\xff"]))


@settings(max_examples=60, deadline=None)
@given(logs())
def test_logs_are_read_as_rendered_and_append_only_adds_a_row(
    tmp_path_factory: pytest.TempPathFactory, log: bytes
) -> None:
    text = log.decode("utf-8", "surrogateescape")
    shown = rendered(text)
    tables = evidence_tables(text)
    for row in [row for table in tables for row in table.rows]:
        while shown[0] != list(row.cells):
            assert not any(shown.pop(0)[1:])  # a line without a pipe, which people mean as prose
        shown.pop(0)
    assert not any(any(row[1:]) for row in shown)
    path = tmp_path_factory.mktemp("log") / "log.md"
    path.write_bytes(log)
    if not tables:
        with pytest.raises(vp.InputError, match="no evidence table"):
            append_row(path, NEW)
        assert path.read_bytes() == log
        return
    append_row(path, NEW)
    written = path.read_bytes()
    place, more = written.index(NEW.encode()), len(written) - len(log)
    begins = [at for at in range(max(0, place - 9), place + 1) if written[:at] + written[at + more :] == log]
    assert any(written[at : at + more].strip(b"\r\n\t >") == NEW.encode() for at in begins)
    assert [row[1] for row in rendered(written.decode("utf-8", "surrogateescape"))].count("new") == 1
