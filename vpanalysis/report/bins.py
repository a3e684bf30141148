"""Dense data brought to a bounded number of marks, for drawing only: no verdict rests on these."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def edges(start: pd.Timestamp, end: pd.Timestamp, bins: int) -> pd.DatetimeIndex:
    """Returns the ``bins + 1`` edges of equal stretches of time from ``start`` to ``end``."""
    return pd.date_range(start, end if end > start else start + pd.Timedelta(seconds=1), periods=bins + 1)


def counts(times: "pd.Series[pd.Timestamp]", within: pd.DatetimeIndex) -> list[int]:
    """Returns how many of ``times`` fall into each stretch between the edges ``within``; the last edge belongs to it."""
    position = np.searchsorted(within.asi8, pd.DatetimeIndex(times).as_unit(within.unit).asi8, side="right") - 1
    return np.bincount(position.clip(0, len(within) - 2), minlength=len(within) - 1).tolist() if len(times) else []


def quantiles(frame: pd.DataFrame, by: str, of: str, groups: int, qs: Sequence[float]) -> pd.DataFrame:
    """Returns quantiles of ``of`` over ``groups`` runs of equally many rows in the order of ``by``.

    Returns:
        One row per run: ``by`` (its middle), and a column per quantile.
    """
    ordered = frame.dropna(subset=[by, of]).sort_values(by, kind="stable")
    run = np.arange(len(ordered)) * groups // max(len(ordered), 1)
    grouped = ordered.groupby(run)
    result = grouped[of].quantile(list(qs), interpolation="nearest").unstack()
    return result.assign(**{by: grouped[by].median()})


def thinned(values: Sequence[float], marks: int) -> list[int]:
    """Returns at most about ``marks`` positions of a long sequence, evenly spread, first and last among them."""
    if len(values) <= marks:
        return list(range(len(values)))
    return sorted({round(i * (len(values) - 1) / (marks - 1)) for i in range(marks)})
