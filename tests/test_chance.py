"""Limits and claims against SciPy, whole-number arithmetic, numeric integration, and lanes watched all the time."""

import doctest
import math
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betainc, betaincc, betaln, xlogy
from scipy.stats import binom, poisson

from vpanalysis.analysis import chance
from vpanalysis.analysis.chance import (
    anytime_lower_bound,
    anytime_upper_bound,
    clean_missions_needed,
    log_beta_tails,
    log_binomial_tails,
    log_e_above,
    log_e_below,
    most_by_chance,
    most_events_by_chance,
)
from vpanalysis.analysis.intervals import lower_bound, missions_needed, upper_bound

LOG_20 = math.log(20)

unhurried = settings(deadline=None)  # a busy machine is no failure
shares = st.floats(1e-9, 1 - 1e-9)


@st.composite
def counts(draw: st.DrawFn, max_n: int = 1_000, min_n: int = 0) -> tuple[int, int]:
    n = draw(st.integers(min_n, max_n))
    return draw(st.integers(0, n)), n


def exact_tail(k: int, m: int, rate: Fraction) -> Fraction:
    """P(Binomial(m, rate) >= k) without rounding."""
    return sum((math.comb(m, i) * rate**i * (1 - rate) ** (m - i) for i in range(k, m + 1)), Fraction(0))


def test_examples_in_the_docstrings() -> None:
    found = doctest.testmod(chance)
    assert found.attempted >= 4
    assert found.failed == 0


# Tails


