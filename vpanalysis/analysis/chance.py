"""What chance explains: limits on counts, and claims about a rate that may be looked at again and again.

Plain Python, without SciPy, whose import would cost more than a whole window's calculations. All of it rests on
`log_beta_tails`: binomial tails are incomplete beta functions.

A claim says that the true share of missions that count (that fell back, failed, were slow) is below ``p0``. `intervals`
decides it when the missions are looked at once. The e-values here may be looked at after every mission: if the claim
is false, `log_e_below` ever reaches ``log(20)`` with probability 0.05 at most (Ville 1939).
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from numbers import Integral
from typing import Literal

#: How often a claim may be held to be shown although it is false.
ALPHA = 0.05

#: Logarithms of probabilities closer than this are a tie within rounding: to be settled exactly, or no proof.
_TIE = 1e-12


# Limits on counts


@lru_cache(maxsize=4096, typed=True)
def most_by_chance(m: int, rate: float, alpha: float) -> int:
    """The smallest count that chance does not explain: the least k with P(Binomial(m, rate) >= k) <= alpha.

    ``rate`` and ``alpha`` are meant as they are written: 2 of 2 at a rate of 0.1 have probability 0.01, although the
    floats multiply to a hair more. Ties are settled in whole numbers.

    >>> most_by_chance(20, 0.05, 0.01)
    5

    Args:
        m: Missions looked at.
        rate: Share of missions that may count, 0 to 1.
        alpha: Probability, between 0 and 1, that chance alone reaches the result.

    Returns:
        A number of missions, 1 to ``m + 1``: the latter when even all of them are likely enough, or there are none.

    Raises:
        ValueError: ``m`` is no count, ``rate`` is not from 0 to 1, or ``alpha`` not between 0 and 1.
    """
    (m,) = check_counts(m=m)
    check_fraction("alpha", alpha)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie from 0 to 1; {rate!r} was given.")

    def unlikely(k: int) -> bool:
        excess = log_binomial_tails(k - 1, m, rate)[1] - math.log(alpha)
        return excess <= 0 if abs(excess) > _TIE else _unlikely_exactly(k, m, rate, alpha)

    return smallest(unlikely, 1)


def false_discovery(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted for how many there are: those up to 0.05 are discoveries, of which 5 % are false at most.

    The step-up procedure of Benjamini and Hochberg (1995); where nothing is to be discovered, anything is "discovered"
    with probability 0.05 at most. It holds for independent and for positively dependent p-values.

    >>> false_discovery([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.03]

    Args:
        p_values: Probabilities, 0 to 1, in any order.

    Returns:
        The adjusted ones in the same order, 0 to 1.
    """
    adjusted, least, rising = [1.0] * len(p_values), 1.0, sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, at in reversed(list(enumerate(rising, 1))):
        least = adjusted[at] = min(least, p_values[at] * len(p_values) / rank)
    return adjusted


def _unlikely_exactly(k: int, m: int, rate: float, alpha: float) -> bool:
    share = Fraction(str(float(rate)))
    hits, misses = share.numerator, share.denominator - share.numerator
    ways: int = sum(math.comb(m, i) * hits**i * misses ** (m - i) for i in range(k, m + 1))
    return ways <= Fraction(str(float(alpha))) * int(share.denominator**m)


def most_events_by_chance(expected: float, alpha: float) -> int:
    """The smallest number of events that chance does not explain: the least k with P(Poisson(expected) >= k) <= alpha.

    >>> most_events_by_chance(0.6, 0.01)
    4

    Args:
        expected: Events to be expected, 0 or more.
        alpha: As for `most_by_chance`.

    Returns:
        A number of events, 1 or more; 1 when none is expected.

    Raises:
        ValueError: ``expected`` is negative, infinite or NaN, or ``alpha`` is not between 0 and 1.
    """
    check_fraction("alpha", alpha)
    if not 0 <= expected < math.inf:
        raise ValueError(f"The number of events expected must be 0 or more, and finite; {expected!r} was given.")
    return smallest(lambda k: poisson_at_least(k, expected) <= alpha, 1)


