"""What is read of hostile databases, with the field's index and without: what a plain loop over all rows finds."""

import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas
import pytest
from conftest import LANE, NOON, SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st

import vpanalysis as vp
from vpanalysis.data import load, mission_events
from vpanalysis.data.reading import Reading, SqliteReading
from vpanalysis.data.schema import MISSION_EVENT_TYPES
from vpanalysis.data.tables import Tables
from vpanalysis.data.timestamps import parse_time

PROGRESS = "vp.mission.progress"
AS_OF = NOON + timedelta(days=3)
INDEX = (
    "CREATE INDEX usual ON vp_missions(vp_id, status, created_at); "
    "CREATE INDEX by_mission ON vp_events(mission_id, created_at)"
)
MOMENTS = st.builds(lambda hours: NOON + timedelta(hours=hours), st.integers(-90, 90))
FORMS = (
    lambda at: at.isoformat(),
    lambda at: at.isoformat(timespec="microseconds"),
    lambda at: at.isoformat().replace("+00:00", "Z"),
    lambda at: at.replace(tzinfo=None).isoformat(" "),
    lambda at: (at.replace(tzinfo=None) + timedelta(hours=14)).isoformat() + "+14:00",
    lambda at: at.strftime("%Y%m%dT%H%M%SZ"),
    lambda at: at.isoformat().encode(),
    lambda at: f" {at.isoformat()} ",
)
USUAL = st.builds(lambda at, form: FORMS[form](at), MOMENTS, st.integers(0, 1))
ODD = st.one_of(
    st.builds(lambda at, form: FORMS[form](at), MOMENTS, st.integers(2, len(FORMS) - 1)),
    st.sampled_from(
        ["", None, 0, 17.5, "garbage", b"\xff\xfe", "2026-02-31T10:00:00+00:00", "9999-99-99T00:00:00+00:00",
         "0000-01-01T00:00:00+00:00", "2026-02-16T12:00:00+00:00|", "\U0010ffff", "2026-02-29T10:00:00+00:00"]
    ),
)  # fmt: skip
STAMPS = st.one_of(USUAL, USUAL, USUAL, ODD)
STATUSES = st.sampled_from(["completed", "failed", "queued", "", None, 3, b"running", "\U0010ffff"])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([PROGRESS, *MISSION_EVENT_TYPES, *MISSION_EVENT_TYPES, PROGRESS.encode(), None]),
        st.one_of(USUAL, USUAL, STAMPS),
        st.sampled_from([LANE] * 9 + ["another"]),
    ),
    max_size=5,
)
ROWS = st.lists(st.tuples(STATUSES, STAMPS, EVENTS), min_size=1, max_size=14)
Rows = list[tuple[Any, Any, list[tuple[Any, Any, str]]]]


def write(path: Path, rows: Rows, index: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA synchronous = OFF;" + SCHEMA)
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql <> ''"
        ).fetchall():
            connection.execute(f'DROP INDEX "{name}"')
        connection.executescript(index)
        connection.execute("INSERT INTO vp_sessions (vp_id, status) VALUES (?, 'active')", (LANE,))
        for number, (status, stamp, events) in enumerate(rows):
            connection.execute(
                "INSERT INTO vp_missions (mission_id, vp_id, status, created_at) VALUES (?, ?, ?, ?)",
                (f"m{number}", LANE, status, stamp),
            )
            connection.executemany(
                "INSERT INTO vp_events (event_id, mission_id, vp_id, event_type, created_at) VALUES (?, ?, ?, ?, ?)",
                [(f"m{number}-{k}", f"m{number}", lane, kind, at) for k, (kind, at, lane) in enumerate(events)],
            )
        connection.commit()


def read(stamp: object) -> datetime | None:
    """A stored value as a moment, as SQLite turns it to text."""
    if isinstance(stamp, bytes):
        stamp = stamp.decode(errors="replace")
    return None if stamp is None else parse_time(str(stamp))


def newest(rows: Rows, number: int, skip: int) -> set[str]:
    oldest = datetime.min.replace(tzinfo=UTC)
    past = [(read(stamp), n) for n, (_, stamp, _) in enumerate(rows)]
    past = [(at, n) for at, n in past if at is None or at <= AS_OF]
    past.sort(key=lambda row: (row[0] is not None, row[0] or oldest, row[1]), reverse=True)
    return {f"m{n}" for _, n in past[skip : skip + number]}


