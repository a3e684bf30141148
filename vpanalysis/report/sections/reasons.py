"""Why: what each gate found, how far the evidence carries, and the missions that count against the lane."""

from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis.contributors import missions_behind
from vpanalysis.analysis.verdict import LaneStatus, Reason
from vpanalysis.report import blocks
from vpanalysis.report.blocks import Block
from vpanalysis.report.finding import TONES, Finding
from vpanalysis.report.piece import Piece, Tone
from vpanalysis.report.sections.events import anchor, shown_missions
from vpanalysis.report.window_report import WindowReport

#: Missions shown of those that count against a lane; a note says how many more there are.
_AGAINST = 20
_COLUMNS = [
    ("Gate", "short"), ("Finding", "wide"), ("Result", "short"), ("Value", "number"), ("Limit", "number"),
]  # fmt: skip


def finding(report: WindowReport) -> Finding:
    """Returns how many checks passed or did not."""
    verdict = report.verdict
    tripped = sum(reason not in verdict.passed for reason in verdict.reasons)
    passed, left_out = len(verdict.passed), len(verdict.not_assessed)
    total = tripped + passed + left_out
    checks = formatting.count(total, "check")
    if total == 1 and not left_out:
        words = "The only check did not pass" if tripped else "The only check passed"
    elif tripped:
        words = f"None of {checks} passed" if tripped == total else f"{tripped} of {checks} did not pass"
    else:
        words = f"{passed} of {checks} passed" if left_out else f"All {checks} passed"
    return Finding(words + (f", {left_out} not assessed" if left_out else ""), TONES[verdict.lane_status])


def table(report: WindowReport) -> Piece:
    """Returns the deciding reasons and the evidence; folded, the checks that passed and the missions behind it."""
    verdict, evidence = report.verdict, report.verdict.evidence
    tripped = [reason for reason in verdict.reasons if reason not in verdict.passed]
    others = [_row(reason, "HEALTHY") for reason in verdict.passed]
    others += [
        [blocks.marked("quiet", _name(reason)), reason.sentence, "not assessed", "", ""]
        for reason in verdict.not_assessed
    ]
    shown: list[Block] = []
    if tripped:
        rows = [_row(reason, reason.caution or "WATCH") for reason in tripped]
        shown.append(blocks.table("What decided, worst first", _COLUMNS, rows))
    in_banner = verdict.lane_status == "HEALTHY" and evidence.signal == "not recorded"
    sure: list[tuple[Tone, str, str]] = [
        ("plain", name, text)
        for name, text in (
            ("Fallbacks", "" if in_banner else evidence.distance),
            ("Failures", evidence.failure.distance),
            ("Margin", evidence.fragility),
        )
        if text
    ]
    if sure:
        shown.append(blocks.notes(sure))
    if others:
        passed, left_out = len(verdict.passed), len(verdict.not_assessed)
        caption = f"{formatting.count(passed, 'check')} passed" + (f", {left_out:,} not assessed" if left_out else "")
        shown.append(blocks.folded(caption, blocks.table(caption, _COLUMNS, others)))
    return blocks.piece(*shown, *_missions_against(report), found=finding(report))


def _row(reason: Reason, status: LaneStatus) -> list[Any]:
    result = "passed" if status == "HEALTHY" else status.replace("_", " ")
    sentence = formatting.capitalized(reason.sentence)
    gate = blocks.marked(TONES[status], _name(reason))
    return [gate, sentence, result, measured(reason, "value"), measured(reason, "threshold")]


def _name(reason: Reason) -> str:
    return reason.gate.replace("_", " ")


def measured(reason: Reason, field: str) -> str:
    """Returns a reason's value or threshold in its unit."""
    value = getattr(reason, field)
    if value is None or isinstance(value, str):
        return formatting.shortened(value or formatting.NOT_AVAILABLE, 24)
    if reason.unit == "count":
        return f"{value:,}"
    if field == "threshold":
        return formatting.seconds_limit(value) if reason.unit == "seconds" else formatting.percent_limit(value)
    return formatting.duration(value) if reason.unit == "seconds" else formatting.percent(value)


def _missions_against(report: WindowReport) -> list[Block]:
    behind = missions_behind(report.verdict, report.metrics, report.policy).iloc[::-1]
    if behind.empty:
        return []
    errors, listed = report.errors, shown_missions(report)
    rows = [
        [
            blocks.linked(str(row["mission_id"]), f"#{anchor(row['mission_id'])}")
            if row["mission_id"] in listed
            else str(row["mission_id"]),
            formatting.time(row["created_at"]),
            row["outcome"] + (f": {row['why']}" if row["why"] else ""),
            formatting.duration(row["queue_wait_seconds"]),
            formatting.duration(row["duration_seconds"]),
            row["gates"].replace("_", " "),
            errors.get(row["mission_id"], ""),
        ]
        for row in behind.head(_AGAINST).to_dict("records")
    ]
    columns = [
        ("Mission", "wide"), ("Created", "time"), ("Outcome", "text"), ("Queue wait", "number"),
        ("Run time", "number"), ("Counts for", "text"), ("Error", "wide"),
    ]  # fmt: skip
    note = f"{len(behind) - _AGAINST:,} older ones not shown." if len(behind) > _AGAINST else ""
    verb = "counts" if len(behind) == 1 else "count"
    caption = f"{formatting.count(len(behind), 'mission')} {verb} against the lane, newest first"
    return [blocks.folded(caption, blocks.table(caption, columns, rows, note=note))]
