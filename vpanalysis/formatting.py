"""The one formatter of numbers, rates, durations and times: for the row, the tables, the plots and the CLI."""

import math
from datetime import UTC, datetime

NOT_AVAILABLE = "n/a"


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def rate(value: float | None) -> str:
    """Returns a share as the evidence log writes it: ``0.250``, or ``n/a`` when missing, NaN or infinite."""
    return NOT_AVAILABLE if value is None or _missing(value) else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Returns a share in per cent: ``25.0 %``, or ``n/a``."""
    return NOT_AVAILABLE if value is None or _missing(value) else f"{100 * value:.1f} %"


def points(change: float | None) -> str:
    """Returns a change of a share in percentage points, with its sign: ``+13.0``, ``−4.5``; or ``n/a``."""
    return NOT_AVAILABLE if change is None or _missing(change) else f"{100 * change:+.1f}".replace("-", "−")


def log_seconds(value: float | None) -> str:
    """Returns seconds as the evidence log writes them: ``0.534s``, or ``n/a``."""
    return NOT_AVAILABLE if value is None or _missing(value) else f"{value:.3f}s"


def duration(value: float | None) -> str:
    """Returns seconds for reading: ``0.53 s``, ``12.4 s``, ``4 min 05 s``, ``3 h 20 min``, ``2 d 4 h``; or ``n/a``."""
    if value is None or _missing(value):
        return NOT_AVAILABLE
    if value < 0:
        return "−" + duration(-value)
    if value < 9.995:
        return f"{value:.2f} s"
    if value < 119.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(value / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(value / 3600)
    return f"{hours // 24} d {hours % 24} h"


def share(part: int | None, whole: int | None) -> str:
    """Returns a count of a whole: ``3 of 60 (5.0 %)``; ``0 of 0`` without a whole; ``n/a`` when unknown."""
    if part is None or whole is None:
        return NOT_AVAILABLE
    return f"{part:,} of {whole:,} ({percent(part / whole)})" if whole else "0 of 0"


def time(value: datetime | None) -> str:
    """Returns a moment as the evidence log writes it, to the second in UTC: ``2026-02-16T14:07:42Z``; or ``n/a``."""
    if value is None or value != value:  # NaT differs from itself
        return NOT_AVAILABLE
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun: ``1 mission``, ``2 missions``, ``0 missions``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def threshold(value: float) -> str:
    """Returns a limit as its policy writes it, without trailing zeros: ``0.05``, ``90``."""
    return f"{value:g}"


def percent_limit(value: float) -> str:
    """Returns a limit that is a share as people write it: ``5 %``."""
    return f"{threshold(round(100 * value, 6))} %"


def seconds_limit(value: float) -> str:
    """Returns a limit in seconds as people write it: ``45 s``; from two hours on as a duration."""
    return f"{threshold(value)} s" if value < 7200 else duration(value)
