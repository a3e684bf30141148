"""The metrics endpoint's client: one snapshot from a gateway, or a sentence that says why there is none."""

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import ReadTimeoutError

from vpanalysis.data.in_time import in_time
from vpanalysis.data.ops_token import WAYS_IN
from vpanalysis.errors import InputError

PATH = "/api/v1/ops/metrics/coder-vp"
CONNECT_SECONDS = 5.0
#: For one answer in all, repeated attempts included.
ANSWER_SECONDS = 20.0
ATTEMPTS = 3
PAUSE_SECONDS = 0.5
MAX_BYTES = 64_000_000
_MAX_REDIRECTS = 3
#: Of a refusal's body; a longer one is no ``detail`` of the gateway's.
_MAX_PROBLEM_BYTES = 65_536
_MAX_MESSAGE = 200
_MAX_NAME = 60


@dataclass(frozen=True)
class Endpoint:
    """Where a gateway's metrics are.

    Attributes:
        url: The endpoint without credentials and query.
        query: What the given URL's query asked for; the last value of each name.
        credentials: User and password of the given URL, for a proxy in front of the gateway; never shown.
    """

    url: str
    query: Mapping[str, str]
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, location: str) -> "Endpoint":
        """Returns the endpoint that ``location`` names: a full URL of one, or a gateway's base URL.

        Raises:
            InputError: It is no HTTP URL with a host.
        """
        try:
            parts = urlsplit(location.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host:
            raise InputError("The source is not a readable URL: give one such as http://127.0.0.1:8002.")
        authority = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
        path = parts.path if "/metrics/" in parts.path else parts.path.rstrip("/") + PATH
        return cls(
            url=f"{parts.scheme}://{authority}{path}",
            query={name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()},
            credentials=(parts.username, parts.password or "") if parts.username is not None else None,
        )

    def secrets(self, token: str | None) -> list[str]:
        """Returns what no sentence may hold, whatever the server repeats."""
        return [secret for secret in (token, self.credentials and self.credentials[1]) if secret]


@dataclass(frozen=True)
class Problem:
    """What a gateway says went wrong: the ``detail`` object of a 5xx, in words that are safe to show.

    Attributes:
        code: Such as ``vp_db_locked``; empty when it gives none.
        message: One line of at most 200 printable characters, secrets masked; empty when it gives none.
        request_id: What the gateway's log calls the request; empty when it gives none.
        retryable: Whether it says that asking again may help.
    """

    code: str
    message: str
    request_id: str
    retryable: bool

    @classmethod
    def of(cls, answer: requests.Response, secrets: Iterable[str]) -> "Problem | None":
        """Returns the problem that an answer tells; ``None`` for one without a code and a message."""
        if answer.status_code < 500:
            return None
        try:
            content = json.loads(_body(answer, _MAX_PROBLEM_BYTES, at_once=1) or b"")
        except (ValueError, RecursionError, requests.RequestException):
            return None
        detail = content.get("detail") if isinstance(content, dict) else None
        if not isinstance(detail, dict):
            return None
        code, message, request_id = (
            _line(detail.get(name), length, secrets)
            for name, length in (("code", _MAX_NAME), ("message", _MAX_MESSAGE), ("request_id", _MAX_NAME))
        )
        if not code and not message:
            return None
        return cls(code, message.rstrip("."), request_id, detail.get("retryable") is True)


def fetch(endpoint: Endpoint, query: Mapping[str, str | int], token: str | None) -> bytes:
    """Returns the body of the endpoint's answer.

    Connection errors, 502 and 503 are tried again, three times in all; where the gateway itself says what went
    wrong (a 5xx with a ``detail`` object), only when it calls that ``retryable``.

    Args:
        endpoint: Where to ask.
        query: The request's query; the endpoint's own stands where the names differ.
        token: Sent as ``Authorization: Bearer`` and ``x-ua-ops-token``, to the endpoint's own host only.

    Raises:
        InputError: There is no answer to use; the sentence says which of the reasons it is and what to do. It
            never holds the token.
    """
    sentence, until = "", time.monotonic() + ANSWER_SECONDS
    with requests.Session() as session:
        # An explicit auth also keeps requests from sending a password of ~/.netrc in the token's place.
        session.auth = _Credentials(endpoint.credentials, token)
        session.params = {**endpoint.query, **{name: str(value) for name, value in query.items()}}
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE_SECONDS * attempt)
            try:  # a socket's own limit starts anew with every byte, and in headers nobody looks at a clock
                answer = in_time(partial(_ask, session, endpoint, token), until - time.monotonic())
                if isinstance(answer, bytes):
                    return answer
                sentence, again = answer
                if not again:
                    break
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                if isinstance(error, requests.Timeout) or _timed_out(error):
                    raise InputError(
                        f"{endpoint.url} did not answer in time: check the host and the gateway's load, and ask again."
                    ) from None
                if isinstance(error, requests.exceptions.SSLError):
                    raise InputError(
                        f"{endpoint.url} has no certificate that this machine trusts: check the URL's host name, or "
                        "name the authority in REQUESTS_CA_BUNDLE."
                    ) from None
                sentence = f"{endpoint.url} cannot be reached: check that the gateway runs there and the port is right."
            except (requests.Timeout, TimeoutError):
                raise InputError(
                    f"{endpoint.url} did not answer in time: check the host and the gateway's load, and ask again."
                ) from None
            except requests.RequestException as error:
                raise InputError(f"{endpoint.url} could not be read ({type(error).__name__}).") from None
    raise InputError(sentence)


