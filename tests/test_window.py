"""The rollout window: what may be given, and what it means."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

LANE = "vp.coder.primary"
START, END = datetime(2026, 2, 16, tzinfo=UTC), datetime(2026, 2, 17, tzinfo=UTC)


def test_nothing_given_is_the_newest_100() -> None:
    assert RolloutWindow(LANE).last_missions == 100


def test_times_may_be_text_and_naive() -> None:
    window = RolloutWindow(LANE, start="2026-02-16T02:00:00+02:00", end=datetime(2026, 2, 17))
    assert (window.start, window.end, window.last_missions) == (START, END, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"vp_id": " "}, "vp_id is blank"),
        ({"vp_id": "a\0b"}, "NUL"),
        ({"start": "2026-02-17", "end": "2026-02-16"}, "is not after its start"),
        ({"start": "2026-02-17", "end": "2026-02-17"}, "is not after its start"),
        ({"start": "soon"}, "start 'soon' is not a readable time"),
        ({"as_of": 5}, "as_of 5 is not a time"),
        ({"start": START, "last_missions": 5}, "not both"),
        ({"end": END, "last_missions": 5}, "not both"),
        ({"last_missions": 0}, "last_missions is 0"),
        ({"last_missions": True}, "last_missions is True"),
        ({"last_missions": 2.5}, "last_missions is 2.5"),
        ({"skip_missions": -1}, "skip_missions is -1"),
        ({"start": START, "skip_missions": 1}, "not both"),
    ],
)
def test_what_makes_no_window_is_said(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        RolloutWindow(**({"vp_id": LANE} | arguments))


def test_a_window_is_open_until_its_end_is_reached() -> None:
    window = RolloutWindow(LANE, start=START, end=END)
    assert window.is_open(END - timedelta(seconds=1))
    assert window.is_open(END - timedelta(microseconds=1))
    assert not window.is_open(END)
    assert RolloutWindow(LANE, start=START).is_open(END)
    assert RolloutWindow(LANE).is_open(END)


def test_the_baseline_is_the_window_right_before() -> None:
    before = RolloutWindow(LANE, start=START, end=END).baseline()
    assert before is not None
    assert (before.start, before.end) == (START - timedelta(days=1), START)
    newest = RolloutWindow(LANE, last_missions=20).baseline()
    assert newest is not None
    assert (newest.last_missions, newest.skip_missions) == (20, 20)
    before_that = newest.baseline()
    assert before_that is not None
    assert (before_that.last_missions, before_that.skip_missions) == (20, 40)


def test_a_skipped_windows_baseline_begins_where_it_ends() -> None:
    before = RolloutWindow(LANE, last_missions=20, skip_missions=7, as_of=END).baseline()
    assert before is not None
    assert (before.last_missions, before.skip_missions, before.as_of) == (20, 27, END)


def test_an_open_range_has_a_baseline_as_long_as_it_has_run() -> None:
    before = RolloutWindow(LANE, start=START, as_of=START + timedelta(hours=6)).baseline()
    assert before is not None
    assert (before.start, before.end) == (START - timedelta(hours=6), START)
    assert RolloutWindow(LANE, start=START, as_of=START).baseline() is None  # it has not run yet
    tick = timedelta(microseconds=1)
    assert RolloutWindow(LANE, start=START, as_of=START + tick).baseline() is not None


def test_a_range_that_ends_later_than_as_of_keeps_its_length() -> None:
    before = RolloutWindow(LANE, start=START, end=END, as_of=START + timedelta(hours=6)).baseline()
    assert before is not None
    assert (before.start, before.as_of) == (START - timedelta(days=1), START + timedelta(hours=6))


def test_the_moment_of_judgement_is_fixed_once() -> None:
    window = RolloutWindow(LANE, last_missions=5).at(START)
    assert (window.as_of, window.at(END).as_of, window.last_missions) == (START, START, 5)


def test_without_a_length_there_is_no_baseline() -> None:
    assert RolloutWindow(LANE, end=END).baseline() is None
    assert RolloutWindow(LANE, start=START).baseline() is None
    assert RolloutWindow(LANE, start=datetime(1, 1, 1), end=END).baseline() is None
