"""Windows' tables out of one reading: what SQLite is asked for, and how events come to the grain of missions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from vpanalysis.data.candidates import candidates_of, date_range, of_each_status, shifted, usual, usual_text
from vpanalysis.data.mission_events import EVENT_COUNTS, EVENTS, MISSION_EVENTS, PLAIN, fetch_events, fetch_shown
from vpanalysis.data.noticed import SINCE, count_beyond, fetch_missionless, noticed
from vpanalysis.data.reading import Reading, literal, moment, session_row
from vpanalysis.data.schema import (
    CANCELLED,
    COMPLETED,
    DISPATCHED,
    FAILED,
    FALLBACK,
    MAX_EVENT_LIMIT,
    MISSION_STATUSES,
    PROGRESS,
    STARTED,
    TERMINAL_EVENTS,
    TERMINAL_STATUSES,
    UNKNOWN,
)
from vpanalysis.data.tables import MISSION_FRAME_TIMES, Tables
from vpanalysis.data.timestamps import parse_time
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import UnknownLaneError

#: Missions that are named one by one, with all their events.
_FEW_MISSIONS = 5_000
_MISSION_TEXTS = (
    "mission_id", "run_id", "status", "objective", "result_ref", "worker_id", "priority_tier", "source",
    "cancel_requested",
)  # fmt: skip
MISSION_TIMES = ("created_at", "started_at", "completed_at", "updated_at")
MISSION_COLUMNS = (*_MISSION_TEXTS, *MISSION_TIMES)
_SESSION_EVENT_COLUMNS = ("event_id", "vp_id", "event_type", "payload_json", "created_at")


def load_window(reading: Reading, window: RolloutWindow, now: datetime, source: str, kind: str) -> Tables:
    """Returns the tables of ``window``, judged as of the moment it names, else ``now``, the moment of reading.

    Raises:
        UnknownLaneError: The database holds other lanes, but nothing of this one.
    """
    reading.begin()
    as_of = window.as_of or now
    window = window.at(as_of)
    lane = f"vp_id = {literal(window.vp_id)}"
    candidates = candidates_of(reading, window, as_of, lane)
    reading.fetch("mission_rows", "vp_missions", MISSION_COLUMNS, candidates, times=MISSION_TIMES)
    name_windows(reading, [window])
    _choose_missions(reading, window)
    some = reading.rows(f"SELECT rid FROM chosen LIMIT {_FEW_MISSIONS + 1}")
    few = len(some) <= _FEW_MISSIONS
    missions = f"rowid IN ({', '.join(str(int(row['rid'])) for row in some)})" if few else candidates
    fetch_events(reading, window.vp_id, missions, None if few else as_of)
    reading.execute(MISSION_EVENTS)
    fetch_shown(reading, newest=MAX_EVENT_LIMIT)
    [start] = reading.rows(f"SELECT CAST({SINCE} AS VARCHAR) AS since FROM windows")
    since = replace(window, start=parse_time(start["since"]), last_missions=None, skip_missions=0)
    fetch_missionless(reading, lane, date_range(since, as_of))
    session = read_session(reading, lane)
    now = max(now, as_of)
    [tables] = tables_of(reading, [window], now, session, count_beyond(reading, lane, now, session))
    if tables.missions.empty and session is None:
        check_lane(reading, lane, window.vp_id)
    return replace(
        tables,
        source=source,
        kind=kind,
        last_activity=newest_event(reading, lane, as_of),
        more_to_come=_more_to_come(reading, lane, session, as_of),
    )


def name_windows(reading: Reading, windows: Sequence[RolloutWindow]) -> None:
    """Creates ``windows``: their numbers, bounds and moments of judgement."""
    rows = []
    for number, window in enumerate(windows):
        assert window.as_of is not None
        end = window.as_of if window.end is None else min(window.end, window.as_of)
        times = [
            f"{moment(value) if value else 'NULL'}::TIMESTAMPTZ" for value in (window.start, window.end, window.as_of)
        ]
        texts = [literal(shifted(window.start, -1) if window.start else ""), literal(shifted(end, 2))]
        texts = texts if window.last_missions is None else ["NULL::VARCHAR"] * 2  # their dates may be any
        rows.append(f"({number}, {', '.join([*times, *texts])})")
    reading.execute(
        f"CREATE OR REPLACE TEMP TABLE windows AS FROM (VALUES {', '.join(rows)}) "
        'v(w, "start", "end", as_of, text_from, text_until)'
    )


def read_session(reading: Reading, lane: str) -> dict[str, Any] | None:
    """Creates ``session_event_rows``, all of the lane's, and returns its session row."""
    reading.fetch("session_event_rows", "vp_session_events", _SESSION_EVENT_COLUMNS, lane, times=["created_at"])
    return session_row(reading, lane)


