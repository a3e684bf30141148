"""The missions that made a verdict: those that count against the lane in the gates that its reasons name."""

import pandas as pd

from vpanalysis.analysis.gates import BY_NAME
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Verdict

_COLUMNS = ("mission_id", "created_at", "outcome", "why", "duration_seconds", "queue_wait_seconds", "fell_back")


def missions_behind(verdict: Verdict, metrics: Metrics, policy: Policy) -> pd.DataFrame:
    """Returns the missions that count against the lane in the gates that a verdict's reasons name, oldest first.

    Of a healthy verdict, whose reasons say what was proved, these are the missions that speak against it all the
    same, such as a single fallback below the watch line.

    Returns:
        ``mission_id``, ``created_at``, ``outcome``, ``why`` (it is unaccounted for; else ``""``),
        ``duration_seconds`` and ``queue_wait_seconds`` (NaN when unknown), ``fell_back``, and ``gates``: the gates it
        counts in, joined by ``", "``. Empty when the source does not list its missions.
    """
    metrics = metrics.overdue_after(policy.overdue_seconds)
    missions = metrics.missions
    gates = pd.Series("", index=missions.index, dtype=object)
    for name in dict.fromkeys(reason.gate for reason in verdict.reasons):
        gate, settings = BY_NAME[name], policy.gate(name)
        if settings is not None or gate.settings is None or gate.table is not None:
            gates = gates.mask(gate.behind(metrics, settings, policy).astype(bool), gates + ", " + name)
    behind = missions.loc[gates != "", list(_COLUMNS)]
    return behind.assign(gates=gates[gates != ""].str.removeprefix(", ")).reset_index(drop=True)
