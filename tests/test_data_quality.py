"""Data quality: every field becomes a sentence, vetoes come first, the gateway's numbers beside ours."""

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from conftest import LANE, NOON
from lane_frames import metrics_from_snapshot, metrics_of, mission

from vpanalysis.analysis.answer import compare_with_gateway
from vpanalysis.analysis.gates.data_quality import judge_quality
from vpanalysis.analysis.metrics import summarize
from vpanalysis.data.source import open_source
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow

CASES = [
    # field, value, count, veto, words
    ("duplicate_missions", 2, 2, True, "2 rows repeat a mission id"),
    ("truncated_events", True, 1, True, "'vpanalysis serve' beside it"),
    ("ends_before_window", NOON, 1, True, "ends at 2026-02-16T12:00:00Z, before the window does"),
    ("orphan_signals", 2, 2, True, "2 of 2 fallback or failure events (100.0 %) have no mission"),
    ("malformed", ("mission_counts",), 1, True, "The snapshot's mission_counts cannot be read"),
    ("beyond_as_of", 3, 3, True, "3 rows of the lane are stamped over 60 s later than this judgement"),
    ("missing_tables", ("vp_session_events",), 1, False, "lacks vp_session_events"),
    ("missing_columns", ("vp_missions.source", "vp_missions.priority"), 2, False, "vp_missions.priority"),
    ("unreadable_times", {"vp_missions.created_at": 3}, 3, False, "vp_missions.created_at (3)"),
    ("undecodable_texts", {"vp_events.payload_json": 1}, 1, False, "vp_events.payload_json (1)"),
    ("missions_without_created_at", 4, 4, True, "4 missions of the lane without a readable created_at"),
    ("missions_without_id", 1, 1, False, "1 mission without an id"),
    ("unknown_statuses", {"": 2, "done": 1}, 3, False, "(empty) (2), done (1)"),
    ("unchecked", True, 1, False, "--check"),
    ("backwards_clocks", 1, 1, False, "1 of 10 missions (10.0 %)"),
    ("orphan_events", 5, 5, False, "5 events of the lane belong to no mission"),
    ("lane_events", {"vp.dispatch.held": 7}, 7, False, "vp.dispatch.held (7)"),
    ("foreign_events", 1, 1, False, "1 event of these missions name"),
]
TEN = [mission(-5000 + i) for i in range(10)]


def test_clean_data_gives_no_note():
    assert judge_quality(metrics_of(TEN)) == ()


def test_what_fell_back_needs_no_completed_event_of_the_lane():
    silent = [mission(-5000 + i, ended_event=None, ended_event_at=None, fallback_events=1) for i in range(10)]
    assert judge_quality(metrics_of(silent)) == ()
    [note] = judge_quality(metrics_of([one | {"fallback_events": 0} for one in silent]))
    assert (note.code, note.count, note.veto) == ("missing_ends", 10, True)


@pytest.mark.parametrize(("name", "value", "count", "veto", "words"), CASES, ids=[case[0] for case in CASES])
def test_each_field_becomes_a_sentence(name, value, count, veto, words):
    [note] = judge_quality(metrics_of(TEN, quality=DataQuality(**{name: value})))
    assert (note.code, note.count, note.veto) == (name, count, veto)
    assert words in note.sentence
    assert note.sentence.endswith(".")


def test_no_field_is_forgotten():
    assert {case[0] for case in CASES} == {field.name for field in fields(DataQuality)}


def test_vetoes_come_first():
    everything = DataQuality(**{name: value for name, value, *_ in CASES})
    notes = judge_quality(metrics_of(TEN, quality=everything))
    assert len(notes) == len(CASES)
    assert [note.veto for note in notes] == [True] * 7 + [False] * (len(CASES) - 7)


@pytest.mark.parametrize(("backwards", "veto"), [(1, False), (2, True), (10, True)])
def test_clocks_backwards_in_over_a_tenth_of_missions_are_a_veto(backwards, veto):
    [note] = judge_quality(metrics_of(TEN, quality=DataQuality(backwards_clocks=backwards)))
    assert note.veto is veto
    assert ("more than 10 %" in note.sentence) is veto


@pytest.mark.parametrize(
    ("missions", "undated", "veto"),
    [(19, 1, False), (38, 2, False), (37, 2, True), (0, 1, False), (0, 2, True)],  # 2 of 40 are 5 %, 2 of 39 more
)
def test_over_a_twentieth_of_missions_without_created_at_are_a_veto(missions, undated, veto):
    rows = [mission(-5000 + i) for i in range(missions)]
    [note] = judge_quality(metrics_of(rows, quality=DataQuality(missions_without_created_at=undated)))
    assert (note.code, note.count, note.veto) == ("missions_without_created_at", undated, veto)


