"""The evidence row of a verdict, and how it gets into the evidence log."""

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from vpanalysis import formatting
from vpanalysis.analysis.verdict import Verdict
from vpanalysis.errors import InputError

COLUMNS = (
    "Date (UTC)",
    "Window",
    "Scope",
    "Endpoint snapshot refs",
    "Fallback rate",
    "p95 latency",
    "Decision",
    "Notes",
)
#: Longest name and most names in a row's counts: both come from a database that anybody's code may have filled.
_NAME_LENGTH = 80
_NAMES = 20


def evidence_row(verdict: Verdict, *, window_label: str, scope: str, ref: str) -> str:
    """Returns the verdict's line for the evidence log: one Markdown table row of eight cells.

    Args:
        verdict: The verdict; one on the sample lane says SAMPLE in its window cell.
        window_label: What the window is called.
        scope: What traffic the window covers.
        ref: Where the numbers come from; shown in a code span.
    """
    rate = verdict.fallback_rate if verdict.missions_considered else None
    cells = (
        formatting.time(verdict.generated_at),
        text_cell(f"SAMPLE {window_label}" if verdict.sample else window_label),
        text_cell(scope),
        code_span(ref),
        formatting.rate(rate),
        formatting.log_seconds(verdict.latency_seconds.p95_seconds),
        text_cell(verdict.decision),
        _notes(verdict),
    )
    return f"| {' | '.join(cells)} |"


def _notes(verdict: Verdict) -> str:
    missions, fallbacks = (
        formatting.NOT_AVAILABLE if number is None else str(number)
        for number in (verdict.missions_considered, verdict.missions_with_fallback)
    )
    seconds, evidence, policy = verdict.latency_seconds, verdict.evidence, verdict.policy
    notes = [
        f"missions_considered={missions}, missions_with_fallback={fallbacks}, "
        f"mission_counts={_counts(verdict.mission_counts)}, event_counts={_counts(verdict.event_counts)}",
        f"assessment={'; '.join(reason.brief for reason in verdict.reasons)}",
        f"avg={formatting.log_seconds(seconds.avg_seconds)}, max={formatting.log_seconds(seconds.max_seconds)}",
        f"evidence={evidence.strength}" + (f" ({evidence.distance})" if evidence.distance else ""),
    ]
    if verdict.provisional:
        notes.append("provisional")
    if verdict.not_assessed:
        notes.append("not assessed: " + ", ".join(dict.fromkeys(reason.gate for reason in verdict.not_assessed)))
    shown = [text_cell(note) for note in notes]
    shown += [f"{item.count}× {item.kind} {code_span(item.signature)}" for item in verdict.signatures[:3]]
    shown.append(text_cell(f"policy={policy.name} {policy.version} ({policy.profile}, {policy.hash})"))
    return "; ".join(shown)


def _counts(counts: Mapping[str, int]) -> str:
    """Compact JSON, most frequent first; the names beyond the first twenty together as ``…``."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown: dict[str, int] = {}
    for position, (name, number) in enumerate(ranked):
        short = name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "…"
        key = short if position < _NAMES else "…"
        shown[key] = shown.get(key, 0) + number
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)


def text_cell(text: str) -> str:
    """Returns ``text`` as a table cell that GitHub's renderer shows literally: no markup, link or second line."""
    line = re.sub(r"([\\`|*~]|(?<!\w)_|_(?!\w))", r"\\\1", _one_line(text)).replace("](", "]\\(")
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line)
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", line)


def code_span(text: str) -> str:
    """Returns ``text`` as a code span in a table cell; empty for blank text.

    Within a table only ``\\|`` is special in code; backticks want a longer fence around them.
    """
    line = _one_line(text).replace("|", "\\|")
    if not line:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _one_line(text: str) -> str:
    """Returns ``text`` without line breaks and other characters that cannot be seen."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


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
