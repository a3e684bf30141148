"""A real HTTP server on this machine that answers as a test wants."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from conftest import LANE

#: The least that is a snapshot.
SNAPSHOT: dict[str, Any] = {
    "generated_at": "2026-02-16T14:07:42+00:00",
    "vp_id": LANE,
    "fallback": {"missions_considered": 4, "missions_with_fallback": 1, "rate": 0.25},
    "latency_seconds": {"count": 4, "avg_seconds": 0.4, "p50_seconds": 0.4, "p95_seconds": 0.534, "max_seconds": 0.6},
}


class Server:
    """Answers each request by ``answer(handler)`` and remembers what was asked."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        requests = self.requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append((self.path, dict(self.headers)))
                answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.requests[-1][0]).query)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def say(
    body: object = SNAPSHOT, status: int = 200, headers: dict[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer
