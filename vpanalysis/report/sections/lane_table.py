"""Lanes side by side: the same figures of each, its queue by tier, its decision and its row for the log."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis.fleet import Lane
from vpanalysis.analysis.incident import troubles
from vpanalysis.analysis.run_times import TierWait, tiers, waiting
from vpanalysis.report import blocks, drawing
from vpanalysis.report.finding import STRENGTHS, TONES, Finding, fallback_rate, gate_tone, incomplete, strength
from vpanalysis.report.fleet_report import FleetReport
from vpanalysis.report.piece import Piece
from vpanalysis.report.sections.tile import sparkline

#: Parts of a lane's missions whose troubled shares its trend shows.
_PARTS = 8
#: Characters of a session's status: those of the contract have ten at most, a database may make them long.
_STATUS_CHARACTERS = 12
_ALL = "all missions"


def side_by_side(report: FleetReport) -> Piece:
    """Returns the table of all lanes, those that need somebody first; enabled ones that are absent at its end."""
    columns = [
        ("Lane", "wide"), ("Status", "short"), ("Missions", "number"), ("Fallback rate", "number"),
        ("Failed", "number"), ("p95", "number"), ("Session, silent for", "text"), ("Trouble", "text"),
    ]  # fmt: skip
    rows = [_row(report, lane) for lane in report.lanes]
    rows += [[lane, blocks.marked("watch", "absent"), *[""] * (len(columns) - 2)] for lane in report.absent]
    note = (
        "In brackets: 95 % bounds of the true fallback rate, from the settled missions that could record a fallback. "
        "Failed: of the finished missions. p95: of the run time. Silent for: since the last sign of life. Trouble: the "
        "share of missions that failed or fell back, from the oldest eighth of the window to the newest, on a scale "
        "from none to all."
    )
    if any("at least" in _rate(lane) for lane in report.lanes):
        note += " At least: the source lacks events, so more missions may have fallen back."
    table = blocks.table("Lanes, those that need somebody first", columns, rows, note=note)
    return blocks.piece(table, found=Finding(_deciding(report), "plain"))


def _deciding(report: FleetReport) -> str:
    """Between which values the lanes have what decided on the first one, or p95 where nobody is needed."""
    gates = [lane.verdict.reasons[0].gate for lane in report.needy] or ["latency"]
    if gates[0] not in _MEASURES:
        name = formatting.capitalized(gates[0].replace("_", " "))
        return f"{name} decides on {formatting.count(gates.count(gates[0]), 'lane')}"
    name, of, write = _MEASURES[gates[0]]
    known = [value for lane in report.lanes if (value := of(lane)) is not None]
    ends = list(dict.fromkeys(write(end(known)) for end in (min, max))) if known else []
    return f"{name} {'from ' * (len(ends) - 1)}{' to '.join(ends)}" if ends else f"{name} unknown"


def queue_wait(report: FleetReport) -> Piece:
    """Returns how long missions waited in the queue, lane by lane and tier by tier."""
    found = {lane.key: _waits(lane) for lane in report.lanes}
    names = list(dict.fromkeys(tier for held in found.values() for tier in held))
    if not names:
        return blocks.piece(found=Finding("No source says how long missions waited", "quiet"))
    rows = [[report.label(key), *(_wait(held.get(name)) for name in names)] for key, held in found.items()]
    columns = [("Lane", "wide"), *((name, "number") for name in names)]
    longest = max(
        ((one.p95_seconds, key) for key, held in found.items() if (one := held.get(_ALL)) and one.p95_seconds),
        default=None,
    )
    words = "No mission has started"
    if longest:
        words = f"Longest p95: {formatting.duration(longest[0])}, on {report.label(longest[1])}"
    note = "p95 from created to started; in brackets, the missions still waiting."
    return blocks.piece(blocks.table("Queue wait by tier", columns, rows, note=note), found=Finding(words, "plain"))


def evidence_rows(report: FleetReport) -> Piece:
    """Returns each lane's decision and evidence; folded, the rows for the evidence log."""
    rows = [
        [
            report.label(lane.key),
            lane.verdict.decision,
            strength(lane.verdict.evidence),
            STRENGTHS[lane.verdict.evidence.failure.strength],
            f"{lane.policy.name} {lane.policy.version}",
        ]
        for lane in report.lanes
    ]
    columns = [
        ("Lane", "wide"), ("Decision", "wide"), ("Claim: rarely falls back", "text"), ("Claim: rarely fails", "text"),
        ("Policy", "text"),
    ]  # fmt: skip
    lines = formatting.visible("\n".join(report.rows))
    lanes = formatting.count(len(rows), "lane")
    shown = sum(lane.verdict.evidence.strength == "supports" for lane in report.lanes)
    return blocks.piece(
        blocks.folded(
            "Decisions, and the rows for the evidence log",
            blocks.table("Decision and evidence of each lane", columns, rows),
            blocks.command("The rows, in the same order:", lines),
        ),
        found=Finding(f"Fallback rate shown to be below the watch line: {shown:,} of {lanes}", "plain"),
    )


