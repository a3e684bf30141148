"""Recovery: the playbook's checklist, and the way back to the lane."""

from vpanalysis import formatting
from vpanalysis.report import blocks
from vpanalysis.report.finding import Finding
from vpanalysis.report.piece import Piece
from vpanalysis.report.window_report import WindowReport


def finding(report: WindowReport) -> Finding:
    """Returns how many of the recovery checklist's steps are asked for at once."""
    now = sum(step.now for step in report.checklist)
    return Finding(f"{now} of {formatting.count(len(report.checklist), 'step')} to take now", "plain")


def checklist(report: WindowReport) -> Piece:
    """Returns the playbook's recovery checklist; a report whose action is to continue leaves it out."""
    if not report.checklist:
        return blocks.piece(blocks.sentence("Nothing to recover: the action is to continue."), omit=True)
    steps = [
        {"title": step.title, "text": step.text, "command": step.command or "", "now": step.now}
        for step in report.checklist
    ]
    return blocks.piece({"kind": "steps", "steps": steps}, found=finding(report))


def way_back(report: WindowReport) -> Piece:
    """Returns whether the window, taken as probe missions, justifies re-enabling a lane under forced fallback."""
    found = report.way_back
    if found is None:
        return blocks.piece(
            blocks.sentence(
                "The window before this one did not ask to force the fallback, so there is nothing to come back from."
            ),
            omit=True,
        )
    rows = [
        ["Probe missions", formatting.known_count(found.probes)],
        ["More probes without a fallback needed", formatting.known_count(found.more_probes)],
        ["True fallback rate, upper 95 % bound", formatting.percent(found.upper_bound)],
    ]
    notes = blocks.notes([("watch", "", f"{formatting.capitalized(text)}.") for text in found.against])
    return blocks.piece(
        blocks.sentence(found.sentence), *([notes] if found.against else []), blocks.pairs("The probes", rows)
    )
