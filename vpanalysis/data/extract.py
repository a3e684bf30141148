"""Extracts: a small database with the rows that a reading asks for, which answers it as the whole one does.

The reading is made once where the data lie, and every row that it is given is noted. An extract has these rows, under
their row ids, in tables and indexes of the same definitions. The queries of a reading are filters, newest and oldest
rows, and whether an event's mission exists; from fewer rows, these among them, each finds what it found before.
"""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from vpanalysis.data import integrity
from vpanalysis.data.reading import SqliteReading, literal, quote
from vpanalysis.data.schema import TABLES
from vpanalysis.data.source import SqliteSource
from vpanalysis.errors import InputError

_T = TypeVar("_T")


class NotingSource(SqliteSource):
    """A database whose rows are noted as they are read; nobody may write it meanwhile.

    Attributes:
        noted: Row ids by table.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.noted: dict[str, set[int]] = {}

    def read(
        self,
        use: Callable[[SqliteReading], _T],
        duck: Any = None,
        *,
        files: bool = False,
    ) -> _T:
        """See `SqliteSource.read`."""

        def noting(reading: SqliteReading) -> _T:
            reading.noted = self.noted
            return use(reading)

        return super().read(noting, duck, files=files)

    def _check(self, reading: SqliteReading) -> None:
        """As any source's, but large databases are checked too: of an extract, nobody could tell that they were not."""
        super()._check(reading)
        if not self._undamaged:
            self._undamaged = integrity.check_undamaged(reading, self.name, always=True)


def extract(source: NotingSource, use: Callable[[NotingSource], object], to: Path) -> None:
    """Writes a new database that answers what ``use`` asks a source for as the source itself does.

    Args:
        source: The whole database.
        use: What will be read of the extract; where it is refused, the extract's reader is refused as well.
        to: The new file.

    Raises:
        sqlite3.Error: The rows cannot be copied.
    """
    source.noted = {}
    with suppress(InputError):
        use(source)
    to.touch()
    with closing(sqlite3.connect(f"file:{source.path}?mode=ro", uri=True)) as whole:
        [encoding] = whole.execute("PRAGMA encoding").fetchone()
    with closing(sqlite3.connect(to, isolation_level=None)) as small:
        small.execute(f"PRAGMA encoding = {literal(encoding)}")
        small.execute("PRAGMA synchronous = OFF")
        small.execute("ATTACH ? AS whole", [str(source.path)])
        small.execute("BEGIN")
        definitions = small.execute(
            "SELECT type, name, sql FROM whole.sqlite_master WHERE type IN ('table', 'index') AND sql <> '' "
            f"AND tbl_name IN ({', '.join(map(literal, TABLES))}) ORDER BY type = 'index'"
        ).fetchall()
        for kind, _, sql in definitions:
            if kind == "table":
                small.execute(sql)
        tables = [name for kind, name, _ in definitions if kind == "table"]
        for table in tables:
            _copy(small, table, source.noted.get(table, ()))
        if {"vp_missions", "vp_events"} <= set(tables):  # an event whose mission were not here would be an orphan
            named = "mission_id IN (SELECT mission_id FROM main.vp_events)"
            rows = small.execute(f"SELECT rowid FROM whole.vp_missions WHERE {named}").fetchall()
            _copy(small, "vp_missions", {row for (row,) in rows} - source.noted.get("vp_missions", set()))
        for kind, _, sql in definitions:
            if kind == "index":
                small.execute(sql)
        small.execute("COMMIT")


def _copy(small: sqlite3.Connection, table: str, rowids: Iterable[int]) -> None:
    columns = small.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", [table]).fetchall()
    names = ", ".join(["rowid", *(quote(name) for (name,) in columns)])
    sql = f"INSERT INTO main.{table} ({names}) SELECT {names} FROM whole.{table} WHERE rowid = ?"
    small.executemany(sql, [(rowid,) for rowid in sorted(rowids)])
