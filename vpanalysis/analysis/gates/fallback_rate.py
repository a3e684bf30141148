"""Gate ``fallback_rate``: the rule table's own two thresholds."""

from typing import Any

import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis.gates.gate import Finding, Gate, Thresholds
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import FORCE, WATCH


def table(metrics: Metrics, policy: Thresholds) -> Finding:
    """Judges the fallback rate by its two thresholds; a negative rate is unknown."""
    rate, share = metrics.fallback.rate, metrics.fallback
    if rate is None or rate < 0:
        return Finding(WATCH, None, policy.fallback_watch, "fallback rate unknown", "The fallback rate is unknown.")
    known = share.missions_considered is not None and share.missions_with_fallback is not None
    shown = formatting.share(share.missions_with_fallback, share.missions_considered, "mission")
    subject = f"{shown} fell back" if known else f"The fallback rate is {formatting.percent(rate)}"
    if metrics.quality.truncated_events and known:
        subject = f"At least {subject}"
    for limit, status, line, word in (
        (policy.fallback_critical, FORCE, "critical", "high"),
        (policy.fallback_watch, WATCH, "watch", "elevated"),
    ):
        if rate >= limit:
            brief = f"fallback rate {word} ({rate:.3f} >= {limit:.3f})"
            above = f"{'at' if rate == limit else 'above'} the {line} line of {formatting.percent_limit(limit)}"
            return Finding(status, rate, limit, brief, f"{subject}, {above}.")
    limit = policy.fallback_watch
    brief = f"fallback rate within target ({rate:.3f} < {limit:.3f})"
    sentence = f"{subject}, below the watch line of {formatting.percent_limit(limit)}."
    return Finding("HEALTHY", rate, limit, brief, sentence)


def judge(metrics: Metrics, settings: None, policy: Thresholds) -> Finding:
    """Judges as the table does; where events are missing, a rate below its thresholds is unknown."""
    row = table(metrics, policy)
    if row.caution != "HEALTHY" or not metrics.quality.truncated_events:
        return row
    sentence = "The fallback rate is unknown: events are missing, and fallbacks with them."
    return Finding(WATCH, None, policy.fallback_watch, "fallback rate unknown", sentence)


def behind(metrics: Metrics, settings: None, policy: Thresholds) -> "pd.Series[Any]":
    """Returns the missions that fell back."""
    return metrics.missions["fell_back"]


GATE = Gate(
    name="fallback_rate",
    unit="share",
    trips="the rate is at or above a threshold, or unknown; or evidence is required and missing",
    look="inspect the recent fallback payload errors (§3.1)",
    judge=judge,
    behind=behind,
    limits=lambda settings, policy: (
        f"watch from {formatting.percent_limit(policy.fallback_watch)}, "
        f"critical from {formatting.percent_limit(policy.fallback_critical)}"
    ),
    table=table,
)