def poisson_at_least(k: int, expected: float) -> float:
    """P(Poisson(expected) >= k) for k >= 1, summed from the term next to k away from the mean: terms only shrink."""
    if expected == 0:
        return 0.0
    above = k > expected
    at = k if above else k - 1
    term = math.exp(at * math.log(expected) - expected - math.lgamma(at + 1))
    total = 0.0
    while term > total * 1e-17:
        total += term
        term *= expected / (at + 1) if above else at / expected
        at += 1 if above else -1
    return total if above else 1 - total


# Claims looked at again and again


def log_e_below(k: int, n: int, p0: float) -> float:
    """Evidence for "the true share is below p0": natural log of an e-value against a share of ``p0`` or more.

    Half of the bet is on a share of 0, half on Beta(1/2, 1/2) cut off at ``p0``; the e-value is how much better they
    predicted the missions than ``p0`` did (a mixture martingale: Howard, Ramdas, McAuliffe and Sekhon 2021). The
    claim is shown at ``log(20)``, however often one looks (Ville 1939).

    >>> log_e_below(0, 64, 0.05) < math.log(20) <= log_e_below(0, 65, 0.05)
    True

    Args:
        k: Missions that count.
        n: Missions in all.
        p0: Share claimed to be undercut, between 0 and 1.

    Returns:
        A number without unit; 0.0 without missions, negative when the missions speak against the claim.

    Raises:
        ValueError: ``k`` or ``n`` is no count, ``k`` exceeds ``n``, or ``p0`` is not between 0 and 1.
    """
    k, n = check_counts(k=k, n=n)
    check_fraction("p0", p0)
    a, b = k + 0.5, n - k + 0.5
    prior = 2 * math.atan2(math.sqrt(p0), math.sqrt(1 - p0))  # the integral of t^(-1/2) (1 - t)^(-1/2) up to p0
    spread = log_beta_tails(a, b, p0)[0] - _log_beta_term(a, b, p0) + (math.log(p0) + math.log1p(-p0)) / 2
    spread -= math.log(prior)
    none = -n * math.log1p(-p0) if k == 0 else -math.inf
    larger, smaller = max(spread, none), min(spread, none)
    return larger + math.log1p(math.exp(smaller - larger)) - math.log(2)


def log_e_above(k: int, n: int, p0: float) -> float:
    """Evidence for "the true share is above p0", as `log_e_below`; the bet is Beta(1/2, 2) above ``p0``.

    >>> log_e_above(4, 20, 0.05) < math.log(20) <= log_e_above(6, 20, 0.05)
    True
    """
    k, n = check_counts(k=k, n=n)
    check_fraction("p0", p0)
    a, b, root = k + 0.5, n - k + 2.0, math.sqrt(p0)
    rest = (1 - p0) / (1 + root)  # 1 - root, without its rounding
    prior = 2 / 3 * rest**2 * (2 + root)  # the integral of t^(-1/2) (1 - t) from p0
    spread = log_beta_tails(a, b, p0)[1] - _log_beta_term(a, b, p0) + math.log(p0) / 2 + 2 * math.log1p(-p0)
    return spread - math.log(prior)


def anytime_upper_bound(k: int, n: int, alpha: float = ALPHA) -> float:
    """Upper end of a one-sided confidence sequence: the smallest ``p0`` that the true share is shown to be below.

    With ``alpha`` 0.05 it is a one-sided 95 % bound, and stays one however often it is looked at: with probability
    0.95 at least, not one of the bounds after 1, 2, 3, … missions is below the true share. It is wider than
    `intervals.upper_bound`, which is for one look.

    Returns:
        A share, 0 to 1; 1.0 when all missions count, or there are none.

    Raises:
        ValueError: ``k`` or ``n`` is no count, ``k`` exceeds ``n``, or ``alpha`` is not between 0 and 1.
    """
    k, n = check_counts(k=k, n=n)
    check_fraction("alpha", alpha)
    if k == n:
        return 1.0
    return crossing(lambda p0: log_e_below(k, n, p0) + math.log(alpha), k / n, 1.0)[1]


