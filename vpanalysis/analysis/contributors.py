"""The missions that made a verdict."""

import pandas as pd

from vpanalysis.analysis.decision import Verdict
from vpanalysis.analysis.latency import overdue, slowness
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.data.schema import FAILED_STATUSES

#: The rolling and the failures gate look at the newest 20 missions.
_NEWEST = 20
_COLUMNS = ("mission_id", "created_at", "outcome", "duration_seconds", "queue_wait_seconds", "fallback_seen")


def missions_behind(verdict: Verdict, metrics: Metrics, policy: Policy) -> pd.DataFrame:
    """Returns the missions that count against the lane in the gates a verdict names, oldest first.

    Returns:
        ``mission_id``, ``created_at``, ``outcome`` (missing while unfinished), ``duration_seconds`` and
        ``queue_wait_seconds`` (NaN when unknown), ``fallback_seen``, and ``gates``: the gates it counts for,
        joined by ``", "``. Empty when the source has no missions' rows.
    """
    missions = metrics.missions
    if missions is None:
        return pd.DataFrame(columns=[*_COLUMNS, "gates"])
    named = {reason.gate for reason in verdict.reasons}
    failed = missions["outcome"].isin(FAILED_STATUSES)
    newest = pd.Series(range(len(missions), 0, -1), index=missions.index) <= _NEWEST
    p95_limit = policy.p95_critical_seconds if policy.profile == "rollout" else policy.p95_watch_seconds
    slow = slowness(missions, metrics.generated_at, policy.p95_critical_seconds)
    counting = {
        "fallback_rate": missions["fallback_seen"],
        "rolling_fallback": missions["fallback_seen"] & newest,
        "failures": failed,
        "completions": overdue(missions, metrics.generated_at),
        "latency": missions["duration_seconds"] >= p95_limit,
        "slow_share": slow.fillna(False).astype(bool),
        "data_quality": missions["mission_id"].duplicated(keep=False)
        | (missions["started_at"] < missions["created_at"])
        | (missions["completed_at"] < missions["started_at"]),
    }
    gates = pd.Series("", index=missions.index)
    for gate, counts in counting.items():
        if gate in named:
            gates = gates.mask(counts, gates + gate + ", ")
    behind = missions.loc[gates != "", list(_COLUMNS)]
    return behind.assign(gates=gates[gates != ""].str.removesuffix(", ")).reset_index(drop=True)
