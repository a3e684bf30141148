"""Session health: the lane's session, its recoveries and its lifecycle."""

from typing import Any

from matplotlib.axes import Axes

from vpanalysis import formatting
from vpanalysis.analysis.masking import shown
from vpanalysis.report import blocks, drawing, style
from vpanalysis.report.finding import Finding, gate_tone, limits
from vpanalysis.report.piece import Piece, Tone
from vpanalysis.report.sections.tile import Tile
from vpanalysis.report.style import BLUE, CRITICAL, DENSE, GRID, MUTED
from vpanalysis.report.window_report import WindowReport

_TYPES_SHOWN, _NAME_CHARACTERS, _ERROR_CHARACTERS = 8, 34, 200
_LIFECYCLE = ("created", "available", "resumed", "recovered", "degraded")


def finding(report: WindowReport) -> Finding:
    """Returns the session's state and how often it degraded."""
    words = report.session.finding.rstrip(".").removeprefix("Session ")
    return Finding(formatting.capitalized(words), _tone(report))


def _tone(report: WindowReport) -> Tone:
    tone = gate_tone(report, "session")
    return "quiet" if tone == "good" and report.session.stale else tone


def table(report: WindowReport) -> Piece:
    """Returns the session's state, its recoveries and what departs from the expected lifecycle."""
    story = report.session
    slowest = formatting.duration(max(story.recovery_seconds)) if story.recovery_seconds else formatting.NOT_AVAILABLE
    rows = [
        ["Status at the window's end", story.status or "unknown"],
        ["Heartbeat", "unknown" if story.stale is None else story.stale_reason or "fresh"],
        ["Degraded in the window", formatting.known_count(story.degraded_in_window)],
        ["Degradations followed by a resume, since the lane began", formatting.share(story.successes, story.attempts)],
        ["Slowest recovery", slowest],
        ["Share of degradations still open (orphan rate)", formatting.rate(story.orphan_rate)],
    ]
    if error := (report.metrics.session or {}).get("last_error"):
        rows.append(["Last error in the session's row", shown(error, _ERROR_CHARACTERS)])
    pieces = [blocks.pairs("Session", rows)]
    if story.deviations:
        pieces.append(blocks.sentence(f"Differs from created → resumed: {'; '.join(story.deviations)}."))
    return blocks.piece(*pieces, found=finding(report))


def tile(report: WindowReport) -> Tile:
    """Returns the session's status at the window's end, and how often it degraded."""
    metrics = report.metrics
    status = metrics.session_status or ("none" if metrics.known.session and metrics.session is None else "unknown")
    degraded = metrics.degraded_events
    number = "no" if degraded == 0 else "unknown" if degraded is None else f"{degraded:,}"
    detail = f"{number} degraded event{'' if degraded == 1 else 's'} in the window"
    detail += "; its heartbeat is stale" if report.session.stale else ""
    short = formatting.shortened(status, 14)
    return Tile("Session", short, detail, _tone(report), limits(report, "session"))


@drawing.figure(1.9)
def session_lifecycle(report: WindowReport, ax: Axes) -> str:
    """Draws the lane's session events over time, a row per type, with the window shaded."""
    events = report.metrics.session_events
    known = events.dropna(subset=["created_at"])
    if known.empty:
        return drawing.nothing(ax, "No event of the session's lifecycle is known")
    kinds = (
        known["event_type"]
        .fillna("")
        .map(lambda name: drawing.short_name(name.removeprefix("vp.session.") or "unknown", _NAME_CHARACTERS))
    )
    ranked = kinds.value_counts()
    first, start, end = known["created_at"].min().to_pydatetime(), report.metrics.start, report.metrics.end
    degraded = int(ranked.get("degraded", 0))
    drawing.titled(
        ax,
        f"{f'Degraded {formatting.times(degraded)}' if degraded else 'Not degraded'} among "
        f"{formatting.count(len(known), 'session event')} "
        f"since {formatting.time(first)}",
    )
    names = [name for name in ranked.index[:_TYPES_SHOWN] if name not in _LIFECYCLE]
    names = [name for name in reversed(_LIFECYCLE) if name in ranked] + names
    if start is not None and end is not None and first < start < end:
        ax.axvspan(start, end, color=GRID.light, alpha=0.6, zorder=0, linewidth=0)  # type: ignore[arg-type]
        ax.annotate(
            "the window", (start, 1), (4, -3), ("data", "axes fraction"), "offset points", va="top",
            fontsize=8, color=MUTED.light,
        )  # fmt: skip
    for row, name in enumerate(names):
        times = known.loc[kinds == name, "created_at"]
        places: list[Any] = drawing.counted(times)[0] if len(times) > DENSE / 2 else list(times)
        bad = name == "degraded"
        ax.scatter(
            places, [row] * len(places), s=36, marker="X" if bad else "o", color=(CRITICAL if bad else BLUE).light,
            linewidths=0, clip_on=False,
        )  # fmt: skip
    drawing.rows(ax, [f"{name}  {ranked[name]:,}" for name in names])
    style.time_axis(ax, first, end, "Session event")
    return "; ".join(f"{name} {ranked[name]:,}" for name in reversed(names)) + "."
