"""Reading lanes: this package against pandas.read_sql and one sqlite3 scan, each a whole process.

    python benchmarks/load.py [MISSIONS [ROUNDS]]

Both sides must agree on the numbers. Then they take turns; printed are medians of CPU and wall seconds and of peak
memory, as the operating system counts them for the child process.
"""

import json
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from child import Cost, machine, medians, run

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=30)
EVENTS = ("dispatched", "started", "progress", "progress", "progress", "progress", "progress", "completed")


def build(path: Path, missions: int, span: timedelta = END - START) -> None:
    """Writes a lane with the field's indexes that ends at ``END``; one mission of 50 fell back."""
    from vpanalysis.data.sample import write_sample

    write_sample(path, missions=1)
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA synchronous = OFF; DELETE FROM vp_events; DELETE FROM vp_missions")
    stamps = [(END - (missions - n) * span / missions).isoformat(timespec="microseconds") for n in range(missions)]
    connection.executemany(
        "INSERT INTO vp_missions (mission_id, vp_id, status, created_at, started_at, completed_at, updated_at) "
        "VALUES (?, 'vp.coder.primary', 'completed', ?, ?, ?, ?)",
        ((f"mission-{n:08}", at, at, at, at) for n, at in enumerate(stamps)),
    )
    connection.executemany(
        "INSERT INTO vp_events VALUES (?, ?, 'vp.coder.primary', ?, '{\"trace_id\": \"0123456789abcdef\"}', ?)",
        (
            (
                f"event-{n:08}-{k}",
                f"mission-{n:08}",
                f"vp.mission.{'fallback' if k == 1 and (missions - n) % 50 == 0 else kind}",
                at,
            )
            for n, at in enumerate(stamps)
            for k, kind in enumerate(EVENTS)
        ),
    )
    connection.commit()
    connection.close()


def ours(path: str, window: str) -> list[int]:
    import vpanalysis as vp

    bounds = {"last_missions": 500} if window == "newest" else {"start": END - timedelta(days=int(window)), "end": END}
    with vp.open_source(path) as source:
        tables = source.load(vp.RolloutWindow("vp.coder.primary", **bounds, as_of=END))  # type: ignore[arg-type]
    missions = vp.summarize(tables).missions

    return [len(missions), int((missions["fallback_events"] > 0).sum()), int(missions["events"].sum())]


def read_sql(path: str, window: str) -> list[int]:
    import pandas as pd

    start = (END - timedelta(days=int(window))).isoformat(timespec="microseconds")
    chosen = "FROM vp_missions WHERE vp_id = 'vp.coder.primary' AND created_at >= ?"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    missions = pd.read_sql(
        f"SELECT mission_id, status, created_at, started_at, completed_at, updated_at {chosen}",
        connection,
        params=(start,),
    )
    events = pd.read_sql(
        "SELECT event_id, mission_id, vp_id, event_type, created_at FROM vp_events "
        f"WHERE mission_id IN (SELECT mission_id {chosen})",
        connection,
        params=(start,),
    )
    for frame, columns in (
        (missions, ["created_at", "started_at", "completed_at", "updated_at"]),
        (events, ["created_at"]),
    ):
        for column in columns:
            frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601", errors="coerce")
    counts = events.groupby("mission_id")["event_type"].value_counts().unstack(fill_value=0)
    merged = missions.merge(counts, left_on="mission_id", right_index=True, how="left")
    return [len(merged), int((merged["vp.mission.fallback"] > 0).sum()), len(events)]


def scan(path: str, window: str) -> list[int]:
    start = (END - timedelta(days=int(window))).isoformat(timespec="microseconds")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    query = "SELECT mission_id, status, created_at, started_at, completed_at, updated_at FROM vp_missions"
    missions = sum(row[2] >= start for row in connection.execute(query))
    fallbacks, events = set(), 0
    for mission, kind, at in connection.execute("SELECT mission_id, event_type, created_at FROM vp_events"):
        if at >= start:
            events += 1
            if kind == "vp.mission.fallback":
                fallbacks.add(mission)
    return [missions, len(fallbacks), events]


WAYS = {"ours": ours, "read_sql": read_sql, "scan": scan}


def measure(way: str, path: Path, window: str) -> tuple[list[int], Cost]:
    """Returns what one process of that way found, and its cost."""
    said, cost = run([sys.executable, __file__, "--measure", way, path, window])
    return json.loads(said), cost


def compare(name: str, sides: list[tuple[str, str, Path, str]], rounds: int) -> None:
    """Prints a row for each side: its medians, and the first side's as a multiple of them."""
    runs: list[list[tuple[list[int], Cost]]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, (_, way, path, window) in zip(runs, sides, strict=True):
            side.append(measure(way, path, window))
    found = {tuple(run[0]) for side in runs for run in side}
    assert len(found) == 1, f"{name}: {found}"
    costs = [medians([cost for _, cost in side]) for side in runs]
    for (label, *_), values in zip(sides, costs, strict=True):
        ratios = " | ".join(f"{mine / value:.2f}" for mine, value in zip(costs[0], values, strict=True))
        print(f"| {name} | {label} | {values[0]:.2f} | {values[1]:.2f} | {values[2]:.0f} | {ratios} |", flush=True)


def main() -> None:
    missions = int(sys.argv[1]) if len(sys.argv) > 1 else 125_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        big, newest, day = (Path(folder) / f"{name}.db" for name in ("big", "newest", "day"))
        step = (END - START) / missions
        build(big, missions)
        build(newest, 600, 600 * step)
        build(day, missions // 30, timedelta(days=1))
        print(machine("duckdb", "pandas", "adbc-driver-sqlite"))
        print(f"{missions:,} missions, {missions * len(EVENTS):,} events, {big.stat().st_size / 1e6:,.0f} MB\n")
        print("| what | way | CPU s | wall s | peak MB | CPU ratio | wall ratio | memory ratio |")
        print("|---|---|---:|---:|---:|---:|---:|---:|")
        sides = [("vpanalysis", "ours"), ("pandas.read_sql", "read_sql"), ("one sqlite3 scan", "scan")]
        compare("whole lane", [(label, way, big, "30") for label, way in sides], rounds)
        compare("newest 500", [("big lane", "ours", big, "newest"), ("lane of 600", "ours", newest, "newest")], rounds)
        compare("one day", [("big lane", "ours", big, "1"), ("lane of that day", "ours", day, "1")], rounds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(WAYS[sys.argv[2]](sys.argv[3], sys.argv[4])))
    else:
        main()
