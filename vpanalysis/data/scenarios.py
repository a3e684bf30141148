"""The sample's scenarios: what the newest missions of a lane carry, and the error texts they leave."""

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


@dataclass(frozen=True)
class Scenario:
    """What the newest 5/12 of the missions carry; the defaults are a healthy lane."""

    text: str
    fallbacks: int = 1  #: missions per 100 with a fallback event
    failures: int = 2  #: missions per 100 that failed or timed out
    last_failures: int = 0  #: how many of these are the newest finished missions, in a row
    stalled: int = 0  #: missions per 100 that started long before the end and never finished
    queued: int = 0  #: missions still in the queue at the end
    slow: int = 2  #: missions per 100 with a run time within ``slow_seconds``
    slow_seconds: tuple[float, float] = (48.0, 80.0)
    run_median: float = 12.0  #: run time of all others, in seconds; none takes over 3.5 times as long
    wait_median: float = 2.0  #: seconds from creation to start; none takes over 3.5 times as long
    session: str = "active"  #: session status at the end
    errors: Sequence[tuple[str, str]] = ERRORS  #: reason and error of fallbacks, in turn


_OVER_CRITICAL = (95.0, 240.0)
HEALTHY = Scenario("nothing wrong: 1 fallback in 100 missions, isolated failures")
SCENARIOS = {
    "healthy": HEALTHY,
    "elevated": Scenario("8 fallbacks in 100 missions: above watch, below critical", fallbacks=8),
    "critical": Scenario("26 fallbacks in 100 missions: above critical", fallbacks=26),
    "failing": Scenario("18 of 100 missions fail or time out, 4 in a row", failures=18, last_failures=4),
    "stalled": Scenario("7 of 100 missions started and never finished", stalled=7),
    "no-traffic": Scenario("a session without a single mission", session="idle"),
    "degraded-session": Scenario("4 lost leases in a day, the last still open", session="degraded"),
    "load-pressure": Scenario(
        "long queue waits and a p95 above 90 s, fallbacks unchanged",
        slow=12, slow_seconds=_OVER_CRITICAL, run_median=22.0, wait_median=35.0, queued=2,
    ),
    "adapter-unstable": Scenario(
        "14 fallbacks in 100 missions and a p95 above 90 s, both from the adapter",
        fallbacks=14, slow=10, slow_seconds=_OVER_CRITICAL, run_median=15.0, errors=ADAPTER_ERRORS,
    ),
}  # fmt: skip
