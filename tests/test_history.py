"""A lane's history: each row is what its window alone says as of its end, on good lanes and on hostile ones."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import LANE, NOON, RuntimeDatabase, some_of
from test_bad_lanes import BAD, HEALTHY, Lane

import vpanalysis as vp
from vpanalysis.analysis.decision import judge
from vpanalysis.analysis.history import pooled
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.replay import past_windows
from vpanalysis.data import archive
from vpanalysis.data.source import SqliteSource
from vpanalysis.data.table_source import TableSource

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
PLAYBOOK = Policy.load("playbook")


def facts(metrics: Metrics) -> dict[str, Any]:
    """All that a judgement rests on, and the judgement."""
    quality = replace(metrics.quality, unreadable_times={}, undecodable_texts={})  # a series knows them as a whole
    account = metrics.account
    events = metrics.events[metrics.events["event_type"].isin(["vp.mission.fallback", "vp.mission.failed"])]
    return {
        "window": metrics.window,
        "bounds": (metrics.start, metrics.end, metrics.generated_at, metrics.is_open),
        "fallback": metrics.fallback,
        "latency": (metrics.latency_seconds, metrics.queue_wait_seconds),
        "counts": (metrics.mission_counts, metrics.event_counts, metrics.session_event_counts),
        "account": (dict(account.counts or {}), account.fell_back, account.recordable, account.settled),
        "session": (metrics.session, metrics.session_status, metrics.recovery, metrics.session_health),
        "degraded": metrics.degraded_events,
        "activity": metrics.last_activity,
        "quality": quality,
        "events": events["event_id"].tolist(),
        "judgement": judge(metrics, PLAYBOOK),
    }


def missions(metrics: Metrics) -> list[dict[str, Any]]:
    """The missions' rows without the texts that a series does not read; what is missing is None."""
    frame = metrics.missions.drop(columns=["objective", "run_id", "result_ref"]).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def archived(path: Path) -> Path:
    """Archives a database beside it."""
    SqliteSource(path).read(lambda reading: archive.write(reading, path.parent / "archive", "a", 0o600), files=True)
    return path.parent / "archive"


def assert_as_alone(path: Path | str, **windows: Any) -> int:
    """Compares each window of a history with the window alone, and returns how many there were."""
    with vp.open_source(path) as source:
        found = past_windows(source, LANE, summarize, **windows)
        for metrics in found:
            alone = summarize(source.load(metrics.window))
            assert facts(metrics) == facts(alone)
            assert missions(metrics) == missions(alone)
    return len(found)


@pytest.mark.thorough
@pytest.mark.parametrize("windows", [{"every": 23 * HOUR}, {"last_missions": 37}, {"every": DAY}])
def test_the_sample_window_by_window(windows: dict[str, Any]) -> None:
    assert assert_as_alone("sample:degraded-session", **windows) >= 6


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*BAD, *HEALTHY])
def test_hostile_lanes_window_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(TableSource, "now", lambda source: NOON)
    case = (BAD | HEALTHY)[name]
    lane = Lane(tmp_path / "vp_state.db", case.schema)
    case.fill(lane)
    lane.connection.commit()
    for place in (lane.path, archived(lane.path)):
        assert_as_alone(place, every=25 * HOUR, start=NOON - 2 * DAY)


