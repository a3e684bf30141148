"""What each section found: the words of its heading, and the accent that goes with them."""

from typing import NamedTuple

from vpanalysis import formatting
from vpanalysis.analysis.verdict import CAUTION, Evidence, LaneStatus
from vpanalysis.formatting import percent_limit, seconds_limit
from vpanalysis.report.piece import Tone
from vpanalysis.report.window_report import WindowReport

TONES: dict[LaneStatus, Tone] = {
    "HEALTHY": "good",
    "NO_TRAFFIC": "quiet",
    "WATCH": "watch",
    "FORCE_FALLBACK": "critical",
}


_STRENGTHS = {
    "supports": "supported",
    "refutes": "refuted",
    "insufficient": "not enough data yet",
    "none": "no data",
}


class Finding(NamedTuple):
    """A finding in words, without a full stop, and its accent."""

    words: str
    tone: Tone


def reasons(report: WindowReport) -> Finding:
    """Returns the worst reason, or for a healthy lane that every gate passed."""
    judged = report.verdict
    tone = TONES[judged.lane_status]
    if judged.lane_status == "HEALTHY":
        left_out = f", {len(judged.not_assessed)} could not be assessed" if judged.not_assessed else ""
        return Finding(f"All {len(judged.reasons)} gates that were judged passed{left_out}", tone)
    sentences = judged.reasons[0].sentence if judged.reasons else "No reason was recorded."
    first = sentences.partition(". ")[0].rstrip(".")
    return Finding(first[:1].upper() + first[1:], tone)


def fallback(report: WindowReport) -> Finding:
    """Returns how many missions fell back, and where that stands."""
    share, policy = report.metrics.fallback, report.policy
    if share.missions_considered == 0:
        return Finding("No mission in the window, so there is no rate", "quiet")
    if share.rate is None:
        return Finding("Unknown: the source does not tell the rate", "watch")
    place = _place(
        share.rate,
        (policy.fallback_watch, percent_limit(policy.fallback_watch)),
        (policy.fallback_critical, percent_limit(policy.fallback_critical)),
    )
    counted = formatting.share(share.missions_with_fallback, share.missions_considered)
    known = counted if counted != formatting.NOT_AVAILABLE else formatting.percent(share.rate)
    if incomplete(report) and place.tone == "good":
        return Finding(f"{known}, not to be trusted: events are missing from the source", "watch")
    return Finding(f"{known}: {place.words}", place.tone)


def incomplete(report: WindowReport) -> bool:
    """Whether the source cannot show all events of its missions, so that counts of events are too low."""
    return report.metrics.quality.truncated_events is True


def latency(report: WindowReport) -> Finding:
    """Returns the run time's p95, and where that stands."""
    p95, policy = report.metrics.latency_seconds.p95_seconds, report.policy
    if p95 is None:
        return Finding("No mission with a run time, so there is no p95", "quiet")
    place = _place(
        p95,
        (policy.p95_watch_seconds, seconds_limit(policy.p95_watch_seconds)),
        (policy.p95_critical_seconds, seconds_limit(policy.p95_critical_seconds)),
    )
    return Finding(f"Run time p95 {formatting.duration(p95)}: {place.words}", place.tone)


def _place(value: float, watch: tuple[float, str], critical: tuple[float, str]) -> Finding:
    """Where a value stands between its two limits, each with its text."""
    if value >= critical[0]:
        return Finding(f"{'at' if value == critical[0] else 'above'} the critical line of {critical[1]}", "critical")
    if value >= watch[0]:
        return Finding(f"{'at' if value == watch[0] else 'above'} the watch line of {watch[1]}", "watch")
    return Finding(f"below the watch line of {watch[1]}", "good")


def events(report: WindowReport) -> Finding:
    """Returns what became of the missions, and how many went the expected way."""
    account, profile = report.metrics.account, report.profile
    if account.counts is None:
        return Finding("Unknown: the source does not tell what became of the missions", "watch")
    if not account.total:
        return Finding("No mission, so no event sequence", "quiet")
    words = f"{account.count('failed'):,} of {formatting.count(account.total, 'mission')} failed or timed out"
    for outcome, text in (("overdue", "overdue"), ("unaccounted", "unaccounted for")):
        if account.count(outcome):
            words += f", {account.count(outcome):,} {text}"
    if profile.as_expected is not None and not incomplete(report):
        words += f", {profile.as_expected:,} went as expected"
    return Finding(words, gate_tone(report, "failures", "completions"))


def session(report: WindowReport) -> Finding:
    """Returns the session's state and how often it degraded."""
    return Finding(report.session.finding.rstrip("."), gate_tone(report, "session"))


def baseline(report: WindowReport) -> Finding:
    """Returns the playbook's reading (§3.2) of the window against the one before."""
    found = report.comparison
    if found.conclusion == "load_pressure":
        return Finding("Load or queue pressure: durations rose, the fallback rate did not", "watch")
    if found.conclusion == "degradation":
        return Finding("Runtime degradation or adapter instability: durations and fallback rate rose", "critical")
    if found.fallback_up:
        return Finding("The fallback rate rose, durations did not", "watch")
    if found.conclusion == "not_enough_data":
        return Finding("Not enough data to compare", "quiet")
    return Finding("Neither the fallback rate nor a duration rose beyond chance", "good")


def quality(report: WindowReport) -> Finding:
    """Returns how much is wrong with the data, and whether it forbids a healthy verdict."""
    vetoes = sum(note.veto for note in report.quality)
    if vetoes:
        return Finding(f"{formatting.count(vetoes, 'fault')} in the data: no verdict may be healthy", "critical")
    if report.quality:
        return Finding(f"{formatting.count(len(report.quality), 'remark')}, none of which forbids a verdict", "plain")
    return Finding("Nothing is wrong with the data", "good")


def checklist(report: WindowReport) -> Finding:
    """Returns how many of the recovery checklist's steps are asked for at once."""
    now = sum(step.now for step in report.checklist)
    return Finding(f"{now} of {formatting.count(len(report.checklist), 'step')} to take now", "plain")


def gate_tone(report: WindowReport, *gates: str) -> Tone:
    """Returns the accent of the most cautious thing that one of ``gates`` found; plain when none was judged."""
    judged = [*report.verdict.reasons, *report.verdict.passed]
    cautions = [reason.caution for reason in judged if reason.gate in gates and reason.caution]
    return TONES[max(cautions, key=CAUTION.index)] if cautions else "plain"


def strength(evidence: Evidence) -> str:
    """Returns how far the claim on fallbacks carries, in words."""
    return "this lane does not report fallbacks" if evidence.signal == "not recorded" else _STRENGTHS[evidence.strength]
