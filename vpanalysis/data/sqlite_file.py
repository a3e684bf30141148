"""Reading a live SQLite file without leaving a trace: which open mode is safe, and whether it stayed so.

A reader that opens a WAL database with ``mode=ro`` while nobody else has it open creates ``-wal`` and ``-shm``
files owned by the reader, and the gateway's later writes fail on them. So ``mode=ro`` is used only where the
``-shm`` file is there already; elsewhere the file is read as ``immutable``, which creates nothing, and the read
is thrown away and done again when the file changed meanwhile.
"""

import os
import stat
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from vpanalysis.data.in_time import in_time
from vpanalysis.errors import InputError

_T = TypeVar("_T")
_MAGIC = b"SQLite format 3\0"
_ATTEMPTS = 20
_WAIT_SECONDS = 0.05
#: A file whose times are older than this gets other ones by the next write, however coarse the file system's clock.
_SETTLED_SECONDS = 2.0
_WAL_INDEX_VERSION = 3007000
#: How many files' descriptors are kept before those are closed that nobody needs.
_DESCRIPTORS = 32
#: Seconds that any database may be read for, and bytes of it that are a second more.
READ_SECONDS, READ_BYTES = 600.0, 1_000_000

#: Where ``--wait`` and ``--check`` tell a notebook's process, too: for how many seconds a locked database is waited,
#: and whether SQLite checks it for damage however large it is.
WAIT_VARIABLE, CHECK_VARIABLE = "VPANALYSIS_WAIT_SECONDS", "VPANALYSIS_CHECK"


def wait_seconds() -> float:
    """Returns how long a locked database is waited for: 5 seconds, or what ``--wait`` says, up to an hour."""
    try:
        return min(3600.0, max(0.0, float(os.environ[WAIT_VARIABLE])))
    except (KeyError, ValueError):
        return 5.0


def read_seconds(size: int) -> float:
    """Returns how long a database of ``size`` bytes is read at most: far longer than any that ends."""
    return READ_SECONDS + size / READ_BYTES + wait_seconds()


class _ChangedWhileReadingError(Exception):
    """The file was opened by a writer while it was read as immutable, or its ``-shm`` was replaced."""


def read_consistently(path: Path, read: Callable[[str, Callable[[], None]], _T]) -> _T:
    """Returns what ``read(uri, opened)`` returns, read from one unchanged state of the database.

    ``read`` opens its own connection on ``uri`` and calls ``opened`` once its first statement has run; it is
    called again when the file changed under an immutable read. Nothing is written, and no file is left behind
    by a user other than the database's owner.

    Raises:
        InputError: The path is missing, a folder, not a regular file or not SQLite; it may not be read; it has
            a ``-wal`` that only its owner can recover; it kept changing; or a read does not end (see `read_seconds`).
    """
    path = Path(os.path.realpath(path))
    with _headers.kept(path):
        return _read_consistently(path, read)


def _read_consistently(path: Path, read: Callable[[str, Callable[[], None]], _T]) -> _T:
    _check_sqlite(path)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_WAIT_SECONDS)
        state = _state(path)
        uri = "file:" + quote(str(path)) + "?mode=ro"
        shm = _inode(path, "-shm")
        if not _is_wal(path) or shm is not None:
            immutable = False
        elif _size(path, "-wal") == 0:
            immutable = True
        elif path.stat().st_uid == os.geteuid():
            immutable = False
        else:
            raise InputError(
                f"{path.name} has a -wal file with unrecovered transactions and no -shm file; only its owner may "
                "recover it. Start the gateway, or run this as the database's owner."
            )

        def opened(shm: int | None = shm, immutable: bool = immutable) -> None:
            if not immutable and shm is not None and _inode(path, "-shm") != shm:
                raise _ChangedWhileReadingError

        try:
            uri = uri + "&immutable=1" if immutable else uri
            result = in_time(partial(read, uri, opened), seconds := read_seconds(path.stat().st_size))
        except TimeoutError:
            raise InputError(
                f"{path.name} was not read within {seconds:.0f} s: it may be built so that reading never ends. "
                "If its disk is slow or the machine busy, --wait SECONDS waits longer."
            ) from None
        except _ChangedWhileReadingError:
            _remove_own(path)
            continue
        except Exception:
            if immutable and _state(path) != state:
                continue
            raise
        if not immutable or _state(path) == state:
            return result
    raise InputError(
        f"{path.name} was opened or changed by a writer on each of {_ATTEMPTS} attempts to read it; try again."
    )


def fingerprint(path: Path) -> Hashable | None:
    """Returns a value that differs from every one taken before the database last changed; a read-only operation.

    In WAL mode it holds the header of the wal-index, which every commit counts in and signs; elsewhere the change
    counter and the files' times. ``None`` proves nothing: the database is not there, or one of its files was written
    so lately that the next write might leave it with the same times.
    """
    path, now = Path(os.path.realpath(path)), time.time_ns()
    try:
        index = _headers.read(_beside(path, "-shm"), 96) if _is_wal(path) else b""
    except FileNotFoundError:
        index = b""
    except OSError:
        return None
    try:
        # SQLite changes the owner, and so the ctime, of a -wal whenever root opens it: to what it was.
        changed = path.stat().st_ctime_ns
        files = [_identity(path), _identity(_beside(path, "-wal")), _identity(_beside(path, "-journal"))]
        written = max(changed, *(file[-1] for file in files[1:] if file), 0)
        if not _counts_commits(index) and now - written < _SETTLED_SECONDS * 1e9:
            return None
        return changed, *files, _inode(path, "-shm"), _header(path), index
    except OSError:
        return None


