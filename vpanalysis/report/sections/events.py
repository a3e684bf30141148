"""Events and failures: what became of the missions, their event sequences, and the errors behind them."""

import hashlib

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vpanalysis import formatting
from vpanalysis.analysis.signatures import error_text
from vpanalysis.data.schema import COMPLETED, FAILED, FALLBACK
from vpanalysis.data.snapshot import clamp_event_limit
from vpanalysis.report import blocks, drawing
from vpanalysis.report.finding import Finding, gate_tone, incomplete, limits
from vpanalysis.report.piece import Piece
from vpanalysis.report.sections.tile import Tile, sparkline
from vpanalysis.report.style import BLUE, CRITICAL, DENSE, MUTED, ORANGE, WATCH, Ink
from vpanalysis.report.window_report import WindowReport

#: What is shown of lists that a database can make long; a note says how many more there are.
_SIGNATURES, _SEQUENCES, _TYPES_SHOWN = 10, 8, 10
#: Of names in the list of events, which has up to 1,000 rows, and beside the bars of a figure.
_NAME_CHARACTERS, _BAR_CHARACTERS = 80, 34
#: Ink and marker of each outcome of a mission, in the order of the rows; the marker tells them apart without colour.
_OUTCOMES: tuple[tuple[str, Ink, str], ...] = (
    ("completed", BLUE, "o"),
    ("failed", CRITICAL, "X"),
    ("cancelled", MUTED, "s"),
    ("pending", BLUE, "D"),
    ("overdue", WATCH, "v"),
    ("unaccounted", CRITICAL, "P"),
)


def finding(report: WindowReport) -> Finding:
    """Returns what became of the missions, and the most frequent error."""
    account, profile = report.metrics.account, report.event_profile
    if account.counts is None:
        return Finding("Unknown: the source does not say what became of the missions", "watch")
    if not account.total:
        return Finding("No mission, so no event sequence", "quiet")
    words = f"{account.count('failed'):,} of {formatting.count(account.total, 'mission')} failed or timed out"
    for outcome, text in (("overdue", "overdue"), ("unaccounted", "unaccounted for")):
        if account.count(outcome):
            words += f", {account.count(outcome):,} {text}"
    completed = account.count("completed")
    if not completed:
        words += ", none completed"
    elif profile.as_expected is not None and not incomplete(report):
        which = f"{profile.as_expected:,} of the {completed:,}"
        if profile.as_expected == completed:
            which = "the one" if completed == 1 else f"all {completed:,}"
        words += f"; {which} completed went as expected"
    lost = ["data_quality"] if account.count("unaccounted") else []
    return Finding(words, gate_tone(report, "failures", "completions", *lost))


def tile(report: WindowReport) -> Tile:
    """Returns how many missions failed, and what became of the others."""
    account = report.metrics.account
    if account.counts is None:
        return Tile("Failed or timed out", formatting.NOT_AVAILABLE, "the source does not say")
    failed, total = account.count("failed"), account.total
    others = ", ".join(f"{number:,} {name}" for name, number in account.counts.items() if number and name != "failed")
    before = report.baseline.account if report.baseline else None
    return Tile(
        "Failed or timed out",
        f"{failed:,} of {total:,}" if total else formatting.NOT_AVAILABLE,
        others or ("none completed" if failed else "no mission"),
        gate_tone(report, "failures"),
        limits(report, "failures"),
        f"{before.count('failed'):,} of {before.total:,}" if before and before.total else "",
        trend=sparkline([*(past.failed_share for past in report.preceding), failed / total if total else None]),
    )


def table(report: WindowReport) -> Piece:
    """Returns how missions depart from the expected sequence, and the sequences they took."""
    counts, profile = report.metrics.mission_counts, report.event_profile
    shown = []
    if profile.deviations:
        rows = [[item.label, f"{item.missions:,}", ", ".join(item.examples)] for item in profile.deviations]
        columns = [("Deviation", "text"), ("Missions", "number"), ("Newest examples", "wide")]
        shown.append(blocks.table("How missions depart from dispatched → completed", columns, rows))
    if profile.sequences:
        rows = [[sequence, f"{number:,}"] for sequence, number in profile.sequences[:_SEQUENCES]]
        if rest := profile.sequences[_SEQUENCES:]:
            rows.append([formatting.count(len(rest), "other sequence"), f"{sum(number for _, number in rest):,}"])
        columns = [("Sequence", "wide"), ("Missions", "number")]
        shown.append(blocks.table("Event sequences, progress left out", columns, rows))
    elif counts:
        rows = [[name, f"{number:,}"] for name, number in counts.items()]
        shown.append(blocks.table("Missions by status", [("Status", "wide"), ("Missions", "number")], rows))
    if not shown:
        shown.append(blocks.sentence(profile.finding))
    return blocks.piece(*shown, found=finding(report))


def signatures(report: WindowReport) -> Piece:
    """Returns the errors of fallbacks and failures, grouped by what they have in common."""
    if not report.signatures:
        where = "in the events that the source holds" if incomplete(report) else "in this window"
        return blocks.piece(blocks.sentence(f"No fallback and no failure left an error text {where}."))
    rows = [
        [
            item.signature,
            item.kind,
            f"{item.count:,}",
            f"{item.missions:,}",
            formatting.time(item.last_seen),
            item.example,
        ]
        for item in report.signatures[:_SIGNATURES]
    ]
    note = "# stands for an id or number, [path] for a path, … for a name; error codes stay, and secrets are masked."
    if (more := len(report.signatures) - _SIGNATURES) > 0:
        note = f"{formatting.count(more, 'rarer signature')} not shown. {note}"
    columns = [
        ("Signature", "wide"), ("Kind", "short"), ("Events", "number"), ("Missions", "number"), ("Last seen", "time"),
        ("Newest example", "wide"),
    ]  # fmt: skip
    caption = f"{formatting.count(len(report.signatures), 'error signature')}, most frequent first"
    return blocks.piece(blocks.table(caption, columns, rows, note=note))


