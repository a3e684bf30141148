"""Runs the command line in this process, as ``main`` of the installed program does."""

import sys
from typing import NamedTuple

import pytest

from vpanalysis.cli import main


class Ran(NamedTuple):
    """What a command exited with and wrote."""

    code: int
    out: str
    err: str


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    """Runs ``vpanalysis ARGUMENTS``."""
    before, sys.argv = sys.argv, ["vpanalysis", *arguments]
    capsys.readouterr()
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    return Ran(code, *capsys.readouterr())