def newest_listed(patch: pytest.MonkeyPatch, number: int) -> None:
    """Has so few newest events listed, and missions packed however few they are."""
    for module in (load, mission_events):
        patch.setattr(module, "MAX_EVENT_LIMIT", number)
    patch.setattr(load, "_FEW_MISSIONS", 0)


def loaded(path: Path, window: vp.RolloutWindow) -> Tables:
    with vp.open_source(path) as source:
        return source.load(window)


@settings(max_examples=2, deadline=None, derandomize=True)
@given(rows=ROWS, number=st.integers(1, 8), skip=st.integers(0, 3), hours=st.tuples(MOMENTS, st.integers(1, 60)))
def test_the_missions_of_a_window_are_those_that_a_loop_finds(
    rows: Rows, number: int, skip: int, hours: tuple[datetime, int]
) -> None:
    start, end = hours[0], hours[0] + timedelta(hours=hours[1])
    inside = {f"m{n}" for n, (_, at, _) in enumerate(rows) if (m := read(at)) and start <= m < end and m <= AS_OF}
    windows = {
        vp.RolloutWindow(LANE, last_missions=number, skip_missions=skip, as_of=AS_OF): newest(rows, number, skip),
        vp.RolloutWindow(LANE, start=start, end=end, as_of=AS_OF): inside,
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "indexed.db", Path(folder) / "plain.db"]
        write(paths[0], rows, INDEX)
        write(paths[1], rows, "")
        for window, expected in windows.items():
            indexed, plain = (loaded(path, window) for path in paths)
            assert set(indexed.missions["mission_id"]) == expected
            assert indexed.missions.equals(plain.missions)
            assert indexed.quality == plain.quality


@settings(max_examples=4, deadline=None, derandomize=True)
@given(rows=ROWS, index=st.sampled_from([INDEX, INDEX, ""]))
def test_events_that_are_packed_are_what_a_loop_counts(rows: Rows, index: str) -> None:
    window = vp.RolloutWindow(LANE, last_missions=100, as_of=AS_OF)
    past = [
        (at, f"m{n}", f"m{n}-{k}", kind.decode() if isinstance(kind, bytes) else kind or "unknown", lane)
        for n, (_, created, events) in enumerate(rows)
        if (read(created) or AS_OF) <= AS_OF
        for k, (kind, stamp, lane) in enumerate(events)
        if (at := read(stamp) or datetime.min.replace(tzinfo=UTC)) <= AS_OF
    ]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "vp_state.db"
        write(path, rows, index)
        newest_listed(patch, 2)
        packed = loaded(path, window)
        patch.setattr(SqliteReading, "fetch_packed", Reading.fetch_packed)
        fetched = loaded(path, window)
    assert packed.event_counts == Counter(kind for _, _, _, kind, _ in past)
    assert dict(zip(packed.missions["mission_id"], packed.missions["events"], strict=True)) == {
        name: sum(mission == name for _, mission, *_ in past) for name in packed.missions["mission_id"]
    }
    assert packed.quality == fetched.quality
    assert packed.quality.foreign_events == sum(lane != LANE for *_, lane in past)
    assert packed.missions.equals(fetched.missions)
    assert packed.events.equals(fetched.events)


def minute(number: int, form: int = 1) -> Any:
    return FORMS[form](NOON + timedelta(minutes=number))


def usual(*kinds: str, lane: str = LANE) -> list[tuple[Any, Any, str]]:
    return [(f"vp.mission.{kind}", minute(number), lane) for number, kind in enumerate(kinds)]


