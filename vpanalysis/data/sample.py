"""A realistic VP runtime database with chosen faults: seeded, in the real schema, written like any other.

A sample covers six days of one lane. Its older 7/12 of missions are healthy in every scenario; the newest 5/12
(100 of 240) carry the scenario's fault, so that the newest 100 can be compared with the 100 before. How many
missions carry a fault is fixed per 100 and never left to chance; which ones, and all else, comes from the seed.
"""

import json
import os
import random
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vpanalysis.data import scenarios, schema
from vpanalysis.data.scenarios import HEALTHY, Scenario
from vpanalysis.errors import InputError

#: The fixed moment at which the sample lane ends: the ``as_of`` of the source ``sample``.
SAMPLE_END = datetime(2026, 3, 6, 18, 0, tzinfo=UTC)

#: One table's row by column name; `_write` turns times and payloads into text.
Row = dict[str, Any]

_INTEGERS = ("priority", "cancel_requested", "result_published")
_REFERENCES = {"vp_id": "vp_sessions(vp_id)", "mission_id": "vp_missions(mission_id)"}
_INDEXES = (
    ("vp_missions", "vp_id, status, created_at"),
    ("vp_events", "vp_id, created_at"),
    ("vp_events", "mission_id, created_at"),
    ("vp_session_events", "vp_id, created_at"),
)

_DAYS = 6
#: How busy the lane is by hours before the end of its working day; the negative ones are the evening after it.
_BUSY = dict(zip(range(-3, 12), (1, 1, 2, 4, 7, 9, 9, 7, 4, 8, 10, 9, 6, 3, 1), strict=True))

_VERBS = ("Fix", "Add a test for", "Refactor", "Speed up", "Document", "Review", "Add type hints to")
_THINGS = ("the upload retry loop", "the CSV import", "mission paging", "the scheduler", "the config loader")
_STEPS = ("read the code", "wrote a plan", "edited files", "ran the tests")


class SampleError(InputError):
    """The sample cannot be written as asked; the message is a sentence for the person who asked."""


