"""Lanes that are bad in ways a rule can miss, none of which may read HEALTHY, and healthy ones that must.

Each is a real SQLite database or a snapshot, judged in both profiles and, where it is a database, as its newest
missions and as an open range.
"""

import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import LANE, NOON, SCHEMA, some_of

import vpanalysis as vp
from vpanalysis.analysis.verdict import Profile, Verdict

PROFILES: tuple[Profile, Profile] = ("rollout", "sustained")
HOUR, DAY = 3600.0, 86_400.0
FUTURE = "2199-01-01T00:00:00+00:00"


def at(age: float) -> str:
    """Returns the stamp of the moment ``age`` seconds before noon."""
    return (NOON - timedelta(seconds=age)).isoformat()


class Lane:
    """A runtime database that a function below fills; ages are in seconds before noon, the moment of judgement."""

    def __init__(self, path: Path, schema: str = SCHEMA) -> None:
        self.path, self.as_of = path, NOON
        self.closed: tuple[datetime, datetime] | None = None  #: the window, where it is no open one
        self.newest = 5000  #: how many missions the window of the newest holds
        self.overrides: dict[str, Any] = {}
        self.connection = sqlite3.connect(path)
        self.connection.executescript(f"PRAGMA synchronous = OFF; {schema}")
        self._written = 0

    def insert(self, table: str, **row: Any) -> None:
        marks = ", ".join("?" * len(row))
        self.connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def session(self, status: Any = "idle", age: float = 30.0, **row: Any) -> None:
        stamps = {"created_at": at(30 * DAY), "updated_at": at(age), "last_heartbeat_at": at(age)}
        self.insert("vp_sessions", **{"vp_id": LANE, "status": status} | stamps | row)

    def session_event(self, event_type: str, stamp: float | str | None) -> None:
        stored = at(stamp) if isinstance(stamp, float | int) else stamp
        self._written += 1
        self.insert(
            "vp_session_events", event_id=f"s{self._written}", vp_id=LANE, event_type=event_type, created_at=stored
        )

    def event(self, mission_id: str | None, name: str, stamp: float | str, vp_id: str | None = LANE) -> None:
        stored = at(stamp) if isinstance(stamp, float | int) else stamp
        self._written += 1
        row = {"event_id": f"e{self._written}", "vp_id": vp_id, "payload_json": "{}", "created_at": stored}
        self.insert("vp_events", mission_id=mission_id, event_type=f"vp.mission.{name}", **row)

    def mission(
        self,
        age: float,
        status: str | None = "completed",
        *,
        run: float | None = 10.0,
        wait: float | None = 1.0,
        events: Sequence[str] | None = None,
        **row: Any,
    ) -> str:
        """Adds a mission of the in-process runtime with the events that it writes, unless ``events`` says otherwise."""
        self._written += 1
        ends = {"completed": "completed", "failed": "failed", "timed_out": "failed", "cancelled": "cancelled"}
        end = ends.get(status or "")
        started = None if wait is None else age - wait
        ended = None if started is None or run is None or end is None else started - run
        row = {
            "mission_id": f"m{self._written}",
            "vp_id": LANE,
            "status": status,
            "created_at": at(age),
            "started_at": None if started is None else at(started),
            "completed_at": None if ended is None else at(ended),
            "updated_at": at(age if ended is None else ended),
        } | row
        self.insert("vp_missions", **row)
        for name in ("dispatched", *([end] if end else [])) if events is None else events:
            moment = started if name == "started" else ended if name in ends.values() else age
            late = age - 11 if name in ends.values() else age  # of a row that does not tell
            self.event(row["mission_id"], name, late if moment is None else moment)
        return str(row["mission_id"])

    def missions(self, ages: Iterable[float], *args: Any, **options: Any) -> None:
        for age in ages:
            self.mission(age, *args, **options)

    def fallen_back(self, age: float, **options: Any) -> None:
        self.mission(age, events=("dispatched", "fallback", "completed"), **options)

    def worker(self, age: float, status: str = "completed", **options: Any) -> None:
        end = "completed" if status == "completed" else "failed"
        names = options.pop("events", ("dispatched", "started", end))
        self.mission(age, status, events=names, worker_id="worker-1", **options)


