"""The verdict: the rule table by an independent reading of the contract, gates that only add caution, the scenarios."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import LANE, NOON, events_frame, metrics_from_snapshot, metrics_of, mission

import vpanalysis as vp
from vpanalysis.analysis.decision import classify, judge
from vpanalysis.analysis.gates import GATES
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import PROFILES, Policy
from vpanalysis.analysis.verdict import CAUTION, Verdict
from vpanalysis.data.sample import SCENARIOS
from vpanalysis.data.tables import DataQuality, Tables
from vpanalysis.data.window import RolloutWindow

SESSION = {"vp_id": LANE, "status": "active", "updated_at": NOON.isoformat()}
CODES = {
    "READY_FOR_LIMITED_COHORT_PILOT": ("HEALTHY", "continue"),
    "SUSTAINED_DEFAULT_ON_HEALTHY": ("HEALTHY", "continue"),
    "SUSTAINED_MONITOR_NO_TRAFFIC": ("NO_TRAFFIC", "continue"),
    "SUSTAINED_WATCH": ("WATCH", "hold"),
    "SUSTAINED_FORCE_FALLBACK": ("FORCE_FALLBACK", "force_fallback"),
}


def mapping(n: Any, rate: Any, p95: Any, **more: Any) -> dict[str, Any]:
    """A snapshot whose count of fallbacks goes with its rate as far as a whole number can."""
    known = n is not None and rate is not None and math.isfinite(rate)
    return {
        "fallback": {
            "missions_considered": n,
            "missions_with_fallback": round(n * rate) if known else None,
            "rate": rate,
        },
        "latency_seconds": {"p95_seconds": p95},
    } | more


def table(n: int, rate: float | None, p95: float | None, least: int, profile: str) -> str:
    """The contract's table, row by row."""
    sustained = profile == "sustained"
    if n < max(1, least):
        return "SUSTAINED_MONITOR_NO_TRAFFIC" if sustained else "HOLD_SHADOW"
    if rate is None or not math.isfinite(rate):
        return "SUSTAINED_WATCH" if sustained else "HOLD_SHADOW"
    if rate >= 0.20:
        return "SUSTAINED_FORCE_FALLBACK" if sustained else "HOLD_SHADOW"
    if rate >= 0.05:
        return "SUSTAINED_WATCH" if sustained else "HOLD_SHADOW"
    if p95 is None or not math.isfinite(p95):
        return "SUSTAINED_WATCH" if sustained else "HOLD_SHADOW"
    if not sustained:
        return "READY_FOR_LIMITED_COHORT_PILOT"
    if p95 >= 90:
        return "SUSTAINED_FORCE_FALLBACK"
    return "SUSTAINED_WATCH" if p95 >= 45 else "SUSTAINED_DEFAULT_ON_HEALTHY"


RATES = st.none() | st.sampled_from([0.0, 0.049999, 0.05, 0.1, 0.2, 1.0, math.nan, math.inf]) | st.floats(0, 1)
SECONDS = st.none() | st.sampled_from([0.0, 44.9, 45.0, 89.9, 90.0, math.nan, math.inf]) | st.floats(0, 500)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 8), RATES, SECONDS, st.integers(0, 6), st.sampled_from(PROFILES))
def test_capture_is_the_rule_table_to_the_letter(n: int, rate: Any, p95: Any, least: int, profile: Any) -> None:
    verdict = classify(mapping(n, rate, p95), Policy.load("capture", profile, min_missions=least))
    expected = table(n, rate, p95, least, profile)
    assert verdict.decision == expected
    if expected != "HOLD_SHADOW":
        assert (verdict.lane_status, verdict.action) == CODES[expected]
    elif n < max(1, least):
        assert (verdict.lane_status, verdict.action) == ("NO_TRAFFIC", "hold")
    elif rate is not None and math.isfinite(rate) and rate >= 0.20:
        assert (verdict.lane_status, verdict.action) == ("FORCE_FALLBACK", "force_fallback")
    else:
        assert (verdict.lane_status, verdict.action) == ("WATCH", "hold")
    assert len(verdict.reasons) == 1
    assert not verdict.not_assessed


