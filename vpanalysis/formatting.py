"""The one formatter of numbers, rates, durations and times: for the row, the tables, the plots and the CLI."""

import json
import math
import re
from datetime import UTC, datetime

NOT_AVAILABLE = "n/a"
#: Controls but for tab and line breaks, bidirectional marks, zero widths that join nothing, lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
#: On a terminal also a carriage return that begins no line: it overwrites what stands there.
_ACTING = re.compile(rf"{_INVISIBLE.pattern}|(?<!^)\r(?!\n)")
#: The space between a number and its unit.
_UNIT = re.compile(r"(?<=\d) (?=(?:%|s|min|h|d|points)(?!\w))")


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def rate(value: float | None) -> str:
    """Returns a share as the evidence log writes it: ``0.250``, or ``n/a`` when missing, NaN or infinite."""
    return NOT_AVAILABLE if value is None or _missing(value) else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Returns a share in per cent: ``25.0 %``, or ``n/a``; a share that is neither 0 nor 1 never reads like one."""
    if value is None or _missing(value):
        return NOT_AVAILABLE
    if 0 < value < 0.0005:
        return f"{100 * value:.1g} %"
    return f"{min(100 * value, 99.9) if 0.9995 <= value < 1 else 100 * value:.1f} %"


def points(change: float | None) -> str:
    """Returns a change of a share in percentage points, with its sign: ``+13.0``, ``−4.5``; or ``n/a``."""
    return NOT_AVAILABLE if change is None or _missing(change) else f"{100 * change:+.1f}".replace("-", "−")


def log_seconds(value: float | None) -> str:
    """Returns seconds as the evidence log writes them: ``0.534s``, or ``n/a``."""
    return NOT_AVAILABLE if value is None or _missing(value) else f"{value:.3f}s"


def duration(value: float | None) -> str:
    """Returns seconds for reading: ``0.53 s``, ``12.4 s``, ``4 min 05 s``, ``3 h 20 min``, ``2 d 4 h``; or ``n/a``.

    A second unit of zero is left out.

    >>> duration(245.2), duration(86_400)
    ('4 min 05 s', '24 h')
    """
    if value is None or _missing(value):
        return NOT_AVAILABLE
    if value < 0:
        return "−" + duration(-value)
    if value < 9.995:
        return f"{value:.2f} s"
    if value < 99.95:
        return f"{value:.1f} s"
    whole, minutes, hours = round(value), round(value / 60), round(value / 3600)
    if whole < 7200:
        large, small = f"{whole // 60} min", f"{whole % 60:02d} s"
    elif minutes < 48 * 60:
        large, small = f"{minutes // 60} h", f"{minutes % 60:02d} min"
    else:
        large, small = f"{hours // 24} d", f"{hours % 24} h"
    return large if small.startswith(("0 ", "00 ")) else f"{large} {small}"


def share(part: int | None, whole: int | None, noun: str = "") -> str:
    """Returns a count of a whole: ``3 of 60 (5.0 %)``, ``3 of 60 missions (5.0 %)``; ``n/a`` when unknown."""
    if part is None or whole is None:
        return NOT_AVAILABLE
    of = f"{part:,} of {count(whole, noun) if noun else f'{whole:,}'}"
    return f"{of} ({percent(part / whole)})" if whole else of


def time(value: datetime | None) -> str:
    """Returns a moment as the evidence log writes it, to the second in UTC: ``2026-02-16T14:07:42Z``; or ``n/a``."""
    if value is None or value != value:  # NaT differs from itself
        return NOT_AVAILABLE
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun: ``1 mission``, ``2 missions``, ``0 missions``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def capitalized(text: str) -> str:
    """Returns a text that begins with a capital, the rest as it is: names and codes in it keep theirs."""
    return text[:1].upper() + text[1:]


def shortened(text: str, characters: int) -> str:
    """Returns a text, or as much of its beginning as ``characters`` hold, the last of them an ellipsis."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def times(number: int) -> str:
    """Returns how often something happened: ``once``, ``2 times``."""
    return "once" if number == 1 else f"{number:,} times"


def known_count(number: int | None) -> str:
    """Returns a number; ``n/a`` when unknown."""
    return NOT_AVAILABLE if number is None else f"{number:,}"


def visible(text: str) -> str:
    r"""Returns a text with its invisible characters made visible: ``\x1b`` for controls, ``U+202E`` for the others.

    Line breaks and tabs stay, and so does what joins emoji and letters of other scripts.
    """
    return _INVISIBLE.sub(lambda found: _escaped(found[0]), text)


def json_visible(text: str) -> str:
    """Returns a text with its invisible characters as JSON escapes, so that JSON keeps its meaning.

    >>> len(json_visible("\N{ESCAPE}"))
    6
    """
    return _ACTING.sub(lambda found: json.dumps(found[0])[1:-1], text)


def tied(text: str) -> str:
    """Returns a text in which no line breaks between a number and its unit."""
    return _UNIT.sub("\u00a0", text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0xA0 else f"U+{code:04X}"


def threshold(value: float) -> str:
    """Returns a limit as its policy writes it, without trailing zeros: ``0.05``, ``90``."""
    return f"{value:g}"


def percent_limit(value: float) -> str:
    """Returns a limit that is a share as people write it: ``5 %``."""
    return f"{threshold(round(100 * value, 6))} %"


def seconds_limit(value: float) -> str:
    """Returns a limit in seconds as people write it: ``45 s``, ``15 min``, ``24 h``; else as a duration."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size and value % size == 0:
            return f"{threshold(value / size)} {unit}"
    return f"{threshold(value)} s" if value < 7200 else duration(value)


def need_you(number: int, whole: int, noun: str = "") -> str:
    """Returns how many of a whole need somebody: ``2 of 12 lanes need you``, ``None of 12 needs you``."""
    verb = "needs" if number <= 1 else "need"
    of = count(whole, noun) if noun else f"{whole:,}"
    return f"{f'{number:,}' if number else 'None'} of {of} {verb} you"
