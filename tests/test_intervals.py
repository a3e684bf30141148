"""Intervals against SciPy, published examples, and plain-Python sums and loops."""

import importlib.util
import math
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import betainccinv, betaincinv
from scipy.stats import CensoredData, binomtest, ecdf, fisher_exact

from vpanalysis.analysis.intervals import (
    P95_UPPER_BOUND_N,
    Interval,
    compare_shares,
    kaplan_meier,
    lower_bound,
    missions_needed,
    quantile_interval,
    quantile_upper_bound,
    upper_bound,
    wilson,
)

LEVELS = (0.80, 0.90, 0.95, 0.99)

unhurried = settings(deadline=None)  # a busy machine is no failure


def tail_up_to(k: int, n: int, share: float) -> float:
    """P(X <= k) for X binomial, summed term by term."""
    return math.fsum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))


@st.composite
def counts(draw: st.DrawFn, max_n: int = 300) -> tuple[int, int]:
    n = draw(st.integers(1, max_n))
    return draw(st.integers(0, n)), n


# One share


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [1, 2, 4, 20, 59, 100, 500])
def test_wilson_is_scipys(n: int, level: float) -> None:
    for k in {0, 1, n // 3, n - 1, n}:
        expected = binomtest(k, n).proportion_ci(level, method="wilson")
        assert wilson(k, n, level) == Interval(
            pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12), level
        )


@pytest.mark.parametrize("n", [1, 2, 4, 20, 59, 100, 500])
def test_bounds_are_scipys_two_sided_exact_interval_at_twice_the_error(n: int) -> None:
    for k in {0, 1, n // 3, n - 1, n}:
        expected = binomtest(k, n).proportion_ci(0.90, method="exact")
        assert lower_bound(k, n) == pytest.approx(expected.low, abs=1e-12)
        assert upper_bound(k, n) == pytest.approx(expected.high, abs=1e-12)


@unhurried
@given(counts(1_000_000), st.sampled_from(LEVELS))
@example((0, 1_000_000), 0.95)
@example((1, 1_000_000), 0.95)
@example((999_999, 1_000_000), 0.95)
def test_bounds_are_scipys_for_a_million_missions(count: tuple[int, int], level: float) -> None:
    k, n = count
    if k < n:
        assert upper_bound(k, n, level) == pytest.approx(betaincinv(k + 1, n - k, level), rel=1e-10)
    if k > 0:
        assert lower_bound(k, n, level) == pytest.approx(betainccinv(k, n - k + 1, level), rel=1e-10)


def test_known_by_hand() -> None:
    assert upper_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))  # (1 - u) ** 59 = 0.05
    assert lower_bound(59, 59) == pytest.approx(0.05 ** (1 / 59))
    assert upper_bound(0, 1) == pytest.approx(0.95)
    assert lower_bound(1, 1) == pytest.approx(0.05)


@unhurried
@given(counts(), st.sampled_from(LEVELS))
def test_bounds_solve_the_binomial_tail(count: tuple[int, int], level: float) -> None:
    k, n = count
    high, low = upper_bound(k, n, level), lower_bound(k, n, level)
    assert high is not None
    assert low is not None
    if k < n:
        assert tail_up_to(k, n, high) == pytest.approx(1 - level, rel=1e-9)
    if k > 0:
        assert 1 - tail_up_to(k - 1, n, low) == pytest.approx(1 - level, rel=1e-6)


@unhurried
@given(counts(), st.sampled_from(LEVELS))
@example((0, 1), 0.95)
@example((1, 1), 0.95)
@example((300, 300), 0.95)
def test_intervals_are_ordered_and_contain_the_share(count: tuple[int, int], level: float) -> None:
    k, n = count
    shown = wilson(k, n, level)
    assert shown is not None
    assert 0 <= shown.low <= k / n <= shown.high <= 1
    assert shown.low < shown.high
    assert 0 <= lower_bound(k, n, level) <= k / n <= upper_bound(k, n, level) <= 1


@unhurried
@given(counts(), st.sampled_from(LEVELS))
def test_one_more_that_counts_raises_every_bound_and_one_more_clean_lowers_it(
    count: tuple[int, int], level: float
) -> None:
    k, n = count
    if k < n:
        assert upper_bound(k, n, level) < upper_bound(k + 1, n, level)
        assert lower_bound(k, n, level) < lower_bound(k + 1, n, level)
        assert wilson(k, n, level).high < wilson(k + 1, n, level).high or k + 1 == n
        assert wilson(k, n, level).low < wilson(k + 1, n, level).low
    assert upper_bound(k, n + 1, level) < upper_bound(k, n, level)