def every(seconds: float, missions: int, newest: float = 600.0) -> list[float]:
    """Returns the ages of so many missions, oldest first, so many seconds apart."""
    return [newest + seconds * number for number in reversed(range(missions))]


# Bad lanes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A lane, with the claims that its missions do carry: bad in one way, it may be shown good in another."""

    fill: Callable[[Lane], None]
    shown: str = ""
    schema: str = SCHEMA


BAD: dict[str, Case] = {}
HEALTHY: dict[str, Case] = {}


def lane(
    kind: dict[str, Case], shown: str = "", **more: str
) -> Callable[[Callable[[Lane], None]], Callable[[Lane], None]]:
    """Registers a lane by its function's name."""

    def register(fill: Callable[[Lane], None]) -> Callable[[Lane], None]:
        kind[fill.__name__] = Case(fill, shown, **more)
        return fill

    return register


ALL = "fallback failure p95"
WITHOUT_KEY = SCHEMA.replace("mission_id TEXT PRIMARY KEY", "mission_id TEXT")


@lane(BAD, ALL)
def nobody_has_written_for_263_days(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200))
    lane.as_of = NOON + timedelta(days=263)


@lane(BAD, ALL)
def heartbeats_only_for_eight_days(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200, newest=8 * DAY))


@lane(BAD, "failure")
def half_queued_for_hours(lane: Lane) -> None:
    lane.session()
    for age in every(120, 50, newest=2 * HOUR):
        lane.mission(age)
        lane.mission(age - 10, "queued", wait=None)


@lane(BAD)
def every_status_failed_in_capitals_without_events(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100), "FAILED", events=())


@lane(BAD, "fallback p95")
def every_status_failed_in_capitals_with_its_events(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100), "FAILED", events=("dispatched", "failed"))


@lane(BAD)
def all_events_purged(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100), events=())


@lane(BAD, ALL)
def older_half_of_the_events_purged(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 300, newest=4 * DAY), events=())
    lane.missions(every(600, 300))


@lane(BAD, ALL)
def one_in_fifteen_without_events(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 300)):
        lane.mission(age, events=() if number % 15 == 7 else None)


@lane(BAD, "failure p95")
def eight_percent_fall_back_for_two_days_inside_an_average_of_four(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(135, 1800, newest=2 * DAY)):
        (lane.fallen_back if number % 100 == 0 else lane.mission)(age)
    for number, age in enumerate(every(135, 1280)):
        (lane.fallen_back if number % 25 in (6, 18) else lane.mission)(age)


@lane(BAD, ALL)
def eight_of_the_newest_twelve_failed_in_twos(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 400, newest=3 * HOUR))
    for number, age in enumerate(every(600, 12)):
        lane.mission(age, "failed" if number % 3 else "completed")


@lane(BAD, ALL)
def newest_three_failed(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 400, newest=2 * HOUR))
    lane.missions(every(600, 3), "failed")


@lane(BAD, ALL)
def newest_three_failed_by_their_end_not_by_their_creation(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 400, newest=3 * HOUR))
    lane.missions((2 * HOUR, 2 * HOUR - 60, 2 * HOUR - 120), "failed", run=6900.0)
    lane.missions(every(60, 30, newest=HOUR))


@lane(BAD, ALL)
def fallback_events_whose_missions_are_gone(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 500))
    for number in range(60):
        lane.event(f"gone-{number}", "fallback", 900.0 + 600 * number)


@lane(BAD, ALL)
def failure_events_that_name_no_mission(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 500))
    for number in range(60):
        lane.event(None if number % 2 else "", "failed", 900.0 + 600 * number)


@lane(BAD)
def empty_statuses(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 100)):
        lane.mission(age, (None, "", " ")[number % 3])


@lane(BAD)
def completed_rows_whose_last_event_is_failed(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100), events=("dispatched", "completed", "failed"))


@lane(BAD)
def running_rows_whose_missions_have_failed(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100), "running", events=("dispatched", "failed"))


@lane(BAD)
def all_cancelled(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100), "cancelled")


@lane(BAD)
def two_failed_among_cancelled_ones(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 100)):
        lane.mission(age, "failed" if number in (20, 70) else "cancelled")


