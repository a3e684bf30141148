"""The one formatter: its cases as tables."""

import math
from datetime import datetime, timedelta, timezone

import pandas as pd
import pytest

from vpanalysis import formatting


@pytest.mark.parametrize(
    ("value", "rate", "percent", "log_seconds"),
    [
        (None, "n/a", "n/a", "n/a"),
        (math.nan, "n/a", "n/a", "n/a"),
        (math.inf, "n/a", "n/a", "n/a"),
        (0.0, "0.000", "0.0 %", "0.000s"),
        (0.25, "0.250", "25.0 %", "0.250s"),
        (0.5344, "0.534", "53.4 %", "0.534s"),
        (1.0, "1.000", "100.0 %", "1.000s"),
    ],
)
def test_rates_and_log_seconds(value: float | None, rate: str, percent: str, log_seconds: str) -> None:
    assert formatting.rate(value) == rate
    assert formatting.percent(value) == percent
    assert formatting.log_seconds(value) == log_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "n/a"),
        (math.nan, "n/a"),
        (-math.inf, "n/a"),
        (0, "0.00 s"),
        (-3, "−3.00 s"),
        (0.534, "0.53 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (119.94, "119.9 s"),
        (119.96, "2 min 00 s"),
        (245, "4 min 05 s"),
        (7199.6, "2 h 00 min"),
        (12000, "3 h 20 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_durations_for_reading(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (3, 60, "3 of 60 (5.0 %)"),
        (0, 0, "0 of 0"),
        (1, 12345, "1 of 12,345 (0.0 %)"),
        (None, 5, "n/a"),
        (1, None, "n/a"),
    ],
)
def test_shares(part: int | None, whole: int | None, text: str) -> None:
    assert formatting.share(part, whole) == text


def test_changes_of_shares_are_in_points() -> None:
    shown = [formatting.points(change) for change in (0.13, -0.045, 0.0, None, math.nan)]
    assert shown == ["+13.0", "−4.5", "+0.0", "n/a", "n/a"]


def test_times_are_in_utc_to_the_second() -> None:
    east = timezone(timedelta(hours=2))
    assert formatting.time(datetime(2026, 2, 16, 16, 7, 42, 999999, tzinfo=east)) == "2026-02-16T14:07:42Z"
    assert formatting.time(datetime(2026, 2, 16, 14, 7, 42)) == "2026-02-16T14:07:42Z"
    assert formatting.time(None) == "n/a"
    assert formatting.time(pd.NaT) == "n/a"


def test_counts_agree_with_their_noun() -> None:
    assert [formatting.count(n, "mission") for n in (0, 1, 2000)] == ["0 missions", "1 mission", "2,000 missions"]
    assert formatting.count(2, "entry", "entries") == "2 entries"
