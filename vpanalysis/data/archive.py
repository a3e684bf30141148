"""The archive: VP tables as Parquet, a file per factory, lane, table and day, which a manifest makes one state.

Folders are ``DIR/FACTORY/LANE/TABLE/DAY-HASH.parquet``. A run writes what changed beside what is there and then
replaces the factory's ``manifest.json``: readers take the files that it names, so that a killed run changes nothing.
Rows that the database no longer has stay; of those it has, its own version wins.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent_encoded

import duckdb

from vpanalysis.data.reading import Reading, SqliteReading, literal, quote
from vpanalysis.data.schema import TABLES
from vpanalysis.errors import InputError

FORMAT = 1
MANIFEST = "manifest.json"
#: What tells two rows of a lane apart, whichever database they came from.
_IDS = {
    "vp_sessions": "vp_id",
    "vp_missions": "mission_id",
    "vp_events": "event_id",
    "vp_session_events": "event_id",
}
#: Columns by which rows are found, told apart and sorted.
KEYS = ("vp_id", "mission_id", "event_id", "created_at")
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Archived:
    """What a run did.

    Attributes:
        factory: The factory's name.
        folder: Its folder, which is a source.
        written: Files that are new or changed.
        unchanged: Files that were left alone.
    """

    factory: str
    folder: Path
    written: int
    unchanged: int


@dataclass(frozen=True)
class Manifest:
    """One state of a factory's archive.

    Attributes:
        folder: The factory's folder.
        factory: The factory's name.
        columns: The columns of each VP table that the database had.
        files: By path below the folder: number of ``rows`` and their ``fingerprint``.
    """

    folder: Path
    factory: str
    columns: Mapping[str, tuple[str, ...]]
    files: Mapping[str, Mapping[str, Any]]

    def paths(self, table: str) -> list[str]:
        """Returns the files of a table."""
        return sorted(str(self.folder / name) for name in self.files if name.split("/")[1] == table)


def factories(folder: Path) -> list[Path]:
    """Returns the factories' folders in an archive; the folder itself where it is one."""
    if (folder / MANIFEST).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def read_manifest(folder: Path) -> Manifest:
    """Returns a factory's manifest.

    Raises:
        InputError: It is missing, damaged, or of a newer format.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text("utf-8"))
        newer = content["format"] > FORMAT
        if not newer:
            columns = {table: tuple(names) for table, names in content["columns"].items()}
            return Manifest(folder, str(content["factory"]), columns, dict(content["files"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not an archive's manifest ({type(error).__name__}): archive again.") from error
    raise InputError(f"{path} has the format {content['format']}, this version reads {FORMAT}: update vpanalysis.")


def write(reading: SqliteReading, to: Path, factory: str, mode: int) -> Archived:
    """Brings a factory's archive up to what a database holds.

    Args:
        reading: The database, in one transaction.
        to: The archive's folder; made when missing.
        factory: The factory's name.
        mode: The database's permissions: no file gets more.

    Raises:
        InputError: Another run is writing, or the folder cannot be written.
    """
    folder = to / safe_name(factory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            for left in folder.rglob("*.tmp"):
                left.unlink()
            return _write(reading, folder, factory, mode)
    except OSError as error:
        raise InputError(f"The archive {folder} cannot be written: {error.strerror or error}.") from error


def safe_name(name: str) -> str:
    """Returns a name for a folder that differs where ``name`` does, also where capitals do not count."""
    encoded = percent_encoded(name, safe="").replace("~", "%7E")
    encoded = re.sub(r"%[0-9A-F]{2}|[A-Z]|^\.", lambda found: _encoded(found[0]), encoded) or "%"
    if len(encoded) <= _LONGEST_NAME:
        return encoded
    return f"{encoded[:_LONGEST_NAME]}%{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _encoded(part: str) -> str:
    return part.lower() if part.startswith("%") else f"%{ord(part):02x}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another run is writing the archive {folder}: wait for its end.") from None
        yield


def _write(reading: SqliteReading, folder: Path, factory: str, mode: int) -> Archived:
    old = read_manifest(folder) if (folder / MANIFEST).exists() else Manifest(folder, factory, {}, {})
    tables = [table for table in TABLES if table in reading.columns or table in old.columns]
    columns = {
        table: tuple(dict.fromkeys((*old.columns.get(table, ()), *reading.columns.get(table, ())))) for table in tables
    }
    files: dict[str, Mapping[str, Any]] = {}
    written = 0
    for table in tables:
        _place(reading, old, table, columns[table])
        found, new = _write_table(reading, old, table, columns[table], mode)
        files |= found
        written += new
    content = {"format": FORMAT, "factory": factory, "columns": columns, "files": dict(sorted(files.items()))}
    text = json.dumps(content, indent=1, sort_keys=True)
    path = folder / MANIFEST
    if not path.exists() or path.read_text("utf-8") != text:
        waiting = path.with_suffix(".tmp")
        waiting.write_text(text, "utf-8")
        _settle(waiting, path, mode)
    for name in folder.glob("*/*/*.parquet"):
        if name.relative_to(folder).as_posix() not in files:
            name.unlink()
    return Archived(factory, folder, written, len(files) - written)


def stored(table: str, columns: tuple[str, ...]) -> list[str]:
    """Returns a file's columns besides ``rowid``: texts, the bytes of what is no text, and types in ``vp_sessions``."""
    kinds = ["", "type of ", "lost "] if table == "vp_sessions" else ["", "lost "]
    return [kind + column for column in columns for kind in kinds]