@pytest.mark.parametrize(
    ("n", "rate", "p95", "profile", "brief"),
    [
        (0, 0.0, None, "rollout", "insufficient missions (0 < 1)"),
        (4, None, 1.0, "rollout", "fallback rate unknown"),
        (4, 0.25, 1.0, "rollout", "fallback rate high (0.250 >= 0.200)"),
        (40, 0.05, 1.0, "sustained", "fallback rate elevated (0.050 >= 0.050)"),
        (4, 0.0, None, "rollout", "p95 latency unknown"),
        (4, 0.0, 95.5, "sustained", "p95 latency high (95.500s >= 90.000s)"),
        (4, 0.0, 45.0, "sustained", "p95 latency elevated (45.000s >= 45.000s)"),
        (4, 0.0, 95.5, "rollout", "fallback rate within target (0.000 < 0.050)"),
    ],
)
def test_captures_one_reason_is_short_with_value_and_threshold(
    n: int, rate: Any, p95: Any, profile: Any, brief: str
) -> None:
    verdict = classify(mapping(n, rate, p95), Policy.load("capture", profile))
    assert [reason.brief for reason in verdict.reasons] == [brief]


# --- gates only add caution

STATUSES = ("completed", "failed", "timed_out", "cancelled", "running", "queued", "blocked", "unknown")


@st.composite
def windows(draw: st.DrawFn) -> Metrics:
    """Any window: few or many missions of any fate, any session, any noted fault."""
    rng = draw(st.randoms(use_true_random=False))
    weights = [rng.choice((0, 1, 5)) for _ in STATUSES]
    weights[0] = 20
    rows = []
    for at in range(draw(st.sampled_from([0, 1, 2, 3, 19, 20, 21, 45]))):
        status = rng.choices(STATUSES, weights)[0]
        unfinished = status in STATUSES[4:]
        wait = None if rng.random() < 0.1 else rng.uniform(0, 60)
        run = None if unfinished or rng.random() < 0.1 else rng.choice((1.0, 30.0, 60.0, 95.0, 2000.0))
        created = -rng.choice((30.0, 500.0, 2000.0, 9000.0)) - at / 100
        rows.append(mission(created, wait=wait, run=run, status=status, fallback=rng.random() < 0.08))
    status = draw(st.sampled_from(["active", "degraded", "recovering", None]))
    degraded = [("vp.session.degraded", NOON - timedelta(seconds=20))] * draw(st.integers(0, 4))
    quality = DataQuality(truncated_events=draw(st.sampled_from([None, False, True])))
    session = None if status is None else SESSION | {"status": status}
    return metrics_of(rows, session=session, session_events=degraded, quality=quality)


SNAPSHOTS = st.builds(
    mapping,
    st.none() | st.integers(0, 30),
    RATES,
    SECONDS,
    mission_counts=st.none() | st.dictionaries(st.sampled_from(STATUSES), st.integers(0, 9)),
    session=st.none() | st.fixed_dictionaries({"status": st.sampled_from(["active", "degraded"])}),
)


@settings(max_examples=30, deadline=None)
@given(windows() | SNAPSHOTS.map(metrics_from_snapshot), st.sampled_from(PROFILES), st.sampled_from([0, 1, 5, 25]))
def test_playbook_is_never_less_cautious_than_capture(metrics: Metrics, profile: Any, least: int) -> None:
    base = judge(metrics, Policy.load("capture", profile, min_missions=least))
    found = judge(metrics, Policy.load("playbook", profile, min_missions=least))
    assert CAUTION.index(found.status) >= CAUTION.index(base.status)
    cautions = [CAUTION.index(reason.caution) for reason in found.reasons if reason.caution]
    assert len(cautions) == len(found.reasons)
    assert cautions == sorted(cautions, reverse=True)
    assert cautions[0] == CAUTION.index(found.status)
    assert all(reason.caution is None for reason in found.not_assessed)
    if metrics.fallback.missions_considered == 0 and metrics.missions.empty and not metrics.account.total:
        assert found.status == "NO_TRAFFIC"
    if found.status == "HEALTHY":
        assert found.reasons == found.passed
        assert all(reason.value is not None and reason.threshold is not None for reason in found.reasons)


