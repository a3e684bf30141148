"""Fallback: the share, what so few missions tell of the true rate, and when it happened."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from vpanalysis import formatting
from vpanalysis.analysis.gates.recent_change import since
from vpanalysis.formatting import percent_limit
from vpanalysis.report import blocks, drawing
from vpanalysis.report.finding import Finding, fallback_rate, gate_tone, incomplete, limits, place, strength, thin
from vpanalysis.report.piece import Piece
from vpanalysis.report.sections.tile import Tile, gauge, sparkline
from vpanalysis.report.style import BAND, BLUE, CRITICAL, DENSE, INK, ORANGE
from vpanalysis.report.window_report import WindowReport

#: The missions that a rolling share is over (:func:`vpanalysis.analysis.trends.rolling_fallback`).
_ROLLING = 20


def finding(report: WindowReport) -> Finding:
    """Returns how many missions fell back, and where that stands."""
    share, policy = report.metrics.fallback, report.policy
    if share.missions_considered == 0:
        return Finding("No mission in the window, so there is no rate", "quiet")
    if share.rate is None:
        return Finding("Unknown: the source does not give the rate", "watch")
    stands = place(share.rate, policy.fallback_watch, policy.fallback_critical)
    counted = formatting.share(share.missions_with_fallback, share.missions_considered)
    known = counted if counted != formatting.NOT_AVAILABLE else formatting.percent(share.rate)
    if incomplete(report):
        if stands.tone == "good":
            return Finding(f"Unknown: {known} are seen to have fallen back, but events are missing", "watch")
        known = f"At least {known}"
    if report.verdict.evidence.signal == "not recorded":
        return Finding(f"{known}, which proves nothing: this lane does not report fallbacks", "quiet")
    if stands.tone == "good" and thin(report):
        critical = percent_limit(policy.fallback_critical)
        return Finding(f"{known}: {stands.words}, but too few missions to rule out {critical}", "quiet")
    return Finding(f"{known}: {stands.words}", stands.tone)


def table(report: WindowReport) -> Piece:
    """Returns what the data can say of the true fallback rate."""
    evidence, policy = report.verdict.evidence, report.policy
    basis = "Clopper–Pearson"
    if evidence.basis == "anytime":  # missions that leave the window take with them what they showed
        basis = "however often one looks" if report.metrics.window.last_missions is None else "for a single look"
    rows = [
        ["Settled missions that could record a fallback", formatting.share(evidence.against, evidence.missions)],
        [f"True rate, lower 95 % bound ({basis})", formatting.percent(evidence.lower_bound)],
        [f"True rate, upper 95 % bound ({basis})", formatting.percent(evidence.upper_bound)],
        [f"Claim that it is below {percent_limit(policy.fallback_watch)}", strength(evidence)],
    ]
    return blocks.piece(blocks.pairs("The true fallback rate", rows), found=finding(report))


def tile(report: WindowReport) -> Tile:
    """Returns the fallback rate with the bounds of the true one."""
    share, evidence = report.metrics.fallback, report.verdict.evidence
    before, unsure = report.baseline, incomplete(report)
    detail, tone = "the source does not say how many", gate_tone(report, "fallback_rate")
    if share.missions_considered == 0:
        detail = "no mission in the window"
    elif share.missions_with_fallback is not None and share.missions_considered is not None:
        detail = f"{share.missions_with_fallback:,} of {formatting.count(share.missions_considered, 'mission')}"
        settled, against = evidence.missions, evidence.against
        if unsure:
            detail = f"unknown, because events are missing; {detail} seen to fall back"
        elif settled and against is not None and settled < share.missions_considered:
            detail += f", {formatting.percent(against / settled)} of the {settled:,} that could record one"
    if evidence.signal == "not recorded" and tone == "good":
        detail, tone = f"{detail}; {strength(evidence)}", "quiet"
    elif evidence.upper_bound is not None:
        detail += f"; true rate at most {formatting.percent(evidence.upper_bound)} (95 %)"
        tone = "quiet" if tone == "good" and thin(report) else tone
    low, high = evidence.lower_bound, evidence.upper_bound
    return Tile(
        "Fallback rate",
        fallback_rate(report.metrics),
        detail,
        tone,
        limits(report, "fallback_rate"),
        fallback_rate(before) if before and before.fallback.missions_considered else "",
        None if unsure else gauge(share.of_any, _lines(report), low, high),
        sparkline([*(past.fallback_rate for past in report.preceding), share.of_any]),
    )


def _lines(report: WindowReport) -> dict[str, float]:
    return {"watch": report.policy.fallback_watch, "critical": report.policy.fallback_critical}


@drawing.figure(2.3)
def fallback_over_time(report: WindowReport, ax: Axes) -> str:
    """Draws the rolling fallback share with its limits, every fallback, and the window's own rate with its bounds."""
    rolling = report.rolling.dropna(subset=["created_at"])
    share, evidence, policy = report.metrics.fallback, report.verdict.evidence, report.policy
    missions = report.metrics.missions
    if rolling.empty:
        return drawing.nothing(ax, "No mission whose fallback could be drawn over time")
    if evidence.signal == "not recorded" and not share.missions_with_fallback:
        return drawing.nothing(ax, "This lane does not report fallbacks, so there is no share to draw")
    full = rolling[rolling["missions"] >= _ROLLING]
    over, whole = (f"newest {_ROLLING} missions", full) if len(full) else ("missions so far", rolling)
    peak, last = float(whole["rate"].max()), float(whole["rate"].iloc[-1])
    moved = f"peaked at {formatting.percent(peak)} and ends at" if peak > last else "is at its highest at the end,"
    moved = "is always" if peak == float(whole["rate"].min()) else moved
    title = f"The fallback share of the {over} {moved} {formatting.percent(last)}"
    drawing.titled(ax, title if not incomplete(report) else f"Events are missing; as far as they show, t{title[1:]}")
    top = max(policy.fallback_critical * 1.3, float(whole["rate"].max()) * 1.12, evidence.upper_bound or 0)
    top = min(top, 1.05)
    early = rolling.head(_ROLLING if len(full) else 0)
    early = early[early["rate"] <= top]
    if len(early[["created_at", "rate"]].drop_duplicates()) > 1:
        ax.plot(
            early["created_at"], early["rate"], color=BLUE.light, drawstyle="steps-post", linewidth=0.9, linestyle=":",
            label=f"fewer than {_ROLLING} missions so far",
        )  # fmt: skip
    if len(full) > 2 * DENSE:
        runs = drawing.quantiles(full, "created_at", "rate", DENSE // 3, (0.0, 0.5, 1.0))
        low_to_high = f"lowest to highest of each {len(full) * 3 // DENSE:,} missions"
        ax.fill_between(runs["created_at"], runs[0.0], runs[1.0], color=BAND.light, linewidth=0, label=low_to_high)
        ax.plot(runs["created_at"], runs[0.5], color=BLUE.light)
    else:
        ax.plot(whole["created_at"], whole["rate"], color=BLUE.light, drawstyle="steps-post")
    if whole["created_at"].nunique() == 1:  # a line would not show
        ax.plot(whole["created_at"], whole["rate"], "o", color=BLUE.light)
    fallbacks = missions[missions["fell_back"] & missions["created_at"].notna()]
    _mark_fallbacks(ax, fallbacks["created_at"], -0.06 * top)
    drawing.tell(ax, report, fallbacks, pd.Series(-0.06 * top, fallbacks.index))
    drawing.share_axis(ax, "Fallback share", top, -0.12 * top)
    marked = drawing.limits(ax, _lines(report), percent_limit)
    _mark_change(ax, report)
    if share.rate is not None and evidence.lower_bound is not None and evidence.upper_bound is not None:
        rate, name, bounds = share.rate, "window", ""
        if evidence.missions and evidence.missions < (share.missions_considered or 0):  # the bounds are of these alone
            rate, name = (evidence.against or 0) / evidence.missions, "recordable"
            bounds = f"95 % bounds of the {evidence.missions:,} that could record one"
        _mark_window(ax, rate, evidence.lower_bound, evidence.upper_bound, name, bounds)
    drawing.legend(ax)
    drawing.window_axis(ax, report, missions)
    return (
        f"Over the whole window {formatting.share(share.missions_with_fallback, share.missions_considered)} fell back. "
        f"{marked.removesuffix('.')}; triangles mark each fallback."
    )


def _mark_change(ax: Axes, report: WindowReport) -> None:
    """Marks the first fallback of the newest missions that are above the watch line, unless they are nearly all."""
    missions = report.metrics.missions
    tripped = any(reason.gate == "recent_change" and reason.caution == "WATCH" for reason in report.verdict.reasons)
    moment = since(report.metrics, report.policy.gate("recent_change")) if tripped else None
    newest = missions[missions["created_at"] >= moment] if moment is not None else missions.head(0)
    if 2 * len(newest) <= len(missions) and newest["fell_back"].any():
        first = newest.loc[newest["fell_back"], "created_at"].min()
        ax.axvline(first, color=CRITICAL.light, linewidth=1.2, linestyle="-.")
        drawing.label(
            ax, "change", (first, 1), (-4, -2), CRITICAL, xycoords=("data", "axes fraction"), va="top", ha="right"
        )


def _mark_fallbacks(ax: Axes, times: "pd.Series[Any]", y: float) -> None:
    """Marks every fallback in a row below zero; where they are dense one mark stands for many, the more the larger."""
    places: Any = times
    sizes: Any = 22
    if len(times) > DENSE / 2:
        places, counts = drawing.counted(times)
        sizes = [5 + 35 * count / max(counts) for count in counts]
    ax.scatter(places, [y] * len(places), s=sizes, marker="^", color=ORANGE.light, linewidths=0, clip_on=False)
    if len(times):
        ax.annotate(
            f"▲ {len(times):,} fell back", (1, y), (7, 0), ("axes fraction", "data"), "offset points", va="center",
            fontsize=8, color=ORANGE.light, annotation_clip=False,
        )  # fmt: skip


def _mark_window(ax: Axes, rate: float, low: float, high: float, name: str, label: str) -> None:
    """Draws the rate over the window in the right margin, with the true one's bounds; ``label`` is their legend."""
    across = ax.get_yaxis_transform()
    ax.plot([1.02, 1.02], [low, high], transform=across, clip_on=False, color=INK.light, linewidth=1.4, label=label)
    ax.plot([1.02], [rate], "o", transform=across, clip_on=False, color=INK.light, markersize=5)
    va = "center" if rate > ax.get_ylim()[1] / 8 else "bottom"
    ax.annotate(
        f"{name}\n{formatting.percent(rate)}", (1.02, rate), (7, 0), ("axes fraction", "data"), "offset points", va=va,
        fontsize=8, annotation_clip=False,
    )  # fmt: skip