def _counts_commits(index: bytes) -> bool:
    """Whether ``index`` is a whole wal-index header with salts, which are drawn anew whenever a WAL starts again.

    Without salts the WAL is empty and the header says nothing of what came before.
    """
    if len(index) < 96 or index[:48] != index[48:]:
        return False
    version, *_, salt, other_salt = struct.unpack_from("=I28x2I", index)
    return version == _WAL_INDEX_VERSION and (salt, other_salt) != (0, 0)


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_sqlite(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: give the path of the SQLite file, such as coder_vp_state.db.")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is not a regular file: give the path of a SQLite file.")
        magic = _header(path)[: len(_MAGIC)]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the path of the runtime database.") from None
    except NotADirectoryError:
        raise InputError(f"{path} does not exist: part of the path is a file, not a folder.") from None
    except PermissionError:
        raise InputError(f"{path} may not be read by this user: ask its owner for read permission.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if not magic:
        raise InputError(
            f"{path} is empty, not yet a SQLite database: check its path, or wait until the runtime has written it."
        )
    if magic != _MAGIC:
        raise InputError(f"{path} is not a SQLite database: give the path of a VP runtime database.")


def _is_wal(path: Path) -> bool:
    return _header(path)[18:20] == b"\2\2"


def _header(path: Path) -> bytes:
    return _headers.read(path, 100)


class _Headers:
    """The first bytes of database files, read through descriptors that outlive every read of the file.

    Closing any descriptor of a file drops all POSIX locks that the process holds on it, those of SQLite connections
    in other threads included. So a descriptor stays open for as long as its path leads to the same file, and, once
    the file was replaced, until all reads that had begun by then are over. Of many files, those are closed that
    nobody reads and that this process has open nowhere else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Path, tuple[tuple[int, int], int]] = {}
        self._replaced: list[tuple[tuple[int, int], int, set[object]]] = []
        self._reads: dict[object, Path] = {}

    def read(self, path: Path, length: int) -> bytes:
        """Returns the first bytes of the file that ``path`` leads to now."""
        with self._lock:
            found = self._open.get(path)
            if found is None or found[0] != _key(path.stat()):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                self._open[path] = _key(os.fstat(descriptor)), descriptor
                if found is not None:
                    self._replaced.append((*found, set(self._reads)))
                    self._close_unused()
                if len(self._open) > _DESCRIPTORS:
                    self._close_idle(path)
            return os.pread(self._open[path][1], length, 0)

    @contextmanager
    def kept(self, path: Path) -> Iterator[None]:
        """Keeps the files that SQLite opens within the block, which reads ``path``, from losing their locks."""
        read = object()
        with self._lock:
            self._reads[read] = path
        try:
            yield
        finally:
            with self._lock:
                del self._reads[read]
                for _, _, reads in self._replaced:
                    reads.discard(read)
                self._close_unused()

    def _close_unused(self) -> None:
        led_to = {key for key, _ in self._open.values()}
        unused = [file for file in self._replaced if not file[2] and file[0] not in led_to]
        self._replaced = [file for file in self._replaced if file not in unused]
        for _, descriptor, _ in unused:
            os.close(descriptor)

    def _close_idle(self, asked: Path) -> None:
        needed = {asked, *self._reads.values()}
        needed |= {_beside(path, "-shm") for path in needed}
        opened = Counter(_open_files())
        for path, (key, descriptor) in [*self._open.items()]:
            if path not in needed and opened[key] <= 1:
                del self._open[path]
                os.close(descriptor)


_headers = _Headers()


def _open_files() -> Iterator[tuple[int, int]]:
    """Yields the file of each descriptor that this process has open."""
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the listing's own is closed by now
            yield _key(descriptor.stat())


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path, suffix: str) -> int:
    try:
        return _beside(path, suffix).stat().st_size
    except FileNotFoundError:
        return 0


def _inode(path: Path, suffix: str) -> int | None:
    try:
        return _beside(path, suffix).stat().st_ino
    except FileNotFoundError:
        return None


def _state(path: Path) -> tuple[int, int, bytes, int, int | None]:
    """What changes when a writer touches the database: size, mtime, header (change counter), ``-wal``, ``-shm``."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, _header(path), _size(path, "-wal"), _inode(path, "-shm")


def _remove_own(path: Path) -> None:
    """Removes the ``-wal`` and ``-shm`` that our own open created because the gateway's had just gone."""
    if os.geteuid() == path.stat().st_uid or _size(path, "-wal") > 0:
        return
    for suffix in ("-wal", "-shm"):
        file = _beside(path, suffix)
        if file.exists() and file.stat().st_uid == os.geteuid():
            file.unlink()