@settings(max_examples=25, deadline=None)
@given(windows(), st.sampled_from(PROFILES))
def test_any_windows_verdict_is_complete_and_survives_json(metrics: Metrics, profile: Any) -> None:
    verdict = classify(metrics, Policy.load("playbook", profile), looks=2)
    text = verdict.model_dump_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert Verdict.model_validate_json(text) == verdict
    assert verdict.next_step.endswith(".")
    assert verdict.evidence.distance.endswith(".")
    assert verdict.schema_version == 1


# --- the window of the issue, and what each gate does to the verdict


def test_a_window_in_which_all_missions_failed() -> None:
    rows = [mission(-3600.0 + 60 * at, status="failed") for at in range(4)]
    metrics = metrics_of(rows, session=SESSION)
    assert classify(metrics, Policy.load("capture")).decision == "READY_FOR_LIMITED_COHORT_PILOT"
    rollout = classify(metrics, Policy.load("playbook"))
    assert (rollout.decision, rollout.lane_status, rollout.reasons[0].gate) == ("HOLD_SHADOW", "WATCH", "failures")
    sustained = classify(metrics, Policy.load("playbook", "sustained"))
    assert (sustained.decision, sustained.action) == ("SUSTAINED_FORCE_FALLBACK", "force_fallback")


def test_a_healthy_verdict_lists_what_was_proved_with_value_and_threshold() -> None:
    rows = [mission(-9000.0 + 60 * at) for at in range(60)]
    verdict = classify(metrics_of(rows, session=SESSION), Policy.load("playbook"))
    assert verdict.decision == "READY_FOR_LIMITED_COHORT_PILOT"
    assert {reason.gate: (reason.value, reason.threshold, reason.unit) for reason in verdict.reasons} == {
        "traffic": (60, 1, "count"),
        "fallback_rate": (0.0, 0.05, "share"),
        "latency": (10.0, 90.0, "seconds"),
        "failures": (0.0, 0.10, "share"),
        "completions": (0, 3, "count"),
        "session": ("active", "active or idle", "status"),
        "rolling_fallback": (0.0, 0.10, "share"),
        "recent_change": (0.0, 0.05, "share"),
        "slow_share": (0.0, 0.05, "share"),
        "freshness": (0.0, 86400.0, "seconds"),
        "data_quality": (0, 1, "count"),
    }
    assert verdict.not_assessed == []
    assert verdict.outcomes == {
        "completed": 60, "failed": 0, "cancelled": 0, "pending": 0, "overdue": 0, "unaccounted": 0,
    }  # fmt: skip


def test_a_bare_mapping_is_judged_by_the_table_and_its_gates_are_not_assessed() -> None:
    verdict = classify(mapping(4, 0.0, 0.4), Policy.load("playbook"))
    assert verdict.decision == "READY_FOR_LIMITED_COHORT_PILOT"
    assert [reason.gate for reason in verdict.reasons] == ["traffic", "fallback_rate", "latency"]
    assert [reason.gate for reason in verdict.not_assessed] == [
        "failures",
        "completions",
        "session",
        "rolling_fallback",
        "recent_change",
        "slow_share",
        "freshness",
        "data_quality",
    ]


@pytest.mark.parametrize("truncated", [True, False])
def test_a_truncated_snapshot_is_not_healthy(truncated: bool) -> None:
    listed = [
        {"mission_id": f"m{at}", "status": "completed", "duration_seconds": 1.0, "fallback_seen": False}
        for at in range(50)
    ]
    dispatched = [
        {"mission_id": f"m{at}", "event_type": "vp.mission.dispatched", "created_at": NOON.isoformat()}
        for at in range(50)
    ]
    content = mapping(
        50,
        0.0,
        1.0,
        mission_counts={"completed": 50},
        event_counts={"vp.mission.dispatched": 200 if truncated else 50},
        recent_missions=listed,
        recent_events=dispatched,
    )
    verdict = classify(content, Policy.load("playbook"))
    assert (verdict.lane_status, verdict.evidence.strength) == (("WATCH" if truncated else "HEALTHY"), "insufficient")
    assert (verdict.reasons[0].gate == "data_quality") == truncated


