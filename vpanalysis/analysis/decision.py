"""The verdict on a window: the rule table of the field, gates on top of it, and how far the data carry it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpanalysis.analysis import evidence, gates
from vpanalysis.analysis.fragility import fragility
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.next_step import next_step
from vpanalysis.analysis.policy import Policy, Profile
from vpanalysis.analysis.signatures import group_signatures
from vpanalysis.analysis.snapshot import metrics_from_snapshot
from vpanalysis.analysis.verdict import (
    CAUTION,
    FORCE,
    WATCH,
    Action,
    LaneStatus,
    PolicyRef,
    Reason,
    SignatureCount,
    Verdict,
)
from vpanalysis.data import endpoint

_DECISIONS: dict[Profile, dict[LaneStatus, str]] = {
    "rollout": {
        "HEALTHY": "READY_FOR_LIMITED_COHORT_PILOT",
        "NO_TRAFFIC": "HOLD_SHADOW",
        "WATCH": "HOLD_SHADOW",
        "FORCE_FALLBACK": "HOLD_SHADOW",
    },
    "sustained": {
        "HEALTHY": "SUSTAINED_DEFAULT_ON_HEALTHY",
        "NO_TRAFFIC": "SUSTAINED_MONITOR_NO_TRAFFIC",
        "WATCH": "SUSTAINED_WATCH",
        "FORCE_FALLBACK": "SUSTAINED_FORCE_FALLBACK",
    },
}
_ACTIONS: dict[Profile, dict[LaneStatus, Action]] = {
    "rollout": {"HEALTHY": "continue", "NO_TRAFFIC": "hold", "WATCH": "hold", "FORCE_FALLBACK": "force_fallback"},
    "sustained": {
        "HEALTHY": "continue",
        "NO_TRAFFIC": "continue",
        "WATCH": "hold",
        "FORCE_FALLBACK": "force_fallback",
    },
}
_SIGNATURES = 3


@dataclass(frozen=True)
class Judgement:
    """What the rules and gates of a policy say about a window.

    Attributes:
        status: The lane status.
        decision: The playbook's code for it.
        action: What to do with the lane's traffic.
        reasons: What made it, worst first; for a healthy window all that was proved.
        passed: Rules and gates that found nothing.
        not_assessed: Gates without their data.
    """

    status: LaneStatus
    decision: str
    action: Action
    reasons: tuple[Reason, ...]
    passed: tuple[Reason, ...]
    not_assessed: tuple[Reason, ...]


def classify(
    metrics: Metrics | endpoint.Snapshot | Mapping[str, Any], policy: Policy, looks: int | None = None
) -> Verdict:
    """Returns the verdict on a window.

    Args:
        metrics: What :func:`~vpanalysis.analysis.metrics.summarize` returned, a snapshot, or any mapping that
            follows the endpoint's contract: only ``fallback`` and ``latency_seconds`` are needed, and what is
            absent, NaN or infinite is unknown.
        policy: The policy that judges.
        looks: Earlier looks at this window, as the evidence log shows them; ``None``: nobody counted.
    """
    if isinstance(metrics, endpoint.Snapshot):
        metrics = metrics.model_dump(mode="json")
    if isinstance(metrics, Mapping):
        metrics = metrics_from_snapshot(metrics)
    found = judge(metrics, policy)
    weighed = evidence.weigh(metrics, policy, looks)
    line = fragility(metrics, lambda changed: judge(changed, policy).status, policy.p95_critical_seconds)
    return Verdict(
        decision=found.decision,
        lane_status=found.status,
        action=found.action,
        provisional=metrics.provisional,
        reasons=list(found.reasons),
        passed=list(found.passed),
        not_assessed=list(found.not_assessed),
        evidence=weighed.model_copy(update={"fragility": line}),
        next_step=next_step(policy.profile, found.status, found.reasons[0], weighed),
        policy=PolicyRef(name=policy.name, version=policy.version, profile=policy.profile, hash=policy.hash),
        vp_id=metrics.vp_id,
        generated_at=metrics.generated_at,
        window_start=metrics.start,
        window_end=metrics.end,
        sample=metrics.kind == "sample",
        missions_considered=metrics.fallback.missions_considered,
        missions_with_fallback=metrics.fallback.missions_with_fallback,
        fallback_rate=metrics.fallback.rate,
        latency_seconds=metrics.latency_seconds,
        mission_counts=dict(metrics.mission_counts or {}),
        event_counts=dict(metrics.event_counts or {}),
        signatures=[
            SignatureCount(kind=group.kind, signature=group.signature, count=group.count)
            for group in group_signatures(metrics.events)[:_SIGNATURES]
        ],
    )


def judge(metrics: Metrics, policy: Policy) -> Judgement:
    """Returns what a policy says about a window, without the evidence.

    A policy without gates is the rule table to the letter: one reason, the row that applies. Gates can only make that
    more cautious, and are judged below ``min_missions`` too, unless there is no mission at all.
    """
    reasons = _gated(metrics, policy) if policy.gates.any_on else [rule_table(metrics, policy)]
    if policy.require_evidence and all(reason.caution in ("HEALTHY", None) for reason in reasons):
        reasons += _unsupported(metrics, policy)
    status = max((reason.caution for reason in reasons if reason.caution), key=CAUTION.index)
    passed = tuple(reason for reason in reasons if reason.caution == "HEALTHY")
    tripped = [reason for reason in reasons if reason.caution not in ("HEALTHY", None)]
    tripped.sort(key=lambda reason: -CAUTION.index(reason.caution or WATCH))
    return Judgement(
        status=status,
        decision=_DECISIONS[policy.profile][status],
        action=_ACTIONS[policy.profile][status],
        reasons=tuple(tripped) or passed,
        passed=passed,
        not_assessed=tuple(reason for reason in reasons if reason.caution is None),
    )


def rule_table(metrics: Metrics, policy: Policy) -> Reason:
    """Returns the first row of the capture helper's rule table that applies (``contract.md``, in its order)."""
    rows = (gates.traffic(metrics, policy), gates.fallback_rate(metrics, policy), gates.p95(metrics, policy))
    return next((row for row in rows if row.caution != "HEALTHY"), rows[1])