def test_no_mission_gives_none_and_all_missions_reach_the_end() -> None:
    assert wilson(0, 0) is None
    assert upper_bound(0, 0) is None
    assert lower_bound(0, 0) is None
    for n in range(1, 60):
        assert upper_bound(n, n) == 1.0
        assert lower_bound(0, n) == 0.0
        assert wilson(n, n).high == 1.0
        assert wilson(0, n).low == 0.0


@pytest.mark.parametrize(
    ("k", "n"),
    [
        (-1, 5),
        (6, 5),
        (0, -1),
        (1.0, 5),
        (1, 5.0),
        (math.nan, 5),
        (0, math.nan),
        (True, 5),
        (0, True),
        (np.True_, 5),
        (np.float64(1), 5),
        (None, 5),
        ("1", 5),
    ],
)
def test_what_is_no_count_is_refused_with_a_sentence(k: object, n: object) -> None:
    for call in (wilson, upper_bound, lower_bound):
        with pytest.raises(ValueError, match=r"^[kn] must .* (was|were) given\.$"):
            call(k, n)
    for arguments in ((k, n, 1, 5), (1, 5, k, n)):
        with pytest.raises(ValueError, match=r"^[kn] must "):
            compare_shares(*arguments)


def test_numpy_counts_give_plain_numbers() -> None:
    shown, difference = wilson(np.int64(1), np.int64(9)), compare_shares(*np.array([1, 9, 2, 9]))
    values = [shown.low, shown.high, upper_bound(np.int32(1), np.uint8(9)), difference.change]
    assert {type(value) for value in [*values, difference.p_value, difference.interval.low]} == {float}
    assert type(missions_needed(np.int64(2), 0.05)) is int


@pytest.mark.parametrize("bad", [0, 1, -0.1, 95, math.nan, math.inf])
def test_levels_and_limits_lie_between_0_and_1(bad: float) -> None:
    calls = [
        lambda: wilson(1, 5, bad),
        lambda: wilson(0, 0, bad),
        lambda: upper_bound(1, 5, bad),
        lambda: lower_bound(1, 5, bad),
        lambda: missions_needed(0, bad),
        lambda: missions_needed(0, 0.05, bad),
        lambda: quantile_interval([1.0], bad),
        lambda: quantile_upper_bound([1.0], 0.95, bad),
        lambda: compare_shares(1, 5, 1, 5, bad),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            call()


# Missions needed


@pytest.mark.parametrize(("limit", "expected"), [(0.05, [59, 93, 124, 153, 181]), (0.20, [14, 22, 30, 37, 44])])
def test_missions_needed_as_in_the_table(limit: float, expected: list[int]) -> None:
    assert [missions_needed(k, limit) for k in range(5)] == expected


@unhurried
@given(st.integers(0, 60), st.floats(0.01, 0.99), st.sampled_from(LEVELS))
def test_missions_needed_is_the_smallest(k: int, limit: float, level: float) -> None:
    n = missions_needed(k, limit, level)
    assert n > k
    assert upper_bound(k, n, level) < limit
    assert n - 1 == k or upper_bound(k, n - 1, level) >= limit
    assert tail_up_to(k, n, limit) <= (1 - level) * (1 + 1e-9)  # the same, by plain sums
    assert n - 1 == k or tail_up_to(k, n - 1, limit) >= (1 - level) * (1 - 1e-9)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_a_bound_at_the_limit_is_not_below_it(level: float) -> None:
    assert upper_bound(0, 1, level) == pytest.approx(level)  # (1 - u) ** 1 = 1 - level, in decimals a tie
    assert missions_needed(0, level, level) == 2
    assert missions_needed(0, level + 1e-9, level) == 1


def test_missions_needed_is_fast_for_large_numbers() -> None:
    start = time.perf_counter()
    assert missions_needed(0, 1e-9) == math.ceil(math.log(0.05) / math.log1p(-1e-9))
    assert missions_needed(1_000_000, 0.05) > 20_000_000
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("k", [-1, 1.5, True, math.nan])
def test_missions_needed_refuses_what_is_no_count(k: object) -> None:
    with pytest.raises(ValueError, match="k must be a whole number"):
        missions_needed(k, 0.05)


# Quantiles


def order_statistic_ends(
    values: list[float], p: float, low_error: float, high_error: float
) -> tuple[float | None, float | None]:
    """The tightest order statistics that miss the quantile at most so often on their side, by binomial tails.

    X(i) exceeds the quantile when fewer than i of n lie below it; X(j) falls short of it when j or more do.
    """
    ordered, n = sorted(values), len(values)
    lows = [ordered[i - 1] for i in range(1, n + 1) if tail_up_to(i - 1, n, p) < low_error]
    highs = [ordered[j - 1] for j in range(1, n + 1) if 1 - tail_up_to(j - 1, n, p) <= high_error]
    return (lows[-1] if lows else None, highs[0] if highs else None)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [1, 2, 5, 20, 58, 59, 71, 72, 100, 150])