def anytime_lower_bound(k: int, n: int, alpha: float = ALPHA) -> float:
    """Lower end of a one-sided confidence sequence, as `anytime_upper_bound`; 0.0 when no mission counts."""
    k, n = check_counts(k=k, n=n)
    check_fraction("alpha", alpha)
    if k == 0:
        return 0.0
    return crossing(lambda p0: -log_e_above(k, n, p0) - math.log(alpha), 0.0, k / n)[0]


def clean_missions_needed(k: int, n: int, p0: float, basis: Literal["fixed", "anytime"]) -> int:
    """How many more missions, none of them counting, would show that the true share is below ``p0``.

    Args:
        k: Missions that count so far.
        n: Missions so far.
        p0: Share claimed to be undercut, between 0 and 1.
        basis: How it is to be shown: ``fixed`` for one look (the 95 % bound of Clopper and Pearson 1934 below
            ``p0``, as `intervals.missions_needed`), ``anytime`` for any number of looks (`log_e_below`).

    Returns:
        A number of missions; 0 when it is shown already.

    Raises:
        ValueError: As for `log_e_below`, or ``basis`` is neither.
    """
    k, n = check_counts(k=k, n=n)
    check_fraction("p0", p0)
    if basis not in ("fixed", "anytime"):
        raise ValueError(f'basis must be "fixed" or "anytime"; {basis!r} was given.')
    if basis == "fixed":
        return smallest(lambda missions: margin_below(k, missions, p0, ALPHA) > 0, n) - n
    return smallest(lambda missions: log_e_below(k, missions, p0) >= -math.log(ALPHA), n) - n


def margin_below(k: int, n: int, p0: float, alpha: float) -> float:
    """How clearly one look at ``k`` of ``n`` shows a share below ``p0``: log alpha less log P(Binomial(n, p0) <= k).

    Above 0 it is shown; a tie within rounding comes out below. It rises with ``p0`` and with clean missions.
    """
    return math.log(alpha) - _TIE - log_binomial_tails(k, n, p0)[0]


# Tails, and where they cross a limit


def log_binomial_tails(k: int, n: int, p: float) -> tuple[float, float]:
    """Natural logs of P(X <= k) and P(X > k) for X Binomial(n, p); -inf for probability 0."""
    if k < 0:
        return -math.inf, 0.0
    if k >= n:
        return 0.0, -math.inf
    above, below = log_beta_tails(k + 1, n - k, p)
    return below, above


def log_beta_tails(a: float, b: float, x: float) -> tuple[float, float]:
    """Natural logs of the regularised incomplete beta function I_x(a, b) and of 1 - I_x(a, b).

    The continued fraction of DiDonato and Morris (1992) gives the tail beyond the mean. The logarithms are within
    1e-12 for 10,000 missions and within 1e-10 for a million. ``a`` and ``b`` are at least 1/2; -inf is probability 0.
    """
    if x <= 0 or x >= 1:
        return (-math.inf, 0.0) if x <= 0 else (0.0, -math.inf)
    y, term = 1 - x, _log_beta_term(a, b, x)
    if a * y < b * x:
        upper = min(0.0, term - math.log(_beta_fraction(b, a, y, x)))
        return _log_complement(upper), upper
    lower = min(0.0, term - math.log(_beta_fraction(a, b, x, y)))
    return lower, _log_complement(lower)


def _log_complement(log_probability: float) -> float:
    return math.log(-math.expm1(log_probability)) if log_probability < 0 else -math.inf


def _log_beta_term(a: float, b: float, x: float) -> float:
    """Natural log of x^a (1 - x)^b / B(a, b), as Loader (2000) writes the binomial: no large numbers cancel."""
    n, y = a + b, 1 - x
    excess = a * y - b * x  # of a over n x; of n y over b
    stirling = _stirling_error(n) - _stirling_error(a) - _stirling_error(b)
    deviance = a * _log_ratio(a, n * x, excess) + b * _log_ratio(b, n * y, -excess)
    return stirling - deviance + math.log(a / n * b / math.tau) / 2


