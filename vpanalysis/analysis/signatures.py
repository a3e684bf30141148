"""Error texts of fallbacks and failures, grouped by what they have in common; secrets are masked first."""

import json
import re
from dataclasses import dataclass, fields
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

import pandas as pd

from vpanalysis.analysis.masking import mask_secrets, shown, without_invisible
from vpanalysis.data.schema import FAILED, FALLBACK
from vpanalysis.data.snapshot import parse_payload
from vpanalysis.data.tables import Tables, utc_times

Kind = Literal["fallback", "failure"]
__all__ = ["Signature", "error_text", "group_signatures", "mask_secrets", "normalise"]

_KINDS: dict[str, Kind] = {FALLBACK: "fallback", FAILED: "failure"}

MAX_SIGNATURE, MAX_EXAMPLE = 160, 300


@dataclass(frozen=True)
class Signature:
    """Fallback or failure events whose error texts differ only in ids, numbers, paths and the like.

    Attributes:
        kind: ``fallback`` or ``failure``.
        signature: The normalised text, at most 160 characters: ``#`` for numbers, ids and hexadecimal,
            ``[path]``, ``[url]``, ``'…'`` for quoted values, ``[secret]`` for secrets. Codes that name the cause,
            such as ``HTTP 401`` or ``exit code 137``, are kept.
        count: Events.
        missions: Distinct missions.
        first_seen: Time of the first event; ``None`` when no event has a readable time.
        last_seen: Time of the last; ``None`` likewise.
        example_mission: The newest event's mission id; ``None`` when none has one.
        example: The newest event's text, secrets masked, at most 300 characters.
    """

    kind: Kind
    signature: str
    count: int
    missions: int
    first_seen: datetime | None
    last_seen: datetime | None
    example_mission: str | None
    example: str


def group_signatures(events: pd.DataFrame | None) -> tuple[Signature, ...]:
    """Returns the fallback and failure signatures, most frequent first.

    Args:
        events: As in :class:`~vpanalysis.data.tables.Tables`, oldest first; ``None`` gives no signature.
    """
    if events is None:
        return ()
    found = events[events["event_type"].isin(list(_KINDS))]
    texts = [error_text(payload) for payload in found["payload_json"]]
    groups = found.assign(text=texts, signature=[normalise(text) for text in texts]).groupby(
        ["event_type", "signature"], sort=False
    )
    signatures = []
    for (event_type, signature), group in groups:
        named = group["mission_id"][group["mission_id"].fillna("") != ""]
        times = group["created_at"].dropna()
        signatures.append(
            Signature(
                kind=_KINDS[str(event_type)],
                signature=str(signature),
                count=len(group),
                missions=named.nunique(),
                first_seen=times.min().to_pydatetime() if len(times) else None,
                last_seen=times.max().to_pydatetime() if len(times) else None,
                example_mission=str(named.iloc[-1]) if len(named) else None,
                example=shown(group["text"].iloc[-1], MAX_EXAMPLE),
            )
        )
    return tuple(sorted(signatures, key=lambda found: (-found.count, found.kind, found.signature)))


def signatures(tables: Tables) -> pd.DataFrame:
    """Returns a window's error signatures as a frame, most frequent first; secrets are masked.

    Examples:
        >>> import vpanalysis as vp
        >>> with vp.open_source("sample:critical") as source:
        ...     tables = source.load(vp.RolloutWindow("vp.coder.primary"))
        >>> list(vp.signatures(tables).columns[:4])
        ['kind', 'signature', 'count', 'missions']

    Args:
        tables: The window.

    Returns:
        A row per signature: ``kind`` (``fallback`` or ``failure``), ``signature`` (numbers, ids, paths and quoted
        values replaced), ``count`` (events), ``missions`` (distinct ones), ``first_seen`` and ``last_seen`` (UTC, NaT
        when unknown), ``example_mission`` and ``example`` (the newest event's). Empty without an error, or when
        the source shows no payloads.
    """
    names = [field.name for field in fields(Signature)]
    frame = pd.DataFrame([vars(found) for found in group_signatures(tables.events)], columns=names)
    return frame.assign(**{name: utc_times(frame[name]) for name in ("first_seen", "last_seen")})


