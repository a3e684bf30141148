"""Gate ``latency``: p95 by the rule table, and in a rollout a critical p95 that more than one mission carries."""

from typing import Any

import pandas as pd
from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds, not_assessed
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import FORCE, WATCH

#: Over this share of completed missions without a run time, nobody knows the lane's p95.
_MOST_UNKNOWN = 0.10


class LatencyGate(Settings):
    """Latency: p95 at or above ``p95_critical_seconds``, and so many ``missions`` that slow."""

    missions: int = Field(default=2, ge=1)


def lines(settings: LatencyGate | None, policy: Thresholds) -> dict[str, float]:
    """Returns the p95 run times in seconds from which the verdict changes, by what it is from there on.

    In a rollout the only one is `p95_critical_seconds`, from which it holds; without the gate there is none.
    """
    if policy.profile == "sustained":
        return {"watch": policy.p95_watch_seconds, "critical": policy.p95_critical_seconds}
    return {} if settings is None else {"watch": policy.p95_critical_seconds}


def table(metrics: Metrics, policy: Thresholds) -> Finding:
    """Judges p95 by the table's rules: unknown is no health; its thresholds count in ``sustained`` only."""
    value, limit = metrics.latency_seconds.p95_seconds, policy.p95_watch_seconds
    if value is None or value < 0:
        sentence = "The p95 run time is unknown: no mission has one."
        return Finding(WATCH, None, limit, "p95 latency unknown", sentence)
    if policy.profile == "rollout":
        brief, sentence = f"p95 latency observed ({formatting.log_seconds(value)})", "which has no limit in a rollout."
        return Finding("HEALTHY", value, limit, brief, f"{_subject(value)}, {sentence}")
    for limit, status, line, word in (
        (policy.p95_critical_seconds, FORCE, "critical", "high"),
        (policy.p95_watch_seconds, WATCH, "watch", "elevated"),
    ):
        if value >= limit:
            brief = f"p95 latency {word} ({value:.3f}s >= {limit:.3f}s)"
            return Finding(status, value, limit, brief, f"{_subject(value)}, {_above(value, limit, line)}.")
    brief = f"p95 latency within target ({value:.3f}s < {limit:.3f}s)"
    sentence = f"{_subject(value)}, below the watch line of {formatting.seconds_limit(limit)}."
    return Finding("HEALTHY", value, limit, brief, sentence)


def judge(metrics: Metrics, settings: LatencyGate | None, policy: Thresholds) -> Finding:
    """Judges p95 by the table, and where that lets it through, whether it is critical by more than a single mission.

    Where too many completed missions have no run time, a p95 that the table lets through is unknown.
    """
    row, limit = table(metrics, policy), policy.p95_critical_seconds
    value = metrics.latency_seconds.p95_seconds
    if row.caution == "HEALTHY" and (missing := run_times_missing(metrics)):
        sentence = f"The p95 run time is unknown: {missing}."
        row = Finding(WATCH, None, policy.p95_watch_seconds, "p95 latency unknown", sentence)
    if settings is None or policy.profile == "sustained":
        return row
    if row.caution != "HEALTHY" or value is None:
        return row._replace(threshold=limit)
    if value < limit:
        brief = f"p95 latency within target ({value:.3f}s < {limit:.3f}s)"
        sentence = f"{_subject(value)}, below the watch line of {formatting.seconds_limit(limit)}."
        return Finding("HEALTHY", value, limit, brief, sentence)
    slow, brief = _as_slow(metrics, limit), f"p95 latency high ({value:.3f}s >= {limit:.3f}s)"
    above = f"{_subject(value)}, {_above(value, limit, 'watch')}"
    if slow >= settings.missions:
        sentence = f"{above}; {formatting.count(slow, 'mission')} took {formatting.seconds_limit(limit)} or longer."
        return Finding(WATCH, value, limit, brief, sentence)
    if not metrics.known.missions:
        return not_assessed(limit, f"{above}, but how many missions took that long is unknown.")
    sentence = (
        f"{above}, but only {formatting.count(slow, 'mission')} took that long; the gate needs {settings.missions}."
    )
    return Finding("HEALTHY", value, limit, f"{brief} by {slow} of {settings.missions}", sentence)


def run_times_missing(metrics: Metrics) -> str:
    """Returns how many completed missions have no run time, in words; ``""`` where these are few."""
    completed = metrics.account.count("completed")
    if metrics.known.missions:
        known = int((metrics.missions["outcome"].eq("completed") & metrics.missions["duration_seconds"].notna()).sum())
    else:
        known = metrics.latency_seconds.count or completed  # a mapping may have p95 alone
    unknown = completed - known
    few = unknown < 2 or unknown <= _MOST_UNKNOWN * completed
    return "" if few else f"{formatting.share(unknown, completed, 'completed mission')} have no run time"


def _subject(p95: float) -> str:
    return f"The p95 run time is {formatting.duration(p95)}"


def _above(p95: float, limit: float, line: str) -> str:
    return f"{'at' if p95 == limit else 'above'} the {line} line of {formatting.seconds_limit(limit)}"


def _as_slow(metrics: Metrics, seconds: float) -> int:
    """How many missions took ``seconds`` or more; from p95 alone, as many as its rank leaves above it."""
    if metrics.known.missions:
        return int((metrics.missions["duration_seconds"] >= seconds).sum())
    n = metrics.latency_seconds.count
    return n - round((n - 1) * 0.95) if n else 0


def behind(metrics: Metrics, settings: LatencyGate | None, policy: Thresholds) -> "pd.Series[Any]":
    """Returns the missions that took as long as the threshold that p95 reached, or the next one."""
    p95 = metrics.latency_seconds.p95_seconds or 0.0
    reached = policy.p95_critical_seconds
    if policy.profile == "sustained" and p95 < reached:
        reached = policy.p95_watch_seconds
    return metrics.missions["duration_seconds"] >= reached


GATE = Gate(
    name="latency",
    unit="seconds",
    trips="rollout: p95 is at or above `p95_critical_seconds` by two missions or more; sustained: p95 is at or above "
    "a threshold, whatever the rate; both: p95 is unknown, or over 10 % of the completed missions (and 2 or more) have "
    "no run time",
    look="compare queue wait and fallback rate with the baseline, to tell load from a degrading runtime (§3.2)",
    judge=judge,
    settings=LatencyGate,
    behind=behind,
    limits=lambda settings, policy: (
        ", ".join(f"{name} from {formatting.seconds_limit(at)}" for name, at in lines(settings, policy).items())
        + (f" ({settings.missions} missions or more)" if settings and policy.profile == "rollout" else "")
        or "no limit in this policy"
    ),
    table=table,
)
