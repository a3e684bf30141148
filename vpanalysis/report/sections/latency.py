"""Latency: queue wait and run time apart, over time, as a distribution, and against the window before."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vpanalysis import formatting
from vpanalysis.analysis.gates.latency import judge, lines
from vpanalysis.analysis.intervals import SurvivalCurve
from vpanalysis.analysis.run_times import LatencyProfile, run_times, slowness, waiting
from vpanalysis.data.snapshot import LatencySeconds
from vpanalysis.formatting import seconds_limit
from vpanalysis.report import blocks, drawing
from vpanalysis.report.finding import Finding, gate_tone, limits
from vpanalysis.report.piece import Piece, Tone
from vpanalysis.report.sections.tile import Tile, gauge, sparkline
from vpanalysis.report.style import BAND, BLUE, DENSE, INK, MUTED, PURPLE, SURFACE, WATCH, Ink
from vpanalysis.report.window_report import WindowReport

#: Fewest missions whose p50 and p95 are drawn as one point over time, and the most such points.
_RUN, _RUNS = 20, 30


def finding(report: WindowReport) -> Finding:
    """Returns the run time's p95, and where that stands."""
    run, policy = report.metrics.latency_seconds, report.policy
    if run.p95_seconds is None:
        tone = gate_tone(report, "latency")
        return Finding("No mission has a run time, so there is no p95", "quiet" if tone == "plain" else tone)
    words = judge(report.metrics, policy.gate("latency"), policy).sentence.rstrip(".").removeprefix("Not assessed: ")
    if gate_tone(report, "slow_share") in ("watch", "critical") and run.p95_seconds < policy.p95_critical_seconds:
        slow = report.latency.slow
        words += f", but {slow.slow:,} of {slow.matured:,} took over {seconds_limit(slow.seconds)}{_unfinished(report)}"
    return Finding(formatting.capitalized(words), gate_tone(report, "latency", "slow_share"))


def _unfinished(report: WindowReport) -> str:
    """How many of the slow missions have not finished; ``""`` for none."""
    slower = slowness(report.metrics, report.latency.slow.seconds).fillna(False)
    number = int((slower & (run_times(report.metrics)["state"] == "running")).sum())
    return f", counting {number:,} still unfinished" if number else ""


def _lines(report: WindowReport) -> dict[str, float]:
    return lines(report.policy.gate("latency"), report.policy)


def table(report: WindowReport) -> Piece:
    """Returns queue wait (by tier) and run time apart, with p95's interval and the share of slow missions."""
    fields = ("p50_seconds", "p95_seconds", "max_seconds", "avg_seconds")
    rows = [
        [name, f"{stage.count:,}", *(formatting.duration(getattr(stage, field)) for field in fields)]
        for name, stage in (
            ("Queue wait (created → started)", report.metrics.queue_wait_seconds),
            ("Run time (started → completed)", report.metrics.latency_seconds),
        )
        if stage is not None
    ]
    for tier in report.latency.tiers if len(report.latency.tiers) > 1 else ():
        waits = (formatting.duration(tier.p50_seconds), formatting.duration(tier.p95_seconds))
        still = f", {tier.waiting:,} waiting" if tier.waiting else ""
        rows.append([f"Queue wait, tier {tier.tier.replace('_', ' ')}", f"{tier.missions:,}{still}", *waits, "", ""])
    columns = [("Stage", "text"), *((name, "number") for name in ("Missions", "p50", "p95", "Longest", "Mean"))]
    return blocks.piece(
        blocks.table("Queue wait and run time", columns, rows, note=report.latency.p95_sentence),
        blocks.sentence(report.latency.finding),
        found=finding(report),
    )


def run_time_tile(report: WindowReport) -> Tile:
    """Returns p95 of the run time."""
    run, evidence = report.metrics.latency_seconds, report.verdict.evidence
    before = report.comparison.run_p95.before
    return Tile(
        "Run time p95",
        formatting.duration(run.p95_seconds),
        _spread(run, "no mission has a run time", "longest finished run"),
        gate_tone(report, "latency"),
        limits(report, "latency"),
        "" if before is None else formatting.duration(before),
        gauge(run.p95_seconds, _lines(report), evidence.p95_low_seconds, evidence.p95_high_seconds),
        sparkline([*(past.p95_seconds for past in report.preceding), run.p95_seconds]),
    )