def test_quantile_interval_by_a_loop_over_order_statistics(n: int, p: float) -> None:
    values = np.random.default_rng(n).lognormal(3, 1, n).tolist()
    low, high = order_statistic_ends(values, p, 0.025, 0.025)
    assert quantile_interval(values, p) == Interval(low, high, 0.95)
    assert quantile_upper_bound(values, p) == order_statistic_ends(values, p, 0, 0.05)[1]


def test_p95_upper_ends_appear_at_72_two_sided_and_59_one_sided() -> None:
    durations = [float(second) for second in range(1, 101)]
    assert quantile_interval(durations[:71]).high is None
    assert quantile_interval(durations[:72]).high == 72.0
    assert quantile_upper_bound(durations[: P95_UPPER_BOUND_N - 1]) is None
    assert quantile_upper_bound(durations[:P95_UPPER_BOUND_N]) == float(P95_UPPER_BOUND_N)
    assert 0.95**P95_UPPER_BOUND_N <= 0.05 < 0.95 ** (P95_UPPER_BOUND_N - 1)


@pytest.mark.parametrize("durations", [[], [7.0]])
def test_none_or_one_duration_gives_no_end(durations: list[float]) -> None:
    assert quantile_interval(durations) == Interval(None, None, 0.95)
    assert quantile_upper_bound(durations) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_durations_that_are_no_numbers_are_refused(bad: float) -> None:
    for call in (
        lambda: quantile_interval([1.0, bad]),
        lambda: quantile_upper_bound([1.0, bad]),
        lambda: kaplan_meier([1.0, bad], []),
        lambda: kaplan_meier([], [1.0, bad]),
    ):
        with pytest.raises(ValueError, match="number 1 is"):
            call()


def test_negative_and_tied_durations_are_ordered_like_any_other() -> None:
    assert quantile_interval([-5.0] * 100) == Interval(-5.0, -5.0, 0.95)
    assert kaplan_meier([-1.0, 2.0], []).seconds == (-1.0, 2.0)


# Missions still running


def product_limit(finished: list[float], running: list[float]) -> list[tuple[float, float]]:
    """Kaplan and Meier's estimate as in their paper, one time after the other."""
    surviving, steps = 1.0, []
    for at in sorted({*finished, *running}):
        at_risk = sum(second >= at for second in [*finished, *running])
        surviving *= 1 - finished.count(at) / at_risk
        steps.append((at, 1 - surviving))
    return steps


seconds = st.lists(st.integers(0, 30).map(float), max_size=40)


@unhurried
@given(seconds, seconds)
@example([5.0], [])
@example([], [5.0])
@example([5.0], [5.0])
@example([3.0, 3.0], [1.0])
def test_kaplan_meier_by_a_product_limit_loop(finished: list[float], running: list[float]) -> None:
    curve, steps = kaplan_meier(finished, running), product_limit(finished, running)
    if curve is None:
        assert not steps
        return
    assert curve.seconds == tuple(at for at, _ in steps)
    assert curve.share_finished == pytest.approx([share for _, share in steps], abs=1e-12)
    assert (curve.finished, curve.running) == (len(finished), len(running))
    assert (curve.low is None) == (curve.high is None)
    if curve.low is not None:
        assert len(curve.low) == len(curve.high) == len(curve.seconds)
        for low, share, high in zip(curve.low, curve.share_finished, curve.high, strict=True):
            assert 0 <= low <= share + 1e-12
            assert share - 1e-12 <= high <= 1


@unhurried
@given(seconds.filter(bool), st.sampled_from([0.1, 0.5, 0.95, 1.0]))
def test_without_running_missions_it_is_the_plain_distribution(finished: list[float], q: float) -> None:
    ordered = sorted(finished)
    assert kaplan_meier(finished, []).quantile(q) == ordered[math.ceil(q * len(ordered) - 1e-9) - 1]


