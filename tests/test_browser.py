"""The pages of every window, in a real browser with the network cut: quiet, accessible, fitting screen and paper."""

import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from conftest import need, some_of
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page, expect, sync_playwright
from report_pages import PAGES, page

from vpanalysis.report import blocks
from vpanalysis.report.html import to_html

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
_FLAGS += ["--disable-background-networking", "--disable-component-update"]
#: The area inside the printed page's margins of 13 mm, in CSS pixels: width and height.
PAPER = {"A4": (695, 1024), "Letter": (718, 957)}

NAMES = [pytest.param(one.id, marks=one.marks) for one in PAGES]
#: One page of each notebook; the others for `make thorough` only.
ONE_EACH = (
    "rollout_window-critical", "window_comparison-hostile", "lane_overview-outage", "rollout_history-three-weeks",
)  # fmt: skip
ALL_OR_ONE_EACH = [pytest.param(one.id, marks=[] if one.id in ONE_EACH else pytest.mark.thorough) for one in PAGES]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=need("chromium"), args=_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a function that writes a page by name; ``parts`` has a long table and a long command."""
    folder = tmp_path_factory.mktemp("pages")

    def written(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(parts() if name == "parts" else page(*name.split("-", 1)), "utf-8")
        return path

    return written


@pytest.fixture
def open_page(browser: Browser, file_of: Callable[[str], Path]) -> Iterator[Callable[..., Page]]:
    """Returns a function that opens a page by name; whatever it asks for or says goes into ``page.noise``."""
    contexts = []

    def opened(name: str, width: int = 1280, **settings: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **settings)
        contexts.append(context)
        shown = context.new_page()
        noise: list[str] = []
        shown.on("console", lambda message: noise.append(message.text))
        shown.on("pageerror", lambda error: noise.append(str(error)))
        shown.on("dialog", lambda dialog: noise.append(dialog.message))
        shown.on("request", lambda request: noise.append(request.url) if not own(request.url) else None)
        shown.goto(file_of(name).as_uri())
        shown.noise = noise  # type: ignore[attr-defined]
        return shown

    yield opened
    for context in contexts:
        context.close()


LONG_COMMAND = (
    "vpanalysis snapshot --source sample:critical --vp-id vp.coder.primary --window-start 2026-02-16T12:00:00+00:00 "
    "--window-end 2026-02-16T13:00:00+00:00 --event-limit 500 | jq '.recent_events[] | .payload'"
)
#: Name, number, duration: in the order in which they are given, which is none of the columns'.
ROWS = [
    ("m2", "1,200", "9.00 s"),
    ("m10", "7", "12.4 s"),
    ("m1", "35", "2 min 05 s"),
    ("m3", "0", "0.50 s"),
    *((f"n{number}", "50", "n/a") for number in range(10)),
]


def parts() -> str:
    """A page of our pieces with content made for the test."""
    table = blocks.table("Missions", [("Name", "text"), ("Events", "number"), ("Run time", "number")], ROWS)
    short = blocks.table("Few", [("Name", "text"), ("Events", "number")], [row[:2] for row in ROWS[:4]])
    shown = blocks.piece(table, short, blocks.command("Again:", LONG_COMMAND), blocks.command("Else:", "true"))
    output = new_output("display_data", data=shown._repr_mimebundle_())  # type: ignore[no-untyped-call]
    cells = [new_markdown_cell("## Parts"), new_code_cell("shown", outputs=[output], execution_count=1)]  # type: ignore[no-untyped-call]
    return to_html(new_notebook(cells=cells))  # type: ignore[no-untyped-call]


def unfold(shown: Page) -> None:
    shown.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")


def own(url: str) -> bool:
    return url.startswith("data:") or (url.startswith("file:") and url.endswith(".html"))


def violations(shown: Page) -> list[str]:
    shown.evaluate(AXE_SCRIPT)
    found = shown.evaluate(
        "axe.run(document, {resultTypes: ['violations'], "
        "runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_small(name: str, file_of: Callable[[str], Path]) -> None:
    limit = 900_000 if name.endswith("5,000-missions") else 600_000 if name.endswith("hostile") else 400_000
    assert file_of(name).stat().st_size < limit


@pytest.mark.parametrize("name", ALL_OR_ONE_EACH)
def test_a_page_is_quiet_complete_accessible_and_fits(name: str, open_page: Callable[..., Page]) -> None:
    shown = open_page(name)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1280
    unfold(shown)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1280
    images = shown.evaluate("[...document.images].map(image => [image.alt, image.naturalWidth])")
    assert images
    assert all(alt and loaded for alt, loaded in images)
    assert shown.noise == []  # type: ignore[attr-defined]
    assert violations(shown) == []
    shown.set_viewport_size({"width": 390, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    shown.reload()
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(("window", "screens"), [("healthy", 3), ("critical", 6)])
def test_a_lane_that_is_fine_reads_in_three_screens_a_critical_one_in_six(
    window: str, screens: int, open_page: Callable[..., Page]
) -> None:
    shown = open_page(f"rollout_window-{window}")
    assert shown.evaluate("document.documentElement.scrollHeight") <= screens * 900


@pytest.mark.parametrize("window", some_of(["healthy", "critical", "no-traffic"], 3))
def test_axe_finds_nothing_in_the_dark_on_a_narrow_page(window: str, open_page: Callable[..., Page]) -> None:
    assert violations(open_page(f"rollout_window-{window}", 390, color_scheme="dark")) == []


def test_axe_would_find_something(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts")
    shown.evaluate("document.body.append(document.createElement('img'))")
    shown.evaluate("document.documentElement.removeAttribute('lang')")
    assert {found.partition(":")[0] for found in violations(shown)} >= {"image-alt", "html-has-lang"}


@pytest.mark.parametrize("name", ["rollout_window-critical", "rollout_window-hostile"])
def test_the_button_copies_the_row(name: str, open_page: Callable[..., Page]) -> None:
    shown = open_page(name, permissions=["clipboard-read", "clipboard-write"])
    copying = shown.locator(".copying")
    copying.get_by_role("button", name="Copy row").click()
    expect(copying.get_by_role("status")).to_have_text("Copied.")
    row = shown.locator("#row-text").text_content()
    assert row is not None
    assert row.startswith("| 2026-0")
    assert shown.evaluate("navigator.clipboard.readText()") == row
    assert shown.noise == []  # type: ignore[attr-defined]


def test_every_button_copies_its_own_command_as_one_line(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts", permissions=["clipboard-read", "clipboard-write"])
    for place, text in ((0, LONG_COMMAND), (1, "true"), (0, LONG_COMMAND)):
        command = shown.locator(".command").nth(place)
        command.get_by_role("button", name="Copy").click()
        expect(command.get_by_role("status")).to_have_text("Copied.")
        assert shown.evaluate("navigator.clipboard.readText()") == text


def test_the_checklists_commands_are_copied_as_the_shell_wants_them(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical", permissions=["clipboard-read", "clipboard-write"])
    commands = shown.locator(".steps .command")
    expect(commands).to_have_count(5)
    commands.nth(2).get_by_role("button").click()
    expect(commands.nth(2).get_by_role("status")).to_have_text("Copied.")
    assert shown.evaluate("navigator.clipboard.readText()") == "export UA_CODER_VP_FORCE_FALLBACK=1"


def test_without_a_clipboard_the_command_is_selected(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts")
    shown.evaluate("navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false")
    command = shown.locator(".command").first
    command.get_by_role("button").click()
    expect(command.get_by_role("status")).to_contain_text("press Ctrl+C")
    assert " ".join(shown.evaluate("getSelection().toString()").split()) == LONG_COMMAND


@pytest.mark.parametrize("width", [1280, 390])
def test_no_word_of_a_command_breaks(width: int, open_page: Callable[..., Page]) -> None:
    shown = open_page("parts", width)
    broken = shown.locator(".command span span").evaluate_all(
        "words => words.filter(word => word.getClientRects().length > 1"
        " || word.offsetHeight > 1.9 * parseFloat(getComputedStyle(word).lineHeight)).map(word => word.textContent)"
    )
    assert broken == []
    assert shown.locator(".command pre").first.evaluate("pre => pre.scrollWidth <= pre.clientWidth")


def test_the_row_is_selected_by_a_click_without_javascript(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical", java_script_enabled=False)
    assert shown.get_by_role("button").count() == 0
    assert shown.get_by_role("searchbox").count() == 0
    shown.locator(".copying summary").click()
    row = shown.locator("#row-text")
    assert row.evaluate("element => getComputedStyle(element).userSelect") == "all"
    row.click()
    assert shown.evaluate("getSelection().toString()").strip() == (row.text_content() or "").strip()


def test_the_rows_cells_are_not_cut(open_page: Callable[..., Page]) -> None:
    for width in (1280, 390):
        shown = open_page("rollout_window-critical", width)
        unfold(shown)
        table = shown.locator("table.row")
        expect(table.locator("th")).to_have_count(8)
        assert table.evaluate("t => t.getBoundingClientRect().right <= document.documentElement.clientWidth")
        assert table.evaluate("t => t.parentElement.scrollWidth <= t.parentElement.clientWidth")


# --- tables


def names(shown: Page) -> list[str]:
    table = shown.get_by_role("table", name="Missions")
    return [name for name in table.locator("tbody tr:visible th").all_inner_texts() if name.startswith("m")]


def test_a_table_is_sorted_by_a_click_on_its_head(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts")
    table = shown.get_by_role("table", name="Missions")
    first = table.locator("tbody th").first
    for head, up in (("Name", "m1 m2 m3 m10"), ("Events", "m3 m10 m1 m2"), ("Run time", "m3 m2 m10 m1")):
        expected = up.split()
        table.get_by_role("button", name=head).click()
        expect(table.get_by_role("columnheader", name=head)).to_have_attribute("aria-sort", "ascending")
        assert names(shown) == expected, head
        table.get_by_role("button", name=head).click()
        expect(table.get_by_role("columnheader", name=head)).to_have_attribute("aria-sort", "descending")
        assert names(shown) == expected[::-1], head
        expect(table.locator("[aria-sort]")).to_have_count(1)
    expect(first).to_be_visible()
    assert shown.noise == []  # type: ignore[attr-defined]


def test_a_table_is_sorted_by_keyboard(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts")
    table = shown.get_by_role("table", name="Missions")
    table.get_by_role("button", name="Name").focus()
    shown.keyboard.press("Enter")
    expect(table.locator("tbody th").first).to_have_text("m1")
    assert [found for found in violations(shown) if not found.startswith("page-has-heading-one")] == []


def test_a_table_shows_the_rows_that_hold_what_is_typed(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts")
    rows = shown.get_by_role("table", name="Missions").locator("tbody tr:visible")
    search = shown.get_by_role("searchbox", name="Filter: Missions")
    expect(rows).to_have_count(len(ROWS))
    search.fill("M1")
    expect(rows).to_have_count(2)
    assert names(shown) == ["m10", "m1"]
    search.fill("12.4 s")  # with the space that a keyboard makes
    expect(rows).to_have_count(1)
    assert names(shown) == ["m10"]
    search.fill("nowhere")
    expect(rows).to_have_count(0)
    search.fill("")
    expect(rows).to_have_count(len(ROWS))


def test_a_short_table_needs_neither(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts")
    expect(shown.get_by_role("searchbox")).to_have_count(1)
    expect(shown.get_by_role("table", name="Few").get_by_role("button")).to_have_count(0)


def test_the_reports_events_are_filtered(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical")
    unfold(shown)
    search = shown.get_by_role("searchbox", name=re.compile("Filter: The newest"))
    table = shown.get_by_role("table", name=re.compile("The newest [0-9]+ events"))
    search.fill("vp.mission.fallback")
    first = table.locator("tbody tr:visible").first
    expect(first).to_contain_text("vp.mission.fallback")
    assert all("vp.mission.fallback" in row for row in table.locator("tbody tr:visible").all_inner_texts())


def test_figures_follow_the_readers_light_or_dark(open_page: Callable[..., Page]) -> None:
    def ground(scheme: str) -> list[int]:
        shown = open_page("rollout_window-critical", color_scheme=scheme)
        figure = shown.locator("figure img").first
        figure.scroll_into_view_if_needed()
        picture = figure.screenshot()
        import io

        from matplotlib.image import imread

        pixel = imread(io.BytesIO(picture), format="png")[2, 2]
        body = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert [round(255 * float(part)) for part in pixel[:3]] == [int(part) for part in body[4:-1].split(",")]
        return [round(255 * float(part)) for part in pixel[:3]]

    assert min(ground("light")) > 240
    assert max(ground("dark")) < 40


def test_on_a_narrow_page_a_figure_keeps_its_size_and_scrolls(open_page: Callable[..., Page]) -> None:
    for width, scrolls in ((1280, False), (390, True)):
        figure = open_page("rollout_window-critical", width).locator("figure").first
        assert figure.evaluate("figure => figure.scrollWidth > figure.clientWidth") is scrolls
        drawn = figure.locator("img").evaluate("image => image.getBoundingClientRect().width")
        assert drawn >= 500  # its type is drawn at 8 points over a width of 576
        ends = figure.evaluate(
            "figure => [figure, figure.querySelector('img'), figure.querySelector('figcaption')]"
            ".map(part => part.getBoundingClientRect()).map(box => [box.left, box.right])"
        )
        assert ends[1][1] == pytest.approx(ends[0][1], abs=2), "the newest missions are out of sight"
        assert ends[2][0] >= ends[0][0] - 1, "the caption is cut"
        axis = figure.locator(".axis")
        expect(axis).to_be_visible(visible=scrolls)
        if scrolls:
            expect(axis).to_contain_text("watch 5\u00a0%")
            for place in (0, -50, -999):  # at the newest end, on the way, at the oldest
                figure.evaluate("(figure, place) => { figure.scrollLeft = place }", place)
                assert axis.evaluate("axis => axis.getBoundingClientRect().left") == pytest.approx(ends[0][0], abs=1)


def test_a_contents_link_shows_the_mark_of_its_section(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical")
    link = shown.get_by_role("navigation").get_by_role("link", name="Fallback")
    expect(link.locator(".mark")).to_have_text("■")


def test_everything_is_reached_by_keyboard_and_named(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical")
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the report"
    shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.id") == "report"
    levels = shown.evaluate("[...document.querySelectorAll('main h1,main h2,main h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {shown.get_by_role(role).count() for role in ("main", "navigation")} == {1}  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_contents_stay_in_reach(width: int, open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical", width)
    shown.get_by_role("navigation").get_by_role("link", name="Session health").click()
    heading = shown.locator("#session-health h2")
    assert heading.evaluate("h => h.getBoundingClientRect().top >= 0 && h.getBoundingClientRect().top < 300")
    contents = shown.locator("nav").bounding_box()
    assert contents is not None
    assert contents["y"] >= 0
    covered = shown.evaluate(
        "() => { const h = document.querySelector('#session-health h2').getBoundingClientRect();"
        "return document.elementFromPoint(h.left + 5, h.top + 20).closest('nav') !== null }"
    )
    assert not covered


@pytest.mark.parametrize("paper", PAPER)
@pytest.mark.parametrize(
    "name", some_of(["rollout_window-critical", "rollout_window-hostile", "rollout_window-healthy"], 2)
)
def test_verdict_and_key_figures_are_on_the_first_printed_page(
    name: str, paper: str, open_page: Callable[..., Page]
) -> None:
    width, height = PAPER[paper]
    shown = open_page(name, width, color_scheme="dark")
    shown.emulate_media(media="print")
    assert shown.evaluate("document.querySelector('.tiles').getBoundingClientRect().bottom") < height
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    tall = shown.evaluate("[...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect().height)")
    assert max(tall) < height / 2  # none is cut: each avoids a break inside, and two fit on a page
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_wide_paper_is_used_from_edge_to_edge(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical", 1480)  # A3, landscape, within its margins
    shown.emulate_media(media="print")
    assert shown.evaluate("document.querySelector('main').getBoundingClientRect().width") == 1480


@pytest.mark.parametrize(
    "name",
    some_of(
        [
            *("window_comparison-hostile", "rollout_history-three-weeks", "lane_overview-outage"),
            *("lane_overview-hostile", "parts"),
        ],
        2,
    ),
)
def test_tables_are_whole_on_wide_and_narrow_screens(name: str, open_page: Callable[..., Page]) -> None:
    shown = open_page(name)
    cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
    assert shown.evaluate(cut) == []
    shown.set_viewport_size({"width": 390, "height": 800})
    unfold(shown)
    assert shown.evaluate(cut) == []
    assert shown.evaluate("getComputedStyle(document.querySelector('.cards td')).display") == "block"


def test_rows_of_a_narrow_screen_are_filtered(open_page: Callable[..., Page]) -> None:
    shown = open_page("parts", 390)
    shown.get_by_role("searchbox").fill("M1")
    assert names(shown) == ["m10", "m1"]


@pytest.mark.parametrize(
    "name",
    some_of(["rollout_history-three-weeks", "rollout_history-no-traffic", "parts", "lane_overview-hostile"], 2),
)
def test_no_heading_is_printed_without_what_it_heads(name: str, open_page: Callable[..., Page]) -> None:
    """A heading has a finding or something below it; a table's columns have names, which scripts make buttons of."""
    shown = open_page(name, 695)
    shown.emulate_media(media="print")
    empty = shown.evaluate(
        "[...document.querySelectorAll('h2:not(:has(.finding))')].filter(h => h.checkVisibility() && "
        "![...h.parentElement.children].some(e => e !== h && e.checkVisibility())).map(h => h.textContent)"
    )
    assert empty == []
    heads = shown.locator("thead th:visible").all_inner_texts()
    assert all(heads)
    assert heads or name == "rollout_history-no-traffic"


