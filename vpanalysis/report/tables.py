"""The report's pieces besides figures: each takes the report and returns data that a template renders."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis.contributors import missions_behind
from vpanalysis.analysis.intervals import ShareDifference
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import LaneStatus, Reason
from vpanalysis.formatting import percent_limit, seconds_limit
from vpanalysis.report import blocks, findings
from vpanalysis.report.blocks import Block, Column
from vpanalysis.report.event_tables import events as events
from vpanalysis.report.event_tables import recent_events as recent_events
from vpanalysis.report.event_tables import signatures as signatures
from vpanalysis.report.findings import TONES
from vpanalysis.report.piece import Piece, Tone
from vpanalysis.report.summary import evidence_row as evidence_row
from vpanalysis.report.summary import in_words as in_words
from vpanalysis.report.summary import key_figures as key_figures
from vpanalysis.report.summary import verdict as verdict
from vpanalysis.report.window_report import WindowReport

_BASES = {"fixed": "Clopper–Pearson", "anytime": "however often one looks"}
#: Missions shown of those that count against a lane; a note says how many more there are.
_AGAINST = 20


def reasons(report: WindowReport) -> Piece:
    """Returns what each gate found, worst first, how far the evidence carries, and the missions behind it."""
    judged, proof = report.verdict, report.verdict.evidence
    rows = [_reason_row(reason, reason.caution or "WATCH") for reason in judged.reasons]
    rows += [_reason_row(reason, "HEALTHY") for reason in judged.passed if reason not in judged.reasons]
    rows += [
        [blocks.marked("quiet", _gate(reason)), reason.sentence, "not assessed", "", ""]
        for reason in judged.not_assessed
    ]
    columns: list[Column] = [
        ("Gate", "short"), ("Finding", "wide"), ("Result", "short"), ("Value", "number"), ("Limit", "number"),
    ]  # fmt: skip
    shown = [blocks.table("What each gate found, worst first", columns, rows)]
    sure: list[tuple[Tone, str, str]] = [
        ("plain", name, text)
        for name, text in (
            ("Fallbacks", proof.distance),
            ("Failures", proof.failure.distance),
            ("What next", proof.fragility),
            ("p95", proof.p95_sentence),
            ("Caveat", proof.caveat),
        )
        if text
    ]
    if sure:
        shown.append(blocks.notes(sure))
    return blocks.piece(*shown, *_missions_against(report), found=findings.reasons(report))


def _reason_row(reason: Reason, status: LaneStatus) -> list[Any]:
    result = "passed" if status == "HEALTHY" else status.replace("_", " ")
    sentence = reason.sentence[:1].upper() + reason.sentence[1:]
    gate = blocks.marked(TONES[status], _gate(reason))
    return [gate, sentence, result, _measured(reason, "value"), _measured(reason, "threshold")]


def _gate(reason: Reason) -> str:
    return reason.gate.replace("_", " ")


def _measured(reason: Reason, field: str) -> str:
    """A reason's value or threshold in its unit."""
    value = getattr(reason, field)
    if value is None or isinstance(value, str):
        return value or formatting.NOT_AVAILABLE
    if reason.unit == "count":
        return f"{value:,}"
    if field == "threshold":
        return seconds_limit(value) if reason.unit == "seconds" else percent_limit(value)
    return formatting.duration(value) if reason.unit == "seconds" else formatting.percent(value)


def _missions_against(report: WindowReport) -> list[Block]:
    behind = missions_behind(report.verdict, report.metrics, report.policy).iloc[::-1]
    rows = [
        [
            str(row["mission_id"]),
            formatting.time(row["created_at"]),
            row["outcome"] + (f": {row['why']}" if row["why"] else ""),
            formatting.duration(row["queue_wait_seconds"]),
            formatting.duration(row["duration_seconds"]),
            row["gates"].replace("_", " "),
        ]
        for row in behind.head(_AGAINST).to_dict("records")
    ]
    if not rows:
        return []
    columns: list[Column] = [
        ("Mission", "wide"), ("Created", "time"), ("Outcome", "text"), ("Queue wait", "number"),
        ("Run time", "number"), ("Counts for", "short"),
    ]  # fmt: skip
    note = f"{len(behind) - _AGAINST:,} older ones not shown." if len(behind) > _AGAINST else ""
    return [blocks.table("Missions that count against the lane, newest first", columns, rows, note=note)]


