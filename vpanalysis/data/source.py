"""Sources: where VP tables come from."""

import os
import sqlite3
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, cast

import adbc_driver_sqlite.dbapi as adbc
import duckdb

from vpanalysis.data import integrity
from vpanalysis.data.lane_lookup import lanes_in
from vpanalysis.data.reading import SqliteReading, open_reading
from vpanalysis.data.sample import CHOICES, SAMPLE_END, write_sample
from vpanalysis.data.schema import SEVERAL
from vpanalysis.data.snapshot import Snapshot
from vpanalysis.data.sqlite_file import fingerprint, read_consistently
from vpanalysis.data.table_source import TableSource
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError
from vpanalysis.scratch import scratch_folder

if TYPE_CHECKING:
    import pandas as pd

    from vpanalysis.data.archive_source import RowsReading

_T = TypeVar("_T")
SAMPLE = "sample"


class Source(Protocol):
    """What :func:`open_source` returns: a context manager that loads windows."""

    name: str
    kind: str

    def lanes(self) -> tuple[str, ...]:
        """Returns the names of its lanes; empty when it cannot list them."""

    def load(self, window: RolloutWindow) -> Tables:
        """Returns the window's tables, read in one transaction."""

    def load_with(
        self, window: RolloutWindow, others: Callable[[Tables], Mapping[str, RolloutWindow]]
    ) -> tuple[Tables, dict[str, Tables]]:
        """Returns the window's tables, and by name those of ``others`` that it asks for, from the same reading."""

    def series(
        self,
        span: RolloutWindow,
        plan: "Callable[[pd.DatetimeIndex, datetime], Sequence[RolloutWindow]]",
        use: Callable[[Tables], _T],
    ) -> list[_T]:
        """Returns what ``use`` makes of each window that ``plan`` finds in a span, from one reading."""

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> Snapshot:
        """Returns the gateway's own answer, its oldest-events flaw included."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def open_source(
    location: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, ops_token: str | None = None
) -> Source:
    """Opens where VP tables are read from; a read-only operation.

    Args:
        location: The path of a SQLite runtime database or of an archive's folder, a gateway's URL, the path of a saved
            snapshot (``.json``), or ``sample`` (``sample:failing`` for another of the sample's scenarios). Several
            databases and archives, as a list or as one text with ``" + "`` between them, are read as one: where
            several have a row, the first one's counts.
        ops_token: The gateway's token; failing that ``UA_OPS_TOKEN`` or that line of ``.env``.

    Raises:
        InputError: The location is empty, or cannot be one of these; a file is checked when it is read.
    """
    if not isinstance(location, str | os.PathLike):
        return _merged([open_source(part, ops_token=ops_token) for part in location])
    text = os.fspath(location)
    if SEVERAL in text and not os.path.lexists(text):
        return open_source([part.strip() for part in text.split(SEVERAL)], ops_token=ops_token)
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
    if Path(text).is_dir():
        from vpanalysis.data.archive_source import ArchiveSource

        return ArchiveSource(Path(text))
    return SqliteSource(Path(text))


def _merged(sources: Sequence[Source]) -> Source:
    from vpanalysis.data.archive_source import ArchiveSource, MergedSource

    if len(sources) == 1:
        return sources[0]
    for source in sources:
        if not isinstance(source, SqliteSource | ArchiveSource) or source.kind == SAMPLE:
            raise InputError(f"{source.name} cannot be read together with others: only databases and archives can.")
    if not sources:
        raise InputError("No source: the list is empty.")
    names = sorted({source.factory for source in sources if isinstance(source, ArchiveSource)})
    if len(names) > 1:
        raise InputError(f"The factories {' and '.join(names)} may use the same mission ids: read one at a time.")
    return MergedSource(cast("list[SqliteSource | ArchiveSource]", list(sources)))


def is_url(location: str) -> bool:
    """Whether ``location`` names a gateway."""
    return location.strip().lower().startswith(("http://", "https://"))


class SqliteSource(TableSource):
    """A VP runtime database: every load is one read-only transaction of its own.

    Attributes:
        name: The file's name, as reports show it.
        kind: ``sqlite`` or ``sample``.
    """

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._undamaged, self._checked = False, ((0, 0), 0.0)
        read_consistently(path, lambda uri, opened: None)

    def lanes(self) -> tuple[str, ...]:
        """Returns the names of the lanes that the database has anything of.

        Raises:
            InputError: The file cannot be read.
        """
        try:
            return lanes_in(self.path)
        except sqlite3.Error as error:
            raise InputError(f"{self.name} could not be read by SQLite: {error}.") from error

    def fingerprint(self) -> Hashable | None:
        """Returns what differs after any change of the database; ``None`` where nothing can prove that."""
        return fingerprint(self.path)

    def load_with(
        self, window: RolloutWindow, others: Callable[[Tables], Mapping[str, RolloutWindow]]
    ) -> tuple[Tables, dict[str, Tables]]:
        """See `TableSource.load_with`; their quality says when they were not checked."""
        tables, more = super().load_with(window, others)
        return self._marked(tables), {name: self._marked(other) for name, other in more.items()}

    def _marked(self, tables: Tables) -> Tables:
        return tables if self._undamaged else replace(tables, quality=replace(tables.quality, unchecked=True))

    def _check(self, reading: SqliteReading) -> None:
        """Checks the file once: the same one is checked again after a while, another in its place at once."""
        status, now = self.path.stat(), time.monotonic()
        file, checked = self._checked
        if file != (status.st_dev, status.st_ino) or now - checked > integrity.AGAIN_SECONDS:
            integrity.check_shape(reading, self.name)
            self._undamaged = integrity.check_undamaged(reading, self.name)
            self._checked = (status.st_dev, status.st_ino), now

    def add_to(self, reading: "RowsReading", position: int) -> None:
        """Adds the database's tables to a reading of several sources; ``position`` is its place among them."""
        from vpanalysis.data.archive_source import add_database

        self.read(lambda database: add_database(reading, database, position), reading.duck)

    def read(
        self,
        use: Callable[[SqliteReading], _T],
        duck: duckdb.DuckDBPyConnection | None = None,
        *,
        files: bool = False,
    ) -> _T:
        """Returns what ``use`` makes of one transaction, its tables made in ``duck`` or a connection of its own.

        ``files`` lets that one write files.
        """
        readings: list[SqliteReading] = []

        def read(uri: str, opened: Callable[[], None]) -> _T:
            with open_reading(uri, self.name, opened, duck, files=files) as reading:
                readings.append(reading)
                try:
                    self._check(reading)
                    return use(reading)
                finally:
                    readings.remove(reading)

        try:
            return read_consistently(self.path, read)
        except (duckdb.Error, adbc.Error) as error:
            message = str(error)
            if any(sign in message for sign in _SQLITE_COMPLAINTS):
                raise InputError(f"{self.name} could not be read by SQLite: {_complaint(message)}.") from error
            if isinstance(error, duckdb.OutOfMemoryException):
                raise InputError(f"{self.name} needs more memory than there is: take a smaller window.") from error
            raise
        finally:
            for reading in readings:  # given up: it ends at its next row
                reading.interrupt()


class SampleSource(SqliteSource):
    """The built-in sample lane, written to a scratch folder and judged at its fixed end."""

    kind = SAMPLE

    def __init__(self, scenario: str) -> None:
        if scenario not in CHOICES:
            raise InputError(f"There is no sample {scenario!r}: choose one of {', '.join(CHOICES)}.")
        self._folder = scratch_folder(Path(gettempdir()))
        super().__init__(write_sample(self._folder.__enter__() / "vp_state.db", scenario))
        self.name = SAMPLE if scenario == "healthy" else f"{SAMPLE}:{scenario}"

    def __exit__(self, *exception: object) -> None:
        """Removes the scratch folder."""
        self._folder.__exit__(None, None, None)

    def now(self) -> datetime:
        """Returns the sample's fixed end, in UTC."""
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
    parts = next(line for line in message.splitlines() if sign in line).split(": ")
    line = ": ".join(parts[next(at for at, part in enumerate(parts) if sign in part) :]).strip().rstrip(".")
    if sign == "malformed":
        return f"{line} (half a copy? Copy a live database with sqlite3's .backup; a damaged one needs a backup)"
    if sign in ("unable to open", "readonly"):
        return f"{line} (a WAL database whose folder this user may not write to needs its -wal and -shm files)"
    return f"{line} (after a wait; --wait SECONDS waits longer)" if sign == "locked" else line