@lane(BAD)
def all_pending_and_young(lane: Lane) -> None:
    lane.session()
    lane.missions(every(10, 50, newest=5.0), "running")


@lane(BAD, "failure")
def too_few_settled_for_the_policy(lane: Lane) -> None:
    lane.session()
    lane.missions(every(10, 40), "completed")
    lane.missions(every(5, 60, newest=5.0), "queued", wait=None)
    lane.overrides = {"min_missions": 50}


@lane(BAD, ALL)
def missions_created_in_the_future(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200))
    for number in range(5):
        lane.mission(0, "failed", created_at=FUTURE, mission_id=f"future-{number}")


@lane(BAD)
def all_ends_in_the_future(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 100, newest=2 * HOUR)):
        lane.mission(age, mission_id=f"f{number}", events=("dispatched",), completed_at=FUTURE)


@lane(BAD, "failure p95")
def fallback_events_in_the_future(lane: Lane) -> None:
    lane.session()
    for age in every(600, 200):
        lane.event(lane.mission(age), "fallback", FUTURE)


@lane(BAD, "fallback failure p95")
def clocks_backwards_in_a_fifth(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.mission(age, run=-3000.0 if number % 5 == 0 and age > 3700 else 10.0)


@lane(BAD, ALL)
def heartbeat_dead_and_session_recovering(lane: Lane) -> None:
    lane.session("recovering", age=10 * HOUR)
    lane.missions(every(600, 200))


@lane(BAD, ALL)
def session_degraded_in_capitals(lane: Lane) -> None:
    lane.session(" DEGRADED ")
    lane.missions(every(600, 200))


@lane(BAD, ALL)
def session_of_no_known_status(lane: Lane) -> None:
    lane.session("zombie")
    lane.missions(every(600, 200))


@lane(BAD, ALL)
def session_without_a_status(lane: Lane) -> None:
    lane.session(None)
    lane.missions(every(600, 200))


@lane(BAD, ALL)
def session_retired_with_a_queue(lane: Lane) -> None:
    lane.session("retired")
    lane.missions(every(600, 200))
    lane.missions(every(60, 3, newest=60), "queued", wait=None)


@lane(BAD, ALL)
def session_paused_with_a_queue(lane: Lane) -> None:
    lane.session("paused")
    lane.missions(every(600, 200))
    lane.mission(60, "queued", wait=None)


@lane(BAD, ALL)
def no_session_row(lane: Lane) -> None:
    lane.missions(every(600, 200))


@lane(BAD, ALL)
def session_degraded_since_its_row_was_written(lane: Lane) -> None:
    lane.session("active", age=2 * HOUR)
    lane.session_event("vp.session.degraded", 600)
    lane.missions(every(600, 200))


@lane(BAD, ALL)
def closed_window_that_ended_degraded(lane: Lane) -> None:
    lane.session("active")
    lane.session_event("vp.session.degraded", DAY + 60)
    lane.session_event("vp.session.resumed", HOUR)
    lane.missions(every(600, 200, newest=1.1 * DAY))
    lane.closed = (NOON - timedelta(days=5), NOON - timedelta(days=1))


@lane(BAD, ALL)
def closed_window_whose_session_nobody_knows(lane: Lane) -> None:
    lane.session("active")
    lane.missions(every(600, 200, newest=1.1 * DAY))
    lane.closed = (NOON - timedelta(days=5), NOON - timedelta(days=1))


@lane(BAD, ALL)
def lost_leases_without_readable_times(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200))
    for stamp in (None, "", "soon", "2026-02-30T00:00:00Z"):
        lane.session_event("vp.session.degraded", stamp)


@lane(BAD, ALL)
def session_degraded_nine_times(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 500))
    for number in range(9):
        lane.session_event("vp.session.degraded", 8 * HOUR * (number + 1))
        lane.session_event("vp.session.resumed", 8 * HOUR * (number + 1) - 5)


@lane(BAD, ALL, schema=WITHOUT_KEY)
def duplicate_ids(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.mission(age, mission_id=f"d{number // 2}")


@lane(BAD, schema=WITHOUT_KEY)
def failures_behind_later_rows_of_their_ids(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 60, newest=2 * HOUR)):
        lane.mission(age, "failed", mission_id=f"d{number}")
        lane.mission(age - 30, "completed", mission_id=f"d{number}")


