"""What a judgement says: the verdict, its reasons and its evidence, as the report and a control-center page show it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from vpanalysis.data.snapshot import FallbackShare, LatencySeconds, Strict

Profile = Literal["rollout", "sustained"]
LaneStatus = Literal["HEALTHY", "NO_TRAFFIC", "WATCH", "FORCE_FALLBACK"]
WATCH: LaneStatus = "WATCH"
FORCE: LaneStatus = "FORCE_FALLBACK"
#: From least to most cautious.
CAUTION: tuple[LaneStatus, ...] = ("HEALTHY", "NO_TRAFFIC", WATCH, FORCE)
Action = Literal["continue", "hold", "force_fallback"]
Strength = Literal["none", "insufficient", "supports", "refutes"]
Basis = Literal["fixed", "anytime"]
Signal = Literal["recorded", "not recorded", "unknown"]
Unit = Literal["share", "seconds", "count", "status"]


class Reason(Strict):
    """What one gate found."""

    gate: str = Field(description="Which gate: a rule of the table (traffic, fallback_rate, latency) or one on top.")
    unit: Unit = Field(description="What value and threshold are: a share (0 to 1), seconds, a count, or a status.")
    value: float | int | str | None = Field(description="What was measured; null when unknown.")
    threshold: float | int | str | None = Field(description="What it was held against, in the same unit.")
    sentence: str = Field(description="The finding for a reviewer.")
    brief: str = Field(description="The finding as the capture helper writes it: short, with value and threshold.")
    newest: int | None = Field(
        default=None, description="How many of the newest missions the value is of; null: it is of the whole window."
    )
    caution: LaneStatus | None = Field(
        default=None,
        description="The lane status that this gate alone asks for; null when it could not be assessed.",
    )


class Claim(Strict):
    """How far settled missions carry the claim that a true rate is below ``claim_below``."""

    strength: Strength = Field(
        default="none",
        description="supports: the claim is shown at 95 %; refutes: its opposite is; none: no mission to show it; "
        "insufficient: all else.",
    )
    claim_below: float | None = Field(default=None, description="The share that the true rate is claimed to be below.")
    missions: int | None = Field(
        default=None, description="Missions that the claim rests on: settled ones that could show it; null: unknown."
    )
    against: int | None = Field(default=None, description="Those of them that count against it; null: unknown.")
    interval_low: float | None = Field(default=None, description="Wilson 95 % interval of the rate; null: unknown.")
    interval_high: float | None = Field(default=None, description="Its upper end, likewise.")
    lower_bound: float | None = Field(
        default=None, description="One-sided 95 % lower bound of the rate, on the claim's basis; null: unknown."
    )
    upper_bound: float | None = Field(default=None, description="The upper bound, likewise.")
    missions_needed: int | None = Field(
        default=None, description="More clean missions until the strength is supports; 0 when it is; null: unknown."
    )
    distance: str = Field(default="", description="The same in a sentence.")


class Evidence(Claim):
    """How far the data carry the verdict: the claim on fallbacks, and with it those on failures and p95."""

    basis: Basis = Field(
        default="fixed",
        description="fixed: a closed window, looked at once (Clopper-Pearson bounds); anytime: an open one, looked at "
        "again and again (an e-process, whose error stays below 5 % however often one looks, unless missions have left "
        "the window meanwhile).",
    )
    signal: Signal = Field(
        default="unknown",
        description="not recorded: every settled mission was claimed by a worker, which cannot record a fallback.",
    )
    failure: Claim = Field(default_factory=Claim, description="The claim that the true failure rate is low.")
    p95: Claim = Field(
        default_factory=Claim,
        description="The claim that fewer than 5 % of missions are slower than p95_claim_seconds: that the true p95 is "
        "below it.",
    )
    p95_claim_seconds: float | None = Field(default=None, description="The policy's p95_critical_seconds.")
    fragility: str = Field(
        default="", description="What the next missions would change, in a sentence; computed for reports only."
    )
    p95_low_seconds: float | None = Field(
        default=None, description="95 % interval of p95, by order statistics; null below 59 finished missions."
    )
    p95_high_seconds: float | None = Field(
        default=None, description="Its upper end; from 59 to 71 finished missions the one-sided 95 % bound."
    )
    p95_sentence: str = Field(default="", description='p95 with its interval, or "no upper bound yet (n of 59)".')
    looks: int | None = Field(
        default=None, description="Earlier looks at this window in the evidence log; null when no log was read."
    )
    caveat: str = Field(default="", description="Why the verdict may still change; empty for a closed window.")


class PolicyRef(Strict):
    """Which policy judged."""

    name: str = Field(description="The policy's name.")
    version: str = Field(description="The policy's own version.")
    profile: Profile = Field(description="rollout or sustained.")
    hash: str = Field(description="12 hex digits that stand for its thresholds and gates, overrides included.")


class SignatureCount(Strict):
    """One normalised fallback or failure error and how often it occurred."""

    kind: Literal["fallback", "failure"]
    signature: str = Field(description="The error without ids, numbers and paths; secrets are masked.")
    count: int = Field(description="Events with it.")


class Verdict(Strict):
    """The decision on a window, why, and how sure it is; what a control-center page embeds (playbook §8.4)."""

    schema_version: Literal[1] = Field(default=1, description="Raised when a field changes its meaning or goes.")
    decision: str = Field(description="The playbook's code, such as HOLD_SHADOW or SUSTAINED_WATCH.")
    lane_status: LaneStatus = Field(description="The same across profiles and lanes; caution grows in this order.")
    action: Action = Field(description="What to do with the lane's traffic.")
    provisional: bool = Field(description="More missions may still join the window, or some are pending.")
    reasons: list[Reason] = Field(
        description="What made the verdict, worst first; a healthy verdict lists what was proved."
    )
    passed: list[Reason] = Field(
        default_factory=list, description="Rules and gates that found nothing, in the order of judgement."
    )
    not_assessed: list[Reason] = Field(
        default_factory=list, description="Gates whose data is missing: they neither tripped nor proved anything."
    )
    evidence: Evidence = Field(description="How far the data carry the verdict.")
    next_step: str = Field(description="What the playbook asks for now, in a sentence or two.")
    policy: PolicyRef = Field(description="What it was judged by.")
    vp_id: str = Field(description="The lane; empty when a snapshot does not say.")
    generated_at: datetime | None = Field(
        description="When the window was judged (as_of), UTC; null when a snapshot does not say."
    )
    window_start: datetime | None = Field(default=None, description="The window's first moment, UTC; null: unknown.")
    window_end: datetime | None = Field(
        default=None, description="The window's end, or generated_at while it is open, UTC; null: unknown."
    )
    sample: bool = Field(description="The built-in sample lane: not a basis for any rollout.")
    missions_considered: int | None = Field(description="Distinct missions of the window; null: unknown.")
    missions_with_fallback: int | None = Field(description="Those with a fallback event; null: unknown.")
    fallback_rate: float | None = Field(description="Their share, 0.0 without missions; null: unknown.")
    latency_seconds: LatencySeconds = Field(description="Run times (started to completed).")
    mission_counts: dict[str, int] = Field(description="Missions by status; empty: unknown or none.")
    outcomes: dict[str, int] = Field(
        default_factory=dict,
        description="Missions by outcome: completed, failed, cancelled, pending, overdue, unaccounted; empty: unknown.",
    )
    event_counts: dict[str, int] = Field(description="Events of the missions by type; empty: unknown or none.")
    signatures: list[SignatureCount] = Field(
        default_factory=list, description="The three most frequent fallback and failure errors."
    )

    @property
    def fallback(self) -> FallbackShare:
        """How many of the missions considered fell back, as the endpoint says it."""
        return FallbackShare(self.missions_considered, self.missions_with_fallback, self.fallback_rate)
