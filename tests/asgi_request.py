"""One request to an ASGI application, without a network."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Reply:
    """What the application answered."""

    status: int
    body: bytes


def request(app: Any, path: str, host: str | None = "localhost", **query: Any) -> Reply:
    """Asks for ``path`` by GET; may be called by several threads at once."""
    said: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query).encode(),
        "root_path": "",
        "headers": [] if host is None else [(b"host", host.encode("latin-1"))],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8002),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    asyncio.run(app(scope, receive, send))
    return Reply(said[0]["status"], b"".join(message.get("body", b"") for message in said[1:]))