@lane(BAD, "p95")
def worker_lane_where_all_fail(lane: Lane) -> None:
    lane.session()
    for age in every(600, 100):
        lane.worker(age, "failed")


@lane(BAD, "p95")
def worker_lane_where_all_time_out(lane: Lane) -> None:
    lane.session()
    for age in every(600, 100):
        lane.worker(age, "timed_out")


@lane(BAD, "failure p95")
def worker_lane_that_fails_in_bursts(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 400)):
        lane.worker(age, "failed" if number in (385, 386, 387) else "completed")


@lane(BAD, "fallback failure")
def blocked_missions(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100, newest=2 * HOUR))
    lane.missions(every(60, 10, newest=2 * HOUR), "blocked")


@lane(BAD, "fallback failure p95")
def running_without_any_start_for_hours(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100, newest=2 * HOUR))
    lane.missions(every(60, 5, newest=2 * HOUR), "running", wait=None, events=())


@lane(BAD, "fallback failure p95")
def claimed_again_and_again_without_an_end(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100, newest=2 * HOUR))
    for age in every(600, 4, newest=2 * HOUR):
        lane.worker(age, "running", events=("dispatched", "started", "started", "progress"))


@lane(BAD, "failure")
def three_of_sixty_hang(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 60, newest=HOUR)):
        lane.mission(age, "running" if number in (10, 30, 50) else "completed")


@lane(BAD, "fallback failure")
def a_tenth_is_slow(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.mission(age, run=120.0 if number % 10 == 5 else 10.0)


@lane(BAD, "failure")
def a_fifth_still_runs_after_the_critical_time(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(12, 60, newest=100)):
        lane.mission(age, "running" if number % 5 == 4 else "completed")


@lane(BAD, "fallback failure")
def p95_unknown_for_no_mission_has_a_start(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200), wait=None, run=None)


@lane(BAD, "fallback failure")
def run_times_that_cannot_be_read(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200), started_at="soon", completed_at="later")


@lane(BAD)
def one_mission_which_failed(lane: Lane) -> None:
    lane.session()
    lane.mission(600, "failed")


@lane(BAD)
def two_of_two_failed(lane: Lane) -> None:
    lane.session()
    lane.missions((1200, 600), "failed")


@lane(BAD)
def one_mission_which_fell_back_and_still_runs(lane: Lane) -> None:
    lane.session()
    lane.mission(300, "running", events=("dispatched", "fallback"))