def test_gates_are_judged_below_min_missions_but_not_without_a_mission() -> None:
    policy = Policy.load("playbook", "sustained", min_missions=10)
    hanging = [mission(-5000.0 - at, run=None, status="running") for at in range(3)]
    few = classify(metrics_of(hanging, session=SESSION), policy)
    assert (few.decision, [reason.gate for reason in few.reasons]) == ("SUSTAINED_WATCH", ["completions", "traffic"])
    fine = classify(metrics_of([mission()], session=SESSION), policy)
    assert (fine.decision, [reason.gate for reason in fine.reasons]) == ("SUSTAINED_MONITOR_NO_TRAFFIC", ["traffic"])
    empty = classify(metrics_of([], session=SESSION | {"status": "degraded"}), policy)
    assert (empty.decision, [reason.gate for reason in empty.reasons]) == ("SUSTAINED_MONITOR_NO_TRAFFIC", ["traffic"])


def test_below_min_missions_the_tables_later_rows_say_nothing() -> None:
    rows = [mission(-3600.0 + 60 * at, run=95.0, fallback=at == 0) for at in range(4)]
    metrics = metrics_of(rows, session=SESSION)
    sustained = judge(metrics, Policy.load("playbook", "sustained", min_missions=5))
    assert (sustained.status, [reason.gate for reason in sustained.reasons]) == ("NO_TRAFFIC", ["traffic"])
    rollout = judge(metrics, Policy.load("playbook", min_missions=5))  # here a critical p95 is a gate's matter
    assert [(reason.gate, reason.caution) for reason in rollout.reasons] == [
        ("latency", "WATCH"),
        ("traffic", "NO_TRAFFIC"),
    ]
    assert judge(metrics, Policy.load("playbook", min_missions=4)).status == "FORCE_FALLBACK"


def test_too_few_settled_missions_hide_no_row_of_the_table() -> None:
    running = [mission(-60.0 - at, run=None, status="running") for at in range(8)]
    rows = [mission(-3600.0 + 60 * at, fallback=at == 0) for at in range(2)]
    policy = Policy.load("playbook", "sustained", min_missions=5)
    found = judge(metrics_of(rows + running, session=SESSION), policy)
    assert [(reason.gate, reason.value) for reason in found.reasons] == [("fallback_rate", 0.1), ("traffic", 2)]
    assert judge(metrics_of([mission(), *running], session=SESSION), policy).status == "NO_TRAFFIC"
    assert judge(metrics_of([mission(), *running], session=SESSION), Policy.load("capture", min_missions=5)).status == (
        "HEALTHY"
    )


def test_in_sustained_the_more_cautious_of_rate_and_p95_decides() -> None:
    """A critical p95 behind an elevated fallback rate: WATCH in the table, but the playbook forces the fallback."""
    rows = [mission(-9000.0 + 60 * at, run=100.0, fallback=at < 2) for at in range(25)]
    metrics = metrics_of(rows, session=SESSION)
    assert classify(metrics, Policy.load("capture", "sustained")).lane_status == "WATCH"
    verdict = classify(metrics, Policy.load("playbook", "sustained"))
    assert (verdict.lane_status, verdict.action) == ("FORCE_FALLBACK", "force_fallback")
    assert [reason.gate for reason in verdict.reasons] == ["latency", "fallback_rate", "slow_share"]
    assert verdict.reasons[0].sentence == "The p95 run time is 1 min 40 s, above the critical line of 90 s."
    rollout = classify(metrics, Policy.load("playbook"))
    assert [reason.gate for reason in rollout.reasons] == ["fallback_rate", "latency", "slow_share"]
    assert rollout.lane_status == "WATCH"


