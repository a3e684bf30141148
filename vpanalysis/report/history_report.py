"""A lane's history: everything that its report and its JSON twin show."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import pandas as pd

from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Verdict
from vpanalysis.report.made import Made

Story = Literal["NO_TRAFFIC", "GETTING_WORSE", "IN_INCIDENT", "RECURRING", "RECOVERED", "GETTING_BETTER", "STEADY"]
#: The revert guardrail of the field's log: 10 % over a rolling window of 20 missions.
GUARDRAIL, ROLLING = 0.10, 20
#: The steps of a rollout, as the words of a log's rows name them; of several, the furthest counts.
STEPS = {
    "default-on": ("default-on", "default on", "sustained"),
    "broadened": ("broad",),
    "limited": ("limited",),
    "shadow": ("shadow",),
}


@dataclass(frozen=True)
class Incident:
    """A spell of windows that were not healthy; windows without traffic neither begin nor end one.

    A window of which nothing is wrong but that no session event tells how the session was counts as healthy here.

    Attributes:
        start: When its first window began.
        seen: When that window ended: from then on it could be known.
        recovered: When the first healthy window after it ended; ``None``: it goes on.
        windows: How many windows were not healthy.
        worst: Whether one of them asked to force the fallback.
        gate: The main gate of its first window.
        reason: What that gate found.
    """

    start: datetime
    seen: datetime
    recovered: datetime | None
    windows: int
    worst: bool
    gate: str
    reason: str

    @property
    def to_recover(self) -> timedelta | None:
        """From the moment it could be known to the end of the first healthy window; ``None`` while it goes on."""
        return None if self.recovered is None else self.recovered - self.seen


@dataclass(frozen=True, eq=False, kw_only=True)
class HistoryReport(Made):
    """A lane's past windows, what became of them, and how the report was made (:class:`.Made`).

    Attributes:
        windows: What `~vpanalysis.analysis.history.history` returns.
        rolling_fallback: The highest fallback share over 20 missions that ended within each window; NaN without 20
            so far.
        incidents: Oldest first.
        signatures: Errors by first appearance, oldest first: ``first_seen`` (its window's start), ``kind``,
            ``signature``, ``count``.
        log: Rows of the evidence log as `~vpanalysis.report.log.evidence_log` gives them, with ``step`` (one of
            `STEPS`; ``""``), dated ones only, oldest first; empty without a log.
        missed_looks: Looks that the cadence of the playbook's §7.1 asked for and the log lacks, a sentence each.
        session_unknown: Windows that were not healthy only because the session's state is unknown.
        story: The history in a word.
        verdict: On the newest window; ``None`` without any.
        evidence_row: Its row for the evidence log; ``""`` without any.
        policy: The policy that judged.
        vp_id: The lane.
        source: What was read.
        kind: What kind of source that is.
    """

    windows: pd.DataFrame
    rolling_fallback: "pd.Series[float]"
    incidents: tuple[Incident, ...]
    signatures: pd.DataFrame
    log: pd.DataFrame
    missed_looks: tuple[str, ...]
    session_unknown: int
    story: Story
    verdict: Verdict | None
    evidence_row: str
    policy: Policy
    vp_id: str
    source: str
    kind: str

    @property
    def sample(self) -> bool:
        """Whether it is of the built-in sample."""
        return self.kind == "sample"

    @property
    def flips(self) -> pd.DataFrame:
        """The windows with traffic whose lane status differs from the one before, with ``before``."""
        live = self.windows[self.windows["lane_status"] != "NO_TRAFFIC"]
        before = live["lane_status"].shift()
        return live.assign(before=before)[before.notna() & (before != live["lane_status"])]

    def __repr__(self) -> str:
        return f"HistoryReport: {self.story} over {len(self.windows)} windows of {self.vp_id}"
