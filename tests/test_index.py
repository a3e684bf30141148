"""The index of a folder of reports: who needs somebody, what changed, and the way between reports."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import need
from playwright.sync_api import Browser, sync_playwright

from vpanalysis.errors import InputError
from vpanalysis.report.html import NEIGHBOURS
from vpanalysis.report.index import Entry, render, write_index

START = datetime(2026, 2, 1, tzinfo=UTC)
STATUSES = {"H": "HEALTHY", "W": "WATCH", "F": "FORCE_FALLBACK", "N": "NO_TRAFFIC"}


def entries(lane: str, statuses: str, *, factory: str = "alpha", policy: str = "playbook 1") -> list[Entry]:
    """Windows of a lane, an hour each, of the statuses that the letters say."""
    made = []
    for hour, letter in enumerate(statuses):
        start, end = START + timedelta(hours=hour), START + timedelta(hours=hour + 1)
        made.append(
            Entry(
                name=f"{factory}_{lane}_{start:%dT%H}", source=factory, lane=lane, notebook="rollout_window",
                window=f"{start:%d %H:%M}", end=end.isoformat(), judged=end.isoformat(),
                status=STATUSES[letter], action="continue" if letter == "H" else "hold",
                reason=f"reason {letter}{hour}", rate=hour / 100, p95=30.0, profile="rollout",
                policy=policy,
            )
        )  # fmt: skip
    return made


def twin(folder: Path, entry: Entry) -> None:
    """A report's page, as far as links go into it, and its JSON, as far as the index reads it."""
    content = {
        "verdict": {
            "vp_id": entry.lane, "window_end": entry.end, "generated_at": entry.judged,
            "window_start": (datetime.fromisoformat(entry.end) - timedelta(hours=1)).isoformat(),
            "lane_status": entry.status, "action": entry.action,
            "reasons": [{"sentence": entry.reason}], "missions_considered": 20, "fallback_rate": entry.rate,
            "latency_seconds": {"p95_seconds": entry.p95},
            "policy": {"profile": entry.profile, "name": "playbook", "hash": "1"},
        },
        "provenance": {
            "source": "vp_state.db", "command": "vpanalysis report --source vp_state.db",
            "parameters": {"window_label": entry.window},
        },
        "factory": entry.source,
    }  # fmt: skip
    (folder / f"{entry.name}.html").write_text(f"<p>{''.join(NEIGHBOURS)}</p>", "utf-8")
    (folder / f"{entry.name}.json").write_text(json.dumps(content), "utf-8")


def rows(page: str, caption: str) -> list[dict[str, str]]:
    """The texts of a table's rows by column, lanes' headings left out; a healthy report has no reason."""
    table = next(part for part in page.split("<table")[1:] if f"<caption>{caption}" in part)
    body = table.partition("<tbody>")[2].partition("</tbody>")[0]
    names = ["window", "status", "lane", "changed", "rate", "p95", "reason"]
    found = [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in body.split("<tr")[1:]
        if row.startswith(">")
    ]
    return [dict(zip(names, [*row, ""] if len(row) < len(names) else row, strict=False)) for row in found]


def column(page: str, caption: str, name: str) -> list[str]:
    return [row[name] for row in rows(page, caption)]


def test_a_long_label_leaves_room_for_the_other_columns(tmp_path: Path) -> None:
    [entry] = entries("vp.coder.primary", "W")
    twin(tmp_path, replace(entry, window="w" * 200))
    [row] = rows(write_index(tmp_path).read_text("utf-8"), "Every report")
    assert row["window"] == f"2026-02-01 00:00 to 01:00 · {'w' * 39}…"


def test_those_that_need_somebody_come_first_and_worst_first() -> None:
    page = render(entries("a", "HHW") + entries("b", "HFF") + entries("c", "WHH") + entries("d", "HHN"), START)
    assert "4 of 12 need you" in page
    assert column(page, "Reports that need you", "reason") == ["reason F2", "reason F1", "reason W2", "reason N2"]
    listed = [(row["lane"], row["reason"]) for row in rows(page, "Every report")][:6]
    assert listed == [("b", "reason F2"), ("b", "reason F1"), ("b", ""), ("a", "reason W2"), ("a", ""), ("a", "")]


def test_a_healthy_folder_says_so() -> None:
    page = render(entries("a", "HH"), START)
    assert "None of 2 needs you" in page
    assert "1 of 2 needs you" in render(entries("a", "HW"), START)
    assert "Reports that need you" not in page


def test_what_changed_since_the_window_before() -> None:
    found = entries("a", "HWWH")
    found[3] = replace(found[3], policy="playbook 2")
    page = render(found, START)
    assert column(page, "Every report", "changed") == ["was WATCH, other policy", "", "was HEALTHY", "first report"]
    [heading] = re.findall(r'<tr class="group">(.*?)</tr>', page, re.DOTALL)
    assert "4 reports · 2 changes of status" in heading
    assert 'aria-label="Fallback rates so far: 0.0' in heading
    assert "p95 so far: 30.0" in heading