def fallback(report: WindowReport) -> Piece:
    """Returns the fallback share with what the data can say of the true rate."""
    share, proof, policy = report.metrics.fallback, report.verdict.evidence, report.policy
    limits = f"{percent_limit(policy.fallback_watch)} and {percent_limit(policy.fallback_critical)}"
    rows = [
        ["Missions with a fallback", formatting.share(share.missions_with_fallback, share.missions_considered)],
        ["True rate, 95 % interval (Wilson)", _ends(proof.interval_low, proof.interval_high, formatting.percent)],
        [f"True rate, at 95 % at most ({_BASES[proof.basis]})", formatting.percent(proof.upper_bound)],
        ["Watch and critical lines", limits],
        [f"Evidence that it is below {percent_limit(policy.fallback_watch)}", findings.strength(proof)],
    ]
    return blocks.piece(blocks.pairs("Fallback rate", rows), found=findings.fallback(report))


def latency(report: WindowReport) -> Piece:
    """Returns queue wait and run time apart, with p95's interval and the share of slow missions."""
    fields = ("p50_seconds", "p95_seconds", "max_seconds", "avg_seconds")
    rows = [
        [name, f"{stage.count:,}", *(formatting.duration(getattr(stage, field)) for field in fields)]
        for name, stage in (
            ("Queue wait (created → started)", report.metrics.queue_wait_seconds),
            ("Run time (started → completed)", report.metrics.latency_seconds),
        )
        if stage is not None
    ]
    columns: list[Column] = ["Stage"]
    columns += [(name, "number") for name in ("Missions", "p50", "p95", "Longest", "Mean")]
    for tier in report.latency.tiers if len(report.latency.tiers) > 1 else ():
        waits = (formatting.duration(tier.p50_seconds), formatting.duration(tier.p95_seconds))
        still = f"{tier.waiting:,} waiting" if tier.waiting else ""
        rows.append([f"Queue wait of {tier.tier.replace('_', ' ')}", f"{tier.missions:,}", *waits, still, ""])
    return blocks.piece(
        blocks.table("Queue wait and run time", columns, rows, note=report.latency.p95_sentence),
        blocks.sentence(report.latency.finding),
        found=findings.latency(report),
    )


def session(report: WindowReport) -> Piece:
    """Returns the session's state, its recoveries and what departs from the expected lifecycle."""
    story = report.session
    slowest = formatting.duration(max(story.recovery_seconds)) if story.recovery_seconds else formatting.NOT_AVAILABLE
    rows = [
        ["Status at the window's end", story.status or "unknown"],
        ["Heartbeat", "unknown" if story.stale is None else story.stale_reason or "fresh"],
        ["Degraded in the window", _count(story.degraded_in_window)],
        ["Degradations resumed since the lane began", formatting.share(story.successes, story.attempts)],
        ["Slowest recovery", slowest],
        ["Open degradations per degradation (orphan rate)", formatting.rate(story.orphan_rate)],
    ]
    shown = [blocks.pairs("Session", rows)]
    if story.deviations:
        shown.append(blocks.sentence(f"Departs from created → resumed: {'; '.join(story.deviations)}."))
    return blocks.piece(*shown, found=findings.session(report))


def baseline(report: WindowReport) -> Piece:
    """Returns the window against the one before it."""
    found = report.comparison
    quantiles = (
        ("Queue wait p50", found.queue_p50),
        ("Queue wait p95", found.queue_p95),
        ("Run time p50", found.run_p50),
        ("Run time p95", found.run_p95),
    )
    sides = (report.baseline, report.metrics)
    rows = [
        ["First mission created (UTC)", *(formatting.time(_created(side, "min")) for side in sides), ""],
        ["Last mission created (UTC)", *(formatting.time(_created(side, "max")) for side in sides), ""],
        ["Missions considered", _count(found.missions_before), _count(found.missions_after), ""],
        ["Failed or timed out", *(_count(_failed(side)) for side in sides), ""],
        _share_row("Fallback rate", found.fallback),
        _share_row(f"Slower than {seconds_limit(found.slow_after.seconds)}", found.slow),
    ]
    for name, change in quantiles:
        moved = blocks.marked("watch", "up") if change.up else "no rise shown"
        rows.append([name, formatting.duration(change.before), formatting.duration(change.after), moved])
    columns: list[Column] = ["Measure", ("Before", "number"), ("Now", "number"), ("Change (95 % interval)", "number")]
    return blocks.piece(
        blocks.sentence(found.sentence),
        blocks.table("This window and the one before", columns, rows),
        found=findings.baseline(report),
    )


def _created(side: Metrics | None, which: str) -> datetime | None:
    if side is None:
        return None
    moment: datetime = getattr(side.missions["created_at"], which)()
    return moment


