"""Lanes side by side: the same figures of each, its queue by tier, its decision and its row for the log."""

from itertools import pairwise
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis import intervals
from vpanalysis.analysis.fleet import Lane
from vpanalysis.analysis.incident import troubles
from vpanalysis.analysis.run_times import TierWait, tiers
from vpanalysis.report import blocks
from vpanalysis.report.blocks import Column
from vpanalysis.report.finding import STRENGTHS, TONES, Finding, gate_tone, strength
from vpanalysis.report.fleet_report import FleetReport
from vpanalysis.report.piece import Piece
from vpanalysis.report.sections.tile import sparkline

#: Parts of a lane's missions whose troubled shares its trend shows.
_PARTS = 8


def side_by_side(report: FleetReport) -> Piece:
    """Returns the table of all lanes, those that need somebody first."""
    columns: list[Column] = [
        "Lane", ("Status", "short"), ("Fallback rate", "number"), ("Failed", "number"), ("p95", "number"),
        "Session", ("Sign of life", "number"), "Trouble",
    ]  # fmt: skip
    rows = [_row(report, lane) for lane in report.lanes]
    note = (
        "Fallback rate with its 95 % interval (Wilson). p95 is of the run time. Trouble: the share of missions that "
        "failed or fell back, from the oldest eighth of the window to the newest, on a scale from none to all."
    )
    table = blocks.table("Lanes, those that need somebody first", columns, rows, note=note)
    seconds = [p95 for lane in report.lanes if (p95 := lane.metrics.latency_seconds.p95_seconds) is not None]
    words = "No lane has a run time"
    if seconds:
        words = f"Run time p95 from {formatting.duration(min(seconds))} to {formatting.duration(max(seconds))}"
    return blocks.piece(table, found=Finding(words, "plain"))


def queue_wait(report: FleetReport) -> Piece:
    """Returns how long missions of each tier waited in the queue, lane by lane."""
    found = {lane.key: {one.tier: one for one in tiers(lane.metrics)} for lane in report.lanes}
    names = list(dict.fromkeys(tier for held in found.values() for tier in held))
    if not names:
        return blocks.piece(found=Finding("No source tells how long missions waited", "quiet"))
    rows = [[report.label(key), *(_wait(held.get(name)) for name in names)] for key, held in found.items()]
    columns: list[Column] = ["Lane", *((name, "number") for name in names)]
    longest = max(
        ((one.p95_seconds, one.tier, key) for key, held in found.items() for one in held.values() if one.p95_seconds),
        default=None,
    )
    words = "No mission has started"
    if longest:
        words = f"Longest p95: {formatting.duration(longest[0])}, {longest[1]} of {report.label(longest[2])}"
    note = "p95 of created to started; in brackets the missions that still wait."
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
    columns: list[Column] = ["Lane", "Decision", "Claim: rarely falls back", "Claim: rarely fails", "Policy"]
    lines = formatting.visible("\n".join(report.rows))
    return blocks.piece(
        blocks.folded(
            "Decisions, and the rows for the evidence log",
            blocks.table("Decision and evidence of each lane", columns, rows),
            blocks.command("The rows, in the same order:", lines),
        ),
        found=Finding(f"{formatting.count(len(rows), 'line')} of Markdown for the log", "plain"),
    )


def shares(lane: Lane) -> list[float]:
    """Returns the shares of troubled missions in eighths of a lane's window, oldest first; fewer of few missions."""
    flags = troubles(lane.metrics)["trouble"].tolist()
    parts = min(_PARTS, len(flags))
    cuts = [len(flags) * part // parts for part in range(parts + 1)] if parts else []
    return [sum(flags[low:high]) / (high - low) for low, high in pairwise(cuts)]


def _row(report: FleetReport, lane: Lane) -> list[Any]:
    verdict, metrics = lane.verdict, lane.metrics
    account, life = metrics.account, metrics.last_activity
    trend = shares(lane)
    in_words = "Trouble in eighths of the window: " + ", ".join(map(formatting.percent, trend))
    since = (report.as_of - life).total_seconds() if report.as_of and life else None
    failed = account.count("failed") / account.finished if account.finished else None
    return [
        report.label(lane.key),
        blocks.marked(TONES[verdict.lane_status], verdict.lane_status.replace("_", " ")),
        _marked(lane, _rate(lane), "fallback_rate", "rolling_fallback", "recent_change"),
        _marked(lane, formatting.percent(failed), "failures"),
        _marked(lane, formatting.duration(metrics.latency_seconds.p95_seconds), "latency", "slow_share"),
        _marked(lane, metrics.session_status or "unknown", "session"),
        _marked(lane, formatting.duration(since), "freshness"),
        blocks.trend(sparkline(trend, 1.0), in_words),
    ]


def _marked(lane: Lane, text: str, *gates: str) -> Any:
    tone = gate_tone(lane, *gates)
    return blocks.marked(tone, text) if tone in ("watch", "critical") else text


def _rate(lane: Lane) -> str:
    verdict = lane.verdict
    if verdict.evidence.signal == "not recorded":
        return "not recorded"
    fell_back, considered = verdict.missions_with_fallback, verdict.missions_considered
    found = intervals.wilson(fell_back, considered) if fell_back is not None and considered else None
    ends = f" ({100 * (found.low or 0):.1f} to {100 * (found.high or 0):.1f})" if found else ""
    return formatting.percent(verdict.fallback_rate if considered else None) + ends


def _wait(tier: TierWait | None) -> str:
    if tier is None:
        return "–"
    return formatting.duration(tier.p95_seconds) + (f" ({tier.waiting:,})" if tier.waiting else "")
