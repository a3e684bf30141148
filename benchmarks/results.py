"""Takes all measurements of speed in turn, on one machine, and writes them to ``benchmarks/RESULTS.md``.

    python benchmarks/results.py [NAME ...]

Each section is what the script of that name printed, with the command that shows it. With names (``report``,
``load`` ...) only those are taken anew; the other sections stay as they were. Half an hour on two quiet cores; the
simulations (`coverage.py`, `false_alarms.py`, `fleet.py`) stand in ``docs/gates.md`` and ``docs/lanes.md``.
"""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from child import ROOT, run

FILE = Path(__file__).with_name("RESULTS.md")
#: What is measured, and the script's arguments.
SCRIPTS = {
    "report": ("A report, and one in a warm process, against papermill's and nbconvert's command lines", ()),
    "capture": ("A capture of 500 missions against a plain script", ()),
    "load": ("Reading a lane of a million events, all of it or one window", ()),
    "growth": ("A whole lane as it grows", ("10000000", "3", "docs/images/growth.svg")),
    "serve": ("Snapshots per second", ()),
    "history": ("365 windows of history from an archive", ()),
    "batch": ("225 windows in one batch, interrupted in every way", ()),
}
_SECTION = re.compile(r"^## (\w+): .*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def taken(name: str) -> str:
    """Returns a section: what the script printed today."""
    title, arguments = SCRIPTS[name]
    command = ["python", f"benchmarks/{name}.py", *arguments]
    print(" ".join(command), file=sys.stderr, flush=True)
    said, _ = run([sys.executable, ROOT / command[1], *arguments])
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"## {name}: {title}\n\n`{' '.join(command)}`, {day}\n\n{said.strip()}\n\n"


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(SCRIPTS))
    if unknown:
        sys.exit(f"{', '.join(unknown)}: there is no such measurement; there are {', '.join(SCRIPTS)}.")
    old = FILE.read_text("utf-8") if FILE.exists() else ""
    sections = {found[1]: found[0].rstrip() + "\n\n" for found in _SECTION.finditer(old)}
    for name in names or SCRIPTS:
        sections[name] = taken(name)
        head = "# What was measured\n\nWritten by `make bench` (`benchmarks/results.py`).\n\n"
        text = head + "".join(sections[name] for name in SCRIPTS if name in sections)
        FILE.write_text(text.rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
