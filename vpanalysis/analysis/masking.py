"""Secrets in texts that came from somewhere else: found by their form or by the name before them, and masked."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from vpanalysis import formatting

if TYPE_CHECKING:
    import pandas as pd

    from vpanalysis.data.tables import Tables

MASK = "[secret]"
#: Longer texts are cut before anything looks at them.
MAX_TEXT = 4_000

#: Controls (but for tabs and line breaks), bidirectional marks, zero widths: they hide or reorder what is read.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_NAME = (
    r"(?:pass(?:word|wd|phrase|code)s?|pwd|pass(?==)|secret|token|api[ _-]?key|(?:access|private|signing|encryption"
    r"|auth|account|shared|master)[ _-]?key|credential|session[_-]?id|authorization|signature(?==)|jwt|bearer)"
)
#: A quoted text (even unclosed, or with escaped quotes), a list or object, or whatever stands up to the next blank.
_VALUE = (
    r"(?!\[secret\])"
    r"(?:\\{0,3}\"(?:[^\"\\]|\\.)*\"?|\\{0,3}'(?:[^'\\]|\\.)*'?|\[[^\]]*\]?|\{[^}]*\}?|[^\s&]+)"
)
_BEARER_PROSE = (
    r"(?!(?:tokens?|auth(?:entication|orization)?|schemes?|headers?|realm|is|was|not|missing)(?:[\s.,;:)]|$))"
)
_KNOWN_TOKENS = (
    r"(?:sk-|(?:sk|pk|rk)_(?:live|test)_|gh[a-z]_|github_pat_|gl[a-z]{2,4}-|xox[a-z]-|xapp-|hf_|gsk_|npm_|pypi-|shp[a-z]{2}_"
    r"|dop_v1_|whsec_|lin_api_|ya29\.|SG\.)[\w.-]{6,}"
    r"|A(?:KIA|SIA|ROA|IDA|BIA|CCA)[A-Z0-9]{12,}|AIza[\w-]{10,}|\d{8,10}:[\w-]{30,}"
    r"|eyJ[\w=-]{5,}(?:\.[\w=-]*)*"
)

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _named(found: re.Match[str]) -> str:
    count_of_tokens = "tokens" in found[1].lower() and found[2].rstrip(".,;)}]").isdigit()
    return found[0] if count_of_tokens else found[1] + MASK


def _looks_random(found: re.Match[str]) -> str:
    run = found[0]
    digit, letter = any(map(str.isdigit, run)), any(map(str.isalpha, run))
    mixed = any(map(str.islower, run)) and any(map(str.isupper, run)) and not run.startswith("/")
    return MASK if digit and letter and (mixed or run.isalnum()) else run


#: Applied in this order. Each is linear in the text but for bounded repeats: no repeat within a repeat that could
#: match the same characters in two ways. Only single characters are possessive: before 3.11.5 Python errs on groups.
_RULES: tuple[_Rule, ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----.*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|\Z)",
            re.DOTALL,
        ),
        MASK,
    ),
    (re.compile(r"(?i)(cookies?[\\\"']{0,4}\s{0,3}[:=]\s{0,3}+)(?!\[secret\])[^\n]+"), rf"\1{MASK}"),
    (
        re.compile(
            r"(?i)(authorization[\\\"']{0,4}\s{0,3}[:=]>?+\s{0,3}+[\\\"']{0,4}+)(?!\[secret\])"
            r"(?:(?:bearer|basic|token|digest|negotiate|apikey)\s{1,3})?[^\s\"',;)}\]]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)(hooks\.slack\.com/|discord(?:app)?\.com/api/webhooks/)[^\s\"']+"), rf"\1{MASK}"),
    (re.compile(rf"(?<![A-Za-z0-9])(?:{_KNOWN_TOKENS})"), MASK),
    (re.compile(rf"(?i)(\bbearer(?:\s{{1,3}}+|%20)){_BEARER_PROSE}(?!\[secret\])[^\s\"',;)}}\]]+"), rf"\1{MASK}"),
    (re.compile(r"(\b[Bb]asic\s{1,3})(?=.[a-z]*[A-Z0-9=])[A-Za-z0-9+/]{6,}={0,2}"), rf"\1{MASK}"),
    (
        re.compile(rf"(?i)((?<![\w-])--(?=[a-z])[\w-]{{0,40}}?{_NAME}[\w-]{{0,20}}(?:\s{{1,3}}+|=)){_VALUE}"),
        rf"\1{MASK}",
    ),
    (
        re.compile(
            rf"(?i)({_NAME}[\w.-]{{0,40}}[\\\"'\]]{{0,5}}\s{{0,3}}(?>:=|=>|[:=]|%3[ad])\s{{0,3}}+)({_VALUE})", re.DOTALL
        ),
        _named,
    ),
    (  # in prose: "invalid token 'abcd'", "password is hunter22"
        re.compile(
            r"(?i)((?:api[ _-]?key|access[ _-]?key|token|password|passphrase|secret)"
            r"(?:\s(?:provided|is|was|of|value))?:?+\s{1,3}+)(?!\[secret\])"
            r"(?:\"[^\"\n]{4,}\"|'[^'\n]{4,}'|`[^`\n]{4,}`|(?=[^\s\d]*\d)[^\s\"',;)]{6,})"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"[A-Za-z0-9]{32,}"), _looks_random),
    (re.compile(r"[A-Za-z0-9_+/=~-]{32,}"), _looks_random),
)


def mask_secrets(text: str) -> str:
    """Returns ``text`` with every secret replaced by ``[secret]``; without invisible characters where one was.

    Masked are tokens with a known beginning (``sk-``, ``ghp_``, ``xoxb-``, ``AKIA``, JSON web tokens, …), private-key
    blocks, bearer and other authorization headers, cookies, passwords in URLs, what follows a name such as
    ``api_key`` or ``--password``, and long runs of mixed characters. It rather hides too much than too little.
    Of a text of over 4,000 characters only the beginning is kept, up to a blank, so that no half of a secret is
    left over.
    """
    bounded = text
    if len(text) > MAX_TEXT:
        words = text[:MAX_TEXT].rsplit(None, 1)
        bounded = f"{words[0]} …" if len(words) > 1 else "…"
    masked = legible = without_invisible(bounded)
    if "://" in masked:
        masked = "".join(_without_userinfo(word) for word in re.split(r"(\s+)", masked))
    for pattern, replacement in _RULES:
        masked = pattern.sub(replacement, masked)
    return bounded if masked == legible else masked


def without_invisible(text: str) -> str:
    """Returns a text without the characters that hide or reorder what is read."""
    return _INVISIBLE.sub("", text)


def shown(text: object, length: int) -> str:
    r"""Returns a text from the database as a sentence may hold it: one line, at most ``length`` long.

    Secrets are masked; invisible characters are visible (``\x1b``).
    """
    line = formatting.visible(" ".join(mask_secrets(str(text)).split()))
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def mask_counts(counts: Mapping[str, int] | None) -> dict[str, int] | None:
    """Returns counts by name (``None``: unknown) with secrets in the names masked; of one name then is one count."""
    if counts is None:
        return None
    masked: dict[str, int] = {}
    for name, number in counts.items():
        without = mask_secrets(name)
        masked[without] = masked.get(without, 0) + number
    return masked


def mask_tables(tables: "Tables") -> "Tables":
    """Returns a window's tables with tokens in ids, names and objectives masked; payloads are masked where they show.

    Two ids that differ still do: six digits of its SHA-256 stand for a token.
    """
    return replace(
        tables,
        missions=_without_tokens(tables.missions),
        events=_without_tokens(tables.events),
        session_events=_without_tokens(tables.session_events),
    )


def _without_tokens(frame: "pd.DataFrame") -> "pd.DataFrame":
    found = {}
    for name in frame.columns:
        if name == "payload_json" or frame[name].dtype.kind in "biufM":
            continue
        free = frame[name]
        if name.endswith("_at_text"):  # what is read as a time is a stamp
            free = free[frame[name.removesuffix("_text")].isna().to_numpy()]
        if _TOKEN.search("\n".join(set(map(str, free.tolist())))):
            found[name] = frame[name].map(lambda text: _TOKEN.sub(_fingerprint, text), na_action="ignore")
    return frame.assign(**found) if found else frame


_TOKEN = re.compile(rf"(?<![A-Za-z0-9])(?:{_KNOWN_TOKENS})")


def _fingerprint(token: re.Match[str]) -> str:
    return f"{MASK[:-1]} {hashlib.sha256(token[0].encode()).hexdigest()[:6]}]"


def _without_userinfo(word: str) -> str:
    """A URL's user and password, whatever characters they hold, up to the word's last ``@``."""
    begin, end = word.find("://") + 3, word.rfind("@")
    return f"{word[:begin]}{MASK}{word[end:]}" if 3 <= begin < end else word
