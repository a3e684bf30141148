"""The one formatter: its cases as tables."""

import math
import unicodedata
from datetime import datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpanalysis import formatting

#: Bidirectional embeddings, overrides, isolates and marks' classes.
DIRECTIONS = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")


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
        (0.0001, "0.000", "0.01 %", "0.000s"),
        (0.0005, "0.001", "0.1 %", "0.001s"),
        (0.99999, "1.000", "99.9 %", "1.000s"),
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
        (99.94, "99.9 s"),
        (99.96, "1 min 40 s"),
        (119.4, "1 min 59 s"),
        (120, "2 min"),
        (245, "4 min 05 s"),
        (7199.6, "2 h"),
        (7230, "2 h"),
        (12000, "3 h 20 min"),
        (86_400, "24 h"),
        (187200, "2 d 4 h"),
        (777_600, "9 d"),
    ],
)
def test_durations_for_reading(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (3, 60, "3 of 60 (5.0 %)"),
        (0, 0, "0 of 0"),
        (1, 9800, "1 of 9,800 (0.01 %)"),
        (1, 12345, "1 of 12,345 (0.008 %)"),
        (9799, 9800, "9,799 of 9,800 (99.9 %)"),
        (9800, 9800, "9,800 of 9,800 (100.0 %)"),
        (0, 9800, "0 of 9,800 (0.0 %)"),
        (None, 5, "n/a"),
        (1, None, "n/a"),
    ],
)
def test_shares(part: int | None, whole: int | None, text: str) -> None:
    assert formatting.share(part, whole) == text


def test_a_share_of_a_noun() -> None:
    shown = [formatting.share(part, whole, "mission") for part, whole in ((3, 60), (1, 1), (0, 0), (None, 1))]
    assert shown == ["3 of 60 missions (5.0 %)", "1 of 1 mission (100.0 %)", "0 of 0 missions", "n/a"]


@given(st.integers(1, 10**9).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_a_share_reads_like_none_or_all_only_when_it_is(counted: tuple[int, int]) -> None:
    part, whole = counted
    number = float(formatting.percent(part / whole).removesuffix(" %"))
    assert (number == 0) == (part == 0)
    assert (number == 100) == (part == whole)
    assert number == pytest.approx(100 * part / whole, abs=0.1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain\ttext\nof two lines", "plain\ttext\nof two lines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("nul\0", "nul\\x00"),
        ("\x7f and \x85", "\\x7f and \\x85"),
        ("gpj.\u202eexe", "gpj.U+202Eexe"),
        ("\u2066isolated\u2069", "U+2066isolatedU+2069"),
        ("zero\u200bwidth\ufeff", "zeroU+200BwidthU+FEFF"),
        ("\ud800", "U+D800"),
        ("שלום مرحبا", "שלום مرحبا"),
        ("👩\u200d🔧", "👩\u200d🔧"),  # a joiner makes one emoji of two
        ("5\u00a0%", "5\u00a0%"),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, shown: str) -> None:
    assert formatting.visible(text) == shown
    assert formatting.visible(shown) == shown


@given(st.text())
def test_no_control_or_direction_is_left(text: str) -> None:
    left = [
        character
        for character in formatting.visible(text)
        if unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in DIRECTIONS
    ]
    assert set(left) <= set("\t\n\r")


@pytest.mark.parametrize(
    ("text", "tied"),
    [
        ("at most 4.9 % of 12.4 s", "at most 4.9\u00a0% of 12.4\u00a0s"),
        ("4 min 05 s, 3 h 20 min, 2 d 4 h", "4\u00a0min 05\u00a0s, 3\u00a0h 20\u00a0min, 2\u00a0d 4\u00a0h"),
        ("3 missions, 5 slower, 6 days", "3 missions, 5 slower, 6 days"),
    ],
)
def test_a_number_stays_with_its_unit(text: str, tied: str) -> None:
    assert formatting.tied(text) == tied


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


def test_limits_are_written_as_people_write_them() -> None:
    assert [formatting.percent_limit(value) for value in (0.05, 0.2, 0.125, 1)] == ["5 %", "20 %", "12.5 %", "100 %"]
    seconds = {45: "45 s", 90: "90 s", 0.5: "0.5 s", 900: "15 min", 86_400: "24 h", 604_800: "7 d", 9001: "2 h 30 min"}
    assert {value: formatting.seconds_limit(value) for value in seconds} == seconds
