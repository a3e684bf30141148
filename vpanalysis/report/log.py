"""The evidence log: a Markdown file with a table, to which rows are appended."""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vpanalysis.errors import InputError
from vpanalysis.report.log_row import LINE, EvidenceTable, LogRow, evidence_tables
from vpanalysis.report.row import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_TABLE = f"| {' | '.join(COLUMNS)} |\n|---|---|---|---|---:|---:|---|---|\n"
#: The names of a row's facts, as `evidence_log` and ``evidence show`` have them.
RECORD = (
    "date", "window", "scope", "missions", "fallbacks", "rate", "p95_seconds", "decision", "status", "policy_hash",
    "line",
)  # fmt: skip


def init_log(path: Path, title: str) -> None:
    """Writes a new evidence log: a title and a table without rows.

    Raises:
        InputError: There is a file of that name already, or it cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(f"# {' '.join(title.split())}\n\n## Evidence table\n\n{_TABLE}")
    except FileExistsError:
        raise InputError(f"{path} exists already: append to it, or give another path.") from None
    except OSError as error:
        with contextlib.suppress(OSError):  # half of it is not left
            path.unlink()
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None


def read_log(path: Path) -> list[EvidenceTable]:
    """Returns the evidence tables of a log.

    Raises:
        InputError: There is no such file, or it has no evidence table.
    """
    try:
        return _tables(_content(path), path.name)
    except FileNotFoundError:
        raise InputError(
            f"There is no log {path}: check its path, or start one by 'vpanalysis evidence init'."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Give the path of the evidence log.") from None


def evidence_log(path: str | os.PathLike[str]) -> "pd.DataFrame":
    """Returns an evidence log's rows as a frame, in the order of the file; what a row does not say is NA.

    Columns: ``date`` (UTC; a bare date is its midnight), ``window``, ``scope``, ``missions``, ``fallbacks``
    (``Int64``), ``rate`` (a share), ``p95_seconds``, ``decision``, ``status`` (the lane status; NA for a code that no
    policy writes), ``policy_hash`` and ``line`` (in the file, from 1).

    Raises:
        InputError: There is no such file, or it has no evidence table.
    """
    import pandas as pd

    records = [record(row) for table in read_log(Path(path)) for row in table.rows]
    types = {"missions": "Int64", "fallbacks": "Int64", "rate": "float64", "p95_seconds": "float64", "line": "int64"}
    frame = pd.DataFrame.from_records(records, columns=list(RECORD))
    return frame.astype({"date": "datetime64[us, UTC]"} | types)


def record(row: LogRow) -> dict[str, object]:
    """Returns a row's facts by the names of `RECORD`."""
    measures = [measure and measure.value for measure in (row.rate, row.p95)]
    facts = (row.since, row.window_label, row.scope, row.missions, row.fallbacks, *measures)
    return dict(zip(RECORD, (*facts, row.decision, row.status, row.policy_hash, row.line), strict=True))


def append_row(path: Path, row: str) -> None:
    """Adds ``row`` after the last row of the log's last evidence table; everything else stays byte for byte.

    The folder is locked meanwhile, and the new file takes the old one's place, with its mode and owner, in one step.

    Raises:
        InputError: There is no such file, it has no evidence table, it holds this very row already, it would not
            show the row as one that can be read, the row is of the sample, or the file may not be written.
    """
    target = Path(os.path.realpath(path))
    try:
        with _locked(target.parent):
            content = _with_row(_content(target), row, path.name)
            _replace(target, content.encode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give the path of the evidence log.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be appended to: {error.strerror}.") from None


def count_looks(path: Path, *, vp_id: str, scope: str, start: datetime | None, until: datetime | None) -> int:
    """Returns how many earlier looks at an open window an evidence log holds.

    They are the rows with a rate that are about this lane (by their refs; where those name none, by their scope) and
    of a time at which missions of the window were there already.

    Args:
        path: The log.
        vp_id: The lane.
        scope: What traffic the window covers.
        start: The window's first moment; ``None``: unknown, and every row before ``until`` counts.
        until: The moment of this look; ``None``: unknown.

    Raises:
        InputError: There is no such file, or it has no evidence table.
    """
    return sum(
        row.rate is not None
        and (row.looked_at.vp_id == vp_id if row.looked_at else row.scope == scope or vp_id in row.scope)
        and (row.until is None or start is None or row.until > start)
        and (row.since is None or until is None or row.since <= until)
        for table in read_log(path)
        for row in table.rows
    )


def _content(path: Path) -> str:
    """Returns a regular file's text; what is no UTF-8 in it survives as lone surrogates."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _tables(content: str, name: str) -> list[EvidenceTable]:
    tables = evidence_tables(content)
    if not tables:
        raise InputError(
            f"{name} has no evidence table: it shows none with the heading | {' | '.join(COLUMNS)} |. "
            "vpanalysis evidence init writes one."
        )
    return tables


def _with_row(content: str, row: str, name: str) -> str:
    tables = _tables(content, name)
    end = tables[-1].end
    lines = LINE.findall(content)
    if any(source.strip() == row.strip() for table in tables for source in table.sources.values()):
        raise InputError(f"{name} already holds this row; nothing was appended.")
    last = lines[end - 1].removeprefix("\ufeff")
    indent = last[: len(last) - len(last.lstrip(" \t>"))]  # of a table within a list or a quotation
    first = lines[0]
    ending = first[len(first.rstrip("\r\n")) :] or "\n"
    if last[-1] not in "\r\n":
        lines[end - 1] += ending
    written = "".join([*lines[:end], indent + row + ending, *lines[end:]])
    table = evidence_tables(written)[-1]
    if [*table.sources] != [*tables[-1].sources, end + 1]:
        raise InputError(f"The row cannot be appended to {name}: it is not a table row.")
    added = table.row(end + 1)
    if added.faults:
        raise InputError(f"The row cannot be appended to {name}: {added.faults[0]}")
    if added.window_label.startswith("SAMPLE "):
        raise InputError("The sample lane is no basis for any rollout: a row of it does not belong in a log.")
    return written


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
