"""The top of the report: the verdict's banner, the key figures with their limits, and the evidence row."""

import re
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis.gates import BY_NAME
from vpanalysis.formatting import percent_limit, seconds_limit
from vpanalysis.report import findings
from vpanalysis.report.findings import TONES
from vpanalysis.report.piece import MARKS, Piece, Tone, columns_of_text
from vpanalysis.report.row import COLUMNS
from vpanalysis.report.window_report import WindowReport

_ACTIONS = {"continue": "continue", "hold": "hold", "force_fallback": "force the fallback path"}
#: Width of a scale in its own units; the value's mark must stay inside.
_SCALE, _MARK = 200.0, 4.0
#: Reasons that the banner shows; the others are a link away.
_MAIN_REASONS = 3


def verdict(report: WindowReport) -> Piece:
    """Returns the banner: decision, status, why, and what to do next."""
    judged, metrics, tone = report.verdict, report.metrics, TONES[report.verdict.lane_status]
    why = [reason.sentence for reason in judged.reasons]
    if judged.lane_status == "HEALTHY":
        why = [f"{findings.reasons(report).words}.", *_proof(report)]
    others = len(why) - _MAIN_REASONS
    name, lane = report.parameters["window_label"] or "Rollout window", judged.vp_id or "lane unknown"
    limit = percent_limit(report.policy.fallback_watch)
    facts = [
        ("Action", [_ACTIONS[judged.action]]),
        ("Window, UTC", [_start(report), f"to {formatting.time(metrics.end)}", _length(report)]),
        (
            "Missions considered",
            [formatting.NOT_AVAILABLE if judged.missions_considered is None else f"{judged.missions_considered:,}"],
        ),
        (f"Claim: true fallback rate below {limit}", [findings.strength(judged.evidence)]),
        ("Judged as of", [formatting.time(judged.generated_at)]),
        (
            "Source, policy",
            [f"{metrics.source},", f"{judged.policy.name} {judged.policy.version} ({judged.policy.profile})"],
        ),
    ]
    badges = ["SAMPLE: no basis for any rollout"] if judged.sample else []
    if judged.provisional:
        why_open = "the window is still open" if metrics.is_open else "missions of it are pending"
        badges.append(f"PROVISIONAL: {why_open}")
    content = {
        "page_title": f"{judged.decision}: {name}, {lane}",
        "name": name,
        "lane": lane,
        "decision": judged.decision,
        "status": judged.lane_status.replace("_", " "),
        "tone": tone,
        "badges": badges,
        "why": [sentence[:1].upper() + sentence[1:] for sentence in why[:_MAIN_REASONS]],
        "others": f"and {formatting.count(others, 'further reason')}" if others > 0 else "",
        "next": judged.next_step,
        "facts": [{"name": name, "parts": [part for part in parts if part]} for name, parts in facts],
    }
    reasons = " ".join(why[:_MAIN_REASONS])
    lines = [
        f"{judged.decision} ({judged.lane_status}, {judged.action})",
        f"Why: {reasons}",
        f"Next: {judged.next_step}",
    ]
    return Piece("banner", content, tone=tone, text="\n".join(lines))


def _proof(report: WindowReport) -> list[str]:
    """What a healthy verdict rests on, in the numbers that matter most."""
    return [reason.sentence for reason in report.verdict.reasons if reason.gate in ("fallback_rate", "latency")]


def _start(report: WindowReport) -> str:
    return "" if report.metrics.start is None else formatting.time(report.metrics.start)


def _length(report: WindowReport) -> str:
    start, end = report.metrics.start, report.metrics.end
    return (
        "" if start is None or end is None or end < start else f"({formatting.duration((end - start).total_seconds())})"
    )


def key_figures(report: WindowReport) -> Piece:
    """Returns the tiles: each number with its limits beside it."""
    tiles = [
        _fallback(report),
        _run_time(report),
        _queue_wait(report),
        _failures(report),
        _slow(report),
        _session(report),
    ]
    beyond = [tile["name"] for tile in tiles if tile["tone"] in ("watch", "critical")]
    words = f"Beyond a limit: {', '.join(beyond).lower()}" if beyond else "None is beyond a limit"
    tone: Tone = "critical" if any(tile["tone"] == "critical" for tile in tiles) else "watch" if beyond else "plain"
    rows = [[tile["name"], tile["value"], tile["detail"], tile["limits"]] for tile in tiles]
    return Piece("key_figures", {"tiles": tiles}, words, tone, columns_of_text(rows))


def _tile(name: str, value: str, detail: str, tone: Tone, limits: str, scale: Any = None) -> dict[str, Any]:
    return {"name": name, "value": value, "detail": detail, "tone": tone, "limits": limits, "scale": scale}


def _fallback(report: WindowReport) -> dict[str, Any]:
    share, proof, policy = report.metrics.fallback, report.verdict.evidence, report.policy
    rate = share.rate if share.missions_considered else None
    trust = "not to be trusted, events are missing; " if findings.incomplete(report) else ""
    detail = trust + formatting.share(share.missions_with_fallback, share.missions_considered)
    if proof.interval_low is not None and proof.interval_high is not None:
        detail += f", 95 %: {100 * proof.interval_low:.1f} to {formatting.percent(proof.interval_high)}"
    return _tile(
        "Fallback rate",
        formatting.percent(rate),
        detail,
        findings.fallback(report).tone,
        _limits(report, "fallback_rate"),
        _scale(rate, policy.fallback_watch, policy.fallback_critical, proof.interval_low, proof.interval_high),
    )


