"""The report's figures. Each takes the report, draws on an Axes given or made, and returns it; none computes a result."""

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from vpanalysis import formatting
from vpanalysis.data.schema import ORPHANED_STATUSES
from vpanalysis.report import bins, findings, style
from vpanalysis.report.style import BAND, BLUE, CRITICAL, DENSE, INK, MUTED, ORANGE, PURPLE, WATCH, Ink, ReportAxes

if TYPE_CHECKING:
    from vpanalysis.report.window_report import WindowReport

#: Stretches of time into which a figure divides its window when single marks would be too many.
_BINS = 90
#: Row, ink and marker of each outcome of a mission; the marker tells them apart without colour.
_OUTCOMES: tuple[tuple[str, Ink, str], ...] = (
    ("completed", BLUE, "o"),
    ("failed", CRITICAL, "X"),
    ("timed_out", CRITICAL, "v"),
    ("cancelled", MUTED, "s"),
    ("unfinished", WATCH, "D"),
)


def _figure(
    draw: Callable[["WindowReport", Axes], str], report: "WindowReport", ax: Axes | None, height: float
) -> Axes:
    """Draws on the given Axes or a new one; what ``draw`` returns is added to the title as alternative text."""
    with style.styled():
        axes = style.new_axes(height) if ax is None else ax
        details = draw(report, axes)
        if isinstance(axes, ReportAxes):
            title = " ".join(axes.get_title(loc="left").split())
            axes.alt = f"{title}. {details}".strip()
    return axes


def _titled(ax: Axes, sentence: str) -> None:
    ax.set_title("\n".join(textwrap.wrap(sentence, 78)), loc="left")


def _nothing(ax: Axes, sentence: str) -> str:
    """An Axes without data says why in a sentence instead of showing empty scales."""
    _titled(ax, sentence)
    ax.grid(False)
    ax.xaxis.set_major_locator(NullLocator())
    ax.yaxis.set_major_locator(NullLocator())
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.text(0.5, 0.5, "Nothing to draw", transform=ax.transAxes, ha="center", va="center", color=MUTED.light)
    return ""


def _limits(ax: Axes, watch: float, critical: float, write: Callable[[float], str], *, vertical: bool = False) -> None:
    """Draws the policy's two lines with their names and values."""
    for value, name, ink, dashes in ((watch, "watch", WATCH, (5, 2)), (critical, "critical", CRITICAL, (2, 1.5))):
        line = ax.axvline if vertical else ax.axhline
        line(value, color=ink.light, linewidth=1.1, dashes=dashes, zorder=1.5)
        at: dict[str, Any] = (
            {"xy": (value, 1), "xycoords": ("data", "axes fraction"), "xytext": (3, -2), "va": "top"}
            if vertical
            else {"xy": (0, value), "xycoords": ("axes fraction", "data"), "xytext": (4, 2), "va": "bottom"}
        )
        ax.annotate(f"{name} {write(value)}", textcoords="offset points", color=ink.light, fontsize=8, **at)


def _whole_percent(value: float) -> str:
    return f"{100 * value:g} %"


def _seconds_axis(axis: Any, low: float, high: float) -> None:
    """Seconds as people write them; logarithmic when the values span more than two powers of ten."""
    if low > 0 and high / low > 100:
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick_seconds(value)))


def _tick_seconds(value: float) -> str:
    if value >= 7200:
        return f"{value / 3600:g} h"
    return f"{value / 60:g} min" if value >= 300 else f"{value:g} s"


