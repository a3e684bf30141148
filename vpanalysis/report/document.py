"""The report's JSON twin: the same facts as the HTML, for programs."""

from typing import Any

from pydantic import Field

from vpanalysis.analysis.verdict import Verdict
from vpanalysis.data.snapshot import LatencySeconds, Strict
from vpanalysis.report.fleet_report import FleetReport
from vpanalysis.report.history_document import history_document
from vpanalysis.report.history_report import HistoryReport
from vpanalysis.report.lanes_document import lanes_document
from vpanalysis.report.piece import Piece
from vpanalysis.report.twin import fields
from vpanalysis.report.window_report import WindowReport

#: The type under which an executed notebook carries its report's JSON.
DOCUMENT_MIME = "application/vnd.vpanalysis.report+json"


class Provenance(Strict):
    """How the report was made; nothing here depends on when it was run."""

    source: str = Field(description="A file's name, a URL without credentials, or sample.")
    kind: str
    parameters: dict[str, Any]
    command: str = Field(description="Makes this report again, given the same source.")
    policy: dict[str, Any] = Field(description="Every threshold and gate that judged.")
    row_counts: dict[str, int]
    content_hash: str = Field(description="SHA-256 of the rows the report rests on.")
    versions: dict[str, str]


class ReportDocument(Strict):
    """One rollout window's report."""

    schema_version: str = "1"
    sample: bool = Field(description="The built-in sample lane: not a basis for any rollout.")
    verdict: Verdict
    evidence_row: str = Field(description="The Markdown line for the evidence log.")
    latency_seconds: LatencySeconds = Field(description="Run time, started to completed.")
    queue_wait_seconds: LatencySeconds | None = Field(description="created to started; null when unknown.")
    session_status: str | None
    session_event_counts: dict[str, int]
    comparison: dict[str, Any] = Field(description="The window against its baseline (Comparison).")
    latency: dict[str, Any] = Field(description="Missions still running included (LatencyProfile, without its curve).")
    signatures: list[dict[str, Any]] = Field(description="Fallback and failure errors, grouped (Signature).")
    quality: list[dict[str, Any]] = Field(description="What is wrong with the data (QualityNote).")
    gateway_difference: str | None = Field(description="By how much the gateway's own numbers differ.")
    gateway_misleads: bool = Field(description="Those numbers would have passed the rule table where ours do not.")
    preceding: list[dict[str, Any]] = Field(
        description="The eight windows of the same length before this one, oldest first (PastWindow)."
    )
    session: dict[str, Any] = Field(description="The session's lifecycle (SessionStory).")
    event_profile: dict[str, Any] = Field(description="Missions against the expected sequence (EventProfile).")
    checklist: list[dict[str, Any]] = Field(description="The recovery checklist; empty when the action is continue.")
    way_back: dict[str, Any] | None = Field(
        description="Whether the window, taken as probes after the baseline's incident, justifies re-enabling the lane."
    )
    provenance: Provenance
    run_key: str | None = Field(
        default=None, description="SHA-256 of all that the report was made of; only a batch says it."
    )
    factory: str | None = Field(default=None, description="The source's name in a batch's plan.")


def document(report: WindowReport) -> ReportDocument:
    """Returns the JSON twin of a report: each field is what the report, its metrics or its verdict call so."""
    found = fields(ReportDocument, report.verdict, report.metrics, report)
    del found["latency"]["curve"]
    found["session_event_counts"] = found["session_event_counts"] or {}
    return ReportDocument(**found, provenance=Provenance(**fields(Provenance, report.tables, report)))


class Published(Piece):
    """Carries a report's JSON in a cell's output, from where ``vpanalysis report`` takes it; shows one line."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return {DOCUMENT_MIME: self.content, "text/plain": self.text}


def publish(report: WindowReport | HistoryReport | FleetReport) -> Published:
    """Returns what a notebook's last cell shows, so that a run can write the report's JSON beside its HTML."""
    content: Strict
    if isinstance(report, HistoryReport):
        found, content = str(report.story), history_document(report)
    elif isinstance(report, FleetReport):
        found, content = report.headline, lanes_document(report)
    else:
        found, content = report.verdict.decision, document(report)
    parts = content.model_dump(mode="json")
    return Published("text", parts, text=f"{found}: the report's JSON has {len(parts)} parts.")
