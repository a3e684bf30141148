"""Sources: where VP tables come from. The only module that imports DuckDB and ADBC."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self, TypeVar

import adbc_driver_sqlite.dbapi as adbc
import duckdb
import pandas as pd

from vpanalysis.data import endpoint
from vpanalysis.data.gateway_answer import gateway_answer
from vpanalysis.data.load import load_window, quote
from vpanalysis.data.sample import SAMPLE_END, SCENARIOS, write_sample
from vpanalysis.data.schema import FIELD_FILES, REQUIRED_TABLES, TABLES
from vpanalysis.data.sqlite_file import read_consistently
from vpanalysis.data.tables import Tables
from vpanalysis.data.timestamps import STRICT_PATTERN, parse_time
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

_T = TypeVar("_T")
SAMPLE = "sample"


class Source(Protocol):
    """What :func:`open_source` returns: a context manager that loads windows."""

    name: str
    kind: str

    def load(self, window: RolloutWindow) -> Tables:
        """Returns the window's tables, read in one transaction."""

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> endpoint.Snapshot:
        """Returns the gateway's own answer, its oldest-events flaw included."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def open_source(location: str | os.PathLike[str], *, ops_token: str | None = None) -> Source:
    """Opens where VP tables are read from; a read-only operation.

    Args:
        location: The path of a SQLite runtime database, a gateway's URL, the path of a saved snapshot (``.json``),
            or ``sample`` (``sample:failing`` for another of the sample's scenarios).
        ops_token: The gateway's token; failing that ``UA_OPS_TOKEN`` or that line of ``.env``.

    Raises:
        InputError: The location is empty, or cannot be one of these; a file is checked when it is read.
    """
    text = os.fspath(location)
    if not text.strip():
        raise InputError("No source: give the path of a runtime database, a gateway's URL, or 'sample'.")
    if text == SAMPLE or text.startswith(SAMPLE + ":"):
        return SampleSource(text.partition(":")[2] or "healthy")
    if is_url(text):
        from vpanalysis.data.snapshot_source import GatewaySource  # requests costs a reader of files 0.1 s

        return GatewaySource(text, ops_token=ops_token)
    if text.lower().endswith(".json"):
        from vpanalysis.data.snapshot_source import SnapshotSource

        return SnapshotSource(Path(text))
    return SqliteSource(Path(text))


def is_url(location: str) -> bool:
    """Whether ``location`` names a gateway."""
    return location.strip().lower().startswith(("http://", "https://"))


class SqliteSource:
    """A VP runtime database: every load is one read-only transaction of its own.

    Attributes:
        name: The file's name, as reports show it.
        kind: ``sqlite`` or ``sample``.
    """

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        read_consistently(path, lambda uri, opened: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close: connections live as long as a load."""

    def _now(self) -> datetime:
        return datetime.now(UTC)

    def load(self, window: RolloutWindow) -> Tables:
        """Returns the window's tables, read in one transaction.

        Raises:
            InputError: The lane is not in the database although others are, a table is missing, or the file
                cannot be read.
        """
        return self._read(
            lambda reading: load_window(reading, window, window.as_of or self._now(), self.name, self.kind)
        )

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> endpoint.Snapshot:
        """Returns the gateway's own answer: from the lane's *oldest* ``event_limit`` events, in text order.

        Limits are clamped as the gateway does; a lane that is not in the database is an empty snapshot.
        """
        missions, events = (
            endpoint.clamp_mission_limit(mission_limit),
            endpoint.clamp_event_limit(event_limit),
        )
        return self._read(lambda reading: gateway_answer(reading, vp_id, missions, events, self._now()))

    def _read(self, use: Callable[[Reading], _T]) -> _T:
        def read(uri: str, opened: Callable[[], None]) -> _T:
            with _reading(uri, self.name, opened) as reading:
                return use(reading)

        try:
            return read_consistently(self.path, read)
        except (duckdb.Error, adbc.Error) as error:
            message = str(error)
            if any(sign in message for sign in _SQLITE_COMPLAINTS):
                raise InputError(f"{self.name} could not be read by SQLite: {_complaint(message)}.") from error
            raise


class SampleSource(SqliteSource):
    """The built-in sample lane, written to a scratch folder and judged at its fixed end."""

    kind = SAMPLE

    def __init__(self, scenario: str) -> None:
        if scenario not in SCENARIOS:
            raise InputError(f"There is no sample {scenario!r}: choose one of {', '.join(SCENARIOS)}.")
        self._folder = TemporaryDirectory(prefix="vpanalysis-")
        super().__init__(write_sample(Path(self._folder.name) / "vp_state.db", scenario))
        self.name = SAMPLE if scenario == "healthy" else f"{SAMPLE}:{scenario}"

    def __exit__(self, *exception: object) -> None:
        """Removes the scratch folder."""
        self._folder.cleanup()

    def _now(self) -> datetime:
        return SAMPLE_END


_SQLITE_COMPLAINTS = (
    "malformed",
    "not a database",
    "unable to open",
    "disk I/O",
    "locked",
    "busy",
    "readonly",
    "unsupported file format",
)


def _complaint(message: str) -> str:
    sign = next(sign for sign in _SQLITE_COMPLAINTS if sign in message)
    line = next(line for line in message.splitlines() if sign in line).strip().rstrip(".")
    if sign in ("unable to open", "readonly"):
        return f"{line} (a WAL database whose folder this user may not write to needs its -wal and -shm files)"
    return line


class _Stream:
    """An SQLite query as an Arrow stream that can be asked for more than once, as DuckDB does."""

    def __init__(self, connection: Any, sql: str) -> None:
        self._connection = connection
        self._sql = sql
        self._cursors: list[Any] = []

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        cursor = self._connection.cursor()
        self._cursors.append(cursor)  # kept: a collected cursor crashes the process while its stream is read
        cursor.execute(self._sql)
        return cursor.fetch_arrow().__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()


class Reading:
    """One SQLite transaction whose query results become DuckDB tables."""

    def __init__(self, uri: str) -> None:
        self._sqlite = adbc.connect(uri)
        self._duck = duckdb.connect()
        self._duck.execute("SET TimeZone = 'UTC'")
        self.undecodable: Counter[str] = Counter()
        self.unreadable: dict[str, int] = {}
        self.columns: dict[str, tuple[str, ...]] = {}

    def read_schema(self) -> None:
        """Fills ``columns``: those of each VP table that the database has."""
        tables = ", ".join(f"('{table}')" for table in TABLES)
        self.copy(
            "schema_columns",
            ["name", "columns"],
            f"SELECT 0, 0, CAST(t.column1 AS BLOB), CAST(c.name AS BLOB) "
            f"FROM (VALUES {tables}) t, pragma_table_info(t.column1) c",
        )
        for row in self.rows("SELECT name, list(columns ORDER BY rowid) AS names FROM schema_columns GROUP BY name"):
            self.columns[row["name"]] = tuple(row["names"])

    def close(self) -> None:
        """Closes both and lets go of them: a traceback that a notebook keeps must not keep them alive."""
        self._duck.close()
        self._sqlite.close()
        del self._duck, self._sqlite

    def copy(self, into: str, columns: Sequence[str], sql: str) -> None:
        """Creates the DuckDB table ``into`` from an SQLite query: a zero, ``rid`` and blobs, read as text.

        Values travel as blobs behind a sentinel row, because ADBC guesses a column's type from its first rows. For
        each column ``X``, ``lost X`` says where a blob is not valid UTF-8 and the text therefore NULL.
        """
        names = [quote(column) for column in columns]
        sentinel = "SELECT 1 AS sentinel, 0 AS rid, " + ", ".join(f"x'' AS {name}" for name in names)
        stream = _Stream(self._sqlite, f"{sentinel} UNION ALL SELECT * FROM ({sql})")
        texts = [
            f"try(decode({quote(column)})) AS {quote(column)}, "
            f"{quote(column)} IS NOT NULL AND try(decode({quote(column)})) IS NULL AS {quote('lost ' + column)}"
            for column in columns
        ]
        try:
            self._duck.execute(
                f"CREATE OR REPLACE TABLE {into} AS SELECT rid, {', '.join(texts)} FROM stream WHERE sentinel = 0"
            )
        finally:
            stream.close()

    def fetch(
        self,
        into: str,
        table: str,
        columns: Sequence[str],
        where: str,
        *,
        order: str = "",
        replacing: Mapping[str, str] | None = None,
        count: bool = True,
    ) -> None:
        """Creates the DuckDB table ``into`` from an SQLite table: ``rid`` (its rowid) and text ``columns``.

        Columns that the database lacks are NULL; a table that it lacks is empty; a value that is not valid
        UTF-8 is NULL and counted in ``undecodable``. ``replacing`` gives SQL for columns to be read otherwise.
        """
        present = self.columns.get(table)
        if present is None:
            sql = f"SELECT 0, 0, {', '.join(['NULL'] * len(columns))} WHERE 0"
        else:
            read = {column: quote(column) if column in present else "NULL" for column in columns} | dict(
                replacing or {}
            )
            blobs = [f"CAST({read[column]} AS BLOB)" for column in columns]
            sql = f"SELECT 0, rowid, {', '.join(blobs)} FROM {quote(table)} WHERE {where} {order}"
        self.copy(into, columns, sql)
        if count:
            lost = [f"count(*) FILTER ({quote('lost ' + column)}) AS {quote(column)}" for column in columns]
            [found] = self.rows(f"SELECT {', '.join(lost)} FROM {into}")
            self.undecodable.update({f"{table}.{column}": n for column, n in found.items() if n})

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Runs a DuckDB statement."""
        self._duck.execute(sql, list(parameters))

    def frame(self, sql: str) -> pd.DataFrame:
        """Returns the rows of a DuckDB query as a frame, times in UTC."""
        return self._duck.execute(sql).df()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Returns the rows of a DuckDB query as mappings."""
        result = self._duck.execute(sql)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def read_times(self, table: str, columns: Sequence[str], label: str = "") -> None:
        """Replaces each column by ``X_text`` (as stored) and ``X`` (the moment in UTC; NULL when unreadable).

        DuckDB casts the forms that it reads exactly as Python does; Python parses the distinct others.
        """
        casts = [
            f"{column} AS {column}_text, CASE WHEN regexp_full_match({column}, '{STRICT_PATTERN}') "
            f"THEN TRY_CAST({column} AS TIMESTAMPTZ) END AS {column}"
            for column in columns
        ]
        self.execute(
            f"CREATE OR REPLACE TABLE {table} AS "
            f"SELECT * EXCLUDE ({', '.join(columns)}), {', '.join(casts)} FROM {table} ORDER BY rowid"
        )
        for column in columns:
            odd = f"{column} IS NULL AND {column}_text IS NOT NULL"
            texts = [
                row["text"] for row in self.rows(f"SELECT DISTINCT {column}_text AS text FROM {table} WHERE {odd}")
            ]
            if not texts:
                continue
            moments = [parse_time(text) for text in texts]
            self.execute(
                f"UPDATE {table} SET {column} = odd.moment FROM (SELECT unnest(?::VARCHAR[]) AS text, "
                f"CAST(unnest(?::VARCHAR[]) AS TIMESTAMPTZ) AS moment) odd WHERE {odd} AND {column}_text = odd.text",
                [texts, [moment.isoformat() if moment else None for moment in moments]],
            )
            [found] = self.rows(f"SELECT count(*) AS n FROM {table} WHERE {odd} AND trim({column}_text) <> ''")
            if label and found["n"]:
                self.unreadable[f"{label}.{column}"] = found["n"]


@contextmanager
def _reading(uri: str, name: str, opened: Callable[[], None]) -> Iterator[Reading]:
    reading = Reading(uri)
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
