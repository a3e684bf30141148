"""How often the bounds of `vpanalysis.analysis.intervals` are wrong, by simulation.

``python benchmarks/coverage.py`` prints three Markdown tables within seconds. It is seeded, so that a run
repeats; the tests run smaller versions of the same functions.
"""

import math
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from vpanalysis.analysis.intervals import missions_needed, upper_bound

SEED = 20260216
SLOW_SECONDS = 90.0
LIMIT = 0.05  # share of slow missions, or of fallbacks, that a lane must be shown to stay below
SHARES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.50)
SIZES = (20, 60, 100, 181, 500)

bound = cache(upper_bound)


@dataclass(frozen=True)
class Lane:
    """A lane whose missions take longer than 90 s in exactly 5 % of cases.

    Attributes:
        name: What it stands for.
        missions: Missions that arrive in the window, uniformly.
        window_seconds: Length of the window; durations are looked at when it ends.
        hanging: Share of missions that never finish; part of the 5 %.
        median_seconds: Median of the others' log-normal durations; its width follows from the 5 %.
    """

    name: str
    missions: int
    window_seconds: float
    hanging: float
    median_seconds: float

    @property
    def sigma(self) -> float:
        """Width of the log-normal that makes the share over 90 s, hanging ones included, exactly 5 %."""
        tail = (LIMIT - self.hanging) / (1 - self.hanging)
        return math.log(SLOW_SECONDS / self.median_seconds) / float(ndtri(1 - tail))

    def true_slow_share(self) -> float:
        """Share of missions that take longer than 90 s."""
        finite = 1 - float(ndtr(math.log(SLOW_SECONDS / self.median_seconds) / self.sigma))
        return self.hanging + (1 - self.hanging) * finite


LANES = (
    Lane("log-normal tail, 30 min window", 200, 1800, 0.0, 20),
    Lane("heavy log-normal tail, 10 min window", 200, 600, 0.0, 2),
    Lane("1 % hang", 200, 1800, 0.01, 20),
    Lane("2 % hang", 200, 1800, 0.02, 20),
    Lane("2 % hang, 2 h window", 500, 7200, 0.02, 20),
    Lane("4 % hang", 200, 1800, 0.04, 20),
)


@dataclass(frozen=True)
class FalseProof:
    """How often a lane with 5 % slow missions was called proven fast (upper bound below 5 %).

    Attributes:
        completed: Missions completed by the window's end, mean over windows.
        by_completed: Share of windows wrongly proven fast from completed missions alone.
        matured: Missions with 90 s or more to run before the window's end, mean.
        by_matured: Share of windows wrongly proven fast from matured missions, finished or not.
    """

    completed: float
    by_completed: float
    matured: float
    by_matured: float


@dataclass(frozen=True)
class Looks:
    """How often a lane with a true rate of 5 % was certified below it: by any look, by the last one alone."""

    any_look: float
    last_look: float


def exact_coverage(share: float, n: int, level: float = 0.95) -> float:
    """Probability that the one-sided bound from ``n`` missions reaches the true ``share``, by summing."""
    chances = (math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1))
    return math.fsum(chance for k, chance in enumerate(chances) if _bound(k, n, level) >= share)


def simulated_coverage(share: float, n: int, repetitions: int, rng: np.random.Generator) -> float:
    """The same, by drawing ``repetitions`` windows."""
    counts = rng.binomial(n, share, repetitions)
    return float(np.mean([_bound(int(k), n) >= share for k in counts]))


def false_proof(lane: Lane, repetitions: int, rng: np.random.Generator) -> FalseProof:
    """Simulates ``repetitions`` windows of ``lane`` and judges each by completed and by matured missions."""
    shape = (repetitions, lane.missions)
    to_run = rng.uniform(0, lane.window_seconds, shape)  # time from a mission's start to the window's end
    lasts = lane.median_seconds * np.exp(lane.sigma * rng.standard_normal(shape))
    lasts[rng.random(shape) < lane.hanging] = np.inf
    slow, completed, matured = lasts > SLOW_SECONDS, lasts <= to_run, to_run >= SLOW_SECONDS
    return FalseProof(
        completed=float(completed.sum(1).mean()),
        by_completed=_proven_share((slow & completed).sum(1), completed.sum(1)),
        matured=float(matured.sum(1).mean()),
        by_matured=_proven_share((slow & matured).sum(1), matured.sum(1)),
    )


def repeated_looks(missions_per_look: int, looks: int, repetitions: int, rng: np.random.Generator) -> Looks:
    """A window that grows by ``missions_per_look`` before each look, at a true rate of 5 %."""
    counts = rng.binomial(missions_per_look, LIMIT, (repetitions, looks)).cumsum(axis=1)
    needed = np.array([missions_needed(k, LIMIT) for k in range(int(counts.max()) + 1)])
    certified = missions_per_look * np.arange(1, looks + 1) >= needed[counts]
    return Looks(float(certified.any(axis=1).mean()), float(certified[:, -1].mean()))


def _bound(k: int, n: int, level: float = 0.95) -> float:
    value = bound(k, n, level)
    return 1.0 if value is None else value  # no mission: nothing is excluded


def _proven_share(slow: NDArray[np.int64], missions: NDArray[np.int64]) -> float:
    return float(np.mean([_bound(int(k), int(n)) < LIMIT for k, n in zip(slow, missions, strict=True)]))


def main() -> None:
    """Prints the three tables."""
    start, rng = time.perf_counter(), np.random.default_rng(SEED)

    print("## Coverage of the one-sided 95 % bound (exact; simulated, 20,000 windows)\n")
    print("| true share | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    lowest = 1.0
    for share in SHARES:
        exact = [exact_coverage(share, n) for n in SIZES]
        drawn = [simulated_coverage(share, n, 20_000, rng) for n in SIZES]
        lowest = min(lowest, *exact)
        cells = (f"{e:.4f}; {d:.4f}" for e, d in zip(exact, drawn, strict=True))
        print(f"| {share:.2f} | " + " | ".join(cells) + " |")
    print(f"\nLowest exact coverage: {lowest:.4f}.\n")

    print("## A lane with exactly 5 % slow missions is called proven fast (10,000 windows each)\n")
    print("| lane | missions | completed | wrong by completed only | matured | wrong by matured |")
    print("|---|---|---|---|---|---|")
    for lane in LANES:
        found = false_proof(lane, 10_000, rng)
        print(
            f"| {lane.name} | {lane.missions} | {found.completed:.0f} | {found.by_completed:.3f} "
            f"| {found.matured:.0f} | {found.by_matured:.3f} |"
        )

    print("\n## Looking every 30 minutes for a day (48 looks, true rate 0.05, 20,000 days)\n")
    print("| missions per look | certified at some look | certified at the last look alone |")
    print("|---|---|---|")
    for per_look in (2, 4, 10, 20):
        seen = repeated_looks(per_look, 48, 20_000, rng)
        print(f"| {per_look} | {seen.any_look:.3f} | {seen.last_look:.3f} |")
    print(f"\nSeed {SEED}, {time.perf_counter() - start:.1f} s.")


if __name__ == "__main__":
    main()
