"""The page: self-contained, escaped, in the report's order, and small."""

import base64
import hashlib
import html
import re
from typing import Any

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from report_pages import executed, page

from vpanalysis.report.html import to_html

SECTIONS = [
    "Verdict",
    "Key figures",
    "Evidence row",
    "Reasons",
    "Fallback",
    "Latency",
    "Events and failures",
    "Session health",
    "Against the baseline",
    "Data quality",
    "Recovery checklist",
    "How this was made",
]


@pytest.fixture(scope="module")
def elevated() -> str:
    return page("rollout_window", "elevated")


@pytest.fixture(scope="module")
def hostile() -> str:
    return page("rollout_window", "hostile")


def contents(text: str) -> list[str]:
    nav = text.partition("<nav")[2].partition("</nav>")[0]
    return [html.unescape(name) for name in re.findall(r"</span>([^<]+)</a>", nav)]


def headings(text: str) -> list[str]:
    found = re.findall(r"<h2>(.*?)</h2>", text, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", "", heading)).split()) for heading in found]


def shown(*outputs: Any, source: str = "shown") -> str:
    """The page of a notebook with one section and one cell with these outputs."""
    cells = [new_markdown_cell("## Section"), new_code_cell(source, outputs=list(outputs), execution_count=1)]  # type: ignore[no-untyped-call]
    return to_html(new_notebook(cells=cells))  # type: ignore[no-untyped-call]


def displayed(data: dict[str, Any], **metadata: Any) -> NotebookNode:
    return new_output("display_data", data=data, metadata=metadata)  # type: ignore[no-untyped-call]


def test_sections_stand_in_the_reports_order(elevated: str) -> None:
    assert contents(elevated) == SECTIONS
    targets = re.findall(r'<section id="([^"]+)"', elevated)
    assert targets == re.findall(r'<a href="#([^"]+)"><span', elevated)


def test_a_healthy_report_has_no_recovery_checklist() -> None:
    assert contents(page("rollout_window", "healthy")) == [name for name in SECTIONS if name != "Recovery checklist"]


def test_headings_state_the_finding(elevated: str) -> None:
    found = headings(elevated)
    assert "Fallback ▲ 8 of 100 (8.0 %): above the watch line of 5 %" in found
    assert any(heading.startswith("Latency ✓ Run time p95 ") for heading in found)
    assert re.search(r"<h1>\s*HOLD_<wbr>SHADOW\s*</h1>", elevated)
    assert len(re.findall("<h1>", elevated)) == 1


def test_verdict_and_reason_come_first(elevated: str) -> None:
    banner = elevated.index('class="banner watch"')
    assert banner < elevated.index('class="tiles"') < elevated.index('id="row-text"')
    assert elevated.index("Fallback 8 of 100 (8.0 %) is at or above the watch line") < elevated.index('class="tiles"')


def test_nothing_is_asked_of_the_network(elevated: str) -> None:
    assert not re.search(r"https?:", elevated)
    assert not re.search(r"<(link|script|img|source|iframe|object)[^>]*(src|href)=\"(?!data:)", elevated)
    assert "@import" not in elevated
    assert "url(" not in elevated


@pytest.mark.parametrize("window", ["elevated", "hostile"])
def test_the_policy_lets_run_only_our_script_and_style(window: str) -> None:
    text = page("rollout_window", window)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1])  # type: ignore[index]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        [content] = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", text)