@pytest.fixture
def late_lane(make_database: Callable[..., RuntimeDatabase], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two days: a mission that falls back and fails the day after, a foreign event, odd stamps."""
    monkeypatch.setattr(TableSource, "now", lambda source: NOON + 2 * DAY)
    database = make_database()
    database.session(status="degraded", at=NOON + 2 * DAY)
    database.session_event("vp.session.created", NOON - DAY)
    database.session_event("vp.session.degraded", NOON + 20 * HOUR)
    database.session_event("vp.session.resumed", "20260217T100000Z")
    for number in range(30):
        database.mission(f"m{number}", NOON + number * HOUR, events=["vp.mission.dispatched", "vp.mission.completed"])
    database.mission("late", NOON + HOUR, status="failed", run=80_000.0, events=["vp.mission.dispatched"])
    for name in ("fallback", "failed"):
        database.event("late", f"vp.mission.{name}", NOON + 23 * HOUR)
    database.mission("odd", "2026-02-17 02:00:00+02:00")  # midnight, in UTC
    database.mission("undated", "2026-02-17 soon")
    database.event("m3", "vp.mission.fallback", NOON + 4 * HOUR, vp_id="vp.other")
    database.event("gone", "vp.mission.failed", NOON + 5 * HOUR)
    database.event(None, "vp.dispatch.held", "2026-02-16T18:00:00+01:00")
    database.event(None, "vp.dispatch.held", "2026-02-17T17:30:00Z")  # the last text of its hour
    return database.path


@pytest.mark.parametrize("windows", some_of([{"last_missions": 7}, {"every": 5 * HOUR}, {"every": DAY}], 3))
def test_late_events_and_odd_stamps_window_by_window(late_lane: Path, windows: dict[str, Any]) -> None:
    assert assert_as_alone(late_lane, **windows) >= 2


@pytest.mark.thorough
@pytest.mark.parametrize("windows", [{"every": DAY}, {"every": 5 * HOUR}, {"last_missions": 7}])
def test_late_events_and_odd_stamps_of_an_archive(late_lane: Path, windows: dict[str, Any]) -> None:
    assert assert_as_alone(archived(late_lane), **windows) >= 2


@pytest.mark.thorough
@pytest.mark.parametrize("every", some_of([5 * HOUR, DAY], 2))
def test_the_last_sign_of_life_of_each_window(late_lane: Path, every: timedelta) -> None:
    for place in (late_lane, archived(late_lane)):
        with vp.open_source(place) as source:
            found = past_windows(source, LANE, lambda tables: (tables.window, tables.last_activity), every=every)
            alone = [source.load(window).last_activity for window, _ in found]
        assert [moment for _, moment in found] == alone


def test_a_row_knows_nothing_of_what_came_later(late_lane: Path) -> None:
    days = vp.history(late_lane, LANE, every="1d", end="2026-02-18")
    assert days["missions"].tolist() == [13, 19]  # 12 and "late"; 18 and "odd"; nothing holds "undated"
    assert days["fallbacks"].tolist() == [1, 0]  # that of m3; "late" fell back the day after
    assert days["failures"].tolist() == [0, 0]
    assert days["window_end"].tolist() == [NOON + 12 * HOUR, NOON + 36 * HOUR]
    assert days["origin"].tolist() == ["computed"] * 2
    assert set(days["policy_hash"]) == {PLAYBOOK.hash}
    # Wilson's interval of 1 of 13, by its formula.
    assert days.loc[0, ["rate_low", "rate_high"]].tolist() == pytest.approx([0.013704, 0.333140], abs=1e-5)


def test_an_end_cuts_the_last_window(late_lane: Path) -> None:
    days = vp.history(late_lane, LANE, every=timedelta(days=1), start="2026-02-16T06:00", end="2026-02-17T03:00")
    assert days["window_start"].tolist() == [NOON - 6 * HOUR]
    assert days["window_end"].tolist() == [NOON + 15 * HOUR]
    assert days["missions"].tolist() == [17]  # m0 to m14, "late" and "odd"


def test_overlapping_windows_are_pooled_by_distinct_missions(late_lane: Path) -> None:
    with vp.open_source(late_lane) as source:
        metrics = summarize(source.load(vp.RolloutWindow(LANE, start=NOON - DAY, end=NOON + 2 * DAY)))
    bounds = [(0, 2), (0, 6), (4, 8)]
    windows = pd.DataFrame(
        {
            name: [NOON + pair[place] * HOUR for pair in bounds]
            for place, name in enumerate(("window_start", "window_end"))
        }
    )
    found = pooled(metrics.missions, windows)
    assert (found.missions, found.added) == (9, 14)  # m0 to m7 and "late"; 3, 7 and 4
    assert (found.fallbacks, found.failures) == (2, 1)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"every": "1d", "last_missions": 5}, "either every or last_missions"),
        ({"every": "-1d"}, "not a duration"),
        ({"every": "1m"}, "give a longer --every"),
        ({"vp_id": "vp.none"}, "no lane 'vp.none'"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(vp.InputError, match=sentence):
        vp.history("sample", **({"vp_id": LANE} | given))


@pytest.mark.thorough
@pytest.mark.parametrize("archive", [False, True])
def test_signs_of_life_in_windows_without_missions(
    make_database: Callable[..., RuntimeDatabase], monkeypatch: pytest.MonkeyPatch, archive: bool
) -> None:
    monkeypatch.setattr(TableSource, "now", lambda source: NOON + 9 * DAY)
    database = make_database()
    database.session(at=NOON)
    for day in (0, 8):
        database.mission(f"m{day}", NOON + day * DAY, events=["vp.mission.dispatched"])
    database.event("m0", "vp.mission.progress", NOON + 2 * DAY)
    database.event(None, "vp.dispatch.held", NOON + 4 * DAY)
    assert assert_as_alone(archived(database.path) if archive else database.path, every=35 * HOUR) == 6
    assert assert_as_alone(database.path, every=4 * DAY, start=NOON + DAY) == 2
