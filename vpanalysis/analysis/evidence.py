"""How far a window's settled missions carry the claims that its lane rarely falls back, rarely fails and is fast."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis import intervals
from vpanalysis.analysis.chance import (
    anytime_lower_bound,
    anytime_upper_bound,
    clean_missions_needed,
    log_e_above,
    log_e_below,
    smallest,
)
from vpanalysis.analysis.gates.data_quality import contradiction, judge_quality
from vpanalysis.analysis.gates.latency import run_times_missing
from vpanalysis.analysis.metrics import Metrics, leaving
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.run_times import SLOW_LIMIT, durations, matured_slow, p95_sentence, slowness
from vpanalysis.analysis.verdict import Basis, Claim, Evidence, Signal, Strength

#: An e-process that reaches 1 / 0.05 shows its claim at 95 % (Ville's inequality).
_SHOWN = math.log(20)
_CONTRADICTORY = "The source contradicts itself, so it proves nothing."


def weigh(metrics: Metrics, policy: Policy, looks: int | None = None) -> Evidence:
    """Returns how far the window carries the claims, beside the decision; its fragility is left empty.

    Args:
        metrics: The window.
        policy: Whose ``fallback_watch``, failure share and ``p95_critical_seconds`` are claimed.
        looks: Earlier looks at this window; ``None``: nobody counted.
    """
    basis: Basis = "anytime" if metrics.is_open else "fixed"
    faulty = any(note.veto for note in judge_quality(metrics, policy.gate("data_quality")))
    claims = [judged(metrics, policy, basis) for judged in (_fallback, _failure, _slow)]
    fallback, failure, slow = (_doubted(claim) if faulty else claim for claim in claims)
    return Evidence(
        **dict(fallback),
        basis=basis,
        signal=signal(metrics),
        failure=failure,
        p95=slow,
        p95_claim_seconds=policy.p95_critical_seconds,
        **_p95_interval(metrics),
        looks=looks,
        caveat=_caveat(metrics, looks),
    )


def claim(k: int, n: int, below: float, basis: Basis, noun: str = "rate", moving: "_Moving | None" = None) -> Claim:
    """Returns how far ``n`` missions, ``k`` of which count against it, carry the claim that the rate is below a share.

    A fixed basis rests on the one-sided 95 % Clopper-Pearson bounds; an anytime one on the e-processes of
    :mod:`~vpanalysis.analysis.chance`. The interval is Wilson's, to be shown.

    Args:
        k: Missions that count against the claim.
        n: Missions that could; at least ``k``.
        below: The share claimed, above 0.
        basis: ``fixed`` or ``anytime``.
        noun: What the rate is of, for the sentence: ``fallback rate``.
        moving: The window, when its oldest missions leave it as new ones come; ``None``: every mission stays.
    """
    certain = below >= 1  # no rate can be above: nothing to show
    if n == 0:
        needed = _needed(0, 0, below, basis, moving)
        return Claim(
            claim_below=below,
            missions=0,
            against=0,
            missions_needed=needed,
            distance=_distance("none", 0, 0, needed, below, noun, moving),
        )
    strength: Strength = "insufficient"
    if basis == "fixed":
        lower, upper = intervals.lower_bound(k, n), intervals.upper_bound(k, n)
        assert lower is not None
        assert upper is not None
        strength = "supports" if upper < below else "refutes" if lower >= below else "insufficient"
    else:
        lower, upper = anytime_lower_bound(k, n), anytime_upper_bound(k, n)
        if not certain:
            supports, refutes = log_e_below(k, n, below) >= _SHOWN, log_e_above(k, n, below) >= _SHOWN
            strength = "supports" if supports else "refutes" if refutes else "insufficient"
    needed = 0 if strength == "supports" and not certain else _needed(k, n, below, basis, moving)
    shown = intervals.wilson(k, n)
    assert shown is not None
    return Claim(
        strength=strength,
        claim_below=below,
        missions=n,
        against=k,
        interval_low=shown.low,
        interval_high=shown.high,
        lower_bound=lower,
        upper_bound=upper,
        missions_needed=needed,
        distance=_distance(strength, k, n, needed, below, noun, moving),
    )


@dataclass(frozen=True)
class _Moving:
    """A window of the newest ``size`` missions, oldest first: which can show a claim, and which count against it."""

    size: int
    metrics: Metrics
    counted: np.ndarray[Any, Any]
    against: np.ndarray[Any, Any]

    def clean_missions_needed(self, below: float, basis: Basis) -> int | None:
        """As the function of that name; ``None`` when the window is too small to show the claim."""

        def shown(more: int) -> bool:
            gone = leaving(self.metrics, more)
            left = int(self.against[gone:].sum()), int(self.counted[gone:].sum()) + more
            return clean_missions_needed(*left, below, basis) == 0

        return smallest(shown, 0) if shown(self.size) else None


def _moving(metrics: Metrics, counted: "pd.Series[Any]", against: "pd.Series[Any]") -> _Moving | None:
    size = metrics.window.last_missions
    if size is None or not metrics.is_open or not metrics.known.missions:
        return None
    return _Moving(size, metrics, counted.to_numpy(bool), against.to_numpy(bool))


def _needed(k: int, n: int, below: float, basis: Basis, moving: _Moving | None) -> int | None:
    """How many more clean missions would show the claim; ``None`` when no number can."""
    if below >= 1:
        return None
    return clean_missions_needed(k, n, below, basis) if moving is None else moving.clean_missions_needed(below, basis)


def signal(metrics: Metrics) -> Signal:
    """Returns whether the window's settled missions could have recorded a fallback; ``unknown`` without any."""
    account = metrics.account
    if not account.settled or account.recordable is None:
        return "unknown"
    return "recorded" if account.recordable else "not recorded"


