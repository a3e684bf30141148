"""A kernel that is a forked copy of this process: its imports are done, and what a notebook changes ends with it.

nbclient speaks to it as to any kernel, in the messages of Jupyter's protocol. They go through a socket pair, one
JSON text a line, and cells are executed by ipykernel's own shell; so outputs are what a kernel's would be.
"""

import asyncio
import builtins
import gc
import importlib
import logging
import os
import platform
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Mapping
from io import StringIO, TextIOBase
from queue import Empty
from typing import Any, NoReturn

from ipykernel.compiler import XCachingCompiler
from ipykernel.zmqshell import ZMQInteractiveShell
from jupyter_client.jsonutil import extract_dates
from jupyter_client.session import Session
from traitlets.config import Config

_LANGUAGE = {
    "name": "python",
    "version": platform.python_version(),
    "mimetype": "text/x-python",
    "codemirror_mode": {"name": "ipython", "version": sys.version_info[0]},
    "pygments_lexer": f"ipython{sys.version_info[0]}",
    "nbconvert_exporter": "python",
    "file_extension": ".py",
}


class ForkedKernel:
    """What nbclient needs of a kernel's client.

    Attributes:
        shell_channel: Where replies arrive.
        iopub_channel: Where outputs arrive.
    """

    def __init__(self) -> None:
        self._session = Session()
        self._line, other_end = socket.socketpair()
        self._process = os.fork()
        if self._process == 0:
            self._line.close()
            _answer_requests(other_end)
        other_end.close()
        self._alive = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unfinished = b""
        self.shell_channel, self.iopub_channel = _Channel(self), _Channel(self)

    def execute(self, code: str, **_: Any) -> str:
        """Asks for a cell to be executed; returns the request's id."""
        return self._ask("execute_request", {"code": code})

    def kernel_info(self) -> str:
        """Asks for the language; returns the request's id."""
        return self._ask("kernel_info_request", {})

    async def is_alive(self) -> bool:
        """Whether more messages may come."""
        return self._alive

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._stop_listening()
        self._line.close()
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)

    def listen(self) -> None:
        """Hands messages to their channels while the running event loop runs."""
        if self._loop is None and self._alive:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._line, self._hear)

    def _ask(self, kind: str, content: Mapping[str, Any]) -> str:
        request = self._session.msg(kind, dict(content))
        try:
            self._line.sendall(self._session.pack(request) + b"\n")
        except OSError:
            self._alive = False
        return str(request["header"]["msg_id"])

    def _hear(self) -> None:
        received = self._line.recv(1 << 20)
        if not received:
            self._alive = False
            self._stop_listening()
        *lines, self._unfinished = (self._unfinished + received).split(b"\n")
        for line in lines:
            message = self._session.unpack(line)
            message["header"] = extract_dates(message["header"])
            channel = self.shell_channel if message["msg_type"].endswith("_reply") else self.iopub_channel
            channel.messages.put_nowait(message)

    def _stop_listening(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._line)
            self._loop = None


class _Channel:
    def __init__(self, kernel: ForkedKernel) -> None:
        self._kernel = kernel
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        self._kernel.listen()
        try:
            return await asyncio.wait_for(self.messages.get(), timeout)
        except TimeoutError:
            raise Empty from None


# --- in the forked process


def _answer_requests(line: socket.socket) -> NoReturn:
    """Answers until the other end closes, and ends without cleaning up what is the parent's."""
    try:
        _stand_alone()
        session = _LineSession(line)
        shell = _new_shell(session)
        for text in line.makefile("rb"):
            request = session.unpack(text)
            if request["msg_type"] == "execute_request":
                _execute(request, shell, session)
            else:
                session.send(None, "kernel_info_reply", {"status": "ok", "language_info": _LANGUAGE}, request)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(0)


def _stand_alone() -> None:
    """Parts from the parent's terminal, arguments (which may hold a token), signal and log handlers, and objects."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # stdout is for the parent's results
    sys.argv[1:] = []
    vars(builtins).pop("_", None)  # an interactive parent's last result would hide this shell's
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has had it too, and ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().handlers.clear()
    importlib.reload(warnings)  # pytest and logging may have redirected them
    gc.freeze()  # what the imports made will not become garbage here: do not walk through it


class _LineSession(Session):
    """A session whose messages all go to one line."""

    def __init__(self, line: socket.socket) -> None:
        super().__init__()
        self._line = line

    def send(  # type: ignore[override]
        self,
        stream: object,
        msg_or_type: dict[str, Any] | str,
        content: dict[str, Any] | None = None,
        parent: dict[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        message = self.msg(msg_or_type, content, parent) if isinstance(msg_or_type, str) else msg_or_type
        self._line.sendall(self.pack(message) + b"\n")
        return message


class _Stream(TextIOBase):
    """Standard output or error: written texts are sent together when they are flushed."""

    encoding = "UTF-8"

    def __init__(self, name: str, session: _LineSession) -> None:
        self.name = name
        self._session, self._text = session, StringIO()
        self._parent: dict[str, Any] = {}

    def set_parent(self, parent: dict[str, Any]) -> None:
        self._parent = parent

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return self._text.write(text)

    def flush(self) -> None:
        text, self._text = self._text.getvalue(), StringIO()
        if text:
            self._session.send(None, "stream", {"name": self.name, "text": text}, self._parent)


def _new_shell(session: _LineSession) -> Any:
    if ZMQInteractiveShell.initialized():  # the parent is itself a kernel
        ZMQInteractiveShell.clear_instance()
    sys.stdout, sys.stderr = _Stream("stdout", session), _Stream("stderr", session)
    config = Config(HistoryManager={"enabled": False})
    shell: Any = ZMQInteractiveShell.instance(config=config, user_ns={}, compiler_class=XCachingCompiler)
    shell.displayhook.session = shell.display_pub.session = session
    shell.displayhook.topic = b"execute_result"
    return shell


def _execute(request: dict[str, Any], shell: Any, session: _LineSession) -> None:
    code = request["content"]["code"]
    shell.set_parent(request)
    session.send(None, "status", {"execution_state": "busy"}, request)
    session.send(None, "execute_input", {"code": code, "execution_count": shell.execution_count}, request)
    result = shell.run_cell(code, store_history=True)
    sys.stdout.flush()
    sys.stderr.flush()
    reply: dict[str, Any] = {"status": "ok", "execution_count": shell.execution_count - 1}
    if not result.success or getattr(shell, "_last_traceback_during_displayhook", False):
        error = result.error_before_exec or result.error_in_exec
        reply |= {"status": "error", "ename": type(error).__name__, "evalue": str(error)}
        reply["traceback"] = shell._last_traceback or []
    session.send(None, "execute_reply", reply, request)
    session.send(None, "status", {"execution_state": "idle"}, request)