def tables_of(
    reading: Reading, windows: Sequence[RolloutWindow], now: datetime, session: Mapping[str, Any] | None, beyond: int
) -> Iterator[Tables]:
    """Yields the tables of the windows whose missions are ``chosen`` and whose events are ``mission_events``."""
    missions = _by_window(reading.frame(_MISSIONS, MISSION_FRAME_TIMES))
    events = _by_window(reading.frame(EVENTS, ["created_at"]))
    session_events = reading.frame(_SESSION_EVENTS, ["created_at"])
    counts: dict[int, dict[str, int]] = {}
    for row in reading.rows(EVENT_COUNTS):
        counts.setdefault(row["w"], {})[row["name"]] = row["n"]
    quality = noticed(reading, now, beyond)
    for number, window in enumerate(windows):
        assert window.as_of is not None
        undated = session_events["created_at"].isna()
        stamps = session_events["created_at"]
        closed = window.end is not None and window.end <= window.as_of
        until = stamps < window.end if closed else stamps <= window.as_of
        yield Tables(
            window=window,
            as_of=window.as_of,
            source="",
            kind="",
            missions=missions(number),
            events=events(number),
            event_counts=counts.get(number, {}),
            session=session,
            session_events=session_events[undated | until].reset_index(drop=True),
            quality=quality[number],
        )


def _by_window(frame: pd.DataFrame) -> Callable[[int], pd.DataFrame]:
    """Returns what gives each window's rows of a frame that is sorted by ``w``."""
    numbers = frame.pop("w").to_numpy()

    def of(number: int) -> pd.DataFrame:
        first, last = np.searchsorted(numbers, [number, number + 1])
        return frame.iloc[first:last].reset_index(drop=True)

    return of


def _choose_missions(reading: Reading, window: RolloutWindow) -> None:
    """Creates ``chosen``: the window's missions, decided on parsed times."""
    if window.last_missions is not None:
        choice = (
            f"coalesce(created_at <= as_of, true) ORDER BY created_at DESC NULLS LAST, rid DESC "
            f"LIMIT {window.last_missions} OFFSET {window.skip_missions}"
        )
    else:
        choice = WITHIN
    reading.execute(f"{CHOSEN} WHERE {choice}")


#: Which missions a range holds.
WITHIN = (
    "created_at >= coalesce(\"start\", '-infinity') AND created_at < coalesce(\"end\", 'infinity') "
    "AND created_at <= as_of"
)
#: Each window's missions, with its moment of judgement, decided on parsed times; a condition follows.
CHOSEN = "CREATE OR REPLACE TEMP TABLE chosen AS SELECT w, m.*, as_of FROM mission_rows m CROSS JOIN windows"
_SESSION_EVENTS = """
SELECT event_id, vp_id, event_type, payload_json, created_at, created_at_text
FROM session_event_rows
ORDER BY created_at NULLS FIRST, rid
"""

_TERMINAL_EVENTS = f"('{COMPLETED}', '{FAILED}', '{CANCELLED}')"
_TERMINAL_STATUSES = "('" + "', '".join(TERMINAL_STATUSES) + "')"
_KNOWN_STATUSES = "('" + "', '".join(MISSION_STATUSES) + "')"
_STATUS_OF_EVENT = " ".join(f"WHEN '{event}' THEN '{status}'" for event, status in TERMINAL_EVENTS.items())

