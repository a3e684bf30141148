"""Outages: failures and fallbacks of several lanes that coincide beyond chance, each shown as one incident."""

from collections import Counter

import pandas as pd
from matplotlib.axes import Axes

from vpanalysis import formatting
from vpanalysis.analysis.incident import Incident
from vpanalysis.analysis.signatures import group_signatures
from vpanalysis.report import blocks, drawing, style
from vpanalysis.report.finding import Finding
from vpanalysis.report.fleet_report import FleetReport
from vpanalysis.report.piece import Piece

_ROW_INCHES, _LEAST_ROWS, _NAME_CHARACTERS = 0.27, 4, 34


def finding(report: FleetReport) -> Finding:
    """Returns how many incidents there were, and how many missions they hit."""
    if len(report.lanes) < 2:
        return Finding("Fewer than two lanes, so no outage to share", "plain")
    if not report.incidents:
        return Finding("Trouble on several lanes does not coincide beyond chance", "good")
    number = formatting.count(len(report.incidents), "incident")
    troubled = formatting.count(sum(incident.troubled for incident in report.incidents), "mission")
    return Finding(f"{number}, in which {troubled} failed or fell back", "watch")


def when(incident: Incident) -> str:
    """Returns from when to when an incident lasted."""
    one_day = incident.start.date() == incident.end.date()
    return f"{incident.start:%Y-%m-%d %H:%M} to {incident.end:{'%H:%M' if one_day else '%Y-%m-%d %H:%M'}}"


def table(report: FleetReport) -> Piece:
    """Returns the incidents: when, on which lanes, how many missions, and the error that most of them have."""
    rows = [
        [
            when(incident),
            ", ".join(map(report.label, incident.lanes)),
            formatting.share(incident.troubled, incident.missions),
            _error(report, incident),
            f"{incident.p_value:.1g}",
        ]
        for incident in report.incidents
    ]
    columns = [
        ("When (UTC)", "short"), ("Lanes", "text"), ("Failed or fell back", "number"), ("Most frequent error", "wide"),
        ("p", "number"),
    ]  # fmt: skip
    note = (
        "Each lane is compared with itself: were its failures and fallbacks spread at random over its missions, how "
        "likely would so many in one stretch of time be (hypergeometric)? Two lanes or more must have too many in the "
        "same stretch (partial conjunction, Benjamini and Heller 2008). p allows for all the stretches looked at. In "
        "an error, # stands for an id or a number."
    )
    shown = [blocks.table("Incidents of several lanes", columns, rows, note=note)] if rows else []
    return blocks.piece(*shown, found=finding(report))


@drawing.figure(lambda report: 1.1 + _ROW_INCHES * max(_LEAST_ROWS, len(report.lanes)))
def troubles_over_time(report: FleetReport, ax: Axes) -> str:
    """Draws each lane's failures and fallbacks over time, incidents as bands."""
    lanes = [lane for lane in report.lanes if not lane.metrics.missions.empty]
    if not lanes:
        return drawing.nothing(ax, "No lane has a mission")
    times = [lane.metrics.missions["created_at"].dropna() for lane in lanes]
    since = min((column.min() for column in times if len(column)), default=None)
    names = {lane.key: len(lanes) - 1 - place for place, lane in enumerate(lanes)}
    for incident in report.incidents:
        for key in incident.lanes:
            low = (names[key] - 0.45, names[key] + 0.45)
            ax.fill_betweenx(low, incident.start, incident.end, color=style.BAND.light, linewidth=0, zorder=1)  # type: ignore[arg-type]
    seen: Counter[str] = Counter()
    for lane, created in zip(lanes, times, strict=True):
        place = names[lane.key]
        if len(created):
            ax.hlines(place, created.min(), created.max(), color=style.GRID.light, linewidth=1, zorder=1.2)
        missions = lane.metrics.missions
        ended = missions["ended_at"]
        for what, marker, ink, moments in (
            ("failed", "x", style.CRITICAL, ended[missions["outcome"] == "failed"].dropna()),
            ("fell back", "o", style.ORANGE, missions["fallback_at"].fillna(ended)[missions["fell_back"]].dropna()),
        ):
            if moments.empty:
                continue
            kept = moments.iloc[drawing.thinned(len(moments), style.DENSE // 4)]
            ax.plot(
                kept, [place] * len(kept), marker, color=ink.light, markersize=5, markerfacecolor="none",
                markeredgewidth=1.3, zorder=3, label="" if seen[what] else what,
            )  # fmt: skip
            seen[what] += len(moments)
    drawing.rows(ax, [drawing.short_name(report.label(lane.key), _NAME_CHARACTERS) for lane in reversed(lanes)])
    style.time_axis(ax, since.to_pydatetime() if since is not None else None, report.as_of, "Time")
    drawing.legend(ax)
    drawing.titled(ax, "Failures and fallbacks of each lane" + (", incidents shaded" if report.incidents else ""))
    parts = [f"{what}: {formatting.count(number, 'mission')}" for what, number in seen.items()]
    parts += [
        f"Incident from {formatting.time(incident.start)} on {', '.join(map(report.label, incident.lanes))}"
        for incident in report.incidents
    ]
    return ". ".join(formatting.capitalized(part) for part in parts) + "." if parts else "None."


def _error(report: FleetReport, incident: Incident) -> str:
    """The signature that most of an incident's missions left, and how many left it."""
    frames = [lane.metrics.events for lane in report.lanes if lane.key in incident.lanes]
    events = pd.concat(frames)
    found = group_signatures(events[events["mission_id"].isin([mission for _, mission in incident.hit])])
    return f"{found[0].count:,}× {found[0].signature}" if found else "no payload"
