"""The missions that made a verdict."""

from typing import Any

import pandas as pd

from vpanalysis.analysis.latency import overdue, slowness
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Reason, Verdict
from vpanalysis.data.schema import FAILED_STATUSES

_COLUMNS = ("mission_id", "created_at", "outcome", "duration_seconds", "queue_wait_seconds", "fallback_seen")


def missions_behind(verdict: Verdict, metrics: Metrics, policy: Policy) -> pd.DataFrame:
    """Returns the missions that count against the lane in the gates that a verdict's reasons name, oldest first.

    Of a healthy verdict, whose reasons say what was proved, these are the missions that speak against it all the
    same, such as a single fallback below the watch line.

    Returns:
        ``mission_id``, ``created_at``, ``outcome`` (missing while unfinished), ``duration_seconds`` and
        ``queue_wait_seconds`` (NaN when unknown), ``fallback_seen``, and ``gates``: the gates it counts in,
        joined by ``", "``. Empty when the source has no missions' rows.
    """
    if metrics.missions is None:
        return pd.DataFrame(columns=[*_COLUMNS, "gates"])
    gates = pd.Series("", index=metrics.missions.index)
    for gate, reason in {reason.gate: reason for reason in verdict.reasons}.items():
        gates = gates.mask(_counting(reason, metrics.missions, metrics, policy), gates + ", " + gate)
    behind = metrics.missions.loc[gates != "", list(_COLUMNS)]
    return behind.assign(gates=gates[gates != ""].str.removeprefix(", ")).reset_index(drop=True)


def _counting(reason: Reason, missions: pd.DataFrame, metrics: Metrics, policy: Policy) -> "pd.Series[Any]":
    """Which missions count against the lane in one gate."""
    none = pd.Series(False, index=missions.index)
    match reason.gate:
        case "fallback_rate":
            return missions["fallback_seen"]
        case "rolling_fallback" if policy.gates.rolling_fallback:
            named = missions[missions["mission_id"].fillna("") != ""].drop_duplicates("mission_id", keep="last")
            newest = named["mission_id"].tail(policy.gates.rolling_fallback.newest)
            return missions["fallback_seen"] & missions["mission_id"].isin(newest)
        case "failures":
            return missions["outcome"].isin(FAILED_STATUSES)
        case "completions" if policy.gates.completions:
            return overdue(missions, metrics.generated_at, policy.gates.completions.seconds)
        case "latency" if isinstance(reason.threshold, float | int):
            return missions["duration_seconds"] >= reason.threshold
        case "slow_share":
            return slowness(missions, metrics.generated_at, policy.p95_critical_seconds).fillna(False).astype(bool)
        case "data_quality":
            backwards = missions["started_at"] < missions["created_at"]
            backwards |= missions["completed_at"] < missions["started_at"]
            return missions["mission_id"].duplicated(keep=False) | backwards
        case _:  # traffic and session are about no mission
            return none
