"""The sample's scenarios: what the newest missions of a lane carry, and the error texts they leave."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

# {h} is hexadecimal, {n} a small number and {m} a larger one: texts of a kind differ as they do in the field.
_KINDS = (
    ("adapter_unavailable", "ConnectionError: adapter socket /tmp/vp/{h:.4}.sock refused after {n} attempts"),
    ("adapter_timeout", "TimeoutError: adapter gave no response to request req_{h:.12} within {n}.0 s"),
    ("lease_conflict", "LeaseError: lease of worker-{n} expired {m} ms before dispatch of run {h:.8}"),
    # Not a secret: it is here so that masking has something to mask.
    ("upstream_rejected", "HTTPError: 401 for request {m} (Authorization: Bearer sk-sample-{h})"),
)
ADAPTER_ERRORS = _KINDS[:2]
#: The kinds in the order in which they occur, over and over: some often, some rarely.
ERRORS = tuple(_KINDS[kind] for kind in (0, 1, 0, 3, 0, 2, 1, 0))
FAILURES = (
    "AssertionError: {n} of {m} tests failed in /srv/vp/jobs/{h:.8}/tests/test_api.py",
    "RuntimeError: sandbox process {m} ended with exit code 137 at step {n} (container {h:.12})",
    "ModuleNotFoundError: No module named 'vp_plugin_{h:.4}' (workspace /srv/vp/jobs/{h:.8})",
)
TIMED_OUT = "TimeoutError: no output from worker-{n} for 30.0 s (pid {m}, log /srv/vp/jobs/{h:.8}/run.log)"
#: Why the reconciler fails a mission, in turn.
STALE_REASONS = ("claim_expired", "updated_at_timeout", "claim_expired", "started_at_timeout")

#: Created this many hours before the end, a mission has had the time to hang or to be slow.
_SETTLED_HOURS = 0.75
#: Between so many hours before the end the missions were created that are stuck in the queue.
STUCK_HOURS = (1.5, 9.0)


@dataclass(frozen=True)
class Scenario:
    """What the newest 5/12 of the missions carry; the defaults are a healthy lane."""

    text: str
    always: bool = False  #: the older missions carry the same
    fallbacks: int = 1  #: missions per 100 with a fallback event
    fallback_ages: tuple[float, float] = (0, math.inf)  #: first and last + 1 of the missions that fall back, by age
    failures: int = 2  #: missions per 100 that failed or timed out
    reconciled: int = 0  #: how many of these the reconciler failed
    newest: tuple[str, ...] = ()  #: how the newest finished missions ended, newest first
    unaccounted: int = 0  #: missions per 100 of which nobody can say what became
    stalled: int = 0  #: missions per 100 that started long before the end and never finished
    stuck: int = 0  #: missions per 100, all of one tier, that have been queued for hours
    queued: int = 0  #: missions still in the queue at the end
    running: int = 1  #: missions still running at the end, for less than a minute
    slow: int = 2  #: missions per 100 with a run time within ``slow_seconds``
    slow_seconds: tuple[float, float] = (48.0, 80.0)
    run_median: float = 12.0  #: run time of all others, in seconds; none takes over 3.5 times as long
    wait_median: float = 2.0  #: seconds from creation to start; the tier shortens or lengthens it
    workers: int = 12  #: missions per 100 that the worker loop serves, which records no fallbacks
    bridge: int = 3  #: missions per 100 that come over the Redis bridge
    session: str = "active"  #: session status at the end
    lost_leases: int = 0  #: leases lost and regained within the newest 60 missions
    silent_hours: float = 0.0  #: hours before the end since which nothing has been written
    outage: tuple[float, float] = (0.0, 0.0)  #: between so many hours before the end no mission completed
    errors: Sequence[tuple[str, str]] = ERRORS  #: reason and error of fallbacks, in turn


_OVER_CRITICAL = (95.0, 240.0)
HEALTHY = Scenario("nothing wrong: 1 fallback in 100 missions, isolated failures")
SCENARIOS = {
    "healthy": HEALTHY,
    "elevated": Scenario("8 fallbacks in 100 missions: above watch, below critical", fallbacks=8),
    "critical": Scenario("26 fallbacks in 100 missions: above critical", fallbacks=26),
    "failing": Scenario(
        "18 of 100 missions fail or time out, 4 in a row", failures=18, reconciled=4, newest=("failed",) * 4
    ),
    "stalled": Scenario("7 of 100 missions started and never finished", stalled=7),
    "no-traffic": Scenario("a session without a single mission", session="idle"),
    "degraded-session": Scenario("4 lost leases in a day, the last still open", session="degraded"),
    "load-pressure": Scenario(
        "long queue waits and a p95 above 90 s, fallbacks unchanged",
        slow=12, slow_seconds=_OVER_CRITICAL, run_median=22.0, wait_median=45.0, queued=2,
    ),
    "adapter-unstable": Scenario(
        "14 fallbacks in 100 missions and a p95 above 90 s, both from the adapter",
        fallbacks=14, slow=10, slow_seconds=_OVER_CRITICAL, run_median=15.0, errors=ADAPTER_ERRORS,
    ),
    "worker-lane": Scenario(
        "nothing wrong, but workers serve every mission, and they record no fallbacks",
        always=True, fallbacks=0, workers=97,
    ),
    "queue-stuck": Scenario("12 of 100 missions, a whole tier, have been queued for hours", stuck=12),
    "recent-change": Scenario(
        "8 of the newest 40 missions fell back, and 1 of the 200 before", fallbacks=8, fallback_ages=(14, 40)
    ),
    "stale": Scenario("nothing written for nine days", session="idle", running=0, silent_hours=9 * 24),
    "unaccounted": Scenario(
        "8 of 100 missions without a known status or without a single event", unaccounted=8
    ),
    "failing-in-twos": Scenario(
        "8 of the newest 12 finished missions failed, never three in a row",
        failures=8, newest=("failed", "failed", "completed") * 4,
    ),
    "lease-flapping": Scenario("4 lost leases within the newest 60 missions, each regained", lost_leases=4),
}  # fmt: skip

_OUTAGE = Scenario(
    "one outage: all that came 4 to 2.5 hours before the end failed", outage=(4, 2.5), errors=ADAPTER_ERRORS
)
_LANES = {
    "vp.coder.primary": HEALTHY,
    "vp.coder.secondary": HEALTHY,
    "vp.general.primary": HEALTHY,
    "vp.general.secondary": SCENARIOS["worker-lane"],
    "vp.research.primary": HEALTHY,
    "vp.review.primary": HEALTHY,
}
_HIT = ("vp.coder.primary", "vp.coder.secondary", "vp.research.primary")
#: Databases of several lanes: what each shows, and the scenario of each lane.
FLEETS: dict[str, tuple[str, dict[str, Scenario]]] = {
    "fleet": ("six lanes, one of which fails", _LANES | {"vp.general.primary": SCENARIOS["failing"]}),
    "outage": ("six lanes, three of which had one outage", _LANES | dict.fromkeys(_HIT, _OUTAGE)),
}

#: Fates that only a mission in the workers' queue can have.
_QUEUE_FATES = ("queued", "stuck", "withdrawn", "reclaimed", "reconciled")


@dataclass
class Plan:
    """What becomes of one mission."""

    age: int  #: 0 is the newest
    hours: float  #: from its creation to the end
    fixed: bool  #: its fate is one of the scenario's newest
    #: ``queued``, ``stuck``, ``running``, ``stalled``, ``completed``, ``fallback``, ``reclaimed`` (its first worker was
    #: lost), ``failed``, ``reconciled``, ``cancelled``, ``withdrawn`` (cancelled before its start) or ``unaccounted``
    fate: str = "completed"
    runtime: str = "in-process"  #: or ``worker`` or ``bridge``
    slow: bool = False


def plan(scenario: Scenario, hours: Sequence[float], faulty: int, rng: random.Random) -> list[Plan]:
    """Plans each mission, newest first.

    Args:
        scenario: what the newest ``faulty`` missions carry; the others are healthy.
        hours: from each mission's creation to the end.
        faulty: how many missions carry the scenario.
        rng: chooses which missions carry what.
    """
    fates = ["queued"] * scenario.queued + ["running"] * scenario.running
    fates += scenario.newest[: max(0, faulty - len(fates))]
    plans = [Plan(age, since, age < len(fates)) for age, since in enumerate(hours)]
    for mission, fate in zip(plans, fates, strict=False):
        mission.fate = fate
    # Blocks of 100, counted from the newest, so that the counts hold in the newest 100 exactly.
    scale = min(1.0, faulty / 100)
    for first in range(0, faulty, 100):
        _place(plans[first : min(first + 100, faulty)], scenario, scale, rng)
    for first in range(faulty, len(plans), 100):
        _place(plans[first : first + 100], HEALTHY, scale, rng)
    for mission in plans:
        if scenario.outage[0] > mission.hours > scenario.outage[1] and mission.fate == "completed":
            mission.fate = "failed"
    return plans


def _place(block: list[Plan], scenario: Scenario, scale: float, rng: random.Random) -> None:
    """Chooses the missions of a block that carry something, and the runtimes that serve it."""
    settled = [mission for mission in block if mission.hours >= _SETTLED_HOURS]
    long_ago = [mission for mission in block if STUCK_HOURS[0] < mission.hours < STUCK_HOURS[1]]
    since, until = (age * scale for age in scenario.fallback_ages)
    failures = _share(scenario.failures, block) - sum(mission.fate == "failed" for mission in block)
    reconciled = max(0, min(_share(scenario.reconciled, block), failures))
    for fate, count, among in (
        ("stuck", _share(scenario.stuck, block), long_ago),
        ("stalled", _share(scenario.stalled, block), settled),
        ("reconciled", reconciled, block),
        ("failed", failures - reconciled, block),
        ("fallback", _share(scenario.fallbacks, block), [m for m in block if since <= m.age < until]),
        ("unaccounted", _share(scenario.unaccounted, block), block),
        ("cancelled", _share(1, block), block),
        ("withdrawn", _share(1, block), block),
    ):
        free = [mission for mission in among if mission.fate == "completed" and not mission.fixed]
        for mission in _spread(free, count, rng):
            mission.fate = fate
    free = [mission for mission in settled if mission.fate in ("completed", "fallback")]
    slow = _spread(free, _share(scenario.slow, block), rng)
    for mission in slow:
        mission.slow = True
    for mission in _spread([m for m in slow if m.fate == "completed" and not m.fixed], _share(1, block), rng):
        mission.fate = "reclaimed"
    for mission in block:
        if mission.fate in _QUEUE_FATES:
            mission.runtime = "worker"
    workers = _share(scenario.workers, block) - sum(mission.runtime == "worker" for mission in block)
    for runtime, count in (("bridge", _share(scenario.bridge, block)), ("worker", workers)):
        free = [mission for mission in block if mission.runtime == "in-process" and mission.fate != "fallback"]
        for mission in _spread(free, count, rng):
            mission.runtime = runtime


def _share(per_hundred: int, block: Sequence[Plan]) -> int:
    """The count for a block of up to 100 missions; more than two in a hundred are never rounded away."""
    return max(round(per_hundred * len(block) / 100), int(per_hundred > 2))


def _spread(free: list[Plan], count: int, rng: random.Random) -> list[Plan]:
    """Chooses one at random from each of ``count`` stretches: irregular, but in every part its share."""
    count = max(0, min(count, len(free)))
    stretches = [(i * len(free) // count, (i + 1) * len(free) // count) for i in range(count)]
    return [free[rng.randrange(low, high)] for low, high in stretches]