@lane(BAD, "failure p95")
def fallbacks_that_name_another_lane_or_none(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.event(
            lane.mission(age), "fallback" if number % 4 == 0 else "progress", age - 3, vp_id=("", None, "x")[number % 3]
        )


@lane(BAD)
def fallbacks_among_the_sessions_events(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.mission(age)
        if number % 4 == 0:
            lane.session_event("vp.mission.fallback", age - 3)


@lane(BAD)
def fallbacks_and_failures_by_names_with_blanks_and_capitals(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.event(lane.mission(age), ("FALLBACK", "fallback ", "progress", "Failed")[number % 4], age - 3)


@lane(BAD, "failure p95")
def fallbacks_without_readable_times(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.event(lane.mission(age), "fallback" if number % 4 == 0 else "progress", "soon")


@lane(BAD, "failure p95 fallback")
def three_of_the_newest_twenty_fell_back(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 500)):
        (lane.fallen_back if number in (481, 488, 499) else lane.mission)(age)


@lane(BAD)
def creation_times_that_cannot_be_read(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 100)):
        lane.mission(age, mission_id=f"c{number}", created_at=("soon", None, "", "2026-02-30")[number % 4])


@lane(BAD, ALL)
def newest_hundred_fail_and_have_no_creation_time(lane: Lane) -> None:
    lane.session()
    lane.newest = 100
    lane.missions(every(600, 100, newest=2 * DAY))
    for number, age in enumerate(every(600, 100)):
        lane.mission(age, "failed", mission_id=f"c{number}", created_at="soon")


@lane(BAD, "fallback failure p95")
def a_tenth_without_ids(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        if number % 10 == 3:
            lane.mission(age, "failed", mission_id=None)
        else:
            lane.mission(age)


@lane(BAD, ALL)
def closed_window_that_outlives_its_source(lane: Lane) -> None:
    lane.session(age=9 * DAY)
    lane.missions(every(600, 200, newest=9 * DAY))
    lane.closed = (NOON - timedelta(days=12), NOON - timedelta(days=2))
    lane.as_of = NOON


@lane(BAD, ALL)
def statuses_that_are_no_text(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 100, newest=DAY))
    for age in every(600, 30):
        name = lane.mission(age, "queued", events=("dispatched",))
        lane.connection.execute("UPDATE vp_missions SET status = ? WHERE mission_id = ?", (b"\xff\xfe", name))


@lane(BAD, ALL)
def silent_for_three_days_under_a_heartbeat_of_the_future(lane: Lane) -> None:
    lane.session("active", last_heartbeat_at=FUTURE, age=3 * DAY)
    lane.missions(every(600, 200, newest=3 * DAY))


@lane(BAD)
def completed_by_their_rows_alone(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200), events=("dispatched",))


@lane(BAD)
def completed_events_older_than_their_missions(lane: Lane) -> None:
    lane.session()
    for age in every(600, 200):
        lane.event(lane.mission(age, events=("dispatched",)), "completed", age + DAY)


@lane(BAD)
def completed_before_they_were_created(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.mission(age, started_at=None, completed_at=at(age + 60)) if number % 8 == 0 else lane.mission(age)


@lane(BAD, "fallback failure")
def run_times_of_a_twentieth_alone(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 500)):
        lane.mission(age, started_at=None) if number % 20 else lane.mission(age)


@lane(BAD)
def events_without_a_type(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        name = lane.mission(age, events=("dispatched", "progress", "completed"))
        untyped = f"UPDATE vp_events SET event_type = ? WHERE mission_id = '{name}' AND event_type LIKE '%progress'"
        lane.connection.execute(untyped, (None if number % 2 else "",))


@lane(BAD)
def fallbacks_by_names_that_only_look_right(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        names = ("fall\xadback", "\uff46allback", "progress", "fallback\u200b")
        lane.event(lane.mission(age), names[number % 4], age - 3)


@lane(BAD)
def lost_leases_by_other_names(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200))
    for number in range(9):
        lane.session_event("VP.Session.Degraded ", HOUR * (number + 1))


@lane(BAD)
def lost_leases_among_the_missions_events(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200))
    for number in range(9):
        lane.event(None, "progress", HOUR * (number + 1))
    lane.connection.execute("UPDATE vp_events SET event_type = 'vp.session.degraded' WHERE mission_id IS NULL")


@lane(BAD, ALL, schema=SCHEMA.replace("vp_id TEXT PRIMARY KEY", "vp_id TEXT"))
def session_of_two_rows_the_newer_degraded(lane: Lane) -> None:
    lane.session("idle", age=5 * HOUR)
    lane.session("degraded")
    lane.missions(every(600, 200))


@lane(BAD)
def failures_whose_missions_name_another_lane_or_none(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 200)):
        lane.mission(age)
        lane.mission(age - 1, "failed", vp_id=(LANE.upper(), f"{LANE} ", "", None)[number % 4])


@lane(BAD, ALL)
def newest_three_failed_and_their_ends_are_of_years_ago(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 200, newest=2 * HOUR))
    lane.missions((3000, 2000, 1000), "failed", completed_at=at(900 * DAY))


# Healthy lanes -------------------------------------------------------------------------------------------------------


@lane(HEALTHY, ALL)
def five_hundred_missions_with_three_lost_leases(lane: Lane) -> None:
    lane.session("active")
    lane.missions(every(600, 500))
    for age in (70 * HOUR, 40 * HOUR, 20 * HOUR):
        lane.session_event("vp.session.degraded", age)
        lane.session_event("vp.session.resumed", age - 5)


@lane(HEALTHY, ALL)
def one_of_three_hundred_hangs(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 300)):
        lane.mission(age, "running" if number == 290 else "completed")


@lane(HEALTHY, "failure p95")
def worker_lane(lane: Lane) -> None:
    lane.session("active")
    for age in every(600, 300):
        lane.worker(age)


