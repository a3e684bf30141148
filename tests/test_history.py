"""A lane's history: each row is what its window alone says as of its end, on good lanes and on hostile ones."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import LANE, NOON, SCHEMA
from test_bad_lanes import BAD, HEALTHY, Lane

import vpanalysis as vp
from vpanalysis.analysis.decision import judge
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.replay import past_windows
from vpanalysis.data.source import SqliteSource

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
PLAYBOOK = Policy.load("playbook")
WITHOUT_KEY = SCHEMA.replace("PRIMARY KEY", "")


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


def assert_as_alone(path: Path | str, **windows: Any) -> int:
    """Compares each window of a history with the window alone, and returns how many there were."""
    with vp.open_source(path) as source:
        found = past_windows(source, LANE, summarize, **windows)
        for metrics in found:
            alone = summarize(source.load(metrics.window))
            assert facts(metrics) == facts(alone)
            assert missions(metrics) == missions(alone)
    return len(found)


@pytest.mark.parametrize("windows", [{"every": DAY}, {"every": 7 * HOUR}, {"last_missions": 23}])
def test_the_sample_window_by_window(windows: dict[str, Any]) -> None:
    assert assert_as_alone("sample:degraded-session", **windows) >= 6


@pytest.mark.parametrize("name", [*BAD, *HEALTHY])
def test_hostile_lanes_window_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(SqliteSource, "now", lambda source: NOON)
    case = (BAD | HEALTHY)[name]
    lane = Lane(tmp_path / "vp_state.db", case.schema)
    case.fill(lane)
    lane.connection.commit()
    assert_as_alone(lane.path, every=11 * HOUR, start=NOON - 4 * DAY)
