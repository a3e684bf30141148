"""The report's figures: each takes the report, draws on an Axes given or made, and returns it; none computes."""

import math
from bisect import bisect_right
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from vpanalysis import formatting
from vpanalysis.analysis.latency import LatencyProfile, run_times
from vpanalysis.report import bins, drawing, findings
from vpanalysis.report.findings import percent_limit, seconds_limit
from vpanalysis.report.style import BAND, BLUE, CRITICAL, DENSE, INK, MUTED, ORANGE, PURPLE, SURFACE, WATCH
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
    if rolling.empty or missions is None:
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
    top = max(policy.fallback_critical * 1.3, float(rolling["rate"].max()) * 1.12, proof.interval_high or 0)
    top = min(top, 1.05)
    _mark_fallbacks(ax, missions.loc[missions["fallback_seen"], "created_at"].dropna(), -0.06 * top)
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


def latency_over_time(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws each mission's run time when it was created, and p50 and p95 over runs of missions."""
    return drawing.figure(_latency_over_time, report, ax, 2.9)


def _latency_over_time(report: WindowReport, ax: Axes) -> str:
    missions, policy = report.metrics.missions, report.policy
    known = None if missions is None else missions.dropna(subset=["created_at", "duration_seconds"])
    if known is None or known.empty:
        return drawing.nothing(ax, "No mission has a run time to draw over time")
    seconds, dense = known["duration_seconds"], len(known) > DENSE
    ax.scatter(
        known["created_at"], seconds, s=5 if dense else 14, color=BLUE.light, alpha=0.2 if dense else 0.5, linewidths=0,
        rasterized=dense,
    )  # fmt: skip
    groups = min(len(known) // _ROLLING, 30)
    longest = formatting.duration(float(seconds.max()))
    if groups > 1:
        runs = bins.quantiles(known, "created_at", "duration_seconds", groups, (0.5, 0.95))
        for q, width in ((0.5, 1.0), (0.95, 1.6)):
            ax.plot(runs["created_at"], runs[q], color=INK.light, linewidth=width, marker="o", markersize=2.5)
            drawing.label(
                ax, f"p{100 * q:.0f}", (runs["created_at"].iloc[-1], runs[q].iloc[-1]), (5, 0), bold=True, va="center"
            )
        low, high = (formatting.duration(float(value)) for value in (runs[0.95].min(), runs[0.95].max()))
        drawing.titled(ax, f"Run time p95 moved between {low} and {high}; the longest run took {longest}")
    else:
        drawing.titled(ax, f"The longest of {formatting.count(len(known), 'run')} took {longest}")
    drawing.limits(ax, policy.p95_watch_seconds, policy.p95_critical_seconds, seconds_limit)
    least = float(seconds[seconds > 0].min()) if (seconds > 0).any() else 0.0
    drawing.seconds_axis(ax, "y", least, float(seconds.max()), policy.p95_critical_seconds)
    told = _mark_running(report, ax)
    ax.set_ylabel("Run time")
    drawing.window_axis(ax, report, known)
    return (
        f"Each of {formatting.count(len(known), 'dot')} is a mission.{told} Lines mark watch at "
        f"{seconds_limit(policy.p95_watch_seconds)} and critical at {seconds_limit(policy.p95_critical_seconds)}."
    )


def _mark_running(report: WindowReport, ax: Axes) -> str:
    """Marks missions that still run by hollow arrows at their time so far, at the top edge when that is beyond."""
    times = run_times(report.metrics.missions, report.metrics.generated_at)
    running = times.loc[times["state"] == "running", "seconds"].dropna()
    if running.empty or report.metrics.missions is None:
        return ""
    places = report.metrics.missions.loc[running.index, "created_at"]
    bottom, top = ax.get_ylim()
    if running.max() > top:
        ax.set_ylim(bottom, top := 1.1 * top)
    ax.scatter(
        places, running.clip(upper=top), s=26, marker="^", facecolors="none", edgecolors=WATCH.light, linewidths=1.1,
        clip_on=False, zorder=3,
    )  # fmt: skip
    longest = formatting.duration(float(running.max()))
    text = f"{len(running):,} still running, the longest for {longest}"
    drawing.label(ax, f"△ {text}", (1, 1), (-2, -8), WATCH, xycoords="axes fraction", ha="right", va="top")
    return f" {text[:1].upper()}{text[1:]}."


def latency_distribution(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws the share of missions finished by run time (Kaplan–Meier, 95 % band), with p50, p95 and the limits."""
    return drawing.figure(_latency_distribution, report, ax, 2.9)


def _latency_distribution(report: WindowReport, ax: Axes) -> str:
    profile, policy = report.latency, report.policy
    curve = profile.curve
    if curve is None:
        return drawing.nothing(ax, "No mission started, so there is no distribution of run times")
    drawing.titled(ax, _distribution_title(profile))
    before = (0.0, *curve.share_finished[:-1])
    steps = zip(curve.seconds, before, curve.share_finished, strict=True)
    finishes = [at for at, share, more in steps if more > share]
    kept = bins.thinned(len(curve.seconds), DENSE)
    seconds = [0.0, *(curve.seconds[i] for i in kept)]
    if curve.low is not None and curve.high is not None:
        low, high = ([0.0, *(ends[i] for i in kept)] for ends in (curve.low, curve.high))
        ax.fill_between(seconds, low, high, step="post", color=BAND.light, linewidth=0)
    ax.plot(seconds, [0.0, *(curve.share_finished[i] for i in kept)], color=BLUE.light, drawstyle="steps-post")
    drawing.limits(ax, policy.p95_watch_seconds, policy.p95_critical_seconds, seconds_limit, vertical=True)
    for value, name in ((profile.p50_seconds, "p50"), (profile.p95_seconds, "p95")):
        if value is not None:
            share = (0.0, *curve.share_finished)[bisect_right(curve.seconds, value)]
            ax.plot([value], [share], "o", color=INK.light, markersize=4.5, zorder=5)
            drawing.label(ax, f"{name} {formatting.duration(value)}", (value, share), (6, -4), bold=True, va="top")
    least, last = (finishes[0], finishes[-1]) if finishes else (0.0, 0.0)
    drawing.seconds_axis(ax, "x", least, last, policy.p95_critical_seconds)
    ax.set_ylim(0, 1.14)
    drawing.share_axis(ax, 1)
    ax.set_ylabel("Missions finished")
    ax.set_xlabel("Run time (started → completed)")
    return (
        f"{profile.p95_sentence} {'The band is the 95 % interval. ' if curve.low is not None else ''}"
        f"Lines mark watch at {seconds_limit(policy.p95_watch_seconds)} and critical at "
        f"{seconds_limit(policy.p95_critical_seconds)}."
    )


def _distribution_title(profile: LatencyProfile) -> str:
    running = formatting.count(profile.running, "mission")
    if profile.p50_seconds is None or profile.p95_seconds is None:
        return f"No mission has finished; {running} still running"
    finished = f"Half of the missions finish within {formatting.duration(profile.p50_seconds)}, 95 % within "
    with_running = profile.p95_with_running_seconds
    if with_running is not None and with_running < 1.5 * profile.p95_seconds:
        return finished + formatting.duration(profile.p95_seconds)
    reached = "not reached yet" if with_running is None else formatting.duration(with_running)
    return f"{finished}{formatting.duration(profile.p95_seconds)}; with the {running} still running, p95 is {reached}"


def queue_beside_run(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws p50 and p95 of queue wait and of run time, and beneath each the window before."""
    return drawing.figure(_queue_beside_run, report, ax, 2.1)


def _queue_beside_run(report: WindowReport, ax: Axes) -> str:
    names = ["Run time"] if report.metrics.queue_wait_seconds is None else ["Run time", "Queue wait"]
    stages = ((0, BLUE, "latency_seconds"), (1, PURPLE, "queue_wait_seconds"))[: len(names)]
    bars = [
        (row, ink, now, stage)
        for row, ink, field in stages
        for now, metrics in ((True, report.metrics), (False, report.baseline))
        if metrics is not None and (stage := getattr(metrics, field)) is not None and stage.p95_seconds is not None
    ]
    if not any(now for _, _, now, _ in bars):
        return drawing.nothing(ax, "No mission has a queue wait or a run time")
    queue, run = report.metrics.queue_wait_seconds, report.metrics.latency_seconds
    said = [
        f"{verb} up to {formatting.duration(stage.p95_seconds)}"
        for verb, stage in (("waited", queue), ("ran", run))
        if stage is not None and stage.p95_seconds is not None
    ]
    drawing.titled(ax, f"95 % of missions {' and '.join(said)}")
    for row, ink, now, stage in bars:
        y, wide = row + (0.16 if now else -0.2), 8 if now else 3.5
        ax.plot(
            [0, stage.p95_seconds],
            [y, y],
            color=ink.light,
            linewidth=wide,
            alpha=1 if now else 0.6,
            solid_capstyle="butt",
        )
        notch = SURFACE if now else ink
        ax.plot([stage.p50_seconds], [y], "|", color=notch.light, markersize=8, markeredgewidth=1.6)
        text = f"p95 {formatting.duration(stage.p95_seconds)}, p50 {formatting.duration(stage.p50_seconds)}"
        place, before = (stage.p95_seconds, y), "" if now else "before: "
        drawing.label(ax, before + text, place, (6, 0), INK if now else MUTED, bold=now, va="center")
    drawing.rows(ax, names)
    ax.set_xlim(0, 1.6 * max(stage.p95_seconds for *_, stage in bars) or 1)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: drawing.short_duration(value)))
    ax.set_xlabel("Bars end at p95; the notch is p50")
    median = formatting.duration(queue.p50_seconds if queue else None)
    return f"Median wait {median}, median run {formatting.duration(run.p50_seconds)}."


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