@lane(HEALTHY, ALL)
def bridge_missions(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 300)):
        lane.mission(age, mission_id=f"bridge-{number}", source="redis_bridge", events=("completed",))


@lane(HEALTHY, "failure p95")
def claimed_again_and_completed(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 300)):
        claims = ("started",) * (3 if number % 20 == 0 else 1)
        lane.worker(age, events=("dispatched", *claims, "completed"))


OLD_SCHEMA = """
CREATE TABLE vp_sessions (vp_id TEXT PRIMARY KEY, status TEXT, last_heartbeat_at TEXT, created_at TEXT,
  updated_at TEXT);
CREATE TABLE vp_missions (mission_id TEXT PRIMARY KEY, vp_id TEXT, run_id TEXT, status TEXT, objective TEXT,
  result_ref TEXT, created_at TEXT, started_at TEXT, completed_at TEXT, updated_at TEXT);
CREATE TABLE vp_events (event_id TEXT PRIMARY KEY, mission_id TEXT, vp_id TEXT, event_type TEXT, payload_json TEXT,
  created_at TEXT);
"""


@lane(HEALTHY, ALL, schema=OLD_SCHEMA)
def old_database(lane: Lane) -> None:
    lane.session()
    lane.missions(every(600, 300))


@lane(HEALTHY, ALL)
def paused_without_a_queue(lane: Lane) -> None:
    lane.session("paused")
    lane.missions(every(600, 300))


@lane(HEALTHY, ALL)
def slow_tiers_that_wait_but_run_fast(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 300, newest=2 * HOUR)):
        background = number % 3 == 0
        lane.mission(
            age, wait=3000.0 if background else 1.0, priority_tier="background" if background else "operator_daily"
        )


@lane(HEALTHY, ALL)
def closed_window_of_long_ago(lane: Lane) -> None:
    lane.session("active")
    lane.session_event("vp.session.created", 260 * DAY)
    lane.missions(every(600, 300, newest=200 * DAY))
    lane.mission(600, "failed")
    lane.closed = (NOON - timedelta(days=250), NOON - timedelta(days=190))


@lane(HEALTHY, ALL)
def single_failures_and_fallbacks_far_apart(lane: Lane) -> None:
    lane.session()
    for number, age in enumerate(every(600, 500)):
        fates = {40: "failed", 140: "cancelled", 240: "timed_out"}
        (lane.fallen_back if number % 125 == 60 else lane.mission)(age, status=fates.get(number, "completed"))


@lane(HEALTHY, ALL)
def some_pending_and_one_unaccounted_for(lane: Lane) -> None:
    lane.session("active")
    lane.missions(every(600, 300, newest=1200))
    lane.mission(1000, "archived")
    lane.missions((500, 300), "running")
    lane.mission(20, "queued", wait=None)


@lane(HEALTHY)
def one_of_eight_without_a_run_time(lane: Lane) -> None:
    lane.session()
    for age in every(600, 8):
        lane.mission(age, started_at=None) if age == 600 else lane.mission(age)


@lane(HEALTHY, ALL)
def another_lane_fails(lane: Lane) -> None:
    lane.session()
    lane.session("degraded", vp_id="vp.general.primary")
    lane.missions(every(600, 300))
    for age in every(600, 300):
        lane.event(
            lane.mission(age, "failed", vp_id="vp.general.primary", events=()), "failed", age, "vp.general.primary"
        )


@lane(HEALTHY)
def one_mission(lane: Lane) -> None:
    lane.session()
    lane.mission(600)


# Snapshots -----------------------------------------------------------------------------------------------------------


DISPATCHED, COMPLETED, FAILED, FALLBACK = (
    f"vp.mission.{name}" for name in ("dispatched", "completed", "failed", "fallback")
)


def snapshot(n: int = 200, k: int = 0, **parts: Any) -> dict[str, Any]:
    """Returns a healthy snapshot with some of its parts changed; ``...`` leaves a part out."""
    whole: dict[str, Any] = {
        "vp_id": LANE,
        "generated_at": at(0),
        "events_complete": True,
        "fallback": {"missions_considered": n, "missions_with_fallback": k, "rate": k / n},
        "latency_seconds": {"count": n, "avg_seconds": 10, "p50_seconds": 10, "p95_seconds": 12, "max_seconds": 14},
        "mission_counts": {"completed": n},
        "event_counts": {DISPATCHED: n, COMPLETED: n},
        "session": {"vp_id": LANE, "status": "idle", "updated_at": at(30)},
        "session_health": {"currently_orphaned": False, "orphan_signals": 0, "orphan_rate": 0.0},
    }
    for name, part in parts.items():
        changed = name in ("fallback", "latency_seconds")
        whole[name] = whole[name] | part if changed else part
    return {name: part for name, part in whole.items() if part is not ...}


