"""The playbook's metrics endpoints over HTTP, read-only, beside a gateway or without one."""

import hmac
import logging
import signal
import socket
import sys
from collections.abc import Callable, Hashable, Iterable
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Response
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from vpanalysis.analysis.answer import snapshot
from vpanalysis.answer_cache import Answer, AnswerCache
from vpanalysis.data.schema import DEFAULT_VP_ID
from vpanalysis.data.snapshot import Snapshot, clamp_event_limit, clamp_mission_limit
from vpanalysis.data.source import Source, SqliteSource
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError, UnknownLaneError
from vpanalysis.front_door import FrontDoor, access_log

#: Connections beyond these are answered with 503 at once.
MOST_CONNECTIONS = 256
_log = logging.getLogger("uvicorn.error")


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class Health(BaseModel):
    """The server answers, and the database can be read."""

    status: Literal["ok"]


class Dashboard(BaseModel):
    """The dashboard endpoint's answer: the snapshot, or why there is none."""

    status: Literal["ok", "unavailable"]
    detail: str | None = None
    metrics: Snapshot | None


#: In the document only: FastAPI's own check would answer 422 where the gateway answers 400.
_NOT_BLANK: dict[str, Any] = {"pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}
VpId = Annotated[str, Query(description="The lane.", json_schema_extra=_NOT_BLANK)]
MissionLimit = Annotated[int, Query(description="Newest missions considered; clamped to 1..500.")]
EventLimit = Annotated[int, Query(description="Events in the recent_* lists; clamped to 1..1000.")]
GatewayCompatible = Annotated[
    bool, Query(description="The gateway's own answer: from the lane's oldest events, without events_complete.")
]
_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="The ops token.")
_header = APIKeyHeader(name="x-ua-ops-token", auto_error=False, scheme_name="header", description="The ops token.")


def create_app(source: SqliteSource, ops_token: str | None, allowed_hosts: Iterable[str] = ()) -> FastAPI:
    """Returns the application.

    Args:
        source: The runtime database; an answer is read anew unless the database has provably not changed.
        ops_token: What the ops endpoints want; ``None``: they are open.
        allowed_hosts: Names by which the server may be asked, beside those of this machine.
    """
    answers = AnswerCache(source)

    async def check_token(
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        header: Annotated[str | None, Depends(_header)],
    ) -> None:
        given = [header, bearer.credentials if bearer else None]
        # Every candidate is compared, each in constant time.
        matches = [hmac.compare_digest((token or "").encode(), (ops_token or "").encode()) for token in given]
        if ops_token is not None and not any(matches):
            raise HTTPException(401, "Unauthorized", {"WWW-Authenticate": "Bearer"})

    def answer(question: Hashable, read: Callable[[], Answer]) -> bytes:
        try:
            return answers.get(question, read)
        except InputError as error:
            _log.warning("%s", error)  # it names a path, which is not for everybody
            raise HTTPException(503, "The runtime database is not available.") from None

    def metrics(vp_id: str, mission_limit: int, event_limit: int, gateway_compatible: bool) -> bytes:
        events = clamp_event_limit(event_limit)
        try:
            window = RolloutWindow(vp_id, last_missions=clamp_mission_limit(mission_limit))
        except InputError as error:
            raise HTTPException(400, str(error)) from None
        return answer((window, events, gateway_compatible), lambda: _read(source, window, events, gateway_compatible))

    app = FastAPI(title="vpanalysis", docs_url=None, redoc_url=None)
    app.add_middleware(FrontDoor, allowed_hosts=allowed_hosts)
    problems: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 503: {"model": Problem}}
    gated: dict[str, Any] = {
        "dependencies": [Depends(check_token)],
        "responses": {401: {"model": Problem}, **problems},
    }

    @app.get("/healthz", responses={503: {"model": Problem}})
    def health() -> Health:
        """Whether the database can be read."""
        nothing = RolloutWindow("-", last_missions=1)  # a lane without rows costs nothing, however large the others
        answer("health", lambda: _read(source, nothing, 1, gateway_compatible=True))
        return Health(status="ok")

    @app.get("/api/v1/ops/metrics/coder-vp", response_model=Snapshot, **gated)
    def coder_metrics(
        vp_id: VpId = DEFAULT_VP_ID,
        mission_limit: MissionLimit = 50,
        event_limit: EventLimit = 200,
        gateway_compatible: GatewayCompatible = False,
    ) -> Response:
        """The metrics of CODIE's lane, or of any other."""
        return _json(metrics(vp_id, mission_limit, event_limit, gateway_compatible))

    @app.get("/api/v1/ops/metrics/vp", response_model=Snapshot, **gated)
    def lane_metrics(
        vp_id: VpId,
        mission_limit: MissionLimit = 50,
        event_limit: EventLimit = 200,
        gateway_compatible: GatewayCompatible = False,
    ) -> Response:
        """The metrics of a lane."""
        return _json(metrics(vp_id, mission_limit, event_limit, gateway_compatible))

    @app.get("/api/v1/dashboard/metrics/coder-vp", response_model=Dashboard, responses={400: {"model": Problem}})
    def dashboard_metrics(
        vp_id: VpId = DEFAULT_VP_ID,
        mission_limit: MissionLimit = 20,
        event_limit: EventLimit = 100,
        gateway_compatible: GatewayCompatible = False,
    ) -> Response:
        """The same for dashboards: no token, and a database that is not there is no error."""
        try:
            content = metrics(vp_id, mission_limit, event_limit, gateway_compatible)
            return _json(b'{"status":"ok","metrics":' + content + b"}")
        except HTTPException as problem:
            if problem.status_code != 503:
                raise
            unavailable = Dashboard(status="unavailable", detail=problem.detail, metrics=None)
            return _json(unavailable.model_dump_json().encode())

    return app


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _read(source: Source, window: RolloutWindow, event_limit: int, gateway_compatible: bool) -> Answer:
    if not gateway_compatible:
        try:
            tables = source.load(window)
            return Answer.of(snapshot(tables, event_limit=event_limit), lasting=not tables.more_to_come)
        except UnknownLaneError:
            empty = source.gateway_snapshot(window.vp_id, 1, 1)
            return Answer.of(empty.model_copy(update={"events_complete": True}), lasting=True)
    return Answer.of(source.gateway_snapshot(window.vp_id, window.last_missions or 1, event_limit), lasting=True)


def run(app: FastAPI, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serves until it is told to stop.

    Args:
        app: The application.
        host: Where to listen.
        port: 0 takes a free one.
        announce: Called with the server's URL once it listens.

    Raises:
        InputError: The host or the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        reason = str(error.strerror).partition(" (")[0] if isinstance(error, OSError) else "no such port"
        raise InputError(f"Cannot listen on {host}:{port} ({reason}): choose another --host or --port.") from None
    # asyncio sets it on its own sockets only; without it the second part of an answer waits 40 ms on kept connections.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    # uvicorn ends by the signal it was sent; as an exit it lets the caller clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    lines = logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    access_log.addHandler(lines)
    access_log.setLevel(logging.INFO)
    access_log.propagate = False
    with listening:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, limit_concurrency=MOST_CONNECTIONS
        )
        _Server(config, lambda: announce(url)).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]) -> None:
        super().__init__(config)
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listens()
