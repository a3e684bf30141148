"""What a notebook's parameters may be, checked by its first call before anything is read."""

import ast
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from vpanalysis.errors import InputError

_NUMBERS = {"last_missions", "event_limit"}


def check_types(given: Mapping[str, Any]) -> None:
    """Refuses parameters of another type than a notebook's, negative numbers, and names that papermill only warns of.

    Raises:
        InputError: The sentence names the parameter.
    """
    _check_injected()
    for name, value in given.items():
        wanted = int if name in _NUMBERS else str
        if type(value) is not wanted:
            raise InputError(
                f"The parameter {name} is {value!r} ({type(value).__name__}), but must be {wanted.__name__}"
                + ("; papermill's -r passes a value as text." if wanted is str else ".")
            )
    for name in _NUMBERS & given.keys():
        if given[name] < 0:
            raise InputError(f"The parameter {name} is {given[name]}: give a whole number of 0 or more.")


def _check_injected() -> None:
    """Refuses a name in papermill's cell that the parameters cell right before it does not declare."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    cells = list(shell.user_ns.get("In", ())) if shell else []
    pairs = [pair for pair in pairwise(cells) if pair[1].startswith("# Parameters\n")]
    declared, injected = (_assigned(cell) for cell in (pairs[-1] if pairs else ("", "")))
    if declared and (unknown := next((name for name in injected if name not in declared), None)):
        raise InputError(f"The notebook has no parameter {unknown!r}: its parameters are {', '.join(declared)}.")


def _assigned(cell: str) -> list[str]:
    """The names that a cell of nothing but assignments assigns; none of any other cell."""
    names = []
    try:
        for item in ast.parse(cell).body:
            targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", item)]
            if not isinstance(targets[0], ast.Name):
                return []
            names.append(targets[0].id)
    except SyntaxError:
        return []
    return names
