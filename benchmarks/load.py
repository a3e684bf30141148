"""Loading windows of a large lane: this package against pandas.read_sql, in the same run.

    python benchmarks/load.py [MISSIONS]

Prints seconds, the ratio to the alternative, and the peak memory of each way in a process of its own.
"""

import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = ("dispatched", "started", "progress", "progress", "progress", "progress", "progress", "completed")


def build(path: Path, missions: int) -> None:
    from vpanalysis.data.sample import write_sample

    write_sample(path, missions=1)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM vp_events")
    connection.execute("DELETE FROM vp_missions")
    step = timedelta(days=30) / missions
    stamps = [(START + n * step).isoformat(timespec="microseconds") for n in range(missions)]
    connection.executemany(
        "INSERT INTO vp_missions (mission_id, vp_id, status, created_at, started_at, completed_at, updated_at) "
        "VALUES (?, 'vp.coder.primary', 'completed', ?, ?, ?, ?)",
        ((f"mission-{n:08}", at, at, at, at) for n, at in enumerate(stamps)),
    )
    connection.executemany(
        "INSERT INTO vp_events VALUES (?, ?, 'vp.coder.primary', ?, '{\"trace_id\": \"0123456789abcdef\"}', ?)",
        (
            (f"event-{n:08}-{k}", f"mission-{n:08}", f"vp.mission.{kind}", at)
            for n, at in enumerate(stamps)
            for k, kind in enumerate(EVENTS)
        ),
    )
    connection.commit()
    connection.close()


def ours(path: str, days: int) -> int:
    from vpanalysis.data.source import open_source
    from vpanalysis.data.window import RolloutWindow

    end = START + timedelta(days=30)
    with open_source(path) as source:
        return len(source.load(RolloutWindow("vp.coder.primary", start=end - timedelta(days=days), end=end)).missions)


def read_sql(path: str, days: int) -> int:
    import pandas as pd

    start = (START + timedelta(days=30 - days)).isoformat(timespec="microseconds")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    missions = pd.read_sql(
        "SELECT mission_id, status, created_at, started_at, completed_at, updated_at FROM vp_missions "
        "WHERE vp_id = 'vp.coder.primary' AND created_at >= ?",
        connection,
        params=(start,),
    )
    events = pd.read_sql(
        "SELECT event_id, mission_id, vp_id, event_type, created_at FROM vp_events WHERE mission_id IN "
        "(SELECT mission_id FROM vp_missions WHERE vp_id = 'vp.coder.primary' AND created_at >= ?)",
        connection,
        params=(start,),
    )
    for frame, columns in (
        (missions, ["created_at", "started_at", "completed_at", "updated_at"]),
        (events, ["created_at"]),
    ):
        for column in columns:
            frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601", errors="coerce")
    told = events.groupby("mission_id")["event_type"].value_counts().unstack(fill_value=0)
    return len(missions.merge(told, left_on="mission_id", right_index=True, how="left"))


def measure(way: str, path: Path, days: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, str(path), str(days)]
    run = subprocess.run(command, capture_output=True, check=True, text=True)
    return dict(json.loads(run.stdout))


def report(way: str, path: str, days: int) -> None:
    started = time.perf_counter()
    rows = {"ours": ours, "read_sql": read_sql}[way](path, days)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "megabytes": peak}))


def main() -> None:
    missions = int(sys.argv[1]) if len(sys.argv) > 1 else 125_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vp_state.db"
        build(path, missions)
        print(f"{missions:,} missions, {missions * len(EVENTS):,} events, {path.stat().st_size / 1e6:,.0f} MB\n")
        print("| window | missions | vpanalysis | pandas.read_sql | ratio | peak MB | peak MB read_sql |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for days in (30, 1):
            mine, other = (measure(way, path, days) for way in ("ours", "read_sql"))
            assert mine["rows"] == other["rows"]
            print(
                f"| {days} d | {mine['rows']:,} | {mine['seconds']:.2f} s | {other['seconds']:.2f} s | "
                f"{other['seconds'] / mine['seconds']:.1f} | {mine['megabytes']:.0f} | {other['megabytes']:.0f} |"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        report(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
