"""Metrics of a window, counted by hand on databases built by hand."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from conftest import LANE, NOON, RuntimeDatabase

from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.data.source import open_source
from vpanalysis.data.window import RolloutWindow

DISPATCHED, COMPLETED = "vp.mission.dispatched", "vp.mission.completed"
FAILED, FALLBACK = "vp.mission.failed", "vp.mission.fallback"
HOUR = timedelta(hours=1)


def metrics_of(database: RuntimeDatabase, **window: object) -> Metrics:
    with open_source(database.path) as source:
        return summarize(source.load(RolloutWindow(LANE, **{"as_of": NOON + 24 * HOUR, **window})))  # type: ignore[arg-type]


@pytest.fixture
def counted_lane(fresh_database: RuntimeDatabase) -> RuntimeDatabase:
    """Six missions in the window and one before it; every number below is counted from this listing."""
    fresh_database.session(status="idle")
    fresh_database.mission("before", NOON - HOUR, run=500, events=[DISPATCHED, FALLBACK, COMPLETED])
    fresh_database.mission("m1", NOON, wait=1, run=10, events=[DISPATCHED, COMPLETED])
    fresh_database.mission("m2", NOON + HOUR, wait=2, run=20, events=[DISPATCHED, FALLBACK, FALLBACK, COMPLETED])
    fresh_database.mission("m3", NOON + HOUR, wait=3, run=30, events=[DISPATCHED, COMPLETED])
    fresh_database.mission("m4", NOON + HOUR, wait=4, run=44.5, status="failed", events=[DISPATCHED, FAILED])
    fresh_database.mission("m5", NOON + HOUR, wait=5, run=None, status="running", events=[DISPATCHED, FALLBACK])
    fresh_database.mission("m6", NOON + HOUR, wait=None, run=None, status="queued", events=[DISPATCHED])
    return fresh_database


def test_every_number_of_a_window_counted_by_hand(counted_lane: RuntimeDatabase) -> None:
    metrics = metrics_of(counted_lane, start=NOON, end=NOON + 2 * HOUR)
    assert metrics.fallback.missions_considered == 6
    assert metrics.fallback.missions_with_fallback == 2
    assert metrics.fallback.rate == pytest.approx(2 / 6)
    seconds = metrics.latency_seconds
    # sorted 10, 20, 30, 44.5: p50 at index round(1.5) = 2, p95 at index round(2.85) = 3
    assert (seconds.count, seconds.avg_seconds, seconds.p50_seconds) == (4, 26.125, 30.0)
    assert (seconds.p95_seconds, seconds.max_seconds) == (44.5, 44.5)
    assert metrics.queue_wait_seconds is not None
    # sorted 1, 2, 3, 4, 5: p50 at index 2, p95 at index round(3.8) = 4
    assert (metrics.queue_wait_seconds.count, metrics.queue_wait_seconds.p50_seconds) == (5, 3.0)
    assert metrics.queue_wait_seconds.p95_seconds == 5.0
    assert metrics.mission_counts == {"completed": 3, "failed": 1, "running": 1, "queued": 1}
    assert metrics.event_counts == {DISPATCHED: 6, FALLBACK: 3, COMPLETED: 3, FAILED: 1}
    assert (metrics.start, metrics.end, metrics.provisional) == (NOON, NOON + 2 * HOUR, False)


def test_without_missions_everything_is_zero_or_missing(fresh_database: RuntimeDatabase) -> None:
    metrics = metrics_of(fresh_database)
    assert metrics.fallback.missions_considered == 0
    assert metrics.fallback.rate == 0.0
    assert metrics.latency_seconds.count == 0
    assert metrics.latency_seconds.p95_seconds is None
    assert metrics.mission_counts == {}
    assert (metrics.start, metrics.session, metrics.session_status) == (None, None, None)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 11, 30, 31, 100])
def test_percentiles_are_the_values_at_the_rounded_index(fresh_database: RuntimeDatabase, n: int) -> None:
    seconds = np.random.default_rng(n).integers(1, 10_000, n) / 8
    for number, run in enumerate(seconds):
        fresh_database.mission(f"m{number}", NOON, run=float(run))
    found = metrics_of(fresh_database).latency_seconds
    # NumPy's "nearest" takes the same index, ties to even
    assert found.p50_seconds == np.quantile(seconds, 0.50, method="nearest")
    assert found.p95_seconds == np.quantile(seconds, 0.95, method="nearest")
    assert found.avg_seconds == pytest.approx(seconds.mean())
    assert found.max_seconds == seconds.max()


def test_an_id_twice_and_an_empty_id(make_database: Callable[..., RuntimeDatabase]) -> None:
    database = make_database(schema=SCHEMA_WITHOUT_KEYS)
    database.mission("twice", NOON, events=[DISPATCHED, FALLBACK])
    database.mission("twice", NOON)
    database.mission("", NOON)
    metrics = metrics_of(database)
    assert (metrics.fallback.missions_considered, metrics.fallback.missions_with_fallback) == (1, 1)
    assert metrics.mission_counts == {"completed": 3}
    assert (metrics.quality.duplicate_missions, metrics.quality.missions_without_id) == (1, 1)


SCHEMA_WITHOUT_KEYS = """
CREATE TABLE vp_sessions (vp_id TEXT, status TEXT);
CREATE TABLE vp_missions (mission_id TEXT, vp_id TEXT, status TEXT, created_at TEXT, started_at TEXT,
  completed_at TEXT, updated_at TEXT);
