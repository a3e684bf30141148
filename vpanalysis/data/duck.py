"""DuckDB as this package uses it: in memory, with nothing to reach outside and nothing to be changed."""

import duckdb

#: No file, network or extension; no spill folder (it would lie in the working folder, with rows in it).
_CONFIG = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
}


def connect(*, files: bool = False, nulls_first: bool = False) -> duckdb.DuckDBPyConnection:
    """Returns a connection to an empty database, times shown in UTC, its configuration locked.

    Args:
        files: Lets it read and write files (Parquet); extensions stay locked out.
        nulls_first: Sorts NULL as SQLite does: before everything else.
    """
    connection = duckdb.connect(config={**_CONFIG, "enable_external_access": "true" if files else "false"})
    connection.execute("SET TimeZone = 'UTC'")
    if nulls_first:
        connection.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")
    connection.execute("SET lock_configuration = true")
    return connection
