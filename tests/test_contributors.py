"""The missions behind a verdict, counted by hand for each gate."""

from datetime import timedelta

import pytest
from conftest import LANE
from lane_frames import NOON, metrics_from_snapshot, metrics_of, mission

from vpanalysis.analysis.contributors import missions_behind
from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.metrics import summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.data.source import open_source
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow

SESSION = {"vp_id": LANE, "status": "active", "last_heartbeat_at": NOON.isoformat(), "updated_at": NOON.isoformat()}
COLUMNS = [
    "mission_id", "created_at", "outcome", "why", "duration_seconds", "queue_wait_seconds", "fell_back", "gates",
]  # fmt: skip


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


def test_a_recent_change_names_the_fallbacks_of_its_longest_stretch():
    rows = [mission(-9900 + i, mission_id=f"old{i}", fallback=i == 0) for i in range(121)]
    rows += clean(14) + [mission(-5000 + i, mission_id=f"f{i}", fallback=True) for i in range(7)]
    verdict, gates = behind(rows)  # 142 missions: stretches of 20, 40 and 80; 8 of 142 are 5.6 %
    assert {reason.gate for reason in verdict.reasons} == {"fallback_rate", "rolling_fallback", "recent_change"}
    assert gates.pop("old0") == "fallback_rate"
    assert gates == {f"f{i}": "fallback_rate, rolling_fallback, recent_change" for i in range(7)}
    worker = [mission(-4000 + i, mission_id=f"w{i}", worker_id="w1") for i in range(300)]
    verdict, gates = behind(rows + worker)  # those could not record a fallback: the stretches are the same
    assert [reason.gate for reason in verdict.reasons] == ["recent_change"]
    assert gates == {f"f{i}": "recent_change" for i in range(7)}


def test_failures_and_timeouts():
    rows = clean(10) + [mission(-5000 + i, mission_id=f"x{i}", status="failed") for i in range(2)]
    rows += [mission(-4000, mission_id="t", status="timed_out"), mission(-3000, mission_id="c", status="cancelled")]
    _, gates = behind(rows)
    assert gates == {"x0": "failures", "x1": "failures", "t": "failures"}


def test_missions_without_an_end():
    rows = clean(10) + [mission(-4000 + i, mission_id=f"h{i}", run=None, status="running") for i in range(4)]
    rows += [mission(-100, mission_id="young", run=None, status="running")]
    rows += [mission(-3600, mission_id="waits", wait=None, status="queued")]
    rows += [mission(-3599, mission_id="waits a little", wait=None, status="queued")]
    _, gates = behind(rows)
    assert gates == {f"h{i}": "completions" for i in range(4)} | {"waits": "completions"}


def test_overdue_missions_of_a_lane_whose_policy_gives_them_longer(tmp_path):
    path = tmp_path / "slow.toml"
    path.write_text('name = "slow"\nversion = "1"\n[rollout.gates.completions]\nseconds = 3900.0\n', "utf-8")
    policy = Policy.load(path)
    rows = clean(10) + [mission(-4000.0 + 50 * i, mission_id=f"h{i}", run=None, status="running") for i in range(4)]
    metrics = metrics_of(rows, session=SESSION)
    verdict = classify(metrics, policy)  # started 3,999 s, 3,949 s, 3,899 s and 3,849 s before
    assert verdict.outcomes["overdue"] == 2
    assert missions_behind(verdict, metrics.overdue_after(3900.0), policy)["mission_id"].tolist() == ["h0", "h1"]
    assert missions_behind(verdict, metrics, policy)["mission_id"].tolist() == ["h0", "h1"]


def test_slow_missions_finished_or_not():
    rows = clean(30) + [mission(-5000 + i, mission_id=f"s{i}", run=200.0) for i in range(3)]
    rows += [mission(-400 + i, mission_id=f"running{i}", run=None, status="running") for i in range(2)]
    _, gates = behind(rows)
    assert {gates[f"running{i}"] for i in range(2)} == {"slow_share"}
    assert {gates[f"s{i}"] for i in range(3)} == {"latency, slow_share"}
    assert len(gates) == 5


def test_sustained_latency_counts_from_the_threshold_that_tripped():
    rows = clean(8) + [mission(-5000 + i, mission_id=f"s{i}", run=60.0) for i in range(3)]
    verdict, gates = behind(rows, profile="sustained")
    assert verdict.decision == "SUSTAINED_WATCH"
    assert gates == {"s0": "latency", "s1": "latency", "s2": "latency"}


@pytest.mark.parametrize(("run", "slow"), [(45.0, True), (44.9, False)])
def test_a_mission_at_the_threshold_is_behind_it(run, slow):
    rows = [*clean(3), mission(-5000, mission_id="s0", run=45.0), mission(-4000, mission_id="s1", run=run)]
    _, gates = behind(rows, profile="sustained")
    assert gates == {"s0": "latency"} | ({"s1": "latency"} if slow else {})


