"""One window's tables out of a reading: what SQLite is asked for, and how events come to the grain of missions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from vpanalysis.data.reading import Reading, literal, moment, session_row
from vpanalysis.data.schema import (
    BEYOND_SECONDS,
    CANCELLED,
    COMPLETED,
    DISPATCHED,
    FAILED,
    FALLBACK,
    MAX_EVENT_LIMIT,
    MISSION_STATUSES,
    PROGRESS,
    STARTED,
    TABLES,
    TERMINAL_EVENTS,
    TERMINAL_STATUSES,
    UNKNOWN,
)
from vpanalysis.data.tables import DataQuality, Tables
from vpanalysis.data.timestamps import parse_time
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import UnknownLaneError

_MISSION_TEXTS = (
    "mission_id", "run_id", "status", "objective", "result_ref", "worker_id", "priority_tier", "source",
    "cancel_requested",
)  # fmt: skip
_MISSION_TIMES = ("created_at", "started_at", "completed_at", "updated_at")
_SESSION_EVENT_COLUMNS = ("event_id", "vp_id", "event_type", "payload_json", "created_at")

#: A stamp that begins with a date: it sorts by text to within the day that any offset can move it.
_DATED = "typeof(created_at) = 'text' AND created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
#: A stamp of the field's usual form: it sorts by text exactly.
_DAY_AND_TIME = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
_USUAL = (
    f"typeof(created_at) = 'text' AND (created_at GLOB '{_DAY_AND_TIME}+00:00' OR "
    f"created_at GLOB '{_DAY_AND_TIME}.[0-9][0-9][0-9][0-9][0-9][0-9]+00:00') "
    "AND created_at >= '0001' AND {begins_with_a_date}"
)


def load_window(reading: Reading, window: RolloutWindow, now: datetime, source: str, kind: str) -> Tables:
    """Returns the tables of ``window``, judged as of the moment it names, else ``now``, the moment of reading.

    Raises:
        UnknownLaneError: The database holds other lanes, but nothing of this one.
    """
    as_of = window.as_of or now
    window = window.at(as_of)
    lane = f"vp_id = {literal(window.vp_id)}"
    candidates = f"{lane} AND ({_candidates(reading, window, as_of, lane)})"
    reading.fetch("mission_rows", "vp_missions", (*_MISSION_TEXTS, *_MISSION_TIMES), candidates)
    reading.read_times("mission_rows", _MISSION_TIMES, "vp_missions")
    _choose_missions(reading, window, as_of)
    _choose_events(reading, window, candidates, as_of)
    reading.fetch("session_event_rows", "vp_session_events", _SESSION_EVENT_COLUMNS, lane)
    reading.read_times("session_event_rows", ["created_at"], "vp_session_events")
    session = session_row(reading, lane)
    missions = reading.frame(_MISSIONS)
    if missions.empty and session is None:
        _check_lane(reading, lane, window.vp_id)
    return Tables(
        window=window,
        as_of=as_of,
        source=source,
        kind=kind,
        missions=missions,
        events=reading.frame(_EVENTS),
        event_counts={row["name"]: row["n"] for row in reading.rows(_EVENT_COUNTS)},
        session=session,
        session_events=reading.frame(_SESSION_EVENTS.format(until=_until(window, as_of))),
        quality=_quality(reading, window, as_of, lane, max(now, as_of), session),
        last_activity=_newest_event(reading, lane, as_of),
        more_to_come=_more_to_come(reading, lane, session, as_of),
    )


def _candidates(reading: Reading, window: RolloutWindow, as_of: datetime, lane: str) -> str:
    """What SQLite can decide by text: a few missions too many, never one too few."""
    if window.last_missions is not None:
        usual_form = _usual(reading)
        usual = f"{lane} AND {usual_form} AND created_at <= {literal(_usual_text(as_of))}"
        newest = f"ORDER BY created_at DESC, rowid DESC LIMIT {window.last_missions + window.skip_missions}"
        return f"rowid IN (SELECT rowid FROM vp_missions WHERE {usual} {newest}) OR NOT ({usual_form})"
    return f"({_DATED} AND {_date_range(window, as_of)}) OR NOT ({_DATED})"


def _usual(reading: Reading) -> str:
    return _USUAL.format(begins_with_a_date=reading.begins_with_a_date)


def _usual_text(value: datetime) -> str:
    return value.isoformat(timespec="microseconds")


def _date_range(window: RolloutWindow, as_of: datetime) -> str:
    """The window's dates as text bounds, a day wider on either side than any offset can move a stamp."""
    bounds = []
    if window.start is not None:
        bounds.append(f"created_at >= '{_shifted(window.start, -1)}'")
    end = as_of if window.end is None else min(window.end, as_of)
    bounds.append(f"created_at < '{_shifted(end, 2)}'")
    return " AND ".join(bounds)


