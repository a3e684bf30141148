"""The session's lifecycle: recovery times by hand, deviations from the expected sequence."""

from datetime import timedelta

import pytest
from conftest import LANE, NOON
from lane_frames import metrics_from_snapshot, metrics_of, mission

from vpanalysis.analysis.metrics import summarize
from vpanalysis.analysis.sessions import session_story
from vpanalysis.data.source import open_source
from vpanalysis.data.window import RolloutWindow

CREATED, RESUMED, DEGRADED = "vp.session.created", "vp.session.resumed", "vp.session.degraded"
RECOVERED, AVAILABLE = "vp.session.recovered", "vp.session.available"


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def story(*events, status="active", heartbeat=-1.0, end=0.0, missions=()):
    """The story of a session whose events come at minutes from noon, judged ``end`` minutes from noon."""
    stamp = at(heartbeat).isoformat()
    row = {"vp_id": LANE, "status": status, "last_heartbeat_at": stamp, "updated_at": stamp}
    moments = [(name, None if minute is None else at(minute)) for name, minute in events]
    return session_story(
        metrics_of(missions, at=at(end), session=row if status is not None else None, session_events=moments)
    )


def test_expected_lifecycle_has_no_deviation():
    found = story((CREATED, -300), (RESUMED, -200), (AVAILABLE, -150), (RESUMED, -100))
    assert found.deviations == ()
    assert found.sequence == ("created", "resumed", "available", "resumed")
    assert (found.attempts, found.success_rate, found.orphan_rate) == (0, None, 0.0)
    assert (found.recovery_seconds, found.open_since, found.longest_open_seconds) == ((), None, None)
    assert found.finding == "Session active at the window's end; not degraded in the window."


def test_each_resumption_closes_the_oldest_open_degradation():
    found = story(
        (CREATED, -300),
        (RESUMED, -290),  # closes nothing
        (DEGRADED, -60),
        (DEGRADED, -50),
        (RECOVERED, -46),  # tells of recovery, but is no resumption
        (RESUMED, -45),
        (DEGRADED, -30),
        (RESUMED, -10),
        status="degraded",
    )
    assert found.recovery_seconds == (15 * 60, 40 * 60)  # -60 → -45, -50 → -10
    assert found.open_since == at(-30)
    assert found.longest_open_seconds == 30 * 60
    assert (found.attempts, found.successes, found.success_rate, found.orphan_rate) == (3, 2, 2 / 3, 1 / 3)
    assert "degraded 3 times in the window" in found.deviations
    assert "1 degradation still open at the window's end" in found.deviations
    assert found.finding.endswith("; 1 of 3 degradations still open for 30 min.")


def test_how_many_degradations_are_open_is_said_beside_the_oldest():
    found = story((CREATED, -300), (DEGRADED, -60), (RESUMED, -55), (DEGRADED, -40), (DEGRADED, -30), status="degraded")
    assert found.finding.endswith("; 2 of 3 degradations still open, the oldest for 40 min.")
    found = story((CREATED, -300), (DEGRADED, -60), (RESUMED, -55))
    assert found.finding.endswith("; resumed after 1 of 1 degradation since the lane began, in 5 min.")


def test_events_without_a_readable_time_count_but_have_no_duration():
    found = story((DEGRADED, None), (CREATED, -20), (RESUMED, -10))
    assert (found.successes, found.recovery_seconds) == (1, ())
    found = story((CREATED, -20), (DEGRADED, None))
    assert (found.attempts, found.open_since, found.longest_open_seconds) == (1, None, None)


@pytest.mark.parametrize(
    ("events", "deviation"),
    [
        ([(RESUMED, -10)], "no created event"),
        ([(RESUMED, -20), (CREATED, -10)], f"begins with {RESUMED} instead of {CREATED}"),
        ([(CREATED, -20), (CREATED, -10)], "created 2 times"),
        ([(CREATED, -20), ("vp.session.exploded", -10), ("", -5)], "2 events of a type outside the contract"),
        ([(CREATED, -20), (DEGRADED, -10), (RESUMED, -9)], "degraded once in the window"),
    ],
)
def test_deviations_in_words(events, deviation):
    [found] = story(*events).deviations
    assert found.startswith(deviation)


def test_stale_heartbeat_is_shown():
    found = story((CREATED, -300), heartbeat=-20)
    assert (found.stale, found.status) == (True, "active")
    assert found.stale_reason == "heartbeat_timeout"
    assert "its heartbeat stale" in found.finding
    assert found.deviations == ()
    assert story((CREATED, -300), heartbeat=-15).stale is False