def queue_wait_tile(report: WindowReport) -> Tile:
    """Returns p95 of the queue wait."""
    queue, change = report.metrics.queue_wait_seconds, report.comparison.queue_p95
    if queue is None:
        return Tile("Queue wait p95", formatting.NOT_AVAILABLE, "the source does not say", "quiet")
    tone: Tone = "quiet" if queue.p95_seconds is None and report.metrics.account.total else "plain"
    if (waiting(report.metrics)["outcome"] == "overdue").any():
        tone = "watch" if gate_tone(report, "completions") == "watch" else "quiet"
    return Tile(
        "Queue wait p95",
        formatting.duration(queue.p95_seconds),
        _spread(queue, "no mission has started", "longest") + _waiting(report),
        tone,
        limits="overdue after 60 min of waiting",
        before="" if change.before is None else formatting.duration(change.before),
    )


def _waiting(report: WindowReport) -> str:
    """How many missions are still in the queue, and for how long; ``""`` for none."""
    number, longest = report.latency.waiting, formatting.duration(report.latency.longest_waiting_seconds)
    return f"; {number:,} still waiting, up to {longest}" if number else ""


def _spread(stage: LatencySeconds, none: str, longest: str) -> str:
    if stage.p95_seconds is None:
        return none
    return f"p50 {formatting.duration(stage.p50_seconds)}, {longest} {formatting.duration(stage.max_seconds)}"


def slow_tile(report: WindowReport) -> Tile:
    """Returns the share of missions slower than the critical run time."""
    slow, before = report.latency.slow, report.comparison.slow_before
    over, running = seconds_limit(slow.seconds), report.latency.running
    unknown = slow.share is None or (not slow.slow and not report.metrics.account.count("completed"))
    detail = f"took over {over}{_unfinished(report) or (f'; {running:,} still running' if running else '')}"
    if slow.share is None:
        detail = f"no mission started at least {over} ago"
    elif unknown:
        detail = "no mission has completed, so how long one takes is unknown"
    return Tile(
        "Slow missions",
        formatting.NOT_AVAILABLE if unknown else f"{slow.slow:,} of {slow.matured:,}",
        detail,
        gate_tone(report, "slow_share"),
        limits(report, "slow_share"),
        f"{before.slow:,} of {before.matured:,}" if before and before.matured else "",
    )


