"""Events of a reading's missions: one row a mission where all of them are as usual, else row by row."""

from datetime import datetime

from vpanalysis.data.reading import Reading, literal, moment
from vpanalysis.data.schema import (
    CANCEL_REQUESTED,
    CANCELLED,
    COMPLETED,
    DISPATCHED,
    FAILED,
    FALLBACK,
    MAX_EVENT_LIMIT,
    PROGRESS,
    STARTED,
    UNKNOWN,
)

#: Types of events that a mission of the usual kind may have, none that a report groups with its text.
_LETTERS = {PROGRESS: "P", DISPATCHED: "D", STARTED: "S", COMPLETED: "C", CANCELLED: "X", CANCEL_REQUESTED: "R"}
_ENDED = f"CASE letters[ended] WHEN '{_LETTERS[COMPLETED]}' THEN '{COMPLETED}' ELSE '{CANCELLED}' END"
#: Stamps of one width, of the usual form and of a day that its month has in every year, each followed by a bar.
_SECOND = (
    r"[1-9]\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
)
_USUAL_STAMPS = rf"(?:{_SECOND}\+00:00\|)+|(?:{_SECOND}\.\d{{6}}\+00:00\|)+"
_ROWIDS_PER_QUERY = 20_000


def _at(position: str) -> str:
    stamp = f"substr(stamps, ({position} - 1) * width + 1, width - 1)"
    return f"CASE WHEN usual AND {position} > 0 THEN {stamp}::TIMESTAMPTZ END"


#: What a mission's packed events tell; ``last`` is NULL where anything is not as usual.
_TOLD = f"""
SELECT rid, mission_id, letters, {_at("len(letters)")} AS last,
  {_at("instr(letters, 'D')")} AS dispatched_at, {_at("instr(letters, 'S')")} AS started_event_at,
  {_at("ended")} AS ended_event_at, CASE WHEN ended > 0 THEN {_ENDED} END AS ended_event
FROM (
  SELECT *, instr(stamps, '|') AS width, len(regexp_extract(letters, '.*[CX]')) AS ended,
    coalesce(odd = '0' AND mission_id IS NOT NULL AND regexp_full_match(letters, '[{"".join(_LETTERS.values())}]+')
      AND len(stamps) = len(letters) * width AND regexp_full_match(stamps, '{_USUAL_STAMPS}'), false) AS usual
  FROM copied)
"""
_USUAL_STAMP = rf"{_SECOND}(?:\.\d{{6}})?\+00:00"


def _of(*types: str) -> str:
    return "FILTER (event_type IN ('" + "', '".join(types) + "'))"


#: The same where rows lie in DuckDB, of missions that have each of these types once at most, one after the other.
_TOLD_BESIDE = f"""
SELECT mission_id, dispatched_at, started_event_at, ended_event_at,
  concat(repeat('{_LETTERS[DISPATCHED]}', dispatched), repeat('{_LETTERS[STARTED]}', started),
    repeat('{_LETTERS[PROGRESS]}', progress), repeat('{_LETTERS[COMPLETED]}', completed),
    repeat('{_LETTERS[CANCELLED]}', cancelled)) AS letters,
  CASE WHEN completed > 0 THEN '{COMPLETED}' WHEN cancelled > 0 THEN '{CANCELLED}' END AS ended_event,
  CASE WHEN usual AND events = dispatched + started + progress + completed + cancelled
    AND dispatched < 2 AND started < 2 AND completed + cancelled < 2
    AND coalesce(dispatched_at < started_event_at, true) AND coalesce(dispatched_at < ended_event_at, true)
    AND coalesce(started_event_at < ended_event_at, true) THEN newest END AS last
FROM (
  SELECT mission_id, bool_and(usual) AS usual, count(*) AS events, max(moment) AS newest,
    count(*) {_of(DISPATCHED)} AS dispatched, count(*) {_of(STARTED)} AS started, count(*) {_of(PROGRESS)} AS progress,
    count(*) {_of(COMPLETED)} AS completed, count(*) {_of(CANCELLED)} AS cancelled,
    min(moment) {_of(DISPATCHED)} AS dispatched_at, min(moment) {_of(STARTED)} AS started_event_at,
    min(moment) {_of(COMPLETED, CANCELLED)} AS ended_event_at
  FROM (
    SELECT mission_id, event_type, TRY_CAST(created_at AS TIMESTAMPTZ) AS moment,
      coalesce(vp_id = LANE AND regexp_full_match(created_at, '{_USUAL_STAMP}'), false) AS usual
    FROM vp_events WHERE mission_id IN (SELECT mission_id FROM mission_rows) AND mission_id <> '')
  GROUP BY mission_id)
"""
_NEVER = ", ".join(f"NULL::TIMESTAMPTZ AS {name}" for name in ("dispatched_at", "started_event_at", "ended_event_at"))
_NOTHING = f"SELECT '' AS mission_id, '' AS letters, '' AS ended_event, {_NEVER} WHERE false"