def shares(lane: Lane) -> list[float]:
    """Returns the shares of troubled missions in eighths of a lane's window, oldest first; fewer of few missions."""
    flags = troubles(lane.metrics)["trouble"].tolist()
    parts = min(_PARTS, len(flags))
    cuts = [len(flags) * part // parts for part in range(parts + 1)] if parts else []
    return [sum(flags[low:high]) / (high - low) for low, high in pairwise(cuts)]


def _row(report: FleetReport, lane: Lane) -> list[Any]:
    verdict, metrics = lane.verdict, lane.metrics
    life = metrics.last_activity
    trend = shares(lane)
    in_words = "Trouble in eighths of the window: " + ", ".join(map(formatting.percent, trend))
    since = (report.as_of - life).total_seconds() if report.as_of and life else None
    session = drawing.short_name(metrics.session_status or "unknown", _STATUS_CHARACTERS)
    return [
        report.label(lane.key),
        blocks.marked(TONES[verdict.lane_status], verdict.lane_status.replace("_", " ")),
        formatting.known_count(verdict.missions_considered),
        _marked(lane, _rate(lane), "fallback_rate", "rolling_fallback", "recent_change"),
        _marked(lane, formatting.percent(_failed(lane)), "failures"),
        _marked(lane, formatting.duration(_p95(lane)), "latency", "slow_share"),
        _marked(lane, f"{session}, {formatting.duration(since)}", "session", "freshness"),
        blocks.trend(sparkline(trend, 1.0), in_words),
    ]


def _failed(lane: Lane) -> float | None:
    account = lane.metrics.account
    return account.count("failed") / account.finished if account.finished else None


def _p95(lane: Lane) -> float | None:
    return lane.metrics.latency_seconds.p95_seconds


#: What a gate judges as a number of each lane: its name, its value, and how that is written.
_MEASURES: dict[str, tuple[str, Callable[[Lane], float | None], Callable[[float], str]]] = {
    "fallback_rate": ("Fallback rate", lambda lane: lane.metrics.fallback.of_any, formatting.percent),
    "failures": ("Failed missions", _failed, formatting.percent),
    "latency": ("Run time p95", _p95, formatting.duration),
}


def _marked(lane: Lane, text: str, *gates: str) -> Any:
    tone = gate_tone(lane, *gates)
    if "fallback_rate" in gates and incomplete(lane) and tone not in ("watch", "critical"):
        tone = "quiet"
    return blocks.marked(tone, text) if tone in ("quiet", "watch", "critical") else text


def _rate(lane: Lane) -> str:
    evidence, rate = lane.verdict.evidence, fallback_rate(lane.metrics)
    if evidence.signal == "not recorded":
        return evidence.signal
    if incomplete(lane) or evidence.lower_bound is None or evidence.upper_bound is None:
        return rate
    return f"{rate} ({100 * evidence.lower_bound:.1f}–{formatting.percent(evidence.upper_bound)})"


def _waits(lane: Lane) -> dict[str, TierWait]:
    """The queue wait of all missions of a lane, and of each tier; empty when unknown."""
    queue = lane.metrics.queue_wait_seconds
    if queue is None:
        return {}
    whole = TierWait(_ALL, queue.count, queue.p50_seconds, queue.p95_seconds, len(waiting(lane.metrics)))
    return {one.tier: one for one in (whole, *tiers(lane.metrics))}


def _wait(tier: TierWait | None) -> str:
    if tier is None:
        return "–"
    return formatting.duration(tier.p95_seconds) + (f" ({tier.waiting:,})" if tier.waiting else "")
