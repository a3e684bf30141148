"""DuckDB as this package uses it: in memory, with nothing to reach outside and nothing to be changed."""

import atexit
import os
from threading import Lock

import duckdb

#: No extension from anywhere; no spill folder (it would lie in the working folder, with rows in it).
_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
}
#: One database for each way to use it: starting one costs as much as ten statements.
_databases: dict[tuple[bool, bool], duckdb.DuckDBPyConnection] = {}
_lock = Lock()


def connect(*, files: bool = False, nulls_first: bool = False) -> duckdb.DuckDBPyConnection:
    """Returns a connection of its own, times shown in UTC, its configuration locked.

    Others have the same database: what is made there has to be ``TEMP``, which no other sees and ends with it.

    Args:
        files: Lets it read and write files (Parquet); extensions stay locked out.
        nulls_first: Sorts NULL as SQLite does: before everything else.
    """
    with _lock:
        try:
            connection = _databases[files, nulls_first].cursor()
            connection.execute("SELECT 1").fetchall()
        except (KeyError, duckdb.Error):  # none yet, or an error of DuckDB's own has left it unusable
            _databases[files, nulls_first] = _start(files, nulls_first)
            connection = _databases[files, nulls_first].cursor()
        return connection


def _start(files: bool, nulls_first: bool) -> duckdb.DuckDBPyConnection:
    # SQLite hands over row by row: more threads than one would not be sooner done, and cost a sixth more.
    how = {"enable_external_access": "true"} if files else {"enable_external_access": "false", "threads": "1"}
    database = duckdb.connect(config={**how, **_CONFIG})
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    if nulls_first:
        database.execute("SET GLOBAL default_null_order = 'nulls_first_on_asc_last_on_desc'")
    database.execute("SET lock_configuration = true")
    return database


def _close_all() -> None:
    """Ends the databases that nobody uses: a forked process would have them without their threads."""
    _lock.acquire()
    while _databases:
        _databases.popitem()[1].close()


atexit.register(_databases.clear)  # what is left to the interpreter's end, DuckDB lists on stderr
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_all, after_in_parent=_lock.release, after_in_child=_lock.release)
