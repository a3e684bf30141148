"""What a reading notices about its windows' data: counts of what is missing, doubled, foreign or out of order."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vpanalysis.data.candidates import of_each_status, shifted
from vpanalysis.data.reading import Reading, literal, moment
from vpanalysis.data.schema import BEYOND_SECONDS, FAILED, FALLBACK, MISSION_STATUSES, TABLES, UNKNOWN
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.timestamps import parse_time

_KNOWN_STATUSES = "('" + "', '".join(MISSION_STATUSES) + "')"
#: A window's first moment: its start, else its oldest mission's.
SINCE = 'coalesce("start", (SELECT min(c.created_at) FROM chosen c WHERE c.w = windows.w))'
_UNTIL = 'CASE WHEN "end" <= as_of THEN created_at < "end" ELSE created_at <= as_of END'
#: What the window alone would have read, of stamps that begin with a date.
_DATED = "created_at_text GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
_IN_TEXT = "(text_from IS NULL OR created_at_text >= text_from AND created_at_text < text_until)"


def noticed(reading: Reading, now: datetime, beyond: int) -> list[DataQuality]:
    """Returns what the reading noticed about each of its ``windows``, whose tables have been made.

    Args:
        reading: The reading.
        now: The moment of reading, or of judgement when that is later.
        beyond: What `count_beyond` returns.
    """
    limit = now + timedelta(seconds=BEYOND_SECONDS)
    found = reading.rows(
        f"""
        WITH undated AS (SELECT w, count(*) AS n FROM mission_rows JOIN windows
            ON created_at IS NULL AND (NOT coalesce({_DATED}, false) OR {_IN_TEXT}) GROUP BY w),
          strangers AS (SELECT w, count(*) AS n FROM mission_events WHERE vp_id <> '' GROUP BY w),
          rows AS (SELECT w, count(*) FILTER (coalesce(mission_id, '') = '') AS without_id,
              count(*) - without_id - count(DISTINCT nullif(mission_id, '')) AS duplicates,
              count(*) FILTER (started_at < created_at OR completed_at < greatest(created_at, started_at))
                AS backwards,
              count(*) FILTER (greatest(started_at, completed_at) > {moment(limit)}) AS ahead
            FROM chosen GROUP BY w)
        SELECT coalesce(without_id, 0) AS without_id, coalesce(duplicates, 0) AS duplicates,
          coalesce(backwards, 0) AS backwards, coalesce(ahead, 0) AS ahead,
          coalesce(undated.n, 0) AS undated, coalesce(strangers.n, 0) AS strangers
        FROM windows LEFT JOIN rows USING (w) LEFT JOIN undated USING (w) LEFT JOIN strangers USING (w) ORDER BY w
        """
    )
    unknown = _by_window(
        reading.rows(
            f"SELECT w, coalesce(status, '') AS name, count(*) AS n FROM chosen "
            f"WHERE coalesce(status, '') NOT IN {_KNOWN_STATUSES} GROUP BY w, name ORDER BY n DESC, name"
        )
    )
    missionless = _by_window(
        reading.rows(
            f"SELECT w, coalesce(nullif(event_type, ''), '{UNKNOWN}') AS name, coalesce(mission_id, '') <> '' "
            f"AS orphan, count(*) AS n FROM missionless JOIN (SELECT *, {SINCE} AS since FROM windows) "
            f"ON (since IS NULL OR created_at >= since) AND {_UNTIL} AND {_IN_TEXT} GROUP BY ALL ORDER BY n DESC, name"
        )
    )
    missing_tables = tuple(table for table in TABLES if table not in reading.columns)
    missing_columns = tuple(
        f"{table}.{column}"
        for table, columns in TABLES.items()
        for column in columns
        if table in reading.columns and column not in reading.columns[table]
    )
    return [
        DataQuality(
            missing_tables=missing_tables,
            missing_columns=missing_columns,
            unreadable_times=reading.unreadable,
            undecodable_texts=reading.undecodable,
            missions_without_created_at=row["undated"],
            duplicate_missions=row["duplicates"],
            missions_without_id=row["without_id"],
            unknown_statuses={status["name"]: status["n"] for status in unknown.get(number, ())},
            backwards_clocks=row["backwards"],
            orphan_events=sum(event["n"] for event in missionless.get(number, ()) if event["orphan"]),
            orphan_signals=sum(
                event["n"] for event in missionless.get(number, ()) if event["name"] in (FALLBACK, FAILED)
            ),
            lane_events={event["name"]: event["n"] for event in missionless.get(number, ()) if not event["orphan"]},
            foreign_events=row["strangers"],
            beyond_as_of=beyond + row["ahead"],
        )
        for number, row in enumerate(found)
    ]


def fetch_missionless(reading: Reading, lane: str, dates: str) -> None:
    """Creates ``missionless``: the lane's events within ``dates`` that name no mission, or none that the lane has.

    Where the events that were read are many of the database's, each mission that any event names is looked up once.
    """
    last = max((row for row, _ in reading.texts("vp_events", "event_type", "1 ORDER BY rowid DESC LIMIT 1")), default=0)
    [found] = reading.rows(
        "SELECT (SELECT count(*) FROM event_rows) + (SELECT coalesce(sum(len(letters)), 0) FROM plain_missions) AS read"
    )
    exists = "EXISTS (SELECT 1 FROM vp_missions m WHERE m.mission_id = {id})"
    own = exists.format(id="vp_events.mission_id").replace("WHERE", f"WHERE m.{lane} AND m.mission_id <> '' AND")
    strays = f"NOT {own}"
    if 8 * found["read"] > last:
        gone = f"SELECT id FROM (SELECT DISTINCT mission_id AS id FROM vp_events) WHERE NOT {exists.format(id='id')}"
        other_lanes = " OR ".join([lane.replace("=", "<", 1), lane.replace("=", ">", 1), "vp_id IS NULL"])
        strays = (
            "rowid IN (SELECT rowid FROM vp_events WHERE mission_id IS NULL UNION ALL "
            f"SELECT rowid FROM vp_events WHERE mission_id = '' OR mission_id IN ({gone}) UNION ALL "
            f"SELECT rowid FROM vp_events WHERE mission_id IN (SELECT mission_id FROM vp_missions WHERE {other_lanes}) "
            f"AND +rowid IN (SELECT rowid FROM vp_events WHERE {lane})) AND {strays}"
        )
        lane = f"coalesce({lane}, NULL)"  # SQLite is to start from these few, not from the lane's events
    reading.fetch(
        "missionless",
        "vp_events",
        ["event_type", "mission_id", "created_at"],
        f"{lane} AND {dates} AND {strays}",
        times=["created_at"],
        count=False,
    )


def _by_window(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["w"], []).append(row)
    return found


def count_beyond(reading: Reading, lane: str, now: datetime, session: Mapping[str, Any] | None) -> int:
    """Counts rows of the lane that are stamped over 60 s after ``now``, up to 1,000 a table."""
    limit = now + timedelta(seconds=BEYOND_SECONDS)
    later, most = f"created_at > {literal(shifted(limit, -2))}", "ORDER BY created_at DESC LIMIT 1000"
    missions = of_each_status(reading, lane, later)
    rows = reading.texts("vp_missions", "created_at", f"{missions} {most}")
    rows += reading.texts("vp_events", "created_at", f"{lane} AND {later} {most}")
    [found] = reading.rows(f"SELECT count(*) AS n FROM session_event_rows WHERE created_at > {moment(limit)}")
    texts = [text for _, text in rows] + [
        str((session or {}).get(name)) for name in ("last_heartbeat_at", "updated_at")
    ]
    return int(found["n"]) + sum(stamp is not None and stamp > limit for stamp in map(parse_time, texts))
