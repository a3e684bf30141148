"""How often an overview of 30 healthy lanes asks for somebody, and how often it finds an outage of several lanes.

``python benchmarks/fleet.py`` prints the table of ``docs/lanes.md`` in half an hour. A day is one look at 30 lanes,
each with its own window of `false_alarms`. It is seeded, so that a run repeats.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from false_alarms import HEALTHY, SEED, Lane, window

from vpanalysis.analysis import fleet
from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.incident import incidents, troubles
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy

LANES = 30
#: The lanes of a fleet, and the missions of each window.
FLEETS = {
    **{("steady", n): HEALTHY["steady"] for n in (20, 60, 100)},
    **{(shape, 60): HEALTHY[shape] for shape in ("bursty", "slow tier")},
    **{("steady, 2 % fallbacks", n): replace(HEALTHY["steady"], fallback=0.02) for n in (60, 100)},
}
#: Lanes that one outage hits, and how many of their newest missions it fails.
OUTAGES = ((2, 6), (3, 6), (6, 4), (12, 3))


def look(windows: Sequence[Metrics], policy: Policy) -> tuple[int, int, int]:
    """One day: lanes that are not healthy by their verdicts, lanes that need somebody, and incidents."""
    lanes = [
        fleet.Lane("simulation", f"vp.lane.{number}", metrics, classify(metrics, policy), policy,
                   fleet.p_value(metrics, policy))
        for number, metrics in enumerate(windows)
    ]  # fmt: skip
    found = incidents({lane.key: troubles(lane.metrics) for lane in lanes})
    apart = fleet.told_apart(lanes, found, (), windows[0].generated_at)
    return sum(lane.verdict.lane_status != "HEALTHY" for lane in lanes), sum(lane.needs for lane in apart), len(found)


def days(lane: Lane, n: int, repetitions: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of days on which any of 30 such lanes is not healthy, needs somebody, or has part in an incident."""
    policy = Policy.load("playbook")
    found = [look([window(lane, n, rng) for _ in range(LANES)], policy) for _ in range(repetitions)]
    shares = (np.array(found) > 0).mean(axis=0)
    return dict(zip(("not healthy", "needs somebody", "incident"), map(float, shares), strict=True))


def outages(hit: int, failing: int, repetitions: int, rng: np.random.Generator) -> float:
    """Share of days on which an outage that fails the newest missions of some of 30 lanes is found."""
    policy, healthy = Policy.load("playbook"), HEALTHY["steady"]
    struck = replace(healthy, newest=failing, change=(("failed", 0.98),))
    looks = (
        look([window(struck if number < hit else healthy, 100, rng) for number in range(LANES)], policy)
        for _ in range(repetitions)
    )
    return sum(found > 0 for _, _, found in looks) / repetitions


def main(repetitions: int = 120) -> None:
    """Prints a table for healthy lanes and one for outages."""
    start = time.perf_counter()
    print("| 30 healthy lanes | missions each | a verdict is not healthy | a lane needs somebody | an incident |")
    print("|---|---:|---:|---:|---:|")
    for row, ((shape, n), lane) in enumerate(FLEETS.items()):
        rng = np.random.default_rng([SEED, row])
        shares = " | ".join(f"{100 * share:.1f} %" for share in days(lane, n, repetitions, rng).values())
        print(f"| {shape} | {n} | {shares} |", flush=True)
    print("\n| outage: lanes of 30 | missions of each that fail | found |\n|---:|---:|---:|")
    for hit, failing in OUTAGES:
        rng = np.random.default_rng([SEED, hit])
        print(f"| {hit} | {failing} | {100 * outages(hit, failing, repetitions // 4, rng):.0f} % |", flush=True)
    print(f"\n{repetitions:,} days each (a quarter as many for outages), seed {SEED}.")
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
