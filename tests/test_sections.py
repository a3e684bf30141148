"""The sections: their words and tables counted by hand, their markup escaped, their plain text readable."""

import json
import re
import shlex
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from command_line import run_command
from conftest import NOON, RuntimeDatabase, some_of
from report_pages import (
    EVENTS,
    HOSTILE,
    NEXT_DAY,
    WINDOWS,
    cells,
    of_a_window,
    of_profiles,
    one_mission,
    report_on,
    table,
    telling,
)

from vpanalysis.report import blocks
from vpanalysis.report.piece import MIME, Piece
from vpanalysis.report.rollout import rollout_report
from vpanalysis.report.sections import tables
from vpanalysis.report.window_report import WindowReport

PIECES: dict[str, Callable[[WindowReport], Piece]] = {
    name: make for name, make in of_a_window(tables).items() if name != "in_words"
}
FELL_BACK = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2])
#: Controls but for line breaks, and bidirectional marks: they hide or reorder what is read.
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


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
def small_lane() -> WindowReport:
    """Twenty missions: three fell back, two failed, one still runs; run times 1, 2, … 19 seconds."""
    return report_on("small")


def filled(lane: RuntimeDatabase, missions: int, fallbacks: int = 0) -> RuntimeDatabase:
    """The lane with a session and so many missions, a minute apart, the first ones with a fallback."""
    lane.session()
    for number in range(missions):
        lane.mission(f"m{number}", NOON + timedelta(minutes=number), events=FELL_BACK if number < fallbacks else EVENTS)
    return lane


# --- every section


@pytest.mark.parametrize("window", telling(WINDOWS))
def test_every_piece_bears_every_window(window: str) -> None:
    report = report_on(window)
    for name, make in PIECES.items():
        bundle = make(report)._repr_mimebundle_()
        assert bundle[MIME]["kind"], name
        assert bundle["text/html"].strip(), name
        assert bundle["text/plain"].strip(), name
        json.dumps(bundle, allow_nan=False)


@pytest.mark.parametrize("name", PIECES)
def test_database_text_is_never_markup(name: str) -> None:
    markup = Markup(PIECES[name](report_on("hostile")).html())
    assert not markup.tags & {"script", "img", "i", "b"}
    assert not any(attribute.startswith("on") for attribute in markup.attributes)


@pytest.mark.parametrize("name", [*PIECES, "in_words"])
def test_invisible_characters_of_the_database_are_shown_as_what_they_are(name: str) -> None:
    assert INVISIBLE.search(HOSTILE)
    piece: Piece = vars(tables)[name](report_on("hostile"))
    bundle = piece._repr_mimebundle_()
    for kind in ("text/html", "text/plain"):
        assert not INVISIBLE.search(bundle.get(kind, "")), kind
    assert not INVISIBLE.search(str(piece) + repr(piece))


def test_an_invisible_character_is_named() -> None:
    markup = tables.recent_events(report_on("hostile")).html()
    assert "\\x1b[31m" in markup
    assert "U+202E" in markup


@pytest.mark.parametrize("window", telling(WINDOWS))
def test_a_finding_is_a_phrase(window: str) -> None:
    report = report_on(window)
    for name, make in PIECES.items():
        finding = make(report).finding
        assert not finding.endswith("."), name
        assert finding[:1] == finding[:1].upper(), name


# --- the banner, the row, the words


def test_the_banner_says_verdict_reason_and_next_step(small_lane: WindowReport) -> None:
    banner = tables.verdict(small_lane)
    verdict = small_lane.verdict
    assert banner.content["decision"] == verdict.decision == "HOLD_SHADOW"
    assert banner.content["why"][0].casefold() == verdict.reasons[0].sentence.casefold()
    others = [reason.gate.replace("_", " ") for reason in verdict.reasons[1:]]
    assert others
    assert all(name in banner.content["others"] for name in others)
    assert banner.content["next"] == verdict.next_step
    assert banner.content["name"] == "Rollout window: Window 7"
    assert banner.content["page_title"] == "HOLD_SHADOW: Rollout window: Window 7, vp.coder.primary"
    assert banner.content["badges"] == ["PROVISIONAL: the window is still open"]
    facts = {fact["name"]: " ".join(fact["parts"]) for fact in banner.content["facts"]}
    assert facts["Window, UTC"] == "2026-02-16T12:00:00Z to 2026-02-16T12:05:00Z (5 min)"
    assert facts["Missions considered"] == "20"


