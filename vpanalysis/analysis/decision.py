"""The verdict on a window: the rule table of the field, gates on top of it, and how far the data carry it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vpanalysis.analysis.evidence import weigh
from vpanalysis.analysis.gates import BY_NAME, GATES
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.next_step import next_step
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.signatures import group_signatures
from vpanalysis.analysis.verdict import (
    CAUTION,
    WATCH,
    Action,
    Evidence,
    LaneStatus,
    PolicyRef,
    Profile,
    Reason,
    SignatureCount,
    Verdict,
)
from vpanalysis.data.snapshot import Snapshot
from vpanalysis.data.snapshot_tables import snapshot_of, snapshot_tables

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


def classify(metrics: Metrics | Snapshot | Mapping[str, Any], policy: Policy, looks: int | None = None) -> Verdict:
    """Returns the verdict on a window.

    Examples:
        >>> policy = Policy.load("playbook")
        >>> fallback = {"missions_considered": 4, "missions_with_fallback": 1, "rate": 0.25}
        >>> classify({"fallback": fallback, "latency_seconds": {"p95_seconds": 12.0}}, policy).action
        'force_fallback'

    Args:
        metrics: What :func:`~vpanalysis.analysis.metrics.summarize` returned, a snapshot, or any mapping that
            follows the endpoint's contract: only ``fallback`` and ``latency_seconds`` are needed, and what is
            absent, NaN or infinite is unknown.
        policy: The policy that judges.
        looks: Earlier looks at this window, as the evidence log shows them; ``None``: nobody counted.

    Raises:
        InputError: A mapping without ``fallback`` or ``latency_seconds``.
    """
    if isinstance(metrics, Snapshot):
        metrics = metrics.model_dump(mode="json")
    if isinstance(metrics, Mapping):
        metrics = summarize(snapshot_tables(snapshot_of(metrics, "The mapping")))
    metrics = metrics.overdue_after(policy.overdue_seconds)
    evidence = weigh(metrics, policy, looks)
    found = judge(metrics, policy, evidence)
    return Verdict(
        decision=found.decision,
        lane_status=found.status,
        action=found.action,
        provisional=metrics.provisional,
        reasons=list(found.reasons),
        passed=list(found.passed),
        not_assessed=list(found.not_assessed),
        evidence=evidence,
        next_step=next_step(policy.profile, found.status, found.reasons[0], evidence, provisional=metrics.provisional),
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
        outcomes=dict(metrics.account.counts or {}),
        event_counts=dict(metrics.event_counts or {}),
        signatures=[
            SignatureCount(kind=group.kind, signature=group.signature, count=group.count)
            for group in group_signatures(metrics.events)[:_SIGNATURES]
        ],
    )


def judge(metrics: Metrics, policy: Policy, evidence: Evidence | None = None) -> Judgement:
    """Returns what a policy says about a window.

    A policy without gates is the rule table to the letter: one reason, the row that applies. Gates can only make that
    more cautious, and are judged below ``min_missions`` too, unless there is no mission at all.

    Args:
        metrics: The window.
        policy: The policy.
        evidence: What `weigh` says of it, for a policy that requires evidence; ``None``: it is weighed when needed.
    """
    reasons = list(_reasons(metrics, policy, evidence))
    status = _most_cautious(reasons)
    passed = tuple(reason for reason in reasons if reason.caution == "HEALTHY")
    tripped = [reason for reason in reasons if reason.caution not in ("HEALTHY", None)]
    tripped.sort(key=lambda reason: (-CAUTION.index(reason.caution or WATCH), reason.value is None))
    return Judgement(
        status=status,
        decision=_DECISIONS[policy.profile][status],
        action=_ACTIONS[policy.profile][status],
        reasons=tuple(tripped) or passed,
        passed=passed,
        not_assessed=tuple(reason for reason in reasons if reason.caution is None),
    )


def status_of(metrics: Metrics, policy: Policy) -> LaneStatus:
    """Returns the status that `judge` finds; nothing more is looked at once it is the most cautious one."""
    reasons = []
    for reason in _reasons(metrics, policy):
        if reason.caution == CAUTION[-1]:
            return reason.caution
        reasons.append(reason)
    return _most_cautious(reasons)


def _most_cautious(reasons: Iterable[Reason]) -> LaneStatus:
    return max((reason.caution for reason in reasons if reason.caution), key=CAUTION.index)


def _reasons(metrics: Metrics, policy: Policy, evidence: Evidence | None = None) -> Iterator[Reason]:
    metrics = metrics.overdue_after(policy.overdue_seconds)
    fine = True
    for reason in _gated(metrics, policy) if policy.gated else [rule_table(metrics, policy)]:
        fine = fine and reason.caution in ("HEALTHY", None)
        yield reason
    if fine and policy.require_evidence:
        yield from _unsupported(evidence or weigh(metrics, policy))


def rule_table(metrics: Metrics, policy: Policy) -> Reason:
    """Returns the first row of the capture helper's rule table that applies (``contract.md``, in its order)."""
    rows = [gate.reason(gate.table(metrics, policy)) for gate in GATES if gate.table is not None]
    return next((row for row in rows if row.caution != "HEALTHY"), rows[1])


def _gated(metrics: Metrics, policy: Policy) -> Iterator[Reason]:
    """Every gate's finding; the table alone where there is no mission at all."""
    table = rule_table(metrics, policy)
    none = metrics.fallback.missions_considered == 0 and metrics.missions.empty and not metrics.account.total
    few = table.gate == "traffic"  # then no later row of the table applies
    if none or few:
        yield table
    for gate in () if none else GATES:
        settings = policy.gate(gate.name)
        if settings is None and (few or gate.table is None):
            continue
        finding = gate.judge(metrics, settings, policy)
        if few and gate.table is not None and (gate.name == table.gate or finding.value is None):
            continue
        yield gate.reason(finding)


def _unsupported(evidence: Evidence) -> list[Reason]:
    """Why a policy that requires evidence does not call the window healthy; empty when the evidence is there.

    Where no fallback could have been recorded, the claim on failures is the one to read.
    """
    claims = [("failures", evidence.failure)]
    if evidence.signal != "not recorded":
        claims.insert(0, ("fallback_rate", evidence))
    return [
        Reason(
            gate=BY_NAME[gate].name,
            unit="status",
            value=claim.strength,
            threshold="supports",
            sentence=f"The policy requires evidence, which is not there yet. {claim.distance}",
            brief=f"evidence {claim.strength}",
            caution=WATCH,
        )
        for gate, claim in claims
        if claim.strength != "supports"
    ]
