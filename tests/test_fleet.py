"""Who of many lanes needs somebody: p-values against SciPy, and each rule by a lane of its own."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from lane_frames import NOON, events_frame, metrics_from_snapshot, metrics_of, mission
from scipy.stats import binom, false_discovery_control, poisson

from vpanalysis.analysis.chance import false_discovery
from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.fleet import Lane, p_value, told_apart
from vpanalysis.analysis.incident import Incident
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy

ACTIVE = {"vp_id": "vp.coder.primary", "status": "active", "last_heartbeat_at": NOON.isoformat()}
POLICY = Policy.load("playbook")


def metrics(n: int = 100, failed: Sequence[int] = (), slow: Sequence[int] = (), **more: Any) -> Metrics:
    """A lane with a mission a minute, number 0 the oldest; some fail or are slow."""
    rows = [
        mission(
            -60.0 * (n - i) - 300, run=200.0 if i in slow else 10.0, status="failed" if i in failed else "completed"
        )
        for i in range(n)
    ]
    return metrics_of(rows, session=ACTIVE | {"updated_at": NOON.isoformat()}, events=events_frame(), **more)


def lane(
    found: Metrics, name: str = "vp.a", source: str = "f", policy: Policy = POLICY, p: float | None = None
) -> Lane:
    verdict = classify(found, policy)
    return Lane(source, name, found, verdict, policy, p_value(found, policy) if p is None else p)


@pytest.mark.parametrize("size", [1, 2, 7, 30])
def test_false_discovery_is_scipys(size: int) -> None:
    values = np.random.default_rng(size).random(size) ** 3
    values[0] = values[-1]  # ties
    assert false_discovery(list(values)) == pytest.approx(list(false_discovery_control(values)), rel=1e-12)
    assert false_discovery([]) == []


def by_hand(flags: list[bool], rate: float) -> float:
    n = len(flags)
    sizes = [size for size in (5, 10, 20, 40, 80, 160) if size < n]
    looks = [2 * binom.sf(sum(flags) - 1, n, rate)]
    looks += [2 * len(sizes) * binom.sf(sum(flags[-size:]) - 1, size, rate) for size in sizes]
    return float(min(1.0, *looks))


@pytest.mark.parametrize("failed", [[], [3], list(range(0, 100, 10)), [95, 97, 98, 99], [80, 82, 84, 86, 88]])
def test_a_p_value_is_the_least_of_the_binomial_tails_times_their_weights(failed: list[int]) -> None:
    flags = [i in failed for i in range(100)]
    assert p_value(metrics(failed=failed), POLICY) == pytest.approx(min(1.0, 5 * by_hand(flags, 0.025)), rel=1e-9)


def test_slow_missions_count_by_the_profiles_own_limit() -> None:
    slow = [10, 30, 50, 70, 90, 91, 92]
    expected = 5 * by_hand([i in slow for i in range(100)], 0.015)
    assert p_value(metrics(slow=slow), POLICY) == pytest.approx(expected, rel=1e-9)
    assert p_value(metrics(slow=slow), Policy.load("playbook", p95_critical_seconds=250.0)) == 1.0
    assert p_value(metrics(slow=slow), Policy.load("playbook", "sustained", p95_critical_seconds=250.0)) < 0.05


def test_lost_leases_are_held_against_their_rate() -> None:
    lost = [("vp.session.degraded", NOON - timedelta(minutes=minute)) for minute in (10, 20, 30, 40)]
    expected = 5 * poisson.sf(3, 0.6)
    assert p_value(metrics(session_events=lost), POLICY) == pytest.approx(expected, rel=1e-9)


def test_a_source_without_rows_counts_what_it_states() -> None:
    content = {
        "vp_id": "vp.a",
        "mission_counts": {"completed": 90, "failed": 10},
        "latency_seconds": {"p95_seconds": 9.0},
    }
    fallback = {"missions_considered": 100, "missions_with_fallback": 0, "rate": 0.0}
    found = metrics_from_snapshot(content | {"fallback": fallback})
    assert p_value(found, POLICY) == pytest.approx(5 * binom.sf(9, 100, 0.025), rel=1e-9)
    assert p_value(metrics_from_snapshot({"fallback": {}, "latency_seconds": {}}), POLICY) == 1.0


def needs(
    lanes: list[Lane], enabled: Sequence[str] = (), incidents: Sequence[Incident] = ()
) -> dict[str, tuple[bool, str]]:
    found = told_apart(lanes, incidents, enabled, NOON)
    return {f"{one.source} {one.vp_id}": (one.needs, one.excuse) for one in found}


CALM = metrics()
#: Three failures in a row: the gate trips, and a healthy lane does that now and then.
UNLUCKY = metrics(failed=[90, 91, 92])
FAILING = metrics(failed=list(range(0, 100, 5)))


def test_among_many_lanes_an_unlucky_one_needs_nobody_and_a_failing_one_does() -> None:
    calm = [lane(CALM, f"vp.{number}") for number in range(10)]
    found = needs([*calm, lane(UNLUCKY, "unlucky"), lane(FAILING, "failing")])
    assert lane(UNLUCKY).verdict.lane_status == "WATCH"
    assert found["f unlucky"] == (False, "chance")
    assert found["f failing"] == (True, "")
    assert found["f vp.0"] == (False, "")
    assert list(found)[:2] == ["f failing", "f unlucky"]  # the worst first


def test_a_lane_that_an_incident_hit_is_not_excused() -> None:
    lanes = [lane(UNLUCKY, "unlucky"), *(lane(CALM, f"vp.{number}") for number in range(10))]
    hit = Incident(NOON, NOON, (("f", "unlucky"), ("f", "vp.1")), 6, 6, (), 0.001)
    found = needs(lanes, incidents=[hit])
    assert found["f unlucky"] == (True, "")
    assert found["f vp.1"] == (False, "")  # hit, and its verdict says continue
    assert needs(lanes)["f unlucky"] == (False, "chance")


@pytest.mark.parametrize(
    "found",
    [
        metrics_of(),  # no missions
        metrics_of([mission(-60.0 * i - 60) for i in range(20)], session=ACTIVE | {"status": "degraded"}),
        metrics_of([mission(-60.0 * i - 60) for i in range(20)]),  # no session
        metrics_of([mission(-60.0 * i - 60, fallback=i % 2 == 0) for i in range(20)], session=ACTIVE),
        metrics_from_snapshot({"vp_id": "vp.a", "fallback": {}, "latency_seconds": {"p95_seconds": 1.0}}),
    ],
    ids=["no-traffic", "degraded", "no-session", "forced", "unknown-rate"],
)
def test_what_is_no_matter_of_chance_needs_somebody(found: Metrics) -> None:
    one = lane(found, "vp.x", p=1.0)
    assert one.verdict.action != "continue"
    assert needs([one, *(lane(CALM, f"vp.{number}") for number in range(10))])["f vp.x"] == (True, "")


def test_sustained_monitoring_continues_without_traffic() -> None:
    assert needs([lane(metrics_of(session=ACTIVE), policy=Policy.load("playbook", "sustained"))]) == {
        "f vp.a": (False, "")
    }


OLD = metrics_of([mission(-9 * 86_400.0 - 60 * i) for i in range(20)])  # nothing for nine days


def test_a_dormant_lane_needs_nobody_when_it_lives_elsewhere_or_is_not_enabled() -> None:
    alive, old = lane(CALM, "vp.a", "live.db"), lane(OLD, "vp.a", "old.db")
    assert needs([old]) == {"old.db vp.a": (True, "")}
    assert needs([alive, old])["old.db vp.a"] == (False, "elsewhere")
    assert needs([old], enabled=["vp.b"]) == {"old.db vp.a": (False, "not enabled")}
    assert needs([old], enabled=["vp.a"]) == {"old.db vp.a": (True, "")}


def test_a_lane_with_missions_of_today_is_not_excused_for_not_being_enabled() -> None:
    assert needs([lane(FAILING, "vp.a")], enabled=["vp.b"]) == {"f vp.a": (True, "")}
