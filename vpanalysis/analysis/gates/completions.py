"""Gate ``completions``: missions that are overdue, running without an end or never started."""

from typing import Any

import pandas as pd
from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.chance import most_by_chance
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds, not_assessed, were
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import WATCH
from vpanalysis.data.schema import NEVER_STARTED_SECONDS


class CompletionsGate(Settings):
    """Missing completions: missions without an end although it is due.

    Attributes:
        seconds: Seconds after its start from which an unfinished mission is overdue: the lane's longest run time.
        newest: How many of the newest missions that are begun or due the gate looks at first.
        rate: Overdue share that is normal; more than it explains trip the gate, but ...
        chance: ... only where chance alone would show as many with this probability or less.
        least: Overdue missions below which the newest do not trip the gate.
        missions: The same for the whole window.
    """

    seconds: float = Field(default=900.0, gt=0)
    newest: int = Field(default=60, ge=1)
    rate: float = Field(default=0.005, gt=0, lt=1)
    chance: float = Field(default=0.01, gt=0, lt=1)
    least: int = Field(default=2, ge=1)
    missions: int = Field(default=3, ge=1)


def judge(metrics: Metrics, settings: CompletionsGate, policy: Thresholds) -> Finding:
    """Judges overdue missions among the newest, and over the whole window."""
    if not metrics.known.missions or metrics.generated_at is None:
        return not_assessed(settings.missions, "It is unknown when the missions started and ended.")
    missions = metrics.missions
    due = missions[(missions["outcome"] != "pending") | missions["begun_at"].notna()]
    newest = (due["outcome"] == "overdue").tail(settings.newest)
    overdue, recent = metrics.account.count("overdue"), int(newest.sum())
    limit = max(settings.least, most_by_chance(len(newest), settings.rate, settings.chance))
    whole = max(settings.missions, most_by_chance(len(due), settings.rate, settings.chance))
    if overdue < whole and recent < limit:
        brief = f"overdue missions within target ({overdue} < {whole})"
        sentence = f"{were(overdue, 'mission', 'is', 'are')} overdue." if overdue else "No mission is overdue."
        return Finding("HEALTHY", overdue, whole, brief, sentence)
    long = _how_long(missions[missions["outcome"] == "overdue"], settings)
    if recent >= limit:
        brief = f"overdue missions among the newest {len(newest)} ({recent} >= {limit})"
        which = "all" if recent == overdue else f"{recent:,}"
        sentence = f"{long}; {which} of them among the newest {len(newest):,}."
        return Finding(WATCH, recent, limit, brief, sentence, newest=len(newest))
    return Finding(WATCH, overdue, whole, f"overdue missions ({overdue} >= {whole})", f"{long}.")


def _how_long(overdue: pd.DataFrame, settings: CompletionsGate) -> str:
    running = int(overdue["begun_at"].notna().sum())
    after = formatting.seconds_limit(settings.seconds)
    never = formatting.seconds_limit(max(settings.seconds, NEVER_STARTED_SECONDS))
    parts = [
        f"{were(number, 'mission', one, many)} more than {length}"
        for number, one, many, length in (
            (running, "is still unfinished", "are still unfinished", f"{after} after starting"),
            (len(overdue) - running, "is still waiting", "are still waiting", f"{never} after being created"),
        )
        if number
    ]
    return " and ".join(parts)


def behind(metrics: Metrics, settings: CompletionsGate, policy: Thresholds) -> "pd.Series[Any]":
    """Returns the overdue missions."""
    return metrics.missions["outcome"] == "overdue"


GATE = Gate(
    name="completions",
    unit="count",
    trips="of the newest 60 missions that have begun or are due, so many are overdue that a rate of 0.5 % would give "
    "as many in only 1 % of windows (3 of 60, at least 2); or the same over the whole window, by 3 or more. Overdue: "
    "no end 900 s after its start, or no start 3,600 s after its creation",
    look="find out why missions do not complete: their workers, claims and last events (§3.3)",
    judge=judge,
    settings=CompletionsGate,
    behind=behind,
)