def recent_events(report: WindowReport) -> Piece:
    """Returns the newest events of the window's missions, folded; fallbacks and failures with their errors."""
    known = report.metrics.events
    limit = clamp_event_limit(report.parameters["event_limit"])
    newest = known[known["recent"]].tail(limit).iloc[::-1]
    if newest.empty:
        return blocks.piece(blocks.sentence("The source shows no single event."))
    first = set(newest.drop_duplicates("mission_id")["event_id"])
    rows = [
        [
            formatting.time(event["created_at"]),
            blocks.marked("watch" if event["event_type"] in (FALLBACK, FAILED) else "plain", _cut(event["event_type"])),
            blocks.anchored(_cut(event["mission_id"]), anchor(event["mission_id"]))
            if event["event_id"] in first
            else _cut(event["mission_id"]),
            error_text(event["payload_json"]) if event["event_type"] in (FALLBACK, FAILED) else "",
        ]
        for event in newest.to_dict("records")
    ]
    columns = [("Time", "time"), ("Type", "wide"), ("Mission", "wide"), ("Error", "wide")]
    caption = f"The newest {formatting.count(len(rows), 'event')}, newest first"
    return blocks.piece(blocks.folded(caption, blocks.table(caption, columns, rows)))


def anchor(mission_id: object) -> str:
    """Returns the page's anchor of a mission's events."""
    return f"events-{hashlib.sha256(str(mission_id).encode()).hexdigest()[:10]}"


def shown_missions(report: WindowReport) -> set[str]:
    """Returns the missions that the list of events shows something of."""
    known = report.metrics.events
    return set(known[known["recent"]].tail(clamp_event_limit(report.parameters["event_limit"]))["mission_id"])


def _cut(name: object) -> str:
    text = "" if pd.isna(name) else str(name)  # type: ignore[call-overload]
    return formatting.shortened(text, _NAME_CHARACTERS)


def _timeline_height(report: WindowReport) -> float:
    return 0.85 + 0.27 * max(report.metrics.missions.dropna(subset=["created_at"])["outcome"].nunique(), 1)


@drawing.figure(_timeline_height)
def mission_timeline(report: WindowReport, ax: Axes) -> str:
    """Draws when missions were created, a row per outcome; dense rows as counts per stretch of time."""
    missions = report.metrics.missions
    known = missions.dropna(subset=["created_at"])
    if known.empty:
        return drawing.nothing(ax, "No mission to draw over time")
    outcome = known["outcome"]
    counts = {name: int((outcome == name).sum()) for name, *_ in _OUTCOMES}
    shown = [row for row in _OUTCOMES if counts[row[0]]]
    outcomes = ", ".join(f"{counts[name]:,} {name}" for name, *_ in shown)
    undated = len(missions) - len(known)
    left_out = f" ({undated:,} without a creation time not drawn)" if undated else ""
    drawing.titled(ax, f"Of {formatting.count(len(known), 'mission')}, {outcomes}{left_out}")
    for row, (name, ink, marker) in enumerate(reversed(shown)):
        times = known.loc[outcome == name, "created_at"]
        if len(known) > DENSE and len(times) > DENSE / 8:
            edges, numbers = drawing.histogram(times, known["created_at"].min(), known["created_at"].max())
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
            drawing.tell(ax, report, known.loc[times.index], pd.Series(float(row), times.index))
    drawing.rows(ax, [f"{name}  {counts[name]:,}" for name, *_ in reversed(shown)])
    drawing.window_axis(ax, report, known)
    return f"From {formatting.time(known['created_at'].min())} to {formatting.time(known['created_at'].max())}."


def _mix_height(report: WindowReport) -> float:
    return 0.9 + 0.23 * min(max(len(report.event_profile.event_counts or {}), 4), _TYPES_SHOWN + 1)


@drawing.figure(_mix_height)
def event_mix(report: WindowReport, ax: Axes) -> str:
    """Draws how many events of each type the window's missions have; escalation indicators stand out."""
    counts = report.event_profile.event_counts
    if not counts:
        return drawing.nothing(ax, "No event of these missions is known")
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = [(drawing.short_name(name, _BAR_CHARACTERS), number) for name, number in ranked[:_TYPES_SHOWN]]
    if rest := ranked[_TYPES_SHOWN:]:
        shown.append((f"{len(rest):,} other types", sum(number for _, number in rest)))
    told = [f"{counts[kind]:,} {kind.rpartition('.')[2]}" for kind in (COMPLETED, FALLBACK, FAILED) if kind in counts]
    events = formatting.count(sum(counts.values()), "event")
    drawing.titled(ax, f"{', '.join(told) or 'None completed, fallback or failed'} among {events}")
    inks = {FALLBACK: ORANGE, FAILED: CRITICAL}
    values = [number for _, number in shown]
    ax.barh(range(len(shown)), values, color=[inks.get(name, BLUE).light for name, _ in shown], height=0.66)
    for row, number in enumerate(values):
        drawing.label(ax, f"{number:,}", (number, row), (4, 0), va="center")
    drawing.rows(ax, [name for name, _ in shown])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * max(values))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("Events of the window's missions")
    return "; ".join(f"{name} {number:,}" for name, number in shown) + "."
