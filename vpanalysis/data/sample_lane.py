"""The sample's lane: the rows of its missions, events, session and backlog, as the runtime's writers leave them.

Missions take one of three ways. The in-process runtime writes no ``started`` event and no worker, and it alone records
fallbacks. Workers claim missions that were dispatched to their queue, and those that came over the Redis bridge, which
were never dispatched.
"""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from vpanalysis.data import scenarios, schema
from vpanalysis.data.scenarios import HEALTHY, Plan, Scenario

#: One table's row by column name; `sample` turns times and payloads into text.
Row = dict[str, Any]
#: An event's time, type and payload.
_Event = tuple[datetime, str, Row]

_BACKLOG = "vp_mission_backlog_history"
TABLES: dict[str, tuple[str, ...]] = {
    **schema.TABLES,
    _BACKLOG: ("measured_at", "vp_id", "priority_tier", "queued_count", "running_count"),
}

_DAYS = 6
#: How busy the lane is by hours before the end of its working day; the negative ones are the evening after it.
_BUSY = dict(zip(range(-3, 12), (1, 1, 2, 4, 7, 9, 9, 7, 4, 8, 10, 9, 6, 3, 1), strict=True))
#: By tier: its missions' priority, how many of 20 there are, and their wait as a multiple of the scenario's.
_TIERS = {
    "operator_daily": (50, 4, 0.35),
    "operator_signal": (80, 6, 0.7),
    "maintenance": (100, 5, 1.0),
    "background": (200, 5, 1.3),
}
_STUCK_TIER = "background"
_WORKERS = ("worker-1", "worker-2", "worker-3", "worker-4")
#: How long a worker's claim lasts unless it is renewed.
_CLAIM = timedelta(seconds=30)

#: The status of a mission where it differs from its fate.
_STATUS = {"fallback": "completed", "reclaimed": "completed", "stalled": "running", "stuck": "queued"}
_STATUS |= {"withdrawn": "cancelled", "reconciled": "failed"}
#: The statuses of missions that nobody can account for, in turn; completed ones have lost their events.
_UNACCOUNTED = ("FAILED", "", "completed")

_VERBS = ("Fix", "Add a test for", "Refactor", "Speed up", "Document", "Review", "Add type hints to")
_THINGS = ("the upload retry loop", "the CSV import", "mission paging", "the scheduler", "the config loader")
_STEPS = ("read the code", "wrote a plan", "edited files", "ran the tests")