def test_running_missions_by_hand() -> None:
    curve = kaplan_meier([10.0, 30.0], [20.0, 40.0])
    # 4 at risk at 10: 3/4 go on; 2 at risk at 30: half of them, 3/8; the one seen at 40 still runs.
    assert curve.seconds == (10.0, 20.0, 30.0, 40.0)
    assert curve.share_finished == pytest.approx([0.25, 0.25, 0.625, 0.625])
    assert [curve.quantile(q) for q in (0.25, 0.5, 0.625, 0.95)] == [10.0, 30.0, 30.0, None]
    for q in (0, 1.1, math.nan):
        with pytest.raises(ValueError, match="A quantile must be"):
            curve.quantile(q)


def test_a_quantile_is_reached_despite_rounding() -> None:
    curve = kaplan_meier([1.0, 2.0, 3.0, 4.0, 5.0], [0.5])  # one seen running before any finish: steps of 1/5
    assert [curve.quantile(q) for q in (0.2, 0.4, 0.6, 0.8, 1.0)] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_band_is_the_log_log_one() -> None:
    curve = kaplan_meier([10.0, 30.0], [20.0, 40.0])
    # Survival 3/4, Greenwood's sum 1/(4*3); bounds (3/4) ** exp(+-z * sqrt(1/12) / ln(3/4)).
    width = 1.959963984540054 * math.sqrt(1 / 12) / abs(math.log(0.75))
    assert curve.low[0] == pytest.approx(1 - 0.75 ** math.exp(-width))
    assert curve.high[0] == pytest.approx(1 - 0.75 ** math.exp(width))


def test_band_where_the_formula_is_undefined() -> None:
    curve = kaplan_meier([2.0, 3.0], [1.0])  # shares 0, 1/2, 1
    assert curve.share_finished == pytest.approx([0, 0.5, 1])
    assert (curve.low[0], curve.high[0]) == (0.0, curve.high[1])
    assert (curve.low[2], curve.high[2]) == (curve.low[1], 1.0)


@unhurried
@given(seconds.filter(bool), seconds)
def test_curve_and_band_are_scipys(finished: list[float], running: list[float]) -> None:
    curve, theirs = kaplan_meier(finished, running), ecdf(CensoredData(uncensored=finished, right=running)).cdf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "undefined at some observations"
        band = theirs.confidence_interval(0.95, method="log-log")
    assert curve.seconds == tuple(theirs.quantiles)
    assert curve.share_finished == pytest.approx(theirs.probabilities, abs=1e-12)
    defined = ~np.isnan(band.low.probabilities)
    assert (curve.low is None) == (not defined.any())
    if curve.low is not None:
        assert np.array(curve.low)[defined] == pytest.approx(band.low.probabilities[defined], abs=1e-12)
        assert np.array(curve.high)[defined] == pytest.approx(band.high.probabilities[defined], abs=1e-12)


def test_curves_of_none_one_or_only_running_missions() -> None:
    assert kaplan_meier([], []) is None
    alone = kaplan_meier([5.0], [])
    assert (alone.seconds, alone.share_finished, alone.low, alone.high) == ((5.0,), (1.0,), None, None)
    assert alone.quantile(0.95) == 5.0
    running = kaplan_meier([], [9.0, 5.0, 9.0])
    assert (running.seconds, running.share_finished, running.low, running.high) == (
        (5.0, 9.0),
        (0.0, 0.0),
        None,
        None,
    )
    assert (running.running, running.finished, running.quantile(0.5)) == (3, 0, None)


# Two shares


@pytest.mark.parametrize(
    ("k1", "n1", "k2", "n2", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (0, 10, 0, 10, -0.2775, 0.2775),
        (10, 10, 0, 20, 0.6791, 1.0),
        (10, 10, 0, 10, 0.6075, 1.0),
    ],
)
def test_newcombe_as_published(k1: int, n1: int, k2: int, n2: int, low: float, high: float) -> None:
    """Newcombe 1998, Table II, method 10, for p1 - p2: p1 is our window after."""
    rise = compare_shares(k2, n2, k1, n1)
    assert rise.change == pytest.approx(k1 / n1 - k2 / n2)
    assert (rise.before, rise.after) == (k2 / n2, k1 / n1)
    assert (rise.interval.low, rise.interval.high) == pytest.approx((low, high), abs=6e-5)
    fall = compare_shares(k1, n1, k2, n2)  # the other way round, every sign turns
    assert (fall.interval.low, fall.interval.high) == pytest.approx((-high, -low), abs=6e-5)


