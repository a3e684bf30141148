"""What the figures have in common: how one is made, its title, limits, rows and scales, and dense data made few."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MultipleLocator, NullFormatter, NullLocator
from matplotlib.transforms import offset_copy

from vpanalysis import formatting
from vpanalysis.report import style
from vpanalysis.report.style import CRITICAL, INK, MUTED, SURFACE, WATCH, Ink, ReportAxes
from vpanalysis.report.window_report import WindowReport

_Draw = Callable[[Any, Axes], str]
_Figure = Callable[..., Axes]
#: Every figure by its name.
FIGURES: dict[str, _Figure] = {}
_TITLE_CHARACTERS = 88
#: Most missions of a kind whose facts a figure tells, and most that the keyboard stops at.
_FACTS, _FACTS_BY_KEY = 100, 12
#: Durations beyond so many times the critical limit are drawn on a logarithmic scale, lest the limits vanish.
_LOGARITHMIC_FROM = 8
#: Ticks of durations of two minutes and more are these seconds apart, or stand at these on a logarithmic axis.
_STEPS = (60, 120, 300, 600, 1200, 3600, 7200, 21_600, 86_400)
_POWERS = (0.1, 1, 10, 60, 600, 3600, 36_000, 432_000)
#: From a figure's time axis to its legend.
_LEGEND_POINTS = 32
#: Points of height that a tick's words need, and the share of a figure's height that its Axes has, about.
_TICK_POINTS, _DRAWN = 11, 0.55


def figure(height_inches: float | Callable[[Any], float]) -> Callable[[_Draw], _Figure]:
    """Makes a figure of a function that draws: called with a report, and the Axes to draw on unless it makes its own.

    The function draws, sets the title, and returns what the alternative text says after the title.

    Args:
        height_inches: The height of a figure that is made; some depend on the report.
    """

    def figure_of(draw: _Draw) -> _Figure:
        def drawn(report: Any, ax: Axes | None = None) -> Axes:
            with style.styled():
                height = height_inches(report) if callable(height_inches) else height_inches
                axes = style.new_axes(height) if ax is None else ax
                details = draw(report, axes)
                if isinstance(axes, ReportAxes):
                    title = " ".join(axes.get_title(loc="left").split())
                    axes.alt = f"{title}. {details}".strip()
            return axes

        drawn.__name__, drawn.__doc__ = draw.__name__, draw.__doc__
        drawn.__annotations__["report"] = next(iter(draw.__annotations__.values()))
        FIGURES[draw.__name__] = drawn
        return drawn

    return figure_of


def titled(ax: Axes, sentence: str) -> None:
    """Sets the finding as the title, without its full stop, over as many lines as it needs."""
    ax.set_title("\n".join(textwrap.wrap(sentence.rstrip("."), _TITLE_CHARACTERS)), loc="left")


def nothing(ax: Axes, sentence: str) -> str:
    """Makes an Axes without data say so in a sentence instead of showing empty scales; returns no details."""
    titled(ax, sentence)
    if isinstance(ax, ReportAxes):
        ax.leave_empty()
    ax.grid(False)
    ax.xaxis.set_major_locator(NullLocator())
    ax.yaxis.set_major_locator(NullLocator())
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.text(0.5, 0.5, "Nothing to draw", transform=ax.transAxes, ha="center", va="center", color=MUTED.light)
    return ""


def limits(ax: Axes, lines: Mapping[str, float], write: Callable[[float], str], *, vertical: bool = False) -> str:
    """Draws limits, told apart by their dashes as well, on an Axes that has its scales.

    Their names stand where no mark is: among the ticks of the y axis, or at the top of vertical ones.

    Args:
        ax: The Axes.
        lines: The limits by their names: a critical one is dotted, others are dashed.
        write: Words a limit.
        vertical: They are of x.

    Returns:
        What the lines mark, in a sentence; ``""`` without any.
    """
    inks = [CRITICAL if name in ("critical", "revert") else WATCH for name in lines]
    draw = ax.axvline if vertical else ax.axhline
    for at, ink in zip(lines.values(), inks, strict=True):
        draw(at, color=ink.light, linewidth=1.1, dashes=(2, 1.5) if ink is CRITICAL else (5, 2), zorder=1.5)
    texts = [f"{name} {write(at)}" for name, at in lines.items()]
    if vertical:
        for at, text, ink in zip(lines.values(), texts, inks, strict=True):
            label(ax, text, (at, 1), (4, -1), ink, xycoords=("data", "axes fraction"), va="top")
    else:
        _named_ticks(ax, list(lines.values()), texts, inks)
    marked = " and ".join(f"{name} at {write(at)}" for name, at in lines.items())
    return f"{'Lines mark' if len(lines) > 1 else 'A line marks'} {marked}." if lines else ""


def _named_ticks(ax: Axes, values: Sequence[float], texts: Sequence[str], inks: Sequence[Ink]) -> None:
    """Adds named ticks to the y axis; its own ticks that are near one of them lose their words."""
    axis, written = ax.yaxis, ax.yaxis.get_major_formatter()
    needed = _TICK_POINTS / (72 * _DRAWN * ax.get_figure(root=True).get_size_inches()[1])  # type: ignore[union-attr]

    def height(value: float) -> float:
        return float((ax.transScale + ax.transLimits).transform((0, value))[1])

    def unless_near(value: float, place: int | None) -> str:
        near = any(abs(height(value) - height(limit)) < needed for limit in values)
        return "" if near else written(value, place)

    axis.set_major_formatter(FuncFormatter(unless_near))
    axis.set_minor_locator(FixedLocator(values))
    axis.set_minor_formatter(FixedFormatter(texts))
    axis.remove_overlapping_locs = False  # of a number and a name at one place the name is shown
    close = len(values) > 1 and height(max(values)) - height(min(values)) < needed
    for tick, value, ink in zip(axis.get_minor_ticks(len(values)), values, inks, strict=True):
        apart = "bottom" if value == max(values) else "top"
        tick.label1.set(color=ink.light, va=apart if close else "center_baseline")
        tick.tick1line.set_color(ink.light)


def label(
    ax: Axes,
    text: str,
    at: tuple[Any, Any],
    offset: tuple[float, float],
    ink: Ink = INK,
    *,
    bold: bool = False,
    **more: Any,
) -> None:
    """Writes a direct label; a ground keeps it legible on lines and marks."""
    ax.annotate(
        text, at, offset, textcoords="offset points", color=ink.light, fontsize=8, zorder=4,
        fontweight="bold" if bold else "normal",
        bbox={"facecolor": SURFACE.light, "edgecolor": "none", "pad": 0.8}, **more,
    )  # fmt: skip


def tell(ax: Axes, report: WindowReport, missions: pd.DataFrame, ys: "pd.Series[float]") -> None:
    """Makes a page tell a mission's facts where one points at its mark; those that count against the lane by key too.

    Args:
        ax: The Axes.
        report: The report.
        missions: Rows of its missions, the marks' x being ``created_at``.
        ys: The marks' heights by the same index.
    """
    if not isinstance(ax, ReportAxes):
        return
    errors = report.errors
    against = missions["fell_back"] | missions["outcome"].isin(["failed", "overdue", "unaccounted"])
    plain = missions.index[~against]
    rows = missions.loc[[*missions.index[against][-_FACTS:], *(plain[i] for i in thinned(len(plain), _FACTS))]]
    by_key = set(missions.index[against][-_FACTS_BY_KEY:])
    facts = []
    for place, row in zip(rows.index, rows.to_dict("records"), strict=True):
        name = short_name(str(row["mission_id"]), 40)
        parts = [
            f"{name}: {row['outcome']}" + (", fell back" if row["fell_back"] else ""),
            short_name(errors.get(row["mission_id"], ""), 60),
            f"ran {formatting.duration(row['duration_seconds'])}" if row["duration_seconds"] >= 0 else "",
            f"waited {formatting.duration(row['queue_wait_seconds'])}" if row["queue_wait_seconds"] >= 0 else "",
            f"created {formatting.time(row['created_at'])}",
        ]
        facts.append(
            (row["created_at"], float(ys[place]), short_name("; ".join(filter(None, parts)), 115), place in by_key)
        )
    ax.facts = [*ax.facts, *facts]


def legend(ax: Axes) -> None:
    """Explains what carries a label: below the figure, and at the right, which a narrow page shows first."""
    if ax.get_legend_handles_labels()[0]:
        below = offset_copy(ax.transAxes, ax.get_figure(root=True), 0, -_LEGEND_POINTS, "points")
        ax.legend(
            loc="upper right", bbox_to_anchor=(1, 0), bbox_transform=below, borderaxespad=0, borderpad=0, frameon=False,
            fontsize=8, handletextpad=0.4,
        )  # fmt: skip


def rows(ax: Axes, names: Sequence[str]) -> None:
    """Names the rows 0, 1, … of a figure, from the bottom up."""
    ax.set_yticks(range(len(names)), list(names))
    ax.tick_params(axis="y", labelcolor=INK.light, length=0, pad=8)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.grid(axis="y", visible=False)


def share_axis(ax: Axes, name: str, top: float, bottom: float = 0.0) -> None:
    """Makes y a named share in per cent, from ``bottom`` to ``top`` (shares)."""
    ax.set_ylim(bottom, top)
    ax.set_ylabel(name)
    step = next((step for step in (0.01, 0.02, 0.05, 0.1) if top / step <= 6), 0.2)
    ticks = [step * i for i in range(int(top / step + 1e-9) + 1)]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def window_axis(ax: Axes, report: WindowReport, missions: pd.DataFrame) -> None:
    """Makes x the window's time; of the newest N missions only what they cover, however long ago that was."""
    start, end = report.metrics.start, report.metrics.end
    window = report.metrics.window
    if window.last_missions is not None:
        end = max(missions["created_at"].dropna().max().to_pydatetime(), start or end)
    style.time_axis(ax, start, end, "Mission created")