#: Missions of before the newest events, by what is particular about theirs, and whether they are packed.
PACKED: dict[str, tuple[list[tuple[Any, Any, str]], bool]] = {
    "as usual": (usual("dispatched", "started", "progress", "progress", "completed"), True),
    "ended twice, going on": (usual("started", "completed", "started", "cancelled", "progress"), True),
    "nothing but progress": (usual("progress", "progress"), True),
    "asked to stop": (usual("dispatched", "cancel_requested"), True),
    "two of one moment": ([("vp.mission.completed", minute(3), LANE), ("vp.mission.cancelled", minute(3), LANE)], True),
    "written backwards": (usual("dispatched", "started", "cancelled")[::-1], True),
    "without fractions": ([(kind, minute(3, form=0), LANE) for kind in ("vp.mission.started", PROGRESS)], True),
    "a fallback": (usual("dispatched", "fallback", "completed"), False),
    "a failure": (usual("dispatched", "failed"), False),
    "another lane's": ([*usual("dispatched"), *usual("progress", lane="another")], False),
    "an unknown type": (usual("dispatched", "paused"), False),
    "no type": ([*usual("dispatched"), (None, minute(2), LANE)], False),
    "widths that differ": ([*usual("dispatched"), (PROGRESS, minute(2, form=0), LANE)], False),
    "Z": ([*usual("dispatched"), (PROGRESS, minute(2, form=2), LANE)], False),
    "29 February": ([(PROGRESS, "2024-02-29T10:00:00.000000+00:00", LANE)], False),
    "a day that is none": ([(PROGRESS, "2026-02-30T10:00:00.000000+00:00", LANE)], False),
    "no stamp": ([*usual("dispatched"), (PROGRESS, None, LANE)], False),
    "two stamps in one": ([*usual("dispatched"), (PROGRESS, f"{minute(1)}|{minute(2)}", LANE)], False),
    "later than the moment": ([(PROGRESS, (AS_OF + timedelta(1)).isoformat(), LANE)], False),
    "later still": ([(PROGRESS, (AS_OF + timedelta(2)).isoformat(), LANE)], False),
}
NEWEST = usual(*["progress"] * 9)[-2:]


@pytest.mark.parametrize("blob", [False, True], ids=["texts", "a stamp that is no text"])
def test_missions_are_packed_where_all_is_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blob: bool) -> None:
    """m0 has the newest event, which is listed; m1, of an odd stamp, is read but was created after the window's end."""
    stray = [(PROGRESS, minute(0, form=6), LANE), *usual("dispatched")] if blob else usual("dispatched")
    rows: Rows = [
        ("completed", minute(0), NEWEST),
        ("completed", minute(100, form=3), usual("dispatched", "progress")),
        ("completed", minute(0), stray),
        *[("completed", minute(0), events) for events, _ in PACKED.values()],
    ]
    write(tmp_path / "vp_state.db", rows, INDEX)
    window = vp.RolloutWindow(LANE, start=NOON, end=NOON + timedelta(hours=1), as_of=AS_OF)
    newest_listed(monkeypatch, 1)

    def both(reading: Any) -> tuple[Tables, set[str]]:
        tables = load.load_window(reading, window, AS_OF, "vp_state.db", "sqlite")
        return tables, {row["mission_id"] for row in reading.rows("SELECT mission_id FROM plain_missions")}

    with vp.open_source(tmp_path / "vp_state.db") as source:
        packed, found = source.read(both)  # type: ignore[attr-defined]
        monkeypatch.setattr(SqliteReading, "fetch_packed", Reading.fetch_packed)
        fetched, none = source.read(both)  # type: ignore[attr-defined]
    expected = {f"m{n}" for n, (_, is_packed) in enumerate(PACKED.values(), start=3) if is_packed} | {"m1", "m2"}
    assert (found, none) == (set() if blob else expected, set())
    pandas.testing.assert_frame_equal(packed.missions, fetched.missions)
    pandas.testing.assert_frame_equal(packed.events, fetched.events)
    assert (packed.event_counts, packed.quality) == (fetched.event_counts, fetched.quality)
    assert list(packed.event_counts) == list(fetched.event_counts)
    kinds = [kind or "unknown" for n, (_, _, events) in enumerate(rows) if n != 1 for kind, at, _ in events
             if (read(at) or NOON) <= AS_OF]  # fmt: skip
    assert packed.event_counts == Counter(kinds)


@pytest.mark.parametrize("index", [INDEX, ""])
def test_a_stamp_from_the_future_is_seen_whatever_the_status(tmp_path: Path, index: str) -> None:
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    rows: Rows = [(status, later, []) for status in ("completed", "never heard of", "", None, b"running", "\U0010ffff")]
    write(tmp_path / "vp_state.db", [("completed", NOON.isoformat(), []), *rows], index)
    tables = loaded(tmp_path / "vp_state.db", vp.RolloutWindow(LANE, last_missions=1))
    assert tables.quality.beyond_as_of == len(rows)
    assert tables.more_to_come


@pytest.mark.parametrize("index", [INDEX, ""])
def test_of_one_moment_in_two_forms_the_row_written_last_is_newest(tmp_path: Path, index: str) -> None:
    forms = [NOON.isoformat(timespec="microseconds"), NOON.isoformat()]
    write(tmp_path / "vp_state.db", [("completed", form, []) for form in forms], index)
    tables = loaded(tmp_path / "vp_state.db", vp.RolloutWindow(LANE, last_missions=1, as_of=AS_OF))
    assert tables.missions["mission_id"].tolist() == ["m1"]