@pytest.mark.parametrize("complete", [None, False])
def test_complete_events_are_no_note(complete):
    assert judge_quality(metrics_of(TEN, quality=DataQuality(truncated_events=complete))) == ()


@pytest.mark.parametrize(("orphans", "veto"), [(1, False), (2, True)])
def test_over_a_fiftieth_of_signals_without_a_mission_is_a_veto(orphans, veto):
    rows = [mission(-5000 + i, fallback=i < 49) for i in range(60)]
    quality = DataQuality(orphan_signals=orphans)
    metrics = replace(metrics_of(rows, quality=quality), event_counts={"vp.mission.fallback": 49})
    [note] = judge_quality(metrics)  # 1 of 50 is 2 %, 2 of 51 is more
    assert (note.code, note.veto) == ("orphan_signals", veto)


def test_missions_nobody_can_account_for_are_named_with_their_reasons():
    rows = [*TEN, mission(-60, status="unknown"), mission(-50, ended_event="vp.mission.failed")]
    rows += [mission(-40, ended_event="vp.mission.cancelled"), mission(-30, events=0)]
    [note] = judge_quality(metrics_of(rows))
    assert (note.code, note.count, note.veto) == ("unaccounted", 4, True)
    assert "4 of 14 missions (28.6 %) cannot be accounted for: status and last event disagree (2)" in note.sentence
    assert "neither a known status nor a terminal event (1)" in note.sentence
    assert "ended without a single event (1)" in note.sentence


def test_plain_snapshot_is_vetoed_and_the_way_out_named():
    seconds = {"count": 0, "avg_seconds": None, "p50_seconds": None, "p95_seconds": None, "max_seconds": None}
    counts = {"vp.mission.dispatched": 200}
    content = {
        "fallback": {"missions_considered": 50, "missions_with_fallback": 0, "rate": 0.0},
        "latency_seconds": seconds,
        "event_counts": counts,
    }
    [note] = judge_quality(metrics_from_snapshot(content))
    assert note.veto
    assert "Read the database itself, or 'vpanalysis serve' beside it." in note.sentence


def test_names_from_the_database_are_short_and_masked():
    quality = DataQuality(unknown_statuses={"token=abcdef\n\x00" + "x" * 500: 1} | {f"s{i}": 1 for i in range(9)})
    [note] = judge_quality(metrics_of(TEN, quality=quality))
    assert "abcdef" not in note.sentence
    assert "\n" not in note.sentence
    assert len(note.sentence) < 200
    assert note.sentence.endswith("and 4 more.")
    assert note.sentence.count("(1)") == 6


def test_what_the_reading_notices_in_a_database(fresh_database):
    fresh_database.session()
    for i in range(4):
        fresh_database.mission(f"m{i}", NOON + timedelta(minutes=i), events=["vp.mission.completed"])
    fresh_database.mission("odd", NOON, status="exploded", wait=-5.0)
    fresh_database.mission("timeless", "yesterday")
    fresh_database.event("nobody", "vp.mission.fallback", NOON)
    fresh_database.event(None, "vp.dispatch.held", NOON)
    window = RolloutWindow(LANE, start=NOON, end=NOON + timedelta(hours=1), as_of=NOON + timedelta(hours=2))
    with open_source(fresh_database.path) as source:
        notes = judge_quality(summarize(source.load(window)))
    found = {note.code: (note.count, note.veto) for note in notes}
    assert found == {
        "backwards_clocks": (1, True),  # 1 of 5
        "unreadable_times": (1, False),
        "missions_without_created_at": (1, False),
        "unknown_statuses": (1, False),
        "orphan_events": (1, False),
        "orphan_signals": (1, True),  # 1 of 1 fallback
        "lane_events": (1, False),
        "unaccounted": (1, False),  # one alone is no veto
    }


def test_gateway_that_misses_the_newest_fallback_is_told_apart(fresh_database):
    fresh_database.session()
    types = ("vp.mission.dispatched", "vp.mission.started", "vp.mission.completed")
    for i in range(4):
        fresh_database.mission(f"m{i}", NOON + timedelta(minutes=i), events=types)
    fresh_database.event("m3", "vp.mission.fallback", NOON + timedelta(minutes=4))
    with open_source(fresh_database.path) as source:
        own = summarize(source.load(RolloutWindow(LANE, last_missions=50)))
        assert compare_with_gateway(own, source.gateway_snapshot(LANE, 50, 200)) is None
        sentence = compare_with_gateway(own, source.gateway_snapshot(LANE, 50, 12))
    assert sentence == (
        "For the 4 newest missions the gateway, which counts only the lane's oldest 12 events, reports 0 missions "
        "with a fallback instead of 1 and a fallback rate of 0.0 % instead of 25.0 %."
    )
