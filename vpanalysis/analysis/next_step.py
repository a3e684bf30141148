"""What the playbook asks for after a verdict, in a sentence or two."""

from vpanalysis import formatting
from vpanalysis.analysis.gates import BY_NAME
from vpanalysis.analysis.verdict import Evidence, LaneStatus, Profile, Reason

_SWITCH = "UA_CODER_VP_FORCE_FALLBACK=1"

_SETTLED: dict[tuple[Profile, LaneStatus], str] = {
    ("rollout", "HEALTHY"): "Continue: record the row in the evidence log and start the limited cohort pilot.",
    ("rollout", "NO_TRAFFIC"): "Hold the window open until missions arrive, then capture again; without "
    "traffic, nothing is promoted.",
    ("sustained", "HEALTHY"): "Keep default-on and continue the scheduled checks, 2-4 snapshots a day (playbook §7).",
    ("sustained", "NO_TRAFFIC"): "Keep default-on and continue the scheduled checks; if missions were expected, check "
    "that they reach the lane.",
    ("rollout", "FORCE_FALLBACK"): f"Investigate immediately: {{look}}. Force the fallback with {_SWITCH} until "
    "the lane is stable (playbook §3.1), then follow the recovery checklist (§4).",
    ("sustained", "FORCE_FALLBACK"): f"Force the fallback with {_SWITCH} for now, and {{look}}. Recover by the "
    "checklist (§4), then re-evaluate (playbook §7.3).",
}
_OVER = "Judge a later window: this one is over, with too little traffic to promote anything."
_WATCH: dict[Profile, str] = {
    "rollout": "Hold this stage",
    "sustained": "Increase snapshot frequency to every 30-60 minutes (playbook §7)",
}


def next_step(profile: Profile, status: LaneStatus, worst: Reason, evidence: Evidence, *, provisional: bool) -> str:
    """Returns what to do now (playbook §3.1, §3.4, §7.3).

    Args:
        profile: ``rollout`` or ``sustained``.
        status: The verdict's lane status.
        worst: Its first reason.
        evidence: What tells, for a healthy lane, whether the data are enough.
        provisional: Whether more missions may still join the window, or end in it.
    """
    if status == "WATCH":
        return f"{_WATCH[profile]}, and {_look(worst, evidence)}."
    if (profile, status) == ("rollout", "NO_TRAFFIC") and not provisional:
        return _OVER
    step = _SETTLED[profile, status]
    if status == "FORCE_FALLBACK":
        return step.format(look=_look(worst, evidence))
    if status == "HEALTHY" and evidence.strength == "insufficient":
        more = evidence.missions_needed
        needed = f": {formatting.count(more, 'more clean mission')}." if more else f". {evidence.distance}"
        thin = "Keep the cohort small until" if profile == "rollout" else "Watch closely until"
        return f"{step} {thin} the evidence is there{needed}"
    return step


def _look(worst: Reason, evidence: Evidence) -> str:
    if worst.gate == "session" and worst.value is None:
        return "check the session's bootstrap and whether this is the runtime's database (§3.4)"
    if worst.value is None:
        return "get the missing number: read the database itself, or wait for missions to finish"
    claim = evidence.failure if worst.gate == "failures" else evidence
    if worst.threshold == "supports" and claim.strength != "refutes":
        return f"let more missions through: {claim.distance.rstrip('.')}"
    return BY_NAME[worst.gate].look