def _log_ratio(value: float, expected: float, excess: float) -> float:
    relative = excess / expected
    return math.log1p(relative) if abs(relative) < 0.5 else math.log(value / expected)


def _stirling_error(z: float) -> float:
    """Returns log Γ(z + 1) less Stirling's (z + 1/2) log z - z + log(2π) / 2."""
    if z < 16:
        return math.lgamma(z + 1) - (z + 0.5) * math.log(z) + z - math.log(math.tau) / 2
    z2 = z * z
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * z2)) / z2) / z2) / z


def _beta_fraction(a: float, b: float, x: float, y: float) -> float:
    """What x^a y^b / B(a, b) is to be divided by to give I_x(a, b), with y = 1 - x, by Lentz's method."""
    excess = a * y - b * x
    value = c = a * (excess + 1) / (a + 1)
    m, d, change = 0, 0.0, 0.0
    while abs(change - 1) > 1e-15:
        m += 1
        odd, part = a + 2 * m - 1, m * (b - m) * x
        numerator = (a + m - 1) * (a + b + m - 1) * x / odd * part / odd
        denominator = m + part / odd + (a + m) * (excess + 1 + m * (1 + y)) / (odd + 2)
        d = 1 / (denominator + numerator * d)
        c = denominator + numerator / c
        change = c * d
        value *= change
    return value


def crossing(excess: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """Two neighbours, a few float steps apart, where a rising function is still below 0 and where it no longer is.

    Chandrupatla's method (1997), bisection with inverse quadratic steps. The function is not asked at ``low``, taken
    to lie below the crossing, nor at ``high``, taken to lie above it.
    """
    newest, opposite, third = (low, -math.inf), (high, math.inf), (high, math.inf)
    fraction = 0.5
    while abs(opposite[0] - newest[0]) > (finest := 4 * math.ulp(newest[0])):
        at = newest[0] + fraction * (opposite[0] - newest[0])
        value = excess(at)
        if (value < 0) == (newest[1] < 0):
            third = newest
        else:
            third, opposite = opposite, newest
        newest = at, value
        (x1, f1), (x2, f2), (x3, f3) = newest, opposite, third
        xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
        fraction = 0.5
        if phi**2 < xi and (1 - phi) ** 2 < 1 - xi:
            fraction = f1 / (f2 - f1) * f3 / (f2 - f3) + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
        least = min(0.5, finest / 2 / abs(x2 - x1)) if x1 != x2 else 0.5
        fraction = min(1 - least, max(least, fraction))
    return min(newest[0], opposite[0]), max(newest[0], opposite[0])


def smallest(holds: Callable[[int], bool], first: int) -> int:
    """The smallest number from ``first`` on for which something holds that, once it holds, holds for all after."""
    if holds(first):
        return first
    fails, step = first, 1
    while not holds(fails + step):
        fails, step = fails + step, 2 * step
    reached = fails + step
    while reached - fails > 1:
        middle = (fails + reached) // 2
        fails, reached = (fails, middle) if holds(middle) else (middle, reached)
    return reached


# Checks


def check_counts(**counts: int) -> tuple[int, ...]:
    """Gives plain ints, for NumPy's and pandas' would spread their own floats.

    Raises:
        ValueError: One is no whole number of missions, or ``k`` exceeds ``n``.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
            raise ValueError(f"{name} must be a whole number of missions, 0 or more; {value!r} was given.")
    if "k" in counts and "n" in counts and counts["k"] > counts["n"]:
        raise ValueError(f"k must not exceed n; {counts['k']} of {counts['n']} missions were given.")
    return tuple(int(value) for value in counts.values())


def check_fraction(name: str, value: float) -> None:
    """Raises ValueError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, both excluded; {value!r} was given.")
