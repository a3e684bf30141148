"""A whole lane of 10,000 to 10 million events: this package, `pandas.read_sql` and one sqlite3 scan, as it grows.

    python benchmarks/growth.py [LARGEST [ROUNDS [FIGURE.svg]]]

The ways and the lanes are those of `load.py`; at each size all three must agree on the numbers. Printed is a table of
medians of CPU seconds and peak memory; with a third argument they are drawn too. The largest database has 3.5 GB.
"""

import sys
import tempfile
from pathlib import Path

from child import Cost, machine, medians
from load import EVENTS, build, measure

WAYS = {"ours": "vpanalysis", "read_sql": "pandas.read_sql", "scan": "one sqlite3 scan"}
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def costs_of(events: int, rounds: int) -> dict[str, Cost]:
    """Returns the medians of each way for a lane of so many events."""
    taken: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lane.db"
        build(path, events // len(EVENTS))
        for _ in range(rounds):
            found = set()
            for way, costs in taken.items():
                numbers, cost = measure(way, path, "31")
                found.add(tuple(numbers))
                costs.append(cost)
            assert len(found) == 1, f"{events}: {found}"
    return {way: medians(costs) for way, costs in taken.items()}


def draw(curve: dict[int, dict[str, Cost]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, field, label in zip(figure.subplots(1, 2), ("cpu", "peak"), ("CPU seconds", "peak MB"), strict=True):
        for way, name in WAYS.items():
            axes.loglog(list(curve), [getattr(costs[way], field) for costs in curve.values()], marker="o", label=name)
        axes.set(xlabel="events", ylabel=label)
        axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main(largest: int, rounds: int, figure: Path | None) -> None:
    print(machine("duckdb", "pandas", "adbc-driver-sqlite") + f", medians of {rounds}\n")
    print("| events | way | CPU s | peak MB | CPU ratio | memory ratio |\n|---:|---|---:|---:|---:|---:|", flush=True)
    curve = {}
    for events in (size for size in SIZES if size <= largest):
        curve[events] = costs = costs_of(events, rounds)
        for way, cost in costs.items():
            ratios = f"{costs['ours'].cpu / cost.cpu:.2f} | {costs['ours'].peak / cost.peak:.2f}"
            print(f"| {events:,} | {WAYS[way]} | {cost.cpu:.2f} | {cost.peak:.0f} | {ratios} |", flush=True)
    if figure is not None:
        draw(curve, figure)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1],
        int(sys.argv[2]) if len(sys.argv) > 2 else 3,
        Path(sys.argv[3]) if len(sys.argv) > 3 else None,
    )
