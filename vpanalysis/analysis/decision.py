"""The verdict on a window: the rule table of the field, gates on top of it, and how far the data carry it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy, Profile
from vpanalysis.analysis.snapshot import metrics_from_snapshot
from vpanalysis.data import endpoint

LaneStatus = Literal["HEALTHY", "NO_TRAFFIC", "WATCH", "FORCE_FALLBACK"]
#: From least to most cautious.
WATCH: LaneStatus = "WATCH"
FORCE: LaneStatus = "FORCE_FALLBACK"
CAUTION: tuple[LaneStatus, ...] = ("HEALTHY", "NO_TRAFFIC", "WATCH", "FORCE_FALLBACK")
Action = Literal["continue", "hold", "force_fallback"]
Strength = Literal["none", "insufficient", "supports", "refutes"]

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


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reason(_Part):
    """What one gate found: ``sentence`` for the report, ``brief`` for the capture helper's ``assessment``.

    ``caution`` is the lane status that this gate alone asks for; ``None`` when it could not be assessed.
    """

    gate: str
    value: float | int | str | None
    threshold: float | int | str | None
    sentence: str
    brief: str
    caution: LaneStatus | None = None


class Evidence(_Part):
    """How far the data carry the claim that the true fallback rate is below ``fallback_watch``."""

    strength: Strength = "none"
    claim_below: float | None = Field(default=None, description="The policy's fallback_watch.")
    interval_low: float | None = Field(default=None, description="Wilson 95 % interval of the rate.")
    interval_high: float | None = None
    lower_bound: float | None = Field(default=None, description="One-sided 95 % Clopper-Pearson bounds.")
    upper_bound: float | None = None
    missions_needed: int | None = Field(default=None, description="More clean missions until strength is supports.")
    distance: str = ""
    fragility: str = Field(default="", description="The smallest change that flips the verdict.")
    p95_low_seconds: float | None = Field(default=None, description="95 % interval of p95, by order statistics.")
    p95_high_seconds: float | None = None
    looks: int | None = Field(default=None, description="Earlier looks at this window in the evidence log.")


class PolicyRef(_Part):
    """Which policy judged: its name, version, profile and hash."""

    name: str
    version: str
    profile: Profile
    hash: str


class SignatureCount(_Part):
    """One normalised fallback or failure error and how often it occurred."""

    kind: Literal["fallback", "failure"]
    signature: str
    count: int


class Verdict(_Part):
    """The decision on a window, why, and how sure it is; what a control-center page embeds."""

    decision: str = Field(description="The playbook's code, such as HOLD_SHADOW.")
    lane_status: LaneStatus
    action: Action
    provisional: bool = Field(description="More missions may still join the window.")
    reasons: list[Reason] = Field(description="Worst first; a healthy verdict lists what was proved.")
    not_assessed: list[Reason] = Field(default_factory=list, description="Gates whose data is missing.")
    evidence: Evidence
    next_step: str
    policy: PolicyRef
    vp_id: str
    generated_at: datetime | None = Field(description="When the window was judged (as_of), UTC.")
    window_start: datetime | None = None
    window_end: datetime | None = None
    sample: bool = Field(description="The built-in sample lane: not a basis for any rollout.")
    missions_considered: int | None
    missions_with_fallback: int | None
    fallback_rate: float | None
    latency_seconds: endpoint.LatencySeconds
    mission_counts: dict[str, int]
    event_counts: dict[str, int]
    signatures: list[SignatureCount] = Field(default_factory=list)


def classify(metrics: Metrics | endpoint.Snapshot | Mapping[str, Any], policy: Policy) -> Verdict:
    """Returns the verdict on a window.

    Args:
        metrics: What :func:`~vpanalysis.analysis.metrics.summarize` returned, a snapshot, or any mapping that
            follows the endpoint's contract.
        policy: The policy that judges.
    """
    if isinstance(metrics, endpoint.Snapshot):
        metrics = metrics.model_dump(mode="json")
    if isinstance(metrics, Mapping):
        metrics = metrics_from_snapshot(metrics)
    reason = rule_table(metrics, policy)
    status = reason.caution or "WATCH"
    return Verdict(
        decision=_DECISIONS[policy.profile][status],
        lane_status=status,
        action=_ACTIONS[policy.profile][status],
        provisional=metrics.provisional,
        reasons=[reason],
        evidence=Evidence(),
        next_step="",
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
    )


def rule_table(metrics: Metrics, policy: Policy) -> Reason:
    """Returns the first row of the capture helper's rule table that applies (``contract.md``, in its order)."""
    n, rate, p95 = metrics.fallback.missions_considered, metrics.fallback.rate, metrics.latency_seconds.p95_seconds
    least = max(1, policy.min_missions)
    sustained = policy.profile == "sustained"
    if n is None or n < least:
        known = "unknown" if n is None else str(n)
        return _reason("traffic", n, least, "NO_TRAFFIC", f"insufficient missions ({known} < {least})")
    if rate is None:
        return _reason("fallback_rate", None, policy.fallback_watch, "WATCH", "fallback rate unknown")
    for limit, status, word in (
        (policy.fallback_critical, FORCE, "high"),
        (policy.fallback_watch, WATCH, "elevated"),
    ):
        if rate >= limit:
            return _reason("fallback_rate", rate, limit, status, f"fallback rate {word} ({rate:.3f} >= {limit:.3f})")
    if p95 is None:
        return _reason("latency", None, policy.p95_watch_seconds, "WATCH", "p95 latency unknown")
    for limit, status, word in (
        (policy.p95_critical_seconds, FORCE, "high"),
        (policy.p95_watch_seconds, WATCH, "elevated"),
    ):
        if sustained and p95 >= limit:
            return _reason("latency", p95, limit, status, f"p95 latency {word} ({p95:.3f}s >= {limit:.3f}s)")
    return _reason(
        "fallback_rate",
        rate,
        policy.fallback_watch,
        "HEALTHY",
        f"fallback rate within target ({rate:.3f} < {policy.fallback_watch:.3f})",
    )


def _reason(gate: str, value: float | None, threshold: float, status: LaneStatus, brief: str) -> Reason:
    return Reason(gate=gate, value=value, threshold=threshold, caution=status, brief=brief, sentence=brief)
