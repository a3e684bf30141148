"""One consistent read, of a SQLite transaction or of what lies in DuckDB: query results become DuckDB tables."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import duckdb
import pandas as pd

from vpanalysis.data.duck import connect
from vpanalysis.data.schema import FIELD_FILES, REQUIRED_TABLES, TABLES
from vpanalysis.data.sqlite_file import wait_seconds
from vpanalysis.data.timestamps import STRICT_PATTERN, parse_time
from vpanalysis.errors import InputError

_TAKEN = re.compile(r"(?i)|rid|sentinel|(type of|lost) .*", re.DOTALL)


class _Stream:
    """An SQLite query as an Arrow stream, whose columns its first row tells alone."""

    def __init__(self, connection: Any, first: str, others: str) -> None:
        self._connection = connection
        self._sql = f"{first} UNION ALL SELECT * FROM ({others})"
        self._cursors: list[Any] = []
        self._columns = self._run(first)

    def _run(self, sql: str) -> Any:
        cursor = self._connection.cursor()
        self._cursors.append(cursor)  # kept: a collected cursor crashes the process while its stream is read
        cursor.execute(sql)
        return cursor.fetch_arrow()

    def __arrow_c_schema__(self) -> object:
        return self._columns.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._run(self._sql).__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()


class Reading(ABC):
    """One consistent read of VP tables, by SQL that SQLite and DuckDB share, into DuckDB tables.

    Attributes:
        columns: The columns of each VP table that is there.
        undecodable: Number of values per ``table.column`` that were read and are not valid UTF-8.
        unreadable: Number of values per ``table.column`` that were read and are no time stamp.
        indexed: Whether the field's index over lane, status and creation time of missions is there.
    """

    #: Whether the VP tables lie in DuckDB, beside what is made of them.
    beside = False
    #: SQL: whether the text ``created_at`` begins with a date that the calendar has.
    begins_with_a_date: str

    def __init__(self, duck: duckdb.DuckDBPyConnection) -> None:
        self._duck = duck
        self.begin()
        self.columns: dict[str, tuple[str, ...]] = {}
        self.indexed = False

    def begin(self) -> None:
        """Counts anew what cannot be read: what follows is of another window."""
        self.undecodable: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()

    @abstractmethod
    def _select(self, into: str, table: str, expressions: Mapping[str, str], rest: str, select: str) -> None:
        """Creates ``into`` by ``select`` from ``copied``: ``rid`` (the rowid), expressions as texts, what was lost."""

    @abstractmethod
    def _texts(self, table: str, column: str | None, rest: str) -> list[tuple[int, str | None]]:
        """See `texts`; without a ``column`` there are row ids only."""

    @abstractmethod
    def copy_sessions(self, into: str, rest: str) -> None:
        """Creates ``into`` from ``vp_sessions``: each column as text, and ``type of X`` as SQLite names it."""

    def fetch(
        self,
        into: str,
        table: str,
        columns: Sequence[str],
        where: str,
        *,
        order: str = "",
        times: Sequence[str] = (),
        replacing: Mapping[str, str] | None = None,
        count: bool = True,
    ) -> None:
        """Creates the DuckDB table ``into`` from a VP table: ``rid`` (its rowid) and text ``columns``.

        Columns that the database lacks are NULL; a table that it lacks is empty; a value that is not valid
        UTF-8 is NULL and counted in ``undecodable``. Each ``X`` of ``times`` becomes ``X_text`` (as stored) and ``X``
        (the moment in UTC; NULL when unreadable, and counted in ``unreadable``). ``replacing`` gives SQL for columns
        to be read otherwise; without ``count`` nothing is counted.
        """
        present, select = self.columns.get(table), f"SELECT {_with_times(times)} FROM copied"
        if present is None:
            nothing = (f"NULL::VARCHAR AS {quote(name)}, NULL::BLOB AS {quote('lost ' + name)}" for name in columns)
            copied = f"SELECT 0 AS rid, {', '.join(nothing)} WHERE false"
            self.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS WITH copied AS ({copied}) {select}")
        else:
            read = {column: quote(column) if column in present else "NULL" for column in columns}
            self._select(into, table, read | dict(replacing or {}), f"WHERE {where} {order}", select)
        self._look_over(into, times, columns if count else (), table)

    def texts(self, table: str, column: str, rest: str) -> list[tuple[int, str | None]]:
        """Returns the rowid and a column's text of the few rows that ``rest``, conditions and order, leaves.

        As by `fetch`, what is not there is missing; nothing is counted.
        """
        present = self.columns.get(table)
        if present is None:
            return []
        return self._texts(table, column if column in present else None, f"WHERE {rest}")

    def fetch_packed(self, into: str, vp_id: str, missions: str, letters: Mapping[str, str], select: str) -> bool:
        """Creates ``into`` by ``select`` from ``copied``: one row of events for each mission that ``missions`` names.

        Its columns are texts: ``rid`` (one event's), ``mission_id``, in time order ``letters`` (of each event's type;
        ``?`` for other types and other lanes) and ``stamps`` (each followed by ``|``), and ``odd``, which is ``1``
        where the order may be wrong. Returns whether it did: SQLite needs an index for it.
        """
        return False

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Runs a DuckDB statement."""
        self._duck.execute(sql, list(parameters))

    def frame(self, sql: str, times: Sequence[str]) -> pd.DataFrame:
        """Returns the rows of a DuckDB query as a frame; ``times`` are its moments, in UTC."""
        # Moments with a zone would travel one by one, and by a way that pandas 4 will not have.
        plain = ", ".join(f"{name} AT TIME ZONE 'UTC' AS {name}" for name in times)
        frame = self._duck.execute(f"SELECT * REPLACE ({plain}) FROM ({sql})").df()
        return frame.assign(**{name: frame[name].dt.tz_localize("UTC") for name in times})

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Returns the rows of a DuckDB query as mappings."""
        result = self._duck.execute(sql)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def read_times(self, table: str, columns: Sequence[str]) -> None:
        """Replaces each column of a table in DuckDB by ``X_text`` and ``X``, as `fetch` does with its ``times``."""
        self.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {_with_times(columns)} FROM {table} ORDER BY rowid"
        )
        self._look_over(table, columns)

    def _look_over(self, table: str, times: Sequence[str], counted: Sequence[str] = (), label: str = "") -> None:
        """Has Python parse the distinct texts that are of no form which DuckDB casts exactly as Python reads it.

        Of the ``counted`` columns, ``label``'s, it counts what is no UTF-8 and what is no time stamp.
        """
        wanted = [f"count({column}_text) > count({column}) AS {column}" for column in times]
        wanted += [f"count({quote('lost ' + column)}) AS {quote('lost ' + column)}" for column in counted]
        if not wanted:
            return
        [found] = self.rows(f"SELECT {', '.join(wanted)} FROM {table}")
        for column in times:
            if not found[column]:
                continue
            odd = f"{column} IS NULL AND {column}_text IS NOT NULL"
            texts = [
                row["text"] for row in self.rows(f"SELECT DISTINCT {column}_text AS text FROM {table} WHERE {odd}")
            ]
            moments = [parse_time(text) for text in texts]
            self.execute(
                f"UPDATE {table} SET {column} = odd.moment FROM (SELECT unnest(?::VARCHAR[]) AS text, "
                f"CAST(unnest(?::VARCHAR[]) AS TIMESTAMPTZ) AS moment) odd "
                f"WHERE {odd} AND {column}_text = odd.text",
                [texts, [moment.isoformat() if moment else None for moment in moments]],
            )
            [left] = self.rows(f"SELECT count(*) AS n FROM {table} WHERE {odd} AND trim({column}_text) <> ''")
            if counted and left["n"]:
                self.unreadable[f"{label}.{column}"] += left["n"]
        self.undecodable.update({f"{label}.{column}": n for column in counted if (n := found["lost " + column])})


class SqliteReading(Reading):
    """One SQLite transaction whose query results become DuckDB tables."""

    begins_with_a_date = "coalesce(date(substr(created_at, 1, 10)), '') = substr(created_at, 1, 10)"
    #: Row ids of what is asked for, by table, where somebody wants to know (`data.extract`).
    noted: dict[str, set[int]] | None = None

    def __init__(self, uri: str, duck: duckdb.DuckDBPyConnection | None = None, *, files: bool = False) -> None:
        super().__init__(duck or connect(files=files))
        self._borrowed = duck is not None
        self._events_index = ""
        self._sqlite = adbc.connect(uri)
        with self._sqlite.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {round(1000 * wait_seconds())}")

    def read_schema(self) -> None:
        """Fills ``columns``, those of each VP table that the database has, and ``indexed``."""
        tables = ", ".join(f"('{table}')" for table in TABLES)
        self.copy(
            "schema_columns",
            ["name", "columns"],
            f"SELECT 0, 0, CAST(t.column1 AS BLOB), CAST(c.name AS BLOB) "
            f"FROM (VALUES {tables}) t, pragma_table_info(t.column1) c UNION ALL "
            "SELECT 0, l.seq + 1, CAST(m.column1 || ' ' || l.name AS BLOB), CAST(i.name AS BLOB) "
            "FROM (VALUES ('vp_missions'), ('vp_events')) m, pragma_index_list(m.column1) l, "
            "pragma_index_xinfo(l.name) i WHERE NOT l.partial AND i.key AND NOT i.desc AND i.coll = 'BINARY'",
        )
        names = "list(columns ORDER BY rowid) AS names"
        for row in self.rows(f"SELECT name, rid, {names} FROM schema_columns GROUP BY name, rid"):
            table, _, index = row["name"].partition(" ")
            if not index:  # nothing of ours is called so; but the tables made here have columns of these names
                self.columns[table] = tuple(name for name in row["names"] if not _TAKEN.fullmatch(name))
            elif table == "vp_missions":
                self.indexed |= row["names"][:3] == ["vp_id", "status", "created_at"]
            elif row["names"][:2] == ["mission_id", "created_at"]:
                self._events_index = index

    def close(self) -> None:
        """Closes both and lets go of them: a traceback that a notebook keeps must not keep them alive."""
        if not self._borrowed:
            self._duck.close()
        self._sqlite.close()
        del self._duck, self._sqlite

    def interrupt(self) -> None:
        """Ends, from another thread, the statement that runs."""
        with suppress(duckdb.Error, AttributeError):  # it has just ended by itself
            self._duck.interrupt()

    def copy_sessions(self, into: str, rest: str) -> None:
        """Creates ``into`` from ``vp_sessions``: each column as text, and ``type of X`` as SQLite names it."""
        columns = self.columns["vp_sessions"]
        values = [f"CAST({quote(name)} AS BLOB), CAST(typeof({quote(name)}) AS BLOB)" for name in columns]
        names = [text for name in columns for text in (name, f"type of {name}")]
        self.copy(into, names, f"SELECT 0, rowid, {', '.join(values)} FROM vp_sessions {rest}")
        self._note("vp_sessions", into)

    def fetch_packed(self, into: str, vp_id: str, missions: str, letters: Mapping[str, str], select: str) -> bool:
        """See `Reading.fetch_packed`: a group's rows come in the order of the index, by time as text."""
        if not self._events_index:
            return False
        lane = literal(vp_id)
        cases = " ".join(f"WHEN {literal(name)} THEN '{letter}'" for name, letter in letters.items())
        letter = f"CASE WHEN vp_id IS NOT {lane} THEN '?' ELSE CASE event_type {cases} ELSE '?' END END"
        blob = (
            f"SELECT rowid FROM vp_events WHERE vp_id = {lane} AND created_at >= x''"  # it would sort after all texts
        )
        values = {
            "mission_id": "mission_id",
            "letters": f"group_concat({letter}, '')",
            "stamps": "group_concat(created_at, '|') || '|'",
            "odd": f"typeof(mission_id) <> 'text' OR EXISTS ({blob})",
        }
        blobs = ", ".join(f"CAST({value} AS BLOB)" for value in values.values())
        events = f"vp_events INDEXED BY {quote(self._events_index)} WHERE {missions} GROUP BY mission_id"
        self.copy(into, list(values), f"SELECT 0, rowid, {blobs} FROM {events}", select)
        if self.noted is not None:  # the table has one row a mission
            asked = f"SELECT rowid FROM vp_events WHERE {missions} UNION SELECT * FROM ({blob} LIMIT 1)"
            self.copy("asked", ["nothing"], f"SELECT 0, rowid, x'' FROM ({asked})")
            self._note("vp_events", "asked")
        return True

    def _note(self, table: str, found: str) -> None:
        if self.noted is not None:
            self.noted.setdefault(table, set()).update(row["rid"] for row in self.rows(f"SELECT rid FROM {found}"))

    def _select(self, into: str, table: str, expressions: Mapping[str, str], rest: str, select: str) -> None:
        blobs = ", ".join(f"CAST({expression} AS BLOB)" for expression in expressions.values())
        self.copy(into, list(expressions), f"SELECT 0, rowid, {blobs} FROM {quote(table)} {rest}", select)
        self._note(table, into)

    def _texts(self, table: str, column: str | None, rest: str) -> list[tuple[int, str | None]]:
        sql = f"SELECT 0, rowid, CAST({quote(column) if column else 'NULL'} AS BLOB) FROM {table} {rest}"
        found = self._stream(["text"], sql, "SELECT rid, try(decode(text)) FROM stream WHERE sentinel = 0")
        if self.noted is not None:
            self.noted.setdefault(table, set()).update(rid for rid, _ in found)
        return found

    def copy(self, into: str, columns: Sequence[str], sql: str, select: str = "FROM copied") -> None:
        """Creates ``into`` by ``select`` from ``copied``: a query's rows of a zero, ``rid`` and blobs, read as texts.

        For each column ``X``, ``lost X`` has the bytes of what is not valid UTF-8, where the text is therefore NULL.
        """
        names, raws = [quote(column) for column in columns], [quote(f"raw {column}") for column in columns]
        texts = ", ".join(
            f"try(decode({name})) AS {name}, {name} AS {raw}" for name, raw in zip(names, raws, strict=True)
        )
        lost = ", ".join(
            f"{name}, CASE WHEN {name} IS NULL THEN {raw} END AS {quote('lost ' + column)}"
            for column, name, raw in zip(columns, names, raws, strict=True)
        )
        copied = f"SELECT rid, {lost} FROM (SELECT rid, {texts} FROM stream WHERE sentinel = 0)"
        self._stream(columns, sql, f"CREATE OR REPLACE TEMP TABLE {into} AS WITH copied AS ({copied}) {select}")

    def _stream(self, columns: Sequence[str], sql: str, statement: str) -> list[Any]:
        """Returns what a DuckDB statement finds in ``stream``: a query's rows of a zero, ``rid`` and blobs.

        Values travel as blobs behind a sentinel row, because ADBC guesses a column's type from its first rows.
        """
        sentinel = "SELECT 1 AS sentinel, 0 AS rid, " + ", ".join(f"x'' AS {quote(name)}" for name in columns)
        stream = _Stream(self._sqlite, sentinel, sql)
        self._duck.register("stream", stream)
        try:
            return self._duck.execute(statement).fetchall()
        finally:
            self._duck.unregister("stream")
            stream.close()