def seconds_axis(ax: Axes, axis: str, low: float, high: float, critical: float) -> None:
    """Makes an axis one of durations up to ``high`` or the critical limit; logarithmic when ``high`` is far beyond it.

    Args:
        ax: The Axes.
        axis: ``x`` or ``y``.
        low: The least duration above zero, where a logarithmic axis begins; 0 for none.
        high: The longest duration.
        critical: The policy's critical limit.
    """
    logarithmic = low > 0 and high > _LOGARITHMIC_FROM * critical
    top = max(high, critical) * (1.4 if logarithmic else 1.12)
    if logarithmic:
        ax.set(**{f"{axis}scale": "log"})
    ax.set(**{f"{axis}lim": (low / 1.3 if logarithmic else 0, top)})
    duration_ticks(ax, axis, top, logarithmic=logarithmic)


def duration_ticks(ax: Axes, axis: str, top: float, *, logarithmic: bool = False) -> None:
    """Gives ``x`` or ``y``, up to ``top`` seconds, ticks that are whole in the unit in which sentences tell them.

    A narrow page shows first where durations along ``x`` begin.
    """
    on = getattr(ax, f"{axis}axis")
    if logarithmic:
        on.set_major_locator(FixedLocator(_POWERS))
        on.set_minor_formatter(NullFormatter())
    elif top >= 120:
        on.set_major_locator(MultipleLocator(next((step for step in _STEPS if top <= 6 * step), top / 6)))
    on.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g} s" if value < 120 else formatting.duration(value))
    )
    if isinstance(ax, ReportAxes):
        ax.from_start = axis == "x"