def error_text(payload_json: Any) -> str:
    """Returns a payload's error in one line, secrets masked: its ``error``, else its ``reason``, else what is wrong.

    A ``stale_reason`` follows: the reconciler gives every stuck mission the same reason, and names the cause there.
    """
    if not isinstance(payload_json, str) or not payload_json.strip():
        return "(no payload)"
    payload = parse_payload(payload_json)
    if payload is None:
        return "(payload is not JSON)"
    if not isinstance(payload, dict):
        return "(payload is no object)"
    text = _plain(payload.get("error")) or _plain(payload.get("reason"))
    stale_reason = payload.get("stale_reason")
    cause = _plain(stale_reason) if isinstance(stale_reason, str) else ""
    if cause not in text:
        text = mask_secrets(f"{text}: {cause}" if text else cause)
    return text or "(no error given)"


def _plain(value: Any) -> str:
    """One line of a payload's value; of an object, its message."""
    for _ in range(3):
        if isinstance(value, dict):
            value = next((value[key] for key in ("message", "error", "detail") if value.get(key)), value)
    if value is None or value == {} or value == []:
        return ""
    masked = mask_secrets(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    lines = [line for line in masked.splitlines() if line.strip()]
    if lines and lines[0].startswith("Traceback "):
        lines = lines[-1:]  # the exception stands in the last line
    return " ".join(" ".join(lines).split())


# Codes that name the cause. Every repeat is bounded, so that the search stays linear.
#: The quote that opens a JSON key; the name before a code.
_KEY = r"(?:[\"'](?=\w{1,20}[\"']\s?:))?"
_NAME = (
    r"(?i:signal|(?:system)?exit(?:ed)?"
    r"|(?:(?:http|exit|return|response|status|err|error)[ _-]?){0,2}(?:code|status))"
)
#: From the name to the code: ``code 1``, ``code=1``, ``"code": "1"``, ``exited (1)``; ``exited with 1``, but not
#: ``exited with 2 warnings``.
_TO = (
    r"(?:[\"']?(?:\s{0,2}[:=(\[]\s{0,2}|\s{1,2})(?:[\"'](?=[\w-]{1,99}[\"']))?"
    r"|\s(?:with|was|is|of)\s(?!\d{1,3}\s[a-z]{2,20}s\b))"
)
#: What ends a code. Counts, durations and the beginnings of longer numbers are none.
_END = r"(?!\w|[-.,:/+]\d|\s?[%/]|\s(?:of|times|m?s|seconds|minutes)\b)"
_PHRASES = "|".join(rf"{status:d}\W{{1,3}}{status.phrase.split()[0]}\b" for status in HTTPStatus if status >= 400)
_CODES = (
    rf"{_KEY}{_NAME}{_TO}(?:\d{{1,3}}|-\d{{1,5}}|0x[0-9A-Fa-f]{{8}}){_END}",
    # "code: 'ECONNRESET'", "code E404"
    rf"{_KEY}(?i:(?:err(?:or)?[ _-]?)?code){_TO}"
    rf"(?:E[A-Z]{{3,20}}|[A-Z]{{1,3}}\d{{3,5}}|[A-Za-z]{{1,30}}(?:_[A-Za-z]{{1,30}}){{1,8}}){_END}",
    rf"(?i:error[ _-]?code){_TO}\d{{4}}{_END}",
    rf"{_KEY}(?i:winerror|errno){_TO}-?\d{{1,5}}{_END}",
    rf"(?i:sqlstate){_TO}[0-9A-Z]{{5}}{_END}",
    # "error 5", "error[E0382]", "error -32000", "ERROR 1045 (28000)"; but not "Error: 5 tests failed"
    rf"(?i:error)\s?[\s(\[](?:\d{{1,3}}|-\d{{1,5}}|[A-Z]{{1,3}}\d{{3,5}}|\d{{4}}\s\([0-9A-Z]{{5}}\)){_END}",
    # "HTTP 401", "HTTP/1.1 401", "HTTP401", "HTTPError: 401"
    rf"(?i:http)(?:/\d(?:\.\d)?|[A-Za-z]{{0,20}}(?:Error|Exception))?(?:{_TO}|[-_]?)[1-5]\d\d{_END}",
    # "API Error: 529 {…}", "returned 503 for", and "401: no" at the beginning; but not "returned 503 rows"
    r"(?:\A|(?i:[a-z]{0,30}error:|returned|responded with|got)\s)[45]\d\d"
    r"(?=\W{0,2}\Z|\s?[{:(,;…](?!\d)|\s(?:for|from|on|by)\b)",
    r"\A-?\d{1,3}\Z",  # the whole error
    rf"(?i:{_PHRASES}|[45]\d\d (?:client|server) error\b)",  # "502 Bad Gateway"
    r"(?:E1100\d|TS\d{4,5}|(?:ORA|PLS|TNS)-\d{4,5}|SIGUSR[12]|E2BIG)(?!\w)",  # known by their form
)
_CODE = rf"(?P<code>(?<![A-Za-z0-9])(?:{'|'.join(_CODES)}))"

_UUID = re.compile(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]{0,15}://[^\s\"'<>)\]]+")
_CODE_OR_QUOTED = re.compile(rf"{_CODE}|(?<!\w)(?:'[^']*'|\"[^\"]*\"|`[^`]*`)(?!\w)")
#: An absolute path, one from ~ or ., a Windows one, or a relative one of three parts.
_PATH = re.compile(r"(?<![\w.~/\\])(?:[A-Za-z]:\\|[~.]{0,2}[/\\]|(?:[\w.@%+~-]{1,80}/){2})[\w.@%+~/\\-]+")
_CODE_OR_WORD = re.compile(rf"{_CODE}|[A-Za-z0-9]+")
_JOINED = re.compile(r"(?:(?<!\w)[-+])?#(?:[-.:,/+]#)*")


def normalise(text: str) -> str:
    """Returns a masked text without what differs from case to case: URLs, quoted values, paths, ids and numbers.

    Nor has it invisible characters.

    Codes that name the cause stay: HTTP status and exit codes, errno values, signals, error classes.
    """
    text = _CODE_OR_QUOTED.sub(_without_value, _URL.sub("[url]", without_invisible(text)))
    text = _UUID.sub("#", _PATH.sub("[path]", text))
    return shown(_JOINED.sub("#", _CODE_OR_WORD.sub(_without_number, text)), MAX_SIGNATURE)


def _without_value(found: re.Match[str]) -> str:
    """A code as it is; of a quoted value, the codes in it."""
    if found["code"]:
        return found[0]
    codes = [match["code"] for match in _CODE_OR_WORD.finditer(found[0], 1, len(found[0]) - 1) if match["code"]]
    return f"'{' '.join([*codes, '…'])}'"


def _without_number(found: re.Match[str]) -> str:
    """A code or word as it is, or a word's letters before a number (``worker3`` → ``worker#``), or ``#`` for an id."""
    word = found[0]
    if found["code"] or word.endswith(("Error", "Exception")):
        return word
    hexadecimal = re.fullmatch(r"(?i)(?:0x)?[0-9a-f]+", word) is not None
    if not any(map(str.isdigit, word)):
        return "#" if hexadecimal and len(word) >= 8 else word
    letters = word.rstrip("0123456789")
    return "#" if (hexadecimal and len(word) >= 4) or not letters.isalpha() else f"{letters}#"
