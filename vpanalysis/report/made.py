"""What every report says of how it was made: its parameters, the command that makes it again, and the versions."""

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

_SHOWN_VERSIONS = ("vpanalysis", "duckdb", "pandas", "scipy", "matplotlib", "papermill", "nbconvert")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that make a report."""
    return {"python": platform.python_version()} | {name: version(name) for name in _SHOWN_VERSIONS}


@dataclass(frozen=True, eq=False, kw_only=True)
class Made:
    """What a notebook's first call returns.

    Attributes:
        parameters: The notebook's parameters, as given.
        command: The command that makes the report again.
        versions: Versions of Python and of the packages that made it.
    """

    parameters: Mapping[str, Any]
    command: str
    versions: Mapping[str, str] = field(default_factory=versions)


def command(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Returns the command that makes a report again."""
    options = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in parameters.items() if value]
    return " ".join([f"vpanalysis report {notebook}", *options])
