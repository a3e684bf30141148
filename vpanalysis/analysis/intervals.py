"""How far few missions carry a claim: intervals, bounds and survival curves, in plain Python.

SciPy computes the same (the tests compare), but its import costs up to 0.9 s, more than a window's calculations.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from vpanalysis.analysis.chance import (
    check_counts,
    check_fraction,
    crossing,
    log_binomial_tails,
    margin_below,
    most_by_chance,
    smallest,
)

#: Missions from which a one-sided 95 % upper bound for p95 exists: the smallest n with 0.95 ** n <= 0.05.
P95_UPPER_BOUND_N = 59


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end in the unit of the thing estimated; None when the data give none.
        high: Upper end; None when the data give none ("no upper bound yet").
        level: Confidence level, between 0 and 1.
    """

    low: float | None
    high: float | None
    level: float


@dataclass(frozen=True)
class SurvivalCurve:
    """Kaplan–Meier estimate of the share of missions that finish within a time; running ones are censored.

    Attributes:
        seconds: Distinct times at which missions finished or were last seen running, ascending.
        share_finished: Share (0 to 1) finished by each of ``seconds``, valid until the next one; 0 before the
            first. It ends below 1 when the longest mission still runs.
        low: Lower end of the 95 % pointwise band at each of ``seconds``; None when the data give no band
            (nothing finished, or everything at one time).
        high: Upper end of that band; None as for ``low``.
        running: Missions still running.
        finished: Missions finished.
    """

    seconds: tuple[float, ...]
    share_finished: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    running: int
    finished: int

    def quantile(self, q: float) -> float | None:
        """Seconds by which a share ``q`` (above 0, up to 1) has finished; None if the curve stays below."""
        if not 0 < q <= 1:
            raise ValueError(f"A quantile must be above 0 and at most 1; {q!r} was given.")
        reached = q - 1e-12  # products of floats: 19 of 20 may come out a hair under 0.95
        steps = zip(self.seconds, self.share_finished, strict=True)
        return next((at for at, share in steps if share >= reached), None)


@dataclass(frozen=True)
class ShareDifference:
    """Change of a share from one window to another.

    Attributes:
        before: Share in the earlier window, 0 to 1.
        after: Share in the later window, 0 to 1.
        change: ``after - before``; positive when the share rose.
        interval: Newcombe's interval for ``change``; both ends are numbers from -1 to 1.
        p_value: Two-sided p of Fisher's exact test that the two shares are equal.
    """

    before: float
    after: float
    change: float
    interval: Interval
    p_value: float


def wilson(k: int, n: int, level: float = 0.95) -> Interval | None:
    """Two-sided interval to show for the share ``k`` of ``n`` missions (Wilson 1927).

    Returns:
        The interval, both ends numbers from 0 to 1; None when ``n`` is 0.

    Raises:
        ValueError: ``k`` or ``n`` is no count, ``k`` exceeds ``n``, or ``level`` is not between 0 and 1.
    """
    k, n = _counts(k, n, level)
    return Interval(*_wilson_ends(k, n, level), level) if n else None


def _wilson_ends(k: int, n: int, level: float) -> tuple[float, float]:
    share, z2 = k / n, _z(level) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return 0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half  # but for rounding, the same


def _z(level: float) -> float:
    """The standard normal deviate that a two-sided interval of this level reaches."""
    return NormalDist().inv_cdf((1 + level) / 2)


def upper_bound(k: int, n: int, level: float = 0.95) -> float | None:
    """One-sided upper bound to decide on for the share ``k`` of ``n`` missions (Clopper and Pearson 1934).

    Whatever the true share is, the bound covers it at least ``level`` of the time.

    >>> round(upper_bound(0, 59), 4)
    0.0495

    Returns:
        The bound, 0 to 1, and 1.0 when all missions count; None when ``n`` is 0.

    Raises:
        ValueError: As for `wilson`.
    """
    k, n = _counts(k, n, level)
    if n == 0 or k == n:
        return 1.0 if n else None
    return crossing(lambda share: margin_below(k, n, share, 1 - level), k / n, 1.0)[0]


def lower_bound(k: int, n: int, level: float = 0.95) -> float | None:
    """One-sided lower bound, as `upper_bound`: 0.0 when no mission counts; None when ``n`` is 0."""
    k, n = _counts(k, n, level)
    if n == 0 or k == 0:
        return 0.0 if n else None
    return crossing(lambda share: log_binomial_tails(k - 1, n, share)[1] - math.log(1 - level), 0.0, k / n)[0]


def missions_needed(k: int, limit: float, level: float = 0.95) -> int:
    """The fewest missions, ``k`` of them counting, whose `upper_bound` is below the share ``limit``.

    With ``n`` missions so far, ``missions_needed(k, limit) - n`` more clean ones would show it.

    Raises:
        ValueError: ``k`` is no count, or ``limit`` or ``level`` is not between 0 and 1.
    """
    k, _ = _counts(k, k, level)
    check_fraction("limit", limit)
    return smallest(lambda n: margin_below(k, n, limit, 1 - level) > 0, k + 1)


def quantile_interval(seconds: Sequence[float], p: float = 0.95, level: float = 0.95) -> Interval:
    """Two-sided interval for the ``p`` quantile by order statistics (Conover 1999, 3.2).

    It assumes no distribution and covers at least ``level``. Durations of completed missions say nothing of
    those still running: see `kaplan_meier`.

    Returns:
        Two of the given durations, in seconds; an end is None when there are too few of them (the upper end
        for p95 at 95 % needs 72).

    Raises:
        ValueError: A duration is NaN or infinite, or ``p`` or ``level`` is not between 0 and 1.
    """
    ordered = _ordered(seconds, p, level)
    n, tail = len(ordered), (1 - level) / 2
    # The fewest of n above the quantile, and below it, that would be more than chance.
    above, below = most_by_chance(n, 1 - p, tail), most_by_chance(n, p, tail)
    return Interval(
        low=ordered[n - above] if above <= n else None,
        high=ordered[below - 1] if below <= n else None,
        level=level,
    )