def listed(status: str, **columns: Any) -> list[dict[str, Any]]:
    """Returns twenty missions as a snapshot lists them."""
    row = {"status": status, "started_at": at(600), "completed_at": at(590), "duration_seconds": 10.0}
    return [{"mission_id": f"m{number}"} | row | {"fallback_seen": False} | columns for number in range(20)]


CLAIMED = "fallback failure"  # of a snapshot that does not list its missions
#: Name: snapshot, and the claims that it carries.
SNAPSHOTS: dict[str, tuple[dict[str, Any], str]] = {
    "rate that its counts contradict": (snapshot(k=40, fallback={"rate": 0.01}), ""),
    "more fallbacks than missions": (snapshot(10, 20, fallback={"rate": 0.0}), ""),
    "FAILED in capitals": (snapshot(100, mission_counts={"FAILED": 100}), ""),
    "half failed": (snapshot(mission_counts={"completed": 100, "failed": 100}), "fallback"),
    "all timed out": (snapshot(mission_counts={"timed_out": 200}), "fallback"),
    "all running": (snapshot(mission_counts={"running": 200}), ""),
    "all cancelled": (snapshot(mission_counts={"cancelled": 200}), ""),
    "a sixteenth unknown": (snapshot(mission_counts={"completed": 188, "unknown": 12}), CLAIMED),
    "no statuses": (snapshot(mission_counts={}), ""),
    "statuses of ten": (snapshot(mission_counts={"completed": 10}), ""),
    "events up to the usual limit": (
        snapshot(events_complete=..., event_counts={DISPATCHED: 70, COMPLETED: 130}),
        "failure",
    ),
    "fewer dispatched than missions": (
        snapshot(events_complete=..., event_counts={DISPATCHED: 160, COMPLETED: 199}),
        "failure",
    ),
    "a negative number of failures": (snapshot(mission_counts={"completed": 200, "failed": -100}), ""),
    "events as a list": (snapshot(event_counts=[[COMPLETED, 200]]), ""),
    "session health that is no truth": (snapshot(session_health={"currently_orphaned": "perhaps"}), ""),
    "rate not a number": (snapshot(fallback={"rate": math.nan}), CLAIMED),
    "rate below zero": (snapshot(fallback={"rate": -0.1}), CLAIMED),
    "nothing but a rate": ({"fallback": {"rate": 0.0}, "latency_seconds": {"p95_seconds": 1.0}}, ""),
    "p95 infinite": (snapshot(latency_seconds={"p95_seconds": math.inf}), CLAIMED),
    "run times of more than there are": (snapshot(latency_seconds={"count": 500}), ""),
    "no session": (snapshot(session=None), CLAIMED),
    "session degraded": (snapshot(session={"status": "Degraded"}), CLAIMED),
    "lists failures": (snapshot(20, recent_missions=listed("failed"), recent_events=[]), ""),
    "lists fallbacks": (
        snapshot(20, recent_missions=listed("completed", fallback_seen=True), recent_events=[]),
        "",
    ),
    "fallback events but no mission that fell back": (
        snapshot(event_counts={DISPATCHED: 200, COMPLETED: 200, FALLBACK: 50}),
        "failure",
    ),
    "completed by their statuses, failed by all their events": (
        snapshot(event_counts={DISPATCHED: 200, FAILED: 200}),
        "fallback",
    ),
    "completed without a single event": (
        snapshot(event_counts={}),
        "",
    ),
    "orphaned, but for its session": (
        snapshot(session=..., session_health={"currently_orphaned": True, "orphan_signals": 30, "orphan_rate": 1.0}),
        CLAIMED,
    ),
    "orphaned, and one key more than the contract's": (
        snapshot(
            session=..., session_health={"currently_orphaned": True, "orphan_signals": 1, "orphan_rate": 1.0, "x": 1}
        ),
        CLAIMED,
    ),
    "orphaned and idle": (
        snapshot(session_health={"currently_orphaned": True, "orphan_signals": 30, "orphan_rate": 1.0}),
        CLAIMED,
    ),
    "p95 of no run time": (
        snapshot(latency_seconds={"count": 0}),
        CLAIMED,
    ),
    "p95 above the maximum": (
        snapshot(latency_seconds={"max_seconds": 5}),
        CLAIMED,
    ),
}