REQUIRED = 'name = "sure"\nversion = "1"\n[rollout]\nrequire_evidence = true\n'
CLOSED = RolloutWindow(LANE, start=NOON - timedelta(hours=4), end=NOON - timedelta(hours=1), as_of=NOON)
#: Written before that window's end.
CLOSED_SESSION = SESSION | {"updated_at": (NOON - timedelta(hours=2)).isoformat()}


@pytest.fixture
def sure(tmp_path: Path) -> Policy:
    """The playbook, requiring evidence."""
    path = tmp_path / "sure.toml"
    path.write_text(REQUIRED, "utf-8")
    return Policy.load(path)


@pytest.mark.parametrize(("n", "status"), [(58, "WATCH"), (59, "HEALTHY")])
def test_a_policy_may_require_evidence_of_a_closed_window(n: int, status: str, sure: Policy) -> None:
    rows = [mission(-9000.0 + 60 * at) for at in range(n)]
    metrics = metrics_of(rows, session=CLOSED_SESSION, window=CLOSED)
    verdict = classify(metrics, sure)
    assert verdict.lane_status == status
    assert classify(metrics, Policy.load("playbook")).lane_status == "HEALTHY"
    if status == "WATCH":
        [reason] = verdict.reasons
        assert (reason.gate, reason.value, reason.threshold) == ("fallback_rate", "insufficient", "supports")
        assert reason.unit == "status"
        assert verdict.next_step.endswith(
            "let more missions through: 0 of 58 so far; 1 more clean mission would show a fallback rate below 5 % with "
            "95 % confidence."
        )


@pytest.mark.parametrize(("n", "status"), [(64, "WATCH"), (65, "HEALTHY")])
def test_an_open_window_takes_more_missions_for_the_same_evidence(n: int, status: str, sure: Policy) -> None:
    metrics = metrics_of([mission(-9000.0 + 60 * at) for at in range(n)], session=SESSION)
    verdict = classify(metrics, sure)
    assert (verdict.lane_status, verdict.evidence.basis) == (status, "anytime")
    if status == "WATCH":
        assert "1 more clean mission" in verdict.next_step


def test_a_window_too_small_for_the_evidence_says_so_in_the_next_step() -> None:
    held = RolloutWindow(LANE, last_missions=20, as_of=NOON)
    metrics = metrics_of([mission(-9000.0 + 60 * at) for at in range(20)], session=SESSION, window=held)
    assert classify(metrics, Policy.load("playbook")).next_step.endswith(
        "Keep the cohort small until the evidence is there. 0 of 20 so far; a window of 20 missions is too small to "
        "show a fallback rate below 5 %."
    )


def test_the_failure_claim_is_required_too(sure: Policy) -> None:
    """6 of 100 are below the gate's 10 %, but the 95 % bound is 11.5 %."""
    rows = [
        mission(-9000.0 + 60 * at, status="failed" if at in range(3, 100, 17) else "completed") for at in range(100)
    ]
    metrics = metrics_of(rows, session=CLOSED_SESSION, window=CLOSED)
    verdict = classify(metrics, sure)
    assert verdict.evidence.strength == "supports"
    assert [(reason.gate, reason.value) for reason in verdict.reasons] == [("failures", "insufficient")]
    assert verdict.evidence.failure.distance in verdict.reasons[0].sentence
    assert "would show a failure rate below 10 % with 95 % confidence" in verdict.next_step
    assert classify(metrics, Policy.load("playbook")).lane_status == "HEALTHY"


@pytest.mark.parametrize(("n", "status"), [(28, "WATCH"), (29, "HEALTHY")])
def test_where_no_fallback_can_be_recorded_the_failure_claim_is_the_one_required(
    n: int, status: str, sure: Policy
) -> None:
    """29 missions without a failure: 0.9 ** 29 < 0.05."""
    rows = [mission(-9000.0 + 60 * at, worker_id="worker-1") for at in range(n)]
    verdict = classify(metrics_of(rows, session=CLOSED_SESSION, window=CLOSED), sure)
    assert verdict.lane_status == status
    assert (verdict.evidence.signal, verdict.evidence.strength) == ("not recorded", "none")
    if status == "WATCH":
        assert [reason.gate for reason in verdict.reasons] == ["failures"]


