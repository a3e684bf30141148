"""Pieces: their numbers counted by hand, their markup escaped, their plain text readable."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import NOON, RuntimeDatabase
from report_pages import DEGENERATE, EVENTS, NEXT_DAY, hostile_lane, old_snapshot
from scipy.stats import binomtest

from vpanalysis.report import blocks, tables
from vpanalysis.report.piece import MIME, Piece
from vpanalysis.report.window_report import WindowReport, rollout_report

PIECES: list[Callable[[WindowReport], Piece]] = [
    tables.verdict,
    tables.key_figures,
    tables.evidence_row,
    tables.reasons,
    tables.fallback,
    tables.latency,
    tables.events,
    tables.signatures,
    tables.recent_events,
    tables.session,
    tables.baseline,
    tables.quality,
    tables.checklist,
    tables.provenance,
]


class Markup(HTMLParser):
    """The elements and attributes that a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.fixture
def small_lane(make_database: Callable[..., RuntimeDatabase]) -> WindowReport:
    """Twenty missions: three fell back, two failed, one still runs; run times 1, 2, … 19 seconds."""
    lane = make_database()
    lane.session()
    for number in range(1, 20):
        failed = number in (4, 9)
        kinds = (*EVENTS[:2], "vp.mission.failed") if failed else EVENTS
        if number in (2, 7, 12):
            kinds = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2])
        lane.mission(f"m{number}", run=float(number), status="failed" if failed else "completed", events=kinds)
    lane.mission("m20", NOON, status="running", run=None, events=EVENTS[:2])
    return rollout_report(source=str(lane.path), as_of="2026-02-16T12:05:00+00:00", window_label="Window 7")


def tile(report: WindowReport, name: str) -> dict[str, Any]:
    return next(tile for tile in tables.key_figures(report).content["tiles"] if tile["name"] == name)


def table(piece: Piece, caption: str) -> dict[str, Any]:
    found = [block for block in piece.content["blocks"] if block["kind"] == "table" and block["caption"] == caption]
    return dict(found[0])


def cells(piece: Piece, caption: str) -> dict[str, list[Any]]:
    return {row[0] if isinstance(row[0], str) else row[0]["text"]: row[1:] for row in table(piece, caption)["rows"]}


def test_key_figures_are_those_counted_by_hand(small_lane: WindowReport) -> None:
    fallback = tile(small_lane, "Fallback rate")
    assert (fallback["value"], fallback["tone"]) == ("15.0 %", "watch")
    assert fallback["detail"] == "3 of 20 (15.0 %), 95 %: 5.5 to 37.6 %"  # Wilson, of the 19 that are settled
    interval = binomtest(3, 19).proportion_ci(0.95, method="wilson")
    assert f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %" == "5.5 to 37.6 %"
    assert fallback["limits"] == "watch from 5 %, critical from 20 %"
    latency = tile(small_lane, "Run time p95")
    assert latency["value"] == "18.0 s"  # the value at index round(18 * 0.95) = 17 of 1..19
    assert latency["detail"] == "p50 10.0 s, longest 19.0 s"
    assert tile(small_lane, "Queue wait p95")["value"] == "1.00 s"
    assert tile(small_lane, "Failed or timed out")["value"] == "2 of 20"
    assert tile(small_lane, "Failed or timed out")["detail"] == "17 completed, 1 pending"
    assert tile(small_lane, "Slow missions")["value"] == "1 of 20"  # the running one, for 299 s by now
    assert tile(small_lane, "Session")["value"] == "active"


def test_positions_on_a_scale_are_in_proportion(small_lane: WindowReport) -> None:
    scale = tile(small_lane, "Fallback rate")["scale"]
    end = 0.20 * 4 / 3
    assert scale["value"] == pytest.approx(200 * 0.15 / end, abs=0.1)
    assert scale["limits"] == [["watch", pytest.approx(37.5, abs=0.1)], ["critical", pytest.approx(150, abs=0.1)]]
    assert scale["low"] < scale["value"] < scale["high"] <= 200


