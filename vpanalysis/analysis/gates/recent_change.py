"""Gate ``recent_change``: the newest missions fall back at a rate that the whole window's average hides."""

from datetime import datetime
from typing import Any

import pandas as pd
from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.gates.gate import EVENTS_MISSING, Finding, Gate, Settings, Thresholds, not_assessed
from vpanalysis.analysis.intervals import lower_bound
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import WATCH


class RecentChangeGate(Settings):
    """Recent change: a rate shown to be at or above ``fallback_watch`` over one of the suffixes of newest missions.

    Attributes:
        newest: The shortest suffix; each next one is twice as long.
        chance: Probability, over all suffixes together, that a rate right below ``fallback_watch`` shows the same.
    """

    newest: int = Field(default=20, ge=1)
    chance: float = Field(default=0.01, gt=0, lt=1)


def judge(metrics: Metrics, settings: RecentChangeGate, policy: Thresholds) -> Finding:
    """Judges each stretch of the newest settled missions that could have recorded a fallback (Clopper–Pearson)."""
    watch = policy.fallback_watch
    if not metrics.known.missions:
        return not_assessed(watch, "It is unknown which missions fell back.")
    flags = _flags(metrics)
    sizes = _sizes(len(flags), settings)
    if not sizes:
        few = f"{formatting.count(len(flags), 'settled mission')} could record a fallback, fewer than the "
        return not_assessed(watch, f"{few}{settings.newest:,} that this gate needs.")
    size, bound = _worst(flags, sizes, settings)
    fell_back = int(sum(flags[-size:]))
    line = f"above the watch line of {formatting.percent_limit(watch)}"
    if bound >= watch:
        brief = f"recent change ({fell_back}/{size} >= {watch:.3f} shown)"
        share = formatting.percent(fell_back / size)
        sentence = f"{fell_back:,} of the newest {size:,} settled missions ({share}) fell back: a recent rate {line}."
        return Finding(WATCH, fell_back / size, watch, brief, sentence, newest=size)
    if metrics.quality.truncated_events:
        return not_assessed(watch, EVENTS_MISSING)
    stretches = ", ".join(f"{size:,}" for size in sizes[:-1]) + (" or " if sizes[1:] else "") + f"{sizes[-1]:,}"
    brief = f"no recent change ({fell_back}/{size})"
    sentence = f"The newest {stretches} settled missions show no fallback rate {line}."
    return Finding("HEALTHY", fell_back / size, watch, brief, sentence, newest=size)


def since(metrics: Metrics, settings: RecentChangeGate) -> datetime | None:
    """Returns when the oldest mission of the worst stretch was created; ``None`` when there is none or unknown."""
    missions = metrics.missions[metrics.missions["settled"] & metrics.missions["recordable"]]
    sizes = _sizes(len(missions), settings)
    if not sizes:
        return None
    size, _ = _worst(_flags(metrics), sizes, settings)
    created = missions["created_at"].iloc[-size]
    return None if created != created else created.to_pydatetime()


def _worst(flags: list[bool], sizes: list[int], settings: RecentChangeGate) -> tuple[int, float]:
    """The stretch with the highest lower bound of its rate, and that bound; the chance is shared among all."""
    level = 1 - settings.chance / len(sizes)
    bounds = {size: lower_bound(int(sum(flags[-size:])), size, level) or 0.0 for size in sizes}
    size = max(sizes, key=lambda size: bounds[size])
    return size, bounds[size]


def _flags(metrics: Metrics) -> list[bool]:
    missions = metrics.missions
    return [bool(flag) for flag in missions.loc[missions["settled"] & missions["recordable"], "fell_back"]]


def _sizes(n: int, settings: RecentChangeGate) -> list[int]:
    """20, 40, 80, … as far as there are missions."""
    sizes, size = [], settings.newest
    while size <= n:
        sizes.append(size)
        size *= 2
    return sizes


def behind(metrics: Metrics, settings: RecentChangeGate, policy: Thresholds) -> "pd.Series[Any]":
    """Returns the missions that fell back among the newest, as far as the longest suffix reaches."""
    missions = metrics.missions
    counted = missions.index[missions["settled"] & missions["recordable"]]
    longest = max(_sizes(len(counted), settings), default=0)
    return missions["fell_back"] & missions.index.isin(counted[len(counted) - longest :])


GATE = Gate(
    name="recent_change",
    unit="share",
    trips="for one of the newest 20, 40, 80, … settled missions the fallback rate is shown to be at or above "
    "`fallback_watch` although the whole window's is below (exact bound, 1 % over all stretches together)",
    look="find out what changed when the fallbacks began, and inspect the newest fallback payload errors (§3.1)",
    judge=judge,
    settings=RecentChangeGate,
    behind=behind,
)