@pytest.mark.parametrize(("profile", "names"), [("rollout", []), ("sustained", ["watch"])])
def test_below_the_critical_line_only_sustained_has_slow_missions_behind_latency(profile, names):
    rows = [*clean(100), mission(-5000, mission_id="watch", run=60.0)]
    verdict, gates = behind(rows, profile=profile)
    assert verdict.lane_status == "HEALTHY"
    assert list(gates) == names


def test_at_the_critical_line_the_missions_between_the_lines_are_not_behind_it():
    rows = [mission(-5000 + i, mission_id=f"s{i}", run=90.0) for i in range(2)]
    rows += [mission(-4000, mission_id="watch", run=60.0), *clean(5)]
    verdict, gates = behind(rows, profile="sustained")
    assert verdict.decision == "SUSTAINED_FORCE_FALLBACK"
    assert gates == {"s0": "latency", "s1": "latency"}


def test_unaccounted_and_backward_missions_are_behind_the_data_quality_veto():
    rows = [*clean(5), mission(-3000, mission_id="lost", status="unknown"), mission(-2000, mission_id="twice")]
    rows += [mission(-1500, mission_id="split", ended_event="vp.mission.failed")]
    rows += [mission(-1000, mission_id="early", started_at=NOON - timedelta(seconds=1001))]
    policy, metrics = Policy.load("playbook"), metrics_of(rows, session=SESSION)
    found = missions_behind(classify(metrics, policy), metrics, policy).set_index("mission_id")
    assert set(found["gates"]) == {"data_quality"}
    assert found["why"].to_dict() == {
        "lost": "neither a known status nor a terminal event",
        "split": "status and last event disagree",
        "early": "",
    }
    assert found["outcome"].to_dict() == {"lost": "unaccounted", "split": "unaccounted", "early": "completed"}


def test_a_mission_that_took_no_time_has_its_clocks_in_order():
    verdict, gates = behind([*clean(5), mission(-3000, mission_id="at once", wait=0.0, run=0.0)])
    assert (verdict.lane_status, gates) == ("HEALTHY", {})


def test_duplicate_rows_are_no_missions_of_their_own():
    """The account keeps each id once, so that the veto on repeated ids has no mission to name."""
    rows = [*clean(5), mission(-2000, mission_id="twice"), mission(-1000, mission_id="twice")]
    policy = Policy.load("playbook")
    metrics = metrics_of(rows, session=SESSION, quality=DataQuality(duplicate_missions=1))
    verdict = classify(metrics, policy)
    assert [reason.gate for reason in verdict.reasons] == ["data_quality"]
    assert missions_behind(verdict, metrics, policy).empty


def test_a_gate_that_is_off_has_nobody_behind_it(tmp_path):
    path = tmp_path / "own.toml"
    off = "".join(f"{name} = false\n" for name in ("latency", "failures", "rolling_fallback", "traffic"))
    path.write_text(f'name = "own"\nversion = "1"\n[rollout.gates]\n{off}', "utf-8")
    policy = Policy.load(path)
    rows = [*clean(40), mission(-3000, mission_id="f", fallback=True), mission(-2000, mission_id="x", status="failed")]
    metrics = metrics_of(rows, session=SESSION)
    found = missions_behind(classify(metrics, policy), metrics, policy)
    assert dict(zip(found["mission_id"], found["gates"], strict=True)) == {"f": "fallback_rate, recent_change"}


def test_healthy_verdict_lists_what_speaks_against_it_all_the_same():
    rows = [*clean(40), mission(-3000, mission_id="f", fallback=True), mission(-2000, mission_id="x", status="failed")]
    rows += [mission(-1000, mission_id="slow", run=100.0)]
    verdict, gates = behind(rows)
    assert verdict.lane_status == "HEALTHY"
    assert gates == {
        "f": "fallback_rate, rolling_fallback, recent_change",
        "x": "failures",
        "slow": "latency, slow_share",
    }


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
    [
        ("critical", "fallback_rate", 26),
        ("failing", "failures", 18),
        ("stalled", "completions", 7),
        ("queue-stuck", "completions", 12),
        ("unaccounted", "data_quality", 8),
    ],
)
def test_sample_scenarios_count_as_they_say(scenario, gate, count):
    policy = Policy.load("playbook")
    with open_source(f"sample:{scenario}") as source:
        metrics = summarize(source.load(RolloutWindow(LANE, last_missions=100)))
    found = missions_behind(classify(metrics, policy), metrics, policy)
    assert found["gates"].str.contains(gate).sum() == count