def fallback_over_time(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws the rolling fallback share with its thresholds, every fallback, and the window's own interval."""
    return _figure(_fallback_over_time, report, ax, 2.9)


def _fallback_over_time(report: "WindowReport", ax: Axes) -> str:
    rolling = report.rolling.dropna(subset=["created_at"])
    share, proof, policy = report.metrics.fallback, report.verdict.evidence, report.policy
    if rolling.empty:
        return _nothing(ax, f"Fallback: {findings.fallback(report).words}")
    _titled(ax, f"Fallback {findings.fallback(report).words}")
    kept = rolling.iloc[bins.thinned(rolling["rate"].tolist(), 4 * DENSE)]
    ax.plot(kept["created_at"], kept["rate"], color=BLUE.light, drawstyle="steps-post")
    top = max(policy.fallback_critical * 1.3, float(rolling["rate"].max()) * 1.12, proof.interval_high or 0)
    _rug(ax, report.metrics.missions.loc[report.metrics.missions["fallback_seen"], "created_at"].dropna(), top)
    _limits(ax, policy.fallback_watch, policy.fallback_critical, _whole_percent)
    ax.set_ylim(-0.1 * top, min(top, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.set_yticks([tick for tick in MaxNLocator(5).tick_values(0, top) if 0 <= tick <= top])
    ax.set_ylabel("Share of the newest 20 missions")
    style.time_axis(ax, report.metrics.start, report.metrics.end, "Mission created")
    if share.rate is not None and proof.interval_low is not None and proof.interval_high is not None:
        _margin_interval(ax, share.rate, proof.interval_low, proof.interval_high)
    last = float(rolling["rate"].iloc[-1])
    return (
        f"The share among the newest 20 missions ends at {formatting.percent(last)} and was at most "
        f"{formatting.percent(float(rolling['rate'].max()))}. Lines mark watch at "
        f"{_whole_percent(policy.fallback_watch)} and critical at {_whole_percent(policy.fallback_critical)}; "
        "triangles mark each fallback."
    )


def _rug(ax: Axes, times: "pd.Series[Any]", top: float) -> None:
    """Marks every fallback below zero; dense ones together, the more the larger."""
    if len(times) > DENSE / 2:
        within = bins.edges(times.min(), times.max(), _BINS)
        counts = bins.counts(times, within)
        found = [(at, count) for at, count in zip(within[:-1], counts, strict=True) if count]
        sizes = [6 + 34 * count / max(counts) for _, count in found]
        ax.scatter([at for at, _ in found], [-0.05 * top] * len(found), s=sizes, marker="^", color=ORANGE.light)
        label = f"▲ {len(times):,} fallbacks, the larger the more"
    else:
        ax.scatter(times, [-0.05 * top] * len(times), s=20, marker="^", color=ORANGE.light, linewidths=0)
        label = f"▲ {formatting.count(len(times), 'fallback')}"
    if len(times):
        ax.annotate(
            label,
            (1, 0),
            (-2, 3),
            "axes fraction",
            "offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=ORANGE.light,
        )


def _margin_interval(ax: Axes, rate: float, low: float, high: float) -> None:
    """The window's rate with its interval, in the right margin."""
    across = ax.get_yaxis_transform()
    ax.plot([1.03, 1.03], [low, high], transform=across, clip_on=False, color=INK.light, linewidth=1.4)
    ax.plot([1.03], [rate], "o", transform=across, clip_on=False, color=INK.light, markersize=5)
    ax.annotate(
        f"window {formatting.percent(rate)}\n95 %: {100 * low:.1f} to {100 * high:.1f}",
        (1.03, rate),
        (6, 0),
        ("axes fraction", "data"),
        "offset points",
        va="center",
        fontsize=8,
    )


def latency_over_time(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws each mission's run time when it was created, and p50 and p95 of runs of missions."""
    return _figure(_latency_over_time, report, ax, 2.9)


def _latency_over_time(report: "WindowReport", ax: Axes) -> str:
    missions = report.metrics.missions
    known = missions.iloc[:0] if missions is None else missions.dropna(subset=["created_at", "duration_seconds"])
    if known.empty:
        return _nothing(ax, f"Latency: {findings.latency(report).words}")
    _titled(ax, f"Run time {findings.latency(report).words}")
    seconds, policy = known["duration_seconds"], report.policy
    dense = len(known) > DENSE
    ax.scatter(
        known["created_at"], seconds, s=5 if dense else 13, color=BLUE.light, alpha=0.25 if dense else 0.55,
        linewidths=0, rasterized=dense,
    )  # fmt: skip
    groups = min(len(known) // 20, 30)
    if groups > 1:
        runs = bins.quantiles(known, "created_at", "duration_seconds", groups, (0.5, 0.95))
        for q, name in ((0.5, "p50"), (0.95, "p95")):
            ax.plot(
                runs["created_at"], runs[q], color=INK.light, linewidth=1.5 if q > 0.9 else 1, marker=".", markersize=3
            )
            ax.annotate(
                name, (runs["created_at"].iloc[-1], runs[q].iloc[-1]), (4, 0), textcoords="offset points", va="center",
                fontsize=8, fontweight="bold",
            )  # fmt: skip
    _limits(ax, policy.p95_watch_seconds, policy.p95_critical_seconds, formatting.duration)
    high = max(float(seconds.max()), policy.p95_critical_seconds) * 1.12
    _seconds_axis(ax.yaxis, float(seconds[seconds > 0].min()) if (seconds > 0).any() else 0, high)
    ax.set_ylim(top=high, bottom=0 if ax.get_yscale() == "linear" else None)
    ax.set_ylabel("Run time")
    style.time_axis(ax, report.metrics.start, report.metrics.end, "Mission created")
    return (
        f"Each of {formatting.count(len(known), 'dot')} is a mission's run time; the longest took "
        f"{formatting.duration(float(seconds.max()))}. Lines mark watch at {formatting.duration(policy.p95_watch_seconds)} "
        f"and critical at {formatting.duration(policy.p95_critical_seconds)}."
    )


def latency_distribution(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws the share of missions finished by run time (Kaplan–Meier, 95 % band), with p50, p95 and thresholds."""
    return _figure(_latency_distribution, report, ax, 2.9)


def _latency_distribution(report: "WindowReport", ax: Axes) -> str:
    profile, policy = report.latency, report.policy
    curve = profile.curve
    if curve is None:
        return _nothing(ax, "Run times: no mission started, so there is no distribution")
    p95 = profile.p95_with_running_seconds
    _titled(
        ax, f"95 % of missions finish within {formatting.duration(p95)}" if p95 is not None else _unfinished(report)
    )
    kept = bins.thinned(curve.seconds, DENSE)
    seconds = [0.0, *(curve.seconds[i] for i in kept)]
    if curve.low is not None and curve.high is not None:
        low, high = ([0.0, *(ends[i] for i in kept)] for ends in (curve.low, curve.high))
        ax.fill_between(seconds, low, high, step="post", color=BAND.light, linewidth=0)
    ax.plot(seconds, [0.0, *(curve.share_finished[i] for i in kept)], color=BLUE.light, drawstyle="steps-post")
    for value, name, share in ((profile.p50_seconds, "p50", 0.5), (profile.p95_seconds, "p95", 0.95)):
        if value is not None:
            ax.plot([value], [share], "o", color=INK.light, markersize=4.5)
            ax.annotate(
                f"{name} {formatting.duration(value)}", (value, share), (7, -3), textcoords="offset points", va="top", fontsize=8,
                fontweight="bold",
            )  # fmt: skip
    _limits(ax, policy.p95_watch_seconds, policy.p95_critical_seconds, formatting.duration, vertical=True)
    ax.set_xlim(0, max(curve.seconds[-1], policy.p95_critical_seconds) * 1.15)
    ax.set_ylim(0, 1.12)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick_seconds(value)))
    ax.set_ylabel("Missions finished")
    ax.set_xlabel("Run time (started → completed)")
    return (
        f"{profile.p95_sentence} {formatting.count(curve.running, 'mission')} still running count as longer than so far. "
        f"{'The band is the 95 % interval. ' if curve.low is not None else ''}Lines mark watch at "
        f"{formatting.duration(policy.p95_watch_seconds)} and critical at {formatting.duration(policy.p95_critical_seconds)}."
    )


def _unfinished(report: "WindowReport") -> str:
    running = report.latency.running
    return f"Fewer than 95 % of missions have finished: {formatting.count(running, 'mission')} still running"


def queue_beside_run(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws p50, p95 and the longest of queue wait and run time, the window before in outline."""
    return _figure(_queue_beside_run, report, ax, 2.2)


def _queue_beside_run(report: "WindowReport", ax: Axes) -> str:
    rows = []
    for name, ink, field in (("Run time", BLUE, "latency_seconds"), ("Queue wait", PURPLE, "queue_wait_seconds")):
        for place, metrics in ((0.17, report.metrics), (-0.17, report.baseline)):
            stage = getattr(metrics, field) if metrics is not None else None
            if stage is not None and stage.p95_seconds is not None:
                rows.append((name, ink, place, stage))
    if not any(place > 0 for _, _, place, _ in rows):
        return _nothing(ax, "Queue wait and run time: no mission has either")
    queue, run = report.metrics.queue_wait_seconds, report.metrics.latency_seconds
    _titled(
        ax,
        f"Missions wait {formatting.duration(queue.p95_seconds if queue else None)} and run "
        f"{formatting.duration(run.p95_seconds)} at the 95th percentile",
    )
    names = list(dict.fromkeys(name for name, *_ in rows))
    for name, ink, place, stage in rows:
        y, now = names.index(name) + place, place > 0
        ax.plot(
            [0, stage.p95_seconds],
            [y, y],
            color=ink.light,
            linewidth=7 if now else 3,
            alpha=1 if now else 0.55,
            solid_capstyle="butt",
        )
        ax.plot(
            [stage.p50_seconds],
            [y],
            "|",
            color=style.SURFACE.light if now else ink.light,
            markersize=7,
            markeredgewidth=1.8,
        )
        before = "" if now else "before: "
        label = f"{before}p95 {formatting.duration(stage.p95_seconds)}, p50 {formatting.duration(stage.p50_seconds)}"
        ax.annotate(
            label, (stage.p95_seconds, y), (6, 0), textcoords="offset points", va="center", fontsize=8,
            color=INK.light if now else MUTED.light, fontweight="bold" if now else "normal",
        )  # fmt: skip
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", labelcolor=INK.light, length=0)
    ax.set_ylim(-0.5, len(names) - 0.5)
    ax.set_xlim(0, 1.45 * max(stage.p95_seconds for *_, stage in rows) or 1)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick_seconds(value)))
    ax.set_xlabel("Bars end at p95, the notch is p50")
    before = "Thin bars are the window before. " if report.baseline is not None else ""
    return f"{before}Median wait {formatting.duration(queue.p50_seconds if queue else None)}, median run {formatting.duration(run.p50_seconds)}."


def mission_timeline(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws when missions were created, a row per outcome; dense ones as counts per stretch of time."""
    return _figure(_mission_timeline, report, ax, 2.5)


def _mission_timeline(report: "WindowReport", ax: Axes) -> str:
    missions = report.metrics.missions
    known = missions.iloc[:0] if missions is None else missions.dropna(subset=["created_at"])
    if known.empty:
        return _nothing(ax, "Missions over time: none in the window")
    outcome = known["outcome"].fillna("unfinished")
    counts = {name: int((outcome == name).sum()) for name, *_ in _OUTCOMES}
    shown = [row for row in _OUTCOMES if counts[row[0]]]
    said = ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name, *_ in shown)
    _titled(ax, f"Of {formatting.count(len(known), 'mission')}: {said}")
    within = bins.edges(known["created_at"].min(), known["created_at"].max(), _BINS)
    for row, (name, ink, marker) in enumerate(reversed(shown)):
        times = known.loc[outcome == name, "created_at"]
        if len(times) > DENSE / 2:
            binned = bins.counts(times, within)
            width = within[1] - within[0]
            heights = [0.8 * count / max(binned) for count in binned]
            ax.bar(within[:-1], heights, width, bottom=row - 0.4, align="edge", color=ink.light, linewidth=0)
            ax.annotate(
                f"up to {max(binned):,} in {formatting.duration(width.total_seconds())}", (1, row + 0.42), (0, 0),
                ("axes fraction", "data"), "offset points", ha="right", va="top", fontsize=7.5, color=MUTED.light,
            )  # fmt: skip
        else:
            ax.scatter(times, [row] * len(times), s=26, marker=marker, color=ink.light, alpha=0.75, linewidths=0)
    ax.set_yticks(range(len(shown)), [f"{name.replace('_', ' ')}  {counts[name]:,}" for name, *_ in reversed(shown)])
    ax.tick_params(axis="y", labelcolor=INK.light, length=0)
    ax.set_ylim(-0.6, len(shown) - 0.4)
    ax.grid(axis="y", visible=False)
    style.time_axis(ax, report.metrics.start, report.metrics.end, "Mission created")
    return f"From {formatting.time(known['created_at'].min())} to {formatting.time(known['created_at'].max())}."


def event_mix(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws how many events of each type the window's missions have; escalation indicators stand out."""
    counts = report.profile.event_counts or {}
    return _figure(_event_mix, report, ax, 0.9 + 0.24 * min(max(len(counts), 4), 11))


def _event_mix(report: "WindowReport", ax: Axes) -> str:
    counts = report.profile.event_counts
    if not counts:
        return _nothing(ax, "Events: none, or the source does not tell")
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ranked[:10]
    if ranked[10:]:
        shown.append((f"{len(ranked) - 10:,} other types", sum(number for _, number in ranked[10:])))
    escalating = {name: number for name, number in ranked if name.endswith((".fallback", ".failed"))}
    said = (
        " and ".join(f"{number:,} {name.rpartition('.')[2]}" for name, number in escalating.items())
        or "no fallback and no failure"
    )
    _titled(ax, f"{said[:1].upper()}{said[1:]} among {formatting.count(sum(counts.values()), 'event')}")
    names = [textwrap.shorten(name, 36, placeholder="…") if " " in name else name[:36] for name, _ in shown]
    values = [number for _, number in shown]
    inks = [
        ORANGE if name.endswith(".fallback") else CRITICAL if name.endswith(".failed") else BLUE for name, _ in shown
    ]
    ax.barh(range(len(shown)), values, color=[ink.light for ink in inks], height=0.66)
    for row, number in enumerate(values):
        ax.annotate(f"{number:,}", (number, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_yticks(range(len(shown)), names)
    ax.tick_params(axis="y", labelcolor=INK.light, length=0)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * max(values))
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("Events of the window's missions")
    return "; ".join(f"{name} {number:,}" for name, number in shown) + "."


def session_lifecycle(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws the lane's session events over time, a row per type."""
    return _figure(_session_lifecycle, report, ax, 2.3)


def _session_lifecycle(report: "WindowReport", ax: Axes) -> str:
    events = report.metrics.session_events
    known = events.iloc[:0] if events is None else events.dropna(subset=["created_at"])
    if known.empty:
        return _nothing(ax, "Session: no lifecycle event is known")
    _titled(ax, report.session.finding.rstrip("."))
    ranked = known["event_type"].fillna("unknown").value_counts()
    order = ["created", "available", "resumed", "recovered", "degraded"]
    names = sorted(ranked.index[:8], key=lambda name: -order.index(_short(name)) if _short(name) in order else 1)
    for row, name in enumerate(names):
        times = known.loc[known["event_type"] == name, "created_at"]
        bad = _short(name) in ORPHANED_STATUSES
        if len(times) > DENSE / 2:
            within = bins.edges(times.min(), times.max(), _BINS)
            times = within[:-1][[count > 0 for count in bins.counts(times, within)]]
        ax.scatter(
            times,
            [row] * len(times),
            s=34,
            marker="X" if bad else "o",
            color=(CRITICAL if bad else BLUE).light,
            linewidths=0,
        )
    ax.set_yticks(range(len(names)), [f"{_short(name)[:28]}  {ranked[name]:,}" for name in names])
    ax.tick_params(axis="y", labelcolor=INK.light, length=0)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.grid(axis="y", visible=False)
    start, end = report.metrics.start, report.metrics.end
    style.time_axis(ax, known["created_at"].min().to_pydatetime(), end, "Session event")
    if start is not None and end is not None and start > known["created_at"].min():
        ax.axvspan(start, end, color=style.GRID.light, zorder=0, linewidth=0)  # type: ignore[arg-type]
        ax.annotate(
            "the window",
            (start, 1),
            (3, -2),
            ("data", "axes fraction"),
            "offset points",
            va="top",
            fontsize=8,
            color=MUTED.light,
        )  # type: ignore[arg-type]
    return "; ".join(f"{_short(name)} {ranked[name]:,}" for name in reversed(names)) + "."


def _short(event_type: str) -> str:
    return str(event_type).removeprefix("vp.session.")


def baseline_comparison(report: "WindowReport", ax: Axes | None = None) -> Axes:
    """Draws how far the fallback rate and the slow share moved against the window before, with 95 % intervals."""
    return _figure(_baseline_comparison, report, ax, 1.9)


def _baseline_comparison(report: "WindowReport", ax: Axes) -> str:
    found = report.comparison
    changes = [
        (name, change)
        for name, change in (("Slow share", found.slow), ("Fallback rate", found.fallback))
        if change is not None and change.interval.low is not None and change.interval.high is not None
    ]
    if not changes:
        return _nothing(ax, "Against the window before: no share to compare")
    _titled(ax, f"Against the window before: {findings.baseline(report).words}")
    for row, (name, change) in enumerate(changes):
        low, high = change.interval.low or 0, change.interval.high or 0
        ink = CRITICAL if low > 0 else BLUE
        ax.plot([low, high], [row, row], color=ink.light, linewidth=2)
        ax.plot([change.change], [row], "o", color=ink.light, markersize=6)
        ax.annotate(
            f"{formatting.percent(change.before)} → {formatting.percent(change.after)}", (change.change, row), (0, 8),
            textcoords="offset points", ha="center", fontsize=8, fontweight="bold",
        )  # fmt: skip
    reach = (
        1.15 * max(abs(end) for _, change in changes for end in (change.interval.low or 0, change.interval.high or 0))
        or 0.01
    )
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color=MUTED.light, linewidth=1)
    ax.set_yticks(range(len(changes)), [name for name, _ in changes])
    ax.tick_params(axis="y", labelcolor=INK.light, length=0)
    ax.set_ylim(-0.6, len(changes) - 0.3)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+g}" if value else "0"))
    ax.set_xlabel("Change in percentage points, with its 95 % interval; right of 0 is worse")
    return " ".join(
        f"{name} {formatting.percent(change.before)} before, {formatting.percent(change.after)} now."
        for name, change in changes
    )
