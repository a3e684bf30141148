"""Gate ``slow_share``: missions slower than the critical run time, among those that had the time to show it."""

from typing import Any

import pandas as pd
from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.chance import most_by_chance
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds, not_assessed
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.run_times import matured_slow, slowness
from vpanalysis.analysis.verdict import WATCH


class SlowShareGate(Settings):
    """Slow share: over ``share`` of the missions begun ``p95_critical_seconds`` ago or more are slower than that.

    Attributes:
        matured: Fewer such missions than this are not judged.
        share: The share over which the gate trips, but ...
        rate: ... only by more slow missions than a share of this explains, ...
        chance: ... where chance alone would show as many with this probability or less.
    """

    matured: int = Field(default=20, ge=1)
    share: float = Field(default=0.05, ge=0, lt=1)
    rate: float = Field(default=0.02, gt=0, lt=1)
    chance: float = Field(default=0.05, gt=0, lt=1)


def judge(metrics: Metrics, settings: SlowShareGate, policy: Thresholds) -> Finding:
    """Judges the share of slow missions, finished or not.

    A mission cancelled sooner is neither slow nor fast: nobody knows how long it would have run.
    """
    if not metrics.known.missions or metrics.generated_at is None:
        return not_assessed(settings.share, "It is unknown when the missions started and ended.")
    found = matured_slow(metrics, policy.p95_critical_seconds)
    left_out = formatting.count(
        found.cut_short, "mission cancelled before that is", "missions cancelled before that are"
    )
    left_out = f"; {left_out} left out" if found.cut_short else ""
    long = formatting.seconds_limit(policy.p95_critical_seconds)
    if found.share is None or found.matured < settings.matured:
        sentence = f"{formatting.count(found.matured, 'mission')} started at least {long} ago, fewer than the "
        return not_assessed(settings.share, f"{sentence}{settings.matured:,} that this gate needs{left_out}.")
    what = f"{formatting.share(found.slow, found.matured, 'mission')} that started at least {long} ago took longer"
    limit, most = (
        f"the limit of {formatting.percent_limit(settings.share)}",
        most_by_chance(found.matured, settings.rate, settings.chance),
    )
    if found.share > settings.share and found.slow > most:
        brief = f"slow share high ({found.share:.3f} > {settings.share:.3f})"
        return Finding(WATCH, found.share, settings.share, brief, f"{what}, over {limit}{left_out}.")
    if not metrics.account.count("completed"):
        return not_assessed(settings.share, "No mission has completed, so how long one takes is unknown.")
    where = "but by no more than chance explains" if found.share > settings.share else f"within {limit}"
    relation = ">" if found.share > settings.share else "<="
    brief = f"slow share within target ({found.share:.3f} {relation} {settings.share:.3f})"
    return Finding("HEALTHY", found.share, settings.share, brief, f"{what}, {where}{left_out}.")


def behind(metrics: Metrics, settings: SlowShareGate, policy: Thresholds) -> "pd.Series[Any]":
    """Returns the slow missions."""
    return slowness(metrics, policy.p95_critical_seconds).fillna(False).astype(bool)


GATE = Gate(
    name="slow_share",
    unit="share",
    trips="of the missions that started at least `p95_critical_seconds` ago (20 or more of them) over 5 % took longer, "
    "finished or not, and more than a slow share of 2 % explains (5 %); a mission cancelled before that is left out",
    look="compare queue wait and fallback rate with the baseline, to tell load from a degrading runtime (§3.2)",
    judge=judge,
    settings=SlowShareGate,
    behind=behind,
    limits=lambda settings, policy: f"watch over {formatting.percent_limit(settings.share)}",
)
