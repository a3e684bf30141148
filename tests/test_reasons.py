"""Reasons: what decided and what passed, and the missions that count against the lane with their errors."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from conftest import NOON, RuntimeDatabase
from report_pages import EVENTS, NEXT_DAY, cells, of_profiles, report_on, table

from vpanalysis.data.sample import SCENARIOS
from vpanalysis.report.rollout import rollout_report
from vpanalysis.report.sections import tables
from vpanalysis.report.sections.reasons import finding
from vpanalysis.report.window_report import WindowReport


@pytest.mark.parametrize(("window", "profile"), of_profiles([*SCENARIOS, "small", "all-failed", "snapshot"]))
def test_every_check_stands_in_one_table_what_decided_worst_first(window: str, profile: str) -> None:
    report = report_on(window, profile)
    piece, verdict = tables.reasons(report), report.verdict
    captions = [block.get("summary") or block.get("caption", "") for block in piece.content["blocks"]]
    order = ["FORCE FALLBACK", "WATCH", "NO TRAFFIC"]
    tripped = table(piece, "What decided")["rows"] if "What decided, worst first" in captions else []
    asked = [order.index(row[2]) for row in tripped]
    assert asked == sorted(asked)
    assert len(tripped) == (0 if verdict.lane_status == "HEALTHY" else len(verdict.reasons))
    passed = cells(piece, f"{len(verdict.passed)} check") if any("passed" in caption for caption in captions) else {}
    results = [row[1] for row in passed.values()]
    assert results.count("passed") == len(verdict.passed)
    assert results.count("not assessed") == len(verdict.not_assessed)
    assert len(tripped) + len(results) == len({r.gate for r in (*verdict.reasons, *verdict.passed)}) + len(
        verdict.not_assessed
    )


def test_a_reason_stands_with_its_value_and_its_limit() -> None:
    piece = tables.reasons(report_on("small"))
    assert cells(piece, "What decided")["fallback rate"][2:] == ["15.0 %", "5 %"]
    assert cells(piece, "What decided")["fallback rate"][1] == "WATCH"


def test_what_passed_is_folded() -> None:
    blocks = tables.reasons(report_on("elevated")).content["blocks"]
    assert [block["kind"] for block in blocks if "passed" in block.get("caption", "")] == []
    [folded] = [block for block in blocks if block["kind"] == "folded" and "passed" in block["summary"]]
    assert folded["summary"] == "10 checks passed"


@pytest.mark.parametrize(
    ("tripped", "passed", "words"),
    [(1, 0, "The only check did not pass"), (0, 1, "The only check passed"), (2, 0, "None of 2 checks passed"),
     (1, 8, "1 of 9 checks did not pass")],
)  # fmt: skip
def test_a_heading_of_few_checks_reads_well(tripped: int, passed: int, words: str) -> None:
    report = report_on("critical")
    reasons, good = report.verdict.reasons[:1] * tripped, report.verdict.passed[:1] * passed
    verdict = report.verdict.model_copy(update={"reasons": reasons or good, "passed": good, "not_assessed": []})
    assert finding(replace(report, verdict=verdict)).words == words


def test_a_healthy_heading_counts_its_checks() -> None:
    report = report_on("healthy")
    piece = tables.reasons(report)
    assert (len(report.verdict.passed), piece.finding, piece.tone) == (11, "All 11 checks passed", "good")
    left_out = report_on("one-mission")  # no rolling share, no recent change, no slow share of 20 missions
    assert len(left_out.verdict.not_assessed) == 3
    assert "All" not in tables.reasons(left_out).finding
    assert "3 not assessed" in tables.reasons(left_out).finding


def test_the_error_stands_beside_each_mission_that_counts_against_the_lane(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    lane = make_database()
    lane.session()
    for number in range(30):
        lane.mission(f"m{number:02d}", NOON + timedelta(minutes=number), events=EVENTS)
    for number, error in ((3, "adapter refused"), (7, "lease lost, password=hunter22")):
        moment = NOON + timedelta(minutes=number, seconds=5)
        lane.event(f"m{number:02d}", "vp.mission.fallback", moment, payload_json=json.dumps({"error": error}))
    found = tables.reasons(report_of(lane))
    rows = cells(found, "2 missions count against the lane")
    assert list(rows) == ["m07", "m03"]  # newest first
    assert rows["m03"][0] == "2026-02-16T12:03:00Z"
    assert rows["m03"][1] == "completed"
    assert rows["m03"][2:4] == ["1.00 s", "10.0 s"]
    assert rows["m03"][4] == "fallback rate"
    assert rows["m03"][5] == "adapter refused"
    assert rows["m07"][5].startswith("lease lost")
    assert "hunter22" not in found.text + found.html()


def test_one_mission_counts_in_the_singular(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    for number in range(10):
        events = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2]) if number == 4 else EVENTS
        lane.mission(f"m{number}", NOON + timedelta(minutes=number), events=events)
    assert list(cells(tables.reasons(report_of(lane)), "1 mission counts against the lane")) == ["m4"]


def test_of_many_missions_the_newest_twenty_are_shown_and_the_others_counted() -> None:
    found = table(tables.reasons(report_on("all-failed")), "25 missions count against the lane")
    assert [row[0]["text"] for row in found["rows"]] == [f"m{number}" for number in range(24, 4, -1)]
    assert found["note"].startswith("5 ")


def report_of(lane: RuntimeDatabase) -> WindowReport:
    return rollout_report(source=str(lane.path), as_of=NEXT_DAY)
