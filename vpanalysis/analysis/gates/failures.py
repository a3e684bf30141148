"""Gate ``failures``: sustained failures, in a row, among the newest or over the whole window."""

from typing import Any, Self

import pandas as pd
from pydantic import Field, model_validator

from vpanalysis import formatting
from vpanalysis.analysis.account import failed_in_order_of_end
from vpanalysis.analysis.chance import most_by_chance
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds, longest_run, not_assessed
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import FORCE, WATCH


class FailuresGate(Settings):
    """Sustained failures: missions that failed or timed out among those that finished; cancelled ones count nowhere.

    Attributes:
        in_a_row: So many in a row trip the gate.
        newest: How many of the newest finished missions that is looked for in.
        rate: Failed share that is normal; among the newest, more failures than it explains trip the gate, but ...
        chance: ... only where chance alone would show as many with this probability or less.
        share: Failed share of the window's finished missions from which the gate trips.
        least: Failures below which the share does not count.
        force_share: Failed share from which a tripped gate asks to force the fallback; ``None``: never.
    """

    in_a_row: int = Field(default=3, ge=1)
    newest: int = Field(default=20, ge=1)
    rate: float = Field(default=0.05, gt=0, lt=1)
    chance: float = Field(default=0.01, gt=0, lt=1)
    share: float = Field(default=0.10, gt=0, le=1)
    least: int = Field(default=3, ge=1)
    force_share: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.in_a_row > self.newest:
            raise ValueError(f"in_a_row ({self.in_a_row}) must not exceed newest ({self.newest})")
        if self.force_share is not None and self.force_share < self.share:
            raise ValueError(f"share ({self.share:g}) must not exceed force_share ({self.force_share:g})")
        return self

    def limit(self, finished: int) -> int:
        """Failures among the newest finished missions from which the gate trips."""
        return max(2, most_by_chance(min(finished, self.newest), self.rate, self.chance))


def judge(metrics: Metrics, settings: FailuresGate, policy: Thresholds) -> Finding:
    """Judges failures; of a source that does not list its missions only their share is known."""
    finished, failed = metrics.account.finished, metrics.account.count("failed")
    if finished is None:
        return not_assessed(settings.share, "It is unknown how the missions ended.")
    if finished == 0:
        return not_assessed(settings.share, "No mission has finished: there are neither failures nor successes.")
    share, shares = failed / finished, f"{formatting.share(failed, finished, 'finished mission')} failed or timed out"
    flags = failed_in_order_of_end(metrics.missions).tolist()[-settings.newest :]
    newest, row, limit = sum(flags), longest_run(flags), settings.limit(len(flags))
    tail = f"{newest:,} of the newest {len(flags):,}, at most {row:,} in a row"
    if newest == 0:
        tail = f"none of the newest {len(flags):,}"
    if not metrics.known.missions:
        tail = "their order is unknown"
    elif newest == len(flags) > 1:
        tail = f"all of the newest {newest:,}"
    many, none_completed = share >= settings.share and failed >= settings.least, failed == finished
    force = settings.force_share
    if force is not None and share >= force and failed >= settings.least:  # then it is many, for force >= share
        brief = f"failed share high ({share:.3f} >= {force:.3f})"
        return Finding(FORCE, share, force, brief, f"{shares}, {_at_or_above(force)}; {tail}.")
    if many or none_completed:
        brief = f"failed share high ({share:.3f} >= {settings.share:.3f})"
        above = "none completed" if none_completed else _at_or_above(settings.share)
        return Finding(WATCH, share, settings.share, brief, f"{shares}, {above}; {tail}.")
    if row >= settings.in_a_row:
        brief = f"failures in a row ({row} >= {settings.in_a_row})"
        sentence = f"{row:,} missions in a row failed or timed out among the newest {len(flags):,} finished; {shares}."
        return Finding(WATCH, row, settings.in_a_row, brief, sentence, "count", len(flags))
    if newest >= limit:
        brief = f"failures among the newest {len(flags)} ({newest} >= {limit})"
        sentence = (
            f"{newest:,} of the newest {len(flags):,} finished missions failed or timed out; at a failure rate of "
            f"{formatting.percent_limit(settings.rate)}, chance explains {limit - 1:,} at most. Over the window, "
            f"{shares}."
        )
        return Finding(WATCH, newest, limit, brief, sentence, "count", len(flags))
    few = f" (by fewer than {settings.least:,})" if share >= settings.share else ""
    relation = "<" if share < settings.share else f"by {failed} of {settings.least}, >="
    brief = f"failed share within target ({share:.3f} {relation} {settings.share:.3f})"
    return Finding("HEALTHY", share, settings.share, brief, f"{shares}{few}; {tail}.")


def _at_or_above(limit: float) -> str:
    return f"at or above the limit of {formatting.percent_limit(limit)}"


def behind(metrics: Metrics, settings: FailuresGate, policy: Thresholds) -> "pd.Series[Any]":
    """Returns the missions that failed or timed out."""
    return metrics.missions["outcome"] == "failed"


GATE = Gate(
    name="failures",
    unit="share",
    trips="3 missions in a row failed or timed out among the newest 20 that finished; or so many of these 20 that a "
    "failure rate of 5 % would give as many in only 1 % of windows (5 of 20); or a share of 10 % of all, by 3 or more; "
    "or all of them. Sustained: from 50 % on it forces the fallback",
    look="inspect the failure payloads: sustained vp.mission.failed is an escalation (§3.3)",
    judge=judge,
    settings=FailuresGate,
    behind=behind,
    limits=lambda settings, policy: (
        f"watch from {formatting.percent_limit(settings.share)} ({settings.least} or more), "
        f"{settings.in_a_row} in a row, or {settings.limit(settings.newest)} of the newest {settings.newest}"
        + (f"; critical from {formatting.percent_limit(settings.force_share)}" if settings.force_share else "")
    ),
)
