"""The field's time stamps: what counts as one, and how it becomes a moment in UTC."""

import re
from datetime import UTC, datetime, timedelta

#: The forms that DuckDB casts exactly as Python reads them; everything else is left to :func:`parse_time`.
STRICT_PATTERN = (
    r"(000[1-9]|00[1-9]\d|0[1-9]\d{2}|[1-9]\d{3})-\d{2}-\d{2}[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
    r"(\.\d{3}|\.\d{6})?(Z|\+00:00)?"
)
#: Hour 24 is no time of day for Python 3.11; later versions read it as the next midnight.
_HOUR_24 = re.compile(r"[T ]24")


def parse_time(text: str | None) -> datetime | None:
    """Returns the moment in UTC that ``text`` names, or ``None`` where it is no time stamp.

    A time stamp is whatever Python 3.11's ``datetime.fromisoformat`` reads after stripping blanks; a stamp
    without an offset means UTC. A moment outside the years 1 to 9999 in UTC counts as missing.
    """
    if text is None:
        return None
    stripped = text.strip()
    if _HOUR_24.search(stripped):
        return None
    try:
        moment = datetime.fromisoformat(stripped)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def as_utc(value: str | datetime, name: str) -> datetime:
    """Returns ``value`` as a moment in UTC; naive times mean UTC.

    Raises:
        ValueError: ``value`` is no readable time; the sentence names the parameter.
    """
    moment = parse_time(value.isoformat() if isinstance(value, datetime) else value)
    if moment is None:
        raise ValueError(f"{name} {value!r} is not a readable time: give ISO 8601, such as 2026-02-16T14:00:00Z.")
    return moment


def parse_length(text: object) -> timedelta:
    """Returns a length of time such as ``30m``, ``12h``, ``1d`` or ``2w``.

    >>> parse_length("12h")
    datetime.timedelta(seconds=43200)

    Raises:
        ValueError: ``text`` is none.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})([mhdw])", text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is not a duration: give a number with m, h, d or w, such as 12h.")
    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    return timedelta(**{units[found[2]]: int(found[1])})
