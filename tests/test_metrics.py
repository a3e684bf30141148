"""Metrics of a window, counted by hand on databases built by hand."""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
from conftest import LANE, NOON, RuntimeDatabase, some_of

from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.data.source import open_source
from vpanalysis.data.window import RolloutWindow

DISPATCHED, COMPLETED = "vp.mission.dispatched", "vp.mission.completed"
FAILED, FALLBACK = "vp.mission.failed", "vp.mission.fallback"
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)


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
    # m5 and m6 are overdue by the next noon; m2 and m5 settled by falling back
    account = metrics.account
    assert {name: n for name, n in account.counts.items() if n} == {"completed": 3, "failed": 1, "overdue": 2}
    assert (account.total, account.finished, account.settled, account.fell_back) == (6, 4, 5, 2)
    assert (metrics.start, metrics.end, metrics.is_open, metrics.provisional) == (NOON, NOON + 2 * HOUR, False, False)


def test_without_missions_everything_is_zero_or_missing(fresh_database: RuntimeDatabase) -> None:
    metrics = metrics_of(fresh_database)
    assert metrics.fallback.missions_considered == 0
    assert metrics.fallback.rate == 0.0
    assert metrics.latency_seconds.count == 0
    assert metrics.latency_seconds.p95_seconds is None
    assert metrics.mission_counts == {}
    assert (metrics.start, metrics.session, metrics.session_status) == (None, None, None)
    assert (metrics.account.total, metrics.account.settled, metrics.last_activity) == (0, 0, None)