def test_the_banner_says_verdict_reason_and_next_step(small_lane: WindowReport) -> None:
    banner = tables.verdict(small_lane)
    assert banner.content["decision"] == small_lane.verdict.decision == "HOLD_SHADOW"
    assert banner.content["why"] == [reason.sentence for reason in small_lane.verdict.reasons][:3]
    assert banner.content["next"] == small_lane.verdict.next_step
    assert banner.content["page_title"] == "HOLD_SHADOW: Window 7, vp.coder.primary"
    assert banner.content["badges"] == ["PROVISIONAL: the window is still open"]
    facts = {fact["name"]: " ".join(fact["parts"]) for fact in banner.content["facts"]}
    assert facts["Window, UTC"] == "2026-02-16T12:00:00Z to 2026-02-16T12:05:00Z (5 min 00 s)"
    assert facts["Missions considered"] == "20"


def test_the_sample_lane_says_so() -> None:
    report = rollout_report(source="sample:no-traffic")
    assert tables.verdict(report).content["badges"][0].startswith("SAMPLE")


def test_a_healthy_verdict_says_what_was_proved() -> None:
    report = rollout_report()
    why = tables.verdict(report).content["why"]
    assert why[0] == "All 11 gates that were judged passed."
    assert why[1].startswith("Fallback 1 of 100 (1.0 %)")
    rows = cells(tables.reasons(report), "What each gate found, worst first")
    assert len(rows) == 11
    assert {row[1] for row in rows.values()} == {"passed"}


def test_reasons_stand_worst_first_with_value_and_limit(small_lane: WindowReport) -> None:
    piece = tables.reasons(small_lane)
    rows = table(piece, "What each gate found, worst first")["rows"]
    order = ["FORCE FALLBACK", "WATCH", "NO TRAFFIC", "passed", "not assessed"]
    asked = [order.index(row[2]) for row in rows]
    assert asked == sorted(asked)
    assert cells(piece, "What each gate found, worst first")["fallback rate"][2:] == ["15.0 %", "5 %"]
    assert piece.finding == small_lane.verdict.reasons[0].sentence.rstrip(".")
    assert set(cells(piece, "Missions that count against the lane, newest first")) >= {"m2", "m7", "m12"}


def test_the_fallback_heading_states_the_finding(small_lane: WindowReport) -> None:
    piece = tables.fallback(small_lane)
    assert piece.finding == "3 of 20 (15.0 %): above the watch line of 5 %"
    assert piece.tone == "watch"


def test_at_the_line_is_not_above_it(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    for number in range(60):
        kinds = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2]) if number < 3 else EVENTS
        lane.mission(f"m{number}", events=kinds)
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY)
    assert tables.fallback(report).finding == "3 of 60 (5.0 %): at the watch line of 5 %"


def test_durations_are_those_counted_by_hand(small_lane: WindowReport) -> None:
    rows = cells(tables.latency(small_lane), "Queue wait and run time")
    assert rows["Run time (started → completed)"] == ["19", "10.0 s", "18.0 s", "19.0 s", "10.0 s"]
    assert rows["Queue wait (created → started)"] == ["20", "1.00 s", "1.00 s", "1.00 s", "1.00 s"]


def test_events_are_listed_newest_first_up_to_the_limit(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.mission("m1", events=EVENTS)
    lane.event("m1", "vp.mission.fallback", "2026-02-16T12:00:09+00:00", payload_json='{"error": "boom 17"}')
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY, event_limit=2)
    [folded] = tables.recent_events(report).content["blocks"]
    assert folded["summary"] == "The newest 2 events, newest first"
    newest, before = folded["inside"]["rows"]
    assert newest == ["2026-02-16T12:00:09Z", blocks.marked("watch", "vp.mission.fallback"), "m1", "boom 17"]
    assert before[1] == blocks.marked("plain", "vp.mission.completed")


