"""What the playbook asks for after a verdict, in a sentence or two."""

from vpanalysis.analysis.policy import Profile
from vpanalysis.analysis.verdict import Evidence, Gate, LaneStatus, Reason

_SWITCH = "UA_CODER_VP_FORCE_FALLBACK=1"

_SETTLED: dict[tuple[Profile, LaneStatus], str] = {
    ("rollout", "HEALTHY"): "Continue: record the row in the evidence log and start the limited cohort pilot.",
    ("rollout", "NO_TRAFFIC"): "Hold the window open until missions arrive, then capture again; nothing is promoted "
    "on no traffic.",
    ("sustained", "HEALTHY"): "Keep default-on and continue the scheduled checks, 2-4 snapshots a day (playbook §7).",
    ("sustained", "NO_TRAFFIC"): "Keep default-on and continue the scheduled checks; if missions were expected, check "
    "that they reach the lane.",
    ("rollout", "FORCE_FALLBACK"): f"Investigate immediately, and consider {_SWITCH} until the lane is stable "
    "(playbook §3.1); then follow the recovery checklist (§4).",
    ("sustained", "FORCE_FALLBACK"): f"Set {_SWITCH} for now, recover, then re-evaluate (playbook §7.3); follow the "
    "recovery checklist (§4).",
}
_WATCH: dict[Profile, str] = {
    "rollout": "Hold this stage",
    "sustained": "Increase snapshot frequency to every 30-60 minutes (playbook §7)",
}
#: What to look at, by the gate that asks for it.
_LOOK: dict[Gate, str] = {
    "traffic": "let more missions through",
    "fallback_rate": "inspect the recent fallback payload errors (§3.1)",
    "rolling_fallback": "revert the last widening, as the log's guardrail asks, and inspect the newest fallback "
    "payload errors (§3.1)",
    "failures": "inspect the failure payloads: sustained vp.mission.failed is an escalation (§3.3)",
    "completions": "find out why missions do not complete: their workers, claims and last events (§3.3)",
    "session": "run the lease/recovery drill (§3.4)",
    "latency": "compare queue wait and fallback rate with the baseline: load, or a degrading runtime (§3.2)",
    "slow_share": "compare queue wait and fallback rate with the baseline: load, or a degrading runtime (§3.2)",
    "data_quality": "mend the data or read another source: on these no verdict can rest",
}


def next_step(profile: Profile, status: LaneStatus, worst: Reason, evidence: Evidence) -> str:
    """Returns what to do now (playbook §3.1, §3.4, §7.3).

    Args:
        profile: ``rollout`` or ``sustained``.
        status: The verdict's lane status.
        worst: Its first reason.
        evidence: What tells, for a healthy lane, whether the data are enough.
    """
    if status == "WATCH":
        return f"{_WATCH[profile]}, and {_look(worst, evidence)}."
    step = _SETTLED[profile, status]
    if status == "FORCE_FALLBACK":
        return f"{step} First {_look(worst, evidence)}."
    if status == "HEALTHY" and evidence.strength == "insufficient" and evidence.missions_needed:
        return f"{step} The cohort stays small until the evidence is there: {evidence.distance}"
    return step


def _look(worst: Reason, evidence: Evidence) -> str:
    if worst.gate == "session" and worst.value is None:
        return "check the session's bootstrap and whether this is the runtime's database (§3.4)"
    if worst.value is None:
        return "get the missing number: read the database itself, or wait for missions to finish"
    if worst.value == evidence.strength:
        return f"let more missions through: {evidence.distance.rstrip('.')}"
    return _LOOK[worst.gate]