def test_a_closed_window_is_provisional_while_missions_of_it_are_pending(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    fresh_database.mission("m", NOON, status="running", wait=0, run=None, events=[DISPATCHED])
    window = {"start": NOON, "end": NOON + timedelta(minutes=1)}
    pending = metrics_of(fresh_database, **window, as_of=NOON + timedelta(seconds=900) - TICK)
    assert (pending.is_open, pending.provisional) == (False, True)
    overdue = metrics_of(fresh_database, **window, as_of=NOON + timedelta(seconds=900))
    assert (overdue.is_open, overdue.provisional, overdue.account.count("overdue")) == (False, False, 1)
    patient = overdue.overdue_after(901)
    assert (patient.provisional, patient.account.count("pending"), patient.account.overdue_seconds) == (True, 1, 901)
    assert overdue.account.count("overdue") == 1  # the one before is as it was


def test_a_window_is_open_until_its_end_is_reached(fresh_database: RuntimeDatabase) -> None:
    fresh_database.mission("m", NOON)
    ending = {"start": NOON, "end": NOON + HOUR}
    still = metrics_of(fresh_database, **ending, as_of=NOON + HOUR - TICK)
    assert (still.is_open, still.provisional, still.end) == (True, True, NOON + HOUR - TICK)
    over = metrics_of(fresh_database, **ending, as_of=NOON + HOUR)
    assert (over.is_open, over.provisional, over.end) == (False, False, NOON + HOUR)
    newest = metrics_of(fresh_database, last_missions=5)
    assert (newest.is_open, newest.start, newest.end) == (True, NOON, newest.generated_at)


@pytest.mark.parametrize("n", some_of([1, 2, 3, 10, 11, 30, 31, 100], 3))
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
    for at in (NOON - 5 * HOUR, NOON - TICK, NOON, NOON + 2 * HOUR - TICK, NOON + 2 * HOUR):
        fresh_database.session_event("vp.session.degraded", at)
    window = {"start": NOON, "end": NOON + 2 * HOUR}
    assert metrics_of(fresh_database, **window).degraded_events == 2
    fresh_database.session_event("vp.session.degraded", "no time")  # it may have been within
    metrics = metrics_of(fresh_database, **window)
    assert metrics.degraded_events == 3
    assert metrics.recovery is not None
    assert metrics.recovery.attempts == 5


def test_degraded_events_of_the_newest_missions_count_from_the_oldest_of_them(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    for hours in (0, 1, 2):
        fresh_database.mission(f"m{hours}", NOON + hours * HOUR)
    for at in (NOON + HOUR - TICK, NOON + HOUR):
        fresh_database.session_event("vp.session.degraded", at)
    assert metrics_of(fresh_database, last_missions=2).degraded_events == 1


def test_the_session_status_is_that_of_the_windows_end(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(status="retired", at=NOON + 5 * HOUR)
    fresh_database.session_event("vp.session.degraded", NOON)
    fresh_database.session_event("vp.session.resumed", NOON + 3 * HOUR)
    closed = metrics_of(fresh_database, end=NOON + HOUR, as_of=NOON + 6 * HOUR)
    assert closed.session_status == "degraded"
    row_from_later = metrics_of(fresh_database, as_of=NOON + 4 * HOUR)
    assert row_from_later.session_status == "active"
    before_any_event = metrics_of(fresh_database, as_of=NOON - HOUR)
    assert before_any_event.session_status is None


@pytest.mark.parametrize(
    ("since_end", "status"), [(timedelta(seconds=900), "retired"), (900 * 10**6 * TICK + TICK, "idle")]
)
def test_an_end_over_900_seconds_ago_is_told_by_the_last_event_before_it(
    fresh_database: RuntimeDatabase, since_end: timedelta, status: str
) -> None:
    end = NOON + 6 * HOUR
    fresh_database.session(status="retired", at=NOON)
    fresh_database.session_event("vp.session.available", NOON)
    assert metrics_of(fresh_database, end=end, as_of=end + since_end).session_status == status


@pytest.mark.parametrize(
    ("written", "status"),
    [(NOON + HOUR - TICK, "degraded"), (NOON + HOUR, None), (NOON + 2 * HOUR, None), ("no time", None), (None, None)],
)
def test_without_an_event_the_row_tells_when_it_was_written_before_the_end(
    fresh_database: RuntimeDatabase, written: datetime | str | None, status: str | None
) -> None:
    stamp = written.isoformat() if isinstance(written, datetime) else written
    fresh_database.session(status="degraded", updated_at=stamp)
    fresh_database.session_event("vp.dispatch.held", NOON)  # tells nothing of the status
    metrics = metrics_of(fresh_database, end=NOON + HOUR, as_of=NOON + 6 * HOUR)
    assert metrics.session_status == status


@pytest.mark.parametrize(("written", "status"), [(timedelta(0), "active"), (TICK, "degraded")])
def test_a_row_written_after_as_of_tells_nothing_of_then(
    fresh_database: RuntimeDatabase, written: timedelta, status: str
) -> None:
    fresh_database.session(status="active", at=NOON + written)
    fresh_database.session_event("vp.session.degraded", NOON)  # at as_of exactly: it is seen
    assert metrics_of(fresh_database, as_of=NOON).session_status == status


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("created", "active"),
        ("resumed", "active"),
        ("recovered", "active"),
        ("available", "idle"),
        ("degraded", "degraded"),
    ],
)
def test_the_status_that_each_event_leaves_behind(fresh_database: RuntimeDatabase, event: str, status: str) -> None:
    fresh_database.session(status="paused", at=NOON + 9 * HOUR)
    fresh_database.session_event("vp.session.degraded" if event != "degraded" else "vp.session.resumed", NOON - HOUR)
    fresh_database.session_event(f"vp.session.{event}", NOON)
    fresh_database.session_event("vp.session.exploded", NOON + TICK)
    assert metrics_of(fresh_database, end=NOON + HOUR).session_status == status


def test_a_status_is_read_stripped_and_lowered(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(status=" Degraded ")
    metrics = metrics_of(fresh_database)
    assert metrics.session_status == "degraded"
    assert metrics.session_health is not None
    assert metrics.session_health.currently_orphaned
    assert metrics.session is not None
    assert metrics.session["status"] == " Degraded "  # the row as stored


def test_the_last_sign_of_life(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(at=NOON)
    assert metrics_of(fresh_database).last_activity == NOON
    fresh_database.mission("m", NOON + HOUR, run=60)
    assert metrics_of(fresh_database).last_activity == NOON + HOUR + timedelta(seconds=61)
    assert metrics_of(fresh_database, as_of=NOON + HOUR).last_activity == NOON + HOUR
    fresh_database.session_event("vp.session.resumed", NOON + 2 * HOUR)
    assert metrics_of(fresh_database).last_activity == NOON + 2 * HOUR
    fresh_database.event("another", "vp.mission.progress", NOON + 3 * HOUR)
    assert metrics_of(fresh_database).last_activity == NOON + 3 * HOUR
    beat = (NOON + 5 * HOUR).isoformat()
    fresh_database.connection.execute("UPDATE vp_sessions SET last_heartbeat_at = ?", (beat,))
    fresh_database.connection.commit()
    assert metrics_of(fresh_database).last_activity == NOON + 5 * HOUR
    assert metrics_of(fresh_database, as_of=NOON + 4 * HOUR).last_activity == NOON + 4 * HOUR  # it lived then, too


def test_a_heartbeat_over_900_seconds_old_is_stale(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session(status="active", metadata_json='{"pool": "blue"}')
    fresh = metrics_of(fresh_database, as_of=NOON + timedelta(seconds=900)).session
    stale = metrics_of(fresh_database, as_of=NOON + timedelta(seconds=901)).session
    assert fresh is not None
    assert stale is not None
    assert (fresh["stale"], fresh["effective_status"], fresh["metadata"]) == (False, "active", {"pool": "blue"})
    assert (stale["stale"], stale["effective_status"]) == (True, "stale")
    assert (fresh["stale_reason"], stale["stale_reason"]) == (None, "heartbeat_timeout")
