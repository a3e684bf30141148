"""A gateway that writes: every transaction adds one mission with its events, until stdin closes.

Run as ``python live_writer.py DATABASE FIRST``; prints ``ready`` after the first mission and, at the end, how
many missions it wrote.
"""

import select
import sqlite3
import sys
from datetime import UTC, datetime, timedelta

EVENTS_PER_MISSION = 5


def main(path: str, first: int) -> None:
    connection = sqlite3.connect(path, timeout=0.1, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    start = datetime(2026, 2, 16, 12, tzinfo=UTC)
    number = first
    while not select.select([sys.stdin], [], [], 0)[0]:
        at = (start + timedelta(milliseconds=number)).isoformat(timespec="microseconds")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO vp_missions (mission_id, vp_id, status, created_at) VALUES (?, ?, 'running', ?)",
            (f"live-{number}", "vp.coder.primary", at),
        )
        for event in range(EVENTS_PER_MISSION):
            connection.execute(
                "INSERT INTO vp_events VALUES (?, ?, ?, 'vp.mission.progress', '{}', ?)",
                (f"live-{number}-{event}", f"live-{number}", "vp.coder.primary", at),
            )
        connection.execute("COMMIT")
        if number == first:
            print("ready", flush=True)
        number += 1
    print(number - first, flush=True)


main(sys.argv[1], int(sys.argv[2]))
