"""The metrics endpoint's client: one snapshot from a gateway, or a sentence that says why there is none."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import ReadTimeoutError

from vpanalysis.data.ops_token import WAYS_IN
from vpanalysis.errors import InputError

PATH = "/api/v1/ops/metrics/coder-vp"
CONNECT_SECONDS = 5.0
#: For each wait for the server, and for one answer as a whole.
ANSWER_SECONDS = 20.0
ATTEMPTS = 3
PAUSE_SECONDS = 0.5
MAX_BYTES = 64_000_000
_MAX_REDIRECTS = 3


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


def fetch(endpoint: Endpoint, query: Mapping[str, str | int], token: str | None) -> bytes:
    """Returns the body of the endpoint's answer.

    Connection errors, 502 and 503 are tried again, three times in all.

    Args:
        endpoint: Where to ask.
        query: The request's query; the endpoint's own stands where the names differ.
        token: Sent as ``Authorization: Bearer`` and ``x-ua-ops-token``, to the endpoint's own host only.

    Raises:
        InputError: There is no answer to use; the sentence says which of the reasons it is and what to do. It
            never holds the token.
    """
    sentence = ""
    with requests.Session() as session:
        # An explicit auth also keeps requests from sending a password of ~/.netrc in the token's place.
        session.auth = _Credentials(endpoint.credentials, token)
        session.params = {**endpoint.query, **{name: str(value) for name, value in query.items()}}
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE_SECONDS * attempt)
            try:
                with _answer(session, endpoint.url) as answer:
                    if answer.status_code == 200:
                        return _body(answer, endpoint.url)
                    sentence = _refusal(answer.status_code, endpoint.url, token)
                    if answer.status_code not in (502, 503):
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
            except requests.Timeout:
                raise InputError(
                    f"{endpoint.url} did not answer in time: check the host and the gateway's load, and ask again."
                ) from None
            except requests.RequestException as error:
                raise InputError(f"{endpoint.url} could not be read ({type(error).__name__}).") from None
    raise InputError(sentence)


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


def _body(answer: requests.Response, url: str) -> bytes:
    too_large = InputError(
        f"{url} answered with more than {MAX_BYTES // 1_000_000} MB: ask for fewer missions or events."
    )
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BYTES:
        raise too_large
    until, body = time.monotonic() + ANSWER_SECONDS, bytearray()
    for chunk in answer.iter_content(65_536):
        body += chunk
        if len(body) > MAX_BYTES:
            raise too_large
        if time.monotonic() > until:
            raise requests.Timeout
    return bytes(body)


def _refusal(status: int, url: str, token: str | None) -> str:
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
