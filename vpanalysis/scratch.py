"""Scratch folders that outlive no run: one that was killed leaves its own to the next, which removes it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".vpanalysis-"


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Makes a folder of this user's inside ``parent``, and removes it with all that is in it.

    The folder is locked for as long as the process lives; those of this user that nobody locks any more are removed.

    Raises:
        OSError: ``parent`` cannot be written.
    """
    _remove_leftovers(parent)
    made = Path(tempfile.mkdtemp(prefix=".new", suffix=_PREFIX, dir=parent))
    lock = os.open(made, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks: nobody can tell leftovers there
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder = made.rename(parent / f"{_PREFIX}{made.name.removeprefix('.new').removesuffix(_PREFIX)}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
