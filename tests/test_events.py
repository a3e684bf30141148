"""The event profile: each kind of deviation on its own, and a lane counted by hand."""

from datetime import timedelta

import pytest
from conftest import LANE, NOON
from lane_frames import metrics_from_snapshot, metrics_of, mission

from vpanalysis.analysis.events import DEVIATIONS, event_profile
from vpanalysis.analysis.metrics import summarize
from vpanalysis.data.source import open_source
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow


def went(*events, status="completed", **columns):
    """A mission whose events were these, in short."""
    return mission(status=status, sequence=" > ".join(f"vp.mission.{name}" for name in events), **columns)


def kinds(row):
    return {deviation.kind for deviation in event_profile(metrics_of([row])).deviations}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (went("dispatched", "completed"), set()),
        (went("dispatched", "started", "completed"), set()),
        (went("dispatched", "started", "fallback", "completed"), {"fallback"}),
        (went("dispatched", "fallback", "started", "completed"), {"fallback", "out_of_order"}),
        (went("dispatched", "started", "failed", status="failed"), {"failed"}),
        (went("dispatched", "started", "failed", status="timed_out"), {"failed"}),
        (went("dispatched", "started", status="timed_out"), {"failed", "missing_terminal_event"}),
        (went("dispatched", "cancelled", status="cancelled"), {"cancelled"}),
        (went("started", "completed"), {"missing_dispatched"}),
        (went(), {"missing_dispatched", "missing_terminal_event"}),
        (went("dispatched", "started"), {"missing_terminal_event"}),
        (went("dispatched", "completed", "completed"), {"several_terminals"}),
        (went("dispatched", "failed", "completed"), {"several_terminals", "failed"}),
        (went("dispatched", "dispatched", "completed"), {"repeated"}),
        (went("dispatched", "started", "started", "completed"), {"repeated"}),
        (went("dispatched", "started", "dispatched", "completed"), {"repeated", "out_of_order"}),
        (went("started", "dispatched", "completed"), {"out_of_order"}),
        (went("dispatched", "completed", "started"), {"out_of_order"}),
        (went("dispatched", "exploded", "completed"), {"unknown_type"}),
        (mission(sequence="vp.mission.dispatched > unknown > vp.mission.completed"), {"unknown_type"}),
        (went("dispatched", "failed"), {"failed", "status_disagrees"}),  # the row says completed
        (went("dispatched", "completed", status="failed"), {"failed", "status_disagrees"}),
        (went("dispatched", "cancelled"), {"cancelled", "status_disagrees"}),
        (went("dispatched", "completed", status="running", run=None, outcome="completed"), {"status_disagrees"}),
        (went("dispatched", "started", status="running", run=None, created=-901 - 1), {"missing_completion"}),
        (went("dispatched", "started", status="running", run=None, created=-300), set()),  # still has time
        (went("dispatched", status="queued", wait=None, run=None, created=-899), set()),
        (went("dispatched", status="queued", wait=None, run=None, created=-900), {"missing_completion"}),
    ],
)
def test_each_deviation_by_itself(row, expected):
    assert kinds(row) == expected


def test_every_kind_has_its_case():
    assert len(DEVIATIONS) == 11


def test_lane_counted_by_hand():
    normal = ("dispatched", "started", "completed")
    rows = [went(*normal, mission_id=f"n{i}") for i in range(5)]
    rows += [went("dispatched", "started", "fallback", "completed", mission_id=f"f{i}") for i in range(4)]
    rows += [went("dispatched", "failed", status="failed", mission_id="x")]
    rows += [went("dispatched", "started", status="running", run=None, created=-60, mission_id="young")]
    rows += [went(mission_id=None)]
    profile = event_profile(metrics_of(rows))
    assert (profile.missions, profile.as_expected, profile.under_way) == (12, 5, 1)
    assert [(found.kind, found.missions) for found in profile.deviations] == [
        ("fallback", 4),
        ("failed", 1),
        ("missing_dispatched", 1),
        ("missing_terminal_event", 1),
    ]
    assert profile.deviations[0].examples == ("f3", "f2", "f1")  # newest first
    assert profile.deviations[2].examples == ()  # a mission without an id
    assert profile.sequences[:2] == (
        ("dispatched > started > completed", 5),
        ("dispatched > started > fallback > completed", 4),
    )
    assert ("(no events)", 1) in profile.sequences
    assert profile.finding.startswith("5 of 12 (41.7 %) missions went dispatched → completed; fell back")


def test_event_mix_is_that_of_all_events_progress_included(fresh_database):
    fresh_database.session()
    types = ["dispatched", "progress", "started", "progress", "completed"]
    fresh_database.mission("m1", NOON, events=[f"vp.mission.{name}" for name in types])
    fresh_database.mission("m2", NOON, events=["vp.mission.dispatched", "vp.mission.progress", ""], status="running")
    with open_source(fresh_database.path) as source:
        window = RolloutWindow(LANE, as_of=NOON + timedelta(minutes=5))
        profile = event_profile(summarize(source.load(window)))
    assert profile.event_counts == {
        "vp.mission.progress": 3,
        "vp.mission.dispatched": 2,
        "vp.mission.completed": 1,
        "vp.mission.started": 1,
        "unknown": 1,
    }
    assert dict(profile.sequences) == {"dispatched > started > completed": 1, "dispatched > unknown": 1}
    assert profile.as_expected == 1


def test_hostile_event_types_are_short_and_masked():
    row = mission(sequence=" > ".join(["token=abcdef\n", *("x" * 80 for _ in range(50))]))
    [(shape, count)] = event_profile(metrics_of([row])).sequences
    assert count == 1
    assert "abcdef" not in shape
    assert len(shape) < 500
    assert shape.endswith("… 41 more")


def test_empty_window():
    profile = event_profile(metrics_of([]))
    assert (profile.missions, profile.as_expected, profile.under_way) == (0, 0, 0)
    assert (profile.deviations, profile.sequences) == ((), ())
    assert profile.finding == "No mission, so no event sequence."


def test_snapshot_has_only_its_event_mix():
    seconds = {"count": 0, "avg_seconds": None, "p50_seconds": None, "p95_seconds": None, "max_seconds": None}
    content = {
        "fallback": {"missions_considered": 5, "missions_with_fallback": 0, "rate": 0.0},
        "latency_seconds": seconds,
        "event_counts": {"vp.mission.dispatched": 5},
    }
    profile = event_profile(metrics_from_snapshot(content))
    assert (profile.missions, profile.deviations) == (None, ())
    assert profile.event_counts == {"vp.mission.dispatched": 5}


def test_truncated_events_are_said_to_be_missing():
    profile = event_profile(metrics_of([went()], quality=DataQuality(truncated_events=True)))
    assert profile.finding.endswith("Events are missing from the snapshot, so do not trust this.")
