"""The banner: decision, status, why, and what to do next; the row for the evidence log; the report in words."""

from vpanalysis import formatting
from vpanalysis.report.finding import TONES, strength, thin
from vpanalysis.report.piece import MARKS, Piece
from vpanalysis.report.row import COLUMNS, cells
from vpanalysis.report.sections import baseline, data_quality, events, fallback, latency, reasons, session
from vpanalysis.report.sections.banner import banner_piece
from vpanalysis.report.window_report import WindowReport

_ACTIONS = {"continue": "continue", "hold": "hold", "force_fallback": "force the fallback"}
_NAMES = {"rollout_window": "Rollout window", "window_comparison": "Window comparison"}


def banner(report: WindowReport) -> Piece:
    """Returns the banner: decision, status, why, and what to do next."""
    verdict, metrics = report.verdict, report.metrics
    why = [reason.sentence for reason in verdict.reasons]
    healthy = verdict.lane_status == "HEALTHY"
    if healthy:
        unseen = verdict.evidence.signal == "not recorded"  # then a rate of 0 is no reason for anything
        rests_on = [
            verdict.evidence.distance if unseen and reason.gate == "fallback_rate" else reason.sentence
            for reason in verdict.reasons
            if reason.gate in ("fallback_rate", "latency")
        ]
        why = [f"{reasons.finding(report).words}.", *rests_on]
    shown = [formatting.capitalized(sentence) for sentence in (why if healthy else why[:1])]
    others = [] if healthy else [reason.gate.replace("_", " ") for reason in verdict.reasons[1:]]
    if report.gateway_misleads and report.gateway_difference:
        shown.append(report.gateway_difference)
    unknown = list(dict.fromkeys(reason.gate.replace("_", " ") for reason in verdict.not_assessed))
    named = (("Also", others), ("Not assessed", unknown))
    also = " ".join(f"{what}: {', '.join(names)}." for what, names in named if names)
    kind = _NAMES.get(report.notebook, report.notebook.replace("_", " ").capitalize())
    limit = formatting.percent_limit(report.policy.fallback_watch)
    judged_by = f"{verdict.policy.name} {verdict.policy.version} ({verdict.policy.profile})"
    facts = [
        ("Action", [_ACTIONS[verdict.action]]),
        ("Window, UTC", _bounds(report)),
        ("Missions considered", [formatting.known_count(verdict.missions_considered)]),
        (f"Claim: true fallback rate below {limit}", [strength(verdict.evidence)]),
        ("Judged as of", [formatting.time(verdict.generated_at)]),
        ("Source, policy", [f"{metrics.source},", judged_by]),
    ]
    badges = []
    if verdict.provisional:
        why_open = "the window is still open" if metrics.is_open else "missions of it are pending"
        badges.append(f"PROVISIONAL: {why_open}")
    if healthy and thin(report):
        kind_of = "failure" if verdict.evidence.signal == "not recorded" else "fallback"
        settled = formatting.count(metrics.account.settled or 0, "settled mission")
        critical = formatting.percent_limit(report.policy.fallback_critical)
        badges.append(f"THIN EVIDENCE: {settled}, too few to rule out a {kind_of} rate of {critical}")
    return banner_piece(
        kind, report.parameters["window_label"], verdict.vp_id or "lane unknown", verdict.decision,
        verdict.lane_status.replace("_", " "), TONES[verdict.lane_status], why=shown, next_step=verdict.next_step,
        facts=facts, others=also, badges=badges, sample=verdict.sample,
        first_line=f"{verdict.decision} ({verdict.lane_status}, {verdict.action})",
    )  # fmt: skip


def _bounds(report: WindowReport) -> list[str]:
    """The window's start, end and length, in words of which none breaks; without a start only up to when it goes."""
    start, end = report.metrics.start, report.metrics.end
    if start is None:
        return [f"up to {formatting.time(end)}"]
    known = end is not None and end >= start
    length = f"({formatting.duration((end - start).total_seconds())})" if known else ""  # type: ignore[operator]
    return [formatting.time(start), f"to {formatting.time(end)}", length]


def row(report: WindowReport) -> Piece:
    """Returns the row for the evidence log: as Markdown to copy; folded, its text and its cells."""
    named = [list(pair) for pair in zip(COLUMNS, cells(report.evidence_row), strict=True)]
    markdown = formatting.visible(report.evidence_row)
    return Piece(
        "row", {"cells": named, "markdown": markdown}, "One line of Markdown for the log", text=report.evidence_row
    )


def in_words(report: WindowReport) -> Piece:
    """Returns the report's numbers as plain text, which needs no renderer and is the same on every machine."""
    verdict, queue = report.verdict, report.metrics.queue_wait_seconds
    found = [
        f"{MARKS[TONES[reason.caution]] if reason.caution else '-'} {reason.gate.replace('_', ' ')}: {reason.sentence}"
        for reason in verdict.reasons
    ]
    lines = [
        *(["SAMPLE: no basis for any rollout."] if verdict.sample else []),
        f"{verdict.decision} ({verdict.lane_status}, {verdict.action}{', provisional' if verdict.provisional else ''})",
        *found,
        f"Next: {verdict.next_step}",
        f"Fallback: {fallback.finding(report).words}",
        f"Latency: {latency.finding(report).words}",
        f"Queue wait p95: {formatting.duration(queue.p95_seconds if queue else None)}",
        f"Events: {events.finding(report).words}",
        f"Session: {session.finding(report).words}",
        f"Baseline: {baseline.finding(report).words}",
        f"Data quality: {data_quality.finding(report).words}",
        f"Evidence: {verdict.evidence.strength}. {verdict.evidence.distance}".strip(),
        f"Failures: {verdict.evidence.failure.strength}. {verdict.evidence.failure.distance}".strip(),
    ]
    return Piece("text", {}, text="\n".join(lines))
