"""One window, judged: everything that its report and its JSON twin show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from vpanalysis.analysis.events import EventProfile
from vpanalysis.analysis.gates.data_quality import QualityNote
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.recovery_checklist import ReenableVerdict, Step
from vpanalysis.analysis.run_times import LatencyProfile, slowness
from vpanalysis.analysis.sessions import SessionStory
from vpanalysis.analysis.signatures import MAX_EXAMPLE, Signature, error_text, normalise
from vpanalysis.analysis.trends import Comparison, PastWindow
from vpanalysis.analysis.verdict import Verdict
from vpanalysis.data.schema import FAILED, FALLBACK
from vpanalysis.data.tables import Tables
from vpanalysis.report.made import Made
from vpanalysis.report.piece import Piece


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowReport(Made):
    """One window, judged: what the report and its JSON twin show, and how it was made (:class:`.Made`).

    Attributes:
        tables: The window's tables.
        metrics: What they say.
        verdict: The decision, its reasons and its evidence.
        policy: The policy that judged.
        baseline: The metrics of the window before (or the given one); ``None`` when there is none.
        comparison: The window against its baseline.
        preceding: The eight windows of the same length before this one, oldest first; empty when unknown.
        rolling: Fallback share over the newest 20 missions up to each mission.
        latency: Run time and queue wait, missions still running included.
        baseline_latency: The same of the baseline; ``None`` without one.
        signatures: Fallback and failure errors, grouped.
        quality: What is wrong with the data, vetoes first.
        gateway_difference: By how much the gateway's own numbers differ now; ``None`` when they do not, or when
            the source is no database.
        gateway_misleads: Whether those numbers would have passed the rule table where ours do not.
        session: The session's lifecycle.
        event_profile: Each mission's events against the expected sequence.
        checklist: The recovery checklist; empty when the action is ``continue``.
        way_back: Whether this window's missions, as probes of a lane under forced fallback, justify re-enabling it;
            ``None`` unless the baseline asked to force the fallback.
        evidence_row: The line for the evidence log.
        notebook: The notebook's name.
        content_hash: SHA-256 of the rows that the report rests on.
        row_counts: Rows per table in the window.
        banner: What the report shows of itself at the end of a cell.
    """

    tables: Tables
    metrics: Metrics
    verdict: Verdict
    policy: Policy
    baseline: Metrics | None
    comparison: Comparison
    preceding: tuple[PastWindow, ...]
    rolling: pd.DataFrame
    latency: LatencyProfile
    baseline_latency: LatencyProfile | None
    signatures: tuple[Signature, ...]
    quality: tuple[QualityNote, ...]
    gateway_difference: str | None
    gateway_misleads: bool
    session: SessionStory
    event_profile: EventProfile
    checklist: tuple[Step, ...]
    way_back: ReenableVerdict | None
    evidence_row: str
    notebook: str
    content_hash: str
    row_counts: Mapping[str, int]
    banner: Callable[["WindowReport"], Piece]

    @property
    def missions(self) -> pd.DataFrame:
        """The window's missions, oldest first, for questions of your own; secrets in free text are masked.

        Returns:
            A row per mission, each id once, NA where the source cannot know; empty when it lists no missions.

            - Text ``mission_id``, ``run_id``, ``objective``, ``result_ref``, ``worker_id``, ``priority_tier``,
              ``source``, ``status``; times in UTC, NaT when missing, ``created_at``, ``started_at``,
              ``completed_at``, ``updated_at``, ``dispatched_at``, ``started_event_at``, ``fallback_at`` (the first)
              and ``ended_event_at``.
            - ``queue_wait_seconds`` (created → started) and ``duration_seconds`` (started → completed), NaN when
              either end is missing; ``events``, ``fallback_events``, ``starts`` (over 1: a worker was lost),
              ``cancel_requested``, ``ended_event`` and ``sequence`` (event types without progress).
            - What became of it: ``outcome`` (``completed``, ``failed``, ``cancelled``, ``pending``, ``overdue`` or
              ``unaccounted``), ``why`` it is unaccounted (else ``""``), ``begun_at`` and ``ended_at`` (NaT when
              not), ``fell_back``, ``settled`` (completed, failed or fell back), ``recordable`` (it could have
              recorded a fallback).
            - ``slow`` (ran longer than the policy's critical p95; NA where nobody knows) and ``error`` (the signature
              of its newest fallback or failure; ``""`` without one).
        """
        frame = self.metrics.missions
        frame = frame.drop(columns=[name for name in frame if str(name).endswith("_text")])
        for name in ("objective", "result_ref"):
            frame[name] = [shown(value, MAX_EXAMPLE) if isinstance(value, str) else None for value in frame[name]]
        errors = self.errors
        slow = slowness(self.metrics, self.policy.p95_critical_seconds)
        return frame.assign(slow=slow, error=[errors.get(name, "") for name in frame["mission_id"]])

    @cached_property
    def errors(self) -> Mapping[str, str]:
        """The signature of each mission's newest fallback or failure."""
        events = self.metrics.events
        wrong = events[events["event_type"].isin([FALLBACK, FAILED])]
        return {
            str(name): normalise(error_text(payload))
            for name, payload in zip(wrong["mission_id"], wrong["payload_json"], strict=True)
        }

    def __repr__(self) -> str:
        verdict = self.verdict
        return f"WindowReport: {verdict.decision} ({verdict.lane_status}) on {verdict.vp_id}"

    def _repr_html_(self) -> str:
        return self.banner(self).html()