def short_name(name: str, characters: int) -> str:
    """Returns a name in one line, as long as a row's label may be."""
    line = " ".join(formatting.visible(name).split())  # a control would break the image
    return line if len(line) <= characters else textwrap.fill(line, characters - 1).partition("\n")[0] + "…"


#: Stretches of time into which a figure divides its window when single marks would be too many.
STRETCHES = 90


def histogram(times: "pd.Series[Any]", start: datetime, end: datetime) -> tuple[list[Any], list[int]]:
    """Returns the edges (datetimes) of equal stretches from ``start`` to ``end`` and each one's number of ``times``."""
    end = max(end, start + pd.Timedelta(seconds=1))
    edges = pd.date_range(start, end, periods=STRETCHES + 1)
    within = pd.cut(times, edges, include_lowest=True, labels=False)
    counts = np.bincount(within.dropna().astype(int), minlength=STRETCHES)
    return list(edges.to_pydatetime()), [int(count) for count in counts]


def counted(times: "pd.Series[Any]") -> tuple[list[Any], list[int]]:
    """Returns the middles (datetimes) of the stretches of time that hold any of ``times``, and how many each holds."""
    edges, counts = histogram(times, times.min(), times.max())
    half = (edges[1] - edges[0]) / 2
    held = [(left + half, count) for left, count in zip(edges[:-1], counts, strict=True) if count]
    return [middle for middle, _ in held], [count for _, count in held]


def quantiles(frame: pd.DataFrame, by: str, of: str, groups: int, qs: Sequence[float]) -> pd.DataFrame:
    """Returns quantiles of ``of`` over ``groups`` runs of equally many rows in the order of ``by``.

    Returns:
        One row per run: ``by`` (its median), and a column per quantile.
    """
    ordered = frame.dropna(subset=[by, of]).sort_values(by, kind="stable")
    run = np.arange(len(ordered)) * groups // max(len(ordered), 1)
    grouped = ordered.groupby(run)
    result = grouped[[by]].median()
    for q in qs:
        result[q] = grouped[of].quantile(q, interpolation="nearest")
    return result


def thinned(length: int, marks: int) -> list[int]:
    """Returns at most ``marks`` positions of a sequence, evenly spread, its first and last among them."""
    if length <= marks:
        return list(range(length))
    return sorted({round(i * (length - 1) / (marks - 1)) for i in range(marks)})
