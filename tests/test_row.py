"""The evidence row, read by an independent Markdown renderer."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import vpanalysis as vp

HEADER = "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |"
TABLE = f"{HEADER}\n|---|---|---|---|---:|---:|---|---|\n"
REF = '_vp_metrics_snapshot(vp_id="vp.coder.primary", mission_limit=100, event_limit=500)'
SNAPSHOT: dict[str, Any] = {
    "generated_at": "2026-02-16T14:07:42.987654+00:00",
    "vp_id": "vp.coder.primary",
    "fallback": {"missions_considered": 4, "missions_with_fallback": 1, "rate": 0.25},
    "latency_seconds": {"count": 4, "avg_seconds": 0.4, "p50_seconds": 0.4, "p95_seconds": 0.5341, "max_seconds": 0.6},
    "mission_counts": {"completed": 4},
    "event_counts": {"vp.mission.dispatched": 4, "vp.mission.completed": 4, "vp.mission.fallback": 1},
}


def row_of(window_label: str = "Shadow window", scope: str = "lane", ref: str = REF, **changes: Any) -> str:
    verdict = vp.classify(SNAPSHOT | changes, vp.Policy.load("capture"))
    return vp.evidence_row(verdict, window_label=window_label, scope=scope, ref=ref)


def rendered(row: str) -> list[str]:
    """The row's cells as markdown-it renders them: CommonMark with GitHub's tables, raw HTML allowed."""
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(TABLE + row + "\n")
    body = html.split("<tbody>")[1]
    assert body.count("<tr>") == 1, html
    return re.findall(r"<td[^>]*>(.*?)</td>", body, re.DOTALL)


def test_the_row_is_the_logs() -> None:
    cells = rendered(row_of())
    assert cells[:7] == [
        "2026-02-16T14:07:42Z",
        "Shadow window",
        "lane",
        f"<code>{REF.replace(chr(34), '&quot;')}</code>",
        "0.250",
        "0.534s",
        "HOLD_SHADOW",
    ]
    assert row_of().startswith(
        f"| 2026-02-16T14:07:42Z | Shadow window | lane | `{REF}` | 0.250 | 0.534s | HOLD_SHADOW | "
    )
    assert (
        'missions_considered=4, missions_with_fallback=1, mission_counts={"completed":4}, '
        'event_counts={"vp.mission.dispatched":4,"vp.mission.completed":4,"vp.mission.fallback":1}; '
        "assessment=fallback rate high (0.250 >= 0.200); avg=0.400s, max=0.600s; evidence="
    ) in row_of()
    assert "policy=capture" in row_of()


@pytest.mark.parametrize(
    ("changes", "date", "rate", "p95"),
    [
        (
            {"fallback": {"missions_considered": 0, "missions_with_fallback": 0, "rate": 0.0}},
            "2026-02-16T14:07:42Z",
            "n/a",
            "0.534s",
        ),
        ({"latency_seconds": {"count": 0, "p95_seconds": None}}, "2026-02-16T14:07:42Z", "0.250", "n/a"),
        ({"fallback": {"missions_considered": 4, "rate": float("nan")}}, "2026-02-16T14:07:42Z", "n/a", "0.534s"),
        ({"generated_at": "soon"}, "n/a", "0.250", "0.534s"),
    ],
)
def test_what_is_unknown_is_not_available(changes: dict[str, Any], date: str, rate: str, p95: str) -> None:
    cells = rendered(row_of(**changes))
    assert (cells[0], cells[4], cells[5]) == (date, rate, p95)


def test_a_sample_says_so() -> None:
    with vp.open_source("sample") as source:
        metrics = vp.summarize(source.load(vp.RolloutWindow("vp.coder.primary", last_missions=5)))
    row = vp.evidence_row(vp.classify(metrics, vp.Policy.load()), window_label="W", scope="S", ref="r")
    assert rendered(row)[1] == "SAMPLE W"


def test_an_open_window_says_that_it_is_provisional() -> None:
    assert "; provisional; " in row_of()


def test_a_row_counts_each_name_once_the_most_frequent_first_and_few_of_them() -> None:
    counts = {f"vp.odd.{number:02d}": 100 - number for number in range(25)} | {"y" * 200: 200}
    notes = row_of(event_counts=counts)
    written = json.loads(notes.split("event_counts=")[1].split("}")[0] + "}")
    assert list(written)[:2] == ["y" * 80 + "…", "vp.odd.00"]
    assert (len(written), written["…"]) == (21, sum(100 - number for number in range(19, 25)))
    assert sum(written.values()) == sum(counts.values())


hostile = st.text(
    st.sampled_from([*"ab|\\`\n\r<>*_~[]()&#;!{}\"'- ", "\u2028", "\x00", "\ud800", "\u202e"]), max_size=12
)


@settings(max_examples=30, deadline=None)
@given(hostile, hostile, hostile, hostile)
def test_nothing_breaks_the_row(label: str, scope: str, ref: str, name: str) -> None:
    row = row_of(label, scope, ref, event_counts={name: 1, "x" * 5000: 2})
    row.encode()
    assert len(row.splitlines()) == 1
    assert len(rendered(row)) == 8
    assert len(row) < 1500


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a|b", "a|b"),
        ("a\\|b", "a\\|b"),
        ("one\r\n\ntwo", "one two"),
        ("`code` *bold* <script>", "`code` *bold* &lt;script&gt;"),
        ("![x](http://tracker.example/x.png)", "![x](http://tracker.example/x.png)"),
        ("n < 5 & more", "n &lt; 5 &amp; more"),
    ],
)
def test_labels_are_shown_as_they_were_typed(text: str, html: str) -> None:
    assert rendered(row_of(window_label=text))[1] == html


@pytest.mark.parametrize(
    ("ref", "html"),
    [
        ("a|b", "<code>a|b</code>"),
        ("`x` and ``y``", "<code>`x` and ``y``</code>"),
        ("<b>\n{}", "<code>&lt;b&gt; {}</code>"),
        ("", ""),
    ],
)
def test_refs_stand_in_a_code_span(ref: str, html: str) -> None:
    assert rendered(row_of(ref=ref))[3] == html
