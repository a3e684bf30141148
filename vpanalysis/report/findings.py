"""What each section found, in the words of its heading, its figure's title and its alternative text."""

from typing import TYPE_CHECKING, NamedTuple

from vpanalysis import formatting
from vpanalysis.analysis.decision import CAUTION, LaneStatus
from vpanalysis.data.schema import FAILED_STATUSES
from vpanalysis.report.piece import Tone

if TYPE_CHECKING:
    from vpanalysis.report.window_report import WindowReport

TONES: dict[LaneStatus, Tone] = {
    "HEALTHY": "good",
    "NO_TRAFFIC": "quiet",
    "WATCH": "watch",
    "FORCE_FALLBACK": "critical",
}


class Finding(NamedTuple):
    """A finding's words, without a full stop, and its accent."""

    words: str
    tone: Tone


def against_limits(value: float, watch: float, critical: float, unit: str) -> Finding:
    """Returns where a value stands between its two limits, which the unit's formatter writes."""
    write = formatting.percent if unit == "share" else formatting.duration
    for limit, name, tone in ((critical, "critical", "critical"), (watch, "watch", "watch")):
        if value >= limit:
            side = "at" if write(value) == write(limit) else "above"
            return Finding(f"{side} the {name} line of {write(limit)}", tone)  # type: ignore[arg-type]
    return Finding(f"below the watch line of {write(watch)}", "good")


def fallback(report: "WindowReport") -> Finding:
    """Returns how many missions fell back, and where that stands."""
    share, policy = report.metrics.fallback, report.policy
    if share.missions_considered == 0:
        return Finding("no mission in the window, so there is no rate", "quiet")
    if share.rate is None:
        return Finding("unknown: the source does not tell the rate", "watch")
    place = against_limits(share.rate, policy.fallback_watch, policy.fallback_critical, "share")
    counted = formatting.share(share.missions_with_fallback, share.missions_considered)
    return Finding(f"{counted}: {place.words}", place.tone)


def latency(report: "WindowReport") -> Finding:
    """Returns the run time's p95, and where that stands."""
    p95, policy = report.metrics.latency_seconds.p95_seconds, report.policy
    if p95 is None:
        return Finding("no mission with a run time, so there is no p95", "quiet")
    place = against_limits(p95, policy.p95_watch_seconds, policy.p95_critical_seconds, "seconds")
    return Finding(f"p95 {formatting.duration(p95)}: {place.words}", place.tone)


def events(report: "WindowReport") -> Finding:
    """Returns how many missions failed, and how many went the expected way."""
    profile, counts = report.profile, report.metrics.mission_counts
    if profile.missions == 0:
        return Finding("no mission, so no event sequence", "quiet")
    failed = None if counts is None else sum(counts.get(status, 0) for status in FAILED_STATUSES)
    words = "failures unknown" if failed is None or counts is None else f"{failed:,} of {sum(counts.values()):,} failed"
    if profile.missions is not None:
        words += f", {formatting.share(profile.as_expected, profile.missions)} went as expected"
    return Finding(words, gate_tone(report, "failures", "completions"))


def session(report: "WindowReport") -> Finding:
    """Returns the session's state and how often it degraded."""
    return Finding(_lower(report.session.finding), gate_tone(report, "session"))


def baseline(report: "WindowReport") -> Finding:
    """Returns the playbook's reading of the window against the one before."""
    words = {
        "load_pressure": ("load or queue pressure", "watch"),
        "degradation": ("runtime degradation or adapter instability", "critical"),
        "neither": ("neither load pressure nor degradation", "good"),
        "not_enough_data": ("not enough data to compare", "quiet"),
    }[report.comparison.conclusion]
    return Finding(words[0], words[1])  # type: ignore[arg-type]


def quality(report: "WindowReport") -> Finding:
    """Returns how much is wrong with the data, and whether it forbids a healthy verdict."""
    notes = report.quality
    vetoes = sum(note.veto for note in notes)
    if vetoes:
        return Finding(
            f"{formatting.count(vetoes, 'finding')} that forbid{'s' * (vetoes == 1)} a healthy verdict", "critical"
        )
    if notes:
        return Finding(f"{formatting.count(len(notes), 'note')}, none of which forbids a verdict", "plain")
    return Finding("nothing is wrong with the data", "good")


def gate_tone(report: "WindowReport", *gates: str) -> Tone:
    """Returns the accent of the most cautious reason that one of ``gates`` gave; plain when none did."""
    cautions = [reason.caution for reason in report.verdict.reasons if reason.gate in gates and reason.caution]
    return TONES[max(cautions, key=CAUTION.index)] if cautions else "plain"


def _lower(sentence: str) -> str:
    """A sentence as a heading goes on with it: a small first letter and no full stop."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")
