"""The report's tables of events: sequences and their deviations, error signatures, and the newest events."""

import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis.signatures import error_text
from vpanalysis.data.schema import FAILED, FALLBACK
from vpanalysis.data.snapshot import clamp_event_limit
from vpanalysis.report import blocks, findings
from vpanalysis.report.piece import Piece
from vpanalysis.report.window_report import WindowReport

#: What is shown of lists that a database can make long; a note says how many more there are.
_SIGNATURES, _SEQUENCES = 10, 8
#: Of names in the list of events: it has up to 1,000 rows.
_NAME_CHARACTERS = 80


def events(report: WindowReport) -> Piece:
    """Returns how missions depart from the expected sequence, and the sequences they took."""
    counts, profile = report.metrics.mission_counts, report.profile
    shown = []
    if profile.deviations:
        rows = [[item.label, f"{item.missions:,}", ", ".join(item.examples)] for item in profile.deviations]
        columns: list[blocks.Column] = ["Deviation", ("Missions", "number"), ("Newest examples", "wide")]
        shown.append(blocks.table("How missions depart from dispatched → completed", columns, rows))
    if profile.sequences:
        rows = [[sequence, f"{number:,}"] for sequence, number in profile.sequences[:_SEQUENCES]]
        if rest := profile.sequences[_SEQUENCES:]:
            rows.append([f"{len(rest):,} other sequences", f"{sum(number for _, number in rest):,}"])
        columns = [("Sequence", "wide"), ("Missions", "number")]
        shown.append(blocks.table("Event sequences, progress left out", columns, rows))
    elif counts:
        rows = [[name, f"{number:,}"] for name, number in counts.items()]
        shown.append(blocks.table("Missions by status", [("Status", "wide"), ("Missions", "number")], rows))
    if not shown:
        shown.append(blocks.sentence(profile.finding))
    return blocks.piece(*shown, found=findings.events(report))


def signatures(report: WindowReport) -> Piece:
    """Returns the errors of fallbacks and failures, grouped by what they have in common."""
    if not report.signatures:
        where = "in the events that the source holds" if findings.incomplete(report) else "in this window"
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
    note = "Numbers, ids and paths are replaced by #, … and [path]; secrets are masked."
    if (more := len(report.signatures) - _SIGNATURES) > 0:
        note = f"{formatting.count(more, 'rarer signature')} not shown. {note}"
    columns: list[blocks.Column] = [
        ("Signature", "wide"), ("Kind", "short"), ("Events", "number"), ("Missions", "number"), ("Last seen", "time"),
        ("Newest example", "wide"),
    ]  # fmt: skip
    return blocks.piece(blocks.table("Error signatures, most frequent first", columns, rows, note=note))


def recent_events(report: WindowReport) -> Piece:
    """Returns the newest events of the window's missions, folded; fallbacks and failures with their errors."""
    known = report.metrics.events
    limit = clamp_event_limit(report.parameters["event_limit"])
    newest = pd.DataFrame() if known is None else known[known["recent"]].tail(limit).iloc[::-1]
    if newest.empty:
        return blocks.piece(blocks.sentence("The source shows no single event."))
    rows = [
        [
            formatting.time(event["created_at"]),
            blocks.marked("watch" if event["event_type"] in (FALLBACK, FAILED) else "plain", _cut(event["event_type"])),
            _cut(event["mission_id"]),
            error_text(event["payload_json"]) if event["event_type"] in (FALLBACK, FAILED) else "",
        ]
        for event in newest.to_dict("records")
    ]
    columns: list[blocks.Column] = [("Time", "time"), ("Type", "wide"), ("Mission", "wide"), ("Error", "wide")]
    caption = f"The newest {formatting.count(len(rows), 'event')}, newest first"
    return blocks.piece(blocks.folded(caption, blocks.table(caption, columns, rows)))


def _cut(name: object) -> str:
    text = "" if pd.isna(name) else str(name)  # type: ignore[call-overload]
    return text if len(text) <= _NAME_CHARACTERS else text[: _NAME_CHARACTERS - 1] + "…"
