"""Against the baseline: the window and the one before it."""

import math
from datetime import datetime
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from vpanalysis import formatting
from vpanalysis.analysis.intervals import ShareDifference
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.formatting import seconds_limit
from vpanalysis.report import blocks, drawing
from vpanalysis.report.finding import Finding, fallback_rate
from vpanalysis.report.piece import Piece, Tone
from vpanalysis.report.style import BLUE, CRITICAL, MUTED
from vpanalysis.report.window_report import WindowReport


def finding(report: WindowReport) -> Finding:
    """Returns the playbook's reading (§3.2) of the window against the one before."""
    found = report.comparison
    waited = found.queue_wait_up and not found.queue_stuck
    rose = [name for name, up in (("run time", found.run_time_up), ("queue wait", waited)) if up]
    stuck = f" and {formatting.count(found.waiting_after, 'mission')} still wait" if found.queue_stuck else ""
    if found.conclusion == "load_pressure":
        risen = f"{' and '.join(rose)} rose{stuck}" if rose else stuck.removeprefix(" and ")
        return Finding(f"Load or queue pressure: {risen}, fallbacks did not rise", "watch")
    if found.conclusion == "degradation":
        rise = " and ".join([*rose, "fallback rate"])
        return Finding(f"Runtime degradation or adapter instability: {rise} rose{stuck}", "watch")
    if found.fallback_up:
        return Finding("The fallback rate rose, durations did not", "watch")
    if found.conclusion == "not_enough_data":
        return Finding("Not enough data to compare", "quiet")
    return Finding("Neither the fallback rate nor a duration rose beyond chance", "good")


def table(report: WindowReport) -> Piece:
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
        [
            "Missions considered",
            formatting.known_count(found.missions_before),
            formatting.known_count(found.missions_after),
            "",
        ],
        ["Failed or timed out", *(formatting.known_count(_failed(side)) for side in sides), ""],
        _share_row(
            "Fallback rate",
            found.fallback,
            *(fallback_rate(side) if side else formatting.NOT_AVAILABLE for side in sides),
        ),
        _share_row(
            f"Slower than {seconds_limit(found.slow_after.seconds)}",
            found.slow,
            formatting.percent(found.slow_before.share if found.slow_before else None),
            formatting.percent(found.slow_after.share),
        ),
    ]
    for name, change in quantiles:
        known = change.before is not None and change.after is not None
        stuck = found.queue_stuck and name.startswith("Queue wait")
        rose = blocks.marked("watch", "up by those still waiting" if stuck else "up")
        moved = rose if change.up else "no rise shown" if known else ""
        rows.append([name, formatting.duration(change.before), formatting.duration(change.after), moved])
    columns = [("Measure", "text"), ("Before", "number"), ("Now", "number"), ("Change (95 % interval)", "number")]
    note = ""
    if found.waiting_before or found.waiting_after:
        rows.append(["Still in the queue", f"{found.waiting_before:,}", f"{found.waiting_after:,}", ""])
        note = "Whether the queue wait rose also counts the missions still in the queue, with their wait so far."
    return blocks.piece(blocks.table("This window and the one before", columns, rows, note=note), found=finding(report))


def sentence(report: WindowReport) -> Piece:
    """Returns what the comparison's table does not say: what is missing, or what else to think of."""
    found = report.comparison
    missing = found.sentence.partition(": ")[2] if found.conclusion == "not_enough_data" else ""
    return blocks.piece(blocks.sentence(formatting.capitalized(missing) or found.remarks), found=finding(report))


def _created(side: Metrics | None, which: str) -> datetime | None:
    if side is None:
        return None
    moment: datetime = getattr(side.missions["created_at"], which)()
    return moment


def _failed(side: Metrics | None) -> int | None:
    return None if side is None or side.account.counts is None else side.account.count("failed")


def _share_row(name: str, change: ShareDifference | None, before: str, after: str) -> list[Any]:
    if change is None or change.interval.low is None or change.interval.high is None:
        return [name, before, after, ""]
    low, high = change.interval.low, change.interval.high
    moved = f"{formatting.points(change.change)} points ({formatting.points(low)} to {formatting.points(high)})"
    tone: Tone = "watch" if low > 0 else "plain"
    return [name, before, after, blocks.marked(tone, moved)]


@drawing.figure(1.7)
def baseline_comparison(report: WindowReport, ax: Axes) -> str:
    """Draws how far the fallback rate and the slow share moved against the window before, with 95 % intervals."""
    found = report.comparison
    slower = f"slower than {seconds_limit(found.slow_after.seconds)}"
    moves = [
        (name, none, change, change.interval.low, change.interval.high)
        for name, none, change in (
            (slower, f"no mission {slower}", found.slow),
            ("fallback rate", "no fallback", found.fallback),
        )
        if change is not None and change.interval.low is not None and change.interval.high is not None
    ]
    if not moves:
        return drawing.nothing(ax, "There is no share in the window before to compare with")
    findings = []
    reach = 1.25 * max(abs(end) for *_, low, high in moves for end in (low, high))
    for row, (name, none, change, low, high) in enumerate(moves):
        word = "up" if low > 0 else "down" if high < 0 else "may be chance"
        was, now = formatting.percent(change.before), formatting.percent(change.after)
        text, finding = f"{was} → {now}, {word}", f"{name} {was} → {now} ({word})"
        if was == now:
            text, finding = f"{now}, as before", f"{name} {now}, as before"
        if change.before == change.after == 0:
            text, finding = "none, before or now", f"{none}, before or now"
        ink = CRITICAL if low > 0 else BLUE
        ax.plot([low, high], [row, row], color=ink.light, linewidth=2)
        ax.plot([change.change], [row], "o", color=ink.light, markersize=6)
        ha = "center" if change.change > reach / 4 else "left"  # a narrow page shows what is right of zero
        drawing.label(ax, text, (change.change, row), (0, 8), bold=True, ha=ha)
        findings.append(finding)
    title = "; ".join(reversed(findings))
    drawing.titled(ax, formatting.capitalized(title))
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color=MUTED.light, linewidth=1)
    drawing.rows(ax, [name.capitalize() for name, *_ in moves])
    ax.set_ylim(-0.5, len(moves) - 0.3)
    ax.xaxis.set_major_formatter(
        FuncFormatter(
            lambda value, _: f"{100 * value:+g}".replace("-", "−") if not math.isclose(value, 0, abs_tol=1e-9) else "0"
        )
    )
    ax.set_xlabel("Change in percentage points (95 %); right of 0 is worse")
    return "Where an interval includes 0, the change may be chance."
