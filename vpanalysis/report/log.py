"""The evidence log: a Markdown file with a table, to which rows are appended."""

import contextlib
import errno
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vpanalysis.errors import InputError
from vpanalysis.report.row import COLUMNS, text_cell


def append_row(path: Path, row: str) -> None:
    """Adds ``row`` after the last row of the evidence log's table; everything else stays byte for byte.

    The folder is locked meanwhile, and the new file takes the old one's place, with its mode and owner, in one step.

    Raises:
        InputError: There is no such file, it has no evidence table, it holds this very row already, or it may
            not be written.
    """
    target = Path(os.path.realpath(path))
    try:
        with _locked(target.parent):
            content = target.read_bytes().decode("utf-8", "surrogateescape")
            _replace(target, _with_row(content, row, path.name).encode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give the path of the evidence log.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be appended to: {error.strerror}.") from None


def count_looks(path: Path, *, window_label: str, scope: str) -> int:
    """Returns how many rows of the evidence log are about this window and scope: earlier looks at it.

    Raises:
        InputError: There is no such file, or it has no evidence table.
    """
    try:
        content = path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Give the path of the evidence log.") from None
    lines = content.splitlines()
    end = _end_of_table(lines)
    if end is None:
        raise _no_table(path.name)
    window, covered = (rf"\s*{re.escape(text_cell(text))}\s*\|" for text in (window_label, scope))
    return sum(bool(re.match(rf" {{0,3}}\|[^|]*\|{window}{covered}", line)) for line in lines[:end])


def _with_row(content: str, row: str, name: str) -> str:
    lines = re.findall(r"[^\n]*\n|[^\n]+", content)
    end = _end_of_table([line.rstrip("\r\n") for line in lines])
    if end is None:
        raise _no_table(name)
    if any(line.strip() == row.strip() for line in lines[:end]):
        raise InputError(f"{name} holds this very row already; nothing was appended.")
    ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += ending
    return "".join([*lines[:end], row + ending, *lines[end:]])


def _no_table(name: str) -> InputError:
    return InputError(f"{name} has no evidence table: none of its lines reads | {' | '.join(COLUMNS)} |.")


def _end_of_table(lines: list[str]) -> int | None:
    """Returns the index after the evidence table's last row; ``None`` without such a table outside code blocks."""
    fence = ""
    for index, line in enumerate(lines):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" " + fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
        elif (
            _is_header(line)
            and index + 1 < len(lines)
            and re.fullmatch(r" {0,3}\|?[-:| \t]*-[-:| \t]*", lines[index + 1])
        ):
            end = index + 2
            while end < len(lines) and re.match(r" {0,3}\|", lines[end]):
                end += 1
            return end
    return None


def _is_header(line: str) -> bool:
    cells = [cell.strip().casefold() for cell in line.strip().strip("|").split("|")]
    return not line.startswith("    ") and cells == [column.casefold() for column in COLUMNS]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks the folder: the file itself is replaced, so a lock on it would be one on a file that is gone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(target: Path, content: bytes) -> None:
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    status = target.stat()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
