"""Work that may never end, and is given up after a while."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

_T = TypeVar("_T")


def in_time(work: Callable[[], _T], seconds: float) -> _T:
    """Returns what ``work`` returns, or raises what it raises, within ``seconds``.

    It is done in a thread of its own. Work that takes longer goes on there, and ends with the process at the latest.

    Raises:
        TimeoutError: It took longer.
    """
    outcome: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = outcome.get(timeout=max(0.001, seconds))
    except Empty:
        atexit.register(_say_no_more)
        raise TimeoutError from None
    if error is not None:
        raise error
    return cast("_T", result)


def _say_no_more() -> None:
    """Keeps DuckDB from listing, at the process's end, all that a thread still holds."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