def _ask(session: requests.Session, endpoint: Endpoint, token: str | None) -> bytes | tuple[str, bool]:
    """Returns the answer's body, or why there is none and whether to ask again."""
    with _answer(session, endpoint.url) as answer:
        if answer.status_code == 200:
            body = _body(answer, MAX_BYTES)
            if body is None:
                raise InputError(
                    f"{endpoint.url} answered with more than {MAX_BYTES // 1_000_000} MB: ask for fewer missions or "
                    "events."
                )
            return body
        problem = Problem.of(answer, endpoint.secrets(token))
        again = answer.status_code in (502, 503) if problem is None else problem.retryable
        return _refusal(answer.status_code, endpoint.url, token, problem), again


class _Credentials(AuthBase):
    """Both of the gateway's headers; a password in the URL takes ``Authorization``."""

    def __init__(self, basic: tuple[str, str] | None, token: str | None) -> None:
        self._basic = basic
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["x-ua-ops-token"] = self._token
            request.headers["Authorization"] = f"Bearer {self._token}"
        return HTTPBasicAuth(*self._basic)(request) if self._basic else request


@contextmanager
def _answer(session: requests.Session, url: str) -> Iterator[requests.Response]:
    """Asks, following redirects on the same host only."""
    target = url
    for _ in range(1 + _MAX_REDIRECTS):
        with closing(
            session.get(
                target,
                headers={"Accept": "application/json"},
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                stream=True,
            )
        ) as answer:
            if not answer.is_redirect:
                yield answer
                return
            location = answer.headers["location"].partition("?")[0].partition("#")[0]
        redirected = _joined(target, location)
        if redirected is None or not _same_host(target, redirected):
            raise InputError(
                f"{url} redirects to another host, which the token must not follow: give that gateway's own URL, "
                "if it is the right one."
            )
        target = redirected
    raise InputError(f"{url} redirects in a circle: give the gateway's own URL.")


def _same_host(one: str, other: str) -> bool:
    """Whether ``other`` is of the same origin as ``one``, or the same host with TLS added on its usual port."""
    if _origin(one) == _origin(other):
        return True
    secure = _origin(other) == ("https", urlsplit(one).hostname, 443)
    return secure and _origin(one) == ("http", urlsplit(one).hostname, 80)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None, None


def _joined(url: str, location: str) -> str | None:
    try:
        return urljoin(url, location)
    except ValueError:
        return None


def _body(answer: requests.Response, most: int, at_once: int = 65_536) -> bytes | None:
    """Returns the answer's body, unpacked; ``None`` when it is longer than ``most`` bytes.

    Time is looked at after every ``at_once`` bytes; of what is packed more than once nothing is unpacked.
    """
    length = answer.headers.get("content-length", "")
    if (length.isdecimal() and int(length) > most) or "," in answer.headers.get("content-encoding", ""):
        return None
    until, body = time.monotonic() + (ANSWER_SECONDS if most == MAX_BYTES else ANSWER_SECONDS / 4), bytearray()
    for chunk in answer.iter_content(at_once):
        body += chunk
        if len(body) > most:
            return None
        if time.monotonic() > until:
            raise requests.Timeout
    return bytes(body)


def _line(value: Any, length: int, secrets: Iterable[str]) -> str:
    """Returns a server's text as a sentence may hold it: one printable line, bounded, without secrets."""
    if not isinstance(value, str):
        return ""
    visible = "".join(character for character in value if character.isprintable() or character.isspace())
    line = " ".join(visible.split())
    for secret in secrets:
        line = line.replace(secret, _MASK)
    line = _LOOKS_SECRET.sub(rf"\1{_MASK}", line)
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


_MASK = "***"
#: What follows a word for a secret, and any run of 40 characters: a request id is shorter.
_LOOKS_SECRET = re.compile(
    r"(?i)(\b(?:bearer|basic)\s+|(?:token|password|passwd|secret|api[_-]?key)s?[\"']?\s*[:=]\s*)?"
    r"(?(1)\S+|[\w+/=~-]{40,})"
)


def _refusal(status: int, url: str, token: str | None, problem: Problem | None) -> str:
    if problem is not None:
        named = f" {problem.code}" if problem.code else ""
        message = f' ("{problem.message}")' if problem.message else ""
        request = f" for the request {problem.request_id}" if problem.request_id else ""
        advice = f"ask again in a minute, or see the gateway's log{request}"
        if not problem.retryable:
            advice = f"see the gateway's log{request}"
        return f"{url} answered with {status}{named}{message}: {advice}."
    if status in (401, 403):
        sent = "refused the ops token" if token else "wants an ops token"
        return f"{url} {sent} ({status}): give the right one by {WAYS_IN}."
    if status == 404:
        return f"{url} is not there (404): check the gateway's URL and that its version has the metrics endpoint."
    if status == 503:
        return f"{url} has no runtime database to read (503): wait until the gateway has started."
    if status == 502:
        return f"{url} is a proxy that does not reach the gateway behind it (502): check that the gateway runs."
    return f"{url} answered with HTTP status {status} instead of metrics: see the gateway's log."


def _timed_out(error: BaseException) -> bool:
    return any(isinstance(cause, ReadTimeoutError) for cause in error.args)
