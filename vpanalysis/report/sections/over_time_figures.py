"""A lane's history in figures: decisions as a band, rates and p95 with their intervals, the guardrail."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pandas as pd
from matplotlib.axes import Axes

from vpanalysis import formatting
from vpanalysis.analysis.gates.latency import lines
from vpanalysis.formatting import percent_limit, seconds_limit
from vpanalysis.report import drawing, style
from vpanalysis.report.history_report import GUARDRAIL, ROLLING, STEPS, HistoryReport
from vpanalysis.report.sections import over_time
from vpanalysis.report.style import BAND, BLUE, CRITICAL, MUTED, ORANGE, PURPLE, WATCH, Ink

#: From so many windows on, intervals are a band and points a line.
_DENSE = 60
#: Height and ink of each status's bar.
_BARS: dict[str, tuple[float, Ink]] = {
    "NO_TRAFFIC": (0.12, MUTED), "HEALTHY": (0.34, BLUE), "WATCH": (0.67, WATCH), "FORCE_FALLBACK": (1.0, CRITICAL),
}  # fmt: skip


@drawing.figure(2.3)
def decisions_over_windows(report: HistoryReport, ax: Axes) -> str:
    """Draws the lane status of each window as a band, the higher the worse, with incidents and the log's steps."""
    windows = report.windows
    if windows.empty:
        return drawing.nothing(ax, "There is no window")
    live = windows[windows["lane_status"] != "NO_TRAFFIC"]
    healthy = int((live["lane_status"] == "HEALTHY").sum())
    incidents = formatting.count(len(report.incidents), "incident") if report.incidents else "no incident"
    drawing.titled(ax, f"{over_time.healthy(healthy, len(live))}; {incidents}")
    for status, (height, ink) in _BARS.items():
        some = windows["lane_status"] == status
        if some.any():
            _bars(ax, windows[some], height, ink, 0.45 if status == "HEALTHY" else 1)
    if report.incidents:  # the longest, of several the newest; all of them are in the table
        most = max(incident.windows for incident in report.incidents)
        longest = [incident for incident in report.incidents if incident.windows == most]
        one = longest[-1]
        end = one.recovered or windows["window_end"].iloc[-1].to_pydatetime()
        lasted = one.to_recover
        ended = "not over" if lasted is None else f"{formatting.duration(lasted.total_seconds())} to recover"
        late = one.recovered is None or one.start > windows["window_start"].iloc[len(windows) * 2 // 3]
        which = "the longest: " if len(longest) == 1 else "one of the longest: "
        text = f"{which if len(report.incidents) > 1 else ''}{one.start:%d %b}, {one.gate.replace('_', ' ')}, {ended}"
        drawing.label(ax, text, (end if late else one.start, 1.0), (0, 6), ha="right" if late else "left", va="bottom")
    _steps(report, ax)
    ax.set_ylim(0, 1.3)
    names = [status.lower().replace("_", " ") for status in _BARS]
    ax.set_yticks([height for height, _ in _BARS.values()], names)
    ax.grid(axis="x", visible=False)
    _time(report, ax)
    counted = live["lane_status"].value_counts()
    return (
        "; ".join(
            f"{name.replace('_', ' ')} {number}"
            for name, number in zip(counted.index.astype(str), counted, strict=True)
        )
        + "."
    )


def _bars(ax: Axes, windows: pd.DataFrame, heights: "float | pd.Series[float]", ink: Ink, alpha: float = 0.8) -> None:
    """Draws a bar a window, as wide as the window is long."""
    starts, widths = windows["window_start"], windows["window_end"] - windows["window_start"]
    ax.bar(starts, heights, widths, align="edge", color=ink.light, linewidth=0, alpha=alpha)


def _steps(report: HistoryReport, ax: Axes) -> None:
    """Marks the first row of each step of the rollout that the log names."""
    for place, step in enumerate(reversed(STEPS)):
        of_step = report.log[report.log["step"] == step]
        if len(of_step) and report.windows["window_start"].iloc[0] <= (first := of_step["date"].iloc[0]):
            ax.axvline(first, color=PURPLE.light, linewidth=1, linestyle=":")
            drawing.label(ax, step, (first, 0.02 + 0.16 * place), (3, 2), PURPLE, va="bottom")


@drawing.figure(3.0)
def rate_over_windows(report: HistoryReport, ax: Axes) -> str:
    """Draws the fallback rate of each window with its Wilson interval, the policy's limits and the log's rows."""
    live, policy = report.windows[report.windows["missions"] > 0], report.policy
    if live.empty:
        return drawing.nothing(ax, "There is no mission, so there is no rate")
    limits = (policy.fallback_watch, policy.fallback_critical)
    rates, logged = live["fallback_rate"], _logged(report, ax, "rate")
    drawing.titled(ax, _beyond("fallback rate", rates, limits, percent_limit, formatting.percent))
    _series(ax, live, "fallback_rate", "rate_low", "rate_high", limits, percent_limit)
    highs = live["rate_high"].quantile(0.9) if len(live) > 9 else live["rate_high"].median()
    top = min(1.05, max(policy.fallback_critical * 1.25, max(rates.max(), logged) * 1.15, float(highs)))
    drawing.share_axis(ax, "Fallback rate", top, -0.02 * top)
    drawing.limits(ax, {"watch": limits[0], "critical": limits[1]}, percent_limit)
    _going_on(ax, live, "rate_high")
    _time(report, ax)
    drawing.legend(ax)
    return f"The highest is that of the window of {formatting.time(live['window_start'].iloc[int(rates.argmax())])}."


@drawing.figure(2.3)
def failures_over_windows(report: HistoryReport, ax: Axes) -> str:
    """Draws the share of each window's missions that failed."""
    live = report.windows[report.windows["missions"] > 0]
    if live.empty:
        return drawing.nothing(ax, "There is no mission, so none failed")
    share = (live["failures"] / live["missions"]).astype(float)
    worst = live.iloc[int(share.argmax())]
    failed, missions = int(live["failures"].sum()), int(live["missions"].sum())
    if not failed:
        return drawing.nothing(ax, f"None of {formatting.count(missions, 'mission')} failed")
    most = f"; most in the window of {worst['window_start']:%d %b}: {formatting.percent(float(share.max()))}"
    drawing.titled(ax, f"{formatting.share(failed, missions, 'mission')} failed{most if len(live) > 1 else ''}")
    _bars(ax, live, share, ORANGE)
    limit = report.policy.failure_share
    top = min(1.05, max(limit * 1.5, float(share.max()) * 1.15))
    drawing.share_axis(ax, "Failed", top)
    drawing.limits(ax, {"watch": limit}, percent_limit)
    _time(report, ax)
    return ""


@drawing.figure(3.0)
def p95_over_windows(report: HistoryReport, ax: Axes) -> str:
    """Draws the p95 run time of each window with its interval by order statistics, and the policy's limits."""
    live, policy = report.windows.dropna(subset=["p95_seconds"]), report.policy
    if live.empty:
        return drawing.nothing(ax, "No mission has finished, so there is no p95")
    held = lines(policy.gate("latency"), policy)
    judged = tuple(held.values()) or (policy.p95_critical_seconds,)
    p95s, logged = live["p95_seconds"], _logged(report, ax, "p95_seconds")
    drawing.titled(ax, _beyond("p95 run time", p95s, judged, seconds_limit, formatting.duration))
    _series(ax, live, "p95_seconds", "p95_low", "p95_high", judged, seconds_limit)
    low, high = float(p95s.min()), float(p95s.max())
    drawing.seconds_axis(ax, "y", low if low > 0 else 0, max(high, logged), policy.p95_critical_seconds)
    drawing.limits(ax, held, seconds_limit)
    _going_on(ax, live, "p95_high")
    ax.set_ylabel("p95 run time")
    _time(report, ax)
    drawing.legend(ax)
    return f"From {formatting.duration(low)} to {formatting.duration(high)}; an open end of an interval is not drawn."


@drawing.figure(2.3)
def guardrail_over_windows(report: HistoryReport, ax: Axes) -> str:
    """Draws the highest fallback share over 20 missions within each window, against the 10 % guardrail."""
    known = report.rolling_fallback.notna()
    found = over_time.guardrail(report)
    if not known.any():
        return drawing.nothing(ax, found.words)
    drawing.titled(ax, f"The {percent_limit(GUARDRAIL)} guardrail over {ROLLING} missions: {found.words.lower()}")
    windows, rolling = report.windows[known], report.rolling_fallback[known]
    over = rolling > GUARDRAIL
    for some, ink in ((~over, BLUE), (over, CRITICAL)):
        _bars(ax, windows[some], rolling[some], ink)
    top = min(1.05, max(0.2, float(rolling.max()) * 1.15))
    drawing.share_axis(ax, "Highest share", top)
    drawing.limits(ax, {"revert": GUARDRAIL}, lambda limit: f"> {percent_limit(limit)}")
    _time(report, ax)
    return ""


def _beyond(
    what: str, values: "pd.Series[float]", limits: Sequence[float], worded: Callable[[float], str],
    shown: Callable[[float], str],
) -> str:  # fmt: skip
    of, highest = len(values), float(values.max())
    if of == 1:
        limit = max((limit for limit in limits if highest >= limit), default=limits[0])
        stood = "at or above" if highest >= limit else "below"
        return f"The {what} of the only window is {shown(highest)}, {stood} {worded(limit)}"
    over, least = int((values >= limits[0]).sum()), worded(limits[0])
    stood = f"was {least} or more in {over:,} of" if over else f"stayed below {least} in all"
    return f"The {what} {stood} {of:,} windows; the highest was {shown(highest)}"


def _series(
    ax: Axes, live: pd.DataFrame, value: str, low: str, high: str, limits: Sequence[float],
    worded: Callable[[float], str],
) -> None:  # fmt: skip
    """Draws a value per window in the middle of it, marked by the limits, with its interval: bars of few, else a band.

    Args:
        ax: The Axes.
        live: The windows.
        value: The column of the value.
        low: The column of its interval's lower end.
        high: The column of its upper end.
        limits: Values from which it is marked, the critical one last.
        worded: Words a limit.
    """
    middle = _middle(live)
    known = live[low].notna() & live[high].notna()
    label = "95 % interval" if known.any() else ""
    if len(live) > _DENSE:
        ax.fill_between(middle, live[low], live[high], color=BAND.light, linewidth=0, label=label)
        ax.plot(middle, live[value], color=BLUE.light, linewidth=1.0)
    else:
        ax.vlines(middle[known], live[low][known], live[high][known], color=BAND.light, linewidth=3, label=label)
        ax.plot(middle, live[value], color=BLUE.light, linewidth=0.8, alpha=0.5)
    marks = 9 if len(live) > _DENSE else 26
    left = live[value].notna()
    for limit, marker, ink in zip(limits[::-1], "s^", (CRITICAL, WATCH), strict=False):
        some = left & (live[value] >= limit)
        left &= ~some
        ax.scatter(middle[some], live[value][some], s=marks * 1.6, marker=marker, color=ink.light, linewidths=0,
                   zorder=3, label=f"{worded(limit)} or more" if some.any() else None)  # fmt: skip
    if len(live) <= _DENSE:
        ax.scatter(middle[left], live[value][left], s=marks, color=BLUE.light, linewidths=0, zorder=3)


def _middle(windows: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    return windows["window_start"] + (windows["window_end"] - windows["window_start"]) / 2


def _going_on(ax: Axes, live: pd.DataFrame, high: str) -> None:
    """Marks the intervals that go on above the figure, lest they look as if they ended there."""
    top = ax.get_ylim()[1]
    over = live[live[high] > top]
    if len(over):
        ax.scatter(_middle(over), [top] * len(over), s=22, marker="^", facecolors="none", edgecolors=MUTED.light,
                   clip_on=False, zorder=3, label="interval goes on above")  # fmt: skip


def _logged(report: HistoryReport, ax: Axes, column: str) -> float:
    """Marks what the log's rows say of the windows' time; returns the highest, 0 without any."""
    rows = report.log.dropna(subset=[column])
    rows = rows[rows["date"].between(report.windows["window_start"].min(), report.windows["window_end"].max())]
    if len(rows):
        ax.scatter(rows["date"], rows[column], s=30, marker="D", facecolors="none", edgecolors=PURPLE.light, zorder=4,
                   label="row of the evidence log")  # fmt: skip
    return float(rows[column].max()) if len(rows) else 0.0


def _time(report: HistoryReport, ax: Axes) -> None:
    windows = report.windows
    start, end = windows["window_start"].iloc[0].to_pydatetime(), windows["window_end"].iloc[-1].to_pydatetime()
    if len(report.log):
        dates = report.log["date"]
        start = min([start, *dates[dates >= start - timedelta(days=1)].dt.to_pydatetime()])
    style.time_axis(ax, start, end, "Window")
