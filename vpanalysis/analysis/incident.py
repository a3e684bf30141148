"""Incidents: failures and fallbacks of several lanes that coincide in time beyond chance.

Each lane is held against itself. If nothing but chance were at work, a lane's troubled missions would lie anywhere
among its missions, so that how many of them fall into a stretch of time is hypergeometric (Fisher 1935): a busy hour
and a lane that always fails prove nothing. That at least *two* lanes have too many in the same stretch is a partial
conjunction; its p-value leaves out the smallest of the lanes' and combines the others by Simes (Benjamini and Heller
2008, "Screening for partial conjunction hypotheses"). Bonferroni over all stretches that were looked at keeps the
chance of any false incident at `ALPHA`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import pandas as pd

from vpanalysis.analysis.chance import false_discovery
from vpanalysis.analysis.metrics import Metrics

#: How often there may be an incident where there is none, over all stretches of one overview.
ALPHA = 0.05
#: Lengths of the stretches in which lanes are held against themselves; they overlap by half.
_STRETCHES = tuple(timedelta(minutes=minutes) for minutes in (30, 120, 480))
#: A lane is part of an incident up to this p-value, adjusted for the lanes that had missions then.
_PART_OF = 0.05


#: A lane: its source's name and its own.
Key = tuple[str, str]


@dataclass(frozen=True)
class Incident:
    """Failures and fallbacks of several lanes at the same time.

    Attributes:
        start: The first trouble of the lanes in it, UTC.
        end: The last one.
        lanes: Source and lane of each that it hit; two or more.
        troubled: Missions of these lanes that failed or fell back within it.
        missions: All their missions within it.
        hit: The lane and the id of each troubled one, in the order of time.
        p_value: Probability of any coincidence as strong by chance, over all stretches looked at.
    """

    start: datetime
    end: datetime
    lanes: tuple[Key, ...]
    troubled: int
    missions: int
    hit: tuple[tuple[Key, str], ...]
    p_value: float


def troubles(metrics: Metrics) -> pd.DataFrame:
    """Returns when something happened to each mission of a window, and whether it was trouble.

    Returns:
        One row per mission with a readable time, in the order of time: ``mission_id``, ``at`` (its fallback, else its
        end, else its creation; UTC) and ``trouble`` (it fell back or failed).
    """
    missions = metrics.missions
    at = missions["fallback_at"].fillna(missions["ended_at"]).fillna(missions["created_at"])
    trouble = missions["fell_back"] | (missions["outcome"] == "failed")
    frame = pd.DataFrame({"mission_id": missions["mission_id"], "at": at, "trouble": trouble.astype(bool)})
    return frame.dropna(subset=["at"]).sort_values("at", kind="stable", ignore_index=True)


def incidents(lanes: Mapping[Key, pd.DataFrame]) -> tuple[Incident, ...]:
    """Returns the incidents of lanes, oldest first.

    Args:
        lanes: Each lane's `troubles` by source and lane.
    """
    looked_at, found = 0, []
    for length in _STRETCHES:
        step = length / 2
        counts = {key: _counts(frame, step) for key, frame in lanes.items()}
        present = Counter(number for held in counts.values() for number in held)
        looked_at += sum(several > 1 for several in present.values())
        troubled = Counter(number for held in counts.values() for number, (_, bad) in held.items() if bad)
        for number in (number for number, several in troubled.items() if several > 1):
            p_values = {key: _excess(lanes[key], *held[number]) for key, held in counts.items() if number in held}
            since = pd.Timestamp(0, tz="UTC") + number * step
            found.append(_Stretch(_two_or_more(list(p_values.values())), since, since + length, p_values))
    shown = sorted((one for one in found if one.p_value * looked_at <= ALPHA), key=lambda one: one[:3])
    results = []
    while shown:
        best, part_of = shown[0], [shown[0]]
        since, until = best.since, best.until
        while more := [
            one
            for one in shown
            if one not in part_of
            and one.until - one.since <= best.until - best.since
            and one.since <= until
            and since <= one.until
        ]:  # an outage longer than a stretch is a chain of them
            part_of += more
            since, until = min(one.since for one in part_of), max(one.until for one in part_of)
        hit = {key: lanes[key] for one in part_of for key in one.hit()}
        results.append(_incident(hit, since, until, best.p_value * looked_at))
        shown = [one for one in shown if one.until <= since or until <= one.since]
    return tuple(sorted(results, key=lambda incident: incident.start))


class _Stretch(NamedTuple):
    """A stretch of time, and each lane's p-value in it."""

    p_value: float
    since: pd.Timestamp
    until: pd.Timestamp
    p_values: Mapping[Key, float]

    def hit(self) -> list[Key]:
        adjusted = false_discovery(list(self.p_values.values()))
        return [key for key, value in zip(self.p_values, adjusted, strict=True) if value <= _PART_OF]


def _counts(frame: pd.DataFrame, step: timedelta) -> dict[int, tuple[int, int]]:
    """Missions and troubled ones in each stretch of two steps that holds any, by the number of its first step."""
    counts: dict[int, tuple[int, int]] = {}
    steps = (frame["at"] - pd.Timestamp(0, tz="UTC")) // step
    grouped = frame["trouble"].groupby(steps).agg(["size", "sum"])
    for number, size, bad in grouped.itertuples():
        for stretch in (number - 1, number):
            before = counts.get(stretch, (0, 0))
            counts[stretch] = (before[0] + int(size), before[1] + int(bad))
    return counts


def _excess(frame: pd.DataFrame, missions: int, bad: int) -> float:
    """P(so many or more of a lane's troubled missions among so many of all), hypergeometric."""
    total, troubled = len(frame), int(frame["trouble"].sum())
    most = min(missions, troubled)
    logs = [
        _log_choose(troubled, k) + _log_choose(total - troubled, missions - k) - _log_choose(total, missions)
        for k in range(max(bad, missions + troubled - total), most + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _two_or_more(p_values: Sequence[float]) -> float:
    """The p-value of "at most one lane has an excess": Simes over all but the smallest."""
    others = sorted(p_values)[1:]
    return min((value * len(others) / rank for rank, value in enumerate(others, 1)), default=1.0)


def _incident(hit: Mapping[Key, pd.DataFrame], since: pd.Timestamp, until: pd.Timestamp, p_value: float) -> Incident:
    within = [
        (at, key, str(mission), trouble)
        for key, frame in hit.items()
        for mission, at, trouble in frame[frame["at"].between(since, until, inclusive="left")].itertuples(index=False)
    ]
    bad = sorted((at, key, mission) for at, key, mission, trouble in within if trouble)
    start, end = bad[0][0], bad[-1][0]
    missions = sum(start <= at <= end for at, *_ in within)
    names = tuple((key, mission) for _, key, mission in bad)
    return Incident(start.to_pydatetime(), end.to_pydatetime(), tuple(hit), len(bad), missions, names, p_value)
