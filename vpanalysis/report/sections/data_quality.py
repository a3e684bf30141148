"""Data quality: what is wrong with the data, and where the gateway is blind."""

from vpanalysis import formatting
from vpanalysis.report import blocks
from vpanalysis.report.finding import Finding
from vpanalysis.report.piece import Piece, Tone
from vpanalysis.report.window_report import WindowReport


def finding(report: WindowReport) -> Finding:
    """Returns how much is wrong with the data, and whether it forbids a healthy verdict."""
    vetoes = sum(note.veto for note in report.quality)
    if vetoes:
        meaning = (
            "no verdict may be healthy" if report.policy.gate("data_quality") else "this policy does not judge them"
        )
        return Finding(f"{formatting.count(vetoes, 'fault')} in the data: {meaning}", "watch")
    if report.gateway_misleads:
        return Finding("The gateway is blind here: its numbers would have passed", "watch")
    if report.quality:
        return Finding(f"{formatting.count(len(report.quality), 'remark')}; the verdict stands", "plain")
    return Finding("Nothing is wrong with the data", "good")


def table(report: WindowReport) -> Piece:
    """Returns what is wrong with the data, vetoes first, and where the gateway's own numbers differ."""
    items: list[tuple[Tone, str, str]] = [
        ("watch" if note.veto else "plain", "", note.sentence) for note in report.quality
    ]
    if not items:
        items.append(("good", "", "Every row, time stamp and event of the window could be read and is consistent."))
    if report.gateway_difference:
        place = 0 if report.gateway_misleads else len(items)
        items.insert(place, ("watch" if report.gateway_misleads else "plain", "", report.gateway_difference))
    return blocks.piece(blocks.notes(items), found=finding(report))
