"""Gate ``traffic``: missions enough to judge, and enough of them settled."""

from vpanalysis import formatting
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds
from vpanalysis.analysis.metrics import Metrics


class TrafficGate(Settings):
    """Traffic: counts settled missions instead of all."""


def table(metrics: Metrics, policy: Thresholds) -> Finding:
    """Judges whether there are missions enough; an unknown number is none."""
    return _judged(metrics.fallback.missions_considered, policy, "mission")


def judge(metrics: Metrics, settings: TrafficGate | None, policy: Thresholds) -> Finding:
    """Judges whether there are settled missions enough; where that is unknown, missions."""
    row = table(metrics, policy)
    if settings is None or row.caution != "HEALTHY" or metrics.account.settled is None:
        return row
    return _judged(metrics.account.settled, policy, "settled mission")


def _judged(n: int | None, policy: Thresholds, noun: str) -> Finding:
    least, nouns = max(1, policy.min_missions), f"{noun}s"
    if n is None:
        brief = f"insufficient missions (unknown < {least})"
        return Finding("NO_TRAFFIC", None, least, brief, "The number of missions is unknown.")
    if n >= least:
        sentence = f"The window has {formatting.count(n, noun)}; the policy asks for at least {least:,}."
        return Finding("HEALTHY", n, least, f"{nouns} sufficient ({n} >= {least})", sentence)
    few = f"The window has only {formatting.count(n, noun)}; the policy asks for at least {least:,}."
    sentence = few if n else f"There is no {noun} in the window."
    return Finding("NO_TRAFFIC", n, least, f"insufficient {nouns} ({n} < {least})", sentence)


GATE = Gate(
    name="traffic",
    unit="count",
    trips="fewer settled missions (completed, failed or fallen back) than `min_missions`",
    look="let more missions through",
    judge=judge,
    settings=TrafficGate,
    table=table,
)