def _fallback(metrics: Metrics, policy: Policy, basis: Basis) -> Claim:
    account, below, share = metrics.account, policy.fallback_watch, metrics.fallback
    k = account.fell_back
    if k is None or share.missions_considered is None:
        return Claim(claim_below=below, distance="It is unknown how many missions fell back.")
    if k > max(account.recordable or 0, share.missions_considered):
        return Claim(strength="insufficient", claim_below=below, distance=_CONTRADICTORY)
    if account.recordable is None:  # how many have settled is unknown: no more than are considered
        most = claim(k, share.missions_considered, below, basis, "fallback rate")
        if not share.missions_considered or most.strength == "refutes":
            return most
        return _weaker(most, "It is unknown how many of the missions have finished.")
    if signal(metrics) == "not recorded":
        text = (
            "This lane's runtime does not report fallbacks: every settled mission was claimed by a worker, which "
            "cannot record one. See the claim about failures instead."
        )
        return Claim(claim_below=below, missions=0, against=0, distance=text)
    missions = metrics.missions
    moving = _moving(metrics, missions["settled"] & missions["recordable"], missions["fell_back"])
    found = claim(k, max(account.recordable, k), below, basis, "fallback rate", moving)
    if found.strength != "refutes" and metrics.quality.truncated_events is True:
        found = found.model_copy(update={"interval_high": None, "upper_bound": None})
        return _weaker(found, "Not all events are known, so more missions may have fallen back.")
    if found.strength == "supports" and contradiction(metrics):
        return _weaker(found, _CONTRADICTORY)
    return found


def _failure(metrics: Metrics, policy: Policy, basis: Basis) -> Claim:
    settled, below = metrics.account.settled, policy.failure_share
    if settled is None:
        return Claim(claim_below=below, distance="It is unknown how the missions ended.")
    moving = _moving(metrics, metrics.missions["settled"], metrics.missions["outcome"] == "failed")
    found = claim(metrics.account.count("failed"), settled, below, basis, "failure rate", moving)
    return _weaker(found, _CONTRADICTORY) if found.strength == "supports" and contradiction(metrics) else found


def _slow(metrics: Metrics, policy: Policy, basis: Basis) -> Claim:
    slow = matured_slow(metrics, policy.p95_critical_seconds)
    slower = slowness(metrics, policy.p95_critical_seconds)
    moving = _moving(metrics, slower.notna(), slower.fillna(False))
    found = claim(slow.slow, slow.matured, SLOW_LIMIT, basis, "share of slow missions", moving)
    if found.strength == "supports" and not metrics.account.count("completed"):
        return _weaker(found, "No mission has completed, so how long one takes is unknown.")
    if found.strength == "supports" and (missing := run_times_missing(metrics)):
        return _weaker(found, f"{missing}: how long they took is unknown.")
    return found


def _doubted(found: Claim) -> Claim:
    """A claim on data that cannot carry a verdict: refuted it may be, supported it is not."""
    why = "The faults in the data rule the claim out."
    return _weaker(found, why) if found.strength == "supports" else found


def _weaker(found: Claim, why: str) -> Claim:
    return found.model_copy(update={"strength": "insufficient", "missions_needed": None, "distance": why})


def _distance(
    strength: Strength, k: int, n: int, needed: int | None, below: float, noun: str, moving: _Moving | None
) -> str:
    """Such as "0 of 4 so far; 61 more clean missions would show a fallback rate below 5 % with 95 % confidence."."""
    limit = formatting.percent_limit(below)
    if strength == "supports":
        return f"{k:,} of {n:,}, so the {noun} is below {limit} with 95 % confidence."
    if strength == "refutes":
        return f"{k:,} of {n:,}, so the {noun} is {limit} or more with 95 % confidence."
    so_far = f"{k:,} of {n:,} so far" if n else "No settled mission yet"
    if needed is None and moving is not None and below < 1:
        small = f"a window of {formatting.count(moving.size, 'mission')} is too small to show"
        return f"{so_far}; {small} a {noun} below {limit}."
    if needed is None:
        return f"{so_far}; no number of missions can show a {noun} below {limit}."
    clean = formatting.count(needed, "more clean mission" if n else "clean mission")
    return f"{so_far}; {clean} would show a {noun} below {limit} with 95 % confidence."


def _p95_interval(metrics: Metrics) -> dict[str, Any]:
    value = metrics.latency_seconds.p95_seconds
    if not metrics.known.missions and value is not None:
        return {"p95_sentence": f"p95 {formatting.duration(value)}; no interval without the run times behind it."}
    seconds = [one for one in durations(metrics.missions) if math.isfinite(one) and one >= 0]
    interval, bound = intervals.quantile_interval(seconds), intervals.quantile_upper_bound(seconds)
    return {
        "p95_low_seconds": interval.low if bound is not None else None,
        "p95_high_seconds": bound if interval.high is None else interval.high,
        "p95_sentence": p95_sentence(value, len(seconds), interval, bound),
    }


def _caveat(metrics: Metrics, looks: int | None) -> str:
    if not metrics.provisional:
        return ""
    pending = metrics.account.count("pending")
    why = "more missions may still join the window" if metrics.is_open else "not every mission has ended"
    if metrics.is_open and pending:
        why += f", and {pending:,} of its missions {'is' if pending == 1 else 'are'} pending"
    text = f"Provisional: {why}."
    if not looks:
        return text
    hold = "the claims hold however often one looks; the verdict's own thresholds do not"
    if metrics.window.last_missions is not None:
        hold = "the claims hold for each look alone, because old missions leave the window"
    earlier = formatting.count(looks, "earlier look")
    return f"{text} The evidence log has {earlier} at this window: {hold}."