CREATE TABLE vp_events (event_id TEXT, mission_id TEXT, vp_id TEXT, event_type TEXT, payload_json TEXT,
  created_at TEXT);
"""


def test_recovery_walks_degraded_and_resumed_in_time_order(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(status="degraded")
    for minute, name in (
        (5, "resumed"),
        (1, "created"),
        (9, "degraded"),
        (2, "resumed"),
        (4, "degraded"),
        (3, "degraded"),
    ):
        fresh_database.session_event(f"vp.session.{name}", NOON + timedelta(minutes=minute))
    metrics = metrics_of(fresh_database, last_missions=5)
    # created, resumed (nothing open), degraded, degraded, resumed (closes one), degraded: two still open
    assert metrics.recovery is not None
    assert (metrics.recovery.attempts, metrics.recovery.successes) == (3, 1)
    assert metrics.recovery.success_rate == pytest.approx(1 / 3)
    assert metrics.session_health is not None
    assert metrics.session_health.currently_orphaned
    assert metrics.session_health.orphan_signals == 2
    assert metrics.session_health.orphan_rate == pytest.approx(2 / 3)


def test_an_orphaned_session_without_attempts(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(status="recovering")
    health = metrics_of(fresh_database).session_health
    assert health is not None
    assert (health.orphan_signals, health.orphan_rate) == (1, 1.0)


def test_degraded_events_count_within_the_window(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    for hours in (-5, 1, 3):
        fresh_database.session_event("vp.session.degraded", NOON + hours * HOUR)
    assert metrics_of(fresh_database, start=NOON, end=NOON + 2 * HOUR).degraded_events == 1


def test_the_session_status_is_that_of_the_windows_end(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(status="active", at=NOON + 5 * HOUR)
    fresh_database.session_event("vp.session.degraded", NOON)
    fresh_database.session_event("vp.session.resumed", NOON + 3 * HOUR)
    fresh_database.connection.execute("UPDATE vp_sessions SET status = 'retired'")
    fresh_database.connection.commit()
    closed = metrics_of(fresh_database, end=NOON + HOUR, as_of=NOON + 6 * HOUR)
    assert closed.session_status == "degraded"
    just_closed = metrics_of(fresh_database, end=NOON + 6 * HOUR, as_of=NOON + 6 * HOUR + timedelta(seconds=900))
    assert just_closed.session_status == "retired"
    row_from_later = metrics_of(fresh_database, as_of=NOON + 4 * HOUR)
    assert row_from_later.session_status == "active"
    before_any_event = metrics_of(fresh_database, as_of=NOON - HOUR)
    assert before_any_event.session_status is None


def test_a_heartbeat_over_900_seconds_old_is_stale(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(status="active", metadata_json='{"pool": "blue"}')
    fresh = metrics_of(fresh_database, as_of=NOON + timedelta(seconds=900)).session
    stale = metrics_of(fresh_database, as_of=NOON + timedelta(seconds=901)).session
    assert fresh is not None
    assert stale is not None
    assert (fresh["stale"], fresh["effective_status"], fresh["metadata"]) == (False, "active", {"pool": "blue"})
    assert (stale["stale"], stale["effective_status"]) == (True, "stale")