def fisher_by_hand(k1: int, n1: int, k2: int, n2: int) -> float:
    """Sum of the hypergeometric probabilities of all tables no likelier than the one seen."""
    k = k1 + k2
    tables = [math.comb(n1, i) * math.comb(n2, k - i) for i in range(max(0, k - n2), min(n1, k) + 1)]
    seen = math.comb(n1, k1) * math.comb(n2, k2)
    return sum(ways for ways in tables if ways <= seen) / math.comb(n1 + n2, k)


@unhurried
@given(counts(60), counts(60), st.sampled_from(LEVELS))
def test_share_difference_properties(before: tuple[int, int], after: tuple[int, int], level: float) -> None:
    found = compare_shares(*before, *after, level)
    assert -1 <= found.interval.low <= found.change <= found.interval.high <= 1
    assert found.interval.low < found.interval.high
    assert found.interval.level == level
    assert found.p_value == pytest.approx(fisher_by_hand(*before, *after), rel=1e-6)
    turned = compare_shares(*after, *before, level)
    assert turned.change == pytest.approx(-found.change)
    assert turned.interval.low == pytest.approx(-found.interval.high)
    assert turned.p_value == pytest.approx(found.p_value)


@unhurried
@given(counts(5_000), counts(5_000))
@example((0, 5_000), (5_000, 5_000))  # less likely than any float
@example((2_500, 5_000), (2_500, 5_000))
def test_p_value_is_scipys(before: tuple[int, int], after: tuple[int, int]) -> None:
    (k1, n1), (k2, n2) = before, after
    expected = fisher_exact([[k1, n1 - k1], [k2, n2 - k2]]).pvalue
    assert compare_shares(*before, *after).p_value == pytest.approx(expected, rel=1e-6, abs=1e-290)


def test_a_window_without_missions_is_not_compared() -> None:
    assert compare_shares(0, 0, 1, 5) is None
    assert compare_shares(1, 5, 0, 0) is None
    assert compare_shares(0, 0, 0, 0) is None


def test_one_mission_each() -> None:
    found = compare_shares(0, 1, 1, 1)
    assert (found.change, found.p_value) == (1.0, 1.0)
    assert found.interval.low < 0.0  # two missions show nothing
    assert found.interval.high == 1.0


# What it costs to import


def test_nothing_here_imports_scipy() -> None:
    program = """
import sys
from vpanalysis.analysis import intervals as i
i.wilson(1, 9), i.upper_bound(1, 9), i.lower_bound(1, 9), i.missions_needed(1, 0.05)
i.quantile_upper_bound([1.0] * 100), i.quantile_interval([1.0] * 100)
i.kaplan_meier([1.0, 2.0], [1.0]), i.compare_shares(1, 5, 2, 5)
assert "scipy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Coverage, in small


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("benchmarks_coverage", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_one_sided_bound_covers_at_least_94_percent(simulation: ModuleType) -> None:
    for share in (0.01, 0.05, 0.2, 0.5):
        for n in (1, 20, 60, 181):
            assert simulation.exact_coverage(share, n) >= 0.95 - 1e-9
            drawn = simulation.simulated_coverage(share, n, 2_000, np.random.default_rng(1))
            assert drawn == pytest.approx(simulation.exact_coverage(share, n), abs=0.03)  # 6 standard errors


def test_matured_missions_prove_a_slow_lane_fast_rarely_and_completed_only_often(
    simulation: ModuleType,
) -> None:
    for lane in simulation.LANES:
        assert lane.true_slow_share() == pytest.approx(0.05)
    hanging = next(lane for lane in simulation.LANES if lane.name == "2 % hang")
    found = simulation.false_proof(hanging, 2_000, np.random.default_rng(1))
    assert found.by_matured <= 0.05
    assert found.by_completed >= 0.20
    assert found.completed < hanging.missions


def test_repeated_looks_certify_wrongly_more_often_than_one(simulation: ModuleType) -> None:
    seen = simulation.repeated_looks(10, 48, 4_000, np.random.default_rng(1))
    assert seen.last_look == pytest.approx(0.03, abs=0.02)
    assert seen.any_look == pytest.approx(0.16, abs=0.03)
