"""A year of history from an archive: this package against pandas.read_sql once per window, each a whole process.

    python benchmarks/history.py [MISSIONS [DAYS [ROUNDS]]]

Both sides must agree on each window's missions, fallbacks, failures and p95. Then they take turns; printed are medians
of CPU and wall seconds and of peak memory, as the operating system counts them for the child process.
"""

import json
import math
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from child import Cost, machine, medians, run

LANE = "vp.coder.primary"
START = datetime(2025, 1, 1, tzinfo=UTC)
EVENTS = ("dispatched", "started", "progress", "progress", "progress", "progress", "progress")


def build(path: Path, missions: int, days: int) -> None:
    """Writes a lane with the field's indexes, evenly over ``days``; one mission of 50 fell back, one of 200 failed."""
    from vpanalysis.data.sample import write_sample

    write_sample(path, missions=1)
    step = timedelta(days=days) / missions
    connection = sqlite3.connect(path)
    connection.executescript(
        "PRAGMA synchronous = OFF; DELETE FROM vp_events; DELETE FROM vp_missions; DELETE FROM vp_session_events"
    )

    def stamp(at: datetime) -> str:
        return at.isoformat(timespec="microseconds")

    def mission_rows() -> Iterator[tuple[str, ...]]:
        for n in range(missions):
            at = START + n * step
            times = (at, at + timedelta(seconds=1), at + timedelta(seconds=5 + n * 37 % 30))
            created, started, ended = map(stamp, times)
            yield f"mission-{n:08}", "failed" if n % 200 == 7 else "completed", created, started, ended, ended

    def event_rows() -> Iterator[tuple[str, ...]]:
        for n in range(missions):
            at = START + n * step
            ended = at + timedelta(seconds=5 + n * 37 % 30)
            kinds = (*EVENTS[:2], *(("fallback", *EVENTS[3:]) if n % 50 == 0 else EVENTS[2:]))
            times = [at, *(at + timedelta(seconds=1 + k / 2) for k in range(len(kinds) - 1)), ended]
            for k, kind in enumerate((*kinds, "failed" if n % 200 == 7 else "completed")):
                yield f"event-{n:08}-{k}", f"mission-{n:08}", f"vp.mission.{kind}", stamp(times[k])

    connection.executemany(
        "INSERT INTO vp_missions (mission_id, vp_id, status, created_at, started_at, completed_at, updated_at) "
        f"VALUES (?, '{LANE}', ?, ?, ?, ?, ?)",
        mission_rows(),
    )
    payload = '{"trace_id": "0123456789abcdef"}'
    connection.executemany(f"INSERT INTO vp_events VALUES (?, ?, '{LANE}', ?, '{payload}', ?)", event_rows())
    connection.commit()
    connection.close()


def ours(path: str, days: int) -> list[list[Any]]:
    import vpanalysis as vp

    windows = vp.history(path, LANE, every="1d", start=START, end=START + timedelta(days=days))
    return [list(row) for row in zip(*(windows[name] for name in NUMBERS), strict=True)]


NUMBERS = ("missions", "fallbacks", "failures", "p95_seconds")


def read_sql(path: str, days: int) -> list[list[Any]]:
    import pandas as pd

    chosen = f"FROM vp_missions WHERE vp_id = '{LANE}' AND created_at >= ? AND created_at < ?"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = []
    for day in range(days):
        bounds = tuple((START + timedelta(days=d)).isoformat(timespec="microseconds") for d in (day, day + 1))
        missions = pd.read_sql(
            f"SELECT mission_id, status, created_at, started_at, completed_at, updated_at {chosen}",
            connection,
            params=bounds,
        )
        events = pd.read_sql(
            "SELECT event_id, mission_id, vp_id, event_type, created_at FROM vp_events "
            f"WHERE mission_id IN (SELECT mission_id {chosen})",
            connection,
            params=bounds,
        )
        for frame, columns in ((missions, ["created_at", "started_at", "completed_at"]), (events, ["created_at"])):
            for column in columns:
                frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601", errors="coerce")
        fell_back = events.loc[events["event_type"] == "vp.mission.fallback", "mission_id"].nunique()
        seconds = (missions["completed_at"] - missions["started_at"]).dt.total_seconds().sort_values()
        p95 = float(seconds.iloc[round((len(seconds) - 1) * 0.95)])
        found.append([len(missions), int(fell_back), int((missions["status"] == "failed").sum()), p95])
    return found


WAYS = {"ours": ours, "read_sql": read_sql}


def measure(way: str, path: Path, days: int) -> tuple[list[list[Any]], Cost]:
    """Returns what one process of that way found, and its cost."""
    said, cost = run([sys.executable, __file__, "--measure", way, path, str(days)])
    return json.loads(said), cost


def agreed(found: list[list[Any]], others: list[list[Any]]) -> bool:
    """Whether two sides found the same windows."""
    pairs = (zip(one, other, strict=True) for one, other in zip(found, others, strict=True))
    return all(math.isclose(a, b, rel_tol=1e-12) for pair in pairs for a, b in pair)


def main() -> None:
    missions, days, rounds = (*map(int, sys.argv[1:]), *(1_000_000, 365, 3)[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as folder:
        database, archive = Path(folder) / "vp_state.db", Path(folder) / "archive"
        build(database, missions, days)
        command = [sys.executable, "-m", "vpanalysis", "archive", "--source", database, "--to", archive]
        _, first = run(command)
        _, again = run(command)
        sides = [("archive", "ours", archive), ("database", "ours", database), ("database", "read_sql", database)]
        costs: list[list[Cost]] = [[] for _ in sides]
        for _ in range(rounds):
            found = []
            for (_, way, path), side in zip(sides, costs, strict=True):
                numbers, cost = measure(way, path, days)
                found.append(numbers)
                side.append(cost)
            assert all(agreed(numbers, found[0]) for numbers in found), "the sides disagree"
        print(machine("duckdb", "pandas", "adbc-driver-sqlite"))
        size = sum(file.stat().st_size for file in archive.rglob("*.parquet"))
        print(
            f"{days} windows of {missions:,} missions with {(len(EVENTS) + 1) * missions:,} events; database "
            f"{database.stat().st_size / 1e6:,.0f} MB, archive {size / 1e6:,.0f} MB\n"
        )
        print("| what | CPU s | wall s | peak MB | CPU ratio | memory ratio |\n|---|---:|---:|---:|---:|---:|")
        labels = ("`vp.history` from the archive", "`vp.history` from the database", "pandas.read_sql once per window")
        middle = [medians(side) for side in costs]
        for label, cost in zip(labels, middle, strict=True):
            ratios = f"{middle[0].cpu / cost.cpu:.2f} | {middle[0].peak / cost.peak:.2f}"
            print(f"| {label} | {cost.cpu:.1f} | {cost.wall:.1f} | {cost.peak:.0f} | {ratios} |")
        for label, cost in (("writing the archive", first), ("writing it again, unchanged", again)):
            print(f"| {label} | {cost.cpu:.1f} | {cost.wall:.1f} | {cost.peak:.0f} | | |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(WAYS[sys.argv[2]](sys.argv[3], int(sys.argv[4])), default=int))
    else:
        main()
