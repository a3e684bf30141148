"""What every request to the server passes: the host it names is checked, and it leaves one line in the log."""

import ipaddress
import json
import logging
import re
import time
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

access_log = logging.getLogger("vpanalysis.access")
#: A ``Host`` header, in lower case: a name or an IPv6 address in brackets, and perhaps a port.
_HOST = re.compile(r"(?:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(?::\d+)?")
_LONGEST_PATH = 200


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class FrontDoor:
    """An ASGI middleware that answers 400 to a ``Host`` that is not the server's.

    A page from anywhere can point its own name at this machine (DNS rebinding) and read the open endpoints through
    its visitor's browser. Only the name it sends betrays it.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = ()) -> None:
        """Wraps ``app``; ``allowed_hosts`` are names without ports, beside those of this machine."""
        self._app = app
        self._allowed = {host.lower().strip("[]") for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await (self._app if self._is_allowed(scope) else _refuse)(scope, receive, noting)
        finally:
            access_log.info(
                "%s %s %s %d %.0f ms",
                (scope.get("client") or ("-",))[0],
                scope["method"],
                _path(scope),
                status,
                (time.perf_counter() - started) * 1000,
            )

    def _is_allowed(self, scope: Scope) -> bool:
        hosts = [
            _HOST.fullmatch(value.decode("latin-1").lower()) for name, value in scope["headers"] if name == b"host"
        ]
        names = [host[1] or host[2] if host else "" for host in hosts]
        return len(names) == 1 and (names[0] in self._allowed or is_loopback(names[0]))


def _path(scope: Scope) -> str:
    """Returns the path as it was sent, percent signs and all, without the query: that may hold what is secret."""
    path = scope.get("raw_path") or scope["path"].encode()
    return ascii(path.partition(b"?")[0][:_LONGEST_PATH].decode("latin-1"))[1:-1]


async def _refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
    detail = "This server does not answer to that host name: name it by --allow-host when you start the server."
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