def _failed(side: Metrics | None) -> int | None:
    return None if side is None or side.account.counts is None else side.account.count("failed")


def quality(report: WindowReport) -> Piece:
    """Returns what is wrong with the data, vetoes first, and where the gateway's own numbers differ."""
    items: list[tuple[Tone, str, str]] = [
        ("critical" if note.veto else "plain", "", note.sentence) for note in report.quality
    ]
    if not items:
        items.append(("good", "", "Every row, time stamp and event of the window could be read and fits."))
    if report.gateway_difference:
        items.append(("plain", "", report.gateway_difference))
    return blocks.piece(blocks.notes(items), found=findings.quality(report))


def checklist(report: WindowReport) -> Piece:
    """Returns the playbook's recovery checklist; a report whose action is to continue leaves it out."""
    if not report.checklist:
        return blocks.piece(blocks.sentence("Nothing to recover: the action is to continue."), omit=True)
    steps = [
        {"title": step.title, "text": step.text, "command": step.command or "", "now": step.now}
        for step in report.checklist
    ]
    return blocks.piece({"kind": "steps", "steps": steps}, found=findings.checklist(report))


def way_back(report: WindowReport) -> Piece:
    """Returns whether the window, taken as probe missions, justifies re-enabling a lane under forced fallback."""
    found = report.way_back
    if found is None:
        return blocks.piece(blocks.sentence("There is no window before this one to come back to."), omit=True)
    rows = [
        ["Probe missions", _count(found.probes)],
        ["More probes without a fallback needed", _count(found.more_probes)],
        ["True fallback rate, 95 % at most", formatting.percent(found.upper_bound)],
    ]
    notes = blocks.notes([("watch", "", f"{text[:1].upper()}{text[1:]}.") for text in found.against])
    return blocks.piece(
        blocks.sentence(found.sentence), *([notes] if found.against else []), blocks.pairs("The probes", rows)
    )


def provenance(report: WindowReport) -> Piece:
    """Returns how the report was made: the command, parameters, data, versions and the policy's settings."""
    given = [[name, str(value)] for name, value in report.parameters.items() if value not in ("", 0)]
    left_out = [name for name, value in report.parameters.items() if value in ("", 0)]
    policy = report.policy
    made = [
        ["Source", f"{report.metrics.source} ({report.metrics.kind})"],
        ["Rows", ", ".join(f"{table} {number:,}" for table, number in report.row_counts.items())],
        ["Content hash (SHA-256)", report.content_hash],
        ["Policy", f"{policy.name} {policy.version}, profile {policy.profile}, hash {policy.hash}"],
        ["Versions", ", ".join(f"{name} {number}" for name, number in report.versions.items())],
    ]
    settings = policy.model_dump(mode="json", exclude={"name", "version", "profile"})
    columns: list[Column] = [("Name", "short"), ("Value", "wide")]
    note = f"Not given: {', '.join(left_out)}." if left_out else ""
    return blocks.piece(
        blocks.command("This report again, from the same source:", report.command),
        blocks.table("Parameters", columns, given, note=note),
        blocks.table("Data, policy and versions", columns, made),
        blocks.pairs("Thresholds and gates of the policy", _settings(settings), ("Setting", "Value")),
    )


def _settings(values: dict[str, Any], within: str = "") -> list[list[str]]:
    """A policy's settings, one a row, those of a gate after its name."""
    rows: list[list[str]] = []
    for key, value in values.items():
        name = f"{within}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _settings(value, "" if key == "gates" else f"{name}: ")
        elif value is None or isinstance(value, bool):
            rows.append([name, "on" if value else "off"])
        else:
            rows.append([name, formatting.threshold(value)])
    return rows


def _count(number: int | None) -> str:
    return formatting.NOT_AVAILABLE if number is None else f"{number:,}"


def _ends(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    return formatting.NOT_AVAILABLE if low is None or high is None else f"{write(low)} to {write(high)}"


def _share_row(name: str, change: ShareDifference | None) -> list[Any]:
    if change is None or change.interval.low is None or change.interval.high is None:
        return [name, formatting.NOT_AVAILABLE, formatting.NOT_AVAILABLE, "not known"]
    low, high = change.interval.low, change.interval.high
    moved = f"{formatting.points(change.change)} points ({formatting.points(low)} to {formatting.points(high)})"
    tone: Tone = "watch" if low > 0 else "plain"
    return [name, formatting.percent(change.before), formatting.percent(change.after), blocks.marked(tone, moved)]