@unhurried
@given(counts(100_000), st.sampled_from([(0.5, 0.5), (0.5, 2.0), (1.0, 1.0)]), shares)
@example((0, 0), (0.5, 0.5), 0.5)
@example((100_000, 100_000), (0.5, 2.0), 0.99999)
def test_incomplete_beta_is_scipys(count: tuple[int, int], prior: tuple[float, float], x: float) -> None:
    k, n = count
    a, b = k + prior[0], n - k + prior[1]
    for ours, theirs in zip(log_beta_tails(a, b, x), (betainc(a, b, x), betaincc(a, b, x)), strict=True):
        if theirs > 1e-290:  # below, SciPy runs out of floats
            assert ours == pytest.approx(math.log(theirs), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", [1, 7, 500, 1_000_000])
def test_incomplete_beta_is_scipys_around_the_mean(n: int) -> None:
    for k in {0, 1, n // 20, n // 2, n - 1, n}:
        for deviations in (-6, -2, -0.1, 0, 0.1, 2, 6):
            a, b = k + 0.5, n - k + 0.5
            x = a / (a + b) + deviations * math.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
            if 0 < x < 1:
                below, above = log_beta_tails(a, b, x)
                assert math.exp(below) == pytest.approx(betainc(a, b, x), rel=1e-9)
                assert math.exp(above) == pytest.approx(betaincc(a, b, x), rel=1e-9)


@pytest.mark.parametrize(("k", "n", "p"), [(3, 2_000, "0.5"), (1_990, 2_000, "0.01"), (0, 10, "0.3"), (9, 10, "0.3")])
def test_tails_far_below_any_float_by_whole_numbers(k: int, n: int, p: str) -> None:
    above = exact_tail(k + 1, n, Fraction(p))
    for ours, exact in zip(log_binomial_tails(k, n, float(p)), (1 - above, above), strict=True):
        assert ours == pytest.approx(math.log(exact.numerator) - math.log(exact.denominator), rel=1e-12, abs=1e-12)


def test_tails_at_the_ends() -> None:
    assert log_beta_tails(2, 3, 0) == log_binomial_tails(-1, 5, 0.5) == (-math.inf, 0)
    assert log_beta_tails(2, 3, 1) == log_binomial_tails(5, 5, 0.5) == (0, -math.inf)
    assert log_binomial_tails(0, 5, 0) == (0, -math.inf)
    assert log_binomial_tails(4, 5, 1) == (-math.inf, 0)


# Limits on counts


@unhurried
@given(st.integers(1, 2_000), st.floats(0, 1), st.floats(1e-9, 0.999))
@example(20, 0.05, 0.01)
@example(60, 0.005, 0.01)
@example(2_000, 1e-300, 0.01)
@example(200, 0.05, 1e-15)
def test_most_by_chance_is_the_first_count_whose_scipy_tail_is_small_enough(m: int, rate: float, alpha: float) -> None:
    k = most_by_chance(m, rate, alpha)
    assert 1 <= k <= m + 1
    assert binom.sf(k - 1, m, rate) <= alpha * (1 + 1e-9)
    assert binom.sf(k - 2, m, rate) >= alpha * (1 - 1e-9)


@pytest.mark.parametrize(
    ("m", "rate", "alpha", "expected"),
    [
        (0, 0.05, 0.01, 1),
        (1, 0.05, 0.05, 1),  # P(1 of 1) = 0.05, a tie
        (1, 0.05, 0.049, 2),  # even all of them are likely enough
        (2, 0.1, 0.01, 2),  # 0.1 * 0.1 is 0.01 on paper, and more in floats
        (3, 0.3, 0.027, 3),
        (3, 0.5, 0.5, 2),  # 4 of 8 outcomes
        (3, 0.5, 0.49, 3),
        (5, 0, 0.01, 1),
        (5, 1, 0.99, 6),
    ],
)
def test_most_by_chance_by_hand(m: int, rate: float, alpha: float, expected: int) -> None:
    assert most_by_chance(m, rate, alpha) == expected


@unhurried
@given(st.integers(1, 5), st.integers(1, 9), st.data())
def test_ties_are_met_exactly(m: int, tenths: int, data: st.DataObject) -> None:
    k, rate = data.draw(st.integers(1, m)), Fraction(tenths, 10)
    tie = float(exact_tail(k, m, rate))  # at most five decimals: the float is written as the tail is
    assert Fraction(str(tie)) == exact_tail(k, m, rate)
    assert most_by_chance(m, tenths / 10, tie) == k
    assert most_by_chance(m, tenths / 10, math.nextafter(tie, 0)) == k + 1


@unhurried
@given(st.integers(0, 500), st.floats(0, 0.99), st.floats(0.001, 0.9))
def test_more_missions_a_higher_rate_or_less_doubt_never_lower_the_limit(m: int, rate: float, alpha: float) -> None:
    k = most_by_chance(m, rate, alpha)
    assert k <= most_by_chance(m + 1, rate, alpha) <= k + 1
    assert k <= most_by_chance(m, rate + 0.01, alpha)
    assert k <= most_by_chance(m, rate, alpha / 2)


@unhurried
@given(st.floats(0, 3_000), st.floats(1e-12, 0.999))
@example(0.6, 0.01)
@example(1e-300, 0.01)
@example(100_000.0, 0.01)
@example(100_000.0, 0.999)
def test_most_events_is_the_first_count_whose_scipy_tail_is_small_enough(expected: float, alpha: float) -> None:
    k = most_events_by_chance(expected, alpha)
    assert k >= 1
    assert poisson.sf(k - 1, expected) <= alpha * (1 + 1e-9)
    assert poisson.sf(k - 2, expected) >= alpha * (1 - 1e-9)


def test_most_events_by_hand() -> None:
    assert most_events_by_chance(0, 0.01) == 1
    assert most_events_by_chance(-math.log(0.991), 0.01) == 1  # P(any) = 0.009
    assert most_events_by_chance(-math.log(0.989), 0.01) == 2  # P(any) = 0.011


# Evidence


def integral_below(k: int, n: int, p0: float) -> float:
    """The e-value by its definition; with t = sin(u)^2 the weight of Beta(1/2, 1/2) is even in u."""

    def gain(u: float) -> float:
        t = math.sin(u) ** 2
        return math.exp(xlogy(k, t / p0) + xlogy(n - k, (1 - t) / (1 - p0)))

    end, peak = math.asin(math.sqrt(p0)), math.asin(math.sqrt(k / n)) if n else 0.0
    mean = quad(gain, 0, end, points=[min(peak, end)], epsabs=0, epsrel=1e-11, limit=500)[0] / end
    return (mean + (1 - p0) ** -n) / 2 if k == 0 else mean / 2


def integral_above(k: int, n: int, p0: float) -> float:
    """As `integral_below`; with t = s^2 the weight of Beta(1/2, 2) is 1 - s^2."""

    def gain(s: float) -> float:
        return math.exp(xlogy(k, s * s / p0) + xlogy(n - k, (1 - s * s) / (1 - p0))) * (1 - s * s)

    start, peak = math.sqrt(p0), math.sqrt(k / n) if n else 0.0
    whole = quad(lambda s: 1 - s * s, start, 1, epsabs=0, epsrel=1e-11)[0]
    return quad(gain, start, 1, points=[max(peak, start)], epsabs=0, epsrel=1e-11, limit=500)[0] / whole


@pytest.mark.parametrize("p0", [0.001, 0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize(("k", "n"), [(0, 0), (0, 1), (1, 1), (0, 65), (3, 20), (4, 270), (20, 20), (40, 400)])
def test_e_values_by_numeric_integration(k: int, n: int, p0: float) -> None:
    assert log_e_below(k, n, p0) == pytest.approx(math.log(integral_below(k, n, p0)), rel=1e-9, abs=1e-9)
    assert log_e_above(k, n, p0) == pytest.approx(math.log(integral_above(k, n, p0)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", [1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("p0", [0.001, 0.05, 0.5])
def test_e_values_of_many_missions_by_scipys_beta(n: int, p0: float) -> None:
    for deviations in (-5, -1, 0, 1, 5):
        k = max(0, round(n * p0 + deviations * math.sqrt(n * p0 * (1 - p0))))
        chosen = k * math.log(p0) + (n - k) * math.log1p(-p0)
        a, b = k + 0.5, n - k + 0.5
        spread = betaln(a, b) + math.log(betainc(a, b, p0)) - betaln(0.5, 0.5) - math.log(betainc(0.5, 0.5, p0))
        expected = np.logaddexp(spread, 0 if k == 0 else -math.inf) - math.log(2) - chosen
        assert log_e_below(k, n, p0) == pytest.approx(expected, abs=1e-7)  # betaln cancels: n * 1e-13
        b = n - k + 2
        spread = betaln(a, b) + math.log(betaincc(a, b, p0)) - betaln(0.5, 2) - math.log(betaincc(0.5, 2, p0))
        assert log_e_above(k, n, p0) == pytest.approx(spread - chosen, abs=1e-7)


@unhurried
@given(counts(1_000_000), shares)
@example((0, 0), 0.05)
@example((0, 1_000_000), 1e-9)
@example((1_000_000, 1_000_000), 1 - 1e-9)
@pytest.mark.parametrize("log_e", [log_e_below, log_e_above])
def test_at_p0_the_next_mission_is_a_fair_bet(
    log_e: Callable[[int, int, float], float], count: tuple[int, int], p0: float
) -> None:
    k, n = count
    now = log_e(k, n, p0)
    assume(math.isfinite(now))
    gain_if_it_counts, gain_if_not = log_e(k + 1, n + 1, p0) - now, log_e(k, n + 1, p0) - now
    fair = p0 * math.exp(gain_if_it_counts) + (1 - p0) * math.exp(gain_if_not)
    assert fair == pytest.approx(1, abs=1e-6)
    if n == 0:
        assert now == pytest.approx(0, abs=1e-12)


@unhurried
@given(counts(), shares)
def test_evidence_moves_with_each_mission(count: tuple[int, int], p0: float) -> None:
    k, n = count
    assert log_e_below(k, n + 1, p0) >= log_e_below(k, n, p0) - 1e-9 >= log_e_below(k + 1, n + 1, p0) - 2e-9
    assert log_e_above(k, n + 1, p0) <= log_e_above(k, n, p0) + 1e-9 <= log_e_above(k + 1, n + 1, p0) + 2e-9


@unhurried
@given(counts(), st.sampled_from([1e-300, 1e-12, 1 - 1e-12, 1 - 2**-53]))
@example((0, 0), 1 - 2**-53)
def test_claims_next_to_0_and_1_have_finite_evidence(count: tuple[int, int], p0: float) -> None:
    k, n = count
    assert math.isfinite(log_e_below(k, n, p0))
    assert math.isfinite(log_e_above(k, n, p0))
    assert log_e_below(n, n, p0) <= 1e-10  # nothing but missions that count never speaks for a low share
    assert log_e_above(0, n, p0) <= 1e-10


# Watched after every mission

MISSIONS = 500


@pytest.fixture(scope="module", params=[0.05, 0.5], ids=["p0=0.05", "p0=0.5"])
def watched(request: pytest.FixtureRequest) -> tuple[float, np.ndarray, np.ndarray]:
    """p0, and whether k (columns) of n (rows) show a share below it, and above it; far from p0 not asked."""
    p0 = request.param
    below, above = np.zeros((2, MISSIONS + 1, MISSIONS + 2), dtype=bool)
    for n in range(1, MISSIONS + 1):
        reach = 5 * math.sqrt(n * p0 * (1 - p0)) + 3  # 5 standard errors; beyond them the nearest answer holds
        first, last = max(0, math.floor(n * p0 - reach)), min(n, math.ceil(n * p0 + reach))
        below[n, : first + 1] = log_e_below(first, n, p0) >= LOG_20
        above[n, last:] = log_e_above(last, n, p0) >= LOG_20
        for k in range(first + 1, last):
            below[n, k] = k < n * p0 and log_e_below(k, n, p0) >= LOG_20
            above[n, k] = k > n * p0 and log_e_above(k, n, p0) >= LOG_20
    return p0, below, above


def ever(shown: np.ndarray, p: float) -> float:
    """Probability that a lane of true share ``p`` is ever shown, from one mission to the next."""
    going, stopped = np.zeros(MISSIONS + 2), 0.0
    going[0] = 1.0
    for n in range(1, MISSIONS + 1):
        going[1:] = going[1:] * (1 - p) + going[:-1] * p
        going[0] *= 1 - p
        stopped += going[shown[n]].sum()
        going[shown[n]] = 0
    return stopped


def test_a_true_share_of_p0_is_rarely_shown_to_be_below_or_above(
    watched: tuple[float, np.ndarray, np.ndarray],
) -> None:
    p0, below, above = watched
    assert 0.01 < ever(below, p0) <= 0.05
    assert 0.01 < ever(above, p0) <= 0.05
    assert ever(below, 1.2 * p0) < ever(below, p0) < ever(below, 0.4 * p0) > 0.5
    assert ever(above, 0.8 * p0) < ever(above, p0) < ever(above, min(1.0, 2.5 * p0)) > 0.5


def test_simulated_lanes_watched_after_every_mission(watched: tuple[float, np.ndarray, np.ndarray]) -> None:
    p0, below, above = watched
    counted = np.cumsum(np.random.default_rng(20).random((4_000, MISSIONS)) < p0, axis=1)
    n = np.arange(1, MISSIONS + 1)
    for shown in (below, above):
        assert shown[n, counted].any(axis=1).mean() <= 0.05
        assert shown[n, counted].any(axis=1).mean() == pytest.approx(ever(shown, p0), abs=0.02)  # 6 standard errors
    one_look = binom.cdf(counted, n, p0) < 0.05
    assert one_look.any(axis=1).mean() > 0.15  # what the e-values are there to prevent


# Bounds


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize(
    ("k", "n"), [(0, 1), (1, 1), (0, 65), (1, 2), (4, 270), (25, 500), (499, 500), (1, 1_000_000), (70_000, 1_000_000)]
)
def test_bounds_are_where_the_evidence_reaches_the_level(k: int, n: int, alpha: float) -> None:
    upper, lower = anytime_upper_bound(k, n, alpha), anytime_lower_bound(k, n, alpha)
    if k < n:
        assert log_e_below(k, n, upper) == pytest.approx(-math.log(alpha), abs=1e-6)
    if k > 0:
        assert log_e_above(k, n, lower) == pytest.approx(-math.log(alpha), abs=1e-6)


@unhurried
@given(counts(min_n=1), st.floats(0.001, 0.999))
def test_shown_is_exactly_what_lies_beyond_the_bounds(count: tuple[int, int], p0: float) -> None:
    k, n = count
    upper, lower = anytime_upper_bound(k, n), anytime_lower_bound(k, n)
    if not math.isclose(p0, upper):
        assert (log_e_below(k, n, p0) >= LOG_20) == (p0 > upper)
    if not math.isclose(p0, lower):
        assert (log_e_above(k, n, p0) >= LOG_20) == (p0 < lower)


@unhurried
@given(counts(5_000, min_n=1))
@example((0, 1))
@example((1, 1))
def test_bounds_hold_the_share_and_are_wider_than_those_for_one_look(count: tuple[int, int]) -> None:
    """One look's test is the strongest of its level that rejects for few; the e-value's rejects for few as well."""
    k, n = count
    assert 0 <= anytime_lower_bound(k, n) <= lower_bound(k, n) <= k / n
    assert k / n <= upper_bound(k, n) <= anytime_upper_bound(k, n) <= 1
    assert anytime_upper_bound(k, n, 0.05) <= anytime_upper_bound(k, n, 0.01)
    assert anytime_lower_bound(k, n, 0.05) >= anytime_lower_bound(k, n, 0.01)


def test_bounds_at_the_ends() -> None:
    for n in (0, 1, 20, 500):
        assert anytime_upper_bound(n, n) == 1.0
        assert anytime_lower_bound(0, n) == 0.0
    for n in (1, 20, 500):
        assert anytime_upper_bound(0, n) < 1.0
        assert anytime_lower_bound(n, n) > 0.0


# Clean missions needed


@pytest.mark.parametrize(
    ("basis", "total"), [("anytime", [65, 148, 193, 233, 270]), ("fixed", [59, 93, 124, 153, 181])]
)
def test_clean_missions_needed_as_in_the_table(basis: str, total: list[int]) -> None:
    assert [k + clean_missions_needed(k, k, 0.05, basis) for k in range(5)] == total
    assert [20 + clean_missions_needed(k, 20, 0.05, basis) for k in range(5)] == total
    for k, n in enumerate(total):
        assert clean_missions_needed(k, n - 1, 0.05, basis) == 1
        assert clean_missions_needed(k, n, 0.05, basis) == clean_missions_needed(k, n + 7, 0.05, basis) == 0


@unhurried
@given(counts(200), st.floats(0.005, 0.99))
def test_for_one_look_it_is_missions_needed(count: tuple[int, int], p0: float) -> None:
    k, n = count
    more = clean_missions_needed(k, n, p0, "fixed")
    assert more == max(0, missions_needed(k, p0) - n)
    assert binom.cdf(k, n + more, p0) < 0.05 * (1 + 1e-9)
    assert more == 0 or binom.cdf(k, n + more - 1, p0) >= 0.05 * (1 - 1e-9)


@unhurried
@given(counts(200), st.floats(0.005, 0.99))
def test_for_any_number_of_looks_it_is_the_first_with_the_evidence(count: tuple[int, int], p0: float) -> None:
    k, n = count
    more = clean_missions_needed(k, n, p0, "anytime")
    assert log_e_below(k, n + more, p0) >= LOG_20
    assert more == 0 or log_e_below(k, n + more - 1, p0) < LOG_20
    assert more >= clean_missions_needed(k, n, p0, "fixed")


def test_a_bound_at_the_claim_is_no_proof() -> None:
    assert clean_missions_needed(0, 0, 0.95, "fixed") == 2  # P(0 of 1) = 0.05, which is not below 0.05


# What is refused, and what it costs


@pytest.mark.parametrize(
    ("k", "n"), [(-1, 5), (6, 5), (0, -1), (1.0, 5), (1, 5.0), (True, 5), (None, 5), (math.nan, 5)]
)
def test_what_is_no_count_is_refused_with_a_sentence(k: object, n: object) -> None:
    for call in (
        lambda: log_e_below(k, n, 0.05),
        lambda: log_e_above(k, n, 0.05),
        lambda: anytime_upper_bound(k, n),
        lambda: anytime_lower_bound(k, n),
        lambda: clean_missions_needed(k, n, 0.05, "fixed"),
    ):
        with pytest.raises(ValueError, match=r"^[kn] must .* (was|were) given\.$"):
            call()
    for m in (-1, 1.5, True, math.nan):
        with pytest.raises(ValueError, match="m must be a whole number"):
            most_by_chance(m, 0.05, 0.01)


@pytest.mark.parametrize("bad", [0, 1, -0.1, 5, math.nan, math.inf])
def test_claims_and_levels_lie_between_0_and_1(bad: float) -> None:
    for call in (
        lambda: log_e_below(1, 5, bad),
        lambda: log_e_above(1, 5, bad),
        lambda: anytime_upper_bound(1, 5, bad),
        lambda: anytime_lower_bound(1, 5, bad),
        lambda: anytime_upper_bound(5, 5, bad),
        lambda: anytime_lower_bound(0, 5, bad),
        lambda: clean_missions_needed(1, 5, bad, "fixed"),
        lambda: clean_missions_needed(1, 5, bad, "anytime"),
        lambda: most_by_chance(5, 0.05, bad),
        lambda: most_events_by_chance(0.6, bad),
    ):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            call()


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
def test_rates_numbers_of_events_and_bases_are_checked(bad: float) -> None:
    with pytest.raises(ValueError, match="rate must lie from 0 to 1"):
        most_by_chance(5, bad, 0.01)
    with pytest.raises(ValueError, match="must be 0 or more, and finite"):
        most_events_by_chance(-1 if bad == 1.1 else bad, 0.01)
    with pytest.raises(ValueError, match='basis must be "fixed" or "anytime"'):
        clean_missions_needed(1, 5, 0.05, "often")


def test_numpy_counts_give_plain_numbers() -> None:
    k, n = np.int64(1), np.int32(9)
    values = [log_e_below(k, n, 0.05), log_e_above(k, n, 0.05), anytime_upper_bound(k, n), anytime_lower_bound(k, n)]
    assert {type(value) for value in values} == {float}
    assert {type(most_by_chance(n, 0.05, 0.01)), type(clean_missions_needed(k, n, 0.05, "anytime"))} == {int}


def test_a_million_missions_are_no_trouble() -> None:
    start = time.perf_counter()
    for k in (0, 1, 50_000, 999_999):
        anytime_upper_bound(k, 1_000_000)
        anytime_lower_bound(k, 1_000_000)
        clean_missions_needed(k, 1_000_000, 0.05, "anytime")
        most_by_chance(1_000_000 + k, 0.05, 0.01)
    assert time.perf_counter() - start < 1  # measured: 0.01


def test_nothing_here_imports_scipy() -> None:
    program = """
import sys
from vpanalysis.analysis import chance as c
c.most_by_chance(20, 0.05, 0.01), c.most_events_by_chance(0.6, 0.01)
c.anytime_upper_bound(1, 9), c.anytime_lower_bound(1, 9)
c.clean_missions_needed(1, 9, 0.05, "fixed"), c.clean_missions_needed(1, 9, 0.05, "anytime")
assert not {"scipy", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
