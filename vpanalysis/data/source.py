"""Sources: where VP tables come from."""

import os
import sqlite3
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self, TypeVar

import adbc_driver_sqlite.dbapi as adbc
import duckdb

from vpanalysis.data.gateway_answer import gateway_answer
from vpanalysis.data.lane_lookup import lanes_in
from vpanalysis.data.load import load_window
from vpanalysis.data.reading import Reading, open_reading
from vpanalysis.data.sample import CHOICES, SAMPLE_END, write_sample
from vpanalysis.data.snapshot import Snapshot, clamp_event_limit, clamp_mission_limit
from vpanalysis.data.sqlite_file import fingerprint, read_consistently
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

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

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> Snapshot:
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

    def now(self) -> datetime:
        """Returns the moment at which a window without one of its own is judged."""
        return datetime.now(UTC)

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

    def load(self, window: RolloutWindow) -> Tables:
        """Returns the window's tables, read in one transaction.

        Raises:
            InputError: The lane is not in the database although others are, a table is missing, or the file
                cannot be read.
        """
        return self._read(lambda reading: load_window(reading, window, self.now(), self.name, self.kind))

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> Snapshot:
        """Returns the gateway's own answer: from the lane's *oldest* ``event_limit`` events, in text order.

        Limits are clamped as the gateway does; a lane that is not in the database is an empty snapshot.
        """
        missions, events = (
            clamp_mission_limit(mission_limit),
            clamp_event_limit(event_limit),
        )
        return self._read(lambda reading: gateway_answer(reading, vp_id, missions, events, self.now()))

    def _read(self, use: Callable[[Reading], _T]) -> _T:
        def read(uri: str, opened: Callable[[], None]) -> _T:
            with open_reading(uri, self.name, opened) as reading:
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
        if scenario not in CHOICES:
            raise InputError(f"There is no sample {scenario!r}: choose one of {', '.join(CHOICES)}.")
        self._folder = TemporaryDirectory(prefix="vpanalysis-")
        super().__init__(write_sample(Path(self._folder.name) / "vp_state.db", scenario))
        self.name = SAMPLE if scenario == "healthy" else f"{SAMPLE}:{scenario}"

    def __exit__(self, *exception: object) -> None:
        """Removes the scratch folder."""
        self._folder.cleanup()

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
    line = next(line for line in message.splitlines() if sign in line).strip().rstrip(".")
    if sign in ("unable to open", "readonly"):
        return f"{line} (a WAL database whose folder this user may not write to needs its -wal and -shm files)"
    return line
