"""The page: self-contained, escaped, in the report's order, and small."""

import base64
import hashlib
import html
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest
from conftest import some_of
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from report_pages import PAGES, WINDOWS, executed, page, report_on, telling

from vpanalysis.report import blocks
from vpanalysis.report.finding import Finding
from vpanalysis.report.html import to_html
from vpanalysis.report.piece import FIGURE_MIME, Tone
from vpanalysis.report.sections import tables

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


def section(text: str, anchor: str) -> str:
    return text.partition(f'<section id="{anchor}">')[2].partition("</section>")[0]


def unfolded(text: str) -> str:
    """What stands above the folds."""
    while "<details" in text:
        text = re.sub(r"<details\b(?:(?!<details\b).)*?</details>", "", text, count=1, flags=re.DOTALL)
    return text


def words(text: str) -> str:
    """What a reader reads of markup, every space alike."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def attribute_names(text: str) -> set[str]:
    """Returns the names of all attributes in markup, as a browser reads them: not what stands in quoted values."""
    names: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: names.update(name for name, _ in attrs)  # type: ignore[method-assign]
    parser.feed(text)
    parser.close()
    return names


def shown(*outputs: Any, source: str = "shown", tags: tuple[str, ...] = ()) -> str:
    """The page of a notebook with one section and one cell with these outputs."""
    cells = [new_markdown_cell("## Section"), new_code_cell(source, outputs=list(outputs), execution_count=1)]  # type: ignore[no-untyped-call]
    cells[1].metadata.tags = list(tags)
    return to_html(new_notebook(cells=cells))  # type: ignore[no-untyped-call]


def shown_blocks(*parts: blocks.Block, tone: Tone = "good", tags: tuple[str, ...] = ()) -> str:
    """The page of a notebook with one section and one cell that shows these blocks as a piece with a finding."""
    return shown(displayed(blocks.piece(*parts, found=Finding("Found", tone))._repr_mimebundle_()), tags=tags)


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
    assert any(heading.startswith("Latency ✓ The p95 run time is ") for heading in found)
    assert re.search(r"<h1>\s*HOLD_<wbr>SHADOW\s*</h1>", elevated)
    assert len(re.findall("<h1>", elevated)) == 1


def test_a_long_name_in_a_table_breaks_between_its_parts() -> None:
    table = blocks.table(
        "Lanes",
        [("Lane", "wide"), ("Status", "text")],
        [("vp.coder_a.b: 3.5 s", "x_y"), (blocks.linked("a_b", "#c"), "")],
    )
    shown = blocks.piece(table).html()
    assert ">vp.<wbr>coder_<wbr>a.<wbr>b: 3.5\u00a0s</th>" in shown
    assert ">x_y</td>" in shown
    assert '<a href="#c">a_<wbr>b</a>' in shown


def test_verdict_and_reason_come_first(elevated: str) -> None:
    banner = elevated.index('class="banner watch"')
    assert banner < elevated.index('class="tiles"') < elevated.index('id="row-text"')
    first = words(elevated[banner : elevated.index('class="tiles"')])
    reason = report_on("elevated").verdict.reasons[0].sentence
    assert reason in first
    assert words(elevated).count(reason) == 2  # here and in the table of reasons, nowhere else


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
    names = attribute_names(text)
    assert {"class", "aria-label"} <= names
    assert not {name for name in names if name == "style" or name.startswith("on")}


def test_database_text_is_never_markup(hostile: str) -> None:
    assert hostile.count("<script") == 1
    assert "alert(1)" in hostile  # it is shown, as text
    tags = {tag.lower() for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", hostile)}
    assert not tags & {"i", "b", "iframe", "object", "form", "input", "base"}
    images = re.findall(r"<img [^>]*>", hostile)
    assert all('src="data:image/' in image for image in images)
    assert "{{7*7}}" in hostile
    assert "<title>HOLD_SHADOW: Rollout window: &lt;/title&gt;" in hostile


def test_long_texts_are_folded(hostile: str) -> None:
    [summary, *_] = re.findall(r'<details class="long"><summary>(.*?)</summary>', hostile, re.DOTALL)
    assert len(html.unescape(summary).replace("\\x1b", "_").replace("U+202E", "_")) <= 81


def test_every_image_says_its_finding(elevated: str) -> None:
    alternatives = [html.unescape(text) for text in re.findall(r'<img src="[^"]+" alt="([^"]*)"', elevated)]
    assert len(alternatives) == elevated.count("<img") == 8
    assert any(text.startswith("The fallback share of the newest 20 missions peaked at") for text in alternatives)
    assert all(len(text) > 40 for text in alternatives)


@pytest.mark.parametrize(("notebook", "window"), PAGES)
def test_no_invisible_character_is_anywhere_in_a_page(notebook: str, window: str) -> None:
    text = page(notebook, window)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    for image in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text):
        drawn = base64.b64decode(image).decode()
        ElementTree.fromstring(drawn)
        assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", drawn)


def test_the_hostile_page_shows_what_is_invisible(hostile: str) -> None:
    assert "\\x1b[31m" in hostile
    assert "U+202E" in hostile


@pytest.mark.parametrize("window", telling(WINDOWS, ["critical", "hostile"]))
def test_pages_have_no_value_that_python_left_over(window: str) -> None:
    text = words(page("rollout_window", window).partition("<main")[2].partition('<details class="code"')[0])
    assert not re.search(r"\b(None(?! beyond)|nan|NaT|inf|Timestamp|datetime)\b", text)


@pytest.mark.parametrize(("notebook", "window"), PAGES)
def test_a_share_that_is_not_none_never_reads_like_none(notebook: str, window: str) -> None:
    text = words(page(notebook, window))
    assert not re.search(r"\b[1-9][\d,]* of [\d,]+ (?:missions? )?\(0(?:\.0)? %\)", text)


def test_a_page_says_which_notebook_it_is() -> None:
    rollout, comparison = page("rollout_window", "critical"), page("window_comparison", "hostile")
    assert "Rollout window" in section(rollout, "verdict")
    assert "Window comparison" in section(comparison, "verdict")
    assert "<title>HOLD_SHADOW: Window comparison: " in comparison
    for text, made in (
        (rollout, "rollout_window --source sample:critical"),
        (comparison, "window_comparison --source"),
    ):
        assert f"vpanalysis report {made}" in words(section(text, "how-this-was-made"))


@pytest.mark.parametrize("window", some_of(["hostile", "load-pressure"], 2))
def test_a_comparison_has_a_way_back_only_after_a_forced_fallback(window: str) -> None:
    text = page("window_comparison", window)
    assert "The way back" not in contents(text)
    assert "robe" not in words(text.partition("<main")[2].partition('<details class="code"')[0])


def test_the_gateways_blindness_is_in_the_banner() -> None:
    blind = page("rollout_window", "critical")
    banner = words(section(blind, "verdict"))
    assert report_on("critical").gateway_difference in banner
    assert "Nothing is wrong with the data" not in words(blind)


class TestFolds:
    def test_what_only_proves_it_is_folded(self, elevated: str) -> None:
        above = unfolded(elevated)
        for anchor in ("fallback", "latency", "events-and-failures"):
            assert "<table" not in section(above, anchor), anchor
            assert 'class="prose"' not in section(above, anchor), anchor
            assert section(above, anchor).count("<img") <= 1, anchor
        assert "Thresholds and gates of the policy" not in above
        assert "Thresholds and gates of the policy" in elevated
        assert "newest first" not in above

    def test_a_part_for_those_who_look_closer_is_folded(self) -> None:
        part = blocks.sentence("the proof")
        assert "the proof" in unfolded(shown_blocks(part))
        assert "the proof" not in unfolded(shown_blocks(part, tags=("folded",)))
        assert "the proof" in shown_blocks(part, tags=("folded",))

    @pytest.mark.parametrize(
        ("tone", "folded"), [("good", True), ("plain", True), ("quiet", True), ("watch", False), ("critical", False)]
    )
    def test_a_part_is_folded_when_nothing_is_amiss(self, tone: Tone, folded: bool) -> None:
        text = shown_blocks(blocks.sentence("the proof"), tone=tone, tags=("folded-when-fine",))
        assert ("the proof" not in unfolded(text)) is folded

    def test_the_timeline_is_shown_where_missions_failed(self) -> None:
        fine, failing = (unfolded(page("rollout_window", name)) for name in ("healthy", "hostile"))
        assert section(fine, "events-and-failures").count("<img") == 0
        assert section(failing, "events-and-failures").count("<img") == 1

    def test_a_fold_says_what_is_in_it(self, elevated: str) -> None:
        summaries = [words(text) for text in re.findall(r"<summary[^>]*>(.*?)</summary>", elevated, re.DOTALL)]
        assert "More on fallback" in summaries
        assert all(len(text) > 8 for text in summaries)
        assert elevated.count("<details") == elevated.count("</details>") == len(summaries)

    def test_the_reports_checklist_is_above_the_folds_only_when_there_is_something_to_do(self) -> None:
        assert "recovery-checklist" not in page("rollout_window", "healthy")
        assert '<ol class="steps">' in unfolded(page("rollout_window", "critical"))


class TestTables:
    @pytest.mark.parametrize(("rows", "sortable"), [(12, False), (13, True)])
    def test_a_long_table_can_be_sorted(self, rows: int, sortable: bool) -> None:
        cells = [[f"row {number}", str(number)] for number in range(rows)]
        text = shown_blocks(blocks.table("Rows", [("Name", "text"), ("Number", "number")], cells))
        assert (text.partition("<main")[2].partition("<script")[0].count("data-sortable") == 1) is sortable

    def test_a_compact_one_cannot(self) -> None:
        text = shown_blocks(blocks.pairs("Rows", [[f"row {number}", str(number)] for number in range(30)]))
        assert "data-sortable" not in text.partition("<main")[2].partition("<script")[0]

    def test_the_first_cell_names_its_row(self) -> None:
        text = shown_blocks(blocks.table("Animals", [("Name", "text"), ("Legs", "number")], [["ant", "6"]]))
        assert re.search(r'<th scope="row"[^>]*>\s*ant\s*</th>', text)
        assert re.search(r'<td class="number"[^>]*>\s*6\s*</td>', text)


class TestCommands:
    def test_a_command_is_all_there_and_its_options_keep_their_values(self) -> None:
        command = "vpanalysis snapshot --source 'two words.db' --mission-limit 40 | jq '.fallback'"
        text = shown_blocks(blocks.command("Do:", command))
        [code] = re.findall(r"<code>(.*?)</code>", text.partition("<main")[2].partition('class="code"')[0], re.DOTALL)
        assert html.unescape(re.sub(r"<[^>]+>", "", code)) == command
        parts = re.findall(r"<span>((?:<span>[^<]*</span> ?)+)</span>", code)
        words_of = [[html.unescape(word) for word in re.findall(r"<span>([^<]*)</span>", part)] for part in parts]
        assert words_of == [
            ["vpanalysis", "snapshot"], ["--source", "'two", "words.db'"],
            ["--mission-limit", "40", "|", "jq", "'.fallback'"],
        ]  # fmt: skip

    def test_lines_of_a_command_stay_lines(self) -> None:
        text = shown_blocks(blocks.command("The rows:", "| a | b |\n| c - d |"))
        [code] = re.findall(r"<code>(.*?)</code>", text.partition("<main")[2].partition('class="code"')[0], re.DOTALL)
        first, second = code.split("\n")  # between words, not in one, which would be set as a block of two lines
        assert first.endswith("</span>")
        assert [re.sub(r"<[^>]+>", "", line) for line in (first, second)] == ["| a | b |", "| c - d |"]

    def test_every_command_has_a_button_of_its_own(self) -> None:
        text = page("rollout_window", "critical")
        commands = [step.command for step in report_on("critical").checklist if step.command]
        assert len(commands) == 5
        assert text.count('<div class="command">') == text.count('data-copies=""') == len(commands) + 1
        assert text.count('data-copies="row-text"') == 1
        assert all(command in words(text) for command in commands)


class TestFigures:
    def test_the_page_holds_the_vector_drawing_and_not_the_pixels(self, elevated: str) -> None:
        assert "data:image/png" not in elevated
        assert elevated.count("data:image/svg+xml;base64,") == elevated.count("<img")

    def test_a_figures_title_is_the_pages_own_text(self) -> None:
        figure = {"title": "A <b>title", "alt": "A <b>title. And more.", "svg": "<svg></svg>", "empty": False}
        output = displayed({FIGURE_MIME: figure, "image/svg+xml": "<svg/>", "image/png": "aGk="})
        text = shown(output, output)
        assert text.count("<figcaption>A &lt;b&gt;title</figcaption>") == 1
        assert headings(text) == ["Section A <b>title"], "the first one's is what the section found"
        encoded = base64.b64encode(b"<svg></svg>").decode()
        assert f'<img src="data:image/svg+xml;base64,{encoded}" alt="A &lt;b&gt;title. And more.">' in text
        assert "aGk=" not in text


def test_a_piece_shows_itself_in_a_notebook_as_on_the_page() -> None:
    markup = tables.fallback(report_on("elevated")).html()
    assert "8 of 100 (8.0\u00a0%)" in markup
    assert "<style" not in markup
    assert "<script" not in markup


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


@pytest.mark.thorough
def test_the_same_notebook_is_the_same_page() -> None:
    notebook = executed("window_comparison")
    assert to_html(notebook) == to_html(notebook)
