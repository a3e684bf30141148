"""How this was made: command, parameters, data, versions and the policy's settings."""

from collections.abc import Iterable
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis.policy import Policy
from vpanalysis.report import blocks
from vpanalysis.report.blocks import Block
from vpanalysis.report.made import Made
from vpanalysis.report.piece import Piece
from vpanalysis.report.window_report import WindowReport


def table(report: WindowReport) -> Piece:
    """Returns how the report was made: the command, parameters, data, versions and the policy's settings."""
    rows = [
        ["Source", f"{report.metrics.source} ({report.metrics.kind})"],
        ["Rows", ", ".join(f"{table} {number:,}" for table, number in report.row_counts.items())],
        ["Content hash (SHA-256)", report.content_hash],
    ]
    settings = report.policy.model_dump(mode="json", exclude={"name", "version", "profile"})
    gates = blocks.pairs("Thresholds and gates of the policy", _settings(settings), ("Setting", "Value"))
    return made(report, "Parameters, data, versions and the policy's settings", rows, [report.policy], gates)


def made(report: Made, summary: str, rows: list[list[str]], policies: Iterable[Policy], *more: Block) -> Piece:
    """Returns how a page was made: the command; folded, parameters, ``rows`` of names and values, policies, versions.

    Args:
        report: What the page shows.
        summary: What is folded, in a few words.
        rows: What else there is to say.
        policies: Those that judged; equal ones are told once.
        more: Blocks at the end of the fold.
    """
    given = [[name, str(value)] for name, value in report.parameters.items() if value not in ("", 0)]
    left_out = [name for name, value in report.parameters.items() if value in ("", 0)]
    judged = {f"{one.name} {one.version}, profile {one.profile}, hash {one.hash}": None for one in policies}
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    rows = [*rows, ["Policy" if len(judged) == 1 else "Policies", "; ".join(judged)], ["Versions", versions]]
    columns = [("Name", "short"), ("Value", "wide")]
    note = f"Not given: {', '.join(left_out)}." if left_out else ""
    parameters = blocks.table("Parameters", columns, given, note=note)
    return blocks.piece(
        blocks.command("To make this report again from the same source:", report.command),
        blocks.folded(summary, parameters, blocks.table("Data, policy and versions", columns, rows), *more),
    )


def _settings(values: dict[str, Any], within: str = "") -> list[list[str]]:
    """A policy's settings, one a row, those of a gate after its name."""
    rows: list[list[str]] = []
    for key, value in values.items():
        name = f"{within}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _settings(value, "" if key == "gates" else f"{name}: ")
        elif value is None or isinstance(value, bool):
            rows.append([name, "on" if value else "off"])
        else:
            rows.append([name, formatting.threshold(value)])
    return rows
