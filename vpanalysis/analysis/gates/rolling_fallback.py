"""Gate ``rolling_fallback``: the fallback rate of the newest missions alone, the log's own guardrail."""

from typing import Any

import pandas as pd
from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.gates.gate import EVENTS_MISSING, Finding, Gate, Settings, Thresholds, not_assessed
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import WATCH


class RollingFallbackGate(Settings):
    """Rolling fallback: a fallback rate over ``share`` among the ``newest`` missions, when there are as many."""

    newest: int = Field(default=20, ge=1)
    share: float = Field(default=0.10, ge=0, lt=1)


def judge(metrics: Metrics, settings: RollingFallbackGate, policy: Thresholds) -> Finding:
    """Judges the newest missions' fallback rate."""
    if not metrics.known.missions:
        return not_assessed(settings.share, "It is unknown which missions fell back.")
    flags = considered(metrics)["fell_back"].tail(settings.newest)
    if len(flags) < settings.newest:
        few = f"The window has {formatting.count(len(flags), 'mission')}, fewer than the {settings.newest:,}"
        return not_assessed(settings.share, f"{few} that the guardrail looks at.")
    fell_back = int(flags.sum())
    share = fell_back / settings.newest
    what = f"{fell_back:,} of the newest {settings.newest:,} missions ({formatting.percent(share)}) fell back"
    if share > settings.share:
        brief = f"rolling fallback high ({share:.3f} > {settings.share:.3f})"
        sentence = f"{what}, which exceeds the {formatting.percent_limit(settings.share)} revert guardrail."
        return Finding(WATCH, share, settings.share, brief, sentence, newest=settings.newest)
    if metrics.quality.truncated_events:
        return not_assessed(settings.share, EVENTS_MISSING)
    brief = f"rolling fallback within target ({share:.3f} <= {settings.share:.3f})"
    sentence = f"{what}, within the {formatting.percent_limit(settings.share)} revert guardrail."
    return Finding("HEALTHY", share, settings.share, brief, sentence, newest=settings.newest)


def considered(metrics: Metrics) -> pd.DataFrame:
    """Returns the missions that the contract considers: those with an id."""
    return metrics.missions[metrics.missions["mission_id"].fillna("") != ""]


def behind(metrics: Metrics, settings: RollingFallbackGate, policy: Thresholds) -> "pd.Series[Any]":
    """Returns those of the newest missions that fell back."""
    newest = considered(metrics).index[-settings.newest :]
    return metrics.missions["fell_back"] & metrics.missions.index.isin(newest)


GATE = Gate(
    name="rolling_fallback",
    unit="share",
    trips="over 10 % of the newest 20 missions fell back; fewer missions than 20 are not assessed",
    look="revert the last widening, as the log's guardrail asks, and inspect the newest fallback payload errors (§3.1)",
    judge=judge,
    settings=RollingFallbackGate,
    behind=behind,
    limits=lambda settings, policy: f"watch over {formatting.percent_limit(settings.share)}",
)
