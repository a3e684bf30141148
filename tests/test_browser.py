"""The pages of every window, in a real browser with the network cut: quiet, accessible, fitting screen and paper."""

import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from conftest import need
from playwright.sync_api import Browser, Page, sync_playwright
from report_pages import PAGES, page

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
_FLAGS += ["--disable-background-networking", "--disable-component-update"]
#: The area inside the printed page's margins of 13 mm, in CSS pixels: width and height.
PAPER = {"A4": (695, 1024), "Letter": (718, 957)}

NAMES = [f"{notebook}-{window}" for notebook, window in PAGES]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=need("chromium"), args=_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every page."""
    folder = tmp_path_factory.mktemp("pages")
    for name, (notebook, window) in zip(NAMES, PAGES, strict=True):
        (folder / f"{name}.html").write_text(page(notebook, window), "utf-8")
    return folder


@pytest.fixture
def open_page(browser: Browser, files: Path) -> Iterator[Callable[..., Page]]:
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
        shown.goto((files / f"{name}.html").as_uri())
        shown.noise = noise  # type: ignore[attr-defined]
        return shown

    yield opened
    for context in contexts:
        context.close()


def own(url: str) -> bool:
    return url.startswith("data:") or (url.startswith("file:") and url.endswith(".html"))


def violations(shown: Page) -> list[str]:
    shown.evaluate(AXE_SCRIPT)
    found = shown.evaluate(
        "axe.run(document, {runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']})"
    )
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_small(name: str, files: Path) -> None:
    limit = 1_000_000 if name.endswith("10,000-missions") else 500_000
    assert (files / f"{name}.html").stat().st_size < limit


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_quiet_complete_accessible_and_fits(name: str, open_page: Callable[..., Page]) -> None:
    shown = open_page(name)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1280
    images = shown.evaluate("[...document.images].map(image => [image.alt, image.naturalWidth])")
    assert images
    assert all(alt and loaded for alt, loaded in images)
    assert shown.noise == []  # type: ignore[attr-defined]
    assert violations(shown) == []
    shown.set_viewport_size({"width": 390, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("window", ["healthy", "elevated", "critical", "no-traffic"])
def test_axe_finds_nothing_in_the_dark_on_a_narrow_page(window: str, open_page: Callable[..., Page]) -> None:
    assert violations(open_page(f"rollout_window-{window}", 390, color_scheme="dark")) == []


def test_axe_would_find_something(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical")
    shown.evaluate("document.querySelector('figure img').removeAttribute('alt')")
    shown.evaluate("document.documentElement.removeAttribute('lang')")
    assert {found.partition(":")[0] for found in violations(shown)} >= {"image-alt", "html-has-lang"}


@pytest.mark.parametrize("name", ["rollout_window-critical", "rollout_window-hostile"])
def test_the_button_copies_the_row(name: str, open_page: Callable[..., Page]) -> None:
    shown = open_page(name, permissions=["clipboard-read", "clipboard-write"])
    shown.get_by_role("button", name="Copy row").click()
    assert shown.get_by_role("status").inner_text() == "Copied."
    row = shown.locator("#row-text").text_content()
    assert row is not None
    assert row.startswith("| 2026-0")
    assert shown.evaluate("navigator.clipboard.readText()") == row
    assert shown.noise == []  # type: ignore[attr-defined]


def test_the_row_is_selected_by_a_click_without_javascript(open_page: Callable[..., Page]) -> None:
    shown = open_page("rollout_window-critical", java_script_enabled=False)
    assert shown.get_by_role("button").count() == 0
    row = shown.locator("#row-text")
    assert row.evaluate("element => getComputedStyle(element).userSelect") == "all"
    row.click()
    assert shown.evaluate("getSelection().toString()").strip() == (row.text_content() or "").strip()


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


def test_narrow_pages_show_the_narrow_figures(open_page: Callable[..., Page]) -> None:
    for width, narrow in ((1280, False), (390, True)):
        figure = open_page("rollout_window-critical", width).locator("figure img").first
        assert figure.evaluate("image => image.naturalWidth < 400") is narrow


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
    "name", ["rollout_window-critical", "rollout_window-adapter-unstable", "rollout_window-healthy"]
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


def test_the_pdf_has_the_verdict_on_page_1(open_page: Callable[..., Page], tmp_path: Path) -> None:
    shown = open_page("rollout_window-critical")
    path = tmp_path / "report.pdf"
    shown.pdf(path=path, format="A4")
    first = subprocess.run([need("pdftotext"), "-l", "1", path, "-"], capture_output=True, text=True, check=True).stdout
    assert "HOLD_SHADOW" in first
    assert "FORCE FALLBACK" in first
    assert "26 of 100 (26.0 %)" in first
    assert "Run time p95" in first
    assert "Contents" not in first
    assert "Copy row" not in first