def parquet(paths: Sequence[str], options: str = "") -> str:
    """Returns a DuckDB source over files; each file's own columns, those of its folders left out."""
    return f"read_parquet([{', '.join(map(literal, paths))}], union_by_name = true, hive_partitioning = false{options})"


def _place(reading: SqliteReading, old: Manifest, table: str, columns: tuple[str, ...]) -> None:
    """Creates ``placed``: the database's rows of a table with the folder and day of their file; and ``ids_now``."""
    present = reading.columns.get(table, ())
    if table == "vp_sessions":
        reading.copy_sessions("rows_now", "")
    else:
        reading.fetch("rows_now", table, present or ("event_id",), "1", count=False)
    texts = {name: name if name in present else "NULL::VARCHAR" for name in ("vp_id", "created_at", "mission_id")}
    reading.execute(
        f"CREATE OR REPLACE TEMP TABLE places AS SELECT rid, {texts['created_at']} AS created_at, "
        f"{texts['mission_id']} AS mission_id, coalesce({texts['vp_id']}, '') AS lane FROM rows_now"
    )
    reading.read_times("places", ["created_at"])
    lanes = [row["lane"] for row in reading.rows("SELECT DISTINCT lane FROM places")]
    reading.execute(
        "CREATE OR REPLACE TEMP TABLE lanes AS SELECT unnest(?::VARCHAR[]) AS lane, unnest(?::VARCHAR[]) AS folder",
        [lanes, list(map(safe_name, lanes))],
    )
    day = "'latest'" if table == "vp_sessions" else "coalesce(strftime(created_at, '%Y-%m-%d'), 'undated')"
    reading.execute(
        f"CREATE OR REPLACE TEMP TABLE places AS SELECT rid, mission_id, folder, {day} AS day "
        "FROM places JOIN lanes USING (lane)"
    )
    if table == "vp_missions":
        reading.execute(
            "CREATE OR REPLACE TEMP TABLE homes AS SELECT mission_id, min(folder) AS folder, min(day) AS day "
            "FROM places WHERE mission_id <> '' GROUP BY mission_id"
        )
        if paths := old.paths(table):  # late events of missions that only the archive has belong there
            parts = r"'([^/]+)/vp_missions/(.+)-[0-9a-f]+\.parquet$'"
            reading.execute(
                f"INSERT INTO homes SELECT mission_id, min(regexp_extract(filename, {parts}, 1)), "
                f"min(regexp_extract(filename, {parts}, 2)) FROM {parquet(paths, ', filename = true')} "
                "WHERE mission_id <> '' AND mission_id NOT IN (SELECT mission_id FROM homes) GROUP BY mission_id"
            )
    elif table == "vp_events":  # an event lies with its mission, whatever lane it names
        reading.execute(
            "CREATE OR REPLACE TEMP TABLE places AS SELECT rid, coalesce(homes.folder, places.folder) AS folder, "
            "coalesce(homes.day, places.day) AS day FROM places LEFT JOIN homes USING (mission_id)"
        )
    reading.execute(
        "CREATE OR REPLACE TEMP TABLE placed AS "
        "SELECT home.folder AS home_folder, home.day AS home_day, rid AS rowid, "
        f"{values(table, columns, set(stored(table, present)))} "
        "FROM rows_now JOIN (SELECT rid, {folder: folder, day: day} AS home FROM places) USING (rid) "
        "ORDER BY home_folder, home_day, rowid"
    )
    reading.execute(
        f"CREATE OR REPLACE TEMP TABLE ids_now AS SELECT DISTINCT {identity(table, columns)} AS id FROM placed"
    )
    reading.execute("DROP TABLE rows_now")