def test_required_evidence_leaves_no_traffic_and_worse_as_they_are(sure: Policy) -> None:
    assert classify(metrics_of([]), sure).lane_status == "NO_TRAFFIC"
    degraded = metrics_of([mission()], session=SESSION | {"status": "degraded"})
    assert [reason.gate for reason in classify(degraded, sure).reasons] == ["session"]


# --- the next step

STEPS: list[tuple[str, dict[str, Any], str, str]] = [
    ("rollout", {}, "Continue: record the row", "45 more clean missions"),  # 65 without a fallback, in an open window
    ("sustained", {}, "Keep default-on and continue the scheduled checks", "45 more clean missions"),
    ("rollout", {"rate": 0.1}, "Hold this stage", "fallback payload errors (§3.1)"),
    ("sustained", {"rate": 0.1}, "Increase snapshot frequency", "fallback payload errors (§3.1)"),
    (
        "rollout",
        {"rate": 0.3},
        "Investigate immediately: inspect",
        "(§3.1). Force the fallback with UA_CODER_VP_FORCE_FALLBACK=1 until the lane is stable",
    ),
    (
        "sustained",
        {"rate": 0.3},
        "Force the fallback with UA_CODER_VP_FORCE_FALLBACK=1 for now",
        "re-evaluate (playbook §7.3)",
    ),
    ("rollout", {"n": 0}, "Hold the window open until missions arrive", "capture again"),
    ("sustained", {"n": 0}, "Keep default-on", "check that they reach the lane"),
    ("rollout", {"p95": None}, "Hold this stage", "get the missing number"),
    ("rollout", {"rate": None}, "Hold this stage", "get the missing number"),
    ("rollout", {"session": None}, "Hold this stage", "bootstrap"),
    ("sustained", {"session": {"status": "degraded"}}, "Increase snapshot frequency", "lease/recovery drill (§3.4)"),
    ("rollout", {"mission_counts": {"failed": 20}}, "Hold this stage", "failure payloads"),
    ("rollout", {"mission_counts": {"completed": 9}}, "Hold this stage", "mend the data or read another source"),
]


@pytest.mark.parametrize(("profile", "changes", "start", "rest"), STEPS)
def test_the_next_step_is_the_playbooks(profile: Any, changes: dict[str, Any], start: str, rest: str) -> None:
    values = {"n": 20, "rate": 0.0, "p95": 0.4} | changes
    content = mapping(**({"mission_counts": {"completed": values["n"]}} | values))
    verdict = classify(content, Policy.load("playbook", profile))
    assert verdict.next_step.startswith(start)
    assert rest in verdict.next_step


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        ([], "Judge a later window"),
        ([mission(-9000.0)], "Judge a later window"),  # fewer than the policy asks for
        ([mission(-9000.0), mission(-120.0, status="running", run=None)], "Hold the window open"),
    ],
    ids=["none", "too few", "pending"],
)
def test_in_a_window_that_is_over_no_mission_is_waited_for(rows: list[dict[str, Any]], step: str) -> None:
    window = RolloutWindow(LANE, start=NOON - timedelta(hours=3), end=NOON - timedelta(minutes=1), as_of=NOON)
    policy = Policy.load("capture", min_missions=5)
    verdict = classify(metrics_of(rows, session=SESSION, window=window), policy)
    assert verdict.lane_status == "NO_TRAFFIC"
    assert verdict.next_step.startswith(step)


def test_the_next_step_of_a_healthy_lane_without_a_signal_asks_for_nothing_more() -> None:
    rows = [mission(-9000.0 + 60 * at, worker_id="worker-1") for at in range(30)]
    verdict = classify(metrics_of(rows, session=SESSION), Policy.load("playbook"))
    assert verdict.lane_status == "HEALTHY"
    assert verdict.next_step == "Continue: record the row in the evidence log and start the limited cohort pilot."


