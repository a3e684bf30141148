"""Error texts of fallbacks and failures, grouped by what they have in common; secrets are masked first."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pandas as pd

from vpanalysis.analysis.masking import mask_secrets, shown
from vpanalysis.data.endpoint import parse_payload
from vpanalysis.data.schema import FAILED, FALLBACK

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
            ``[path]``, ``[url]``, ``'…'`` for quoted values, ``[secret]`` for secrets.
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


def error_text(payload_json: Any) -> str:
    """Returns a payload's error in one line, secrets masked: its ``error``, else its ``reason``, else what is wrong."""
    if not isinstance(payload_json, str) or not payload_json.strip():
        return "(no payload)"
    payload = parse_payload(payload_json)
    if payload is None:
        return "(payload is not JSON)"
    if not isinstance(payload, dict):
        return "(payload is no object)"
    for key in ("error", "reason"):
        text = _plain(payload.get(key))
        if text:
            return text
    return "(no error given)"


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


_UUID = re.compile(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]{0,15}://[^\s\"'<>)\]]+")
_QUOTED = re.compile(r"(?<!\w)(?:'[^']*'|\"[^\"]*\"|`[^`]*`)(?!\w)")
#: An absolute path, one from ~ or ., a Windows one, or a relative one of three parts.
_PATH = re.compile(r"(?<![\w.~/\\])(?:[A-Za-z]:\\|[~.]{0,2}[/\\]|(?:[\w.@%+~-]{1,80}/){2})[\w.@%+~/\\-]+")
_WORD = re.compile(r"[A-Za-z0-9]+")
_JOINED = re.compile(r"(?:(?<!\w)[-+])?#(?:[-.:,/+]#)*")


def normalise(text: str) -> str:
    """Returns a masked text without what differs from case to case: URLs, quoted values, paths, ids and numbers."""
    text = _URL.sub("[url]", text)
    text = _UUID.sub("#", _PATH.sub("[path]", _QUOTED.sub("'…'", text)))
    return shown(_JOINED.sub("#", _WORD.sub(_without_number, text)), MAX_SIGNATURE)


def _without_number(found: re.Match[str]) -> str:
    """A word as it is, or its letters before a number (``worker3`` → ``worker#``), or ``#`` for an id."""
    word = found[0]
    hexadecimal = re.fullmatch(r"(?i)(?:0x)?[0-9a-f]+", word) is not None
    if not any(map(str.isdigit, word)):
        return "#" if hexadecimal and len(word) >= 8 else word
    letters = word.rstrip("0123456789")
    return "#" if (hexadecimal and len(word) >= 4) or not letters.isalpha() else f"{letters}#"