@drawing.figure(2.3)
def latency_over_time(report: WindowReport, ax: Axes) -> str:
    """Draws each mission's run time when it was created, and p50 and p95 over runs of missions."""
    missions, policy = report.metrics.missions, report.policy
    known = missions.dropna(subset=["created_at", "duration_seconds"])
    if known.empty:
        return drawing.nothing(ax, "No mission has a run time to draw over time")
    seconds, dense = known["duration_seconds"], len(known) > DENSE
    ax.scatter(
        known["created_at"], seconds, s=5 if dense else 14, color=BLUE.light, alpha=0.2 if dense else 0.5, linewidths=0,
        rasterized=dense, clip_on=False,
    )  # fmt: skip
    groups = min(len(known) // _RUN, _RUNS)
    longest = formatting.duration(float(seconds.max()))
    if groups > 1:
        runs = drawing.quantiles(known, "created_at", "duration_seconds", groups, (0.5, 0.95))
        for q, width, va in ((0.5, 1.0, "top"), (0.95, 1.6, "bottom")):
            ax.plot(runs["created_at"], runs[q], color=INK.light, linewidth=width, marker="o", markersize=2.5)
            end = (1, float(runs[q].iloc[-1]))
            drawing.label(ax, f"p{100 * q:.0f}", end, (4, 0), bold=True, va=va, xycoords=("axes fraction", "data"))
        low, high = (formatting.duration(float(value)) for value in (runs[0.95].min(), runs[0.95].max()))
        drawing.titled(ax, f"Run time p95 moved between {low} and {high}; the longest finished run took {longest}")
    else:
        which = "The only finished run" if len(known) == 1 else f"The longest of {len(known):,} finished runs"
        drawing.titled(ax, f"{which} took {longest}")
    least = float(seconds[seconds > 0].min()) if (seconds > 0).any() else 0.0
    drawing.seconds_axis(ax, "y", least, float(seconds.max()), policy.p95_critical_seconds)
    running = _mark_running(report, ax)
    marked = drawing.limits(ax, _lines(report), seconds_limit)
    if not dense:
        drawing.tell(ax, report, known, seconds)
    ax.set_ylabel("Run time")
    drawing.window_axis(ax, report, missions)
    return (f"Each of {formatting.count(len(known), 'dot')} is a mission.{running} {marked}").strip()


def _mark_running(report: WindowReport, ax: Axes) -> str:
    """Marks missions that still run by hollow arrows at their time so far, at the top edge when that is beyond."""
    times = run_times(report.metrics)
    running = times.loc[times["state"] == "running", "seconds"].dropna()
    if running.empty:
        return ""
    places = report.metrics.missions.loc[running.index, "created_at"]
    bottom, top = ax.get_ylim()
    if running.max() > top:
        ax.set_ylim(bottom, top := 1.1 * top)
    longest = formatting.duration(float(running.max()))
    text = f"{len(running):,} still running, " + ("the longest " if len(running) > 1 else "") + f"for {longest}"
    ax.scatter(
        places, running.clip(upper=top), s=26, marker="^", facecolors="none", edgecolors=WATCH.light, linewidths=1.1,
        clip_on=False, zorder=3, label=text,
    )  # fmt: skip
    drawing.legend(ax)
    return f" {formatting.capitalized(text)}."


@drawing.figure(2.6)
def latency_distribution(report: WindowReport, ax: Axes) -> str:
    """Draws the share of missions finished by run time (Kaplan–Meier, 95 % band), with p50, p95 and the limits."""
    profile = report.latency
    curve = profile.curve
    if curve is None or profile.p50_seconds is None:
        return drawing.nothing(ax, "No mission completed, so there is no distribution of run times")
    drawing.titled(ax, _distribution_title(profile))
    _draw_curve(ax, curve, BLUE)
    points = [(profile.p50_seconds, "p50"), (profile.p95_seconds, "p95")]
    if profile.p50_seconds == profile.p95_seconds:
        points = [(profile.p50_seconds, "p50 and p95")]
    for value, name in points:
        if value is not None:
            share = _finished_by(curve, value)
            ax.plot([value], [share], "o", color=INK.light, markersize=4.5, zorder=5)
            drawing.label(ax, f"{name} {formatting.duration(value)}", (value, share), (6, -4), bold=True, va="top")
    marked = _distribution_axes(ax, report, [curve])
    band = "The band is the 95 % interval. " if curve.low is not None else ""
    return f"{profile.p95_sentence} {band}{marked}".strip()


def _draw_curve(ax: Axes, curve: SurvivalCurve, ink: Ink, band: Ink | None = BAND) -> Line2D:
    """Draws the share finished by run time as steps, with its 95 % band where it is known; returns the line."""
    kept = drawing.thinned(len(curve.seconds), DENSE // 2)
    seconds = [0.0, *(curve.seconds[i] for i in kept)]
    if band is not None and curve.low is not None and curve.high is not None:
        low, high = ([0.0, *(ends[i] for i in kept)] for ends in (curve.low, curve.high))
        ax.fill_between(seconds, low, high, step="post", color=band.light, linewidth=0)
    shares = [0.0, *(curve.share_finished[i] for i in kept)]
    return ax.plot(seconds, shares, color=ink.light, drawstyle="steps-post")[0]


def _finished_by(curve: SurvivalCurve, seconds: float) -> float:
    return (0.0, *curve.share_finished)[bisect_right(curve.seconds, seconds)]


def _distribution_axes(ax: Axes, report: WindowReport, curves: Sequence[SurvivalCurve]) -> str:
    """Scales for curves up to the last finish, for running missions only make them flat; what the lines mark."""
    finishes = [
        at
        for curve in curves
        for at, (before, share) in zip(curve.seconds, pairwise((0.0, *curve.share_finished)), strict=True)
        if share > before
    ]
    critical = report.policy.p95_critical_seconds
    drawing.seconds_axis(ax, "x", min(finishes, default=0.0), max(finishes, default=0.0), critical)
    marked = drawing.limits(ax, _lines(report), seconds_limit, vertical=True)
    drawing.share_axis(ax, "Missions finished", 1.14)
    ax.set_xlabel("Run time (started → completed)")
    return marked


@drawing.figure(2.6)
def distributions_compared(report: WindowReport, ax: Axes) -> str:
    """Draws the share of missions finished by run time in this window and in the one before."""
    before = report.baseline_latency
    shown = [
        (name, profile, profile.curve, ink, band)
        for name, profile, ink, band in (("before", before, MUTED, None), ("this window", report.latency, BLUE, BAND))
        if profile is not None and profile.curve is not None and profile.p95_seconds is not None
    ]
    if len(shown) < 2:
        return drawing.nothing(ax, "No run times of two windows to compare")
    p95s = [f"{name} {formatting.duration(profile.p95_seconds)}" for name, profile, *_ in shown]
    drawing.titled(ax, f"95 % of missions finish within: {', '.join(p95s)}")
    for name, _, curve, ink, band in shown:
        line = _draw_curve(ax, curve, ink, band)
        line.set(label=name, linestyle="-" if band else "--")
    _distribution_axes(ax, report, [curve for _, _, curve, _, _ in shown])
    ax.legend(loc="lower right", facecolor=SURFACE.light, edgecolor="none", framealpha=1)  # legible over a limit
    medians = ", ".join(f"{name} {formatting.duration(profile.p50_seconds)}" for name, profile, *_ in shown)
    return f"Medians: {medians}. The band is the 95 % interval of this window."


def _distribution_title(profile: LatencyProfile) -> str:
    running = formatting.count(profile.running, "mission")
    finished = f"Half of the missions finish within {formatting.duration(profile.p50_seconds)}, 95 % within "
    with_running = profile.p95_with_running_seconds
    if with_running is not None and with_running <= 1.5 * (profile.p95_seconds or 0):
        return finished + formatting.duration(profile.p95_seconds)
    reached = "not reached yet" if with_running is None else formatting.duration(with_running)
    return f"{finished}{formatting.duration(profile.p95_seconds)}; with the {running} still running, p95 is {reached}"


@drawing.figure(2.1)
def queue_beside_run(report: WindowReport, ax: Axes) -> str:
    """Draws p50 and p95 of queue wait and of run time, and beneath each the window before."""
    queue, run = report.metrics.queue_wait_seconds, report.metrics.latency_seconds
    names = ["Run time"] if queue is None else ["Run time", "Queue wait"]
    stages = ((0, BLUE, "latency_seconds"), (1, PURPLE, "queue_wait_seconds"))[: len(names)]
    bars = [
        (row, ink, now, stage)
        for row, ink, field in stages
        for now, metrics in ((True, report.metrics), (False, report.baseline))
        if metrics is not None and (stage := getattr(metrics, field)) is not None and stage.p95_seconds is not None
    ]
    if not any(now for _, _, now, _ in bars):
        return drawing.nothing(ax, f"No mission has a queue wait or a run time{_waiting(report)}")
    times = [
        f"{verb} up to {formatting.duration(stage.p95_seconds)}"
        for verb, stage in (("waited", queue), ("ran", run))
        if stage is not None and stage.p95_seconds is not None
    ]
    unknown = "; how long they waited is unknown" if queue is None or queue.p95_seconds is None else ""
    drawing.titled(ax, f"95 % of the missions that started {' and '.join(times)}{unknown}{_waiting(report)}")
    longest = max(stage.p95_seconds for *_, stage in bars)
    for row, ink, now, stage in bars:
        y, wide, above = (row + 0.1 * (len(bars) > len(names)), 8, 10) if now else (row - 0.34, 3.5, 7)
        alpha = 1 if now else 0.6
        ax.plot([0, stage.p95_seconds], [y, y], color=ink.light, linewidth=wide, alpha=alpha, solid_capstyle="butt")
        notch = SURFACE if now else ink
        ax.plot([stage.p50_seconds], [y], "|", color=notch.light, markersize=8, markeredgewidth=1.6)
        text = f"p95 {formatting.duration(stage.p95_seconds)}, p50 {formatting.duration(stage.p50_seconds)}"
        before = "" if now else "before: "
        drawing.label(ax, before + text, (0, y), (3, above), INK if now else MUTED, bold=now, va="center")
    drawing.rows(ax, names)
    drawing.duration_ticks(ax, "x", longest)
    ax.set_xlim(0, 1.05 * longest or 1)
    ax.set_xlabel("Bars end at p95; the notch is p50")
    median = formatting.duration(queue.p50_seconds if queue else None)
    return f"Median wait {median}, median run {formatting.duration(run.p50_seconds)}."