def fetch_events(
    reading: Reading, vp_id: str, missions: str, as_of: datetime | None = None, *, windows: bool = False
) -> None:
    """Creates ``event_rows`` and ``plain_missions``: every event of the lane's missions that ``missions`` names.

    ``plain_missions`` has a row for each mission whose events are all of the lane and of the usual form and types,
    neither fallbacks nor failures: its id, its events' ``letters``, progress aside in time order, and what they tell.
    With ``as_of`` none of its events is later, or a candidate for the newest events; with ``windows`` none is later
    than the moments of judgement of those ``windows`` that ``mission_rows`` lie in. With neither, and where the
    reading cannot pack events, it is empty. ``event_rows`` has all other events.
    """
    condition = f"mission_id IN (SELECT mission_id FROM vp_missions WHERE {missions}) AND mission_id <> ''"
    packed = (as_of is not None or windows) and _pack(reading, vp_id, condition, windows)
    plain = _NOTHING
    if packed and windows:  # all windows that hold a mission are judged at the next moment after its creation, or later
        plain = (
            "SELECT packed.* FROM packed JOIN (SELECT mission_id, min(created_at) AS created_at FROM mission_rows "
            "GROUP BY mission_id) USING (mission_id) ASOF JOIN (SELECT DISTINCT as_of FROM windows) moments "
            "ON created_at <= moments.as_of WHERE last <= moments.as_of"
        )
    elif packed and as_of:
        past = f"last <= {moment(as_of)}"
        newest = f"SELECT last FROM packed WHERE {past} ORDER BY 1 DESC LIMIT 1 OFFSET {MAX_EVENT_LIMIT - 1}"
        plain = f"FROM packed WHERE {past} AND last < ({newest})"
    reading.execute(f"CREATE OR REPLACE TEMP TABLE plain_missions AS {plain}")
    if packed and reading.beside:
        condition = "mission_id IN (SELECT mission_id FROM packed ANTI JOIN plain_missions USING (mission_id))"
    _fetch_rows(reading, "event_rows", vp_id, "0" if packed and not reading.beside else condition)
    rows = []
    if packed and not reading.beside:
        rows = reading.rows("SELECT rid FROM packed ANTI JOIN plain_missions USING (rid)")
    rids = [str(int(row["rid"])) for row in rows]
    for first in range(0, len(rids), _ROWIDS_PER_QUERY):
        some = ", ".join(rids[first : first + _ROWIDS_PER_QUERY])
        of_some = f"mission_id IN (SELECT mission_id FROM vp_events WHERE rowid IN ({some}))"
        _fetch_rows(reading, "some_rows", vp_id, of_some)
        reading.execute("INSERT INTO event_rows FROM some_rows")


def _pack(reading: Reading, vp_id: str, condition: str, windows: bool) -> bool:
    """Creates ``packed``, what each mission's events tell; returns whether it did."""
    if not reading.beside:
        return reading.fetch_packed("packed", vp_id, condition, _LETTERS, _TOLD)
    if not windows or "event_type" not in reading.columns.get("vp_events", ()):
        return False
    reading.execute(f"CREATE OR REPLACE TEMP TABLE packed AS {_TOLD_BESIDE.replace('LANE', literal(vp_id))}")
    return True


