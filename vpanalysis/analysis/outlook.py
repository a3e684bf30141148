"""What the next missions would change: how far the verdict is from another one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Any

import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis.account import accounted, with_outcomes
from vpanalysis.analysis.decision import status_of
from vpanalysis.analysis.metrics import Metrics, degraded_since, leaving
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import CAUTION, LaneStatus
from vpanalysis.data.schema import COMPLETED, FAILED, FALLBACK
from vpanalysis.data.snapshot import FallbackShare, count_names, latency
from vpanalysis.data.tables import missions_frame

#: More missions than this are not the next ones any more.
MOST = 512
#: What the next missions may do: the noun for one of them, and what their rows hold.
_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "fallback": ("fallback", {"fallback_events": 1}),
    "failure": ("failure", {"status": "failed", "ended_event": FAILED}),
    "clean": ("clean mission", {}),
}


def outlook(metrics: Metrics, policy: Policy) -> str:
    """Returns, in a sentence, how few of the next missions would change the verdict.

    Empty where the window has no missions, or is over, or lacks events, so that nobody knows how it stands.

    Each of three courses is looked at alone: all of the next missions fall back, all fail, or all complete without a
    fallback. Named is the smallest number that turns the verdict into a more cautious one, and the one that turns it
    into a less cautious one.
    """
    known = metrics.fallback.missions_considered and metrics.known.missions and metrics.generated_at is not None
    if not known or not metrics.is_open or metrics.quality.truncated_events:
        return ""
    now = status_of(metrics, policy)
    nearest: dict[bool, tuple[int, str, LaneStatus]] = {}  # by whether the verdict turns more cautious
    for kind, (noun, _) in _KINDS.items():
        status_after = cache(partial(_status_after, after(metrics, policy, kind), policy))
        furthest = status_after(MOST)
        bound = nearest.get(_worse(furthest, now), (MOST,))[0]  # more missions than another course takes are not named
        if furthest != now and (bound == MOST or status_after(bound) != now):
            number = _fewest(status_after, now, bound)
            turn = (number, noun, status_after(number))
            worse = _worse(turn[2], now)
            nearest[worse] = min(turn, nearest.get(worse, turn))
    named = [nearest[worse] for worse in (False, True) if worse in nearest]
    if not named:
        return "Nothing that the next missions do would change the verdict soon."
    parts = []
    for number, noun, status in named:
        more = formatting.count(number, f"more {noun}") + " in a row" * (number > 1)
        parts.append(f"{more} would turn {_plain(now)} into {_plain(status)}")
    return f"{'; '.join(parts)}."


def _worse(status: LaneStatus, now: LaneStatus) -> bool:
    return CAUTION.index(status) > CAUTION.index(now)


def _status_after(course: Callable[[int], Metrics], policy: Policy, number: int) -> LaneStatus:
    return status_of(course(number), policy)


def after(metrics: Metrics, policy: Policy, kind: str) -> Callable[[int], Metrics]:
    """Returns the window by how many more missions of one kind it has, up to `MOST`, run just now in median time.

    As they come, the oldest leave a window of the newest missions that is full.
    """
    assert metrics.generated_at is not None
    now, share = metrics.generated_at, metrics.fallback
    seconds = metrics.latency_seconds.p50_seconds or 0.0
    started = now - timedelta(seconds=max(policy.p95_critical_seconds, seconds))  # long enough ago to be judged as fast
    worker = next(reversed(metrics.missions["worker_id"].tolist()), None)  # of the newest one: it records no fallbacks
    row = {
        "worker_id": worker, "status": "completed", "created_at": now, "started_at": started, "completed_at": now,
        "updated_at": now, "duration_seconds": seconds, "ended_event": COMPLETED, "ended_event_at": now, "events": 2,
        **_KINDS[kind][1],
    }  # fmt: skip
    event = {"fallback": FALLBACK, "failure": FAILED}.get(kind, COMPLETED)
    account = metrics.account
    one = with_outcomes(missions_frame([row | {"mission_id": "next"}]), now, account.overdue_seconds)
    added = one.take([0] * MOST).assign(mission_id=[f"next mission {n}" for n in range(MOST)])
    grown = pd.concat([metrics.missions, added[metrics.missions.columns]], ignore_index=True)

    def of(number: int) -> Metrics:
        gone = min(leaving(metrics, number), len(metrics.missions))
        left, missions = metrics.missions[:gone], grown[gone : len(metrics.missions) + number]
        named = left[left["mission_id"].fillna("") != ""]
        considered = (share.missions_considered or 0) + number - len(named)
        fell_back = (share.missions_with_fallback or 0) - int(named["fell_back"].sum())
        fell_back += number if kind == "fallback" else 0
        degraded = metrics.degraded_events
        if gone and degraded is not None:
            degraded = degraded_since(metrics.session_events, missions["created_at"].min().to_pydatetime())
        return replace(
            metrics,
            account=accounted(missions, account.overdue_seconds),
            fallback=FallbackShare(considered, fell_back, fell_back / considered),
            latency_seconds=latency(missions["duration_seconds"].dropna()),
            mission_counts=count_names(missions["status"]),
            event_counts=metrics.event_counts and Counter(metrics.event_counts) + Counter({event: number}),
            degraded_events=degraded,
            last_activity=now,
        )

    return of


def _fewest(status_after: Callable[[int], LaneStatus], now: LaneStatus, changed: int) -> int:
    """The fewest missions that change the verdict, as ``changed`` do: the more, the further it moves."""
    same, step = 0, 1
    while same + step < changed and status_after(same + step) == now:
        same, step = same + step, 2 * step
    changed = min(changed, same + step)
    while changed - same > 1:
        middle = (same + changed) // 2
        same, changed = (middle, changed) if status_after(middle) == now else (same, middle)
    return changed


def _plain(status: LaneStatus) -> str:
    return status.replace("_", " ")
