"""The report's figures: each takes the report, draws on an Axes given or made, and returns it; none computes."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from vpanalysis import formatting
from vpanalysis.formatting import percent_limit, seconds_limit
from vpanalysis.report import bins, drawing, findings
from vpanalysis.report.latency_plots import distributions_compared as distributions_compared
from vpanalysis.report.latency_plots import latency_distribution as latency_distribution
from vpanalysis.report.latency_plots import latency_over_time as latency_over_time
from vpanalysis.report.latency_plots import queue_beside_run as queue_beside_run
from vpanalysis.report.style import BAND, BLUE, CRITICAL, DENSE, INK, MUTED, ORANGE
from vpanalysis.report.timelines import event_mix as event_mix
from vpanalysis.report.timelines import mission_timeline as mission_timeline
from vpanalysis.report.timelines import session_lifecycle as session_lifecycle
from vpanalysis.report.window_report import WindowReport

#: The missions that a rolling share is over (:func:`vpanalysis.analysis.trends.rolling_fallback`).
_ROLLING = 20


def fallback_over_time(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws the rolling fallback share with its limits, every fallback, and the window's own rate with its interval."""
    return drawing.figure(_fallback_over_time, report, ax, 2.9)


def _fallback_over_time(report: WindowReport, ax: Axes) -> str:
    rolling = report.rolling.dropna(subset=["created_at"])
    share, proof, policy = report.metrics.fallback, report.verdict.evidence, report.policy
    missions = report.metrics.missions
    if rolling.empty:
        return drawing.nothing(ax, "No mission whose fallback could be drawn over time")
    full = rolling[rolling["missions"] >= _ROLLING]
    over, whole = (f"newest {_ROLLING} missions", full) if len(full) else ("missions so far", rolling)
    peak, last = float(whole["rate"].max()), float(whole["rate"].iloc[-1])
    moved = f"peaked at {formatting.percent(peak)} and ends at" if peak > last else "is at its highest at the end,"
    doubt = " (events are missing)" if findings.incomplete(report) else ""
    drawing.titled(ax, f"The fallback share of the {over} {moved} {formatting.percent(last)}{doubt}")
    early = rolling.head(_ROLLING)
    ax.plot(early["created_at"], early["rate"], color=BLUE.light, drawstyle="steps-post", linewidth=0.9, linestyle=":")
    if len(full) > 2 * DENSE:
        runs = bins.quantiles(full, "created_at", "rate", DENSE // 3, (0.0, 0.5, 1.0))
        ax.fill_between(runs["created_at"], runs[0.0], runs[1.0], color=BAND.light, linewidth=0)
        ax.plot(runs["created_at"], runs[0.5], color=BLUE.light)
    else:
        ax.plot(full["created_at"], full["rate"], color=BLUE.light, drawstyle="steps-post")
    if len(rolling) == 1:
        ax.plot(rolling["created_at"], rolling["rate"], "o", color=BLUE.light)
    top = max(policy.fallback_critical * 1.3, float(whole["rate"].max()) * 1.12, proof.interval_high or 0)
    top = min(top, 1.05)
    _mark_fallbacks(ax, missions.loc[missions["fell_back"], "created_at"].dropna(), -0.06 * top)
    drawing.limits(ax, policy.fallback_watch, policy.fallback_critical, percent_limit)
    ax.set_ylim(-0.12 * top, top)
    drawing.share_axis(ax, top)
    ax.set_ylabel(f"Share of the {over}")
    drawing.window_axis(ax, report, missions)
    if share.rate is not None and proof.interval_low is not None and proof.interval_high is not None:
        _mark_window(ax, share.rate, proof.interval_low, proof.interval_high)
    return (
        f"Over the whole window {formatting.share(share.missions_with_fallback, share.missions_considered)} fell back. "
        f"Lines mark watch at {percent_limit(policy.fallback_watch)} and critical at "
        f"{percent_limit(policy.fallback_critical)}; triangles mark each fallback."
    )


def _mark_fallbacks(ax: Axes, times: "pd.Series[Any]", y: float) -> None:
    """Marks every fallback in a row below zero; where they are dense one mark stands for many, the more the larger."""
    if len(times) > DENSE / 2:
        places, counts = bins.counted(times)
        sizes = [5 + 35 * count / max(counts) for count in counts]
        ax.scatter(places, [y] * len(places), s=sizes, marker="^", color=ORANGE.light, linewidths=0, clip_on=False)
    else:
        ax.scatter(times, [y] * len(times), s=22, marker="^", color=ORANGE.light, linewidths=0, clip_on=False)
    if len(times):
        ax.annotate(
            f"▲ {len(times):,}", (1, y), (7, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=8,
            color=ORANGE.light, annotation_clip=False,
        )  # fmt: skip


def _mark_window(ax: Axes, rate: float, low: float, high: float) -> None:
    """Draws the window's rate with its 95 % interval in the right margin."""
    across = ax.get_yaxis_transform()
    ax.plot([1.02, 1.02], [low, high], transform=across, clip_on=False, color=INK.light, linewidth=1.4)
    ax.plot([1.02], [rate], "o", transform=across, clip_on=False, color=INK.light, markersize=5)
    ax.annotate(
        f"window\n{formatting.percent(rate)}", (1.02, rate), (7, 0),
        ("axes fraction", "data"), "offset points", va="center", fontsize=8, annotation_clip=False,
    )  # fmt: skip


def baseline_comparison(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws how far the fallback rate and the slow share moved against the window before, with 95 % intervals."""
    return drawing.figure(_baseline_comparison, report, ax, 1.9)


def _baseline_comparison(report: WindowReport, ax: Axes) -> str:
    found = report.comparison
    moves = [
        (name, change, change.interval.low, change.interval.high)
        for name, change in (
            (f"Slower than {seconds_limit(found.slow_after.seconds)}", found.slow),
            ("Fallback rate", found.fallback),
        )
        if change is not None and change.interval.low is not None and change.interval.high is not None
    ]
    if not moves:
        return drawing.nothing(ax, "There is no share of the window before to compare with")
    said = []
    for row, (name, change, low, high) in enumerate(moves):
        word = "up" if low > 0 else "down" if high < 0 else "may be chance"
        text = f"{formatting.percent(change.before)} → {formatting.percent(change.after)}"
        ink = CRITICAL if low > 0 else BLUE
        ax.plot([low, high], [row, row], color=ink.light, linewidth=2)
        ax.plot([change.change], [row], "o", color=ink.light, markersize=6)
        drawing.label(ax, f"{text}, {word}", (change.change, row), (0, 8), bold=True, ha="center")
        said.append(f"{name} {text} ({word})")
    drawing.titled(ax, "; ".join(reversed(said)))
    reach = 1.25 * max(abs(end) for *_, low, high in moves for end in (low, high))
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color=MUTED.light, linewidth=1)
    drawing.rows(ax, [name for name, *_ in moves])
    ax.set_ylim(-0.6, len(moves) - 0.2)
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:+g}" if not math.isclose(value, 0, abs_tol=1e-9) else "0")
    )
    ax.set_xlabel("Change in percentage points with its 95 % interval; right of 0 is worse")
    return "An interval that holds 0 may be chance."
