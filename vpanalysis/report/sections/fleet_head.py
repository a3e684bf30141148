"""The overview's banner: how many lanes need somebody, which and why; and the same in words."""

from collections import Counter

from vpanalysis import formatting
from vpanalysis.analysis.fleet import Lane
from vpanalysis.report import blocks
from vpanalysis.report.finding import TONES, Finding, incomplete
from vpanalysis.report.fleet_report import FleetReport
from vpanalysis.report.piece import MARKS, Piece, Tone
from vpanalysis.report.sections import outages
from vpanalysis.report.sections.banner import banner_piece

#: Lanes that the banner names.
_NAMED = 5
_EXCUSES = {
    "chance": ("on watch by chance", "but no more than chance would show among so many lanes"),
    "elsewhere": ("dormant", "but dormant here and alive in another source"),
    "not enabled": ("dormant", "but dormant and not enabled"),
}
_CALM = "Each verdict says continue, shows no more than chance would among so many lanes, or is of a dormant source."
_ABSENT = "enabled, but no source has anything of it"


def banner(report: FleetReport) -> Piece:
    """Returns the banner: how many lanes need somebody, which, why, and what to do first."""
    hit = {key for incident in report.incidents for key in incident.lanes}
    why = [
        f"One incident, {outages.when(incident)} UTC, on {', '.join(map(report.label, incident.lanes))}: "
        f"{formatting.share(incident.troubled, incident.missions, 'mission')} failed or fell back."
        for incident in report.incidents
    ]
    why += [f"{report.label(lane.key)}: {_main(lane)}" for lane in report.needy if lane.key not in hit]
    why += [f"{lane}: {_ABSENT}." for lane in report.absent]
    more = len(why) - _NAMED
    window = report.parameters
    bounds = [window["window_start"] or "beginning", f"to {window['window_end'] or 'open'}"]
    newest = f"newest {window['last_missions'] or 100} missions of each lane"
    ranged = window["window_start"] or window["window_end"]
    calm = Counter(_standing(lane) for lane in report.lanes if not lane.needs)
    facts = [
        ("Window, UTC", bounds if ranged else [newest]),
        ("Judged as of", [formatting.time(report.as_of)]),
        ("Other lanes" if why else "Lanes", [f"{number:,} {what}," for what, number in calm.items()] or ["none"]),
        (formatting.count(len(report.files), "source"), [f"{file.name}," for file in report.files]),
        ("Profile, policy", [f"{window['profile']},", window["policy"]]),
    ]
    facts = [(name, [*parts[:-1], parts[-1].rstrip(",")]) for name, parts in facts]
    return banner_piece(
        "Lane overview", window["window_label"], ", ".join(file.name for file in report.files), report.headline,
        report.lane_status.replace("_", " "), TONES[report.lane_status], next_step=_next(report), facts=facts,
        why=why[:_NAMED] or [_CALM if set(calm) - {"healthy"} else "Every lane is healthy."],
        others=f"Also: {more:,} more" if more > 0 else "", sample=report.sample, first_line=report.headline,
    )  # fmt: skip


def reasons(report: FleetReport) -> Piece:
    """Returns what each lane that needs somebody found, and why others that are not healthy do not."""
    found: list[tuple[Tone, str, str]] = []
    steps: dict[str, list[str]] = {}
    for lane in report.needy:
        verdict, name = lane.verdict, report.label(lane.key)
        sentences = " ".join(formatting.capitalized(reason.sentence) for reason in verdict.reasons)
        found.append((TONES[verdict.lane_status], name, sentences))
        steps.setdefault(verdict.next_step, []).append(name)
    found += [("watch", lane, f"{formatting.capitalized(_ABSENT)}.") for lane in report.absent]
    if len(report.needy) + len(report.absent) > 1:  # else the banner says it
        found += [("plain", f"Next for {', '.join(names)}", step) for step, names in steps.items()]
    for lane in report.lanes:
        if lane.excuse:
            text = f"{lane.verdict.lane_status.replace('_', ' ')} ({_gates(lane)}), {_EXCUSES[lane.excuse][1]}."
            found.append(("plain", report.label(lane.key), text))
    gates = Counter(reason.gate for lane in report.needy for reason in lane.verdict.reasons).most_common()
    named = [f"{gate.replace('_', ' ')} on {formatting.count(number, 'lane')}" for gate, number in gates[:3]]
    words = ", ".join([*named, f"{len(gates) - 3} more"] if len(gates) > 3 else named)
    heading = Finding(formatting.capitalized(words) or "Nothing that needs somebody", TONES[report.lane_status])
    return blocks.piece(*([blocks.notes(found)] if found else []), found=heading, omit=not found)


def in_words(report: FleetReport) -> Piece:
    """Returns the overview as plain text, which needs no renderer and is the same on every machine."""
    lines = [banner(report).text]
    for lane in report.lanes:
        verdict, failed = lane.verdict, lane.metrics.account
        parts = [
            f"{MARKS[TONES[verdict.lane_status]]} {report.label(lane.key)}: {verdict.decision} ({verdict.lane_status})",
            f"{formatting.share(failed.count('failed'), failed.finished)} failed",
            _fell_back(lane),
            f"p95 {formatting.duration(verdict.latency_seconds.p95_seconds)}",
        ]
        lines.append(", ".join(parts) + (f"; {_EXCUSES[lane.excuse][1]}" if lane.excuse else ""))
    return Piece("text", {}, text="\n".join([*lines, f"Outages: {outages.finding(report).words}"]))


def _gates(lane: Lane) -> str:
    return ", ".join(reason.gate.replace("_", " ") for reason in lane.verdict.reasons)


def _main(lane: Lane) -> str:
    """The main reason in a sentence, and the names of the others."""
    reasons = lane.verdict.reasons
    others = f" Also: {', '.join(reason.gate.replace('_', ' ') for reason in reasons[1:])}." if reasons[1:] else ""
    return reasons[0].sentence + others


def _fell_back(lane: Lane) -> str:
    if lane.verdict.evidence.signal == "not recorded":
        return "fallbacks not recorded"
    if incomplete(lane) and not lane.verdict.missions_with_fallback:
        return "fallbacks unknown"
    share = formatting.share(lane.verdict.missions_with_fallback, lane.verdict.missions_considered)
    return f"{'at least ' * incomplete(lane)}{share} fell back"


def _standing(lane: Lane) -> str:
    if lane.excuse:
        return _EXCUSES[lane.excuse][0]
    return {"HEALTHY": "healthy", "NO_TRAFFIC": "without traffic"}.get(lane.verdict.lane_status, "to continue")


def _next(report: FleetReport) -> str:
    if report.incidents and report.needy:
        return "Look for one cause first: Outages shows what the lanes' errors have in common."
    if len(report.needy) == 1 and not report.absent:
        return report.needy[0].verdict.next_step
    if report.needy or report.absent:
        return "Take them in this order; Reasons says what each one asks for."
    return "Nothing now: look again at the playbook's cadence (§7.1)."
