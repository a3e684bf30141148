"""Sources whose rows lie in DuckDB: an archive, and several sources as one, of which the first wins."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from vpanalysis.data.archive import (
    KEYS,
    Manifest,
    compared,
    factories,
    identity,
    parquet,
    read_manifest,
    stored,
    values,
)
from vpanalysis.data.duck import connect
from vpanalysis.data.reading import Reading, SqliteReading, quote
from vpanalysis.data.schema import TABLES
from vpanalysis.data.table_source import TableSource
from vpanalysis.errors import InputError

_T = TypeVar("_T")
_ATTEMPTS = 5
#: Rows are numbered as their database numbered them; where several have one number, by source, file and place in it.
_FILE, _SOURCE, _PLACES = 2**32, 2**52, 2**60


class RowsReading(Reading):
    """Tables and views in DuckDB, read by the SQL that SQLite is asked with."""

    beside = True
    begins_with_a_date = "TRY_CAST(substr(created_at, 1, 10) AS DATE) IS NOT NULL"

    def __init__(self) -> None:
        super().__init__(connect(files=True, nulls_first=True))
        self._parts: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        self.execute("CREATE TEMP MACRO typeof(value) AS CASE WHEN value IS NULL THEN 'null' ELSE 'text' END")

    @property
    def duck(self) -> duckdb.DuckDBPyConnection:
        """Where a part's tables are to be made."""
        return self._duck

    def add(self, table: str, part: str, columns: tuple[str, ...]) -> None:
        """Adds the table or view ``part``, of the form of an archive's files, to those that make up ``table``."""
        self._parts.setdefault(table, []).append((part, columns))

    def merge(self) -> None:
        """Makes the tables out of their parts: of what several parts have, the first one's counts.

        What is no UTF-8 in a key is compared and sorted as any text, and read as missing.
        """
        for table, parts in self._parts.items():
            columns = tuple(dict.fromkeys(name for _, names in parts for name in names))
            self.columns[table] = columns
            selects = []
            for position, (part, has) in enumerate(parts):
                wanted = values(table, columns, stored(table, has))
                earlier = (
                    f"{identity(table, has)} NOT IN (SELECT {identity(table, names)} FROM {other})"
                    for other, names in parts[:position]
                )
                row = f"rowid::HUGEINT * {_PLACES} + place AS rowid"
                selects.append(f"SELECT {row}, {wanted} FROM {part} WHERE {' AND '.join(('true', *earlier))}")
            keys = ", ".join(f"{compared(name)} AS {name}" for name in KEYS if name in columns)
            self.execute(f"CREATE TEMP VIEW {table} AS SELECT * REPLACE ({keys}) FROM ({' UNION ALL '.join(selects)})")

    def close(self) -> None:
        """Closes DuckDB and lets go of it."""
        self._duck.close()
        del self._duck

    def copy_sessions(self, into: str, rest: str) -> None:
        """Creates ``into`` from ``vp_sessions``: each column as text, and ``type of X`` as SQLite named it."""
        keys = ", ".join(f"{_read(name)} AS {name}" for name in KEYS if name in self.columns["vp_sessions"])
        self.execute(
            f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT rowid AS rid, * EXCLUDE (rowid) REPLACE ({keys}) "
            f"FROM vp_sessions {rest}"
        )

    def _texts(self, table: str, column: str | None, rest: str) -> list[tuple[int, str | None]]:
        read = _read(column) if column else "NULL"
        return self._duck.execute(f"SELECT rowid, {read} FROM {table} {rest}").fetchall()

    def _select(self, into: str, table: str, expressions: Mapping[str, str], rest: str, select: str) -> None:
        present = self.columns[table]
        values = [
            f"{_read(name, expression) if name in present else expression} AS {quote(name)}, "
            f"{quote('lost ' + name) if name in present else 'NULL::BLOB'} "
            f"AS {quote('lost ' + name)}"
            for name, expression in expressions.items()
        ]
        copied = f"SELECT rowid AS rid, {', '.join(values)} FROM {table} {rest}"
        self.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS WITH copied AS ({copied}) {select}")


