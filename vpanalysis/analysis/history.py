"""A lane's history: one row a window, each judged as of its own end, all of them out of one reading."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from vpanalysis.analysis.decision import Judgement, judge
from vpanalysis.analysis.intervals import quantile_interval, wilson
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.replay import past_windows
from vpanalysis.analysis.verdict import Profile
from vpanalysis.data.source import Source, open_source
from vpanalysis.data.tables import Tables
from vpanalysis.data.timestamps import parse_length
from vpanalysis.errors import InputError

#: The columns of a history, in their order, and their types.
COLUMNS = {
    **dict.fromkeys(("window_start", "window_end"), "datetime64[us, UTC]"),
    "provisional": "bool",
    **dict.fromkeys(("missions", "settled", "fallbacks", "failures"), "Int64"),
    **dict.fromkeys(("fallback_rate", "rate_low", "rate_high", "p95_seconds", "p95_low", "p95_high"), "float64"),
    **dict.fromkeys(("decision", "lane_status", "action", "gate", "reason", "policy_hash", "origin"), "str"),
}


def history(
    source: Source | str | os.PathLike[str],
    vp_id: str,
    *,
    every: timedelta | str | None = None,
    last_missions: int | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    policy: Policy | str = "playbook",
    profile: Profile = "rollout",
) -> pd.DataFrame:
    """Returns one row per past window of a lane, oldest first, each judged as of its own end; a read-only operation.

    Each row has the numbers that the window alone has with ``as_of`` at its end: what happened later is not seen.

    >>> days = history("sample", "vp.coder.primary", every="1d")
    >>> days["missions"].tolist(), days["lane_status"].tolist()[-1]
    ([39, 34, 40, 36, 38, 53], 'HEALTHY')

    Args:
        source: An open source, or its location.
        vp_id: The lane.
        every: The length of each window, such as ``timedelta(hours=12)`` or ``"12h"``; a day when neither this nor
            ``last_missions`` is given.
        last_missions: Missions per window instead, counted back from the newest.
        start: First moment of the first window (ISO 8601, UTC); ``None``: the first mission's day.
        end: First moment after the last window; ``None``: up to the newest mission.
        policy: The policy that judges, or its name or path.
        profile: Its profile, where it is given by name.

    Returns:
        ``window_start``, ``window_end`` (of an open window the moment of judgement), ``provisional`` (open, or missions
        are pending); ``missions`` (distinct ones), ``settled``, ``fallbacks``, ``failures``; ``fallback_rate`` (NaN
        without a mission) with its Wilson 95 % interval ``rate_low`` and ``rate_high``; ``p95_seconds`` of the run time
        with its 95 % interval by order statistics, an end NaN where there are too few; ``decision``, ``lane_status``,
        ``action``; ``gate`` and ``reason``, the main one; ``policy_hash``; and ``origin``, here ``computed``.

    Raises:
        InputError: An unknown lane, policy or source, both ``every`` and ``last_missions``, or too many windows.
    """
    if every is not None and last_missions is not None:
        raise InputError("Give either every or last_missions, not both.")
    step = timedelta_of(every)
    rules = policy if isinstance(policy, Policy) else Policy.load(policy, profile)

    def judged(tables: Tables) -> dict[str, Any]:
        metrics = summarize(tables)
        return row_of(metrics, judge(metrics, rules), rules)

    with opened(source) as found:
        rows = past_windows(found, vp_id, judged, every=step, last_missions=last_missions, start=start, end=end)
    return frame_of(rows)


def opened(source: Source | str | os.PathLike[str]) -> Source:
    """Returns a source that is open already, or opens it by its location."""
    return open_source(source) if isinstance(source, str | os.PathLike) else source


def timedelta_of(every: timedelta | str | None) -> timedelta | None:
    """Returns a window's length.

    Raises:
        InputError: It is none, or not above 0.
    """
    if every is None:
        return None
    try:
        return every if isinstance(every, timedelta) and every > timedelta(0) else parse_length(every)
    except ValueError as error:
        raise InputError(str(error)) from None


def row_of(metrics: Metrics, judgement: Judgement, policy: Policy) -> dict[str, Any]:
    """Returns a window's row."""
    share, main = metrics.fallback, judgement.reasons[0]
    n, k = share.missions_considered, share.missions_with_fallback
    rate = wilson(k, n) if n and k is not None else None
    p95 = quantile_interval(metrics.missions["duration_seconds"].dropna().tolist())
    return {
        "window_start": metrics.start,
        "window_end": metrics.end,
        "provisional": metrics.provisional,
        "missions": n,
        "settled": metrics.account.settled,
        "fallbacks": k,
        "failures": metrics.account.count("failed"),
        "fallback_rate": share.rate if n else None,
        "rate_low": rate and rate.low,
        "rate_high": rate and rate.high,
        "p95_seconds": metrics.latency_seconds.p95_seconds,
        "p95_low": p95.low,
        "p95_high": p95.high,
        "decision": judgement.decision,
        "lane_status": judgement.status,
        "action": judgement.action,
        "gate": main.gate,
        "reason": main.sentence,
        "policy_hash": policy.hash,
        "origin": "computed",
    }


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns rows of windows as a frame of the form that `history` has."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


@dataclass(frozen=True)
class Pooled:
    """Missions of windows that may overlap, each counted once.

    Attributes:
        missions: Distinct missions.
        fallbacks: Those that fell back.
        failures: Those that failed.
        added: What the windows' own counts add up to.
    """

    missions: int
    fallbacks: int
    failures: int
    added: int


def pooled(missions: pd.DataFrame, windows: pd.DataFrame) -> Pooled:
    """Returns the distinct missions of windows that may overlap: rows of overlapping windows must never be added up.

    Args:
        missions: The account's missions of a window that covers them all: ``mission_id``, ``created_at``, ``fell_back``
            and ``outcome``.
        windows: ``window_start`` and ``window_end``, as a history has them.
    """
    created = missions["created_at"]
    inside, added = pd.Series(False, index=missions.index), 0
    for first, last in zip(windows["window_start"], windows["window_end"], strict=True):
        within = (created >= first) & (created < last)
        inside |= within
        added += int(within.sum())
    found = missions[inside]
    return Pooled(
        missions=int(found["mission_id"].nunique()),
        fallbacks=int(found.loc[found["fell_back"], "mission_id"].nunique()),
        failures=int(found.loc[found["outcome"] == "failed", "mission_id"].nunique()),
        added=added,
    )