@pytest.mark.parametrize(
    ("status", "times", "reason"),
    [
        ("active", {"last_heartbeat_at": at(-15)}, None),  # exactly 900 s
        ("active", {"last_heartbeat_at": at(-15) - timedelta(microseconds=1)}, "heartbeat_timeout"),
        ("active", {"last_heartbeat_at": at(-16), "updated_at": at(0)}, "heartbeat_timeout"),
        ("active", {"last_heartbeat_at": "no time", "updated_at": at(-15)}, None),
        ("active", {"updated_at": at(-16)}, "update_timeout"),
        ("active", {}, "missing_timestamps"),
        (" Running ", {}, "missing_timestamps"),
        ("HEALTHY", {"last_heartbeat_at": at(-16)}, "heartbeat_timeout"),
        ("idle", {}, None),  # nobody expects a heartbeat of it
        ("degraded", {"last_heartbeat_at": at(-999)}, None),
        (None, {}, None),
    ],
)
def test_stale_in_the_gateways_words(status, times, reason):
    row = {name: value if isinstance(value, str) else value.isoformat() for name, value in times.items()}
    metrics = metrics_of(at=at(0), session={"vp_id": LANE, "status": status} | row)
    assert session_story(metrics).stale_reason == reason
    assert metrics.session["stale"] is (reason is not None)
    lowered = (status or "unknown").strip().lower()
    assert metrics.session["effective_status"] == ("stale" if reason else lowered)


@pytest.mark.parametrize(
    ("setting", "stale_from"), [(None, 900), ("300", 300), ("60", 60), ("5", 60), ("soon", 900), ("", 900)]
)
def test_the_gateways_own_setting_says_when_a_heartbeat_is_stale(monkeypatch, setting, stale_from):
    monkeypatch.delenv("UA_VP_STALE_SESSION_SECONDS", raising=False)
    if setting is not None:
        monkeypatch.setenv("UA_VP_STALE_SESSION_SECONDS", setting)
    assert story((CREATED, -300), heartbeat=-stale_from / 60).stale is False
    assert story((CREATED, -300), heartbeat=-(stale_from + 1) / 60).stale is True


def test_status_is_read_stripped_and_lowered():
    found = story((CREATED, -300), status="  Degraded\n")
    assert found.status == "degraded"
    assert "1 degradation still open at the window's end" in found.deviations  # orphaned, although no event says so
    assert story((CREATED, -300), status="ACTIVE").deviations == ()
    assert story((CREATED, -300), status="").status == "unknown"


def test_missing_row_although_missions_exist():
    found = story(status=None, missions=[mission(-600)])
    assert (found.status, found.stale) == (None, None)
    assert found.deviations == ("there are missions, but no session row: the session was never bootstrapped",)
    assert found.finding.startswith("No session row")
    assert story(status=None).deviations == ()


def test_hostile_status_is_short_and_masked():
    found = story((CREATED, -10), status="password=hunter2 \x00\n" + "x" * 300)
    assert "hunter2" not in f"{found}"
    assert len(found.status) <= 40
    assert "the session's status is outside the contract" in found.deviations


def test_snapshot_tells_only_its_counts():
    seconds = {"count": 0, "avg_seconds": None, "p50_seconds": None, "p95_seconds": None, "max_seconds": None}
    content = {
        "fallback": {"missions_considered": 5, "missions_with_fallback": 0, "rate": 0.0},
        "latency_seconds": seconds,
    }
    silent = session_story(metrics_from_snapshot(content))
    assert silent.known is False
    assert silent.finding == "The source says nothing about the session."
    assert (silent.attempts, silent.degraded_in_window, silent.orphan_rate) == (None, None, None)
    assert (silent.status, silent.sequence, silent.deviations) == (None, (), ())
    nothing = session_story(metrics_from_snapshot(content | {"session": None}))
    assert (nothing.known, nothing.status) == (True, None)
    assert nothing.finding.startswith("No session row")
    content |= {
        "session": {"status": "degraded", "stale": False},
        "recovery": {"attempts": 2, "successes": 1, "success_rate": 0.5},
        "session_health": {"currently_orphaned": True, "orphan_signals": 1, "orphan_rate": 0.5},
    }
    told = session_story(metrics_from_snapshot(content))
    assert (told.status, told.attempts, told.success_rate, told.orphan_rate) == ("degraded", 2, 0.5, 0.5)
    assert "resumed after 1 of 2 degradations since" in told.finding


def test_empty_lane_has_a_story():
    found = story(status="idle")
    assert found.deviations == ()
    assert found.finding == "Session idle at the window's end; not degraded in the window."


def test_sample_with_lost_leases():
    with open_source("sample:degraded-session") as source:
        found = session_story(summarize(source.load(RolloutWindow(LANE, last_missions=100))))
    assert (found.status, found.attempts, found.successes) == ("degraded", 5, 3)
    assert found.degraded_in_window == 4
    assert all(20 <= seconds <= 241 for seconds in found.recovery_seconds)  # the sample: 20 to 240 s, and 1 s
    assert 0.7 * 3600 <= found.longest_open_seconds <= 0.7 * 3600 + 60