# What is asked of them -----------------------------------------------------------------------------------------------


def judged(case: Case, path: Path, as_range: bool) -> list[Verdict]:
    """Returns the verdicts on a lane, as its newest missions or as a range of time, in each profile."""
    lane = Lane(path, case.schema)
    case.fill(lane)
    lane.connection.commit()
    lane.connection.close()
    if lane.closed:
        window = vp.RolloutWindow(LANE, start=lane.closed[0], end=lane.closed[1], as_of=lane.as_of)
    elif as_range:
        window = vp.RolloutWindow(LANE, start=NOON - timedelta(days=60), as_of=lane.as_of)
    else:
        window = vp.RolloutWindow(LANE, last_missions=lane.newest, as_of=lane.as_of)
    policies = [vp.Policy.load("playbook", profile, **lane.overrides) for profile in PROFILES]
    with vp.open_source(path) as source:
        metrics = vp.summarize(source.load(window))
    return [vp.classify(metrics, policy) for policy in policies]


@pytest.fixture(scope="module", params=some_of(["newest", "range"], 2))
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[Verdict]]:
    """Returns the verdicts on a lane by its name; each database is written once."""
    folder, known, as_range = tmp_path_factory.mktemp("lanes"), {}, request.param == "range"

    def of(name: str) -> list[Verdict]:
        if name not in known:
            known[name] = judged((BAD | HEALTHY)[name], folder / f"{name}.db", as_range)
        return known[name]

    return of


def supported(verdict: Verdict) -> set[str]:
    """Returns the claims that the evidence is said to support."""
    evidence = verdict.evidence
    strengths = {"fallback": evidence.strength, "failure": evidence.failure.strength, "p95": evidence.p95.strength}
    return {claim for claim, strength in strengths.items() if strength == "supports"}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_lane_is_not_healthy(name: str, verdicts: Callable[[str], list[Verdict]]) -> None:
    statuses = {(verdict.policy.profile, verdict.lane_status) for verdict in verdicts(name)}
    assert {profile for profile, _ in statuses} == set(PROFILES)
    assert "HEALTHY" not in {status for _, status in statuses}, statuses


@pytest.mark.parametrize("name", BAD)
def test_nothing_unproved_is_claimed_of_a_bad_lane(name: str, verdicts: Callable[[str], list[Verdict]]) -> None:
    for verdict in verdicts(name):
        assert supported(verdict) <= set(BAD[name].shown.split())
        if "data_quality" in {reason.gate for reason in verdict.reasons}:
            assert supported(verdict) == set()  # what is wrong with the data forbids every claim


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_lane_is_healthy_and_what_it_shows_is_said(
    name: str, verdicts: Callable[[str], list[Verdict]]
) -> None:
    for verdict in verdicts(name):
        assert (verdict.lane_status, verdict.action) == ("HEALTHY", "continue"), verdict.reasons
        assert supported(verdict) == set(HEALTHY[name].shown.split())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_bad_snapshot_is_not_healthy_and_claims_nothing_unproved(name: str, profile: Profile) -> None:
    content, shown = SNAPSHOTS[name]
    verdict = vp.classify(content, vp.Policy.load("playbook", profile))
    assert verdict.lane_status != "HEALTHY", verdict.passed
    assert supported(verdict) <= set(shown.split())
    if "data_quality" in {reason.gate for reason in verdict.reasons}:
        assert supported(verdict) == set()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_snapshot_that_they_are_made_of_is_healthy(profile: Profile) -> None:
    verdict = vp.classify(snapshot(), vp.Policy.load("playbook", profile))
    assert (verdict.lane_status, supported(verdict)) == ("HEALTHY", {"fallback", "failure"})
