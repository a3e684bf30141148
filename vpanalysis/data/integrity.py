"""Whether a database is one to be read: VP tables of the runtime's shape, which SQLite's own checks find undamaged."""

import os

from vpanalysis.data.reading import SqliteReading, literal, quote
from vpanalysis.data.schema import FIELD_FILES, TABLES
from vpanalysis.data.sqlite_file import CHECK_VARIABLE
from vpanalysis.errors import InputError

#: Larger VP tables are checked only where `CHECK_VARIABLE` is set: it takes 0.6 s per 100 MB.
ALWAYS_BYTES = 256_000_000
#: Seconds after which a file that is read again and again is checked anew.
AGAIN_SECONDS = 300.0
_NEEDED = {
    "vp_sessions": ("vp_id",),
    "vp_missions": ("mission_id", "vp_id", "status", "created_at"),
    "vp_events": ("mission_id", "vp_id", "event_type", "created_at"),
    "vp_session_events": ("vp_id", "created_at"),
}
#: Per row, for its header, its key and its index entries.
_ROW_BYTES = 400


def check_shape(reading: SqliteReading, name: str) -> None:
    """Refuses VP tables that could not be read row by row, in a bounded time.

    Raises:
        InputError: One is a view or a virtual table, has no row ids, or lacks a column that nothing can do without.
    """
    listed = ", ".join(f"({literal(table)})" for table in TABLES)
    reading.copy(
        "shapes",
        ["name", "type", "without_rowid"],
        "SELECT 0, 0, CAST(l.name AS BLOB), CAST(l.type AS BLOB), CAST(l.wr AS BLOB) "
        f"FROM (VALUES {listed}) t, pragma_table_list(t.column1) l WHERE l.schema = 'main'",
    )
    for row in reading.rows("FROM shapes"):
        table, columns = row["name"], {column.lower() for column in reading.columns.get(row["name"], ())}
        fault = None
        if row["type"] != "table":
            fault = f"is a {row['type']}{' table' if row['type'] == 'virtual' else ''}, not a table"
        elif row["without_rowid"] != "0" or "rowid" in columns:
            fault = "has no row ids of SQLite's own"
        elif missing := [column for column in _NEEDED.get(table, ()) if column not in columns]:
            fault = f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        if fault:
            raise InputError(
                f"{table} in {name} {fault}: expected one of the runtime's {', '.join(FIELD_FILES[:-1])} or "
                f"{FIELD_FILES[-1]}."
            )


def check_undamaged(reading: SqliteReading, name: str, *, always: bool = False) -> bool:
    """Has SQLite check the VP tables and their indexes; returns whether they were checked.

    Very large ones are not, unless ``always`` says so.

    A flipped bit within a value is valid to SQLite, and nobody can see it.

    Raises:
        InputError: SQLite's ``integrity_check`` rejects one of them.
    """
    if not always and not os.environ.get(CHECK_VARIABLE) and _bytes(reading) > ALWAYS_BYTES:
        return False
    tables = ", ".join(f"({literal(table)})" for table in reading.columns)
    check = "SELECT 0, 0, CAST(t.column1 AS BLOB), CAST(c.integrity_check AS BLOB) "
    check += f"FROM (VALUES {tables}) t, pragma_integrity_check(t.column1) c"
    reading.copy("damages", ["name", "message"], check)
    for row in reading.rows("FROM damages ORDER BY rowid"):
        if row["message"] != "ok":
            raise InputError(
                f"{name} is damaged ({row['name']}: {' '.join((row['message'] or '').split())}): its numbers would be "
                "wrong. Restore it from a backup, or recover it with sqlite3's .recover."
            )
    return True


def _bytes(reading: SqliteReading) -> int:
    """Returns the size of the file, or of its VP tables where those are estimated to be smaller."""
    size = "(SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size)"
    [whole] = _numbers(reading, f"SELECT {size} AS n")
    if whole <= ALWAYS_BYTES:
        return whole
    estimated = 0
    for table, columns in reading.columns.items():
        length = " + ".join(f"coalesce(length(CAST({quote(column)} AS BLOB)), 0)" for column in columns)
        newest = f"SELECT {length} AS bytes FROM {table} ORDER BY rowid DESC LIMIT 200"
        span = f"(SELECT max(rowid) FROM {table}) - (SELECT min(rowid) FROM {table}) + 1"
        for found in _numbers(
            reading, f"SELECT coalesce(({span}) * ({_ROW_BYTES} + (SELECT avg(bytes) FROM ({newest}))), 0) AS n"
        ):
            estimated += found
    return min(whole, estimated)


def _numbers(reading: SqliteReading, sql: str) -> list[int]:
    reading.copy("sizes", ["n"], f"SELECT 0, 0, CAST(CAST(n AS INTEGER) AS BLOB) FROM ({sql})")
    return [int(row["n"]) for row in reading.rows("FROM sizes")]
