"""The roll call: which lanes are enabled but absent, which sources are dormant; and how the overview was made."""

from vpanalysis import formatting
from vpanalysis.report import blocks
from vpanalysis.report.finding import Finding
from vpanalysis.report.fleet_report import FleetReport, SourceFile
from vpanalysis.report.piece import Piece, Tone
from vpanalysis.report.sections import provenance


def table(report: FleetReport) -> Piece:
    """Returns the sources with their last sign of life, and which enabled lanes are absent."""
    dormant = report.dormant
    words = []
    if report.absent:
        words.append(f"{formatting.count(len(report.absent), 'enabled lane')} absent: {', '.join(report.absent)}")
    if dormant:
        words.append(f"{formatting.count(len(dormant), 'source')} dormant")
    enabled = f"all {formatting.count(len(report.enabled), 'enabled lane')} present" if report.enabled else ""
    found = "; ".join(words) or enabled or "No list of enabled lanes was given"
    columns = [
        ("Source", "text"), ("Kind", "text"), ("Lanes", "number"), ("Last sign of life", "time"), ("State", "text"),
    ]  # fmt: skip
    rows = [
        [file.name, file.kind, f"{file.lanes:,}", formatting.time(file.last_activity), _state(file, file in dormant)]
        for file in report.files
    ]
    note = "" if report.enabled else "Name the lanes that should be here in UA_VP_ENABLED_IDS or the parameter enabled."
    tone: Tone = "watch" if report.absent else "quiet" if dormant or not report.enabled else "good"
    sources = blocks.table("Sources", columns, rows, note=note)
    return blocks.piece(sources, found=Finding(formatting.capitalized(found), tone))


def made(report: FleetReport) -> Piece:
    """Returns how the overview was made: the command, parameters, data, versions and policies."""
    hashes = [[report.label(lane.key), text] for lane, text in zip(report.lanes, report.hashes, strict=True)]
    columns = [("Name", "short"), ("Value", "wide")]
    data = blocks.table("Content hash of each lane's data (SHA-256)", columns, hashes)
    policies = [lane.policy for lane in report.lanes]
    return provenance.made(report, "Parameters, policies, versions and data", [], policies, data)


def _state(file: SourceFile, dormant: bool) -> str:
    if file.last_activity is None:
        return "no lane" if not file.lanes else "unknown"
    return "dormant: nothing written for over 7 days" if dormant else "alive"
