"""What a gate is: its settings, its unit, its judgement, the missions behind it, and what to look at when it trips."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from vpanalysis import formatting
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import LaneStatus, Profile, Reason, Unit

#: Why a gate that found few fallbacks has not found few.
EVENTS_MISSING = "Events are missing, so it is unknown which missions fell back."


class Settings(BaseModel):
    """A gate's keys in a policy file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Thresholds(Settings):
    """What the rule table judges by, and gates beside it.

    Attributes:
        profile: ``rollout`` or ``sustained``.
        min_missions: Fewer missions than this are no traffic.
        fallback_watch: Fallback rate from which to watch (a share).
        fallback_critical: Fallback rate from which to force the fallback (a share).
        p95_watch_seconds: p95 run time from which to watch (``sustained``).
        p95_critical_seconds: p95 run time from which to force the fallback (``sustained``), and the run time from
            which the latency and slow-share gates call a mission slow.
    """

    profile: Profile
    min_missions: int = Field(ge=0)
    fallback_watch: float = Field(gt=0, le=1)
    fallback_critical: float = Field(gt=0, le=1)
    p95_watch_seconds: float = Field(gt=0)
    p95_critical_seconds: float = Field(gt=0)


class Finding(NamedTuple):
    """What a gate found; the fields are those of :class:`~vpanalysis.analysis.verdict.Reason`."""

    caution: LaneStatus | None
    value: float | str | None
    threshold: float | str | None
    brief: str
    sentence: str
    unit: Unit | None = None  #: where it is not the gate's
    newest: int | None = None


def not_assessed(threshold: float | str | None, sentence: str) -> Finding:
    """Returns the finding of a gate that lacks its data: it neither trips nor proves anything."""
    return Finding(None, None, threshold, "", f"Not assessed: {sentence[0].lower()}{sentence[1:]}")


def _no_missions(metrics: Metrics, settings: Any, policy: Thresholds) -> "pd.Series[bool]":
    return pd.Series(False, index=metrics.missions.index)


def _no_limits(settings: Any, policy: Thresholds) -> str:
    return ""


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        name: As verdicts and policy files call it.
        unit: What its value and threshold are.
        trips: When it trips, for ``docs/gates.md``.
        look: What to look at when it trips (playbook §3).
        judge: Metrics, settings (``None``: switched off) and thresholds in, a finding out.
        settings: Its table in a policy file; ``None``: it has thresholds only and is always on.
        behind: Which of the account's missions count against the lane.
        limits: Its limits in a few words, for a tile; ``""`` for none.
        table: Its row of the capture helper's rule table; ``None`` for a gate on top of it.
    """

    name: str
    unit: Unit
    trips: str
    look: str
    judge: Callable[[Metrics, Any, Any], Finding]
    settings: type[Settings] | None = None
    behind: Callable[[Metrics, Any, Any], "pd.Series[Any]"] = _no_missions
    limits: Callable[[Any, Any], str] = _no_limits
    table: Callable[[Metrics, Any], Finding] | None = None

    def reason(self, finding: Finding) -> Reason:
        """Returns a finding as the verdict holds it."""
        brief = finding.brief or f"{self.name.replace('_', ' ')} not assessed"
        return Reason(gate=self.name, **finding._replace(brief=brief, unit=finding.unit or self.unit)._asdict())


def longest_run(flags: list[bool]) -> int:
    """Returns how many in a row are true at most."""
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def were(count: int, noun: str, one: str, many: str) -> str:
    """Returns a count with its noun and verb: ``1 mission is``, ``2 missions are``."""
    return f"{formatting.count(count, noun)} {one if count == 1 else many}"
