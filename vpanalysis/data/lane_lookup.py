"""Which lanes a runtime database has anything of: a few index look-ups, whatever its history."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from vpanalysis.data.schema import REQUIRED_TABLES, TABLES
from vpanalysis.data.sqlite_file import read_consistently

#: Each lane's name from the one before it: SQLite seeks it in an index that begins with ``vp_id``.
_LANES = """
WITH RECURSIVE lane (name) AS (
  SELECT min(vp_id) FROM {0} UNION ALL
  SELECT (SELECT min(vp_id) FROM {0} WHERE vp_id > name) FROM lane WHERE name NOT NULL
) SELECT CAST(name AS BLOB) FROM lane WHERE name NOT NULL
"""


def lanes_in(path: Path) -> tuple[str, ...]:
    """Returns the names of the lanes that any VP table names, in order; blank ones and those no UTF-8 are left out.

    Raises:
        InputError: The file is not there, or no SQLite database.
        sqlite3.Error: SQLite cannot read it.
    """

    def look(uri: str, opened: Callable[[], None]) -> set[str]:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            present = _tables(connection)
            opened()
            found = [name for table in present for (name,) in connection.execute(_LANES.format(table))]
        texts = (name.decode("utf-8", "replace") for name in found)
        return {text for text in texts if text.strip() and not {"\0", "\ufffd"} & set(text)}

    return tuple(sorted(read_consistently(path, look)))


def why_not(location: str, vp_id: str) -> str | None:
    """Why a database is passed over for a lane; ``None`` when it has something of it, or cannot be read."""
    path = Path(location)

    def look(uri: str, opened: Callable[[], None]) -> str | None:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            present = _tables(connection)
            opened()
            missing = [table for table in REQUIRED_TABLES if table not in present]
            if missing:
                return f"lacks the table{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            lookups = (f"SELECT 1 FROM {table} WHERE vp_id = ? LIMIT 1" for table in present)
            found = any(connection.execute(lookup, [vp_id]).fetchone() for lookup in lookups)
            return None if found else f"has nothing of the lane {vp_id!r}"

    try:
        if not path.is_file():
            return "is not a file" if path.exists() or "://" in location else "does not exist"
        if path.stat().st_size == 0:
            return "is empty"
        return read_consistently(path, look)
    except (OSError, ValueError, sqlite3.Error):  # whoever loads from it gets the sentence that says why
        return None


def _tables(connection: sqlite3.Connection) -> list[str]:
    marks = ", ".join("?" * len(TABLES))
    found = connection.execute(f"SELECT name FROM sqlite_master WHERE name IN ({marks})", list(TABLES))
    present = {name for (name,) in found}
    return [table for table in TABLES if table in present]
