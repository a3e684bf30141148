"""Incidents of several lanes, against SciPy, plain loops and planted outages."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from lane_frames import NOON, metrics_of, mission
from scipy.stats import hypergeom

from vpanalysis.analysis import incident
from vpanalysis.analysis.incident import incidents, troubles

DAY = 24 * 60


def lane(minutes: "list[float] | np.ndarray", bad: "set[int] | frozenset[int]" = frozenset()) -> pd.DataFrame:
    """Missions at so many minutes after noon; those whose place is in ``bad`` are in trouble."""
    at = pd.to_datetime([NOON + timedelta(minutes=float(minute)) for minute in minutes], utc=True)
    return pd.DataFrame(
        {"mission_id": [f"m{i}" for i in range(len(at))], "at": at, "trouble": [i in bad for i in range(len(at))]}
    )


def steady(bad: "set[int]") -> pd.DataFrame:
    """A mission every 15 minutes for a day: numbers 40 to 47 are within the eleventh and twelfth hour."""
    return lane([15.0 * i for i in range(96)], bad)


def test_when_something_happened_to_a_mission() -> None:
    metrics = metrics_of(
        [
            mission(-300, wait=1, run=100, fallback=True, fallback_at=NOON - timedelta(seconds=250)),
            mission(-200, wait=1, run=50, status="failed"),
            mission(-400, wait=1, run=10),
            mission(-30, wait=None, run=None, status="queued"),
        ]
    )
    found = troubles(metrics)
    seconds = [(at - NOON).total_seconds() for at in found["at"]]
    assert seconds == [-389, -250, -149, -30]  # ended, fell back, ended, created
    assert found["trouble"].tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("n", "k", "drawn", "of_them"), [(100, 7, 8, 5), (30, 3, 30, 3), (50, 1, 6, 1), (40, 40, 9, 9)]
)
def test_an_excess_is_the_hypergeometric_tail(n: int, k: int, drawn: int, of_them: int) -> None:
    frame = lane([float(i) for i in range(n)], set(range(k)))
    exact = hypergeom.sf(of_them - 1, n, k, drawn)
    assert incident._excess(frame, drawn, of_them) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.001], 1.0),  # one lane alone is no incident
        ([0.001, 0.02], 0.02),
        ([0.9, 0.001, 0.02], 0.04),  # 0.02 · 2/1, 0.9 · 2/2
        ([0.03, 0.03, 0.03, 1.0], 0.045),  # 0.03 · 3/2
    ],
)
def test_two_or_more_by_hand(values: list[float], expected: float) -> None:
    assert incident._two_or_more(values) == pytest.approx(expected)


def test_one_outage_is_one_incident_of_the_lanes_it_hit() -> None:
    outage = {40, 41, 42, 43, 44, 45}
    lanes = {
        ("f", "a"): steady(outage | {3}),
        ("f", "b"): steady(outage),
        ("f", "c"): steady({90}),
        ("g", "a"): steady(set()),
    }
    lanes[("h", "x")] = lane([15.0 * i - 9000 for i in range(96)], {1})  # days before: nobody to coincide with
    [found] = incidents(lanes)
    assert found.lanes == (("f", "a"), ("f", "b"))
    assert (found.start, found.end) == (NOON + timedelta(minutes=600), NOON + timedelta(minutes=675))
    assert (found.troubled, found.missions) == (12, 12)
    assert found.hit == tuple((key, f"m{i}") for i in sorted(outage) for key in (("f", "a"), ("f", "b")))
    # The two hours of missions 40 to 47, six of them in trouble: the second best of four lanes, over 97 stretches of
    # half an hour, 25 of two hours and 7 of eight.
    second = max(hypergeom.sf(5, 96, 7, 8), hypergeom.sf(5, 96, 6, 8))
    assert found.p_value == pytest.approx(second * 3 * (97 + 25 + 7), rel=1e-9)


def test_a_long_outage_is_one_incident_too() -> None:
    """Three and a half hours: longer than the stretch that shows it best."""
    outage = set(range(40, 54))
    [found] = incidents({("f", "a"): steady(outage), ("f", "b"): steady(outage), ("f", "c"): steady({5})})
    assert (found.start, found.end) == (NOON + timedelta(minutes=600), NOON + timedelta(minutes=795))
    assert found.troubled == 28


def test_what_lies_beside_an_outage_is_no_part_of_it() -> None:
    """Eight hours around it show it, too, and hold a failure of their own."""
    outage = set(range(40, 48))
    [found] = incidents({("f", "a"): steady(outage | {33}), ("f", "b"): steady(outage)})
    assert found.start == NOON + timedelta(minutes=600)


def test_two_failures_each_at_one_time_are_chance_among_so_many_stretches() -> None:
    """28 of the 4,560 pairs of missions lie within those two hours: 0.006, but for 129 stretches."""
    assert incidents({("f", "a"): steady({40, 42}), ("f", "b"): steady({40, 42})}) == ()


def test_two_outages_are_two_incidents() -> None:
    both = {10, 11, 12, 13, 14, 70, 71, 72, 73, 74}
    found = incidents({("f", "a"): steady(both), ("f", "b"): steady(both)})
    assert [one.start for one in found] == [NOON + timedelta(minutes=150), NOON + timedelta(minutes=1050)]


def test_one_lane_is_no_incident_however_bad() -> None:
    others = {("f", f"lane {number}"): steady({20 + number}) for number in range(5)}
    assert incidents({("f", "bad"): steady(set(range(40, 50))), **others}) == ()


def test_lanes_that_always_fail_coincide_by_nothing_but_chance() -> None:
    always = {i for i in range(96) if i % 3}
    assert incidents({("f", "a"): steady(always), ("f", "b"): steady(always)}) == ()


def test_a_busy_hour_is_no_incident() -> None:
    """Half of all missions come within one hour, and so do half of the failures."""
    minutes = [15.0 * i for i in range(90)] + [600 + 0.6 * i for i in range(90)]
    failing = {i for i in range(180) if i % 12 == 0}
    assert incidents({("f", name): lane(sorted(minutes), failing) for name in "abc"}) == ()


def test_lanes_that_never_meet_have_no_incident() -> None:
    early, late = lane([float(i) for i in range(50)], {1, 2, 3}), lane([9000.0 + i for i in range(50)], {1, 2, 3})
    assert incidents({("f", "a"): early, ("f", "b"): late}) == ()
    assert incidents({}) == ()
    assert incidents({("f", "a"): lane([]), ("f", "b"): lane([])}) == ()


def test_independent_lanes_seldom_have_one() -> None:
    """30 fleets of six independent lanes: at most 5 % may have an incident; 6 would be one chance in 300."""
    rng = np.random.default_rng(7)
    false = 0
    for _ in range(30):
        lanes = {
            ("f", str(number)): lane(np.sort(rng.uniform(0, 2 * DAY, 100)), set(np.flatnonzero(rng.random(100) < 0.05)))
            for number in range(6)
        }
        false += bool(incidents(lanes))
    assert false <= 5