def _fetch_rows(reading: Reading, into: str, vp_id: str, condition: str) -> None:
    columns = ["mission_id", "event_type", "created_at", "vp_id"]
    foreign = {"vp_id": f"nullif(vp_id, {literal(vp_id)})"}
    reading.fetch(into, "vp_events", columns, condition, times=["created_at"], replacing=foreign)


def fetch_shown(reading: Reading, newest: int, among: str = "mission_events") -> None:
    """Creates ``shown``: events that a report lists (the newest) or groups (fallbacks and failures), with payloads."""
    reading.execute(
        f"CREATE OR REPLACE TEMP TABLE recent AS SELECT rid FROM {among} "
        f"ORDER BY created_at DESC NULLS LAST, rid DESC LIMIT {newest}"
    )
    wanting = (
        f"SELECT DISTINCT rid FROM {among} WHERE rid IN (FROM recent) "
        f"OR event_type IN ('{FALLBACK}', '{FAILED}') ORDER BY rid"
    )
    columns = ("event_id", "vp_id", "payload_json")
    if reading.beside:
        reading.fetch("shown", "vp_events", columns, f"rowid IN ({wanting})")
        return
    wanted = [str(int(row["rid"])) for row in reading.rows(wanting)]
    for first in range(0, len(wanted) or 1, _ROWIDS_PER_QUERY):
        some = ", ".join(wanted[first : first + _ROWIDS_PER_QUERY])
        reading.fetch("some_shown" if first else "shown", "vp_events", columns, f"rowid IN ({some})")
        if first:
            reading.execute("INSERT INTO shown FROM some_shown")


#: Every event of the chosen missions that happened by their window's ``as_of``, but those of plain missions.
MISSION_EVENTS = """
CREATE OR REPLACE TEMP TABLE mission_events AS
SELECT w, e.* FROM event_rows e JOIN (SELECT DISTINCT w, mission_id, as_of FROM chosen) USING (mission_id)
WHERE created_at IS NULL OR created_at <= as_of
"""

_NAMED = "CASE letter " + " ".join(f"WHEN '{letter}' THEN '{name}'" for name, letter in _LETTERS.items()) + " END"
_SEQUENCE = f"array_to_string(string_split(replace(letters, '{_LETTERS[PROGRESS]}', ''), ''), ' > ')"
for _name, _letter in _LETTERS.items():
    _SEQUENCE = f"replace({_SEQUENCE}, '{_letter}', '{_name}')"
#: The plain missions, with what their events tell.
PLAIN = f"""
SELECT w, mission_id, len(letters) AS events, 0 AS fallback_events,
  len(letters) - len(replace(letters, 'S', '')) AS starts,
  NULL AS fallback_at, dispatched_at, started_event_at, ended_event, ended_event_at, sequence
FROM plain_missions JOIN (SELECT letters, {_SEQUENCE} AS sequence FROM plain_missions GROUP BY letters) USING (letters)
JOIN (SELECT DISTINCT w, mission_id FROM chosen) USING (mission_id)
"""

EVENTS = """
SELECT w, event_id, mission_id, shown.vp_id, event_type, payload_json, created_at, created_at_text,
       rid IN (FROM recent) AS recent
FROM mission_events m JOIN shown USING (rid)
ORDER BY w, created_at NULLS FIRST, rid
"""

EVENT_COUNTS = f"""
SELECT w, coalesce(nullif(event_type, ''), '{UNKNOWN}') AS name, sum(n)::BIGINT AS n FROM (
  SELECT w, event_type, 1 AS n FROM mission_events UNION ALL
  SELECT w, {_NAMED}, n FROM (
    SELECT w, unnest(string_split(letters, '')) AS letter, n FROM (
      SELECT w, letters, count(*) AS n
      FROM plain_missions JOIN (SELECT DISTINCT w, mission_id FROM chosen) USING (mission_id) GROUP BY w, letters))
) GROUP BY w, name ORDER BY n DESC, name
"""
