"""`vpanalysis capture` of 500 missions against a plain script that reads and counts the same, whole processes in turns.

    python benchmarks/capture.py [ROUNDS]

Both must agree on the numbers of the fallback rate, the p95, the statuses and the event types. Beside them stands what
importing the libraries alone takes: pandas (the form of every table of the analysis), DuckDB and ADBC's SQLite driver.
"""

import json
import sqlite3
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from child import Cost, machine, medians, run

LANE, LIMIT = "vp.coder.primary", 500
SAMPLE = "import sys; from vpanalysis.data.sample import write_sample; write_sample(sys.argv[1], missions=600)"
LIBRARIES = "import pandas, duckdb, adbc_driver_sqlite.dbapi"


def plain(path: str) -> dict[str, Any]:
    """What a script of twenty lines would do: newest missions, all their events, counts and the endpoint's p95."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    newest = "SELECT {} FROM vp_missions WHERE vp_id = ? ORDER BY created_at DESC LIMIT ?"
    missions = connection.execute(newest.format("status, started_at, completed_at"), (LANE, LIMIT)).fetchall()
    events = connection.execute(
        f"SELECT mission_id, event_type FROM vp_events WHERE mission_id IN ({newest.format('mission_id')})",
        (LANE, LIMIT),
    ).fetchall()
    statuses: dict[str, int] = {}
    seconds = []
    for status, started, completed in missions:
        statuses[status] = statuses.get(status, 0) + 1
        if started and completed:
            took = datetime.fromisoformat(completed) - datetime.fromisoformat(started)
            seconds.append(max(took.total_seconds(), 0.0))
    types: dict[str, int] = {}
    for _, kind in events:
        types[kind] = types.get(kind, 0) + 1
    seconds.sort()
    p95 = seconds[round(0.95 * (len(seconds) - 1))]
    fallbacks = len({mission for mission, kind in events if kind == "vp.mission.fallback"})
    return {"fallbacks": fallbacks, "p95": round(p95, 3), "mission_counts": statuses, "event_counts": types}


def of_capture(said: str) -> dict[str, Any]:
    content = json.loads(said.partition("\n\nMarkdown row:")[0])
    return {
        "fallbacks": content["fallback"]["missions_with_fallback"],
        "p95": round(content["latency_seconds"]["p95_seconds"], 3),
        **{name: content[name] for name in ("mission_counts", "event_counts")},
    }


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vp_state.db"
        run([sys.executable, "-c", SAMPLE, path])
        capture = [sys.executable, "-m", "vpanalysis", "capture", "--source", path, "--mission-limit", str(LIMIT)]
        commands = {
            "vpanalysis capture": capture,
            "a plain script": [sys.executable, __file__, "--plain", path],
            "importing pandas, duckdb, adbc": [sys.executable, "-c", LIBRARIES],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(rounds):
            said = {}
            for name, command in commands.items():
                said[name], cost = run(command)
                costs[name].append(cost)
            found = of_capture(said["vpanalysis capture"]), json.loads(said["a plain script"])
            assert found[0] == found[1], f"the sides disagree: {found}"
    print(machine("pandas", "duckdb", "adbc-driver-sqlite"))
    print(f"\nMedians of {rounds} rounds.\n")
    print("| what | CPU s | wall s | peak MB | CPU by the script's | wall by the script's |")
    print("|---|---:|---:|---:|---:|---:|")
    base = medians(costs["a plain script"])
    for name, taken in costs.items():
        mine = medians(taken)
        print(
            f"| {name} | {mine.cpu:.3f} | {mine.wall:.3f} | {mine.peak:.0f} | {mine.cpu / base.cpu:.1f} | "
            f"{mine.wall / base.wall:.1f} |"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        print(json.dumps(plain(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
