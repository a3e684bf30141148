"""Which missions are read for a window: what SQLite can decide by text, a few too many, never one too few.

Where the field's index ``(vp_id, status, created_at)`` is there, its rows are reached by jumps from status to status,
and stamps of odd forms by jumps from day to day: a window's cost depends on the window, not on the lane's history.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from vpanalysis.data.reading import Reading, literal
from vpanalysis.data.timestamps import parse_time
from vpanalysis.data.window import RolloutWindow

#: A stamp that begins with a date: it sorts by text to within the day that any offset can move it.
_DATED = "typeof(created_at) = 'text' AND created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
#: A stamp of the field's usual form: it sorts by text exactly.
_DAY_AND_TIME = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
_USUAL = (
    f"typeof(created_at) = 'text' AND (created_at GLOB '{_DAY_AND_TIME}+00:00' OR "
    f"created_at GLOB '{_DAY_AND_TIME}.[0-9][0-9][0-9][0-9][0-9][0-9]+00:00') "
    "AND created_at >= '0001' AND substr(created_at, 12, 2) < '24' AND (substr(created_at, 6, 2) BETWEEN '01' AND '12' "
    "AND substr(created_at, 9, 2) BETWEEN '01' AND '28' OR {begins_with_a_date})"
)
#: Later than every text that begins so.
_LAST = "char(1114111)"


def usual(reading: Reading) -> str:
    """Returns the SQL of a stamp of the field's usual form, which sorts by text exactly."""
    return _USUAL.format(begins_with_a_date=reading.begins_with_a_date)


def usual_text(value: datetime) -> str:
    """Returns a moment as the latest text of the usual form that means it."""
    return value.isoformat(timespec="microseconds")


def date_range(window: RolloutWindow, as_of: datetime) -> str:
    """The window's dates as text bounds, a day wider on either side than any offset can move a stamp."""
    bounds = []
    if window.start is not None:
        bounds.append(f"created_at >= '{shifted(window.start, -1)}'")
    end = as_of if window.end is None else min(window.end, as_of)
    bounds.append(f"created_at < '{shifted(end, 2)}'")
    return " AND ".join(bounds)


def candidates_of(reading: Reading, window: RolloutWindow, as_of: datetime, lane: str) -> str:
    """Returns the condition in SQL of the lane's missions that are to be read: the same ones with and without index."""
    known, regular, dates = usual(reading), _DATED, date_range(window, as_of)
    start, end = window.start, window.end
    if window.last_missions is not None:
        regular = f"{_DATED} AND created_at >= '0001' AND {reading.begins_with_a_date}"
        start, end = _newest(reading, lane, as_of, window.last_missions + window.skip_missions), None
        # Where the lane has fewer, those that cannot be read take part, whatever day they name.
        dates = date_range(replace(window, start=start, end=None, last_missions=None, skip_missions=0), as_of)
        dates = dates if start else "TRUE"
    exact = [f"created_at <= {literal(usual_text(as_of))}"]
    exact += [f"created_at >= {literal(start.isoformat())}"] if start else []
    exact += [f"created_at < {literal(end.isoformat())}"] if end else []
    last = as_of if end is None else min(end, as_of)
    inside = [f"created_at >= {literal(shifted(start, 2))}"] if start else []  # whatever its form and offset
    inside += [f"created_at < {literal(shifted(last, -1))}"]
    precise = f"{_DATED} AND CASE WHEN {known} THEN {' AND '.join(exact)} ELSE TRUE END"
    held = f"{dates} AND ({' AND '.join(inside)} OR {precise})"
    if not reading.indexed:
        return f"{lane} AND ({held} OR NOT ({regular}))"
    found = [_of_each_status(lane, held), _of_each_status(lane, "created_at IS NULL"), _odd(lane, regular)]
    return f"rowid IN ({' UNION ALL '.join(f'SELECT * FROM ({one})' for one in found)})"


def _newest(reading: Reading, lane: str, as_of: datetime, number: int) -> datetime | None:
    """Returns when the oldest was created of so many newest missions of the usual form; ``None``: there are fewer."""
    past = f"{usual(reading)} AND created_at <= {literal(usual_text(as_of))}"
    if reading.indexed:  # of each status as many: the newest of all are not older than the latest of their last ones
        nth = f"{lane} AND status IS s.status AND {past} ORDER BY created_at DESC LIMIT 1 OFFSET {number - 1}"
        oldest = f"SELECT max((SELECT created_at FROM vp_missions WHERE {nth})) FROM {_statuses(lane)} s"
        past += f" AND created_at >= coalesce(({oldest}), '')"
    newest = f"{of_each_status(reading, lane, past)} ORDER BY created_at DESC LIMIT 1 OFFSET {number - 1}"
    return next((parse_time(text) for _, text in reading.texts("vp_missions", "created_at", newest)), None)


def of_each_status(reading: Reading, lane: str, condition: str) -> str:
    """Returns the condition of the lane's missions for which another holds, found by the index where it is there."""
    return f"rowid IN ({_of_each_status(lane, condition)})" if reading.indexed else f"{lane} AND {condition}"


def _of_each_status(lane: str, condition: str) -> str:
    return (
        f"SELECT vp_missions.rowid FROM {_statuses(lane)} s CROSS JOIN vp_missions "
        f"WHERE {lane} AND vp_missions.status IS s.status AND {condition}"
    )


def _statuses(lane: str) -> str:
    """The lane's distinct statuses, and NULL: each is sought from the one before it."""
    following = f"SELECT min(status) FROM vp_missions WHERE {lane} AND status > seen.status"
    return (
        f"(WITH RECURSIVE seen(status) AS (SELECT min(status) FROM vp_missions WHERE {lane} UNION ALL "
        f"SELECT ({following}) FROM seen WHERE status IS NOT NULL) SELECT status FROM seen)"
    )


def _odd(lane: str, regular: str) -> str:
    """The row ids of stamps that do not begin with a regular date: those that do are passed by a day at a time."""
    dated = regular.replace("created_at", "walk.at")
    earliest = f"SELECT min(created_at) FROM vp_missions WHERE {lane} AND vp_missions.status IS"
    passed = f"CASE WHEN {dated} THEN substr(walk.at, 1, 10) || {_LAST} ELSE walk.at END"
    return (
        f"WITH RECURSIVE walk(state, at) AS (SELECT s.status, ({earliest} s.status) FROM {_statuses(lane)} s "
        f"UNION ALL SELECT walk.state, ({earliest} walk.state AND created_at > {passed}) "
        "FROM walk WHERE walk.at IS NOT NULL) "
        f"SELECT vp_missions.rowid FROM walk CROSS JOIN vp_missions WHERE {lane} AND vp_missions.status IS walk.state "
        f"AND created_at = walk.at AND NOT ({dated})"
    )


def shifted(value: datetime, days: int) -> str:
    """Returns a date as text, so many days from a moment's."""
    try:
        return (value + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return "0001-01-01" if days < 0 else "9999-99-99"