@contextmanager
def open_reading(
    uri: str,
    name: str,
    opened: Callable[[], None],
    duck: duckdb.DuckDBPyConnection | None = None,
    *,
    files: bool = False,
) -> Iterator[SqliteReading]:
    """Opens a reading of a database and closes it.

    Args:
        uri: The database, as SQLite wants it.
        name: What errors call it.
        opened: Is called when the transaction has begun.
        duck: Where tables are made; ``None``: in a connection of its own; they end with it.
        files: Whether that one may write files.
    """
    reading = SqliteReading(uri, duck, files=files)
    try:
        reading.read_schema()
        opened()
        missing = [table for table in REQUIRED_TABLES if table not in reading.columns]
        if missing:
            raise InputError(
                f"{name} lacks the table{'s' if len(missing) > 1 else ''} {', '.join(missing)}: expected one of "
                f"the runtime's {', '.join(FIELD_FILES[:-1])} or {FIELD_FILES[-1]}."
            )
        yield reading
    finally:
        reading.close()


def session_row(reading: Reading, lane: str) -> dict[str, Any] | None:
    """Returns the lane's ``vp_sessions`` row, unknown columns included; numbers stay numbers."""
    columns = reading.columns["vp_sessions"]
    newest = " ORDER BY updated_at DESC" if "updated_at" in columns else ""  # a copy without its key may have several
    reading.copy_sessions("session_rows", f"WHERE {lane}{newest} LIMIT 1")
    numbers = {"integer": int, "real": float}
    for row in reading.rows("FROM session_rows"):
        typed = {column: (row[column], numbers.get(row[f"type of {column}"])) for column in columns}
        return {column: number(value) if number and value else value for column, (value, number) in typed.items()}
    return None


def _with_times(columns: Sequence[str]) -> str:
    casts = [
        f"{column} AS {column}_text, CASE WHEN regexp_full_match({column}, '{STRICT_PATTERN}') "
        f"THEN TRY_CAST({column} AS TIMESTAMPTZ) END AS {column}"
        for column in columns
    ]
    return f"* EXCLUDE ({', '.join(columns)}), {', '.join(casts)}" if casts else "*"


def quote(name: str) -> str:
    """Returns ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns ``text`` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def moment(value: datetime) -> str:
    """Returns ``value`` as a DuckDB literal."""
    return f"TIMESTAMPTZ '{value.astimezone(UTC).isoformat()}'"
