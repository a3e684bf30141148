"""Gate ``freshness``: a window whose source lives up to its end, and whose missions are of these days."""

from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds, not_assessed
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import WATCH


class FreshnessGate(Settings):
    """Freshness: a window whose lane has shown no sign of life, or an open one without a mission, for so long.

    Attributes:
        silent_seconds: Seconds without any row or heartbeat of the lane from which the gate trips.
        newest_seconds: Seconds since the newest mission was created over which the gate trips.
    """

    silent_seconds: float = Field(default=86_400.0, gt=0)
    newest_seconds: float = Field(default=604_800.0, gt=0)


def judge(metrics: Metrics, settings: FreshnessGate, policy: Thresholds) -> Finding:
    """Judges how long ago the lane last gave a sign of life, and its newest mission came."""
    limit, now = settings.silent_seconds, metrics.generated_at
    if now is None or metrics.end is None or metrics.last_activity is None:
        return not_assessed(limit, "When the lane last gave a sign of life is unknown.")
    silent = (metrics.end - metrics.last_activity).total_seconds()
    if silent >= limit:
        what = "this judgement" if metrics.is_open else "the window's end"
        since = f"The lane has shown no sign of life since {formatting.time(metrics.last_activity)}"
        sentence = f"{since}, {formatting.duration(silent)} before {what}: is this the right database?"
        return Finding(WATCH, silent, limit, f"source silent ({silent:.0f}s >= {limit:.0f}s)", sentence)
    if not metrics.is_open:
        return Finding(
            "HEALTHY", None, limit, "closed window", "The lane has shown signs of life up to the window's end."
        )
    newest = metrics.missions["created_at"].max()
    if newest == newest and (age := (now - newest.to_pydatetime()).total_seconds()) > settings.newest_seconds:
        brief = f"newest mission old ({age:.0f}s > {settings.newest_seconds:.0f}s)"
        sentence = f"The newest mission is {formatting.duration(age)} old: the window says nothing about today."
        return Finding(WATCH, age, settings.newest_seconds, brief, sentence)
    sentence = f"The lane's last sign of life was {formatting.duration(silent)} before this judgement."
    return Finding("HEALTHY", silent, limit, f"source fresh ({silent:.0f}s < {limit:.0f}s)", sentence)


GATE = Gate(
    name="freshness",
    unit="seconds",
    trips="the lane shows no sign of life (any row, event or heartbeat) in the 24 h before the window's end; or the "
    "window is open and its newest mission is over 7 days old",
    look="check that this is the database the runtime writes to, and that missions reach the lane",
    judge=judge,
    settings=FreshnessGate,
)