def test_factories_of_one_lane_name_are_told_apart() -> None:
    page = render(entries("a", "HW") + entries("a", "HH", factory="beta"), START)
    assert column(page, "Reports that need you", "lane") == ["a (alpha)"]
    assert [(row["lane"], row["changed"]) for row in rows(page, "Every report")] == [
        ("a (alpha)", "was HEALTHY"), ("a (alpha)", "first report"), ("a (beta)", ""), ("a (beta)", "first report"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "minutes", "late"),
    [("rollout", 60, False), ("rollout", 61, True), ("sustained", 720, False), ("sustained", 721, True)],
)
def test_an_overdue_look_is_said(profile: str, minutes: int, late: bool) -> None:
    one = [replace(entry, profile=profile) for entry in entries("a", "HH")]
    page = render(one, START + timedelta(hours=2, minutes=minutes))
    assert ("next look overdue by 60.0\N{NO-BREAK SPACE}s" in page) is late


def test_of_many_overdue_lanes_the_longest_overdue_are_told_first() -> None:
    lanes = [
        replace(entry, lane=f"l{place:02d}", name=f"l{place}") for place, entry in enumerate(entries("a", "H" * 12))
    ]
    lanes.append(replace(lanes[0], name="again", judged=(START + timedelta(hours=12, minutes=30)).isoformat()))
    page = render(lanes, START + timedelta(hours=14))
    notes = re.findall(r"(l\d+) \(alpha\): last judged", page)
    assert notes == [f"l{place:02d}" for place in (*range(1, 12), 0)]
    assert "<summary>2 more</summary>" in page
    assert "12 lanes overdue" in page


def test_another_report_costs_one_more_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in entries("a", "HHH"):
        twin(tmp_path, entry)
    write_index(tmp_path)
    read: list[str] = []
    before = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *more: (read.append(path.name), before(path, *more))[1])
    new = entries("a", "HHHW")[3]
    twin(tmp_path, new)
    page = write_index(tmp_path)
    assert [name for name in read if name.endswith(".json") and name[0] != "."] == [f"{new.name}.json"]
    assert len(rows(before(page), "Every report")) == 4


def test_reports_link_to_the_index_and_to_the_windows_before_and_after(tmp_path: Path) -> None:
    lane = [*entries("a", "HHH"), *entries("a", "H", factory="beta")]
    for entry in lane:
        twin(tmp_path, entry)
    write_index(tmp_path)
    links = [re.findall(r'href="([^"]+)"', (tmp_path / f"{entry.name}.html").read_text()) for entry in lane]
    first, middle, last, _ = (f"{entry.name}.html" for entry in lane)
    assert links == [
        ["index.html", middle], ["index.html", first, last], ["index.html", middle], ["index.html"],
    ]  # fmt: skip
    whole = [(tmp_path / f"{entry.name}.html").stat().st_mtime_ns for entry in lane]
    write_index(tmp_path)
    assert [(tmp_path / f"{entry.name}.html").stat().st_mtime_ns for entry in lane] == whole


def test_what_is_no_report_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("[1]")
    (tmp_path / "cut.json").write_text('{"verdict": {')
    with pytest.raises(InputError, match="holds no report"):
        write_index(tmp_path)
    for entry in entries("a", "HH"):
        twin(tmp_path, entry)
    (tmp_path / f"{entries('a', 'H')[0].name}.html").unlink()
    assert len(rows(write_index(tmp_path).read_text(), "Every report")) == 1


def test_hostile_texts_are_escaped_and_nothing_is_loaded() -> None:
    hostile = [replace(entry, reason="<img src=http://x>", lane="<b>", name='"><a"') for entry in entries("a", "W")]
    page = render(hostile, START)
    assert "<img" not in page
    assert "<b>" not in page
    assert 'href="%22%3E%3Ca%22.html"' in page
    assert "http://" not in page.replace("&lt;img src=http://x&gt;", "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=need("chromium"), args=["--no-sandbox", "--disable-gpu"])


def test_the_index_filters_and_sorts_without_a_network(tmp_path: Path, browser: Browser) -> None:
    path = tmp_path / "index.html"
    path.write_text(render(entries("a", "H" * 20) + entries("b", "H" * 19 + "W"), START), "utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(path.as_uri())
    table = page.locator("table").last
    shown = table.locator("tbody tr:visible")
    search = page.get_by_role("searchbox").last
    assert table.get_by_role("row").nth(1).inner_text().startswith("b"), "it is a table to a screen reader"
    search.fill("reason W19")
    assert [text.split("\n")[0] for text in shown.all_inner_texts()] == ["b", "01 19:00"]
    search.fill("")
    head = table.locator("thead button").filter(has_text="Fallback")
    head.click()
    head.click()
    assert "19.0" in shown.first.inner_text()
    assert shown.count() == 40, "lanes' headings are gone while the rows are sorted"
    head.click()
    assert shown.first.inner_text().startswith("b")
    assert shown.count() == 42
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_out_of_sight_is_not_laid_out(tmp_path: Path, browser: Browser) -> None:
    """So that thousands of reports open about as fast as hundreds; a row laid out has a dozen boxes and more."""
    reports = [entry for lane in range(40) for entry in entries(f"lane-{lane}", "H" * 25)]
    (tmp_path / "index.html").write_text(render(reports, START), "utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((tmp_path / "index.html").as_uri())
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    [boxes] = [
        metric["value"]
        for metric in session.send("Performance.getMetrics")["metrics"]
        if metric["name"] == "LayoutObjects"
    ]
    assert boxes < 3 * len(reports)
