"""Dense data brought to a bounded number of marks, for drawing only: no verdict rests on these."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

#: Stretches of time into which a figure divides its window when single marks would be too many.
STRETCHES = 90


def histogram(times: "pd.Series[Any]", start: datetime, end: datetime) -> tuple[list[Any], list[int]]:
    """Returns the edges (datetimes) of equal stretches from ``start`` to ``end`` and each one's number of ``times``."""
    end = max(end, start + pd.Timedelta(seconds=1))
    edges = pd.date_range(start, end, periods=STRETCHES + 1)
    within = pd.cut(times, edges, include_lowest=True, labels=False)
    counts = np.bincount(within.dropna().astype(int), minlength=STRETCHES)
    return list(edges.to_pydatetime()), [int(count) for count in counts]


def counted(times: "pd.Series[Any]") -> tuple[list[Any], list[int]]:
    """Returns the middles (datetimes) of the stretches of time that hold any of ``times``, and how many each holds."""
    edges, counts = histogram(times, times.min(), times.max())
    half = (edges[1] - edges[0]) / 2
    held = [(left + half, count) for left, count in zip(edges[:-1], counts, strict=True) if count]
    return [middle for middle, _ in held], [count for _, count in held]


def quantiles(frame: pd.DataFrame, by: str, of: str, groups: int, qs: Sequence[float]) -> pd.DataFrame:
    """Returns quantiles of ``of`` over ``groups`` runs of equally many rows in the order of ``by``.

    Returns:
        One row per run: ``by`` (its median), and a column per quantile.
    """
    ordered = frame.dropna(subset=[by, of]).sort_values(by, kind="stable")
    run = np.arange(len(ordered)) * groups // max(len(ordered), 1)
    grouped = ordered.groupby(run)
    result = grouped[[by]].median()
    for q in qs:
        result[q] = grouped[of].quantile(q, interpolation="nearest")
    return result


def thinned(length: int, marks: int) -> list[int]:
    """Returns at most ``marks`` positions of a sequence, evenly spread, its first and last among them."""
    if length <= marks:
        return list(range(length))
    return sorted({round(i * (length - 1) / (marks - 1)) for i in range(marks)})
