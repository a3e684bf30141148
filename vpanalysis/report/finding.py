"""What a section found: the words of its heading, and the accent that goes with them."""

from collections.abc import Mapping
from typing import NamedTuple

from vpanalysis import formatting
from vpanalysis.analysis.fleet import Lane
from vpanalysis.analysis.gates import BY_NAME
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import CAUTION, Evidence
from vpanalysis.report.piece import Tone
from vpanalysis.report.window_report import WindowReport

TONES: Mapping[str, Tone] = {
    "HEALTHY": "good",
    "NO_TRAFFIC": "quiet",
    "WATCH": "watch",
    "FORCE_FALLBACK": "critical",
}


STRENGTHS = {
    "supports": "supported",
    "refutes": "refuted",
    "insufficient": "not enough data yet",
    "none": "no data",
}


class Finding(NamedTuple):
    """A finding in words, without a full stop, and its accent."""

    words: str
    tone: Tone


def incomplete(report: WindowReport | Lane) -> bool:
    """Whether the source cannot show all events of its missions, so that counts of events are too low."""
    return report.metrics.quality.truncated_events is True


def fallback_rate(metrics: Metrics) -> str:
    """Returns the fallback rate in words; where events are missing it is the least that it can be, if not zero."""
    rate = metrics.fallback.of_any
    if metrics.quality.truncated_events:
        return f"at least {formatting.percent(rate)}" if rate else formatting.NOT_AVAILABLE
    return formatting.percent(rate)


def place(value: float, watch: float, critical: float) -> Finding:
    """Where a share stands between its two limits."""
    lines: tuple[tuple[float, Tone], ...] = ((critical, "critical"), (watch, "watch"))
    for limit, name in lines:
        if value >= limit:
            stands = "at" if value == limit else "above"
            return Finding(f"{stands} the {name} line of {formatting.percent_limit(limit)}", name)
    return Finding(f"below the watch line of {formatting.percent_limit(watch)}", "good")


def gate_tone(report: WindowReport | Lane, *gates: str) -> Tone:
    """Returns the accent of the most cautious thing that one of ``gates`` found; plain when none was judged."""
    judged = [*report.verdict.reasons, *report.verdict.passed]
    cautions = [reason.caution for reason in judged if reason.gate in gates and reason.caution]
    return TONES[max(cautions, key=CAUTION.index)] if cautions else "plain"


def thin(report: WindowReport) -> bool:
    """Whether the settled missions are so few that they do not even rule out a critical rate."""
    evidence = report.verdict.evidence
    bound = (evidence.failure if evidence.signal == "not recorded" else evidence).upper_bound
    return bound is None or bound >= report.policy.fallback_critical


def strength(evidence: Evidence) -> str:
    """Returns how far the claim on fallbacks carries, in words."""
    return "this lane does not report fallbacks" if evidence.signal == "not recorded" else STRENGTHS[evidence.strength]


def limits(report: WindowReport, name: str) -> str:
    """A gate's own limits in words."""
    settings, gate = report.policy.gate(name), BY_NAME[name]
    off = settings is None and gate.settings is not None and gate.table is None
    return "no limit in this policy" if off else gate.limits(settings, report.policy)