def quantile_upper_bound(seconds: Sequence[float], p: float = 0.95, level: float = 0.95) -> float | None:
    """One-sided upper bound in seconds, as `quantile_interval`; for p95 None below `P95_UPPER_BOUND_N`."""
    ordered = _ordered(seconds, p, level)
    below = most_by_chance(len(ordered), p, 1 - level)
    return ordered[below - 1] if below <= len(ordered) else None


def _ordered(seconds: Sequence[float], p: float, level: float) -> list[float]:
    check_fraction("p", p)
    check_fraction("level", level)
    return sorted(_finite(seconds))


def kaplan_meier(finished_seconds: Sequence[float], running_seconds: Sequence[float]) -> SurvivalCurve | None:
    """Share of missions finished within a time when some still run (Kaplan and Meier 1958).

    The band is the log-log one, with Greenwood's variance. Where the estimate is 0 or 1 it is undefined; there it goes
    from 0 to the next defined upper end, or from the last defined lower end to 1: valid, since the true share never
    falls.

    Args:
        finished_seconds: Durations of finished missions.
        running_seconds: Ages of missions still running; at a tie, finishes come first.

    Returns:
        The curve; None without missions. With running ones only, its shares are 0 and it has no band.

    Raises:
        ValueError: A duration is NaN or infinite.
    """
    finished, running = _finite(finished_seconds), _finite(running_seconds)
    if not finished and not running:
        return None
    ends, seen = Counter(finished), Counter(finished + running)
    times = tuple(sorted(seen))
    at_risk, surviving, greenwood, z = len(finished) + len(running), 1.0, 0.0, _z(0.95)
    shares: list[float] = []
    band: list[tuple[float, float] | None] = []
    for at in times:
        surviving *= (at_risk - ends[at]) / at_risk
        shares.append(1 - surviving)
        if 0 < surviving < 1:
            greenwood += ends[at] / (at_risk * (at_risk - ends[at]))
            width = z * math.sqrt(greenwood) / -math.log(surviving)
            band.append((1 - surviving ** math.exp(-width), 1 - surviving ** math.exp(width)))
        else:
            band.append(None)
        at_risk -= seen[at]
    defined = [pair for pair in band if pair]
    first = next((i for i, pair in enumerate(band) if pair), 0)
    after = len(band) - first - len(defined)
    return SurvivalCurve(
        seconds=times,
        share_finished=tuple(shares),
        low=(*[0.0] * first, *(low for low, _ in defined), *[defined[-1][0]] * after) if defined else None,
        high=(*[defined[0][1]] * first, *(high for _, high in defined), *[1.0] * after) if defined else None,
        running=len(running),
        finished=len(finished),
    )


def compare_shares(
    k_before: int, n_before: int, k_after: int, n_after: int, level: float = 0.95
) -> ShareDifference | None:
    """Change of a share: Newcombe's hybrid score interval (1998, method 10) and Fisher's exact test.

    Returns:
        The change, after minus before; None when either window has no mission.

    Raises:
        ValueError: As for `wilson`.
    """
    k_before, n_before = _counts(k_before, n_before, level)
    k_after, n_after = _counts(k_after, n_after, level)
    if n_before == 0 or n_after == 0:
        return None
    before, after = k_before / n_before, k_after / n_after
    low_before, high_before = _wilson_ends(k_before, n_before, level)
    low_after, high_after = _wilson_ends(k_after, n_after, level)
    change = after - before
    low = change - math.hypot(after - low_after, high_before - before)
    high = change + math.hypot(high_after - after, before - low_before)
    p_value = _fisher(k_before, n_before, k_after, n_after)
    return ShareDifference(before, after, change, Interval(low, high, level), p_value)


def _fisher(k_before: int, n_before: int, k_after: int, n_after: int) -> float:
    """Probability of all tables with these margins that are no likelier than this one (Fisher 1935).

    Each table's weight follows from its neighbour's, from the likeliest outwards until nothing is left in a float.
    """
    k = k_before + k_after
    first, last = max(0, k - n_before), min(k, n_after)
    likeliest = min(last, max(first, (k + 1) * (n_after + 1) // (n_before + n_after + 2)))
    weights = {likeliest: 1.0}
    for step, border in ((1, last), (-1, first)):
        at = likeliest
        while at != border and weights[at] > 0:
            i = at if step > 0 else at - 1  # the step from i to i + 1, or back
            rise = (n_after - i) * (k - i) / ((i + 1) * (n_before - k + i + 1))
            weights[at + step] = weights[at] * (rise if step > 0 else 1 / rise)
            at += step
    seen = weights.get(k_after, 0.0) * (1 + 1e-7)  # equally likely ones may differ by rounding
    return min(1.0, math.fsum(weight for weight in weights.values() if weight <= seen) / math.fsum(weights.values()))


def _counts(k: int, n: int, level: float) -> tuple[int, int]:
    check_fraction("level", level)
    k, n = check_counts(k=k, n=n)
    return k, n


def _finite(seconds: Sequence[float]) -> list[float]:
    values = [float(second) for second in seconds]
    bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
    if bad is not None:
        raise ValueError(f"Durations must be finite numbers of seconds; number {bad} is {values[bad]!r}.")
    return values
