"""A tile: one number with its limits, its value before, and a gauge that shows where it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vpanalysis.report.piece import Tone

#: Width of a gauge and height of a sparkline in their own units; a value's mark must stay inside.
_WIDTH, _MARK, _HEIGHT = 200.0, 4.0, 24.0


@dataclass(frozen=True)
class Tile:
    """One key figure.

    Attributes:
        name: What it is.
        value: Its value, as it is shown.
        detail: What the value is made of.
        tone: The accent of the most cautious gate that judged it.
        limits: The gate's limits in words.
        before: Its value in the window before; ``""`` when unknown.
        gauge: Positions for the gauge, see `gauge`; ``None`` for none.
        trend: Points of a sparkline, see `sparkline`; ``""`` for none.
    """

    name: str
    value: str
    detail: str
    tone: Tone = "plain"
    limits: str = ""
    before: str = ""
    gauge: dict[str, Any] | None = None
    trend: str = ""


def gauge(
    value: float | None, limits: Mapping[str, float], low: float | None, high: float | None
) -> dict[str, Any] | None:
    """Returns positions on a scale from zero to a third beyond the last limit, or as far as value and bounds go."""
    if value is None or not limits:
        return None
    end = max(max(limits.values()) * 4 / 3, value, high or 0.0)
    known = low is not None and high is not None
    return {
        "value": round(min(_WIDTH * value / end, _WIDTH - _MARK), 1),
        "low": round(_WIDTH * (low or 0) / end, 1) if known else None,
        "high": round(_WIDTH * (high or 0) / end, 1) if known else None,
        "limits": [[name, round(_WIDTH * at / end, 1)] for name, at in limits.items()],
    }


def sparkline(values: Sequence[float | None], top: float = 0.0) -> str:
    """Returns the points of a line through ``values``, oldest first; missing ones are left out, ``""`` below two.

    It begins with the first known value, and reaches from zero to ``top``, or to the largest value.
    """
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    top = top or max((value for _, value in known), default=0.0) or 1.0
    if len(known) < 2:
        return ""
    first = known[0][0]
    step = _WIDTH / (len(values) - 1 - first)
    ends = (((place - first) * step, _HEIGHT - 2 - (_HEIGHT - 4) * value / top) for place, value in known)
    return " ".join(f"{x:.0f},{y:.1f}" for x, y in ends)