def values(table: str, columns: tuple[str, ...], present: Collection[str]) -> str:
    """The stored columns as SQL; those that are not there are NULL."""
    return ", ".join(
        quote(name)
        if name in present
        else f"NULL::{'BLOB' if name.startswith('lost ') else 'VARCHAR'} AS {quote(name)}"
        for name in stored(table, columns)
    )


def identity(table: str, columns: Collection[str]) -> str:
    """Returns SQL for what tells a row from all others of its factory: lane and id, else place and time."""
    key, lane, created = (
        compared(name) if name in columns else "NULL::VARCHAR" for name in (_IDS[table], "vp_id", "created_at")
    )
    return f"CASE WHEN {key} <> '' THEN concat({key}, '\n', {lane}) ELSE concat('\n', rowid, '\n', {created}) END"


def compared(name: str) -> str:
    """Returns SQL for a key as a text to compare and sort by; bytes that are no UTF-8 are told apart, too."""
    return f"coalesce({name}, {quote('lost ' + name)}::VARCHAR)"


def _write_table(
    reading: Reading, old: Manifest, table: str, columns: tuple[str, ...], mode: int
) -> tuple[dict[str, Mapping[str, Any]], int]:
    """Writes what changed of a table; returns its files now, and how many of them are new."""
    names = ", ".join(map(quote, ("rowid", *stored(table, columns))))
    marks = f"count(*) AS rows, concat(count(*), '-', sum(hash({names}))) AS fingerprint"
    now = {
        f"{row.pop('home_folder')}/{table}/{row.pop('home_day')}": row
        for row in reading.rows(f"SELECT home_folder, home_day, {marks} FROM placed GROUP BY ALL")
    }
    before = {name.rpartition("-")[0]: name for name in old.files if name.split("/")[1] == table}
    files: dict[str, Mapping[str, Any]] = {}
    written = 0
    for key in sorted({*now, *before}):
        name = before.get(key)
        if name is not None and key in now and old.files[name]["fingerprint"] == now[key]["fingerprint"]:
            files[name] = old.files[name]
            continue
        here = literal(key.split("/")[0]), literal(key.split("/")[2])
        rows = f"SELECT {names} FROM placed WHERE home_folder = {here[0]} AND home_day = {here[1]}"
        if name is not None:
            rows += f" UNION ALL {_gone(reading, old.folder / name, table, columns)}"
        reading.execute(f"CREATE OR REPLACE TEMP TABLE day_rows AS {rows}")
        [found] = reading.rows(f"SELECT {marks} FROM day_rows")
        if name is not None and old.files[name]["fingerprint"] == found["fingerprint"]:
            files[name] = old.files[name]
        elif found["rows"]:
            files[_write_file(reading, old.folder, key, f"SELECT {names} FROM day_rows ORDER BY ALL", mode)] = found
            written += 1
    return files, written


def _gone(reading: Reading, path: Path, table: str, columns: tuple[str, ...]) -> str:
    """What a file has that the database has no longer."""
    file = parquet([str(path)])
    has = [row["column_name"] for row in reading.rows(f"DESCRIBE FROM {file}")]
    return (
        f"SELECT rowid, {values(table, columns, has)} FROM {file} "
        f"WHERE {identity(table, has)} NOT IN (SELECT id FROM ids_now)"
    )


def _write_file(reading: Reading, folder: Path, key: str, rows: str, mode: int) -> str:
    """Writes a file under a name that its content gives; returns the name below ``folder``."""
    waiting = folder / f"{key}.tmp"
    waiting.parent.mkdir(parents=True, exist_ok=True)
    try:
        reading.execute(f"COPY ({rows}) TO {literal(str(waiting))} (FORMAT parquet, COMPRESSION zstd)")
    except duckdb.IOException as error:
        waiting.unlink(missing_ok=True)
        found = re.search(r'errno"?: ?"?(\d+)', str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number)) from error
    name = f"{key}-{hashlib.sha256(waiting.read_bytes()).hexdigest()[:12]}.parquet"
    _settle(waiting, folder / name, mode)
    return name


def _settle(waiting: Path, path: Path, mode: int) -> None:
    """Moves a finished file into place, on the disk and readable by no more people than the database is."""
    waiting.chmod(stat.S_IMODE(waiting.stat().st_mode) & (mode | stat.S_IRUSR | stat.S_IWUSR))
    with waiting.open("rb") as file:
        os.fsync(file.fileno())
    waiting.replace(path)
