"""The history's JSON twin: the same facts as its HTML, for programs."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from vpanalysis.analysis.verdict import Verdict
from vpanalysis.data.snapshot import Strict
from vpanalysis.report.history_report import HistoryReport, Story
from vpanalysis.report.twin import fields


class HistoryWindow(Strict):
    """One past window, judged as of its own end."""

    window_start: datetime
    window_end: datetime = Field(description="Of an open window the moment of judgement.")
    provisional: bool = Field(description="The window is open, or missions of it are pending.")
    missions: int = Field(description="Distinct missions.")
    settled: int | None
    fallbacks: int | None
    failures: int
    fallback_rate: float | None = Field(description="null without a mission.")
    rate_low: float | None = Field(description="Wilson's 95 % interval.")
    rate_high: float | None
    p95_seconds: float | None = Field(description="Of the run time.")
    p95_low: float | None = Field(description="95 % interval by order statistics; null: too few missions for an end.")
    p95_high: float | None
    decision: str
    lane_status: str
    action: str
    gate: str = Field(description="The main gate.")
    reason: str = Field(description="What it found.")
    policy_hash: str
    origin: Literal["computed"]


class HistoryIncident(Strict):
    """A spell of windows that were not healthy; one whose session's state alone is unknown does not count."""

    start: datetime = Field(description="When its first window began.")
    seen: datetime = Field(description="When that window ended: from then on it could be known.")
    recovered: datetime | None = Field(description="The end of the first healthy window after it; null: it goes on.")
    windows: int = Field(description="How many windows were not healthy.")
    worst: bool = Field(description="One of them asked to force the fallback.")
    gate: str = Field(description="The main gate of its first window.")
    reason: str = Field(description="What that gate found.")


class FirstError(Strict):
    """An error and when it appeared first."""

    first_seen: datetime = Field(description="The start of its first window.")
    kind: str
    signature: str
    count: int = Field(description="Events in all windows.")


class LoggedRow(Strict):
    """A dated row of the evidence log."""

    date: datetime
    window: str
    scope: str
    missions: int | None
    fallbacks: int | None
    rate: float | None
    p95_seconds: float | None
    decision: str
    status: str | None = Field(description="The lane status that the decision means; null: no policy writes it.")
    policy_hash: str | None
    line: int
    step: str = Field(description="The rollout's step that the row names; else empty.")


class HistoryProvenance(Strict):
    """How the history was made."""

    source: str
    kind: str
    parameters: dict[str, Any]
    command: str = Field(description="Makes this report again, given the same source.")
    policy: dict[str, Any] = Field(description="Every threshold and gate that judged.")
    versions: dict[str, str]


class HistoryDocument(Strict):
    """A lane's past, window by window."""

    schema_version: Literal["1"] = "1"
    sample: bool = Field(description="The built-in sample lane: not a basis for any rollout.")
    story: Story = Field(description="The history in a word.")
    verdict: Verdict | None = Field(description="On the newest window; null without any.")
    evidence_row: str = Field(description="Its Markdown line for the evidence log; empty without any.")
    windows: list[HistoryWindow] = Field(description="Oldest first.")
    rolling_fallback: list[float | None] = Field(
        description="The highest fallback share over 20 missions that ended within each window; null: none so far."
    )
    incidents: list[HistoryIncident] = Field(description="Oldest first.")
    signatures: list[FirstError] = Field(description="By first appearance.")
    log: list[LoggedRow] = Field(description="The evidence log's dated rows, oldest first.")
    missed_looks: list[str] = Field(description="Looks that the playbook's cadence asked for and the log lacks.")
    provenance: HistoryProvenance


def history_document(report: HistoryReport) -> HistoryDocument:
    """Returns the JSON twin of a lane's history."""
    made = HistoryProvenance(**fields(HistoryProvenance, report))
    return HistoryDocument(**fields(HistoryDocument, report, provenance=made))
