"""Figures of what happened when, and of how often: missions by outcome, event types, the session's lifecycle."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vpanalysis import formatting
from vpanalysis.data.schema import COMPLETED, FAILED, FALLBACK
from vpanalysis.report import bins, drawing, style
from vpanalysis.report.style import BLUE, CRITICAL, DENSE, GRID, MUTED, ORANGE, WATCH, Ink
from vpanalysis.report.window_report import WindowReport

#: Ink and marker of each outcome of a mission, in the order of the rows; the marker tells them apart without colour.
_OUTCOMES: tuple[tuple[str, Ink, str], ...] = (
    ("completed", BLUE, "o"),
    ("failed", CRITICAL, "X"),
    ("cancelled", MUTED, "s"),
    ("pending", BLUE, "D"),
    ("overdue", WATCH, "v"),
    ("unaccounted", CRITICAL, "P"),
)
_TYPES_SHOWN, _SESSION_TYPES_SHOWN, _NAME_CHARACTERS = 10, 8, 34
_LIFECYCLE = ("created", "available", "resumed", "recovered", "degraded")


def mission_timeline(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws when missions were created, a row per outcome; dense rows as counts per stretch of time."""
    return drawing.figure(_mission_timeline, report, ax, 2.4)


def _mission_timeline(report: WindowReport, ax: Axes) -> str:
    missions = report.metrics.missions
    known = missions.dropna(subset=["created_at"])
    if known.empty:
        return drawing.nothing(ax, "No mission to draw over time")
    outcome = known["outcome"]
    counts = {name: int((outcome == name).sum()) for name, *_ in _OUTCOMES}
    shown = [row for row in _OUTCOMES if counts[row[0]]]
    said = ", ".join(f"{counts[name]:,} {name}" for name, *_ in shown)
    undated = len(missions) - len(known)
    left_out = f" ({undated:,} without a creation time not drawn)" if undated else ""
    drawing.titled(ax, f"Of {formatting.count(len(known), 'mission')}, {said}{left_out}")
    for row, (name, ink, marker) in enumerate(reversed(shown)):
        times = known.loc[outcome == name, "created_at"]
        if len(known) > DENSE and len(times) > DENSE / 8:
            edges, numbers = bins.histogram(times, known["created_at"].min(), known["created_at"].max())
            ax.stairs(
                [row - 0.4 + 0.8 * number / max(numbers) for number in numbers],
                edges,
                baseline=row - 0.4,
                fill=True,
                color=ink.light,
            )
            span = formatting.duration((edges[1] - edges[0]).total_seconds())
            drawing.label(
                ax, f"up to {max(numbers):,} in {span}", (1, row), (4, 0), MUTED, xycoords=("axes fraction", "data"),
                va="center", annotation_clip=False,
            )  # fmt: skip
        else:
            ax.scatter(
                times, [row] * len(times), s=28, marker=marker, color=ink.light, alpha=0.7, linewidths=0, clip_on=False
            )
    drawing.rows(ax, [f"{name}  {counts[name]:,}" for name, *_ in reversed(shown)])
    drawing.window_axis(ax, report, known)
    return f"From {formatting.time(known['created_at'].min())} to {formatting.time(known['created_at'].max())}."


def event_mix(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws how many events of each type the window's missions have; escalation indicators stand out."""
    types = len(report.profile.event_counts or {})
    return drawing.figure(_event_mix, report, ax, 0.9 + 0.23 * min(max(types, 4), _TYPES_SHOWN + 1))


def _event_mix(report: WindowReport, ax: Axes) -> str:
    counts = report.profile.event_counts
    if not counts:
        return drawing.nothing(ax, "No event of these missions is known")
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = [(_cut(name), number) for name, number in ranked[:_TYPES_SHOWN]]
    if rest := ranked[_TYPES_SHOWN:]:
        shown.append((f"{len(rest):,} other types", sum(number for _, number in rest)))
    told = [f"{counts.get(kind, 0):,} {kind.rpartition('.')[2]}" for kind in (COMPLETED, FALLBACK, FAILED)]
    drawing.titled(ax, f"{told[0]}, {told[1]} and {told[2]} among {formatting.count(sum(counts.values()), 'event')}")
    inks = {FALLBACK: ORANGE, FAILED: CRITICAL}
    values = [number for _, number in shown]
    ax.barh(range(len(shown)), values, color=[inks.get(name, BLUE).light for name, _ in shown], height=0.66)
    for row, number in enumerate(values):
        drawing.label(ax, f"{number:,}", (number, row), (4, 0), va="center")
    drawing.rows(ax, [name for name, _ in shown])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * max(values))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("Events of the window's missions")
    return "; ".join(f"{name} {number:,}" for name, number in shown) + "."


def session_lifecycle(report: WindowReport, ax: Axes | None = None) -> Axes:
    """Draws the lane's session events over time, a row per type, with the window shaded."""
    return drawing.figure(_session_lifecycle, report, ax, 2.3)


def _session_lifecycle(report: WindowReport, ax: Axes) -> str:
    events = report.metrics.session_events
    known = events.dropna(subset=["created_at"])
    if known.empty:
        return drawing.nothing(ax, "No event of the session's lifecycle is known")
    kinds = known["event_type"].fillna("").map(lambda name: _cut(name.removeprefix("vp.session.") or "unknown"))
    ranked = kinds.value_counts()
    first, start, end = known["created_at"].min().to_pydatetime(), report.metrics.start, report.metrics.end
    degraded = int(ranked.get("degraded", 0))
    drawing.titled(
        ax,
        f"Degraded {formatting.count(degraded, 'time')} among {formatting.count(len(known), 'session event')} "
        f"since {formatting.time(first)}",
    )
    names = [name for name in ranked.index[:_SESSION_TYPES_SHOWN] if name not in _LIFECYCLE]
    names = [name for name in reversed(_LIFECYCLE) if name in ranked] + names
    if start is not None and end is not None and first < start < end:
        ax.axvspan(start, end, color=GRID.light, alpha=0.6, zorder=0, linewidth=0)  # type: ignore[arg-type]
        ax.annotate(
            "the window", (start, 1), (4, -3), ("data", "axes fraction"), "offset points", va="top",
            fontsize=8, color=MUTED.light,
        )  # fmt: skip
    for row, name in enumerate(names):
        times = known.loc[kinds == name, "created_at"]
        places: list[Any] = bins.counted(times)[0] if len(times) > DENSE / 2 else list(times)
        bad = name == "degraded"
        ax.scatter(
            places, [row] * len(places), s=36, marker="X" if bad else "o", color=(CRITICAL if bad else BLUE).light,
            linewidths=0, clip_on=False,
        )  # fmt: skip
    drawing.rows(ax, [f"{name}  {ranked[name]:,}" for name in names])
    style.time_axis(ax, first, end, "Session event")
    return "; ".join(f"{name} {ranked[name]:,}" for name in reversed(names)) + "."


def _cut(name: str) -> str:
    """A type's name in one line, as long as a row's label may be."""
    line = " ".join(name.split())
    return line if len(line) <= _NAME_CHARACTERS else textwrap.fill(line, _NAME_CHARACTERS - 1).partition("\n")[0] + "…"