def test_the_sample_lane_says_so_in_banner_and_words() -> None:
    report = report_on("no-traffic")
    assert tables.verdict(report).content["badges"][0].startswith("SAMPLE")
    assert str(tables.in_words(report)).startswith("SAMPLE: ")


def test_a_database_is_no_sample(small_lane: WindowReport) -> None:
    assert "SAMPLE" not in tables.verdict(small_lane).text + str(tables.in_words(small_lane)) + small_lane.evidence_row


def test_a_healthy_verdict_says_what_was_proved() -> None:
    why = tables.verdict(report_on("healthy")).content["why"]
    assert why[0] == "All 11 checks passed."
    assert why[1].startswith("1 of 100 missions (1.0 %)")


def test_where_no_fallback_can_be_recorded_a_rate_of_zero_is_no_reason() -> None:
    report = report_on("worker-lane")
    assert report.verdict.lane_status == "HEALTHY"
    why = " ".join(tables.verdict(report).content["why"])
    assert "does not report fallbacks" in why
    assert "below the watch line of 5 %" not in why
    assert "p95 run time" in why


def test_a_window_that_is_over_waits_for_no_mission() -> None:
    report = report_on("empty-window")
    assert not report.metrics.is_open
    assert report.verdict.next_step.startswith("Judge a later window: this one is over, with too little traffic")


def test_missions_that_nobody_can_account_for_mark_the_events() -> None:
    assert tables.events(report_on("unaccounted")).tone == "watch"


def test_a_stale_heartbeat_is_no_good_mark() -> None:
    session = tables.session(report_on("all-equal"))
    assert "heartbeat stale" in session.finding
    assert session.tone == "quiet"
    assert tables.session(report_on("healthy")).tone == "good"