def _run_time(report: WindowReport) -> dict[str, Any]:
    run, proof = report.metrics.latency_seconds, report.verdict.evidence
    watch, critical = report.policy.p95_watch_seconds, report.policy.p95_critical_seconds
    return _tile(
        "Run time p95",
        formatting.duration(run.p95_seconds),
        f"p50 {formatting.duration(run.p50_seconds)}, longest {formatting.duration(run.max_seconds)}",
        findings.latency(report).tone,
        _limits(report, "latency"),
        _scale(run.p95_seconds, watch, critical, proof.p95_low_seconds, proof.p95_high_seconds),
    )


def _queue_wait(report: WindowReport) -> dict[str, Any]:
    queue, waiting = report.metrics.queue_wait_seconds, report.latency.waiting
    if queue is None:
        return _tile("Queue wait p95", formatting.NOT_AVAILABLE, "the source does not tell", "plain", "")
    detail = f"p50 {formatting.duration(queue.p50_seconds)}, longest {formatting.duration(queue.max_seconds)}"
    tone: Tone = "watch" if report.comparison.queue_wait_up else "plain"
    before = report.comparison.queue_p95.before
    limits = "no baseline" if before is None else f"before: {formatting.duration(before)}"
    if waiting:
        detail += f"; {waiting:,} still waiting"
    return _tile("Queue wait p95", formatting.duration(queue.p95_seconds), detail, tone, limits)


def _limits(report: WindowReport, name: str) -> str:
    """A gate's own limits in words."""
    settings, gate = report.policy.gate(name), BY_NAME[name]
    off = settings is None and gate.settings is not None and gate.table is None
    return "no limit in this policy" if off else gate.limits(settings, report.policy)


def _failures(report: WindowReport) -> dict[str, Any]:
    account = report.metrics.account
    if account.counts is None:
        return _tile("Failed or timed out", formatting.NOT_AVAILABLE, "the source does not tell", "plain", "")
    failed, total = account.count("failed"), account.total
    others = ", ".join(f"{number:,} {name}" for name, number in account.counts.items() if number and name != "failed")
    value = f"{failed:,} of {total:,}" if total else formatting.NOT_AVAILABLE
    tone = findings.gate_tone(report, "failures", "completions")
    return _tile("Failed or timed out", value, others or "no mission", tone, _limits(report, "failures"))


def _slow(report: WindowReport) -> dict[str, Any]:
    slow = report.latency.slow
    value = formatting.NOT_AVAILABLE if slow.share is None else f"{slow.slow:,} of {slow.matured:,}"
    detail = f"slower than {seconds_limit(slow.seconds)}; {report.latency.running:,} still running"
    tone = findings.gate_tone(report, "slow_share")
    return _tile("Slow missions", value, detail, tone, _limits(report, "slow_share"))


def _session(report: WindowReport) -> dict[str, Any]:
    metrics = report.metrics
    status = metrics.session_status or ("none" if metrics.known.session and metrics.session is None else "unknown")
    degraded = metrics.degraded_events
    detail = (
        "degradations unknown" if degraded is None else f"degraded {formatting.count(degraded, 'time')} in the window"
    )
    short = status if len(status) <= 20 else status[:19] + "…"
    return _tile("Session", short, detail, findings.gate_tone(report, "session"), _limits(report, "session"))


def _scale(
    value: float | None, watch: float, critical: float, low: float | None, high: float | None
) -> dict[str, Any] | None:
    """Positions on a scale from zero to a third beyond the critical limit, or to the value if that is more."""
    if value is None:
        return None
    end = max(critical * 4 / 3, value)
    known = low is not None and high is not None
    return {
        "value": round(min(_SCALE * value / end, _SCALE - _MARK), 1),
        "low": round(_SCALE * min((low or 0) / end, 1), 1) if known else None,
        "high": round(_SCALE * min((high or 0) / end, 1), 1) if known else None,
        "limits": [["watch", round(_SCALE * watch / end, 1)], ["critical", round(_SCALE * critical / end, 1)]],
    }


def evidence_row(report: WindowReport) -> Piece:
    """Returns the row for the evidence log: as Markdown to copy, and as a table row."""
    cells = [_plain(cell) for cell in re.split(r"(?<!\\)\|", report.row.strip()[1:-1])]
    return Piece("row", {"columns": list(COLUMNS), "cells": cells, "markdown": report.row}, text=report.row)


def _plain(cell: str) -> str:
    """A Markdown cell as its reader sees it."""
    return re.sub(r"\\([\\`|(])", r"\1", cell.strip().strip("`")).replace("&lt;", "<")


def in_words(report: WindowReport) -> Piece:
    """Returns the report's numbers as plain text, which needs no renderer and is the same on every machine."""
    judged, queue = report.verdict, report.metrics.queue_wait_seconds
    reasons = [
        f"{MARKS[TONES[reason.caution]] if reason.caution else '-'} {reason.gate.replace('_', ' ')}: {reason.sentence}"
        for reason in judged.reasons
    ]
    lines = [
        f"{judged.decision} ({judged.lane_status}, {judged.action}{', provisional' if judged.provisional else ''})",
        *reasons,
        f"Next: {judged.next_step}",
        f"Fallback: {findings.fallback(report).words}",
        f"Latency: {findings.latency(report).words}",
        f"Queue wait p95: {formatting.duration(queue.p95_seconds if queue else None)}",
        f"Events: {findings.events(report).words}",
        findings.session(report).words,
        f"Baseline: {findings.baseline(report).words}",
        f"Data quality: {findings.quality(report).words}",
        f"Evidence: {judged.evidence.strength}. {judged.evidence.distance}".strip(),
        f"Failures: {judged.evidence.failure.strength}. {judged.evidence.failure.distance}".strip(),
    ]
    return Piece("text", {}, text="\n".join(lines))