def _shifted(value: datetime, days: int) -> str:
    try:
        return (value + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return "0001-01-01" if days < 0 else "9999-99-99"


def _choose_missions(reading: Reading, window: RolloutWindow, as_of: datetime) -> None:
    """Creates ``chosen``: the window's missions, decided on parsed times."""
    seen = f"(created_at IS NULL OR created_at <= {moment(as_of)})"
    if window.last_missions is not None:
        choice = (
            f"WHERE {seen} ORDER BY created_at DESC NULLS LAST, rid DESC "
            f"LIMIT {window.last_missions} OFFSET {window.skip_missions}"
        )
    else:
        bounds = ["created_at IS NOT NULL", seen]
        if window.start is not None:
            bounds.append(f"created_at >= {moment(window.start)}")
        if window.end is not None:
            bounds.append(f"created_at < {moment(window.end)}")
        choice = f"WHERE {' AND '.join(bounds)}"
    reading.execute(f"CREATE TABLE chosen AS SELECT *, {moment(as_of)} AS as_of FROM mission_rows {choice}")


def _choose_events(reading: Reading, window: RolloutWindow, candidates: str, as_of: datetime) -> None:
    """Creates ``mission_events``: every event of the chosen missions that happened by ``as_of``.

    And ``shown``: those that a report lists (the newest) or groups (fallbacks and failures), payloads included.
    """
    rids = [str(int(row["rid"])) for row in reading.rows("SELECT rid FROM chosen")]
    missions = f"rowid IN ({', '.join(rids)})" if len(rids) <= _ROWIDS_PER_QUERY else candidates
    reading.fetch(
        "event_rows",
        "vp_events",
        ["mission_id", "event_type", "created_at", "vp_id"],
        f"mission_id IN (SELECT mission_id FROM vp_missions WHERE {missions}) AND mission_id <> ''",
        replacing={"vp_id": f"nullif(vp_id, {literal(window.vp_id)})"},
    )
    reading.read_times("event_rows", ["created_at"], "vp_events")
    reading.execute(
        "CREATE TABLE mission_events AS SELECT * FROM event_rows "
        "WHERE mission_id IN (SELECT mission_id FROM chosen) "
        f"AND (created_at IS NULL OR created_at <= {moment(as_of)})"
    )
    reading.execute(
        f"CREATE TABLE recent AS SELECT rid FROM mission_events "
        f"ORDER BY created_at DESC NULLS LAST, rid DESC LIMIT {MAX_EVENT_LIMIT}"
    )
    wanted = [
        str(int(row["rid"]))
        for row in reading.rows(
            "SELECT rid FROM mission_events WHERE rid IN (FROM recent) "
            f"OR event_type IN ('{FALLBACK}', '{FAILED}') ORDER BY rid"
        )
    ]
    columns = ("event_id", "vp_id", "payload_json")
    reading.fetch("shown", "vp_events", columns, "0")
    for first in range(0, len(wanted), _ROWIDS_PER_QUERY):
        some = ", ".join(wanted[first : first + _ROWIDS_PER_QUERY])
        reading.fetch("some_shown", "vp_events", columns, f"rowid IN ({some})")
        reading.execute("INSERT INTO shown SELECT * FROM some_shown")


_ROWIDS_PER_QUERY = 20_000

_EVENTS = """
SELECT event_id, mission_id, shown.vp_id, event_type, payload_json, created_at, created_at_text,
       rid IN (FROM recent) AS recent
FROM mission_events m JOIN shown USING (rid)
ORDER BY created_at NULLS FIRST, rid
"""

_EVENT_COUNTS = f"""
SELECT coalesce(nullif(event_type, ''), '{UNKNOWN}') AS name, count(*) AS n
FROM mission_events GROUP BY name ORDER BY n DESC, name
"""

_SESSION_EVENTS = """
SELECT event_id, vp_id, event_type, payload_json, created_at, created_at_text
FROM session_event_rows WHERE created_at IS NULL OR {until}
ORDER BY created_at NULLS FIRST, rid
"""

_TERMINAL_EVENTS = f"('{COMPLETED}', '{FAILED}', '{CANCELLED}')"
_TERMINAL_STATUSES = "('" + "', '".join(TERMINAL_STATUSES) + "')"
_KNOWN_STATUSES = "('" + "', '".join(MISSION_STATUSES) + "')"
_STATUS_OF_EVENT = " ".join(f"WHEN '{event}' THEN '{status}'" for event, status in TERMINAL_EVENTS.items())

#: What happened after ``as_of`` is taken back (``seen``), then each mission gets what its events tell.
_MISSIONS = f"""
WITH told AS (
  SELECT mission_id,
    count(*) AS events,
    count(*) FILTER (event_type = '{FALLBACK}') AS fallback_events,
    count(*) FILTER (event_type = '{STARTED}') AS starts,
    min(created_at) FILTER (event_type = '{FALLBACK}') AS fallback_at,
    min(created_at) FILTER (event_type = '{DISPATCHED}') AS dispatched_at,
    min(created_at) FILTER (event_type = '{STARTED}') AS started_event_at,
    last(event_type ORDER BY created_at NULLS FIRST, rid) FILTER (event_type IN {_TERMINAL_EVENTS}) AS ended_event,
    last(created_at ORDER BY created_at NULLS FIRST, rid) FILTER (event_type IN {_TERMINAL_EVENTS})
      AS ended_event_at,
    string_agg(left(coalesce(nullif(event_type, ''), '{UNKNOWN}'), 80), ' > ' ORDER BY created_at NULLS LAST, rid)
      FILTER (event_type IS DISTINCT FROM '{PROGRESS}') AS sequence
  FROM mission_events GROUP BY mission_id
), later AS (
  SELECT c.*, coalesce(started_at > as_of, false) AS started_later,
    coalesce(status IN {_TERMINAL_STATUSES} AND coalesce(completed_at, updated_at) > as_of, false) AS ended_later,
    told.* EXCLUDE (mission_id)
  FROM chosen c LEFT JOIN told USING (mission_id)
), seen AS (
  SELECT * REPLACE (
      CASE WHEN ended_later AND ended_event IS NOT NULL THEN CASE ended_event {_STATUS_OF_EVENT} END
           WHEN ended_later THEN CASE WHEN started_at <= as_of THEN 'running' ELSE 'queued' END
           WHEN status = 'running' AND started_later THEN 'queued' ELSE status END AS status,
      CASE WHEN NOT started_later THEN started_at END AS started_at,
      CASE WHEN NOT started_later THEN started_at_text END AS started_at_text,
      CASE WHEN completed_at <= as_of THEN completed_at END AS completed_at,
      CASE WHEN completed_at <= as_of OR completed_at IS NULL THEN completed_at_text END AS completed_at_text)
  FROM later
)
SELECT mission_id, run_id, objective, result_ref, worker_id, priority_tier, source,
  CASE WHEN status IN {_KNOWN_STATUSES} THEN status ELSE '{UNKNOWN}' END AS status,
  created_at, started_at, completed_at, updated_at, dispatched_at, started_event_at, fallback_at, ended_event_at,
  CASE WHEN started_at >= created_at THEN (epoch_us(started_at) - epoch_us(created_at)) / 1e6
       WHEN started_at < created_at THEN 0.0 END AS queue_wait_seconds,
  CASE WHEN completed_at >= started_at THEN (epoch_us(completed_at) - epoch_us(started_at)) / 1e6
       WHEN completed_at < started_at THEN 0.0 END AS duration_seconds,
  coalesce(events, 0) AS events, coalesce(fallback_events, 0) AS fallback_events, coalesce(starts, 0) AS starts,
  coalesce(cancel_requested, '0') NOT IN ('', '0') AS cancel_requested,
  ended_event, coalesce(sequence, '') AS sequence,
  status AS status_text, created_at_text, started_at_text, completed_at_text, updated_at_text
FROM seen ORDER BY created_at NULLS FIRST, rid
"""


def _until(window: RolloutWindow, as_of: datetime) -> str:
    if window.end is not None and window.end <= as_of:
        return f"created_at < {moment(window.end)}"
    return f"created_at <= {moment(as_of)}"


def _check_lane(reading: Reading, lane: str, vp_id: str) -> None:
    """Raises where the lane has no row in any table, although other lanes have."""
    for table in ("vp_missions", "vp_events", "vp_session_events"):
        reading.fetch("any_row", table, ["vp_id"], f"{lane} LIMIT 1")
        if reading.rows("FROM any_row"):
            return
    lanes: set[str] = set()
    for table in ("vp_sessions", "vp_missions"):
        reading.fetch("lanes", table, ["vp_id"], f"rowid IN (SELECT min(rowid) FROM {table} GROUP BY vp_id LIMIT 1000)")
        lanes |= {row["vp_id"] for row in reading.rows("FROM lanes") if row["vp_id"]}
    if lanes:
        shown = ", ".join(sorted(lanes)[:10]) + (", …" if len(lanes) > 10 else "")
        raise UnknownLaneError(f"There is no lane {vp_id!r} in the database; it holds {shown}.")


def _quality(
    reading: Reading,
    window: RolloutWindow,
    as_of: datetime,
    lane: str,
    now: datetime,
    session: Mapping[str, Any] | None,
) -> DataQuality:
    [found] = reading.rows(
        """
        SELECT count(*) FILTER (coalesce(mission_id, '') = '') AS without_id,
          count(*) - without_id - count(DISTINCT nullif(mission_id, '')) AS duplicates,
          count(*) FILTER (started_at < created_at OR completed_at < started_at) AS backwards,
          (SELECT count(*) FROM mission_rows WHERE created_at IS NULL) AS without_created_at,
          (SELECT count(*) FROM mission_events WHERE vp_id <> '') AS foreign_events,
          CAST(min(created_at) AS VARCHAR) AS first_created
        FROM chosen
        """
    )
    unknown = reading.rows(
        f"SELECT coalesce(status, '') AS name, count(*) AS n FROM chosen "
        f"WHERE coalesce(status, '') NOT IN {_KNOWN_STATUSES} GROUP BY name ORDER BY n DESC, name"
    )
    start = window.start or parse_time(found["first_created"])
    missionless = _missionless_events(
        reading, replace(window, start=start, last_missions=None, skip_missions=0), as_of, lane
    )
    return DataQuality(
        missing_tables=tuple(table for table in TABLES if table not in reading.columns),
        missing_columns=tuple(
            f"{table}.{column}"
            for table, columns in TABLES.items()
            for column in columns
            if table in reading.columns and column not in reading.columns[table]
        ),
        unreadable_times=reading.unreadable,
        undecodable_texts=reading.undecodable,
        missions_without_created_at=found["without_created_at"],
        duplicate_missions=found["duplicates"],
        missions_without_id=found["without_id"],
        unknown_statuses={row["name"]: row["n"] for row in unknown},
        backwards_clocks=found["backwards"],
        orphan_events=sum(row["n"] for row in missionless if row["orphan"]),
        orphan_signals=sum(row["n"] for row in missionless if row["name"] in (FALLBACK, FAILED)),
        lane_events={row["name"]: row["n"] for row in missionless if not row["orphan"]},
        foreign_events=found["foreign_events"],
        beyond_as_of=_beyond(reading, lane, now, session),
    )


def _beyond(reading: Reading, lane: str, now: datetime, session: Mapping[str, Any] | None) -> int:
    """Counts rows of the lane that are stamped later than the moment of reading allows, up to 1,000 a table."""
    limit = now + timedelta(seconds=BEYOND_SECONDS)
    later = f"{lane} AND created_at > {literal(_shifted(limit, -2))} ORDER BY created_at DESC LIMIT 1000"
    statuses = "status IN ('" + "', '".join(MISSION_STATUSES) + "')"  # so that the index finds the newest of each
    reading.fetch("later_missions", "vp_missions", ["created_at"], f"{statuses} AND {later}", count=False)
    reading.fetch("later_events", "vp_events", ["created_at"], later, count=False)
    reading.read_times("later_missions", ["created_at"])
    reading.read_times("later_events", ["created_at"])
    counts = [
        f"(SELECT count(*) FROM {table} WHERE {condition})"
        for table, condition in (
            ("later_missions", f"created_at > {moment(limit)}"),
            ("later_events", f"created_at > {moment(limit)}"),
            ("session_event_rows", f"created_at > {moment(limit)}"),
            ("chosen", f"greatest(started_at, completed_at) > {moment(limit)}"),
        )
    ]
    [found] = reading.rows(f"SELECT {' + '.join(counts)} AS n")
    stamps = [parse_time(str((session or {}).get(column))) for column in ("last_heartbeat_at", "updated_at")]
    return int(found["n"]) + sum(stamp is not None and stamp > limit for stamp in stamps)


def _more_to_come(reading: Reading, lane: str, session: Mapping[str, Any] | None, as_of: datetime) -> bool:
    """Whether any row that the window read, or any mission of the lane, is stamped after ``as_of``."""
    usual = (
        f"{lane} AND created_at > {literal(_usual_text(as_of))} AND {_usual(reading)} LIMIT 1"  # the others were read
    )
    reading.fetch("usual_later", "vp_missions", ["created_at"], usual, count=False)
    later = [
        f"EXISTS (FROM {table} WHERE greatest({columns}) > {moment(as_of)})"
        for table, columns in (
            ("mission_rows", ", ".join(_MISSION_TIMES)),
            ("event_rows", "created_at"),
            ("session_event_rows", "created_at"),
        )
    ]
    [found] = reading.rows(f"SELECT EXISTS (FROM usual_later) OR {' OR '.join(later)} AS later")
    written = parse_time(str((session or {}).get("updated_at")))
    return bool(found["later"]) or (written is not None and written > as_of)


def _newest_event(reading: Reading, lane: str, as_of: datetime) -> datetime | None:
    """Returns when the newest event of the lane happened, whatever its mission; ``None`` without one."""
    newest = (
        f"{lane} AND {_usual(reading)} AND created_at <= {literal(_usual_text(as_of))} ORDER BY created_at DESC LIMIT 1"
    )
    reading.fetch("newest_event", "vp_events", ["created_at"], newest, count=False)
    return next((parse_time(row["created_at"]) for row in reading.rows("SELECT created_at FROM newest_event")), None)


def _missionless_events(reading: Reading, window: RolloutWindow, as_of: datetime, lane: str) -> list[dict[str, Any]]:
    """Counts the lane's events within the window's time whose mission does not exist or that name none."""
    reading.fetch(
        "missionless",
        "vp_events",
        ["event_type", "mission_id", "created_at"],
        f"{lane} AND {_date_range(window, as_of)} AND (mission_id IS NULL OR mission_id = '' OR NOT EXISTS "
        "(SELECT 1 FROM vp_missions m WHERE m.mission_id = vp_events.mission_id))",
        count=False,
    )
    reading.read_times("missionless", ["created_at"])
    since = "true" if window.start is None else f"created_at >= {moment(window.start)}"
    return reading.rows(
        f"SELECT coalesce(nullif(event_type, ''), '{UNKNOWN}') AS name, coalesce(mission_id, '') <> '' AS orphan, "
        f"count(*) AS n FROM missionless WHERE {since} AND {_until(window, as_of)} GROUP BY ALL ORDER BY n DESC, name"
    )