def test_database_text_is_never_markup(hostile: str) -> None:
    assert hostile.count("<script") == 1
    assert "alert(1)" in hostile  # it is shown, as text
    tags = {tag.lower() for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", hostile)}
    assert not tags & {"i", "b", "iframe", "object", "form", "input", "base"}
    images = re.findall(r"<img [^>]*>", hostile)
    assert all('src="data:image/' in image for image in images)
    assert "{{7*7}}" in hostile
    assert "<title>HOLD_SHADOW: &lt;/title&gt;" in hostile


def test_long_texts_are_folded(hostile: str) -> None:
    [summary, *_] = re.findall(r'<details class="long"><summary>(.*?)</summary>', hostile, re.DOTALL)
    assert len(html.unescape(summary)) <= 81


def test_every_image_says_its_finding(elevated: str) -> None:
    alternatives = [html.unescape(text) for text in re.findall(r'<img src="[^"]+" alt="([^"]*)"', elevated)]
    assert len(alternatives) == elevated.count("<img") == 8
    assert any(text.startswith("The fallback share of the newest 20 missions peaked at") for text in alternatives)
    assert all(len(text) > 40 for text in alternatives)


def test_code_is_folded_and_parameters_are_not_repeated(elevated: str) -> None:
    before, code, after = re.split(r'<details class="code">(.*?)</details>', elevated, flags=re.DOTALL)
    assert "vp.plots.fallback_over_time(report)" in code
    assert "vp.plots" not in before + after
    assert 'source: str = "sample"' not in elevated


def test_the_row_is_there_as_text_to_copy(elevated: str) -> None:
    text = re.search(r'<pre class="copyable" id="row-text"[^>]*>(.*?)</pre>', elevated, re.DOTALL)
    assert text is not None
    row = html.unescape(text[1])
    assert row.startswith("| 2026-03-06T18:00:00Z | SAMPLE Newest 100 missions |")
    assert "\n" not in row


def test_markup_of_other_objects_is_made_harmless() -> None:
    text = shown(
        displayed({"text/html": '<table style="x"><tr><td onclick="a()">kept</td></tr></table><script>bad()</script>'}),
        displayed(
            {"text/html": '<iframe src="https://evil.example"></iframe><a href="javascript:bad()">link text</a>'}
        ),
        displayed({"text/markdown": "**strong** <img src=x onerror=bad()> [link](https://evil.example)"}),
        displayed({"text/vnd.mermaid": "graph", "text/plain": "a <b>graph</b>"}),
        displayed({"application/javascript": "bad()"}),
    )
    assert "<td>kept</td>" in text
    assert "<strong>strong</strong>" in text
    assert "a &lt;b&gt;graph&lt;/b&gt;" in text
    body = text.partition("<main")[2]
    assert "onclick" not in body
    assert not re.search(r"<(iframe|a|img)\b", body)
    assert "evil.example" not in body
    assert body.count("<script") == 1


def test_streams_and_other_images_are_shown() -> None:
    text = shown(
        new_output("stream", name="stdout", text="<printed>"),  # type: ignore[no-untyped-call]
        new_output("stream", name="stderr", text="noise"),  # type: ignore[no-untyped-call]
        displayed({"image/png": "aGk=\n", "text/plain": "<Figure>"}, **{"image/png": {"alt": "a finding"}}),
        displayed({"image/png": "aGk=", "text/plain": "<Figure size 640x480>"}),
        source="print('<printed>')",
    )
    assert "&lt;printed&gt;" in text
    assert "noise" not in text
    assert '<img src="data:image/png;base64,aGk=" alt="a finding">' in text
    assert 'alt="&lt;Figure size 640x480&gt;"' in text


def test_markdown_cells_are_harmless_and_equal_headings_have_anchors_of_their_own() -> None:
    cells = [new_markdown_cell(f"## Same\n\n<script>bad()</script><b>{name}</b>") for name in ("one", "two")]  # type: ignore[no-untyped-call]
    text = to_html(new_notebook(cells=cells))  # type: ignore[no-untyped-call]
    anchors = re.findall(r'<section id="([^"]+)"', text)
    assert len(anchors) == len(set(anchors)) == 2
    assert "<b>one</b>" in text
    assert text.count("<script") == 1
    assert "<title>Same</title>" in text


def test_the_same_notebook_is_the_same_page() -> None:
    notebook = executed("window_comparison")
    assert to_html(notebook) == to_html(notebook)
