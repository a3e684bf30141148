"""A realistic VP runtime database with chosen faults: seeded, in the real schema, written like any other.

A sample covers six days of one lane, whose rows `sample_lane` draws. Its older 7/12 of missions are healthy in every
scenario; the newest 5/12 (100 of 240) carry the scenario's fault, so that the newest 100 can be compared with the 100
before. How many missions carry a fault is fixed per 100 and never left to chance; which ones, and all else, comes from
the seed.
"""

import json
import os
import random
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from vpanalysis.data import scenarios, schema
from vpanalysis.data.sample_lane import TABLES, Lane, Row
from vpanalysis.errors import InputError

#: The fixed moment at which the sample lane ends: the ``as_of`` of the source ``sample``.
SAMPLE_END = datetime(2026, 3, 6, 18, 0, tzinfo=UTC)

_INTEGERS = ("priority", "cancel_requested", "result_published", "queued_count", "running_count")
_REFERENCES = {"vp_id": "vp_sessions(vp_id)", "mission_id": "vp_missions(mission_id)"}
_INDEXES = (
    ("vp_missions", "vp_id, status, created_at"),
    ("vp_events", "vp_id, created_at"),
    ("vp_events", "mission_id, created_at"),
    ("vp_session_events", "vp_id, created_at"),
)


class SampleError(InputError):
    """The sample cannot be written as asked; the message is a sentence for the person who asked."""


#: Each scenario's name and what it shows, in one line.
SCENARIOS: dict[str, str] = {name: scenario.text for name, scenario in scenarios.SCENARIOS.items()}
#: All that a sample may show: a lane's scenarios, and those of several lanes.
CHOICES: dict[str, str] = SCENARIOS | {name: text for name, (text, _) in scenarios.FLEETS.items()}


def write_sample(
    path: str | Path,
    scenario: str = "healthy",
    *,
    seed: int = 7,
    end: datetime = SAMPLE_END,
    vp_id: str = schema.DEFAULT_VP_ID,
    missions: int = 240,
) -> Path:
    """Writes a new sample runtime database: SQLite in WAL mode, without side files.

    The same arguments give the same rows. No time stamp lies after ``end``, but for the expiry of a lease or a claim
    that is still held. In a lane of fewer than 240 missions the faults are fewer in proportion.

    Args:
        path: the file to write; it must not exist, its folder must.
        scenario: one of `CHOICES`.
        seed: chooses among the lanes with the same scenario.
        end: the last moment of the lane; naive means UTC. The lane of ``stale`` ends nine days before it.
        vp_id: the lane's name; several lanes have names of their own.
        missions: how many missions a lane has, at least 1; ``no-traffic`` has none whatever is asked for.

    Returns:
        The path of the written database.

    Raises:
        SampleError: an unknown scenario, no missions, a blank lane, a path that is taken or cannot be written.
            Nothing is left behind.
    """
    if scenario not in CHOICES:
        raise SampleError(f"Unknown scenario {scenario!r}: choose one of {', '.join(CHOICES)}.")
    if missions < 1:
        raise SampleError(f"A sample needs at least 1 mission, not {missions}; for none choose 'no-traffic'.")
    if not vp_id.strip():
        raise SampleError("A sample needs a lane: give a vp_id that is not blank.")
    target = Path(path)
    try:
        if not target.parent.is_dir():
            raise SampleError(f"There is no folder {target.parent} to write the sample to: create it first.")
        for taken in (target, *(Path(f"{target}{ending}") for ending in ("-wal", "-shm", "-journal"))):
            if os.path.lexists(taken):
                raise SampleError(f"{taken} exists already: move it away or give another path.")
        fleet = scenarios.FLEETS.get(scenario)
        tables: dict[str, list[Row]] = {table: [] for table in TABLES}
        for name, shown in (fleet[1] if fleet else {vp_id: scenarios.SCENARIOS[scenario]}).items():
            lane = Lane(random.Random(f"{seed}/{scenario}/{name}"), shown, end, name)
            lane.fill(0 if scenario == "no-traffic" else missions)
            for table, rows in lane.tables.items():
                tables[table] += rows
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=target.parent) as folder:
            draft = Path(folder) / "sample.db"
            _write(draft, tables)
            target.touch(exist_ok=False)  # takes the name, or fails when it has been taken meanwhile
            draft.replace(target)
    except FileExistsError:
        raise SampleError(f"{target} exists already: move it away or give another path.") from None
    except (OSError, sqlite3.Error) as error:
        raise SampleError(f"The sample {target} cannot be written: {error}.") from error
    return target


def _write(path: Path, tables: dict[str, list[Row]]) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA foreign_keys = ON")
        with db:
            for table, columns in TABLES.items():
                parts = [f"{name} {'INTEGER' if name in _INTEGERS else 'TEXT'}" for name in columns]
                if table in schema.TABLES:
                    parts[0] += " PRIMARY KEY"
                    keys = [name for name in columns[1:] if name in _REFERENCES]
                    parts += [f"FOREIGN KEY({name}) REFERENCES {_REFERENCES[name]}" for name in keys]
                db.execute(f"CREATE TABLE {table} ({', '.join(parts)})")
                rows = [[_cell(row[name]) for name in columns] for row in tables[table]]
                db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
            for table, index in _INDEXES:
                db.execute(f"CREATE INDEX idx_{table}_{index.replace(', ', '_')} ON {table}({index})")


def _cell(value: object) -> object:
    """A value as the runtime stores it: times as ISO text, payloads as JSON text."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return json.dumps(value, default=_cell) if isinstance(value, dict) else value
