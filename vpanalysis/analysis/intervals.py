"""How far few missions carry a claim: intervals, bounds and survival curves, thin over SciPy.

Each function imports the part of SciPy it needs when it runs: `kaplan_meier` and `compare_shares` load
``scipy.stats`` (0.9 s), the others ``scipy.special`` (0.26 s).
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

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
    from scipy.special import ndtri

    share, z2 = k / n, float(ndtri((1 + level) / 2)) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return 0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half  # but for rounding, the same


def upper_bound(k: int, n: int, level: float = 0.95) -> float | None:
    """One-sided upper bound to decide on for the share ``k`` of ``n`` missions (Clopper and Pearson 1934).

    Whatever the true share is, the bound covers it at least ``level`` of the time.

    Returns:
        The bound, 0 to 1, and 1.0 when all missions count; None when ``n`` is 0.

    Raises:
        ValueError: As for `wilson`.
    """
    k, n = _counts(k, n, level)
    if n == 0 or k == n:
        return 1.0 if n else None
    from scipy.special import betaincinv

    return float(betaincinv(k + 1, n - k, level))


def lower_bound(k: int, n: int, level: float = 0.95) -> float | None:
    """One-sided lower bound, as `upper_bound`: 0.0 when no mission counts; None when ``n`` is 0."""
    k, n = _counts(k, n, level)
    if n == 0 or k == 0:
        return 0.0 if n else None
    from scipy.special import betainccinv

    return float(betainccinv(k, n - k + 1, level))


def missions_needed(k: int, limit: float, level: float = 0.95) -> int:
    """The fewest missions, ``k`` of them counting, whose `upper_bound` is below the share ``limit``.

    With ``n`` missions so far, ``missions_needed(k, limit) - n`` more clean ones would show it.

    Raises:
        ValueError: ``k`` is no count, or ``limit`` or ``level`` is not between 0 and 1.
    """
    k, _ = _counts(k, k, level)
    _check_fraction("limit", limit)

    def shown(n: int) -> bool:
        bound = upper_bound(k, n, level)
        return bound is not None and bound < limit

    too_few, enough = k, k + 1  # at n = k the bound is 1; every clean mission lowers it
    while not shown(enough):
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if shown(middle) else (middle, enough)
    return enough


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
    return _order_statistics(seconds, p, level, "two-sided")


def quantile_upper_bound(seconds: Sequence[float], p: float = 0.95, level: float = 0.95) -> float | None:
    """One-sided upper bound in seconds, as `quantile_interval`; for p95 None below `P95_UPPER_BOUND_N`."""
    return _order_statistics(seconds, p, level, "less").high


def _order_statistics(seconds: Sequence[float], p: float, level: float, alternative: str) -> Interval:
    _check_fraction("p", p)
    _check_fraction("level", level)
    values = _finite(seconds)
    if not values or (alternative == "less" and p ** len(values) > 1 - level):  # no end: spare the import
        return Interval(None, None, level)
    from scipy.special import bdtr, bdtrc  # what scipy.stats.quantile_test computes, without its 0.9 s of import

    n, tail = len(values), (1 - level) / (2 if alternative == "two-sided" else 1)
    first = next(below for below in range(n + 1) if bdtr(below, n, p) >= tail)
    last = next(below for below in range(first, n + 1) if bdtrc(below, n, p) <= tail)
    ordered = sorted(values)
    low = ordered[first - 1] if alternative == "two-sided" and first > 0 else None
    return Interval(low, ordered[last] if last < n else None, level)


def kaplan_meier(finished_seconds: Sequence[float], running_seconds: Sequence[float]) -> SurvivalCurve | None:
    """Share of missions finished within a time when some still run (Kaplan and Meier 1958).

    The band is SciPy's log-log one, undefined where the estimate is 0 or 1. There it goes from 0 to the next
    defined upper end, or from the last defined lower end to 1: valid, since the true share never falls.

    Args:
        finished_seconds: Durations of finished missions.
        running_seconds: Ages of missions still running; at a tie, finishes come first.

    Returns:
        The curve; None without missions. With running ones only, its shares are 0 and it has no band.

    Raises:
        ValueError: A duration is NaN or infinite.
    """
    finished, running = _finite(finished_seconds), _finite(running_seconds)
    if not finished:
        times = tuple(sorted(set(running)))
        return SurvivalCurve(times, (0.0,) * len(times), None, None, len(running), 0) if times else None
    from scipy.stats import CensoredData, ecdf

    cdf = ecdf(CensoredData(uncensored=finished, right=running)).cdf
    with warnings.catch_warnings():  # "undefined at some observations"
        warnings.simplefilter("ignore", RuntimeWarning)
        band = cdf.confidence_interval(0.95, method="log-log")
    low, high = band.low.probabilities.tolist(), band.high.probabilities.tolist()
    defined = [i for i, end in enumerate(low) if not math.isnan(end)]
    if defined:
        first, last = defined[0], defined[-1]
        rest = len(low) - last - 1
        low = [0.0] * first + low[first : last + 1] + [low[last]] * rest
        high = [high[first]] * first + high[first : last + 1] + [1.0] * rest
    return SurvivalCurve(
        seconds=tuple(cdf.quantiles.tolist()),
        share_finished=tuple(cdf.probabilities.tolist()),
        low=tuple(low) if defined else None,
        high=tuple(high) if defined else None,
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
    from scipy.stats import fisher_exact

    before, after = k_before / n_before, k_after / n_after
    low_before, high_before = _wilson_ends(k_before, n_before, level)
    low_after, high_after = _wilson_ends(k_after, n_after, level)
    change = after - before
    low = change - math.hypot(after - low_after, high_before - before)
    high = change + math.hypot(high_after - after, before - low_before)
    fisher = fisher_exact([[k_after, n_after - k_after], [k_before, n_before - k_before]])
    return ShareDifference(before, after, change, Interval(low, high, level), float(fisher.pvalue))


def _counts(k: int, n: int, level: float) -> tuple[int, int]:
    """Checks all three; gives plain ints, for NumPy's and pandas' counts would spread their own floats."""
    _check_fraction("level", level)
    for name, value in (("k", k), ("n", n)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
            raise ValueError(f"{name} must be a whole number of missions, 0 or more; {value!r} was given.")
    if k > n:
        raise ValueError(f"k must not exceed n; {k} of {n} missions were given.")
    return int(k), int(n)


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, both excluded; {value!r} was given.")


def _finite(seconds: Sequence[float]) -> list[float]:
    values = [float(second) for second in seconds]
    bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
    if bad is not None:
        raise ValueError(f"Durations must be finite numbers of seconds; number {bad} is {values[bad]!r}.")
    return values