class Lane:
    """One lane's rows, drawn from ``rng`` in a fixed order. Missions go by age: 0 is the newest."""

    def __init__(self, rng: random.Random, scenario: Scenario, end: datetime, vp_id: str) -> None:
        self.rng, self.scenario, self.vp_id = rng, scenario, vp_id
        end = end.replace(tzinfo=UTC) if end.tzinfo is None else end.astimezone(UTC)
        self.end = end - timedelta(hours=scenario.silent_hours)
        self.tables: dict[str, list[Row]] = {table: [] for table in TABLES}
        self._turns: Counter[str] = Counter()

    def fill(self, missions: int) -> None:
        """Draws every row of the lane."""
        created = self._arrivals(missions)
        faulty = missions if self.scenario.always else max(1, missions * 5 // 12)
        hours = [(self.end - moment) / timedelta(hours=1) for moment in created]
        for plan in reversed(scenarios.plan(self.scenario, hours, faulty, self.rng)):
            # A queue does not grow at once: the wait takes the fault's first missions to reach its new level.
            share = max(0.0, min(1.0, (faulty - plan.age) / 20))
            wait = HEALTHY.wait_median + share * (self.scenario.wait_median - HEALTHY.wait_median)
            self._mission(created[plan.age], plan, self.scenario if plan.age < faulty else HEALTHY, wait)
        self._session(created)
        self._backlog()
        for table in ("vp_events", "vp_session_events"):
            self.tables[table].sort(key=lambda row: row["created_at"])

    def _arrivals(self, missions: int) -> list[datetime]:
        """Creation times, newest first; the newest finished ones keep apart and leave time to finish."""
        rng = self.rng
        ages = sorted(rng.uniform(1, 3) for _ in range(self.scenario.queued))
        ages += [0.0] * self.scenario.running  # its creation follows from its start, in `_mission`
        drawn: list[float] = []
        while len(drawn) < missions - len(ages):
            hours = 24 * rng.randrange(_DAYS) + rng.choices(list(_BUSY), list(_BUSY.values()))[0] + rng.random()
            if hours > 0:  # the evening after the last day is still to come
                drawn.append(hours * 3600)
        least = 300.0
        for number, age in enumerate(sorted(drawn)):
            ages.append(max(age, least))
            least = ages[-1] + (120 if number < 14 else 0.001)
        return [self.end - timedelta(seconds=age) for age in ages[:missions]]

    def _mission(self, created: datetime, plan: Plan, scenario: Scenario, wait: float) -> None:
        rng, fate = self.rng, plan.fate
        status = _UNACCOUNTED[self._turn(fate) % 3] if fate == "unaccounted" else _STATUS.get(fate, fate)
        tier = self._tier(plan, scenario)
        priority, _, patience = _TIERS[tier]
        queued, run = timedelta(seconds=self._skewed(wait * patience)), self._skewed(scenario.run_median)
        started: datetime | None = created + queued
        if plan.slow:
            run = rng.uniform(*scenario.slow_seconds)
        elif fate == "running":
            started = self.end - timedelta(seconds=rng.uniform(8, 40))
            created = started - queued
        elif fate in ("queued", "stuck", "withdrawn"):
            started = None
        elif fate == "reconciled":
            run = rng.uniform(1.05, 1.3) * _CLAIM.total_seconds()
        elif fate == "failed" and scenario.newest and self._turn(fate) % 3 == 2:
            status, run = "timed_out", rng.uniform(30.5, 39)
        finished = (started or created) + timedelta(seconds=run) if status not in ("queued", "running") else None
        claimed, until, source = None, None, rng.choice(("gateway", "gateway", "chat", "schedule"))
        if started and plan.runtime != "in-process":
            claimed = rng.choice(_WORKERS)
            renewed = self.end - timedelta(seconds=6) if fate == "running" else started
            until = None if finished else renewed + _CLAIM
        mission = f"{'bridge' if plan.runtime == 'bridge' else 'vp-mission'}-{self._hex(16)}"
        resulted = status in ("completed", *schema.FAILED_STATUSES) and fate != "reconciled"
        row: Row = {
            "mission_id": mission,
            "vp_id": self.vp_id,
            "run_id": f"run-{self._hex(12)}",
            "status": status,
            "mission_type": "coding_task",
            "objective": f"{rng.choice(_VERBS)} {rng.choice(_THINGS)}",
            "budget_json": {"max_duration_seconds": 900, "max_tokens": 60000},
            "payload_json": {"repo": "example/app", "branch": f"vp/{self._hex(6)}"},
            "result_ref": f"workspace:///srv/vp/jobs/{mission}" if resulted else None,
            "priority": priority,
            "priority_tier": tier,
            "worker_id": claimed,
            "claim_expires_at": until,
            "cancel_requested": int(status == "cancelled"),
            "created_at": created,
            "started_at": started,
            "completed_at": finished,
            "source": "redis_bridge" if plan.runtime == "bridge" else source,
            "result_published": int(status == "completed"),
        }
        events = self._mission_events(row, plan, scenario, timedelta(seconds=run))
        for when, kind, payload in events:
            self._event("vp_events", when, kind, payload, mission_id=mission)
        row["updated_at"] = max((when for when, _, _ in events), default=finished)
        self.tables["vp_missions"].append(row)

    def _tier(self, plan: Plan, scenario: Scenario) -> str:
        """A tier; while missions are stuck they are all of one tier, and no other mission is of it."""
        if plan.fate == "stuck":
            return _STUCK_TIER
        stuck = scenario.stuck and plan.hours < scenarios.STUCK_HOURS[1]
        weights = {tier: weight for tier, (_, weight, _) in _TIERS.items() if not (stuck and tier == _STUCK_TIER)}
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def _mission_events(self, row: Row, plan: Plan, scenario: Scenario, run: timedelta) -> list[_Event]:
        rng, status, started, finished = self.rng, row["status"], row["started_at"], row["completed_at"]
        if plan.fate == "unaccounted" and status == "completed":
            return []
        trace = {"trace_id": f"trace-{self._hex(12)}"}
        ran, soon = trace | {"run_id": row["run_id"]}, timedelta(milliseconds=rng.uniform(5, 60))
        events: list[_Event] = []
        if plan.runtime == "in-process":
            events.append((started + soon, schema.DISPATCHED, ran | {"started_at": started}))
        elif plan.runtime == "worker":
            events.append((row["created_at"] + soon, schema.DISPATCHED, ran | {"mission_type": row["mission_type"]}))
        if row["worker_id"]:
            claims = [(started, row["worker_id"])]
            if plan.fate == "reclaimed":  # `started_at` keeps the first start, `worker_id` the second worker
                lost = rng.choice([worker for worker in _WORKERS if worker != row["worker_id"]])
                claims = [(started, lost), (started + rng.uniform(1.05, 1.3) * _CLAIM, row["worker_id"])]
            events += [(when, schema.STARTED, trace | {"worker_id": worker}) for when, worker in claims]
        if started:
            span = min(run, self.end - started)
            parts = sorted(rng.uniform(0.05, 0.95) for _ in range(rng.randint(0, 4)))
            for step, part in zip(_STEPS, parts, strict=False):
                events.append((started + part * span, schema.PROGRESS, trace | {"summary": step}))
            if plan.fate == "fallback":
                reason, error = scenario.errors[self._turn("fallback") % len(scenario.errors)]
                payload = {"reason": reason, "error": self._error(error), **trace}
                events.append((started + rng.uniform(0.2, 0.8) * span, schema.FALLBACK, payload))
        ended = trace | {"completed_at": finished, "result_ref": row["result_ref"]}
        if status == "completed":
            events.append((finished, schema.COMPLETED, ended))
        elif status == "cancelled":
            why = trace | {"reason": "superseded by a newer request"}
            events.append((finished - rng.uniform(0.05, 0.3) * run, schema.CANCEL_REQUESTED, why))
            events.append((finished, schema.CANCELLED, why))
        elif status in schema.FAILED_STATUSES:
            events.append((finished, schema.FAILED, self._failure(status, plan, scenario) | ended))
        return events

    def _failure(self, status: str, plan: Plan, scenario: Scenario) -> Row:
        """What a failed mission's payload says of the cause."""
        if plan.fate == "reconciled":
            stale = scenarios.STALE_REASONS[self._turn("reconciled") % len(scenarios.STALE_REASONS)]
            return {"reason": "stale_running_reconciled", "stale_reason": stale}
        of_scenario = [error for _, error in scenario.errors]
        texts = scenarios.FAILURES if scenario.errors is scenarios.ERRORS else of_scenario
        return {
            "error": self._error(
                scenarios.TIMED_OUT if status == "timed_out" else texts[self._turn("text") % len(texts)]
            )
        }

    def _session(self, created: list[datetime]) -> None:
        """The session's row and its lifecycle: a lease taken each morning and released each evening."""
        scenario, owner, session_id = self.scenario, f"gateway-{self._hex(8)}", f"{self.vp_id}.session"
        lease, release = {"lease_owner": owner, "session_id": session_id}, {"reason": "lease_released"}
        opened = self._before(24 * _DAYS - 11.9)
        steps: list[_Event] = [(opened, schema.SESSION_CREATED, lease)]
        for day in range(1, _DAYS):
            was = {"recovered_from_status": "idle", "previous_status": "idle"}
            steps.append((self._before(24 * day - 3.2), schema.SESSION_AVAILABLE, release | lease))
            steps.append((self._before(24 * day - 11.9), schema.SESSION_RESUMED, was | release | lease))
        if scenario.silent_hours:
            steps.append((self._before(0.03), schema.SESSION_AVAILABLE, release | lease))
        for hours in (24 * 3 + 6.5, *((9.1, 5.3, 1.8) if scenario.stuck else ())):
            alert = {"category": "rate_limit", "alert": f"upstream quota used up, {_STUCK_TIER} missions wait"}
            steps.append((self._before(hours), schema.DISPATCH_HELD, {"worker": self.rng.choice(_WORKERS), **alert}))
        # Leases lost: when, how, and whether the lease came back.
        losses = [(self._before(24 * 4 + self.rng.uniform(2, 8)), "lease_heartbeat_failed", True)]
        for number, moment in enumerate(created[7:60:14][: scenario.lost_leases]):
            losses.append((moment, ("lease_heartbeat_failed", "lease_acquisition_failed")[number % 2], True))
        degraded = scenario.session == "degraded"
        if degraded:
            losses += [(self._before(9.4), "lease_heartbeat_failed", True)]
            losses += [(self._before(6.1), "lease_acquisition_failed", True)]
            losses += [(self._before(0.7), "lease_acquisition_failed", False)]
            losses += [(self._before(0.1), "lease_heartbeat_failed", False)]
        for at, reason, regained in losses:
            steps.append((at, schema.SESSION_DEGRADED, {"reason": reason, "lease_owner": owner}))
            if regained:
                back = at + timedelta(seconds=self.rng.uniform(20, 240))
                was = {"recovered_from_status": "degraded", "previous_status": "degraded"}
                steps.append((back, schema.SESSION_RECOVERED, {"previous_status": "degraded"}))
                steps.append((back + timedelta(seconds=1), schema.SESSION_RESUMED, was | lease))
        for when, kind, payload in steps:
            self._event("vp_session_events", when, kind, payload)
        heartbeat = at - timedelta(seconds=11) if degraded else self.end - timedelta(seconds=9)
        self.tables["vp_sessions"].append(
            {
                "vp_id": self.vp_id,
                "runtime_id": "runtime.coder.external",
                "session_id": session_id,
                "workspace_dir": "/srv/vp/jobs",
                "status": scenario.session,
                "lease_owner": owner,
                "lease_expires_at": heartbeat + timedelta(seconds=120),
                "last_heartbeat_at": heartbeat,
                "last_error": f"{reason}: the lease of {owner} was not renewed" if degraded else None,
                "metadata_json": {"display_name": "CODIE", "sample": True, "max_concurrency": 4},
                "created_at": opened,
                "updated_at": at if degraded else heartbeat,
            }
        )

    def _backlog(self) -> None:
        """How many missions of each tier were queued and running, hour by hour."""
        for hours in reversed(range(24 * _DAYS - 12)):
            at = self.end - timedelta(hours=hours)
            queued, running = Counter[str](), Counter[str]()
            for row in self.tables["vp_missions"]:
                started, finished = row["started_at"], row["completed_at"]
                if row["created_at"] <= at and not (finished and finished <= at):
                    (running if started and started <= at else queued)[row["priority_tier"]] += 1
            for tier in _TIERS:
                row = {"priority_tier": tier, "queued_count": queued[tier], "running_count": running[tier]}
                self.tables[_BACKLOG].append({"measured_at": at, "vp_id": self.vp_id, **row})

    def _event(self, table: str, when: datetime, kind: str, payload: Row, **more: object) -> None:
        row = {"event_id": f"vp-event-{self._hex(16)}", "vp_id": self.vp_id, "event_type": kind, **more}
        self.tables[table].append({**row, "payload_json": payload, "created_at": when})

    def _turn(self, kind: str) -> int:
        """How many of a kind there have been before this one."""
        self._turns[kind] += 1
        return self._turns[kind] - 1

    def _before(self, hours: float) -> datetime:
        return self.end - timedelta(hours=hours, seconds=self.rng.uniform(0, 60))

    def _hex(self, digits: int) -> str:
        return f"{self.rng.getrandbits(4 * digits):0{digits}x}"

    def _error(self, text: str) -> str:
        return text.format(h=self._hex(24), n=self.rng.randint(2, 9), m=self.rng.randint(100, 9999))

    def _skewed(self, median: float) -> float:
        """Log-normal seconds, between an eighth of the median and 3.5 times as long."""
        while not 1 / 8 <= (factor := self.rng.lognormvariate(0, 0.55)) <= 3.5:
            pass
        return median * factor
