"""How this was made: command, parameters, data, versions and the policy's settings."""

from typing import Any

from vpanalysis import formatting
from vpanalysis.report import blocks
from vpanalysis.report.blocks import Column
from vpanalysis.report.piece import Piece
from vpanalysis.report.window_report import WindowReport


def table(report: WindowReport) -> Piece:
    """Returns how the report was made: the command, parameters, data, versions and the policy's settings."""
    given = [[name, str(value)] for name, value in report.parameters.items() if value not in ("", 0)]
    left_out = [name for name, value in report.parameters.items() if value in ("", 0)]
    policy = report.policy
    made = [
        ["Source", f"{report.metrics.source} ({report.metrics.kind})"],
        ["Rows", ", ".join(f"{table} {number:,}" for table, number in report.row_counts.items())],
        ["Content hash (SHA-256)", report.content_hash],
        ["Policy", f"{policy.name} {policy.version}, profile {policy.profile}, hash {policy.hash}"],
        ["Versions", ", ".join(f"{name} {number}" for name, number in report.versions.items())],
    ]
    settings = policy.model_dump(mode="json", exclude={"name", "version", "profile"})
    columns: list[Column] = [("Name", "short"), ("Value", "wide")]
    note = f"Not given: {', '.join(left_out)}." if left_out else ""
    return blocks.piece(
        blocks.command("This report again, from the same source:", report.command),
        blocks.folded(
            "Parameters, data, versions and the policy's settings",
            blocks.table("Parameters", columns, given, note=note),
            blocks.table("Data, policy and versions", columns, made),
            blocks.pairs("Thresholds and gates of the policy", _settings(settings), ("Setting", "Value")),
        ),
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
