"""Paths and URLs as a notebook may show them, and the way back to the real ones.

A parameter lands in the executed notebook and in the HTML. So a run hands its kernel the file's name, or the URL
without credentials, and the real location in an environment variable that only the kernel reads.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from vpanalysis.data.schema import SEVERAL

_VARIABLE = "VPANALYSIS_LOCATIONS"
_NAMES = ("source", "sources", "policy", "log")
#: What stands between the locations of a parameter that names several.
SEPARATOR = ";"


def shown(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the parameters with locations fit to be shown, and the real location of each that was replaced."""
    changed, hidden = dict(parameters), {}
    for name in _NAMES:
        value = parameters.get(name)
        if isinstance(value, str) and (short := _short(value)) != value:
            changed[name] = short
            hidden[short] = value
    return changed, hidden


def _short(value: str) -> str:
    for mark in (SEPARATOR, SEVERAL):
        if mark in value:
            return mark.join(map(_short, value.split(mark)))
    name, equals, rest = value.partition("=")
    if equals and Path(rest).is_absolute():
        return f"{name}={_short(rest)}"
    if "://" in value:
        parts = urlsplit(value)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Path(value).name if Path(value).is_absolute() else value


@contextmanager
def handed_over(hidden: Mapping[str, str]) -> Iterator[None]:
    """Lets kernels started inside find the real locations by :func:`real`."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = json.dumps(dict(hidden))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


def real(value: str) -> str:
    """Returns the real location behind a shown one; any other value is its own."""
    hidden: dict[str, str] = json.loads(os.environ.get(_VARIABLE) or "{}")
    return hidden.get(value, value)
