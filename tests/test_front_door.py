"""Which hosts the server answers to, what its log says of a request, and whether it is well."""

import json
import logging
import re
from pathlib import Path

import pytest
from asgi_request import request
from conftest import RuntimeDatabase, some_of
from test_serve import DASHBOARD, OPS, TOKEN, serving

from vpanalysis.data.source import SqliteSource
from vpanalysis.front_door import access_log
from vpanalysis.serve import create_app


@pytest.fixture
def path(fresh_database: RuntimeDatabase) -> Path:
    fresh_database.session()
    fresh_database.connection.close()
    return fresh_database.path


@pytest.mark.parametrize(
    "host",
    some_of(
        ["localhost", "LOCALHOST:8002", "127.0.0.1", "127.0.0.1:8002", "127.8.9.10", "[::1]:8002", "[::1]",
         "10.0.0.7:8002", "ops.example:443", "OPS.example", "[fd00::7]:8002"], 3),
)  # fmt: skip
def test_hosts_that_are_answered(path: Path, host: str) -> None:
    app = create_app(SqliteSource(path), None, ["10.0.0.7", "Ops.Example", "fd00::7"])
    assert request(app, DASHBOARD, host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8002", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example@localhost",
     "localhost@evil.example", "10.0.0.8",
     "example", "0.0.0.0", "", None, "[::1", "[10.0.0.8]", "localhost, evil.example", "2130706433", "localhost:80:80"],
)  # fmt: skip
@pytest.mark.parametrize("endpoint", [DASHBOARD, OPS, "/healthz", "/openapi.json", "/nowhere"])
def test_hosts_that_are_refused(path: Path, host: str | None, endpoint: str) -> None:
    app = create_app(SqliteSource(path), None, ["10.0.0.7", "ops.example"])
    reply = request(app, endpoint, host)
    assert reply.status == 400
    assert "--allow-host" in json.loads(reply.body)["detail"]
    assert b"evil" not in reply.body


def test_a_request_leaves_one_line_without_its_query(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(SqliteSource(path), TOKEN)
    with caplog.at_level(logging.INFO, access_log.name):
        request(app, OPS, token=TOKEN, vp_id="vp.secret")
        request(app, "/a%0Ab\x1b[31m\u202e", x=TOKEN)
        request(app, "/healthz", "evil.example")
        request(app, "/" + "x" * 1000)
    lines = [re.sub(r"\d+ ms$", "N ms", record.getMessage()) for record in caplog.records]
    assert lines == [
        f"127.0.0.1 GET {OPS} 401 N ms",
        r"127.0.0.1 GET /a%0Ab\x1b[31m\xe2\x80\xae 404 N ms",
        "127.0.0.1 GET /healthz 400 N ms",
        f"127.0.0.1 GET /{'x' * 199} 404 N ms",
    ]


def test_health(path: Path) -> None:
    app = create_app(SqliteSource(path), TOKEN)
    assert (request(app, "/healthz").status, request(app, "/healthz").body) == (200, b'{"status":"ok"}')
    content = path.read_bytes()
    for fault in (b"", b"not SQLite at all", content[:1000] + bytes(len(content) - 1000)):
        path.write_bytes(fault)
        reply = request(app, "/healthz")
        assert reply.status == 503
        assert json.loads(reply.body) == {"detail": "The runtime database is not available."}
    path.unlink()
    assert request(app, "/healthz").status == 503
    path.write_bytes(content)
    assert request(app, "/healthz").status == 200


def test_health_wants_the_tables(tmp_path: Path) -> None:
    made = RuntimeDatabase(tmp_path / "vp_state.db", "CREATE TABLE something (a)")
    made.connection.close()
    assert request(create_app(SqliteSource(made.path), None), "/healthz").status == 503


def test_the_real_server(path: Path) -> None:
    with serving(path, "--allow-host", "ops.example") as server:
        assert server.get("/healthz", token=None).json() == {"status": "ok"}
        assert server.get("/healthz", host="ops.example:8002").status_code == 200
        assert server.get(DASHBOARD, host="evil.example").status_code == 400
        assert server.get(OPS, token=None, ops_token=TOKEN).status_code == 401
        path.rename(path.with_name("away.db"))
        assert server.get("/healthz").status_code == 503
    lines = [re.sub(r"^\S+ \S+ 127.0.0.1 |\d+ ms$", "", line) for line in server.log.splitlines() if " GET " in line]
    assert lines == [
        "GET /healthz 200 ",
        "GET /healthz 200 ",
        f"GET {DASHBOARD} 400 ",
        f"GET {OPS} 401 ",
        "GET /healthz 503 ",
    ]