def test_a_snapshot_without_all_events_is_not_trusted(tmp_path: Path) -> None:
    report = rollout_report(**old_snapshot(tmp_path))
    piece = tables.fallback(report)
    assert piece.finding.endswith("not to be trusted: events are missing from the source")
    assert piece.tone == "watch"
    assert tile(report, "Fallback rate")["tone"] == "watch"
    assert "not to be trusted" in tile(report, "Fallback rate")["detail"]
    assert tables.quality(report).tone == "critical"


def test_the_row_has_the_logs_eight_cells_as_a_reader_sees_them(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.mission("m", events=["vp.odd|type"])
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY, window_label="a|b `c` <d>", scope="back\\slash")
    piece = tables.evidence_row(report)
    assert len(piece.content["cells"]) == len(piece.content["columns"]) == 8
    assert piece.content["cells"][1:3] == ["a|b `c` <d>", "back\\slash"]
    assert 'vp.odd|type":1' in piece.content["cells"][7]
    assert piece.content["markdown"] == report.row


def test_the_checklist_is_left_out_when_there_is_nothing_to_recover(small_lane: WindowReport) -> None:
    assert tables.checklist(rollout_report()).omit
    piece = tables.checklist(small_lane)
    assert not piece.omit
    assert [step["title"] for step in piece.content["blocks"][0]["steps"]] == [
        step.title for step in small_lane.checklist
    ]


def test_provenance_names_the_command_the_data_and_every_threshold(small_lane: WindowReport) -> None:
    piece = tables.provenance(small_lane)
    assert piece.content["blocks"][0]["text"] == small_lane.command
    made = cells(piece, "Data, policy and versions")
    assert made["Content hash (SHA-256)"] == [small_lane.content_hash]
    assert made["Rows"] == ["vp_missions 20, vp_events 62, vp_session_events 0, vp_sessions 1"]
    settings = cells(piece, "Thresholds and gates of the policy")
    assert settings["fallback watch"] == ["0.05"]
    assert settings["failures: in a row"] == ["3"]
    assert "scope" in table(piece, "Parameters")["note"]


def test_database_text_is_never_markup(tmp_path: Path) -> None:
    report = rollout_report(**hostile_lane(tmp_path))
    for make in PIECES:
        markup = Markup(make(report).html())
        assert not markup.tags & {"script", "img", "i", "b"}, make.__name__
        assert not any(name.startswith("on") for name in markup.attributes), make.__name__


@pytest.mark.parametrize("window", [name for name in DEGENERATE if name != "10,000-missions"])
def test_every_piece_bears_every_window(window: str, tmp_path: Path) -> None:
    report = rollout_report(**DEGENERATE[window](tmp_path))
    for make in PIECES:
        bundle = make(report)._repr_mimebundle_()
        assert bundle[MIME]["kind"]
        assert bundle["text/html"].strip()
        assert bundle["text/plain"].strip()


def test_plain_text_is_all_that_is_compared() -> None:
    piece = tables.in_words(rollout_report())
    assert set(piece._repr_mimebundle_()) == {"text/plain"}
    assert str(piece).startswith(
        "READY_FOR_LIMITED_COHORT_PILOT (HEALTHY, continue, provisional)\n✓ traffic: 97 settled"
    )


def test_plain_text_of_a_table_is_aligned() -> None:
    shown = blocks.piece(blocks.pairs("Animals", [["ant", "1"], ["buffalo", blocks.marked("watch", "20")]]))
    assert str(shown).splitlines() == ["Animals", "Measure  Value", "ant      1", "buffalo  ▲ 20"]


def test_the_way_back_lists_what_stands_against_it() -> None:
    report = rollout_report(source="sample:adapter-unstable")
    shown = tables.way_back(report)
    assert report.way_back is not None
    assert not report.way_back.justified
    assert report.way_back.sentence in shown.text
    assert cells(shown, "The probes")["Probe missions"][0] == "100"
    assert tables.way_back(rollout_report(window_end="2026-03-05")).omit
