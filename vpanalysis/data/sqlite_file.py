"""Reading a live SQLite file without leaving a trace: which open mode is safe, and whether it stayed so.

A reader that opens a WAL database with ``mode=ro`` while nobody else has it open creates ``-wal`` and ``-shm``
files owned by the reader, and the gateway's later writes fail on them. So ``mode=ro`` is used only where the
``-shm`` file is there already; elsewhere the file is read as ``immutable``, which creates nothing, and the read
is thrown away and done again when the file changed meanwhile.
"""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from vpanalysis.errors import InputError

_T = TypeVar("_T")
_MAGIC = b"SQLite format 3\0"
_ATTEMPTS = 20
_WAIT_SECONDS = 0.05
_descriptors: dict[tuple[int, int], int] = {}


class _ChangedWhileReadingError(Exception):
    """The file was opened by a writer while it was read as immutable, or its ``-shm`` was replaced."""


def read_consistently(path: Path, read: Callable[[str, Callable[[], None]], _T]) -> _T:
    """Returns what ``read(uri, opened)`` returns, read from one unchanged state of the database.

    ``read`` opens its own connection on ``uri`` and calls ``opened`` once its first statement has run; it is
    called again when the file changed under an immutable read. Nothing is written, and no file is left behind
    by a user other than the database's owner.

    Raises:
        InputError: The path is missing, a folder, not a regular file or not SQLite; it may not be read; it has
            a ``-wal`` that only its owner can recover; or it kept changing.
    """
    path = Path(os.path.realpath(path))
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
            result = read(uri + "&immutable=1" if immutable else uri, opened)
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
        raise InputError(f"{path} is empty: it holds no SQLite database (yet).")
    if magic != _MAGIC:
        raise InputError(f"{path} is not a SQLite database: give the path of a VP runtime database.")


def _is_wal(path: Path) -> bool:
    return _header(path)[18:20] == b"\2\2"


def _header(path: Path) -> bytes:
    """Returns the file's first 100 bytes through a descriptor that is never closed.

    Closing any descriptor of a file drops all POSIX locks that the process holds on it, those of SQLite
    connections in other threads included.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if key not in _descriptors:
        _descriptors[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return os.pread(_descriptors[key], 100, 0)


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
