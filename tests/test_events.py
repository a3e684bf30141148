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

TERMINAL = ("completed", "failed", "cancelled")


def went(*events, status="completed", **columns):
    """A mission whose events were these, in short."""
    ended = [name for name in events if name in TERMINAL]
    told = {
        "sequence": " > ".join(f"vp.mission.{name}" for name in events),
        "events": len(events),
        "fallback_events": events.count("fallback"),
        "starts": events.count("started"),
        "ended_event": f"vp.mission.{ended[-1]}" if ended else None,
    }
    return mission(status=status, **told | columns)


def running(*events, ago, status="running", **columns):
    """A mission that started ``ago`` seconds before noon and has not ended."""
    return went(*events, status=status, created=-ago, wait=0.0, run=None, **columns)


def queued(*events, ago, **columns):
    """A mission that was created ``ago`` seconds before noon and has not started."""
    return went(*events, status="queued", created=-ago, wait=None, run=None, **columns)


def kinds(row):
    return {deviation.kind for deviation in event_profile(metrics_of([row])).deviations}


CASES = [
    (went("dispatched", "completed"), set()),
    (went("dispatched", "started", "completed"), set()),
    (went("dispatched", "started", "fallback", "completed"), {"fallback"}),
    (went("dispatched", "fallback", "started", "completed"), {"fallback", "out_of_order"}),
    (went("dispatched", "started", "failed", status="failed"), {"failed"}),
    (went("dispatched", "started", "failed", status="timed_out"), {"failed"}),
    (went("dispatched", "started", status="timed_out"), {"failed", "missing_terminal_event"}),
    (went("dispatched", "cancelled", status="cancelled"), {"cancelled"}),
    (went("started", "completed"), {"missing_dispatched"}),
    (went("started", "completed", source="redis_bridge"), set()),  # the bridge never writes a dispatched event
    (went("started", "completed", mission_id="bridge-7"), set()),
    (went("started", "completed", mission_id="a-bridge-7"), {"missing_dispatched"}),
    (went("completed", source="redis_bridge"), set()),
    (went(), {"missing_dispatched", "unaccounted"}),  # ended without a single event
    (went(source="redis_bridge"), {"unaccounted"}),
    (went("dispatched", "started"), {"missing_terminal_event"}),
    (went("dispatched", "completed", "completed"), {"several_terminals"}),
    (went("dispatched", "failed", "completed"), {"several_terminals", "failed"}),
    (went("dispatched", "dispatched", "completed"), {"repeated"}),
    (went("dispatched", "started", "started", "completed"), {"claimed_again"}),
    (went("dispatched", "started", "started", "started", "completed"), {"claimed_again"}),
    (went("dispatched", "started", "dispatched", "completed"), {"repeated", "out_of_order"}),
    (went("started", "dispatched", "completed"), {"out_of_order"}),
    (went("dispatched", "completed", "started"), {"out_of_order"}),
    (went("dispatched", "exploded", "completed"), {"unknown_type"}),
    (went("dispatched", "started", "cancel_requested", "cancelled", status="cancelled"), {"cancelled"}),
    (mission(sequence="vp.mission.dispatched > unknown > vp.mission.completed"), {"unknown_type"}),
    (went("dispatched", "failed"), {"failed", "status_disagrees"}),  # the row says completed
    (went("dispatched", "completed", status="failed"), {"status_disagrees"}),
    (went("dispatched", "cancelled"), {"cancelled", "status_disagrees"}),
    (running("dispatched", "completed", ago=5000), {"status_disagrees"}),
    (went("dispatched", "completed", status="unknown"), set()),  # the event tells
    (running("dispatched", "started", ago=60, status="unknown"), {"unaccounted"}),
    (running("dispatched", "started", ago=900), {"missing_completion"}),
    (running("dispatched", "started", ago=899), set()),  # still has time
    (queued("dispatched", ago=3599), set()),
    (queued("dispatched", ago=3600), {"missing_completion"}),
    (queued("dispatched", "cancel_requested", ago=60, cancel_requested=True), {"cancel_requested"}),
    (queued("dispatched", ago=3600, cancel_requested=True), {"cancel_requested", "missing_completion"}),
    (went("dispatched", "completed", cancel_requested=True), set()),  # it came too late
    (running("dispatched", "started", ago=3599, status="blocked"), set()),  # blocked counts as not started
    (running("dispatched", "started", ago=3600, status="blocked"), {"missing_completion"}),
]


@pytest.mark.parametrize(("row", "expected"), CASES)
def test_each_deviation_by_itself(row, expected):
    assert kinds(row) == expected


def test_every_kind_has_its_case():
    assert set().union(*(expected for _, expected in CASES)) == set(DEVIATIONS)


def test_lane_counted_by_hand():
    normal = ("dispatched", "started", "completed")
    rows = [went(*normal, mission_id=f"n{i}") for i in range(5)]
    rows += [went("dispatched", "started", "fallback", "completed", mission_id=f"f{i}") for i in range(4)]
    rows += [went("dispatched", "failed", status="failed", mission_id="x")]
    rows += [running("dispatched", "started", ago=60, mission_id="young")]
    rows += [went(mission_id=None)]
    profile = event_profile(metrics_of(rows))
    assert (profile.missions, profile.as_expected, profile.under_way) == (12, 5, 1)
    assert [(found.kind, found.missions) for found in profile.deviations] == [
        ("fallback", 4),
        ("failed", 1),
        ("unaccounted", 1),
        ("missing_dispatched", 1),
    ]
    assert profile.deviations[0].examples == ("f3", "f2", "f1")  # newest first
    assert profile.deviations[2].examples == ()  # a mission without an id
    assert profile.sequences[:2] == (
        ("dispatched > started > completed", 5),
        ("dispatched > started > fallback > completed", 4),
    )
    assert ("(no events)", 1) in profile.sequences
    assert profile.finding.startswith("5 of 12 (41.7 %) missions went dispatched → completed; fell back")


def test_bridge_mission_goes_as_expected_without_a_dispatched_event():
    profile = event_profile(metrics_of([went("started", "completed", source="redis_bridge")]))
    assert (profile.as_expected, profile.deviations) == (1, ())


def test_mission_that_a_second_worker_claims(fresh_database):
    """An expired claim is claimed again: ``started_at`` stays, a second started event follows."""
    fresh_database.session()
    events = [f"vp.mission.{name}" for name in ("dispatched", "started", "started", "completed")]
    fresh_database.mission("again", NOON, wait=1, run=30, worker_id="worker-2", events=events)
    with open_source(fresh_database.path) as source:
        metrics = summarize(source.load(RolloutWindow(LANE, as_of=NOON + timedelta(minutes=5))))
    assert metrics.missions["starts"].tolist() == [2]
    assert metrics.missions["duration_seconds"].tolist() == [30]  # both attempts
    assert [(found.kind, found.examples) for found in event_profile(metrics).deviations] == [
        ("claimed_again", ("again",))
    ]


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
