"""The missions behind a verdict, counted by hand for each gate."""

import pytest
from conftest import LANE
from lane_frames import NOON, metrics_from_snapshot, metrics_of, mission

from vpanalysis.analysis.contributors import missions_behind
from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.metrics import summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.data.source import open_source
from vpanalysis.data.window import RolloutWindow

SESSION = {"vp_id": LANE, "status": "active", "last_heartbeat_at": NOON.isoformat(), "updated_at": NOON.isoformat()}
COLUMNS = ["mission_id", "created_at", "outcome", "duration_seconds", "queue_wait_seconds", "fallback_seen", "gates"]


def behind(rows, profile="rollout", **overrides):
    policy = Policy.load("playbook", profile=profile, **overrides)
    metrics = metrics_of(rows, session=SESSION)
    verdict = classify(metrics, policy)
    found = missions_behind(verdict, metrics, policy)
    assert list(found.columns) == COLUMNS
    return verdict, dict(zip(found["mission_id"], found["gates"], strict=True))


def clean(n, first=0):
    return [mission(-9000 + first + i, mission_id=f"c{first + i}") for i in range(n)]


def test_fallbacks_count_in_the_rate_and_in_the_rolling_gate():
    rows = [mission(-9900, mission_id="old", fallback=True), *clean(25)]
    rows += [mission(-5000 + i, mission_id=f"f{i}", fallback=True) for i in range(3)]
    verdict, gates = behind(rows)
    assert verdict.lane_status == "WATCH"
    assert gates == {"old": "fallback_rate"} | {f"f{i}": "fallback_rate, rolling_fallback" for i in range(3)}


def test_failures_and_timeouts():
    rows = clean(10) + [mission(-5000 + i, mission_id=f"x{i}", status="failed") for i in range(2)]
    rows += [mission(-4000, mission_id="t", status="timed_out"), mission(-3000, mission_id="c", status="cancelled")]
    _, gates = behind(rows)
    assert gates == {"x0": "failures", "x1": "failures", "t": "failures"}


def test_missions_without_an_end():
    rows = clean(10) + [mission(-4000 + i, mission_id=f"h{i}", run=None, status="running") for i in range(4)]
    rows += [mission(-100, mission_id="young", run=None, status="running")]
    _, gates = behind(rows)
    assert gates == {f"h{i}": "completions" for i in range(4)}


def test_slow_missions_finished_or_not():
    rows = clean(30) + [mission(-5000 + i, mission_id=f"s{i}", run=200.0) for i in range(3)]
    rows += [mission(-400, mission_id="running", run=None, status="running")]
    _, gates = behind(rows)
    assert gates["running"] == "slow_share"
    assert {gates[f"s{i}"] for i in range(3)} == {"latency, slow_share"}
    assert len(gates) == 4


def test_sustained_latency_counts_from_the_threshold_that_tripped():
    rows = clean(8) + [mission(-5000 + i, mission_id=f"s{i}", run=60.0) for i in range(3)]
    verdict, gates = behind(rows, profile="sustained")
    assert verdict.decision == "SUSTAINED_WATCH"
    assert gates == {"s0": "latency", "s1": "latency", "s2": "latency"}


def test_duplicates_are_behind_the_data_quality_veto():
    rows = [*clean(5), mission(-2000, mission_id="twice"), mission(-1000, mission_id="twice")]
    policy = Policy.load("playbook")
    with_duplicates = metrics_of(rows, session=SESSION)
    quality = type(with_duplicates.quality)(duplicate_missions=1)
    metrics = metrics_of(rows, session=SESSION, quality=quality)
    found = missions_behind(classify(metrics, policy), metrics, policy)
    assert found["mission_id"].tolist() == ["twice", "twice"]
    assert set(found["gates"]) == {"data_quality"}


def test_healthy_verdict_lists_what_speaks_against_it_all_the_same():
    rows = [*clean(40), mission(-3000, mission_id="f", fallback=True), mission(-2000, mission_id="x", status="failed")]
    rows += [mission(-1000, mission_id="slow", run=100.0)]
    verdict, gates = behind(rows)
    assert verdict.lane_status == "HEALTHY"
    assert gates == {"f": "fallback_rate, rolling_fallback", "x": "failures", "slow": "latency, slow_share"}


def test_no_missions_no_rows():
    verdict, gates = behind([])
    assert (verdict.lane_status, gates) == ("NO_TRAFFIC", {})


def test_snapshot_without_missions_has_none():
    seconds = {"count": 5, "avg_seconds": 9, "p50_seconds": 9, "p95_seconds": 9, "max_seconds": 9}
    rate = {"missions_considered": 5, "missions_with_fallback": 5, "rate": 1.0}
    metrics = metrics_from_snapshot({"fallback": rate, "latency_seconds": seconds})
    policy = Policy.load("playbook")
    found = missions_behind(classify(metrics, policy), metrics, policy)
    assert found.empty
    assert list(found.columns) == COLUMNS


@pytest.mark.parametrize(
    ("scenario", "gate", "count"),
    [("critical", "fallback_rate", 26), ("failing", "failures", 18), ("stalled", "completions", 7)],
)
def test_sample_scenarios_count_as_they_say(scenario, gate, count):
    policy = Policy.load("playbook")
    with open_source(f"sample:{scenario}") as source:
        metrics = summarize(source.load(RolloutWindow(LANE, last_missions=100)))
    found = missions_behind(classify(metrics, policy), metrics, policy)
    assert found["gates"].str.contains(gate).sum() == count