#: Each scenario's name and what it shows, in one line.
SCENARIOS: dict[str, str] = {name: scenario.text for name, scenario in scenarios.SCENARIOS.items()}


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

    The same arguments give the same rows. No time stamp lies after ``end``, but for the expiry of a session
    lease that is still held. In a lane of fewer than 240 missions the faults are fewer in proportion.

    Args:
        path: the file to write; it must not exist, its folder must.
        scenario: one of `SCENARIOS`.
        seed: chooses among the lanes with the same scenario.
        end: the last moment of the lane; naive means UTC.
        vp_id: the lane's name.
        missions: how many missions, at least 1; ``no-traffic`` has none whatever is asked for.

    Returns:
        The path of the written database.

    Raises:
        SampleError: an unknown scenario, no missions, a blank lane, a path that is taken or cannot be written.
            Nothing is left behind.
    """
    if scenario not in scenarios.SCENARIOS:
        raise SampleError(f"Unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}.")
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
        lane = _Lane(random.Random(f"{seed}/{scenario}/{vp_id}"), scenarios.SCENARIOS[scenario], end, vp_id)
        lane.fill(0 if scenario == "no-traffic" else missions)
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=target.parent) as folder:
            draft = Path(folder) / "sample.db"
            _write(draft, lane.tables)
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
            for table, columns in schema.TABLES.items():
                parts = [f"{name} {'INTEGER' if name in _INTEGERS else 'TEXT'}" for name in columns]
                parts[0] += " PRIMARY KEY"
                keys = [name for name in columns[1:] if name in _REFERENCES]
                parts += [f"FOREIGN KEY({name}) REFERENCES {_REFERENCES[name]}" for name in keys]
                db.execute(f"CREATE TABLE {table} ({', '.join(parts)})")
                rows = [[_cell(row[name]) for name in columns] for row in tables[table]]
                db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
            for table, index in _INDEXES:
                db.execute(f"CREATE INDEX idx_{table}_{index.replace(', ', '_')} ON {table}({index})")


class _Lane:
    """One lane's rows, drawn from ``rng`` in a fixed order. Missions go by age: 0 is the newest."""

    def __init__(self, rng: random.Random, scenario: Scenario, end: datetime, vp_id: str) -> None:
        self.rng, self.scenario, self.vp_id = rng, scenario, vp_id
        self.end = end.replace(tzinfo=UTC) if end.tzinfo is None else end.astimezone(UTC)
        self.tables: dict[str, list[Row]] = {table: [] for table in schema.TABLES}
        self._fallbacks = self._failures = 0

    def fill(self, missions: int) -> None:
        """Draws every row of the lane."""
        created = self._arrivals(missions)
        faulty = max(1, missions * 5 // 12)
        fates, slow = self._fates(created, faulty)
        for age in reversed(range(missions)):
            scenario = self.scenario if age < faulty else HEALTHY
            # A queue does not grow at once: the wait takes the fault's first missions to reach its new level.
            share = min(1.0, (faulty - age) / 20) if age < faulty else 0.0
            wait = HEALTHY.wait_median + share * (scenario.wait_median - HEALTHY.wait_median)
            self._mission(created[age], fates[age], age in slow, scenario, wait)
        self._session()
        for table in ("vp_events", "vp_session_events"):
            self.tables[table].sort(key=lambda row: row["created_at"])

    def _arrivals(self, missions: int) -> list[datetime]:
        """Creation times, newest first; the newest finished ones keep apart and leave time to finish."""
        rng = self.rng
        ages = sorted(rng.uniform(1, 3) for _ in range(self.scenario.queued))
        ages.append(0.0)  # still running: its creation follows from its start, in `_mission`
        drawn: list[float] = []
        while len(drawn) < missions - len(ages):
            hours = 24 * rng.randrange(_DAYS) + rng.choices(list(_BUSY), list(_BUSY.values()))[0] + rng.random()
            if hours > 0:  # the evening after the last day is still to come
                drawn.append(hours * 3600)
        least = 240.0
        for number, age in enumerate(sorted(drawn)):
            ages.append(max(age, least))
            least = ages[-1] + (120 if number < 8 else 0.001)
        return [self.end - timedelta(seconds=age) for age in ages[:missions]]

    def _fates(self, created: list[datetime], faulty: int) -> tuple[list[str], set[int]]:
        """How each mission ends, and the ages of the slow ones."""
        total = len(created)
        fates = ["queued"] * self.scenario.queued + ["running"] + ["failed"] * self.scenario.last_failures
        fates = (fates + ["completed"] * total)[:total]
        settled = {age for age in range(total) if self.end - created[age] >= timedelta(minutes=45)}
        slow: set[int] = set()
        # Blocks of 100, counted from the newest, so that the counts hold in the newest 100 exactly.
        blocks = [(range(age, min(age + 100, faulty, total)), self.scenario) for age in range(0, faulty, 100)]
        blocks += [(range(age, min(age + 100, total)), HEALTHY) for age in range(faulty, total, 100)]
        for block, scenario in blocks:
            placed = fates[block.start : block.stop].count("failed")
            for fate, count in (
                ("stalled", _share(scenario.stalled, block)),
                ("failed", _share(scenario.failures, block) - placed),
                ("fallback", _share(scenario.fallbacks, block)),
                ("cancelled", _share(2, block)),
            ):
                free = [age for age in block if fates[age] == "completed"]
                if fate == "stalled":
                    free = [age for age in free if age in settled]
                for age in self._spread(free, count):
                    fates[age] = fate
            free = [age for age in block if age in settled and fates[age] in ("completed", "fallback")]
            slow.update(self._spread(free, _share(scenario.slow, block)))
        return fates, slow

    def _spread(self, free: list[int], count: int) -> list[int]:
        """Chooses one at random from each of ``count`` stretches: irregular, but in every part its share."""
        count = max(0, min(count, len(free)))
        stretches = [(i * len(free) // count, (i + 1) * len(free) // count) for i in range(count)]
        return [free[self.rng.randrange(low, high)] for low, high in stretches]

    def _mission(self, created: datetime, fate: str, slow: bool, scenario: Scenario, wait: float) -> None:
        rng, status = self.rng, {"fallback": "completed", "stalled": "running"}.get(fate, fate)
        queued, run = timedelta(seconds=self._skewed(wait)), self._skewed(scenario.run_median)
        started: datetime | None = created + queued
        if slow:
            run = rng.uniform(*scenario.slow_seconds)
        elif fate == "running":
            started = self.end - timedelta(seconds=rng.uniform(8, 40))
            created = started - queued
        elif fate == "queued" or (fate == "cancelled" and rng.random() < 0.3):
            started = None
        elif fate == "failed":
            self._failures += 1
            if scenario.last_failures and self._failures % 3 == 0:
                status, run = "timed_out", rng.uniform(30.5, 39)
        ended = status in schema.TERMINAL_STATUSES
        finished = (started or created) + timedelta(seconds=run) if ended else None
        mission = f"vp-mission-{self._hex(16)}"
        tier, priority = rng.choice((("normal", 100), ("normal", 100), ("high", 50), ("background", 200)))
        row: Row = {
            "mission_id": mission,
            "vp_id": self.vp_id,
            "run_id": f"run-{self._hex(12)}",
            "status": status,
            "mission_type": "coding_task",
            "objective": f"{rng.choice(_VERBS)} {rng.choice(_THINGS)}",
            "budget_json": {"max_duration_seconds": 900, "max_tokens": 60000},
            "payload_json": {"repo": "example/app", "branch": f"vp/{self._hex(6)}"},
            "result_ref": f"workspace:///srv/vp/jobs/{mission}" if finished and fate != "cancelled" else None,
            "priority": priority,
            "priority_tier": tier,
            "worker_id": f"worker-{rng.randint(1, 4)}" if started else None,
            "claim_expires_at": None if finished or not started else min(started + timedelta(minutes=5), self.end),
            "cancel_requested": int(status == "cancelled"),
            "created_at": created,
            "started_at": started,
            "completed_at": finished,
            "source": rng.choice(("gateway", "gateway", "chat", "schedule")),
            "result_published": int(status == "completed"),
        }
        row["updated_at"] = self._mission_events(row, fate, scenario, run)
        self.tables["vp_missions"].append(row)

    def _mission_events(self, row: Row, fate: str, scenario: Scenario, run: float) -> datetime:
        """Adds the mission's events and returns the time of the last."""
        rng, status, started, finished = self.rng, row["status"], row["started_at"], row["completed_at"]
        trace = {"trace_id": f"trace-{self._hex(12)}"}
        when: datetime = row["created_at"] + timedelta(milliseconds=rng.uniform(5, 60))
        payload = {**trace, "run_id": row["run_id"], "started_at": when}
        events: list[tuple[datetime, str, Row]] = [(when, schema.DISPATCHED, payload)]
        if started:
            events.append((started, schema.STARTED, {**trace, "worker_id": row["worker_id"]}))
            span = min(timedelta(seconds=run), self.end - started)
            parts = sorted(rng.uniform(0.05, 0.95) for _ in range(rng.randint(0, 4)))
            for step, part in zip(_STEPS, parts, strict=False):
                events.append((started + part * span, schema.PROGRESS, {**trace, "summary": step}))
            if fate == "fallback":
                reason, error = scenario.errors[self._fallbacks % len(scenario.errors)]
                self._fallbacks += 1
                payload = {"reason": reason, "error": self._error(error), **trace}
                events.append((started + rng.uniform(0.2, 0.8) * span, schema.FALLBACK, payload))
        payload = {**trace, "completed_at": finished, "result_ref": row["result_ref"]}
        if status == "completed":
            events.append((finished, schema.COMPLETED, payload))
        elif status == "cancelled":
            events.append((finished, schema.CANCELLED, {**trace, "reason": "superseded by a newer request"}))
        elif status in schema.FAILED_STATUSES:
            texts = (
                scenarios.FAILURES if scenario.errors is scenarios.ERRORS else [error for _, error in scenario.errors]
            )
            error = scenarios.TIMED_OUT if status == "timed_out" else texts[self._failures % len(texts)]
            events.append((finished, schema.FAILED, {"error": self._error(error), **payload}))
        for when, kind, payload in events:
            self._event("vp_events", when, kind, payload, mission_id=row["mission_id"])
        return max(when for when, _, _ in events)

    def _session(self) -> None:
        """The session's row and its lifecycle: a lease taken each morning and released each evening."""
        owner, session_id = f"gateway-{self._hex(8)}", f"{self.vp_id}.session"
        lease, release = {"lease_owner": owner, "session_id": session_id}, {"reason": "lease_released"}
        opened = self._before(24 * _DAYS - 11.9)
        steps: list[tuple[datetime, str, Row]] = [(opened, schema.SESSION_CREATED, lease)]
        for day in range(1, _DAYS):
            was = {"recovered_from_status": "idle", "previous_status": "idle"}
            steps.append((self._before(24 * day - 3.2), schema.SESSION_AVAILABLE, release | lease))
            steps.append((self._before(24 * day - 11.9), schema.SESSION_RESUMED, was | release | lease))
        degraded = self.scenario.session == "degraded"
        # Leases lost: how many hours before the end, how, and whether the lease came back.
        losses = [(24 * 4 + self.rng.uniform(2, 8), "lease_heartbeat_failed", True)]
        if degraded:
            losses += [(9.4, "lease_heartbeat_failed", True), (6.1, "lease_acquisition_failed", True)]
            losses += [(0.7, "lease_acquisition_failed", False), (0.1, "lease_heartbeat_failed", False)]
        for hours, reason, regained in losses:
            at = self._before(hours)
            steps.append((at, schema.SESSION_DEGRADED, {"reason": reason, "lease_owner": owner}))
            if regained:
                back = at + timedelta(seconds=self.rng.uniform(20, 240))
                was = {"recovered_from_status": "degraded", "previous_status": "degraded"}
                steps.append((back, schema.SESSION_RECOVERED, {"previous_status": "degraded"}))
                steps.append((back + timedelta(seconds=1), schema.SESSION_RESUMED, was | lease))
        for when, kind, payload in steps:
            self._event("vp_session_events", when, kind, payload)
        heartbeat = at - timedelta(seconds=11) if degraded else self.end - timedelta(seconds=9)
        self.tables["vp_sessions"].append(
            {
                "vp_id": self.vp_id,
                "runtime_id": "runtime.coder.external",
                "session_id": session_id,
                "workspace_dir": "/srv/vp/jobs",
                "status": self.scenario.session,
                "lease_owner": owner,
                "lease_expires_at": heartbeat + timedelta(seconds=120),
                "last_heartbeat_at": heartbeat,
                "last_error": f"{reason}: the lease of {owner} was not renewed" if degraded else None,
                "metadata_json": {"display_name": "CODIE", "sample": True, "max_concurrency": 4},
                "created_at": opened,
                "updated_at": at if degraded else heartbeat,
            }
        )

    def _event(self, table: str, when: datetime, kind: str, payload: Row, **more: object) -> None:
        row = {"event_id": f"vp-event-{self._hex(16)}", "vp_id": self.vp_id, "event_type": kind, **more}
        self.tables[table].append({**row, "payload_json": payload, "created_at": when})

    def _before(self, hours: float) -> datetime:
        return self.end - timedelta(hours=hours, seconds=self.rng.uniform(0, 60))

    def _hex(self, digits: int) -> str:
        return f"{self.rng.getrandbits(4 * digits):0{digits}x}"

    def _error(self, text: str) -> str:
        return text.format(h=self._hex(24), n=self.rng.randint(2, 9), m=self.rng.randint(100, 9999))

    def _skewed(self, median: float) -> float:
        """Log-normal seconds, between an eighth of the median and 3.5 times as long."""
        while not 1 / 8 <= (factor := self.rng.lognormvariate(0, 0.55)) <= 3.5:
            pass
        return median * factor


def _share(per_hundred: int, block: range) -> int:
    """The count for a block of up to 100 missions; more than two in a hundred are never rounded away."""
    return max(round(per_hundred * len(block) / 100), int(per_hundred > 2))


def _cell(value: object) -> object:
    """A value as the runtime stores it: times as ISO text, payloads as JSON text."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return json.dumps(value, default=_cell) if isinstance(value, dict) else value