def test_the_last_error_of_the_session_is_shown_without_its_secrets(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(last_error="lease lost\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz")
    fresh_database.mission("m1", events=EVENTS)
    report = rollout_report(source=str(fresh_database.path), as_of=NEXT_DAY)
    [error] = cells(tables.session(report), "Session")["Last error in the session's row"]
    assert error.startswith("lease lost Authorization: ")
    assert "abcdefghij" not in error
    assert "Last error in the session's row" not in cells(tables.session(report_on("all-equal")), "Session")


def test_a_comparison_says_that_it_is_one(tmp_path: Path) -> None:
    made = one_mission(tmp_path)
    assert tables.verdict(rollout_report(**made)).content["name"] == "Rollout window"
    banner = tables.verdict(rollout_report(**made, notebook="window_comparison", window_label="Tuesday"))
    assert banner.content["name"] == "Window comparison: Tuesday"
    assert "Window comparison: Tuesday" in banner.content["page_title"]


def test_the_gateways_blindness_is_in_the_banner_where_it_would_have_changed_the_verdict() -> None:
    blind = report_on("critical")  # the gateway sees the lane's oldest 500 events only
    assert blind.gateway_difference
    assert blind.gateway_difference in tables.verdict(blind).content["why"]
    assert tables.quality(blind).tone == "watch"
    assert "gateway" in tables.quality(blind).finding.lower()
    with_both_wrong = report_on("failing")
    assert not with_both_wrong.gateway_misleads
    assert not any("gateway" in sentence for sentence in tables.verdict(with_both_wrong).content["why"])


def test_the_gateway_that_sees_all_is_not_mentioned(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = filled(make_database(), 20, fallbacks=5)
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY)
    assert (report.gateway_difference, report.gateway_misleads) == (None, False)
    assert "gateway" not in tables.verdict(report).text + tables.quality(report).text


def test_the_row_has_the_logs_eight_cells_as_a_reader_sees_them(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.mission("m", events=["vp.odd|type"])
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY, window_label="a|b `c` <d>", scope="back\\slash")
    piece = tables.evidence_row(report)
    names = [name for name, _ in piece.content["cells"]]
    assert names[:4] == ["Date (UTC)", "Window", "Scope", "Endpoint snapshot refs"]
    assert names[4:] == ["Fallback rate", "p95 latency", "Decision", "Notes"]
    shown = dict(piece.content["cells"])
    assert (shown["Window"], shown["Scope"]) == ("a|b `c` <d>", "back\\slash")
    assert 'vp.odd|type":1' in shown["Notes"]
    assert piece.content["markdown"] == report.evidence_row


def test_plain_text_is_all_that_is_compared() -> None:
    piece = tables.in_words(report_on("healthy"))
    assert set(piece._repr_mimebundle_()) == {"text/plain"}
    first, second, *rest = str(piece).splitlines()
    assert (first.partition(":")[0], second) == (
        "SAMPLE",
        "READY_FOR_LIMITED_COHORT_PILOT (HEALTHY, continue, provisional)",
    )
    assert sum(line.startswith("✓ ") for line in rest) == 11


# --- fallback, latency, events, session


def test_the_fallback_heading_states_the_finding(small_lane: WindowReport) -> None:
    piece = tables.fallback(small_lane)
    assert piece.finding == "3 of 20 (15.0 %): above the watch line of 5 %"
    assert piece.tone == "watch"


def test_at_the_line_is_not_above_it(make_database: Callable[..., RuntimeDatabase]) -> None:
    report = rollout_report(source=str(filled(make_database(), 60, fallbacks=3).path), as_of=NEXT_DAY)
    assert tables.fallback(report).finding == "3 of 60 (5.0 %): at the watch line of 5 %"


def test_a_lane_that_records_no_fallbacks_proves_nothing_by_them() -> None:
    piece = tables.fallback(report_on("worker-lane"))
    assert piece.finding.startswith("0 of 100 (0.0 %), which proves nothing")
    assert piece.tone == "quiet"


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
    newest, before = folded["inside"]["rows"] if isinstance(folded["inside"], dict) else folded["inside"][0]["rows"]
    assert newest[:2] == ["2026-02-16T12:00:09Z", blocks.marked("watch", "vp.mission.fallback")]
    assert newest[2]["text"] == before[2] == "m1", "a link leads to the newest event of a mission"
    assert newest[3] == "boom 17"
    assert before[1] == blocks.marked("plain", "vp.mission.completed")


def test_errors_are_grouped_and_counted() -> None:
    rows = table(tables.signatures(report_on("small")), "")["rows"]
    assert sum(int(row[2]) for row in rows) == 5  # three fallbacks and two failures, without a text


def test_sequences_and_deviations_are_counted(small_lane: WindowReport) -> None:
    shown = tables.events(small_lane)
    # 17 completed, three of which fell back on their way
    assert shown.finding == "2 of 20 missions failed or timed out; 14 of the 17 completed went as expected"
    sequences = next(block for block in shown.content["blocks"] if "Sequence" in str(block["columns"]))["rows"]
    assert sum(int(number) for _, number in sequences) == 20
    assert [number for name, number in sequences if "fallback" in name] == ["3"]


def test_where_all_failed_no_mission_is_as_expected() -> None:
    piece = tables.events(report_on("all-failed"))
    assert piece.finding == "25 of 25 missions failed or timed out, none completed"


def test_the_session_is_told_by_its_numbers(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session(status="degraded")
    lane.mission("m", events=EVENTS)
    for kind, minute in (("created", 0), ("degraded", 1), ("resumed", 3), ("degraded", 5)):
        lane.session_event(f"vp.session.{kind}", NOON + timedelta(minutes=minute))
    report = rollout_report(source=str(lane.path), as_of="2026-02-16T12:10:00Z")
    rows = cells(tables.session(report), "Session")
    assert rows["Status at the window's end"] == ["degraded"]
    assert rows["Degradations followed by a resume, since the lane began"] == ["1 of 2 (50.0 %)"]
    assert rows["Slowest recovery"] == ["2 min"]
    assert tables.session(report).tone == "watch"


# --- against the baseline, data quality


def test_a_rise_is_neither_shown_nor_denied_where_nothing_is_known() -> None:
    rows = cells(tables.baseline(report_on("one-mission")), "This window and the one before")
    for name in ("Queue wait p50", "Queue wait p95", "Run time p50", "Run time p95"):
        before, _, moved = rows[name]
        assert (before, moved) == ("n/a", ""), name
    known = cells(tables.baseline(report_on("healthy")), "This window and the one before")
    assert known["Run time p50"][2] == "no rise shown"


def test_what_is_known_of_now_is_told_without_a_window_before() -> None:
    rows = cells(tables.baseline(report_on("hostile")), "This window and the one before")
    assert rows["Fallback rate"] == ["n/a", "66.7 %", ""]  # 20 of 30
    assert rows["Slower than 90 s"][0] == "n/a"
    assert rows["Slower than 90 s"][1].endswith("%")


def test_both_windows_stand_side_by_side(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    for number in range(80):  # before: 2 of 40 fell back; now: 20 of 40, and all take longer
        bad = number < 2 or (number >= 40 and number % 2 == 0)
        lane.mission(
            f"m{number:02d}",
            NOON + timedelta(minutes=number),
            run=10.0 if number < 40 else 100.0,
            events=FELL_BACK if bad else EVENTS,
        )
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY, last_missions=40)
    rows = cells(tables.baseline(report), "This window and the one before")
    assert rows["Missions considered"][:2] == ["40", "40"]
    assert rows["First mission created (UTC)"][:2] == ["2026-02-16T12:00:00Z", "2026-02-16T12:40:00Z"]
    assert rows["Fallback rate"][:2] == ["5.0 %", "50.0 %"]
    moved = rows["Fallback rate"][2]
    assert moved["tone"] == "watch"
    assert moved["text"].startswith("+45.0 points (+")
    assert rows["Run time p50"] == ["10.0 s", "1 min 40 s", blocks.marked("watch", "up")]
    assert rows["Run time p95"][2] == "no rise shown"  # an upper bound of p95 takes 59 missions
    assert rows["Queue wait p95"] == ["1.00 s", "1.00 s", "no rise shown"]
    assert tables.baseline(report).finding.startswith("Runtime degradation or adapter instability")


def test_the_queue_wait_is_one_number_on_a_page_and_says_who_still_waits() -> None:
    report = report_on("queue-stuck")
    stuck, calm = (cells(tables.baseline(one), "This window") for one in (report, report_on("one-mission")))
    alone = cells(tables.latency(report), "Queue wait and run time")["Queue wait (created → started)"]
    assert [stuck[f"Queue wait {name}"][1] for name in ("p50", "p95")] == alone[1:3]
    waiting = (report.metrics.missions["status"] == "queued").sum()
    assert stuck["Still in the queue"] == ["0", str(waiting), ""]
    assert stuck["Queue wait p95"][2] == blocks.marked("watch", "up by those still waiting")
    assert "queue wait rose only by those still waiting (p50" in report.comparison.sentence
    assert f"{waiting} still waiting)" in report.comparison.sentence
    by_tier = cells(tables.latency(report), "Queue wait and run time")
    [still] = [row[0] for name, row in by_tier.items() if "tier" in name and "waiting" in row[0]]
    assert still.endswith(f", {waiting} waiting")  # a whole tier is stuck
    assert tables.baseline(report).finding == (
        f"Load or queue pressure: {waiting} missions still wait, fallbacks did not rise"
    )
    assert "→" not in tables.comparison(report).text  # the table has the numbers
    assert "Still in the queue" not in calm


def test_a_snapshot_without_all_events_is_not_trusted() -> None:
    report = report_on("snapshot")
    assert tables.fallback(report).finding == (
        "Unknown: 0 of 60 (0.0 %) are seen to have fallen back, but events are missing"
    )
    assert tables.fallback(report).tone == "watch"
    shown = next(tile for tile in tables.key_figures(report).content["tiles"] if tile["name"] == "Fallback rate")
    assert (shown["value"], shown["tone"], shown["gauge"]) == ("n/a", "watch", None)
    assert shown["detail"].endswith("events are missing; 0 of 60 missions seen to fall back")
    assert cells(tables.baseline(report), "This window")["Fallback rate"] == ["n/a", "n/a", ""]
    assert cells(tables.fallback(report), "The true")["True rate, upper 95 % bound (for a single look)"] == ["n/a"]
    judged = {reason.gate: reason for reason in (*report.verdict.reasons, *report.verdict.passed)}
    assert (judged["fallback_rate"].caution, judged["fallback_rate"].value) == ("WATCH", None)
    assert {"rolling_fallback", "recent_change"} == {reason.gate for reason in report.verdict.not_assessed}
    assert report.verdict.evidence.fragility == ""
    assert tables.verdict(report).content["others"] == (
        "Also: fallback rate. Not assessed: rolling fallback, recent change."
    )
    assert tables.quality(report).tone == "watch"
    assert tables.quality(report).finding.startswith("1 fault in the data")


def test_a_fault_forbids_nothing_under_a_policy_that_does_not_judge_it() -> None:
    judged, unjudged = report_on("snapshot"), report_on("snapshot", policy="capture")
    assert (judged.verdict.lane_status, unjudged.verdict.lane_status) == ("WATCH", "HEALTHY")
    assert "no verdict may be healthy" in tables.quality(judged).finding
    assert "no verdict may be healthy" not in tables.quality(unjudged).finding


# --- recovery, provenance


def test_the_checklist_is_left_out_when_there_is_nothing_to_recover(small_lane: WindowReport) -> None:
    assert tables.checklist(report_on("healthy")).omit
    piece = tables.checklist(small_lane)
    assert not piece.omit
    titles = [step["title"] for step in piece.content["blocks"][0]["steps"]]
    assert titles == [step.title for step in small_lane.checklist]


@pytest.mark.parametrize("bounded", some_of([True, False], 2), ids=["range", "newest"])
def test_the_checklists_snapshot_is_of_the_verdicts_own_missions(
    bounded: bool, capsys: pytest.CaptureFixture[str], make_database: Callable[..., RuntimeDatabase]
) -> None:
    lane = filled(make_database(), 70, fallbacks=45)
    window = {"window_start": "2026-02-16T12:10:00", "window_end": "2026-02-16T12:50:00"} if bounded else {}
    report = rollout_report(source=str(lane.path), as_of="2026-02-16T13:00:00Z", **window)
    step = report.checklist[0]
    assert step.command is not None
    program, *arguments = shlex.split(step.command.partition(" > ")[0])
    assert program == "vpanalysis"
    saved = json.loads(run_command(capsys, *arguments).out)
    # missions 10 to 49 of which 10 to 44 fell back; or those of 12:00 to 13:00, of which 45 fell back
    assert saved["fallback"]["missions_considered"] == (40 if bounded else 61)
    assert saved["fallback"]["missions_with_fallback"] == (35 if bounded else 45)
    assert saved["fallback"]["missions_considered"] == report.verdict.missions_considered


@pytest.mark.parametrize(("window", "profile"), of_profiles(WINDOWS))
def test_one_action_has_one_command(window: str, profile: str) -> None:
    report = report_on(window, profile)
    text = " ".join(make(report).text for name, make in PIECES.items() if name != "recent_events")
    assert not re.search(r"force the (primary|fallback) path|consider forcing", text, re.IGNORECASE)
    switches = set(re.findall(r"UA_\w*FORCE\w*(?:=\S+)?(?=\W)", text))
    assert {switch.rstrip(")") for switch in switches} <= {
        "UA_CODER_VP_FORCE_FALLBACK",
        "UA_CODER_VP_FORCE_FALLBACK=1",
    }


def test_the_way_back_lists_what_stands_against_it(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = filled(make_database(), 40, fallbacks=20)
    window = {"window_start": "2026-02-16T12:20:00Z", "window_end": "2026-02-16T12:40:00Z"}
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY, **window)
    assert report.way_back is not None
    shown = tables.way_back(report)
    assert report.way_back.sentence in shown.text
    assert cells(shown, "The probes")["Probe missions"] == ["20"]
    assert not shown.omit


@pytest.mark.parametrize("window", ["adapter-unstable", "healthy", "one-mission", "no-traffic"])
def test_ordinary_missions_are_not_called_probes(window: str) -> None:
    report = report_on(window)
    assert report.way_back is None
    assert tables.way_back(report).omit
    assert "robe" not in tables.way_back(report).text


def test_provenance_names_the_command_the_data_and_every_threshold(small_lane: WindowReport) -> None:
    piece = tables.provenance(small_lane)
    assert piece.content["blocks"][0]["text"] == small_lane.command
    assert small_lane.command.startswith("vpanalysis report rollout_window ")
    made = cells(piece, "Data, policy and versions")
    assert made["Content hash (SHA-256)"] == [small_lane.content_hash]
    assert made["Rows"] == ["vp_missions 20, vp_events 62, vp_session_events 0, vp_sessions 1"]
    settings = cells(piece, "Thresholds and gates of the policy")
    assert settings["fallback watch"] == ["0.05"]
    assert settings["failures: in a row"] == ["3"]
    assert "scope" in table(piece, "Parameters")["note"]


# --- blocks


def test_plain_text_of_a_table_is_aligned() -> None:
    shown = blocks.piece(blocks.pairs("Animals", [["ant", "1"], ["buffalo", blocks.marked("watch", "20")]]))
    assert str(shown).splitlines() == ["Animals", "Measure  Value", "ant      1", "buffalo  ▲ 20"]


def test_a_folded_blocks_text_is_not_lost() -> None:
    inside: list[Any] = [blocks.sentence("first"), blocks.command("do:", "vpanalysis serve")]
    assert str(blocks.piece(blocks.folded("more", *inside))) == "first\n\nvpanalysis serve"
