"""Time stamps: what counts as one is what Python 3.11's ``fromisoformat`` reads."""

from datetime import UTC, datetime

import pytest

from vpanalysis.data.timestamps import as_utc, parse_time

AFTERNOON = datetime(2026, 2, 16, 14, 7, 42, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-16T14:07:42.123456+00:00", AFTERNOON),
        ("2026-02-16T14:07:42.123456Z", AFTERNOON),
        ("2026-02-16T14:07:42.123456", AFTERNOON),
        ("2026-02-16 14:07:42.123456", AFTERNOON),
        ("  2026-02-16T14:07:42.123456+00:00 \n", AFTERNOON),
        ("2026-02-16T16:07:42.123456+02:00", AFTERNOON),
        ("2026-02-15T15:37:42.123456-22:30", AFTERNOON),
        ("20260302T200000Z", datetime(2026, 3, 2, 20, tzinfo=UTC)),
        ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ("20260302", datetime(2026, 3, 2, tzinfo=UTC)),
        ("2026-W10-1", datetime(2026, 3, 2, tzinfo=UTC)),
        ("2026-03-02T20", datetime(2026, 3, 2, 20, tzinfo=UTC)),
        ("2026-03-02T20:00:00,5", datetime(2026, 3, 2, 20, 0, 0, 500000, tzinfo=UTC)),
        ("2026-02-16T14:07:42.123456999Z", AFTERNOON),  # what is finer than a microsecond is cut off
        ("0001-01-01T00:00:00+00:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_stamp_is_read_as_utc(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "  ",
        "garbage",
        "infinity",
        "epoch",
        "2026-02-30T00:00:00Z",
        "2026-02-16T24:00:00Z",
        "2026-02-16T14:07:60Z",
        "2026-3-2",
        "2026-02-16T14:07:42 UTC",
        "2026-02-16T14:07:42 Europe/Berlin",
        "0044-03-15 (BC)",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-00:01",
        "2026-02-16T14:07:42+24:00",
        "2026-02-16 24:00",
        "1771250862",
    ],
)
def test_anything_else_is_missing(text: str | None) -> None:
    assert parse_time(text) is None


def test_a_naive_datetime_means_utc() -> None:
    assert as_utc(datetime(2026, 2, 16, 14), "start") == datetime(2026, 2, 16, 14, tzinfo=UTC)


def test_an_unreadable_time_is_named() -> None:
    with pytest.raises(ValueError, match="window_start 'yesterday' is not a readable time"):
        as_utc("yesterday", "window_start")
