"""Many lanes by one contract: who needs somebody, when each lane alone would cry wolf now and then.

A verdict is about one lane. Of 30 healthy lanes one is on watch every few days by chance, so that a page of them all
would hardly ever be calm. Here a lane on watch needs somebody when it is worse than chance explains among so many lanes
(`false_discovery`), when its reason is no matter of chance, or when an incident hit it; all others that are not healthy
are named, and left to the next look.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import pandas as pd

from vpanalysis.analysis.account import failed_in_order_of_end
from vpanalysis.analysis.chance import false_discovery, log_binomial_tails, poisson_at_least
from vpanalysis.analysis.incident import Incident
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.run_times import slowness
from vpanalysis.analysis.verdict import CAUTION, Reason, Verdict

#: Why a lane whose verdict does not say ``continue`` needs nobody: it is no worse than chance explains among so many
#: lanes; its source is dormant and it lives in another; its source is dormant and nobody enabled it.
Excuse = Literal["", "chance", "elsewhere", "not enabled"]
#: A lane on watch needs somebody up to this adjusted p-value.
FALSE_DISCOVERIES = 0.05
#: Silent for longer, a source is dormant: its runtime writes somewhere else.
DORMANT = timedelta(days=7)
#: Shares of missions to which something happens in a healthy lane, and lost leases per mission. They are somewhat above
#: those of the healthy lanes in ``benchmarks/false_alarms.py``.
_NORMAL = {"fell back": 0.015, "failed": 0.025, "overdue": 0.003, "slow": 0.015}
_LOST_LEASES = 0.006
#: Gates that measure how often something happens: chance alone trips them now and then.
_BY_CHANCE = (
    "fallback_rate", "latency", "failures", "completions", "session", "rolling_fallback", "recent_change", "slow_share",
)  # fmt: skip
#: The shortest run of newest missions that is looked at; each next one is twice as long.
_NEWEST = 5


@dataclass(frozen=True, eq=False)
class Lane:
    """One lane of one source, judged, and whether it needs somebody.

    Attributes:
        source: The source's name.
        vp_id: The lane.
        metrics: What its window says.
        verdict: The verdict by its own policy.
        policy: That policy.
        p_value: See `p_value`.
        adjusted: The same, adjusted for the number of lanes (`false_discovery`).
        needs: Whether it needs somebody.
        excuse: Why it does not although its verdict does not say ``continue``; ``""`` for all others.
    """

    source: str
    vp_id: str
    metrics: Metrics
    verdict: Verdict
    policy: Policy
    p_value: float
    adjusted: float = 1.0
    needs: bool = True
    excuse: Excuse = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the lanes of the same name in other sources."""
        return self.source, self.vp_id


def p_value(metrics: Metrics, policy: Policy) -> float:
    """How likely a healthy lane shows by chance at least as much of anything bad as this one.

    Four things happen to missions: they fall back, fail, are overdue, or are slower than the policy's limit. For each,
    the whole window and its newest 5, 10, 20, … missions are held against a healthy lane's share (exact binomial
    tails), the latter sharing the weight of the window; lost leases are held against their rate (Poisson). The least
    p-value counts, times the weights (Bonferroni).

    Returns:
        A probability, 0 to 1; 1.0 where nothing is known.
    """
    seconds = policy.p95_watch_seconds if policy.profile == "sustained" else policy.p95_critical_seconds
    account, missions = metrics.account, metrics.missions
    if account.listed:
        begun = (missions["outcome"] != "pending") | missions["begun_at"].notna()
        flags = {
            "fell back": missions["fell_back"],
            "failed": failed_in_order_of_end(missions),
            "overdue": missions.loc[begun, "outcome"] == "overdue",
            "slow": slowness(metrics, seconds).dropna().astype(bool),
        }
        found = [_least(flags[name], rate) for name, rate in _NORMAL.items()]
    else:
        considered = metrics.fallback.missions_considered
        counts = {"fell back": (account.fell_back, considered), "failed": (account.count("failed"), account.finished)}
        found = [_tail(k, n, _NORMAL[name]) for name, (k, n) in counts.items() if k is not None and n]
    if metrics.degraded_events:
        found.append(poisson_at_least(metrics.degraded_events, _LOST_LEASES * max(1, len(missions))))
    return min(1.0, min(found, default=1.0) * (len(_NORMAL) + 1))


def _least(flags: "pd.Series[Any]", rate: float) -> float:
    """The least p-value of a column's whole and of its newest, times their weights: half of it all for the whole."""
    whole = 2 * _tail(int(flags.sum()), len(flags), rate)
    sizes = [size for size in (_NEWEST << step for step in range(20)) if size < len(flags)]
    runs = (_tail(int(flags.iloc[-size:].sum()), size, rate) for size in sizes)
    return min(1.0, whole, *(2 * len(sizes) * value for value in runs))


def _tail(k: int, n: int, rate: float) -> float:
    """P(Binomial(n, rate) >= k)."""
    return math.exp(log_binomial_tails(k - 1, n, rate)[1]) if n else 1.0


def told_apart(
    lanes: Sequence[Lane], incidents: Sequence[Incident], enabled: Collection[str], as_of: datetime | None
) -> tuple[Lane, ...]:
    """Returns the lanes with who needs somebody: those first, the most cautious verdicts first, then by name.

    Args:
        lanes: Lanes as they were judged.
        incidents: Their incidents.
        enabled: The lanes that should be there; empty when not given.
        as_of: The moment of judgement.
    """
    hit = {key for incident in incidents for key in incident.lanes}
    alive = {lane.vp_id for lane in lanes if not is_silent(lane.metrics.last_activity, as_of)}
    results = []
    for lane, adjusted in zip(lanes, false_discovery([lane.p_value for lane in lanes]), strict=True):
        excuse: Excuse = ""
        silent = is_silent(lane.metrics.last_activity, as_of)
        if lane.verdict.action == "continue":
            pass
        elif silent and lane.vp_id in alive:
            excuse = "elsewhere"
        elif silent and enabled and lane.vp_id not in enabled:
            excuse = "not enabled"
        elif (
            adjusted > FALSE_DISCOVERIES
            and lane.key not in hit
            and lane.verdict.lane_status == "WATCH"
            and all(_explained_by_chance(reason) for reason in lane.verdict.reasons)
        ):
            excuse = "chance"
        needs = lane.verdict.action != "continue" and not excuse
        results.append(replace(lane, adjusted=adjusted, needs=needs, excuse=excuse))
    results.sort(key=lambda lane: (not lane.needs, -CAUTION.index(lane.verdict.lane_status), *reversed(lane.key)))
    return tuple(results)


def is_silent(last_activity: datetime | None, as_of: datetime | None) -> bool:
    """Whether the last sign of life is so old that nobody writes there any more; unknown is not."""
    return last_activity is not None and as_of is not None and as_of - last_activity > DORMANT


def _explained_by_chance(reason: Reason) -> bool:
    return reason.gate in _BY_CHANCE and isinstance(reason.value, int | float)
