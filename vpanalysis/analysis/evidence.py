"""How far a window's few missions carry the claim that its lane rarely falls back."""

import math
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis import intervals
from vpanalysis.analysis.latency import durations, p95_sentence
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Evidence, Strength


def weigh(metrics: Metrics, policy: Policy, looks: int | None = None) -> Evidence:
    """Returns the evidence for "the true fallback rate is below ``fallback_watch``"; its fragility is left empty.

    Args:
        metrics: The window.
        policy: Whose ``fallback_watch`` is claimed.
        looks: Earlier looks at this window; ``None``: nobody counted.
    """
    return Evidence(
        **rate_evidence(metrics, policy.fallback_watch),
        **_p95(metrics),
        looks=looks,
        caveat=_caveat(looks) if metrics.provisional else "",
    )


def rate_evidence(metrics: Metrics, claim: float) -> dict[str, Any]:
    """Returns the fields of `Evidence` that are about the fallback rate.

    Strength and missions needed rest on the one-sided 95 % Clopper-Pearson bounds, the interval is Wilson's. Counts
    that contradict themselves carry nothing; where events are missing the fallbacks are only a least number, so that
    they can refute the claim but never support it.

    Args:
        metrics: The window.
        claim: The share that the rate is claimed to be below.
    """
    n, k = metrics.fallback.missions_considered, metrics.fallback.missions_with_fallback
    found: dict[str, Any] = {"strength": "none", "claim_below": claim}
    if n is None or (n > 0 and k is None):
        return found | {"distance": "How many missions fell back is unknown: nothing is shown about the rate."}
    if n == 0:
        needed = intervals.missions_needed(0, claim)
        return found | {"missions_needed": needed, "distance": _distance("none", 0, 0, needed, claim)}
    assert k is not None
    if k > n:
        return found | {
            "strength": "insufficient",
            "distance": f"The source says that {k:,} of {formatting.count(n, 'mission')} fell back: nothing is shown.",
        }
    lower, upper, shown = intervals.lower_bound(k, n), intervals.upper_bound(k, n), intervals.wilson(k, n)
    assert lower is not None
    assert upper is not None
    assert shown is not None
    needed = max(0, intervals.missions_needed(k, claim) - n)
    strength: Strength = "supports" if upper < claim else "refutes" if lower >= claim else "insufficient"
    distance = _distance(strength, k, n, needed, claim)
    if strength == "supports" and metrics.quality.truncated_events is True:
        strength, distance = "insufficient", "Not all events are known, so more missions may have fallen back."
    return found | {
        "strength": strength,
        "interval_low": shown.low,
        "interval_high": shown.high,
        "lower_bound": lower,
        "upper_bound": upper,
        "missions_needed": needed,
        "distance": distance,
    }


def _distance(strength: Strength, k: int, n: int, needed: int, claim: float) -> str:
    """Such as "0 of 4: 55 more clean missions would show a rate below 0.05 at 95 %"."""
    below = f"a rate below {formatting.threshold(claim)} at 95 %"
    if strength == "supports":
        return f"{k:,} of {n:,} show {below}."
    more = f"{formatting.count(needed, 'more clean mission')} would show {below}."
    if strength == "refutes":
        return f"{k:,} of {n:,} show a rate of {formatting.threshold(claim)} or more at 95 %; {more}"
    return f"{k:,} of {n:,}: {more}"


def _p95(metrics: Metrics) -> dict[str, Any]:
    """p95 with its interval; below 59 finished missions, where no upper bound exists, SciPy is not even loaded."""
    value = metrics.latency_seconds.p95_seconds
    if metrics.missions is None and value is not None:
        return {"p95_sentence": f"p95 {formatting.duration(value)}; without the run times behind it, no interval."}
    seconds = [one for one in durations(metrics.missions) if math.isfinite(one) and one >= 0]
    interval, bound = intervals.Interval(None, None, 0.95), None
    if len(seconds) >= intervals.P95_UPPER_BOUND_N:
        interval, bound = intervals.quantile_interval(seconds), intervals.quantile_upper_bound(seconds)
    return {
        "p95_low_seconds": interval.low,
        "p95_high_seconds": bound if interval.high is None else interval.high,
        "p95_sentence": p95_sentence(value, len(seconds), interval, bound),
    }


def _caveat(looks: int | None) -> str:
    open_window = "Provisional: more missions may still join the window."
    if not looks:
        return open_window
    return (
        f"{open_window} {formatting.count(looks, 'earlier look')} at it in the evidence log: "
        "whoever looks often enough sees a rate below the line by chance."
    )
