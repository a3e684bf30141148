"""Where the process meets the terminal: what it writes, and how it is told to end."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

from vpanalysis.errors import InputError
from vpanalysis.formatting import json_visible


class _Printable:
    """A text stream to which control and bidirectional characters go as JSON escapes, piped or not.

    JSON stays the same JSON; in a sentence or a log line such a character cannot act on a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        with contextlib.suppress(AttributeError):  # a stream that is no file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # it would lead past this
            raise AttributeError(name)
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if text == "":  # click tries a stream so, and swallows the error
            return 0
        with self._naming_failures():
            return self._stream.write(json_visible(text))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._naming_failures():
            self._stream.flush()

    @contextlib.contextmanager
    def _naming_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):  # what is still in the stream must not fail once more at the end
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if isinstance(error, BrokenPipeError):
                sys.exit(141)  # as a shell shows it: the reader has seen enough
            raise InputError(f"The output cannot be written: {error.strerror}.") from None


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Makes stdout and stderr printable, and lets SIGTERM end the process by an exit, which cleans up."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Printable(sys.stdout), _Printable(sys.stderr)
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) if main_thread else None
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        if main_thread:
            signal.signal(signal.SIGTERM, before)
