"""The account of missions, against a second implementation: plain loops over the rows of the database.

The oracle is written from the design alone: each mission has exactly one outcome as of a moment, and nothing that
happens later changes it.
"""

import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from conftest import LANE, NOON, SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st

import vpanalysis as vp

M = "vp.mission."
TERMINAL = ("completed", "failed", "cancelled")
ENDS = {M + name: name for name in TERMINAL}
OUTCOMES = (*TERMINAL, "pending", "overdue", "unaccounted")
NEVER = datetime.min.replace(tzinfo=UTC)

Row = dict[str, Any]
Fate = tuple[str, str, bool, bool, bool]  # id, outcome, fell_back, settled, recordable


# The oracle ----------------------------------------------------------------------------------------------------------


def read(stamp: Any) -> datetime | None:
    """Returns the moment of a stored stamp: ISO text, blanks around it stripped, no offset meaning UTC."""
    try:
        moment = datetime.fromisoformat(stamp.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def happened(stamp: Any, as_of: datetime) -> datetime | None:
    """Returns the stamp's moment when it has come by ``as_of``."""
    moment = read(stamp)
    return moment if moment and moment <= as_of else None


def first(events: Sequence[Row], name: str) -> datetime | None:
    """Returns the first readable time of an event of this type."""
    moments = [read(event["created_at"]) for event in events if event["event_type"] == M + name]
    return min((moment for moment in moments if moment), default=None)


def overdue(status: str, row: Row, events: Sequence[Row], as_of: datetime) -> bool:
    """Whether a mission without an end should have one: 900 s from its start, else 3,600 s from its creation."""
    begun = happened(row["started_at"], as_of) or first(events, "started")
    if not begun and status == "running":
        begun = first(events, "dispatched")
    if begun and status != "blocked":
        return as_of - begun >= timedelta(seconds=900)
    created = read(row["created_at"])
    assert created is not None
    return as_of - created >= timedelta(seconds=3600)


def outcome(row: Row, events: Sequence[Row], as_of: datetime) -> str:
    """Returns what became of a mission; ``events`` are its own that have happened by ``as_of``, in order of time."""
    if not row["mission_id"] or read(row["created_at"]) is None:
        return "unaccounted"
    status, event = row["status"], None
    for one in events:
        if one["event_type"] in ENDS:
            event = ENDS[one["event_type"]]
    if status in (*TERMINAL, "timed_out"):
        written = read(row["completed_at"]) or read(row["updated_at"])
        if written is None or written <= as_of:
            end = "failed" if status == "timed_out" else str(status)
            return end if events and event in (None, end) else "unaccounted"
        if event:
            return event
        status = "running" if happened(row["started_at"], as_of) else "queued"
    elif status not in ("queued", "running", "blocked"):
        return event or "unaccounted"
    if event:
        return "unaccounted"
    if status == "running" and read(row["started_at"]) and not happened(row["started_at"], as_of):
        status = "queued"
    return "overdue" if overdue(status, row, events, as_of) else "pending"


def expected(path: Path, window: vp.RolloutWindow, as_of: datetime) -> list[Fate]:
    """Returns each mission's fate, sorted: by the rows alone; the window holds all missions of its range."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT rowid, * FROM vp_missions WHERE vp_id = ?", (LANE,))]
        events = [dict(row) for row in connection.execute("SELECT rowid, * FROM vp_events")]
    considered: dict[Any, Row] = {}
    for row in sorted(rows, key=lambda row: (read(row["created_at"]) or NEVER, row["rowid"])):
        created = read(row["created_at"])
        if created and created > as_of:
            continue
        if window.start and not (created and window.start <= created):
            continue
        if window.end and not (created and created < window.end):
            continue
        considered[row["mission_id"] or row["rowid"]] = row  # a later row of an id replaces the earlier one
    fates = []
    for key, row in considered.items():
        own = [event for event in events if event["mission_id"] == key]
        own = [event for event in own if read(event["created_at"]) is None or happened(event["created_at"], as_of)]
        own.sort(key=lambda event: (read(event["created_at"]) or NEVER, event["rowid"]))
        end = outcome(row, own, as_of)
        fell_back = any(event["event_type"] == M + "fallback" for event in own)
        settled = end in ("completed", "failed") or fell_back
        fates.append((row["mission_id"] or "", end, fell_back, settled, fell_back or not row["worker_id"]))
    return sorted(fates)


# What the package says -----------------------------------------------------------------------------------------------


def loaded(path: Path, window: vp.RolloutWindow) -> vp.Metrics:
    """Returns the metrics of a window of the database."""
    with vp.open_source(path) as source:
        return vp.summarize(source.load(window))


def found(metrics: vp.Metrics) -> list[Fate]:
    """Returns each mission's fate, sorted, from the package's account."""
    frame = metrics.account.missions
    names = [name if isinstance(name, str) else "" for name in frame["mission_id"]]
    flags = [frame[flag].tolist() for flag in ("outcome", "fell_back", "settled", "recordable")]
    return sorted(zip(names, *flags, strict=True))


def check_sums(metrics: vp.Metrics) -> None:
    """Outcomes add up, and the account's totals are those of its missions."""
    account, fates = metrics.account, found(metrics)
    assert account.counts is not None
    assert set(account.counts) == set(OUTCOMES)
    assert {name: number for name, number in account.counts.items() if number} == Counter(fate[1] for fate in fates)
    assert account.total == sum(account.counts.values()) == len(fates)
    assert account.fell_back == sum(fell_back for _, _, fell_back, _, _ in fates)
    assert account.settled == sum(settled for _, _, _, settled, _ in fates)
    assert account.recordable == sum(settled and recordable for _, _, _, settled, recordable in fates)


# Databases -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mission:
    """A mission's row, and its events as ``(type, stamp, lane)``."""

    row: Row
    events: tuple[tuple[Any, Any, str], ...] = ()


def write(path: Path, missions: Sequence[Mission], *, keys: bool = True, seed: int = 0) -> None:
    """Writes missions and, in any order, their events; where ids are keys, the first row of an id stays."""
    schema = SCHEMA if keys else SCHEMA.replace(" PRIMARY KEY", "")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA synchronous = OFF; BEGIN; {schema} COMMIT;")
        connection.execute("INSERT INTO vp_sessions (vp_id, status) VALUES (?, 'idle')", (LANE,))
        insert(connection, missions, seed)
        connection.commit()


def insert(connection: sqlite3.Connection, missions: Sequence[Mission], seed: int) -> None:
    """Adds missions and events to an open database."""
    for mission in missions:
        row = {"vp_id": LANE} | mission.row
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT OR IGNORE INTO vp_missions ({names}) VALUES ({marks})", tuple(row.values()))
    events = [(mission.row["mission_id"], *event) for mission in missions for event in mission.events]
    random.Random(seed).shuffle(events)
    connection.executemany(
        "INSERT INTO vp_events (event_id, mission_id, event_type, created_at, vp_id) "
        "VALUES (hex(randomblob(8)), ?, ?, ?, ?)",
        events,
    )


def form(moment: datetime, style: int) -> str:
    """Returns a stamp of the moment in one of the field's forms."""
    forms: tuple[Callable[[], str], ...] = (
        lambda: moment.isoformat(),
        lambda: moment.isoformat().replace("+00:00", "Z"),
        lambda: moment.replace(tzinfo=None).isoformat(),
        lambda: f"  {moment.isoformat(sep=' ')} ",
        lambda: moment.astimezone(timezone(timedelta(hours=5.5))).isoformat(),
        lambda: moment.astimezone(timezone(timedelta(hours=-8))).isoformat(timespec="microseconds"),
        lambda: moment.strftime("%Y%m%dT%H%M%S.%fZ"),
    )
    return forms[style]()


NO_TIMES = (None, "", " ", "soon", "2026-13-01", 17, b"\xff\xfe", "0001-01-01T00:00:00+14:00")
TINY = 1e-6
#: Seconds before ``as_of``: the borders, and a microsecond on either side; below zero is after it.
AGES = (0, TINY, 1, 500, 899, 900 - TINY, 900, 900 + TINY, 2000, 3600 - TINY, 3600, 3600 + TINY, 7200, 90_000)
LATER = (-TINY, -1, -61, -4000)
_NAMES = ("dispatched", "started", "progress", *TERMINAL, "fallback", "cancel_requested")
TYPES = tuple(M + name for name in _NAMES)
ODD_TYPES = ("", None, "vp.mission.exploded", "VP.MISSION.FAILED", "completed", 3)
STATUSES = ("queued", "running", "blocked", *TERMINAL, "timed_out")
ODD_STATUSES = ("FAILED", "Completed", " completed ", "", " ", None, "archived", 7, "unknown", "résumé")


def mostly(usual: Sequence[Any], odd: Sequence[Any], share: int = 5) -> st.SearchStrategy[Any]:
    """Draws from the usual values, once in ``share`` from the odd ones."""
    return st.integers(1, share).flatmap(lambda pick: st.sampled_from(odd if pick == share else usual))


def stamps(odd: bool = True) -> st.SearchStrategy[Any]:
    """Draws a stored stamp around ``as_of`` (noon), at its borders too."""
    moments = st.builds(
        lambda age, style: form(NOON - timedelta(seconds=age), style), mostly(AGES, LATER), st.integers(0, 6)
    )
    return st.one_of(moments, moments, moments, st.sampled_from(NO_TIMES)) if odd else moments


EVENTS = st.tuples(mostly(TYPES, ODD_TYPES, 12), stamps(), mostly((LANE,), ("vp.other", None), 8))
IDS = mostly([f"m{number}" for number in range(30)] + ["bridge-1", "bridge-2"], (None, "", "' OR 1=1 --", "é\n"), 9)
MISSIONS = st.builds(
    lambda name, status, created, started, completed, updated, worker, events: Mission(
        {
            "mission_id": name,
            "status": status,
            "created_at": created,
            "started_at": started,
            "completed_at": completed,
            "updated_at": updated,
            "worker_id": worker,
            "source": "redis_bridge" if str(name).startswith("bridge") else None,
        },
        tuple(events),
    ),
    IDS,
    mostly(STATUSES, ODD_STATUSES),
    stamps(),
    stamps(),
    stamps(),
    stamps(),
    st.sampled_from((None, None, "", "worker-1")),
    st.one_of(
        st.lists(EVENTS, max_size=5),
        st.just([("vp.mission.dispatched", form(NOON - timedelta(hours=2), 0), LANE)]),
    ),
)
WINDOWS = st.sampled_from(
    (
        vp.RolloutWindow(LANE, last_missions=1000, as_of=NOON),
        vp.RolloutWindow(LANE, start=NOON - timedelta(hours=1), as_of=NOON),
        vp.RolloutWindow(LANE, end=NOON - timedelta(seconds=900), as_of=NOON),
        vp.RolloutWindow(LANE, start=NOON - timedelta(days=2), end=NOON + timedelta(days=1), as_of=NOON),
    )
)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    missions=st.lists(MISSIONS, min_size=1, max_size=25), keys=st.booleans(), window=WINDOWS, seed=st.integers(0, 99)
)
def test_each_mission_has_the_outcome_that_the_design_gives_it(
    missions: list[Mission], keys: bool, window: vp.RolloutWindow, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vp_state.db"
        write(path, missions, keys=keys, seed=seed)
        metrics = loaded(path, window)
        assert found(metrics) == expected(path, window, NOON)
        check_sums(metrics)


# What happens later --------------------------------------------------------------------------------------------------


def go_on(path: Path, seed: int) -> None:
    """Writes what a runtime might write after noon: ends of what was open, more events, and more missions."""
    draw = random.Random(seed)
    after = [form(NOON + timedelta(seconds=seconds), seed % 7) for seconds in (TINY, 5, 70, 5000)]
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT rowid, * FROM vp_missions WHERE vp_id = ?", (LANE,))]
        events = [dict(row) for row in connection.execute("SELECT rowid, * FROM vp_events")]
        for row in rows:
            own = [event for event in events if event["mission_id"] == row["mission_id"]]
            told = any(event["event_type"] in ENDS for event in own)
            started = happened(row["started_at"], NOON)
            change: Row = {"updated_at": after[3]} if read(row["completed_at"]) else {}
            if row["status"] == "queued" and not told:
                status = draw.choice(("running", *STATUSES[3:]))
                change = {"status": status, "updated_at": after[3], "worker_id": draw.choice((None, "worker-2"))}
                change |= {} if started else {"started_at": after[1]}
                change |= {} if status == "running" else {"completed_at": draw.choice((None, after[2]))}
            elif row["status"] == "running" and not told and started:
                change = {"status": draw.choice(STATUSES[3:]), "completed_at": after[0], "updated_at": after[0]}
            for column, value in change.items():
                connection.execute(f"UPDATE vp_missions SET {column} = ? WHERE rowid = ?", (value, row["rowid"]))
            late = tuple((draw.choice(TYPES), draw.choice(after), LANE) for _ in range(3))
            insert(connection, [Mission({"mission_id": row["mission_id"], "created_at": after[0]}, late)], seed)
        more = [
            Mission({"mission_id": f"later-{number}", "status": "failed", "created_at": draw.choice(after)}, late)
            for number in range(3)
        ]
        insert(connection, more, seed)
        connection.commit()


def rows_by_noon(path: Path) -> int:
    """Returns how many rows of missions noon sees, at least 1: a window so large that one more would push one out."""
    with closing(sqlite3.connect(path)) as connection:
        created = [read(stamp) for (stamp,) in connection.execute("SELECT created_at FROM vp_missions")]
    return max(1, sum(moment is None or moment <= NOON for moment in created))


@settings(max_examples=3, deadline=None, derandomize=True)
@given(missions=st.lists(MISSIONS, min_size=5, max_size=25), keys=st.booleans(), seed=st.integers(0, 999))
def test_what_happens_after_the_moment_of_judgement_changes_nothing(
    missions: list[Mission], keys: bool, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vp_state.db"
        write(path, missions, keys=keys, seed=seed)
        window = vp.RolloutWindow(LANE, last_missions=rows_by_noon(path), as_of=NOON)
        before = loaded(path, window)
        go_on(path, seed)
        after = loaded(path, window)
        assert [fate[:4] for fate in found(after)] == [fate[:4] for fate in found(before)]
        assert (after.account.counts, after.account.recordable) == (before.account.counts, before.account.recordable)


# By hand -------------------------------------------------------------------------------------------------------------

DISPATCHED, STARTED = ("vp.mission.dispatched", -2000), ("vp.mission.started", -1990)
ENDED, FAILED, CANCELLED = (("vp.mission." + name, -1000) for name in TERMINAL)


#: A mission's row (seconds from ``as_of``), its events, and its outcome.
BY_HAND: list[tuple[Row, tuple[tuple[str, float | str], ...], str]] = [
    ({"status": "completed", "completed_at": -1000}, (DISPATCHED, ENDED), "completed"),
    ({"status": "completed", "completed_at": 0}, (DISPATCHED, ("vp.mission.completed", 0)), "completed"),
    ({"status": "timed_out", "completed_at": -1000}, (DISPATCHED, FAILED), "failed"),
    ({"status": "completed", "completed_at": 0}, (DISPATCHED,), "completed"),
    ({"status": "completed", "completed_at": TINY}, (DISPATCHED,), "pending"),
    ({"status": "cancelled"}, (DISPATCHED,), "cancelled"),
    ({"status": "FAILED"}, (DISPATCHED,), "unaccounted"),
    ({"status": "FAILED"}, (DISPATCHED, FAILED), "failed"),
    ({"status": None}, (DISPATCHED, CANCELLED), "cancelled"),
    ({"status": None}, (DISPATCHED, ("completed", -1000)), "unaccounted"),
    ({"status": "completed"}, (), "unaccounted"),
    ({"status": "completed"}, (DISPATCHED, ENDED, ("vp.mission.failed", -999)), "unaccounted"),
    ({"status": "failed"}, (DISPATCHED, ENDED, ("vp.mission.failed", -999)), "failed"),
    ({"status": "failed"}, (DISPATCHED, FAILED, ("vp.mission.completed", "soon")), "failed"),
    ({"status": "completed"}, (DISPATCHED, FAILED, ("vp.mission.completed", "soon")), "unaccounted"),
    ({"status": "running", "started_at": -2000}, (DISPATCHED, ENDED), "unaccounted"),
    ({"status": "completed", "completed_at": 1}, (DISPATCHED, ENDED), "completed"),
    ({"status": "completed", "completed_at": 1}, (DISPATCHED, FAILED), "failed"),
    ({"status": "completed", "started_at": -899, "completed_at": 1}, (DISPATCHED,), "pending"),
    ({"status": "completed", "started_at": -900, "completed_at": 1}, (DISPATCHED,), "overdue"),
    ({"status": "completed", "updated_at": 1}, (DISPATCHED,), "pending"),
    ({"status": "completed", "completed_at": -1000, "updated_at": 1}, (DISPATCHED, ENDED), "completed"),
    ({"status": "running", "started_at": -900}, (), "overdue"),
    ({"status": "running", "started_at": -900 + TINY}, (), "pending"),
    ({"status": "running", "started_at": -900}, (DISPATCHED, ("vp.mission.started", -100)), "overdue"),
    ({"status": "running", "started_at": "soon"}, (DISPATCHED, ("vp.mission.started", -100)), "pending"),
    ({"status": "running", "started_at": 1}, (DISPATCHED,), "pending"),
    ({"status": "running", "started_at": 1, "created_at": -3600}, (DISPATCHED,), "overdue"),
    ({"status": "queued", "started_at": 1, "created_at": -3600}, (DISPATCHED,), "overdue"),
    ({"status": "running"}, (DISPATCHED,), "overdue"),
    ({"status": "running"}, (DISPATCHED, ("vp.mission.started", -899)), "pending"),
    ({"status": "running"}, (), "pending"),
    ({"status": "running", "created_at": -3600}, (), "overdue"),
    ({"status": "queued"}, (DISPATCHED,), "pending"),
    ({"status": "queued", "created_at": -3600}, (DISPATCHED,), "overdue"),
    ({"status": "queued", "created_at": -3600 + TINY}, (), "pending"),
    ({"status": "blocked", "started_at": -3000}, (DISPATCHED, STARTED), "pending"),
    ({"status": "blocked", "started_at": -3000, "created_at": -3600}, (DISPATCHED, STARTED), "overdue"),
    ({"status": "completed", "created_at": "soon"}, (DISPATCHED, ENDED), "unaccounted"),
    ({"status": "completed", "mission_id": ""}, (DISPATCHED, ("vp.mission.fallback", -1500)), "unaccounted"),
]


def test_missions_counted_by_hand(tmp_path: Path) -> None:
    def stamp(value: Any) -> Any:
        return form(NOON + timedelta(seconds=value), 0) if isinstance(value, int | float) else value

    missions, by_hand = [], {}
    for number, (columns, events, by_hand_outcome) in enumerate(BY_HAND):
        row = {"mission_id": f"m{number}", "created_at": -2001} | columns
        stored = tuple((name, stamp(second), LANE) for name, second in events)
        missions.append(Mission({name: stamp(value) for name, value in row.items()}, stored))
        by_hand[row["mission_id"]] = by_hand_outcome
    path, window = tmp_path / "vp_state.db", vp.RolloutWindow(LANE, as_of=NOON)
    write(path, missions)
    metrics = loaded(path, window)
    assert {name: outcome for name, outcome, *_ in found(metrics)} == by_hand
    assert found(metrics) == expected(path, window, NOON)
    check_sums(metrics)


def test_an_id_that_occurs_twice_counts_once_and_its_newest_row_tells(tmp_path: Path) -> None:
    path, window = tmp_path / "vp_state.db", vp.RolloutWindow(LANE, as_of=NOON)
    early, late = (form(NOON - timedelta(seconds=age), 0) for age in (60, 50))
    written = ("vp.mission.dispatched", late, LANE)
    rows = [("a", "completed", late), ("a", "failed", early), ("b", "failed", late), ("b", "cancelled", late)]
    missions = [Mission({"mission_id": a, "status": b, "created_at": c}, (written,)) for a, b, c in rows]
    write(path, missions, keys=False)
    assert [fate[:2] for fate in found(loaded(path, window))] == [("a", "completed"), ("b", "cancelled")]
