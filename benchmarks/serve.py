"""Snapshots per second: `vpanalysis serve` against a FastAPI route around a plain sqlite3 loop, in the same run.

    python benchmarks/serve.py [ROUNDS]

Both are asked for the same lane over kept connections, in turns, under the same uvicorn settings. Before they are
timed they must give the same answer. "changing" means that a writer commits a mission every 50 ms.
"""

import json
import os
import platform
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

LANE = "vp.coder.primary"
PATH = f"/api/v1/ops/metrics/coder-vp?vp_id={LANE}&mission_limit=50&event_limit=200"
STEPS = ("dispatched", "started", "progress", "progress", "progress", "completed")
SECONDS = 2.0
MISSIONS = 3000


def write_mission(connection: sqlite3.Connection, name: str, at: datetime) -> None:
    stamps = [(at + timedelta(seconds=second)).isoformat(timespec="microseconds") for second in (0, 1, 31)]
    with connection:
        connection.execute(
            "INSERT INTO vp_missions (mission_id, vp_id, status, objective, created_at, started_at, completed_at, "
            "updated_at) VALUES (?, ?, 'completed', 'Mend the flaky test', ?, ?, ?, ?)",
            (name, LANE, *stamps, stamps[-1]),
        )
        connection.executemany(
            "INSERT INTO vp_events VALUES (?, ?, ?, ?, ?, ?)",
            [
                (f"{name}-{number}", name, LANE, f"vp.mission.{step}", json.dumps({"trace_id": f"{name}-trace"}), at)
                for number, step in enumerate(STEPS)
                for at in [stamps[number // 3]]
            ],
        )


def build(path: Path) -> None:
    from vpanalysis.data.sample import write_sample

    write_sample(path, "no-traffic")
    start = datetime.now(UTC) - timedelta(days=30)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        for number in range(MISSIONS):
            write_mission(connection, f"old-{number}", start + timedelta(minutes=10 * number))


def keep_writing(path: str) -> None:
    """The gateway: commits a mission every 50 ms until it is killed."""
    connection = sqlite3.connect(path, timeout=5)
    number = 0
    while True:
        write_mission(connection, f"new-{os.getpid()}-{number}", datetime.now(UTC) - timedelta(minutes=1))
        number += 1
        time.sleep(0.05)


# --- the plain loop


def plain_snapshot(path: str, missions: int = 50, limit: int = 200) -> dict[str, Any]:
    """The contract's answer as one would write it by hand: from all events of the newest missions."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("BEGIN")
        considered = connection.execute(
            "SELECT mission_id, status, objective, run_id, started_at, completed_at, updated_at, result_ref "
            "FROM vp_missions WHERE vp_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?",
            (LANE, missions),
        ).fetchall()
        ids = [row["mission_id"] for row in considered]
        events = connection.execute(
            f"SELECT event_id, mission_id, vp_id, event_type, payload_json, created_at FROM vp_events "
            f"WHERE mission_id IN ({','.join('?' * len(ids))}) ORDER BY created_at, rowid",
            ids,
        ).fetchall()
        signals = connection.execute(
            "SELECT event_id, vp_id, event_type, payload_json, created_at FROM vp_session_events WHERE vp_id = ? "
            "ORDER BY created_at, rowid",
            (LANE,),
        ).fetchall()
        session = connection.execute("SELECT * FROM vp_sessions WHERE vp_id = ?", (LANE,)).fetchone()
    finally:
        connection.close()
    fell_back = {event["mission_id"] for event in events if event["event_type"] == "vp.mission.fallback"}
    seconds = [duration(row) for row in considered]
    ordered = sorted(value for value in seconds if value is not None)
    attempts = successes = still_open = 0
    for event in signals:
        if event["event_type"] == "vp.session.degraded":
            attempts, still_open = attempts + 1, still_open + 1
        elif event["event_type"] == "vp.session.resumed" and still_open:
            successes, still_open = successes + 1, still_open - 1
    orphaned = session is not None and session["status"] in ("degraded", "recovering")
    signal_count = max(still_open, 1) if orphaned else still_open
    return {
        "generated_at": datetime.now(UTC).isoformat(),
        "vp_id": LANE,
        "session": session and session_view(dict(session)),
        "mission_counts": Counter(row["status"] or "unknown" for row in considered),
        "event_counts": Counter(event["event_type"] or "unknown" for event in events),
        "session_event_counts": Counter(event["event_type"] or "unknown" for event in signals),
        "fallback": {
            "missions_considered": len(ids),
            "missions_with_fallback": len(fell_back),
            "rate": len(fell_back) / len(ids) if ids else 0.0,
        },
        "latency_seconds": {
            "count": len(ordered),
            "avg_seconds": sum(ordered) / len(ordered) if ordered else None,
            "p50_seconds": ordered[round((len(ordered) - 1) * 0.5)] if ordered else None,
            "p95_seconds": ordered[round((len(ordered) - 1) * 0.95)] if ordered else None,
            "max_seconds": ordered[-1] if ordered else None,
        },
        "recovery": {
            "attempts": attempts,
            "successes": successes,
            "success_rate": successes / attempts if attempts else None,
        },
        "session_health": {
            "currently_orphaned": orphaned,
            "orphan_signals": signal_count,
            "orphan_rate": signal_count / attempts if attempts else float(orphaned),
        },
        "recent_missions": [
            {**dict(row), "duration_seconds": value, "fallback_seen": row["mission_id"] in fell_back}
            for row, value in zip(considered, seconds, strict=True)
        ],
        "recent_events": [event_view(event) for event in events[-limit:]],
        "recent_session_events": [event_view(event) for event in signals[-limit:]],
        "events_complete": True,
    }


def duration(row: sqlite3.Row) -> float | None:
    if not row["started_at"] or not row["completed_at"]:
        return None
    start, end = datetime.fromisoformat(row["started_at"]), datetime.fromisoformat(row["completed_at"])
    return max(0.0, (end - start).total_seconds())


def event_view(row: sqlite3.Row) -> dict[str, Any]:
    view = dict(row)
    view["payload"] = json.loads(view.pop("payload_json") or "null")
    return view


def session_view(row: dict[str, Any]) -> dict[str, Any]:
    beat, status = row["last_heartbeat_at"], (row["status"] or "").strip().lower()
    age = datetime.now(UTC) - datetime.fromisoformat(beat) if beat else timedelta(0)
    stale = status in ("active", "running", "healthy") and age.total_seconds() > 900
    view = row | {"stale": stale, "stale_reason": "heartbeat_timeout" if stale else None}
    return view | {
        "effective_status": "stale" if stale else status or "unknown",
        "metadata": json.loads(row["metadata_json"] or "{}"),
    }


def serve_plainly(path: str) -> None:
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    from vpanalysis.serve import run

    app = FastAPI()

    @app.get("/api/v1/ops/metrics/coder-vp")
    def metrics(vp_id: str = LANE, mission_limit: int = 50, event_limit: int = 200) -> JSONResponse:
        return JSONResponse(plain_snapshot(path, mission_limit, event_limit))  # spares it FastAPI's slow encoder

    run(app, "127.0.0.1", 0, lambda url: print(url, file=sys.stderr, flush=True))


# --- the measurement


@contextmanager
def running(*command: str) -> Iterator[int]:
    """Runs a server and yields its port; its log is read and thrown away."""
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield int(line.rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


class Connection:
    """A kept connection that asks for one path; cheaper than an HTTP library, so that the servers are what is timed."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._request = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def ask(self) -> bytes:
        self._socket.sendall(self._request)
        head, _, body = self._receive(b"").partition(b"\r\n\r\n")
        while not body and b"content-length" not in head:
            head, _, body = self._receive(head).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        parts, missing = [body], length - len(body)
        while missing:
            parts.append(self._socket.recv(min(missing, 1 << 20)))
            missing -= len(parts[-1])
        return b"".join(parts)

    def _receive(self, before: bytes) -> bytes:
        return before + self._socket.recv(1 << 20)


def per_second(port: int, connections: int) -> float:
    """Returns how many snapshots a server gives in a second to so many askers."""
    counts = [0] * connections
    until = time.perf_counter() + SECONDS

    def ask(number: int) -> None:
        connection = Connection(port)
        while time.perf_counter() < until:
            connection.ask()
            counts[number] += 1

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
    started = time.perf_counter()
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    return sum(counts) / (time.perf_counter() - started)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vp_state.db"
        build(path)
        with (
            closing(sqlite3.connect(path)) as gateway,  # it has the database open, as in the field
            running("-m", "vpanalysis", "serve", "--source", str(path), "--port", "0", "--ops-token", "") as ours,
            running(__file__, "--plain", str(path)) as theirs,
        ):
            write_mission(gateway, "last", datetime.now(UTC) - timedelta(minutes=2))
            answers = [json.loads(Connection(port).ask()) for port in (ours, theirs)]
            for answer in answers:
                del answer["generated_at"]
            assert answers[0] == answers[1], "the two do not agree"
            print(
                f"Both agree. {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
            )
            print("\n| database | connections | vpanalysis serve | plain route | ratio (median, all) |")
            print("|---|---:|---:|---:|---:|")
            for changing in (False, True):
                for connections in (1, 16, 64):
                    writer = [sys.executable, __file__, "--write", str(path)]
                    process = subprocess.Popen(writer) if changing else None
                    try:
                        pairs = [
                            (per_second(ours, connections), per_second(theirs, connections)) for _ in range(rounds)
                        ]
                    finally:
                        if process is not None:
                            process.kill()
                            process.wait()
                    mine, other = (median(side) for side in zip(*pairs, strict=True))
                    ratios = sorted(one / two for one, two in pairs)
                    every = " ".join(f"{ratio:.1f}" for ratio in ratios)
                    state = "changing" if changing else "unchanged"
                    print(
                        f"| {state} | {connections} | {mine:.0f}/s | {other:.0f}/s | {median(ratios):.2f} ({every}) |",
                        flush=True,
                    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        serve_plainly(sys.argv[2])
    elif sys.argv[1:2] == ["--write"]:
        keep_writing(sys.argv[2])
    else:
        main()
