"""The lane overview's JSON twin: the same facts as its HTML, for programs."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from vpanalysis.analysis.fleet import Excuse
from vpanalysis.analysis.run_times import tiers
from vpanalysis.analysis.verdict import LaneStatus, Verdict
from vpanalysis.data.snapshot import Strict
from vpanalysis.report.fleet_report import FleetReport
from vpanalysis.report.sections.lane_table import shares
from vpanalysis.report.twin import fields


class LaneEntry(Strict):
    """One lane of one source."""

    source: str
    vp_id: str
    needs_you: bool = Field(description="Whether the lane needs somebody.")
    excuse: Excuse = Field(description="Why not, although its verdict does not say continue; else empty.")
    p_value: float = Field(description="How likely a healthy lane shows at least as much of anything bad by chance.")
    adjusted_p_value: float = Field(description="The same for so many lanes (Benjamini-Hochberg).")
    verdict: Verdict
    failed: int | None = Field(description="Missions that failed; null: unknown.")
    finished: int | None = Field(description="Missions that completed or failed; null: unknown.")
    queue_wait_p95_seconds: dict[str, float | None] = Field(description="By tier; created to started.")
    session_status: str | None
    last_activity: datetime | None = Field(description="The lane's last sign of life, UTC; null: unknown.")
    trouble: list[float] = Field(description="Share that failed or fell back, by eighths of the window, oldest first.")
    evidence_row: str = Field(description="The Markdown line for the evidence log.")
    content_hash: str = Field(description="SHA-256 of the rows the verdict rests on.")


class IncidentEntry(Strict):
    """Failures and fallbacks of several lanes that coincide beyond chance."""

    start: datetime
    end: datetime
    lanes: list[tuple[str, str]] = Field(description="Source and lane of each.")
    troubled: int = Field(description="Missions of these lanes that failed or fell back within it.")
    missions: int = Field(description="All their missions within it.")
    p_value: float


class SourceEntry(Strict):
    """One source."""

    name: str
    kind: str
    lanes: int
    last_activity: datetime | None
    dormant: bool


class LanesDocument(Strict):
    """The overview of the lanes of one or more sources."""

    schema_version: Literal["1"] = "1"
    sample: bool = Field(description="Any of it is the built-in sample: not a basis for any rollout.")
    headline: str = Field(description="How many lanes need somebody.")
    lane_status: LaneStatus = Field(description="The most cautious status of those; HEALTHY when there are none.")
    as_of: datetime | None
    lanes: list[LaneEntry] = Field(description="Those that need somebody first, then the most cautious.")
    absent: list[str] = Field(description="Enabled lanes that no source has anything of; each needs somebody.")
    enabled: list[str] = Field(description="The lanes that should be there; empty: not given.")
    incidents: list[IncidentEntry] = Field(description="Oldest first.")
    sources: list[SourceEntry]
    parameters: dict[str, Any]
    command: str = Field(description="Makes this overview again, given the same sources.")
    versions: dict[str, str]


def lanes_document(report: FleetReport) -> LanesDocument:
    """Returns the JSON twin of an overview."""
    lanes = [
        LaneEntry(
            **fields(
                LaneEntry,
                lane.metrics.account,
                lane.metrics,
                lane,
                needs_you=lane.needs,
                adjusted_p_value=lane.adjusted,
                failed=lane.metrics.account.count("failed") if lane.metrics.account.counts else None,
                queue_wait_p95_seconds={tier.tier: tier.p95_seconds for tier in tiers(lane.metrics)},
                trouble=shares(lane),
                evidence_row=row,
                content_hash=digest,
            )
        )
        for lane, row, digest in zip(report.lanes, report.rows, report.hashes, strict=True)
    ]
    incidents = [IncidentEntry(**fields(IncidentEntry, incident)) for incident in report.incidents]
    sources = [SourceEntry(**vars(file), dormant=file in report.dormant) for file in report.files]
    return LanesDocument(**fields(LanesDocument, report, lanes=lanes, incidents=incidents, sources=sources))