# --- what classify takes and returns


def test_a_mapping_without_its_two_parts_is_a_sentence() -> None:
    for content in ({}, {"fallback": {}}, {"fallback": {}, "latency_seconds": 3}):
        with pytest.raises(vp.InputError):
            classify(content, Policy.load("playbook"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -3.0, "12", True, [], None])
def test_what_is_no_number_is_unknown(value: Any) -> None:
    content = {"fallback": {"missions_considered": 4, "rate": value}, "latency_seconds": {"p95_seconds": value}}
    verdict = classify(content, Policy.load("playbook"))
    assert [(reason.gate, reason.value) for reason in verdict.reasons] == [("fallback_rate", None), ("latency", None)]
    nothing = classify({"fallback": {"missions_considered": value}, "latency_seconds": {}}, Policy.load("playbook"))
    assert (nothing.lane_status, nothing.missions_considered, nothing.evidence.strength) == ("NO_TRAFFIC", None, "none")


def test_the_verdict_carries_the_window_the_policy_and_the_top_signatures() -> None:
    events = [
        (f"m{at}", "vp.mission.fallback", NOON, json.dumps({"error": f"LeaseError: lease {at} lost"}))
        for at in range(4)
    ]
    events += [(f"m{at}", "vp.mission.failed", NOON, json.dumps({"error": "boom"})) for at in range(2)]
    events += [("m9", "vp.mission.failed", NOON, json.dumps({"error": name})) for name in ("a b", "c d")]
    metrics = metrics_of([mission(), mission(-60.0, status="running", run=None)], events=events_frame(events))
    policy = Policy.load("playbook", fallback_watch=0.01)
    verdict = classify(metrics, policy)
    assert [(item.kind, item.count) for item in verdict.signatures] == [("fallback", 4), ("failure", 2), ("failure", 1)]
    assert (verdict.policy.name, verdict.policy.hash) == ("playbook", policy.hash)
    assert (verdict.window_start, verdict.generated_at) == (NOON - timedelta(hours=1), NOON)
    assert (verdict.vp_id, verdict.missions_considered, verdict.sample) == (LANE, 2, False)
    assert verdict.mission_counts == {"completed": 1, "running": 1}


def test_every_field_of_the_schema_is_described() -> None:
    schema = Verdict.model_json_schema(mode="serialization")
    for name, model in {"Verdict": schema, **schema["$defs"]}.items():
        if "properties" in model:
            for field, content in model["properties"].items():
                assert content.get("description") or name == "LatencySeconds" or field == "kind", (name, field)


# --- the sample's scenarios

EXPECTED: Mapping[str, tuple[str, str, set[str]]] = {
    "healthy": ("HEALTHY", "HEALTHY", set()),
    "elevated": ("WATCH", "WATCH", {"fallback_rate"}),
    "critical": ("FORCE_FALLBACK", "FORCE_FALLBACK", {"fallback_rate"}),
    "failing": ("WATCH", "WATCH", {"failures"}),
    "stalled": ("WATCH", "WATCH", {"completions"}),
    "no-traffic": ("NO_TRAFFIC", "NO_TRAFFIC", {"traffic"}),
    "degraded-session": ("WATCH", "WATCH", {"session"}),
    "load-pressure": ("WATCH", "FORCE_FALLBACK", {"latency", "slow_share"}),
    "adapter-unstable": ("WATCH", "FORCE_FALLBACK", {"fallback_rate", "latency"}),
    "worker-lane": ("HEALTHY", "HEALTHY", set()),
    "queue-stuck": ("WATCH", "WATCH", {"completions"}),
    "recent-change": ("WATCH", "WATCH", {"recent_change"}),
    "stale": ("WATCH", "WATCH", {"freshness"}),
    "unaccounted": ("WATCH", "WATCH", {"data_quality"}),
    "failing-in-twos": ("WATCH", "WATCH", {"failures"}),
    "lease-flapping": ("WATCH", "WATCH", {"session"}),
}
#: What comes with the cause.
MAY_TRIP_TOO = {
    "critical": {"rolling_fallback", "recent_change"},
    "stalled": {"slow_share"},
    "adapter-unstable": {"rolling_fallback", "recent_change", "slow_share"},
    "recent-change": {"fallback_rate"},  # 8 of the newest 100; of the last 240 it is 3.75 %
}
#: Without a mission that could have recorded a fallback nothing can be said of it.
NOT_ASSESSED = {"worker-lane": ["recent_change"]}