#: What happened after ``as_of`` is taken back (``seen``), then each mission gets what its events tell.
_MISSIONS = f"""
WITH told AS (
  SELECT w, mission_id,
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
  FROM mission_events GROUP BY w, mission_id
  UNION ALL {PLAIN}
), later AS (
  SELECT c.*, coalesce(started_at > as_of, false) AS started_later,
    coalesce(status IN {_TERMINAL_STATUSES} AND coalesce(completed_at, updated_at) > as_of, false) AS ended_later,
    told.* EXCLUDE (w, mission_id)
  FROM chosen c LEFT JOIN told USING (w, mission_id)
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
SELECT w, mission_id, run_id, objective, result_ref, worker_id, priority_tier, source,
  CASE WHEN status IN {_KNOWN_STATUSES} THEN status ELSE '{UNKNOWN}' END AS status,
  created_at, started_at, completed_at, updated_at, dispatched_at, started_event_at, fallback_at, ended_event_at,
  CASE WHEN started_at >= created_at THEN (epoch_us(started_at) - epoch_us(created_at)) / 1e6
       WHEN started_at < created_at THEN 0.0 END AS queue_wait_seconds,
  CASE WHEN completed_at >= started_at THEN (epoch_us(completed_at) - epoch_us(started_at)) / 1e6
       WHEN completed_at < started_at THEN 0.0 END AS duration_seconds,
  coalesce(events, 0) AS events,
  coalesce(fallback_events, 0) AS fallback_events, coalesce(starts, 0) AS starts,
  coalesce(cancel_requested, '0') NOT IN ('', '0') AS cancel_requested,
  ended_event, coalesce(sequence, '') AS sequence,
  status AS status_text, created_at_text, started_at_text, completed_at_text, updated_at_text
FROM seen ORDER BY w, created_at NULLS FIRST, rid
"""


def check_lane(reading: Reading, lane: str, vp_id: str) -> None:
    """Raises where the lane has no row in any table, although other lanes have."""
    for table in ("vp_missions", "vp_events", "vp_session_events"):
        if reading.texts(table, "vp_id", f"{lane} LIMIT 1"):
            return
    lanes: set[str] = set()
    for table in ("vp_sessions", "vp_missions"):
        one_each = f"rowid IN (SELECT min(rowid) FROM {table} GROUP BY vp_id LIMIT 1000)"
        lanes |= {name for _, name in reading.texts(table, "vp_id", one_each) if name}
    if lanes:
        shown = ", ".join(sorted(lanes)[:10]) + (", …" if len(lanes) > 10 else "")
        raise UnknownLaneError(f"There is no lane {vp_id!r} in the database; it holds {shown}.")


def _more_to_come(reading: Reading, lane: str, session: Mapping[str, Any] | None, as_of: datetime) -> bool:
    """Whether any row that the window read, or any mission of the lane, is stamped after ``as_of``."""
    later_ones = f"created_at > {literal(usual_text(as_of))} AND {usual(reading)}"  # others were read
    if reading.texts("vp_missions", "created_at", f"{of_each_status(reading, lane, later_ones)} LIMIT 1"):
        return True
    later = [
        f"EXISTS (FROM {table} WHERE greatest({columns}) > {moment(as_of)})"
        for table, columns in (
            ("mission_rows", ", ".join(MISSION_TIMES)),
            ("event_rows", "created_at"),
            ("session_event_rows", "created_at"),
        )
    ]
    [found] = reading.rows(f"SELECT {' OR '.join(later)} AS later")
    written = parse_time(str((session or {}).get("updated_at")))
    return bool(found["later"]) or (written is not None and written > as_of)


def newest_event(reading: Reading, lane: str, as_of: datetime) -> datetime | None:
    """Returns when the newest event of the lane happened, whatever its mission; ``None`` without one."""
    past = f"{lane} AND {usual(reading)} AND created_at <= {literal(usual_text(as_of))}"
    newest = f"{past} ORDER BY created_at DESC LIMIT 1"
    return next((parse_time(text) for _, text in reading.texts("vp_events", "created_at", newest)), None)