def _gated(metrics: Metrics, policy: Policy) -> list[Reason]:
    """The table's rows with the gates on top; the table alone where there is no mission at all."""
    table, on = rule_table(metrics, policy), policy.gates
    if metrics.fallback.missions_considered == 0 and (metrics.missions is None or metrics.missions.empty):
        return [table]
    reasons = [table]
    critical = policy.p95_critical_seconds
    if table.gate != "traffic":
        reasons = [gates.traffic(metrics, policy), gates.fallback_rate(metrics, policy)]
        row = gates.p95(metrics, policy)
        if row.caution == FORCE and table.gate != "latency":
            row = row.model_copy(update={"caution": WATCH})  # in the table, an earlier row has decided
        if row.caution != "HEALTHY" or policy.profile == "sustained" or on.latency is None:
            reasons.append(row)
    if on.latency is not None and not any(reason.gate == "latency" for reason in reasons):
        reasons.append(gates.latency(metrics, on.latency, critical))
    if on.failures is not None:
        reasons.append(gates.failures(metrics, on.failures))
    if on.completions is not None:
        reasons.append(gates.completions(metrics, on.completions))
    if on.session is not None:
        reasons.append(gates.session(metrics, on.session))
    if on.rolling_fallback is not None:
        reasons.append(gates.rolling_fallback(metrics, on.rolling_fallback))
    if on.slow_share is not None:
        reasons.append(gates.slow_share(metrics, on.slow_share, critical))
    if on.data_quality:
        reasons.append(gates.data_quality(metrics))
    return reasons


def _unsupported(metrics: Metrics, policy: Policy) -> list[Reason]:
    """Why a policy that requires evidence does not call the window healthy; empty when the evidence is there."""
    found = evidence.rate_evidence(metrics, policy.fallback_watch)
    if found["strength"] == "supports":
        return []
    return [
        Reason(
            gate="fallback_rate",
            value=found["strength"],
            threshold="supports",
            sentence=f"The policy requires evidence, and it is not there yet. {found['distance']}",
            brief=f"evidence {found['strength']}",
            caution=WATCH,
        )
    ]