@pytest.fixture(scope="module")
def sample() -> Iterator[Callable[[str], Tables]]:
    """Loads the newest 100 missions of each scenario once."""
    loaded: dict[str, Tables] = {}
    with ExitStack() as stack:

        def load(scenario: str) -> Tables:
            if scenario not in loaded:
                source = stack.enter_context(vp.open_source(f"sample:{scenario}"))
                loaded[scenario] = source.load(vp.RolloutWindow(LANE))
            return loaded[scenario]

        yield load


def test_every_scenario_has_an_expectation() -> None:
    assert set(EXPECTED) == set(SCENARIOS)


@pytest.mark.parametrize("profile", some_of(PROFILES, 2))
@pytest.mark.parametrize("scenario", EXPECTED)
def test_each_scenario_reaches_its_verdict_with_a_reason_that_names_the_cause(
    sample: Callable[[str], Tables], scenario: str, profile: Any
) -> None:
    rollout, sustained, causes = EXPECTED[scenario]
    policy = Policy.load("playbook", profile)
    verdict = classify(vp.summarize(sample(scenario)), policy)
    assert verdict.lane_status == (rollout if profile == "rollout" else sustained)
    assert verdict.sample
    if causes:
        gates = [reason.gate for reason in verdict.reasons]
        assert causes <= set(gates) <= causes | MAY_TRIP_TOO.get(scenario, set())
        assert gates[0] in causes | ({"fallback_rate"} if scenario == "recent-change" else set())
    else:
        assert len(verdict.reasons) + len(verdict.not_assessed) == len(GATES)
    assert [reason.gate for reason in verdict.not_assessed] == NOT_ASSESSED.get(scenario, [])


def test_a_recent_change_is_seen_where_the_whole_windows_rate_hides_it() -> None:
    with vp.open_source("sample:recent-change") as source:
        metrics = vp.summarize(source.load(vp.RolloutWindow(LANE, last_missions=240)))
    assert classify(metrics, Policy.load("capture")).lane_status == "HEALTHY"
    verdict = classify(metrics, Policy.load("playbook"))
    assert [reason.gate for reason in verdict.reasons] == ["recent_change"]


def test_the_worker_lanes_verdict_says_that_it_records_no_fallbacks(sample: Callable[[str], Tables]) -> None:
    verdict = classify(vp.summarize(sample("worker-lane")), Policy.load("playbook"))
    assert (verdict.evidence.signal, verdict.evidence.strength) == ("not recorded", "none")
    assert verdict.evidence.distance.startswith("This lane's runtime does not report fallbacks")
    assert verdict.evidence.failure.strength == "supports"


@pytest.mark.parametrize("scenario", some_of([name for name in EXPECTED if name != "no-traffic"], 3))
def test_a_complete_snapshot_reaches_the_same_verdict(sample: Callable[[str], Tables], scenario: str) -> None:
    tables, policy = sample(scenario), Policy.load("playbook")
    own = classify(vp.summarize(tables), policy)
    from_snapshot = classify(vp.snapshot(tables, event_limit=1000), policy)
    assert from_snapshot.lane_status == own.lane_status
    assert [reason.gate for reason in from_snapshot.reasons] == [reason.gate for reason in own.reasons]
    assert from_snapshot.evidence.signal == own.evidence.signal
    assert from_snapshot.evidence.strength == own.evidence.strength
