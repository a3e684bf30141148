"""Many windows of one lane out of one reading, each as of its own moment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from vpanalysis.data.candidates import candidates_of, date_range, usual
from vpanalysis.data.load import (
    CHOSEN,
    MISSION_COLUMNS,
    MISSION_TIMES,
    WITHIN,
    check_lane,
    name_windows,
    newest_event,
    read_session,
    tables_of,
)
from vpanalysis.data.mission_events import MISSION_EVENTS, fetch_events, fetch_shown
from vpanalysis.data.noticed import count_beyond, fetch_missionless
from vpanalysis.data.reading import Reading, literal
from vpanalysis.data.tables import Tables
from vpanalysis.data.timestamps import parse_time
from vpanalysis.data.window import RolloutWindow

#: Missions that are frames at one time.
_BATCH = 100_000


def load_series(
    reading: Reading,
    span: RolloutWindow,
    plan: Callable[[pd.DatetimeIndex, datetime], Sequence[RolloutWindow]],
    now: datetime,
    source: str,
    kind: str,
) -> Iterator[Tables]:
    """Yields the tables of many windows out of one reading, each as of its own moment, as `load_window` gives them.

    But for what no judgement needs: free texts of missions are missing, ``events`` are fallbacks and failures only,
    ``more_to_come`` is not told, and the values that the reading could not read are those of the whole span.

    Args:
        reading: The reading.
        span: A lane and the range that every window lies in.
        plan: Returns the windows, given when the span's missions were created, oldest first, and its moment of
            judgement. They are ranges with a start and an ``as_of``.
        now: The moment of reading.
        source: The source's name.
        kind: The source's kind.

    Raises:
        UnknownLaneError: The database holds other lanes, but nothing of this one.
    """
    as_of = span.as_of or now
    span = span.at(as_of)
    lane = f"vp_id = {literal(span.vp_id)}"
    candidates = candidates_of(reading, span, as_of, lane)
    unread = dict.fromkeys(("run_id", "objective", "result_ref"), "NULL")
    reading.fetch("mission_rows", "vp_missions", MISSION_COLUMNS, candidates, times=MISSION_TIMES, replacing=unread)
    session = read_session(reading, lane)
    name_windows(reading, [span])
    created = reading.frame(
        f"SELECT created_at FROM mission_rows CROSS JOIN windows WHERE {WITHIN} ORDER BY 1", ["created_at"]
    )
    if created.empty and session is None:
        check_lane(reading, lane, span.vp_id)
    windows = plan(pd.DatetimeIndex(created["created_at"]), as_of)
    name_windows(reading, windows or [span])
    fetch_events(reading, span.vp_id, candidates, windows=True)
    fetch_shown(reading, newest=0, among="event_rows")
    dates = date_range(span, as_of)
    fetch_missionless(reading, lane, dates)
    _fetch_signs(reading, lane, dates, windows)
    before = newest_event(reading, lane, span.start) if span.start else None
    beyond = count_beyond(reading, lane, now, session)
    for some in _batches(windows, created["created_at"]):
        name_windows(reading, some)
        reading.execute(f"{CHOSEN} WHERE {WITHIN}")
        reading.execute(MISSION_EVENTS)
        last = reading.rows(
            "SELECT created_at::VARCHAR AS last FROM windows ASOF LEFT JOIN signs ON as_of >= created_at ORDER BY w"
        )
        for tables, sign in zip(tables_of(reading, some, now, session, beyond), last, strict=True):
            moments = [moment for moment in (parse_time(sign["last"]), before) if moment]
            yield replace(tables, source=source, kind=kind, last_activity=max(moments, default=None))


def _fetch_signs(reading: Reading, lane: str, dates: str, windows: Sequence[RolloutWindow]) -> None:
    """Creates ``signs``: when events happened, of each hour the last, and all of the hours that a window is judged in.

    The newest one before the span stands for all before it.
    """
    exact = usual(reading)
    if not reading.beside:
        condition = f"{lane} AND {exact} AND {dates}"
        reading.fetch("signs", "vp_events", ["created_at"], condition, times=["created_at"], count=False)
        return
    judged_in = ", ".join(sorted({f"'{window.as_of:%Y-%m-%dT%H}'" for window in windows})) or "''"
    reading.execute(  # a stamp's form is looked at for the last one of an hour, seldom for all of them
        f"""
        CREATE OR REPLACE TEMP TABLE signs AS
        WITH past AS (SELECT created_at, left(created_at, 13) AS hour FROM vp_events WHERE {lane} AND {dates}),
          lasts AS MATERIALIZED (
            SELECT created_at, hour, hour NOT IN ({judged_in}) AND {exact} AS enough
            FROM (SELECT hour, max(created_at) AS created_at FROM past GROUP BY hour)),
          others AS MATERIALIZED (SELECT created_at FROM past SEMI JOIN (FROM lasts WHERE NOT enough) USING (hour))
        SELECT created_at::TIMESTAMPTZ AS created_at FROM (
          SELECT created_at FROM lasts WHERE enough UNION ALL SELECT created_at FROM others WHERE {exact})
        """
    )


def _batches(windows: Sequence[RolloutWindow], created: "pd.Series[Any]") -> Iterator[Sequence[RolloutWindow]]:
    """Splits windows, in their order, so that no batch holds many more missions than `_BATCH`."""
    starts = [window.start for window in windows]
    ends = [window.end or window.as_of for window in windows]
    first_last = [created.searchsorted(pd.DatetimeIndex(bounds, tz="UTC")) for bounds in (starts, ends)]
    sizes = np.subtract(first_last[1], first_last[0])
    first, total = 0, 0
    for place, size in enumerate(sizes):
        if total and total + size > _BATCH:
            yield windows[first:place]
            first, total = place, 0
        total += int(size)
    if first < len(windows):
        yield windows[first:]