def test_the_pdf_has_the_verdict_on_page_1(open_page: Callable[..., Page], tmp_path: Path) -> None:
    shown = open_page("rollout_window-critical")
    path = tmp_path / "report.pdf"
    shown.pdf(path=path, format="A4")
    first = subprocess.run([need("pdftotext"), "-l", "1", path, "-"], capture_output=True, text=True, check=True).stdout
    assert "HOLD_SHADOW" in first
    assert "FORCE FALLBACK" in first
    assert re.search(r"\b26 of 100 missions\b", first)
    assert "26.0 %" in first.replace("\u00a0", " ")
    assert "Run time p95" in first
    assert "Contents" not in first
    assert "Copy row" not in first


def test_a_mark_tells_its_mission_to_the_pointer_and_to_the_keyboard(open_page: Callable[..., Page]) -> None:
    """The marks lie where the figure has them, whatever the width."""
    for width in (1280, 390):
        shown = open_page("rollout_window-small", width)
        unfold(shown)
        over = shown.locator("figure").filter(has=shown.locator('img[alt*="longest"]'))
        told = over.locator("g").filter(has_text="m19:")
        expect(told.locator("text")).to_be_hidden()
        told.hover(force=True)
        expect(told.locator("text")).to_be_visible()
        expect(told.locator("text")).to_have_text(
            re.compile(r"m19: completed; ran 19.0\ss; waited 1.00\ss; created 2026-")
        )
        drawn, marks = over.locator("img").bounding_box(), over.locator("svg.marks").bounding_box()
        assert drawn is not None
        assert marks is not None
        assert all(abs(drawn[side] - marks[side]) < 1 for side in ("x", "y", "width", "height"))
        failed = over.locator("g[tabindex]")
        names = [failed.nth(place).get_attribute("aria-label") or "" for place in range(failed.count())]
        assert {name.partition(":")[0] for name in names} == {"m2", "m7", "m12", "m4", "m9"}
        failed.first.focus()
        expect(failed.first.locator("text")).to_be_visible()


def test_a_missions_id_jumps_to_its_events(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-small")
    unfold(shown)
    link = shown.get_by_role("link", name="m7", exact=True)
    target = shown.locator(link.get_attribute("href") or "")
    shown.locator("details").filter(has=target).last.evaluate("fold => { fold.open = false }")
    expect(target).to_be_hidden()
    link.click()
    expect(target).to_be_in_viewport()
    expect(target).to_have_text("m7")
    assert shown.noise == []  # type: ignore[attr-defined]
