"""The endpoint's client, against a real server on this machine that misbehaves in one way per test."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import LANE
from http_server import SNAPSHOT, Server, say

import vpanalysis as vp
from vpanalysis.data import gateway

TOKEN = "t0ken-that-nobody-may-see"
WINDOW = vp.RolloutWindow(LANE, last_missions=60)


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers; the token comes from nowhere and retries do not wait."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UA_OPS_TOKEN", raising=False)
    monkeypatch.setattr(gateway, "PAUSE_SECONDS", 0)
    servers = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """Expects one sentence with all of ``words``, without the token and without a traceback behind it."""
    with pytest.raises(vp.InputError) as caught:
        yield
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert TOKEN not in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert caught.value.__cause__ is None or TOKEN not in str(caught.value.__cause__)


def load(url: str, **options: Any) -> Any:
    with vp.open_source(url, ops_token=TOKEN, **options) as source:
        return source.load(WINDOW)


def test_both_headers_and_the_windows_limits_are_sent(serving: Callable[..., Server]) -> None:
    server = serving(say())
    tables = load(server.url)
    path, headers = server.requests[0]
    assert path.startswith("/api/v1/ops/metrics/coder-vp?")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["x-ua-ops-token"] == TOKEN
    assert server.query == {"vp_id": [LANE], "mission_limit": ["60"], "event_limit": ["1000"]}
    assert (tables.kind, tables.source) == ("gateway", f"{server.url}/api/v1/ops/metrics/coder-vp")
    assert tables.as_of.isoformat() == "2026-02-16T14:07:42+00:00"


@pytest.mark.parametrize(
    ("location", "path", "query"),
    [
        ("{}", "/api/v1/ops/metrics/coder-vp", {}),
        ("{}/", "/api/v1/ops/metrics/coder-vp", {}),
        ("{}/behind/proxy/", "/behind/proxy/api/v1/ops/metrics/coder-vp", {}),
        ("{}/api/v1/ops/metrics/vp?vp_id=vp.coder.primary&mission_limit=9", "/api/v1/ops/metrics/vp", {}),
        ("{}/api/v1/ops/metrics/coder-vp?event_limit=400", "/api/v1/ops/metrics/coder-vp", {"event_limit": ["400"]}),
        (
            "{}/api/v1/dashboard/metrics/coder-vp?gateway_compatible=1#x",
            "/api/v1/dashboard/metrics/coder-vp",
            {"gateway_compatible": ["1"]},
        ),
    ],
)
def test_a_base_url_and_an_endpoints_url_are_understood(
    serving: Callable[..., Server], location: str, path: str, query: dict[str, list[str]]
) -> None:
    server = serving(say())
    load(location.format(server.url))
    assert urlsplit(server.requests[0][0]).path == path
    assert server.query == {"vp_id": [LANE], "mission_limit": ["60"], "event_limit": ["1000"]} | query


def test_credentials_in_a_url_are_used_and_not_shown(serving: Callable[..., Server]) -> None:
    server = serving(say(status=404))
    location = server.url.replace("//", "//proxyuser:pr0xyword@")
    with pytest.raises(vp.InputError) as caught:
        load(location)
    assert server.url in str(caught.value)
    assert "pr0xyword" not in str(caught.value)
    headers = server.requests[0][1]
    assert headers["Authorization"].startswith("Basic ")
    assert headers["x-ua-ops-token"] == TOKEN
    assert "pr0xyword" not in repr(gateway.Endpoint.of(location))


def test_netrc_does_not_replace_the_token(
    serving: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serving(say())
    load(server.url)
    assert server.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_names_its_three_ways_in(serving: Callable[..., Server], status: int) -> None:
    server = serving(say({"detail": f"bad token {TOKEN}"}, status))
    with refused(str(status), "--ops-token", "UA_OPS_TOKEN", ".env", "refused"):
        load(server.url)
    with refused(str(status), "--ops-token", "UA_OPS_TOKEN", ".env", "wants"), vp.open_source(server.url) as source:
        source.load(WINDOW)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "word", "asked"),
    [
        (404, "not there", 1),
        (500, "HTTP status 500", 1),
        (204, "HTTP status 204", 1),
        (503, "runtime database", 3),
        (502, "proxy", 3),
    ],
)
def test_statuses_have_their_sentence_and_only_some_are_tried_again(
    serving: Callable[..., Server], status: int, word: str, asked: int
) -> None:
    server = serving(say(b"", status))
    with refused(server.url, word):
        load(server.url)
    assert len(server.requests) == asked


LOCKED = {
    "code": "vp_db_locked",
    "message": "VP storage is temporarily busy; retry shortly.",
    "retryable": True,
    "request_id": "vp-0f3a",
}
INTERNAL = {"code": "vp_internal_error", "message": "VP operation failed unexpectedly.", "request_id": "vp-77"}


@pytest.mark.parametrize(
    ("status", "detail", "sentence", "asked"),
    [
        (
            503,
            LOCKED,
            'answered with 503 vp_db_locked ("VP storage is temporarily busy; retry shortly"): ask again in a minute, '
            "or see the gateway's log for the request vp-0f3a.",
            3,
        ),
        (
            500,
            INTERNAL,
            'answered with 500 vp_internal_error ("VP operation failed unexpectedly"): see the gateway\'s log for the '
            "request vp-77.",
            1,
        ),
        (500, LOCKED | {"message": None, "request_id": 7}, "500 vp_db_locked: ask again in a minute", 3),
        (503, LOCKED | {"retryable": False}, "busy; retry shortly\"): see the gateway's log", 1),
        (503, LOCKED | {"retryable": "yes"}, "busy; retry shortly\"): see the gateway's log", 1),
        (404, LOCKED, "is not there (404)", 1),
        (502, {"message": "no lane"}, 'answered with 502 ("no lane"): see the gateway\'s log.', 1),
    ],
)
def test_what_the_gateway_says_went_wrong_is_told_and_only_the_retryable_is_tried_again(
    serving: Callable[..., Server], status: int, detail: dict[str, Any], sentence: str, asked: int
) -> None:
    server = serving(say({"detail": detail}, status))
    with refused(server.url, sentence):
        load(server.url)
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "Runtime DB not initialized"},
        {"detail": {}},
        {"detail": {"retryable": False, "code": "", "message": " "}},
        {"detail": [LOCKED]},
        {"detail": LOCKED | {"message": "x" * 70_000, "retryable": False}},
        [],
        b"[" * 50_000,
        b"\xff",
    ],
)
def test_a_503_that_does_not_say_why_is_a_missing_database(serving: Callable[..., Server], body: object) -> None:
    server = serving(say(body, 503))
    with refused(server.url, "has no runtime database to read (503)"):
        load(server.url)
    assert len(server.requests) == 3


def test_a_locked_database_that_is_free_again_is_read(serving: Callable[..., Server]) -> None:
    answers = iter([say({"detail": LOCKED}, 503), say({"detail": LOCKED}, 503), say()])
    server = serving(lambda handler: next(answers)(handler))
    assert load(server.url).snapshot == SNAPSHOT
    assert len(server.requests) == 3


def test_a_locked_database_that_then_fails_is_not_tried_again(serving: Callable[..., Server]) -> None:
    answers = iter([say({"detail": LOCKED}, 503), say({"detail": INTERNAL}, 500), say()])
    server = serving(lambda handler: next(answers)(handler))
    with refused("vp_internal_error", "vp-77"):
        load(server.url)
    assert len(server.requests) == 2


def test_a_refusal_that_breaks_off_is_as_if_it_said_nothing(serving: Callable[..., Server]) -> None:
    server = serving(say(b'{"detail": {"code"', 503, {"Content-Length": "500"}))
    with refused(server.url, "has no runtime database to read (503)"):
        load(server.url)
    assert len(server.requests) == 3


def test_a_refusal_that_comes_byte_by_byte_is_not_waited_for(
    serving: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.3)
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(500)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b" ")

    server = serving(drip)
    began = time.monotonic()
    with refused("HTTP status 500"):
        load(server.url)
    assert time.monotonic() - began < 10  # 50 s for all of it
    stop.set()


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("two\nlines\r\n\tand  a tab", "two lines and a tab"),
        ("\x1b[31mred\x07 \u202eleft \ud800", "[31mred left"),
        (f"sent {TOKEN}", "sent ***"),
        (f"sent {TOKEN[:5]}\u200b{TOKEN[5:]}", "sent ***"),
        ("password of the proxy: pr0xyword", "password of the proxy: ***"),
        ("header authorization: Bearer abc.def", "header authorization: Bearer ***"),
        ("UA_OPS_TOKEN=abc next", "UA_OPS_TOKEN=*** next"),
        (f"key {'aB3' * 20} found", "key *** found"),
        ("word " * 100, ("word " * 100)[:199].rstrip() + "…"),
    ],
)
def test_the_servers_words_are_one_short_printable_line_without_secrets(
    serving: Callable[..., Server], message: str, told: str
) -> None:
    server = serving(say({"detail": {"code": message, "message": message, "request_id": message}}, 500))
    with refused(f'("{told}")'):
        load(server.url.replace("//", "//proxyuser:pr0xyword@"))
    with pytest.raises(vp.InputError) as caught:
        load(server.url.replace("//", "//proxyuser:pr0xyword@"))
    assert str(caught.value).isprintable()
    assert "pr0xyword" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_gateway_that_recovers_is_read(serving: Callable[..., Server]) -> None:
    answers = iter([say(status=503), lambda handler: handler.connection.close(), say()])
    server = serving(lambda handler: next(answers)(handler))
    assert load(server.url).snapshot == SNAPSHOT
    assert len(server.requests) == 3


def test_no_server(serving: Callable[..., Server]) -> None:
    server = serving(say())
    server.close()
    with refused(server.url, "cannot be reached"):
        load(server.url)


def test_a_server_that_does_not_answer(serving: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.2)
    release = threading.Event()
    server = serving(lambda handler: release.wait(10))
    with refused(server.url, "in time"):
        load(server.url)
    release.set()
    assert len(server.requests) == 1


def test_a_server_that_answers_byte_by_byte(serving: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.3)
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _ in range(100):
            if stop.wait(0.05):
                return
            handler.wfile.write(b"1\r\n{\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    server = serving(drip)
    with refused(server.url, "in time"):
        load(server.url)
    stop.set()


HEADERS = b"HTTP/1.1 200 OK\r\nX-Slow: "
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"


@pytest.mark.parametrize(("begun", "drop"), [(HEADERS, b"x"), (BODY, b" ")], ids=["headers", "body"])
def test_an_answer_that_drips_is_given_up_before_its_end(
    serving: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, begun: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.3)
    stop, ended = threading.Event(), threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(begun)
        for _ in range(1200):
            if stop.wait(0.05):
                return
            handler.wfile.write(drop)
        ended.set()

    server = serving(drip)
    with refused(server.url, "in time"):
        load(server.url)
    assert not ended.is_set()
    stop.set()


def test_an_answer_that_is_packed_twice(serving: Callable[..., Server]) -> None:
    packed = gzip.compress(gzip.compress(b" " * 65_000_000))
    with refused("64 MB"):
        load(serving(say(packed, 200, {"Content-Encoding": "gzip, gzip"})).url)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"fallback": ', b"\xff\xfe", b"[" * 100_000, b"9" * 5000])
def test_a_body_that_is_no_json(serving: Callable[..., Server], body: bytes) -> None:
    server = serving(say(body))
    with refused(server.url, "is not JSON"):
        load(server.url)


@pytest.mark.parametrize(
    "body", [[], 1, None, {}, {"fallback": {}}, {"fallback": 1, "latency_seconds": {}}, {"detail": TOKEN}]
)
def test_json_that_is_no_snapshot(serving: Callable[..., Server], body: object) -> None:
    server = serving(say(body))
    with refused(server.url, "not a metrics snapshot"):
        load(server.url)


def test_the_dashboards_wrapper_is_understood(serving: Callable[..., Server]) -> None:
    server = serving(say({"status": "ok", "metrics": SNAPSHOT}))
    assert load(f"{server.url}/api/v1/dashboard/metrics/coder-vp").snapshot == SNAPSHOT


def test_the_dashboards_unavailable_is_a_sentence(serving: Callable[..., Server]) -> None:
    server = serving(say({"status": "unavailable", "detail": "Runtime DB\nnot initialized", "metrics": None}))
    with refused(server.url, "unavailable", "Runtime DB not initialized"):
        load(f"{server.url}/api/v1/dashboard/metrics/coder-vp")


def test_the_unavailable_detail_cannot_show_the_token(serving: Callable[..., Server]) -> None:
    server = serving(say({"status": "unavailable", "detail": f"token {TOKEN} expired", "metrics": None}))
    with refused("unavailable"):
        load(server.url)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_token_does_not_follow_to_another_host(serving: Callable[..., Server], scheme: str) -> None:
    other = serving(say())
    target = other.url.replace("127.0.0.1", "localhost").replace("http", scheme)
    server = serving(say(b"", 307, {"Location": f"{target}/api/v1/ops/metrics/coder-vp"}))
    with refused(server.url, "another host"):
        load(server.url)
    assert other.requests == []


def test_another_port_is_another_host(serving: Callable[..., Server]) -> None:
    other = serving(say())
    server = serving(say(b"", 302, {"Location": other.url}))
    with refused("another host"):
        load(server.url)
    assert other.requests == []


def test_a_redirect_on_the_same_host_is_followed(serving: Callable[..., Server]) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        moved = handler.path.startswith("/new/")
        (say() if moved else say(b"", 308, {"Location": "/new/metrics/vp"}))(handler)

    server = serving(answer)
    assert load(server.url).snapshot == SNAPSHOT
    assert server.query["vp_id"] == [LANE]
    assert server.requests[1][1]["x-ua-ops-token"] == TOKEN


def test_a_redirect_in_a_circle_ends(serving: Callable[..., Server]) -> None:
    server = serving(say(b"", 302, {"Location": "/api/v1/ops/metrics/coder-vp"}))
    with refused("circle"):
        load(server.url)


def test_an_answer_over_64_mb(serving: Callable[..., Server]) -> None:
    server = serving(say(b"", 200, {"Content-Length": "64000001"}))
    with refused(server.url, "64 MB"):
        load(server.url)


def test_an_answer_over_64_mb_once_it_is_unpacked(serving: Callable[..., Server]) -> None:
    packed = gzip.compress(b" " * 65_000_000)
    assert len(packed) < 100_000
    server = serving(say(packed, 200, {"Content-Encoding": "gzip"}))
    with refused(server.url, "64 MB"):
        load(server.url)


def test_another_lanes_answer_is_refused(serving: Callable[..., Server]) -> None:
    server = serving(say(SNAPSHOT | {"vp_id": "vp.other"}))
    with refused("vp.other", LANE):
        load(server.url)
    with refused("vp.other", LANE):
        load(f"{server.url}/api/v1/ops/metrics/vp?vp_id=vp.other")


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (vp.RolloutWindow(LANE, last_missions=501), ("500", "501")),
        (vp.RolloutWindow(LANE, start="2026-02-16"), ("start",)),
        (vp.RolloutWindow(LANE, last_missions=5).baseline(), ("newest missions only",)),
        (vp.RolloutWindow(LANE, last_missions=5, as_of="2026-02-16T14:00:00Z"), ("as_of", "2026-02-16T14:07:42")),
    ],
)
def test_windows_that_an_endpoint_cannot_show(
    serving: Callable[..., Server], window: vp.RolloutWindow, words: tuple[str, ...]
) -> None:
    server = serving(say())
    with refused(*words), vp.open_source(server.url) as source:
        source.load(window)


def test_500_missions_can_be_asked_for(serving: Callable[..., Server]) -> None:
    server = serving(say())
    with vp.open_source(server.url) as source:
        source.load(vp.RolloutWindow(LANE, last_missions=500))
    assert server.query["mission_limit"] == ["500"]


@pytest.mark.parametrize(
    "location", ["http://", "http://:8002", "https://[::1", "http://host:port/", "HTTP://host:99999"]
)
def test_a_url_that_is_none(location: str) -> None:
    with refused("URL"):
        vp.open_source(location)


def test_gateway_snapshot_asks_for_the_gateways_own(serving: Callable[..., Server]) -> None:
    server = serving(say())
    with vp.open_source(server.url) as source, refused("contract", "session"):
        source.gateway_snapshot(LANE, 9999, 9999)
    assert server.query == {
        "vp_id": [LANE],
        "mission_limit": ["500"],
        "event_limit": ["1000"],
        "gateway_compatible": ["1"],
    }