def _read(name: str, expression: str = "") -> str:
    """What is read of a column: nothing where the bytes are no UTF-8."""
    expression = expression or quote(name)
    return f"CASE WHEN {quote('lost ' + name)} IS NULL THEN {expression} END" if name in KEYS else expression


class Part(Protocol):
    """A source that can be one of several."""

    name: str

    def add_to(self, reading: RowsReading, position: int) -> None:
        """Adds the source's tables to a reading; ``position`` is its place among the sources."""


class MergedSource(TableSource):
    """Several databases and archives, read as one: of a row that several have, the first one's counts.

    Attributes:
        name: The sources' names, joined by ``" + "``.
        kind: ``archive``.
    """

    kind = "archive"

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.name = " + ".join(part.name for part in parts)

    def lanes(self) -> tuple[str, ...]:
        """Returns the names of the lanes that any part has anything of."""

        def look(reading: Reading) -> set[str]:
            of_table = 'SELECT DISTINCT vp_id FROM {} WHERE "lost vp_id" IS NULL'
            tables = [of_table.format(table) for table in reading.columns if table in TABLES]
            return {row["vp_id"] for table in tables for row in reading.rows(table) if (row["vp_id"] or "").strip()}

        return tuple(sorted(self.read(look)))

    def read(self, use: Callable[[Reading], _T]) -> _T:
        """Returns what ``use`` makes of all parts, each in a state of its own."""
        for attempt in range(_ATTEMPTS):
            reading = RowsReading()
            try:
                for position, part in enumerate(self._parts):
                    part.add_to(reading, position)
                reading.merge()
                return use(reading)
            except (duckdb.IOException, duckdb.InvalidInputException) as error:
                if attempt + 1 == _ATTEMPTS:  # an archive's file may have been replaced meanwhile
                    fault = str(error).splitlines()[0].rstrip(".")
                    raise InputError(
                        f"{self.name} cannot be read: {fault}. If a file is damaged, archive again."
                    ) from error
            finally:
                reading.close()
        raise AssertionError


class ArchiveSource(MergedSource):
    """One factory of an archive.

    Attributes:
        name: The factory's name.
        factory: The same.
        kind: ``archive``.
    """

    def __init__(self, folder: Path) -> None:
        found = factories(folder)
        if not found:
            raise InputError(f"{folder} is a folder without an archive: give a database, or what 'archive --to' wrote.")
        if len(found) > 1:
            names = ", ".join(str(path) for path in found)
            raise InputError(f"{folder} holds several factories: give one of {names}.")
        [self._folder] = found
        self.name = self.factory = read_manifest(self._folder).factory
        super().__init__([self])

    def add_to(self, reading: RowsReading, position: int) -> None:
        """Adds views of the archive's files."""
        manifest = read_manifest(self._folder)
        for table, columns in manifest.columns.items():
            reading.add(table, self._view(reading, manifest, table, position), columns)

    def _view(self, reading: RowsReading, manifest: Manifest, table: str, position: int) -> str:
        paths, view = manifest.paths(table), f"part_{position}_{table}"
        if not paths:
            nothing = values(table, manifest.columns[table], ())
            reading.execute(f"CREATE TEMP TABLE {view} AS SELECT 0::BIGINT AS rowid, 0 AS place, {nothing} WHERE false")
            return view
        names = ", ".join(map(quote, stored(table, manifest.columns[table])))
        place = f"(file_index + 1) * {_FILE} + file_row_number + {position * _SOURCE} AS place"
        reading.execute(f"CREATE TEMP VIEW {view} AS SELECT rowid, {place}, {names} FROM {parquet(paths)}")
        return view


def add_database(reading: RowsReading, database: SqliteReading, position: int) -> None:
    """Adds the tables of a database, copied as they are; its transaction may end then."""
    for table in TABLES:
        if table not in database.columns:
            continue
        into, columns = f"part_{position}_{table}", database.columns[table]
        if table == "vp_sessions":
            database.copy_sessions(into, "")
        else:
            database.fetch(into, table, columns, "1", count=False)
        reading.execute(f"ALTER TABLE {into} RENAME rid TO rowid")
        reading.execute(f"ALTER TABLE {into} ADD COLUMN place BIGINT DEFAULT {position * _SOURCE}")
        reading.add(table, into, columns)
