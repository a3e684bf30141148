"""Each gate on windows built mission by mission, exactly at its limits and one step beyond; counts are by hand."""

import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from command_line import run_command
from conftest import some_of
from lane_frames import LANE, NOON, metrics_from_snapshot, metrics_of, mission
from scipy.stats import beta, binom, poisson

from vpanalysis.analysis.decision import judge
from vpanalysis.analysis.gates import BY_NAME, GATES
from vpanalysis.analysis.gates.data_quality import contradiction, judge_quality
from vpanalysis.analysis.gates.failures import FailuresGate
from vpanalysis.analysis.gates.gate import Gate
from vpanalysis.analysis.intervals import lower_bound
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import PROFILES, Policy
from vpanalysis.analysis.verdict import Reason
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow

POLICY, SUSTAINED = Policy.load("playbook"), Policy.load("playbook", "sustained")
SESSION = {"vp_id": LANE, "status": "active", "updated_at": NOON.isoformat()}
DEGRADED = "vp.session.degraded"
MICROSECOND = timedelta(microseconds=1)


def judged(name: str, metrics: Metrics, policy: Policy = POLICY, **settings: Any) -> Reason:
    """What one gate says under the playbook, with other settings where they are given."""
    gate, own = BY_NAME[name], policy.gate(name)
    own = own.model_copy(update=settings) if settings else own
    return gate.reason(gate.judge(metrics.overdue_after(policy.overdue_seconds), own, policy))


def lane(statuses: Sequence[str], **columns: Any) -> Metrics:
    """Missions a minute apart, the last a minute before noon, with these statuses, oldest first."""
    return metrics_of(
        [mission(-60.0 * (len(statuses) - at), status=status, **columns) for at, status in enumerate(statuses)]
    )


def ok(n: int) -> list[str]:
    return ["completed"] * n


def bare(**parts: Any) -> Metrics:
    return metrics_from_snapshot({"fallback": {}, "latency_seconds": {}} | parts)


def chance_limit(m: int, rate: float, alpha: float) -> int:
    """The design's k*: the smallest k with P(Binomial(m, rate) >= k) <= alpha, by SciPy."""
    return next(k for k in range(1, m + 2) if binom.sf(k - 1, m, rate) <= alpha)


# --- traffic


@pytest.mark.parametrize(
    ("considered", "least", "caution", "brief"),
    [
        (0, 1, "NO_TRAFFIC", "insufficient missions (0 < 1)"),
        (0, 0, "NO_TRAFFIC", "insufficient missions (0 < 1)"),
        (1, 0, "HEALTHY", "missions sufficient (1 >= 1)"),
        (4, 5, "NO_TRAFFIC", "insufficient missions (4 < 5)"),
        (5, 5, "HEALTHY", "missions sufficient (5 >= 5)"),
        (None, 1, "NO_TRAFFIC", "insufficient missions (unknown < 1)"),
    ],
)
def test_traffic_by_the_table_counts_missions(considered: int | None, least: int, caution: str, brief: str) -> None:
    policy = Policy.load("capture", min_missions=least)
    found = judged("traffic", bare(fallback={"missions_considered": considered}), policy)
    assert (found.gate, found.unit, found.value, found.threshold) == ("traffic", "count", considered, max(1, least))
    assert (found.caution, found.brief) == (caution, brief)


@pytest.mark.parametrize(
    ("statuses", "least", "caution", "value"),
    [
        (["completed", "failed", "timed_out"], 3, "HEALTHY", 3),
        (["completed", "failed", "cancelled"], 3, "NO_TRAFFIC", 2),
        ([*ok(2), *["running"] * 8], 3, "NO_TRAFFIC", 2),
        (["running"] * 8, 0, "NO_TRAFFIC", 0),
        (["running"] * 2, 3, "NO_TRAFFIC", 2),  # the table's own row: missions, and too few of them
    ],
)
def test_traffic_counts_settled_missions(statuses: list[str], least: int, caution: str, value: int) -> None:
    metrics, policy = lane(statuses), Policy.load("playbook", min_missions=least)
    found = judged("traffic", metrics, policy)
    assert (found.caution, found.value, found.threshold) == (caution, value, max(1, least))
    table = judged("traffic", metrics, Policy.load("capture", min_missions=least))
    assert table.value == len(statuses)


def test_a_mission_that_fell_back_is_settled_before_it_ends() -> None:
    running = [mission(-60.0 - at, run=None, status="running", fallback=True) for at in range(2)]
    found = judged("traffic", metrics_of(running), Policy.load("playbook", min_missions=2))
    assert (found.caution, found.value) == ("HEALTHY", 2)
    assert found.sentence == "The window has 2 settled missions; the policy asks for at least 2."
    nothing = judged("traffic", lane(["running"]))
    assert nothing.sentence == "There is no settled mission in the window."


def test_traffic_of_a_snapshot_counts_its_finished_missions() -> None:
    content = {"missions_considered": 9, "missions_with_fallback": 0, "rate": 0.0}
    policy = Policy.load("playbook", min_missions=5)
    counts = {"completed": 3, "failed": 1, "running": 5}
    assert judged("traffic", bare(fallback=content, mission_counts=counts), policy).value == 4
    assert judged("traffic", bare(fallback=content), policy).value == 9  # how they ended is unknown


# --- fallback_rate


@pytest.mark.parametrize(
    ("fell_back", "of", "caution", "brief", "sentence"),
    [
        (
            0,
            52,
            "HEALTHY",
            "fallback rate within target (0.000 < 0.050)",
            "0 of 52 missions (0.0 %) fell back, below the watch line of 5 %.",
        ),
        (
            2,
            41,
            "HEALTHY",
            "fallback rate within target (0.049 < 0.050)",
            "2 of 41 missions (4.9 %) fell back, below the watch line of 5 %.",
        ),
        (
            2,
            40,
            "WATCH",
            "fallback rate elevated (0.050 >= 0.050)",
            "2 of 40 missions (5.0 %) fell back, at the watch line of 5 %.",
        ),
        (
            10,
            51,
            "WATCH",
            "fallback rate elevated (0.196 >= 0.050)",
            "10 of 51 missions (19.6 %) fell back, above the watch line of 5 %.",
        ),
        (
            13,
            52,
            "FORCE_FALLBACK",
            "fallback rate high (0.250 >= 0.200)",
            "13 of 52 missions (25.0 %) fell back, above the critical line of 20 %.",
        ),
        (
            1,
            5,
            "FORCE_FALLBACK",
            "fallback rate high (0.200 >= 0.200)",
            "1 of 5 missions (20.0 %) fell back, at the critical line of 20 %.",
        ),
        (
            1,
            1,
            "FORCE_FALLBACK",
            "fallback rate high (1.000 >= 0.200)",
            "1 of 1 mission (100.0 %) fell back, above the critical line of 20 %.",
        ),
    ],
)
def test_fallback_rate(fell_back: int, of: int, caution: str, brief: str, sentence: str) -> None:
    metrics = metrics_of([mission(-60.0 * (at + 1), fallback=at < fell_back) for at in range(of)])
    found = judged("fallback_rate", metrics)
    assert (found.gate, found.unit, found.value) == ("fallback_rate", "share", fell_back / of)
    assert (found.caution, found.brief) == (caution, brief)
    assert found.threshold == (0.20 if caution == "FORCE_FALLBACK" else 0.05)
    assert found.sentence == sentence


@pytest.mark.parametrize("rate", [None, float("nan"), float("inf"), -0.1, "0.3"])
def test_a_fallback_rate_that_is_no_rate_is_unknown(rate: Any) -> None:
    found = judged("fallback_rate", bare(fallback={"missions_considered": 4, "rate": rate}))
    assert (found.value, found.caution, found.brief) == (None, "WATCH", "fallback rate unknown")


def test_a_rate_without_its_counts_is_judged_by_itself() -> None:
    found = judged("fallback_rate", bare(fallback={"rate": 0.25}))
    assert (found.value, found.caution) == (0.25, "FORCE_FALLBACK")
    assert found.sentence == "The fallback rate is 25.0 %, above the critical line of 20 %."


def test_a_negative_rate_or_p95_in_metrics_is_unknown_too() -> None:
    metrics = lane(ok(3))
    broken = replace(
        metrics,
        fallback=replace(metrics.fallback, rate=-0.1),
        latency_seconds=metrics.latency_seconds.model_copy(update={"p95_seconds": -3.0}),
    )
    assert judged("fallback_rate", broken).brief == "fallback rate unknown"
    assert judged("latency", broken).brief == "p95 latency unknown"
    assert judged("latency", broken).threshold == 90.0  # in a rollout 45 s are no line
    zero = replace(
        metrics,
        fallback=replace(metrics.fallback, rate=0.0),
        latency_seconds=metrics.latency_seconds.model_copy(update={"p95_seconds": 0.0}),
    )
    assert judged("fallback_rate", zero).value == 0.0
    assert judged("latency", zero).value == 0.0


# --- latency


@pytest.mark.parametrize(
    ("p95", "rollout", "sustained", "brief"),
    [
        (None, "WATCH", "WATCH", "p95 latency unknown"),
        (float("nan"), "WATCH", "WATCH", "p95 latency unknown"),
        (-1.0, "WATCH", "WATCH", "p95 latency unknown"),
        (44.999, "HEALTHY", "HEALTHY", "p95 latency within target (44.999s < 45.000s)"),
        (45.0, "HEALTHY", "WATCH", "p95 latency elevated (45.000s >= 45.000s)"),
        (89.999, "HEALTHY", "WATCH", "p95 latency elevated (89.999s >= 45.000s)"),
        (90.0, "HEALTHY", "FORCE_FALLBACK", "p95 latency high (90.000s >= 90.000s)"),
    ],
)
def test_p95_by_the_table(p95: float | None, rollout: str, sustained: str, brief: str) -> None:
    metrics = bare(latency_seconds={"p95_seconds": p95})
    assert judged("latency", metrics, Policy.load("capture")).caution == rollout
    for policy in (SUSTAINED, Policy.load("capture", "sustained")):
        found = judged("latency", metrics, policy)
        assert (found.gate, found.unit, found.caution, found.brief) == ("latency", "seconds", sustained, brief)


@pytest.mark.parametrize(
    ("runs", "caution", "in_sentence"),
    [
        ([10.0] * 8 + [90.0] * 2, "WATCH", "at the watch line of 90 s; 2 missions took 90 s or longer."),
        (
            [10.0] * 8 + [89.9, 95.0],
            "HEALTHY",
            "above the watch line of 90 s, but only 1 mission took that long; the gate needs 2.",
        ),
        ([10.0] * 98 + [95.0] * 2, "HEALTHY", "is 10.0 s, below the watch line of 90 s."),
        ([95.0], "HEALTHY", "but only 1 mission took that long; the gate needs 2."),
        ([95.0, 96.0], "WATCH", "above the watch line of 90 s; 2 missions took 90 s or longer."),
        ([89.999999, 90.0], "HEALTHY", "at the watch line of 90 s, but only 1 mission"),  # at, by one
        ([90.0, 90.0], "WATCH", "at the watch line of 90 s; 2 missions took 90 s or longer."),  # at, by two
        ([89.999999, 89.999999], "HEALTHY", ", below the watch line of 90 s."),
    ],
)
def test_latency_needs_two_missions_that_slow(runs: list[float], caution: str, in_sentence: str) -> None:
    metrics = metrics_of([mission(-900.0 * (at + 1), run=run) for at, run in enumerate(runs)])
    found = judged("latency", metrics)
    assert (found.gate, found.unit, found.threshold, found.caution) == ("latency", "seconds", 90.0, caution)
    assert in_sentence in found.sentence


@pytest.mark.parametrize(
    ("count", "caution"),
    [
        (100, "WATCH"),  # p95 is the 95th of 100: six are as slow
        (20, "WATCH"),  # the 19th of 20: two are
        (12, "WATCH"),  # the 11th of 12
        (11, None),  # the 11th of 11: one is, of the others nothing is known
        (1, None),
        (None, None),
    ],
)
@pytest.mark.parametrize("p95", [90.0, 120.0])
def test_latency_from_a_p95_alone_counts_what_its_rank_leaves_above(
    count: int | None, caution: str | None, p95: float
) -> None:
    metrics = bare(latency_seconds={"count": count, "p95_seconds": p95})
    assert judged("latency", metrics).caution == caution
    assert judged("latency", bare(latency_seconds={"count": count, "p95_seconds": 89.9})).caution == "HEALTHY"


def test_in_sustained_the_gate_adds_nothing_to_the_table() -> None:
    for p95 in (10.0, 44.9, 45.0, 90.0):
        metrics = metrics_of([mission(-900.0 * (at + 1), run=p95) for at in range(3)])
        gate = BY_NAME["latency"]
        assert gate.judge(metrics, POLICY.gate("latency"), SUSTAINED) == gate.judge(metrics, None, SUSTAINED)


@pytest.mark.parametrize(
    ("run_times", "unknown"), [({"count": 0}, True), ({"count": 1}, False), ({}, False), ({"count": None}, False)]
)
def test_a_p95_of_no_run_time_is_unknown(run_times: dict[str, Any], unknown: bool) -> None:
    for policy in (POLICY, SUSTAINED):
        found = judged("latency", bare(latency_seconds={"p95_seconds": 10.0} | run_times), policy)
        assert (found.caution, found.value) == (("WATCH", None) if unknown else ("HEALTHY", 10.0))


# --- failures


@pytest.mark.parametrize(
    ("statuses", "caution", "value", "threshold"),
    [
        # a share of a tenth, by three
        (ok(27) + ["failed"] * 2, "HEALTHY", 2 / 29, 0.10),
        ([*ok(13), "failed", *ok(13), "failed", "failed"], "WATCH", 3 / 29, 0.10),
        (["failed", *ok(13), "failed", *ok(14), "failed"], "WATCH", 0.10, 0.10),  # 3 of 30, to the letter
        (["failed", *ok(13), "failed", *ok(15), "failed"], "HEALTHY", 3 / 31, 0.10),
        (["failed", *ok(16), "failed", "completed"], "HEALTHY", 2 / 19, 0.10),  # two are too few
        (["failed", *ok(5), "failed"], "HEALTHY", 2 / 7, 0.10),
        # in a row
        ([*ok(40), "failed", "timed_out", "failed", *ok(17)], "WATCH", 3, 3),  # in a row, within the newest 20
        ([*ok(40), "failed", "timed_out", "failed", *ok(18)], "HEALTHY", 3 / 61, 0.10),  # the first is the 21st
        ([*ok(40), "failed", "cancelled", "failed", "cancelled", "failed"], "WATCH", 3, 3),  # cancelled ends no run
        ([*ok(40), "failed", "completed", "failed", "failed"], "HEALTHY", 3 / 44, 0.10),
        # among the newest
        (["failed", "completed", "failed"], "WATCH", 2, 2),  # k*(3) is 2
        (["failed", "completed", "failed", "completed"], "HEALTHY", 0.5, 0.10),  # k*(4) is 3
        # nothing but failures
        (["failed"] * 3 + ["cancelled"] * 97, "WATCH", 1.0, 0.10),  # cancelled ones count in no share
        (["failed"], "WATCH", 1.0, 0.10),  # one failed mission alone is not healthy
        (["timed_out", "failed"], "WATCH", 1.0, 0.10),
        (["failed", "completed"], "HEALTHY", 0.5, 0.10),
        (["failed", "running"], "WATCH", 1.0, 0.10),
    ],
)
def test_failures(statuses: list[str], caution: str, value: float, threshold: float) -> None:
    found = judged("failures", lane(statuses))
    assert (found.gate, found.caution, found.value, found.threshold) == ("failures", caution, value, threshold)
    assert found.unit == ("count" if isinstance(threshold, int) else "share")


def test_failures_that_are_all_of_the_newest_are_said_to_be_so() -> None:
    assert judged("failures", lane(["failed"] * 25)).sentence.endswith("none completed; all of the newest 20.")
    assert judged("failures", lane(["failed"])).sentence.endswith("; 1 of the newest 1, at most 1 in a row.")


@pytest.mark.parametrize("m", [*range(1, 26), 200])
def test_failures_limit_among_the_newest_is_the_binomials(m: int) -> None:
    newest = min(m, 20)  # with fewer than 20 finished, m is how many there are
    assert FailuresGate().limit(m) == max(2, chance_limit(newest, 0.05, 0.01))
    assert FailuresGate(rate=0.005).limit(1) == 2 > chance_limit(1, 0.005, 0.01)  # one alone is no pattern


def test_a_tenth_by_fewer_than_three_is_said_to_be_so() -> None:
    found = judged("failures", lane(["failed", *ok(18), "failed"]))
    assert (found.caution, found.value) == ("HEALTHY", 0.10)
    assert found.brief == "failed share within target (0.100 by 2 of 3, >= 0.100)"
    assert found.sentence.startswith("2 of 20 finished missions (10.0 %) failed or timed out (by fewer than 3); ")
    below = judged("failures", lane(["failed", *ok(19), "failed"]))
    assert below.brief == "failed share within target (0.095 < 0.100)"
    assert "fewer" not in below.sentence


@pytest.mark.parametrize(
    ("failed", "spread", "caution"),
    [
        (4, [2, 6, 11, 16], "HEALTHY"),
        (5, [2, 6, 9, 12, 16], "WATCH"),  # P(Binomial(20, 0.05) >= 5) is 0.003; 4 or more are 0.016
        (5, [0, 6, 9, 12, 19], "WATCH"),  # the first and the last of the newest 20
    ],
)
def test_failures_among_the_newest_twenty_of_many(failed: int, spread: list[int], caution: str) -> None:
    newest = ["failed" if at in spread else "completed" for at in range(20)]
    found = judged("failures", lane([*ok(100), *newest]))
    assert found.caution == caution
    if caution == "WATCH":
        assert (found.value, found.threshold, found.unit) == (failed, 5, "count")
        assert "chance explains 4 at most." in found.sentence
    older = lane([*ok(100), "failed", "completed", *newest, *ok(2)])  # two of the five have left the newest 20
    if spread[0] == 0:
        assert judged("failures", older).caution == "HEALTHY"


@pytest.mark.parametrize(
    ("statuses", "caution", "threshold"),
    [
        ([*ok(3), *["failed"] * 3], "FORCE_FALLBACK", 0.50),
        ([*ok(4), *["failed"] * 3], "WATCH", 0.10),
        (["failed", "completed"] * 3, "FORCE_FALLBACK", 0.50),
        (["completed", *["failed"] * 2], "WATCH", 2),  # two of three: too few to force
        (["failed"] * 2, "WATCH", 0.10),
        (["timed_out"] * 3, "FORCE_FALLBACK", 0.50),
    ],
)
def test_a_majority_of_failures_forces_the_fallback_in_sustained_only(
    statuses: list[str], caution: str, threshold: float
) -> None:
    found = judged("failures", lane(statuses), SUSTAINED)
    assert (found.caution, found.threshold) == (caution, threshold)
    assert judged("failures", lane(statuses)).caution == caution.replace("FORCE_FALLBACK", "WATCH")


def test_failures_are_ordered_by_when_they_ended() -> None:
    rows = [mission(-6000.0 + at, run=10.0) for at in range(40)]
    slow = [mission(-5900.0 - at, run=5000.0 + at, status="failed") for at in range(3)]  # created first, ended last
    assert judged("failures", metrics_of(slow + rows)).value == 3
    early = [mission(-6500.0 - at, run=1.0, status="failed") for at in range(3)]
    assert judged("failures", metrics_of([*rows[:1], *early, *rows[1:]])).value == 3 / 43


def test_failures_without_an_end_are_placed_by_their_start() -> None:
    rows = [mission(-6000.0 + 10 * at) for at in range(40)]
    hidden = [mission(-100.0 - at, status="failed", ended_event_at=None, completed_at=None) for at in range(3)]
    assert judged("failures", metrics_of(rows + hidden)).value == 3


def test_failures_of_a_status_that_the_events_contradict_are_not_counted() -> None:
    rows = [mission(-60.0 * at - 60, ended_event="vp.mission.failed") for at in range(3)]
    assert judged("failures", metrics_of([mission(-600.0), *rows])).value == 0.0  # unaccounted, and no failures


def test_failures_from_counts_alone() -> None:
    found = judged("failures", bare(mission_counts={"completed": 40, "failed": 3, "timed_out": 2, "cancelled": 9}))
    assert (found.caution, found.value) == ("WATCH", 5 / 45)
    assert "in a row" not in found.sentence
    few = judged("failures", bare(mission_counts={"completed": 40, "failed": 3}))
    assert (few.caution, few.value) == ("HEALTHY", 3 / 43)
    assert "their order is unknown" in few.sentence
    assert judged("failures", bare(mission_counts={"failed": 1})).caution == "WATCH"
    assert judged("failures", bare(mission_counts={"failed": 1, "completed": 1})).caution == "HEALTHY"


def test_failures_without_data_or_without_a_finished_mission_are_not_assessed() -> None:
    for metrics in (bare(), bare(mission_counts={"running": 3}), lane(["cancelled", "running"])):
        found = judged("failures", metrics)
        assert (found.caution, found.value) == (None, None)
        assert found.sentence.startswith("Not assessed: ")


# --- completions


def hanging(age: float, **columns: Any) -> dict[str, Any]:
    """A mission that started so many seconds before noon and never ended."""
    return mission(-age - 5.0, wait=5.0, run=None, status="running", **columns)


def completed(n: int, first: float = -9000.0) -> list[dict[str, Any]]:
    return [mission(first + at, mission_id=f"c{first:g}-{at}") for at in range(n)]


@pytest.mark.parametrize(
    ("ages", "caution", "value"),
    [
        ([900.0, 900.0], "WATCH", 2),
        ([900.0, 899.999999], "HEALTHY", 1),  # the second is pending still
        ([5000.0] * 7, "WATCH", 7),
        ([900.0], "HEALTHY", 1),  # one alone is never a pattern
        ([], "HEALTHY", 0),
    ],
)
def test_a_mission_is_overdue_900_seconds_after_its_start(ages: list[float], caution: str, value: int) -> None:
    rows = [hanging(age, mission_id=f"h{at}") for at, age in enumerate(ages)]
    found = judged("completions", metrics_of([mission(), *rows]))
    assert (found.gate, found.unit, found.caution, found.value) == ("completions", "count", caution, value)
    assert found.threshold == (2 if caution == "WATCH" else 3)


@pytest.mark.parametrize("m", [3, 19, 20, 30, 31, 60])
def test_completions_limit_among_the_newest_is_the_binomials(m: int) -> None:
    limit = max(2, chance_limit(m, 0.005, 0.01))
    assert limit == (2 if m <= 30 else 3)
    for overdue, caution in ((limit - 1, "HEALTHY"), (limit, "WATCH")):
        rows = completed(m - overdue) + [hanging(1000.0 + at) for at in range(overdue)]
        found = judged("completions", metrics_of(rows))
        assert (found.caution, found.value) == (caution, overdue)
        if caution == "WATCH":
            assert (found.threshold, found.brief) == (
                limit,
                f"overdue missions among the newest {m} ({limit} >= {limit})",
            )


def test_completions_over_the_whole_window_take_what_chance_does_not_explain_there() -> None:
    limit = chance_limit(300, 0.005, 0.01)
    assert limit == 6
    for overdue, caution in ((5, "HEALTHY"), (6, "WATCH")):
        old = [hanging(9500.0 + at) for at in range(overdue)]  # before all others
        found = judged("completions", metrics_of(old + completed(300 - overdue)))
        assert (found.caution, found.value, found.threshold) == (caution, overdue, 6)
    # of 61 missions the three oldest: two are among the newest 60, but three in all are too many
    found = judged("completions", metrics_of([hanging(9500.0 + at) for at in range(3)] + completed(58)))
    assert (found.caution, found.value, found.threshold) == ("WATCH", 3, 3)
    assert found.brief == "overdue missions (3 >= 3)"


def test_completions_count_the_begun_and_the_due_not_the_waiting() -> None:
    rows = completed(28) + [hanging(1000.0 + at) for at in range(2)]  # 30, of which 2 are too many
    assert judged("completions", metrics_of(rows)).caution == "WATCH"
    waiting = [mission(-50.0 - at, wait=None, status="queued") for at in range(5)]
    assert judged("completions", metrics_of(rows + waiting)).caution == "WATCH"
    begun = [hanging(50.0 + at) for at in range(5)]
    found = judged("completions", metrics_of(rows + begun))  # 35, of which 3 would be
    assert (found.caution, found.value) == ("HEALTHY", 2)


@pytest.mark.parametrize(
    ("columns", "age", "overdue"),
    [
        ({"status": "queued"}, 3600.0, True),  # never started
        ({"status": "queued"}, 3599.999999, False),
        ({"status": "queued", "dispatched_at": None}, 3600.0, True),
        ({"status": "running"}, 900.0, True),  # dispatched when created
        ({"status": "running"}, 899.999999, False),
        ({"status": "running", "dispatched_at": None}, 3599.0, False),
        ({"status": "queued", "started_event_at": NOON - timedelta(seconds=900)}, 1000.0, True),
        ({"status": "queued", "started_event_at": NOON - timedelta(seconds=899)}, 1000.0, False),
        ({"status": "blocked", "started_at": NOON - timedelta(seconds=2000)}, 3000.0, False),  # as if never started
        ({"status": "blocked", "started_at": NOON - timedelta(seconds=2000)}, 3600.0, True),
        ({"status": "running", "ended_event": "vp.mission.completed"}, 5000.0, False),  # unaccounted
        ({"status": "unknown", "ended_event": "vp.mission.completed"}, 5000.0, False),  # completed
    ],
)
def test_what_is_overdue(columns: dict[str, Any], age: float, overdue: bool) -> None:
    rows = [mission(-age, wait=None, **columns, mission_id=f"m{at}") for at in range(2)]
    found = judged("completions", metrics_of(rows))
    assert (found.value, found.caution) == ((2, "WATCH") if overdue else (0, "HEALTHY"))


def test_completions_say_how_long_and_in_which_way() -> None:
    never = [mission(-3700.0 - at, wait=None, status="queued") for at in range(1)]
    found = judged("completions", metrics_of([hanging(1000.0), hanging(1001.0), *never]))
    assert found.sentence == (
        "2 missions are still unfinished more than 15 min after starting and 1 mission is still waiting more than "
        "60 min after being created; all of them among the newest 3."
    )


def test_completions_of_a_slow_lane_are_due_later() -> None:
    policy = POLICY.model_copy(
        update={"gates": POLICY.gates.model_copy(update={"completions": POLICY.gate("completions").model_copy(
            update={"seconds": 7200.0}
        )})}
    )  # fmt: skip
    rows = [hanging(7199.0), hanging(7200.0), hanging(7201.0)]
    assert judged("completions", metrics_of(rows), policy).value == 2
    waiting = [mission(-age, wait=None, status="queued") for age in (3600.0, 7199.0, 7200.0, 7300.0)]
    assert judged("completions", metrics_of(waiting), policy).value == 2  # never sooner than one that runs


def test_completions_without_rows_or_a_moment_are_not_assessed() -> None:
    assert judged("completions", bare()).caution is None
    assert judged("completions", replace(lane(ok(3)), generated_at=None)).caution is None


# --- session


def at_end(status: str | None, rows: Sequence[Mapping[str, Any]] = (mission(),), **more: Any) -> Reason:
    return judged("session", metrics_of(rows, session=SESSION | {"status": status}, **more))


@pytest.mark.parametrize("status", ["degraded", "recovering"])
def test_session_degraded_now(status: str) -> None:
    found = at_end(status)
    assert (found.gate, found.unit, found.caution) == ("session", "status", "WATCH")
    assert (found.value, found.threshold, found.brief) == (status, "active or idle", f"session {status}")


@pytest.mark.parametrize("status", ["active", "idle", " Active ", "running", "healthy", "paused", "retired"])
def test_session_that_serves_or_rests_without_a_queue(status: str) -> None:
    found = at_end(status)
    assert (found.caution, found.value, found.unit) == ("HEALTHY", status.strip().lower(), "status")


@pytest.mark.parametrize("status", ["unknown", "", None, "exploded"])
def test_a_session_whose_state_is_unknown_is_not_healthy(status: str | None) -> None:
    found = at_end(status)
    assert (found.caution, found.value) == ("WATCH", status or "unknown")
    assert ("not a status of the contract" in found.sentence) == (status == "exploded")


@pytest.mark.parametrize("status", ["paused", "retired", "idle"])
@pytest.mark.parametrize(
    ("row", "waits"),
    [
        (mission(-10.0, wait=None, status="queued"), True),
        (mission(-9999.0, wait=None, status="queued"), True),  # overdue
        (mission(-10.0, wait=None, status="blocked"), True),
        (mission(-10.0, run=None, status="running"), False),
        (mission(-10.0, wait=None, run=None, status="cancelled"), False),
    ],
)
def test_a_session_at_rest_while_missions_wait(status: str, row: dict[str, Any], waits: bool) -> None:
    found = at_end(status, [mission(), row])
    assert (found.caution, found.value) == ("WATCH" if waits and status != "idle" else "HEALTHY", status)


def closed(status: str, updated: datetime, *events: tuple[str, datetime | None]) -> Reason:
    """A window that ended two hours before it was judged."""
    end = NOON - timedelta(hours=2)
    window = RolloutWindow(LANE, start=end - timedelta(hours=8), end=end, as_of=NOON)
    row = SESSION | {"status": status, "updated_at": updated.isoformat()}
    return judged("session", metrics_of([mission(-10000.0)], session=row, session_events=events, window=window))


def test_session_at_the_end_of_a_closed_window() -> None:
    before, after = NOON - timedelta(hours=3), NOON - timedelta(hours=1)
    assert closed("active", before).caution == "HEALTHY"
    assert closed("active", after).caution == "WATCH"  # the row is of a later time, and no event tells
    assert closed("active", after).value == "unknown"
    assert closed("active", after, ("vp.session.resumed", before)).caution == "HEALTHY"
    assert closed("idle", after, (DEGRADED, before)).value == "degraded"
    later = closed("recovering", after, ("vp.session.resumed", before))
    assert (later.caution, later.value) == ("HEALTHY", "active")  # the row is of a later time
    end = NOON - timedelta(hours=2)
    for updated, caution in ((before, "WATCH"), (end - MICROSECOND, "WATCH"), (end, "HEALTHY")):
        by_row = closed("degraded", updated, ("vp.session.resumed", NOON - timedelta(hours=5)))
        assert by_row.caution == caution  # by the row alone, where it was written within the window


def test_session_of_an_open_window_is_what_was_said_last() -> None:
    def at_noon(status: str, *events: tuple[str, int]) -> Reason:
        """The row was written two hours before noon, the events so many minutes before."""
        row = SESSION | {"status": status, "updated_at": (NOON - timedelta(hours=2)).isoformat()}
        told = [(name, NOON - timedelta(minutes=ago)) for name, ago in events]
        return judged("session", metrics_of([mission()], session=row, session_events=told))

    assert at_noon("active").value == "active"
    late = at_noon("active", (DEGRADED, 119))
    assert (late.caution, late.value) == ("WATCH", "degraded")
    assert at_noon("active", (DEGRADED, 120)).value == "active"  # the row is no older
    assert at_noon("active", (DEGRADED, 119), ("vp.session.resumed", 118)).caution == "HEALTHY"
    by_row = at_noon("recovering", ("vp.session.resumed", 10))
    assert (by_row.caution, by_row.value) == ("WATCH", "recovering")  # by the row alone


@pytest.mark.parametrize("row", [{}, {"session": {"status": "idle", "updated_at": NOON.isoformat()}}])
def test_a_snapshot_that_calls_its_session_orphaned_trips(row: dict[str, Any]) -> None:
    health = {"currently_orphaned": True, "orphan_signals": 1, "orphan_rate": 1.0}
    found = judged("session", bare(session_health=health, generated_at=NOON.isoformat(), **row))
    assert (found.caution, found.value, found.threshold) == ("WATCH", "orphaned", "active or idle")
    assert found.sentence == "The session is orphaned at the window's end."
    served = judged("session", bare(session_health=health | {"currently_orphaned": False}, **row))
    assert served.caution != "WATCH"


@pytest.mark.parametrize("status", ["active", "idle", "paused", "retired"])
@pytest.mark.parametrize(("degraded", "caution"), [(0, "HEALTHY"), (2, "HEALTHY"), (3, "WATCH")])
def test_session_degraded_often_within_the_span_of_the_newest_missions(
    status: str, degraded: int, caution: str
) -> None:
    events = [(DEGRADED, NOON - timedelta(hours=5))] * 4  # before the window's first mission
    events += [(DEGRADED, NOON - timedelta(minutes=10))] * degraded
    found = at_end(status, completed(60, -3600.0), session_events=events)
    assert found.caution == caution
    assert (found.value, found.threshold, found.unit) == (
        (3, 3, "count") if degraded == 3 else (status, "active or idle", "status")
    )


def test_the_span_begins_with_the_sixtieth_newest_mission() -> None:
    rows = completed(100)  # one a second
    sixtieth = NOON - timedelta(seconds=9000 - 40)
    late = [(DEGRADED, NOON - timedelta(minutes=10))] * 2
    assert poisson.sf(3, 0.6) < 0.01 < poisson.sf(2, 0.6)  # over 100 missions it takes four
    found = at_end("active", rows, session_events=[(DEGRADED, sixtieth), *late])
    assert (found.caution, found.value, found.threshold) == ("WATCH", 3, 3)
    before = at_end("active", rows, session_events=[(DEGRADED, sixtieth - MICROSECOND), *late])
    assert before.caution == "HEALTHY"
    assert "degraded 3 times in the window" in before.sentence


def test_a_degradation_at_the_windows_first_moment_is_in_it() -> None:
    start = NOON - timedelta(hours=3)
    window = RolloutWindow(LANE, start=start, as_of=NOON)
    rows, events = completed(60, -3600.0), [(DEGRADED, NOON - timedelta(hours=2))] * 2  # before the first mission
    for first, degraded in ((start, 3), (start - MICROSECOND, 2)):
        metrics = metrics_of(rows, session=SESSION, session_events=[(DEGRADED, first), *events], window=window)
        assert metrics.degraded_events == degraded
        found = judged("session", metrics)
        assert found.caution == ("WATCH" if degraded == 3 else "HEALTHY")  # a Poisson limit of 3 for 60 missions
        assert found.brief == ("session degraded often (3 >= 3)" if degraded == 3 else "session active, degraded 2 < 3")


def test_a_degraded_event_without_a_readable_time_counts() -> None:
    late = [(DEGRADED, NOON - timedelta(minutes=10))] * 2
    rows = completed(60, -3600.0)
    assert at_end("active", rows, session_events=[*late, (DEGRADED, None)]).caution == "WATCH"
    assert at_end("active", rows, session_events=[*late, ("vp.session.resumed", None)]).caution == "HEALTHY"


@pytest.mark.parametrize("n", [1, 2, 24, 25, 72, 73, 300])
def test_degradations_over_the_whole_window_are_the_poissons(n: int) -> None:
    limit = next(k for k in range(1, 20) if poisson.sf(k - 1, 0.006 * n) <= 0.01)
    spread = [NOON - timedelta(seconds=9000 - at) for at in range(limit)]  # the oldest missions' time
    for number, caution in ((limit - 1, "HEALTHY"), (limit, "WATCH")):
        found = at_end("active", completed(n), session_events=[(DEGRADED, moment) for moment in spread[:number]])
        assert found.caution == caution, number
        if caution == "WATCH":
            assert (found.value, found.threshold, found.unit) == (limit, limit, "count")


def test_no_session_row_although_missions_exist() -> None:
    found = judged("session", metrics_of([mission()]))
    assert (found.caution, found.value, found.brief) == ("WATCH", None, "no session row")
    assert judged("session", bare(session=None, fallback={"missions_considered": 3})).caution == "WATCH"
    assert judged("session", bare(session=None)).caution is None
    assert judged("session", bare(session=None, fallback={"missions_considered": 0})).caution is None
    nameless = metrics_of([mission(mission_id="")])
    assert nameless.fallback.missions_considered == 0
    assert judged("session", nameless).caution == "WATCH"


def test_session_that_the_source_does_not_tell_about_is_not_assessed() -> None:
    assert judged("session", bare()).caution is None
    known = judged("session", bare(session={"status": "active"}, fallback={"missions_considered": 3}))
    assert known.caution is None
    assert "the session is active" in known.sentence
    gone = bare(session={"status": "degraded"}, fallback={"missions_considered": 3})
    assert judged("session", gone).caution == "WATCH"


def test_a_stale_heartbeat_never_gates() -> None:
    old = (NOON - timedelta(hours=3)).isoformat()
    metrics = metrics_of([mission()], session=SESSION | {"last_heartbeat_at": old})
    assert metrics.session is not None
    assert metrics.session["stale"] is True
    assert judged("session", metrics).caution == "HEALTHY"


def test_a_hostile_status_stays_on_its_line() -> None:
    found = at_end("up\x1b[31m\n" + "x" * 500)
    assert found.sentence.isprintable()
    assert len(found.brief) < 100


# --- rolling_fallback


@pytest.mark.parametrize(
    ("older", "newest_20", "caution", "value"),
    [
        (0, 2, "HEALTHY", 0.10),  # over, not at
        (0, 3, "WATCH", 0.15),
        (9, 2, "HEALTHY", 0.10),
        (0, 0, "HEALTHY", 0.0),
    ],
)
def test_rolling_fallback_looks_at_the_newest_twenty(older: int, newest_20: int, caution: str, value: float) -> None:
    rows = [mission(-9000.0 + at, fallback=at < older) for at in range(30)]
    rows += [mission(-900.0 + at, fallback=at < newest_20) for at in range(20)]
    found = judged("rolling_fallback", metrics_of(rows))
    assert (found.gate, found.unit, found.caution) == ("rolling_fallback", "share", caution)
    assert (found.value, found.threshold) == (value, 0.10)
    assert ("which exceeds the 10 % revert guardrail." in found.sentence) == (caution == "WATCH")
    assert ("within the 10 % revert guardrail." in found.sentence) == (caution == "HEALTHY")


def test_rolling_fallback_takes_twenty_missions_with_an_id() -> None:
    fell_back = [mission(-900.0 + at, fallback=True) for at in range(19)]
    assert judged("rolling_fallback", metrics_of(fell_back)).caution is None
    nameless = [mission(-800.0 + at, mission_id="") for at in range(30)]
    assert judged("rolling_fallback", metrics_of(fell_back + nameless)).caution is None
    assert judged("rolling_fallback", metrics_of([*fell_back, mission(-700.0), *nameless])).value == 0.95
    assert judged("rolling_fallback", bare()).caution is None


# --- recent_change


def recent(older: int, newest: Sequence[bool], **columns: Any) -> Metrics:
    """So many clean missions, and then these, which fell back or not."""
    flags = [False] * older + list(newest)
    return metrics_of([mission(-9000.0 + at, fallback=flag, **columns) for at, flag in enumerate(flags)])


def fallbacks_needed(size: int, suffixes: int) -> int:
    """The fewest fallbacks whose Clopper–Pearson lower bound at 1 - 0.01 / suffixes reaches 0.05, by SciPy."""
    return next(k for k in range(1, size + 1) if beta.ppf(0.01 / suffixes, k, size - k + 1) >= 0.05)


@pytest.mark.parametrize(
    ("n", "size", "suffixes", "by_hand"),
    [(20, 20, 1, 5), (39, 20, 1, 5), (40, 20, 2, 5), (40, 40, 2, 7), (80, 40, 3, 8), (80, 80, 3, 11), (160, 20, 4, 6)],
)
def test_recent_change_at_the_smallest_count_that_shows_it(n: int, size: int, suffixes: int, by_hand: int) -> None:
    needed = fallbacks_needed(size, suffixes)
    assert needed == by_hand
    for fell_back, caution in ((needed - 1, "HEALTHY"), (needed, "WATCH")):
        # spread over the first half of this stretch, so that no shorter one has them
        newest = [True] * fell_back + [False] * (size - fell_back)
        found = judged("recent_change", recent(n - size, newest))
        assert (found.gate, found.unit, found.threshold, found.caution) == ("recent_change", "share", 0.05, caution)
        if caution == "WATCH":
            assert (found.value, found.brief) == (needed / size, f"recent change ({needed}/{size} >= 0.050 shown)")


def test_a_recent_change_whose_bound_is_exactly_the_watch_line_is_shown() -> None:
    bound = lower_bound(5, 20, 0.99)
    assert bound == pytest.approx(beta.ppf(0.01, 5, 16))
    metrics = recent(0, [True] * 5 + [False] * 15)
    for watch, caution in ((bound, "WATCH"), (math.nextafter(bound, 1.0), "HEALTHY")):
        assert judged("recent_change", metrics, Policy.load("playbook", fallback_watch=watch)).caution == caution


def test_recent_change_sees_what_the_whole_windows_rate_hides() -> None:
    metrics = recent(180, [True] * 6 + [False] * 14)
    assert judged("fallback_rate", metrics).caution == "HEALTHY"  # 6 of 200 are 3 %
    assert judged("recent_change", metrics).caution == "WATCH"
    old = metrics_of([mission(-9000.0 + at, fallback=at < 6) for at in range(200)])
    assert judged("recent_change", old).caution == "HEALTHY"


def test_recent_change_needs_twenty_settled_missions_that_could_have_recorded_a_fallback() -> None:
    assert judged("recent_change", recent(0, [True] * 19)).caution is None
    assert judged("recent_change", recent(0, [False] * 20)).caution == "HEALTHY"
    young = [mission(-60.0 - at, run=None, status="running") for at in range(9)]
    fell_back = [mission(-9000.0 + at, fallback=True) for at in range(19)]
    assert judged("recent_change", metrics_of(fell_back + young)).caution is None
    claimed = [mission(-900.0 + at, worker_id="w1") for at in range(200)]
    assert judged("recent_change", metrics_of(fell_back + claimed)).caution is None
    # one fallback among the claimed ones could be recorded: the twentieth
    recorded = mission(-500.0, worker_id="w1", fallback=True)
    assert judged("recent_change", metrics_of([*fell_back, *claimed, recorded])).caution == "WATCH"
    assert judged("recent_change", bare()).caution is None


# --- slow_share


def slow_and_fast(slow: int, fast: int, seconds: float = 90.001) -> Metrics:
    rows = [mission(-9000.0 + at, run=seconds) for at in range(slow)]
    return metrics_of(rows + [mission(-6000.0 + at, run=90.0) for at in range(fast)])


@pytest.mark.parametrize(
    ("slow", "fast", "caution", "value"),
    [
        (1, 19, "HEALTHY", 0.05),
        (3, 17, "HEALTHY", 0.15),  # k*(20, 0.02, 0.05) is 3: more than that trip
        (4, 16, "WATCH", 0.20),
        (6, 94, "HEALTHY", 0.06),  # k*(100) is 6
        (7, 93, "WATCH", 0.07),
        (10, 190, "HEALTHY", 0.05),  # over 5 %, not at; k*(200) is 8
        (11, 189, "WATCH", 0.055),
        (5, 14, None, None),  # of 19 nothing is said
        (5, 15, "WATCH", 0.25),
        (0, 20, "HEALTHY", 0.0),
    ],
)
def test_slow_share(slow: int, fast: int, caution: str | None, value: float | None) -> None:
    assert [chance_limit(m, 0.02, 0.05) for m in (20, 100, 200)] == [3, 6, 8]
    found = judged("slow_share", slow_and_fast(slow, fast))
    assert (found.gate, found.unit, found.caution) == ("slow_share", "share", caution)
    assert (found.value, found.threshold) == (value, 0.05)


def test_a_slow_share_that_does_not_trip_says_why() -> None:
    at = judged("slow_share", slow_and_fast(10, 190))
    assert at.brief == "slow share within target (0.050 <= 0.050)"
    assert at.sentence.endswith("took longer, within the limit of 5 %.")
    by_chance = judged("slow_share", slow_and_fast(6, 94))
    assert by_chance.brief == "slow share within target (0.060 > 0.050)"
    assert by_chance.sentence.endswith("but by no more than chance explains.")


def test_as_long_as_the_line_is_not_slower() -> None:
    assert judged("slow_share", slow_and_fast(10, 10, seconds=90.0)).value == 0.0
    assert judged("slow_share", slow_and_fast(10, 10, seconds=90.000001)).value == 0.5


def test_a_mission_has_matured_when_it_had_the_line_to_run() -> None:
    rows = [mission(-3600.0 + at) for at in range(19)]
    young = mission(-91.0, wait=1.0, run=10.0)  # started 90 s ago
    assert judged("slow_share", metrics_of([*rows, young])).caution == "HEALTHY"
    younger = young | {"started_at": young["started_at"] + MICROSECOND}
    assert judged("slow_share", metrics_of([*rows, younger])).caution is None


def test_slow_share_counts_running_missions_and_leaves_out_the_young_and_those_cancelled_soon() -> None:
    rows = [mission(-3600.0 + at) for at in range(16)]
    rows += [mission(-400.0 - at, run=None, status="running") for at in range(4)]  # 399 s so far: slow
    rows += [mission(-80.0, run=60.0), mission(-70.0, run=None, status="running")]  # started under 90 s ago
    rows += [mission(-2000.0, run=5.0, status="cancelled"), mission(-2100.0, run=500.0, status="cancelled")]
    found = judged("slow_share", metrics_of(rows))
    assert (found.caution, found.value) == ("WATCH", 5 / 21)  # four running, and the one cancelled after 500 s
    assert found.sentence == (
        "5 of 21 missions (23.8 %) that started at least 90 s ago took longer, over the limit of 5 %; 1 mission "
        "cancelled before that is left out."
    )


def test_slow_share_without_rows_or_a_moment_is_not_assessed() -> None:
    assert judged("slow_share", bare()).caution is None
    assert judged("slow_share", replace(slow_and_fast(9, 20), generated_at=None)).caution is None


# --- freshness


def seen(activity: timedelta, newest: timedelta, window: RolloutWindow | None = None) -> Reason:
    """The lane's heartbeat and its newest mission, so long before noon."""
    row = SESSION | {"last_heartbeat_at": (NOON - activity).isoformat(), "updated_at": (NOON - newest).isoformat()}
    created = -newest.total_seconds()
    columns = {"started_at": None, "completed_at": None}
    return judged("freshness", metrics_of([mission(created, **columns)], session=row, window=window))


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("activity", "newest", "caution", "value", "threshold"),
    [
        (DAY, 2 * DAY, "WATCH", 86400.0, 86400.0),
        (DAY - MICROSECOND, 2 * DAY, "HEALTHY", 86399.999999, 86400.0),
        (timedelta(0), 7 * DAY, "HEALTHY", 0.0, 86400.0),
        (timedelta(0), 7 * DAY + MICROSECOND, "WATCH", 604800.000001, 604800.0),
        (8 * DAY, 9 * DAY, "WATCH", 691200.0, 86400.0),
    ],
)
def test_freshness_of_an_open_window(
    activity: timedelta, newest: timedelta, caution: str, value: float, threshold: float
) -> None:
    found = seen(activity, newest)
    assert (found.gate, found.unit, found.caution) == ("freshness", "seconds", caution)
    assert (found.value, found.threshold) == (value, threshold)


def test_any_row_is_a_sign_of_life_and_what_comes_later_is_not() -> None:
    def silent(session: Mapping[str, Any] | None = None, **row: Any) -> Any:
        old = {"status": "active", "updated_at": (NOON - 5 * DAY).isoformat()}
        metrics = metrics_of([mission(-5 * 86400.0, **row)], session=old | dict(session or {}))
        return judged("freshness", metrics).value

    assert silent() == 5 * 86400.0 - 11.0  # its own end
    assert silent(updated_at=NOON - timedelta(hours=2)) == 7200.0
    assert silent(updated_at=NOON + timedelta(seconds=1)) == 5 * 86400.0 - 11.0
    assert silent({"last_heartbeat_at": (NOON - timedelta(hours=1)).isoformat()}) == 3600.0
    assert silent({"last_heartbeat_at": (NOON + timedelta(hours=1)).isoformat()}) == 0.0  # it lived at noon, too
    events = [(DEGRADED, NOON - timedelta(minutes=1))]
    assert judged("freshness", metrics_of([mission(-86400.0 * 5)], session_events=events)).value == 60.0


@pytest.mark.parametrize(
    ("activity", "caution", "value"),
    [
        (85 * DAY, "WATCH", 432000.0),  # five days before the window's end
        (81 * DAY, "WATCH", 86400.0),
        (81 * DAY - MICROSECOND, "HEALTHY", None),
        (80 * DAY, "HEALTHY", None),
        (DAY, "HEALTHY", None),  # the source went on after the window
    ],
)
def test_freshness_of_a_closed_window_counts_back_from_its_end(
    activity: timedelta, caution: str, value: float | None
) -> None:
    window = RolloutWindow(LANE, start=NOON - 90 * DAY, end=NOON - 80 * DAY, as_of=NOON)
    found = seen(activity, 86 * DAY, window)
    assert (found.caution, found.value, found.threshold) == (caution, value, 86400.0)
    if caution == "HEALTHY":
        assert found.brief == "closed window"  # its newest mission may be of any age
    else:
        assert "before the window's end: is this the right database?" in found.sentence


def test_a_window_that_ends_now_is_closed_and_one_that_ends_later_is_open() -> None:
    until_now = RolloutWindow(LANE, start=NOON - 90 * DAY, end=NOON, as_of=NOON)
    assert (seen(DAY, 85 * DAY, until_now).caution, seen(DAY / 2, 85 * DAY, until_now).caution) == ("WATCH", "HEALTHY")
    ahead = RolloutWindow(LANE, start=NOON - 90 * DAY, end=NOON + MICROSECOND, as_of=NOON)
    old = seen(DAY / 2, 85 * DAY, ahead)
    assert (old.caution, old.value) == ("WATCH", 85 * 86400.0)  # open: its newest mission is old
    assert "before this judgement" in seen(85 * DAY, 85 * DAY, ahead).sentence


def test_freshness_without_a_moment_is_not_assessed() -> None:
    assert judged("freshness", bare()).caution is None
    assert judged("freshness", replace(lane(ok(3)), last_activity=None)).caution is None
    assert judged("freshness", replace(lane(ok(3)), generated_at=None)).caution is None


def test_freshness_of_a_snapshot_that_lists_no_missions_is_its_heartbeats() -> None:
    row = {"status": "active", "last_heartbeat_at": (NOON - timedelta(minutes=5)).isoformat()}
    found = judged("freshness", bare(generated_at=NOON.isoformat(), session=row))
    assert (found.caution, found.value) == ("HEALTHY", 300.0)


# --- data_quality


@pytest.mark.parametrize(
    ("quality", "code"),
    [
        ({"duplicate_missions": 1}, "duplicate missions"),
        ({"truncated_events": True}, "truncated events"),
        ({"backwards_clocks": 3}, "backwards clocks"),  # of 20 missions
        ({"ends_before_window": NOON}, "ends before window"),
        ({"orphan_signals": 1}, "orphan signals"),  # the only signal there is
        ({"beyond_as_of": 1}, "beyond as of"),
    ],
)
def test_data_quality_vetoes(quality: Mapping[str, Any], code: str) -> None:
    rows = [mission(-900.0 + at) for at in range(20)]
    found = judged("data_quality", metrics_of(rows, quality=DataQuality(**quality)))
    assert (found.gate, found.unit, found.value, found.threshold) == ("data_quality", "count", 1, 1)
    assert (found.caution, found.brief) == ("WATCH", f"data quality ({code})")


def test_data_quality_counts_its_vetoes() -> None:
    quality = DataQuality(duplicate_missions=7, beyond_as_of=2)
    found = judged("data_quality", metrics_of([mission()], quality=quality))
    assert (found.value, found.brief) == (2, "data quality (duplicate missions, beyond as of)")


@pytest.mark.parametrize("quality", [{}, {"backwards_clocks": 2}, {"orphan_events": 9}, {"truncated_events": False}])
def test_data_quality_without_a_veto(quality: Mapping[str, Any]) -> None:
    rows = [mission(-900.0 + at) for at in range(20)]  # 2 of 20 are exactly a tenth
    found = judged("data_quality", metrics_of(rows, quality=DataQuality(**quality)))
    assert (found.value, found.caution) == (0, "HEALTHY")
    assert ("no events seem to be missing" in found.sentence) == ("truncated_events" in quality)


@pytest.mark.parametrize(
    ("unaccounted", "of", "veto"),
    [
        (2, 40, False),  # exactly 5 %
        (2, 39, True),
        (3, 59, True),
        (3, 60, False),
        (1, 10, False),  # one alone
        (2, 10, True),
        (1, 1, False),
    ],
)
def test_data_quality_of_missions_that_nobody_can_account_for(unaccounted: int, of: int, veto: bool) -> None:
    rows = [mission(-900.0 + at, status="unknown" if at < unaccounted else "completed") for at in range(of)]
    found = judged("data_quality", metrics_of(rows))
    assert found.caution == ("WATCH" if veto else "HEALTHY")
    if veto:
        assert found.brief == "data quality (unaccounted)"
        assert f"neither a known status nor a terminal event ({unaccounted})" in found.sentence
    else:
        assert f"all but {unaccounted} are accounted for" in found.sentence


@pytest.mark.parametrize(
    ("undated", "of", "veto"),
    [
        (1, 10, False),  # one alone
        (2, 40, False),  # exactly 5 % of all, dated or not
        (2, 39, True),
        (3, 60, False),
        (3, 59, True),
    ],
)
def test_data_quality_of_missions_without_a_creation_time(undated: int, of: int, veto: bool) -> None:
    rows = [mission(-900.0 + at) for at in range(of - undated)]
    found = judged("data_quality", metrics_of(rows, quality=DataQuality(missions_without_created_at=undated)))
    assert found.caution == ("WATCH" if veto else "HEALTHY")
    if veto:
        assert found.brief == "data quality (missions without created at)"


@pytest.mark.parametrize(
    "columns",
    [
        {"mission_id": ""},
        {"created_at": None},
        {"created_at": NOON + MICROSECOND},
        {"ended_event": "vp.mission.failed"},
        {"events": 0, "ended_event": None},
    ],
)
def test_each_way_to_be_unaccounted_for_vetoes(columns: dict[str, Any]) -> None:
    rows = [mission(-900.0 + at) for at in range(20)] + [mission(-90.0 + at) | columns for at in range(2)]
    assert judged("data_quality", metrics_of(rows)).brief == "data quality (unaccounted)"


@pytest.mark.parametrize(
    ("orphans", "of", "veto"), [(1, 50, False), (1, 49, True), (2, 100, False), (3, 100, True), (0, 0, False)]
)
@pytest.mark.parametrize("kind", ["fallback", "failed"])
def test_data_quality_of_signals_without_a_mission(orphans: int, of: int, veto: bool, kind: str) -> None:
    metrics = metrics_of([mission(-900.0 + at) for at in range(20)], quality=DataQuality(orphan_signals=orphans))
    counts = {f"vp.mission.{kind}": of - orphans, "vp.mission.dispatched": 500}
    found = judged("data_quality", replace(metrics, event_counts=counts))
    assert found.caution == ("WATCH" if veto else "HEALTHY")


FELL_BACK = {"vp.mission.dispatched": 4, "vp.mission.completed": 4, "vp.mission.fallback": 1}


def ended(completed_missions: int, **events: int) -> dict[str, Any]:
    """So many completed missions of a snapshot, and all their events by name."""
    counts = {f"vp.mission.{name}": count for name, count in events.items()}
    return {"mission_counts": {"completed": completed_missions}, "event_counts": counts, "events_complete": True}


def stated(n: Any, k: Any, rate: Any, **more: Any) -> Metrics:
    share = {"missions_considered": n, "missions_with_fallback": k, "rate": rate}
    return metrics_from_snapshot({"fallback": share, "latency_seconds": {}} | more)


@pytest.mark.parametrize(
    ("metrics", "contradicts"),
    [
        (lambda: stated(4, 4, 1.0), False),
        (lambda: stated(4, 5, 1.0), True),
        (lambda: stated(3, 1, 0.333), False),  # rounded to three digits
        (lambda: stated(3, 1, 0.334), True),
        (lambda: stated(100, 0, 0.0006), False),
        (lambda: stated(100, 0, 0.00061), True),
        (lambda: stated(0, 0, 0.0), False),
        (lambda: stated(0, 0, 0.5), True),
        (lambda: stated(4, None, 0.5), False),  # unknown is no contradiction
        (lambda: stated(4, 1, None), False),
        (lambda: stated(4, 0, 0.0, mission_counts={"completed": 4}), False),
        (lambda: stated(4, 0, 0.0, mission_counts={"completed": 5}), False),  # a row without an id
        (lambda: stated(4, 0, 0.0, mission_counts={"completed": 3}), True),
        (lambda: stated(4, 0, 0.0, mission_counts={"completed": 4}, latency_seconds={"count": 4}), False),
        (lambda: stated(4, 0, 0.0, mission_counts={"completed": 4}, latency_seconds={"count": 5}), True),
        (lambda: stated(4, 2, 0.5, event_counts={"vp.mission.fallback": 2}, events_complete=True), False),
        (lambda: stated(4, 2, 0.5, event_counts={"vp.mission.fallback": 1}, events_complete=True), True),
        (lambda: stated(4, 2, 0.5, event_counts={"vp.mission.dispatched": 4}, events_complete=True), True),
        (lambda: stated(4, 2, 0.5, event_counts={}, events_complete=True), False),
        (lambda: stated(4, 0, 0.0, event_counts=FELL_BACK, events_complete=True), True),
        (lambda: stated(4, 0, 0.0, event_counts=FELL_BACK), False),  # whether these are all is unknown
        (lambda: stated(4, 0, 0.0, **ended(4, completed=4)), False),
        (lambda: stated(4, 0, 0.0, **ended(4)), True),  # ended without an event
        (lambda: stated(4, 0, 0.0, **ended(4, completed=3)), True),
        (lambda: stated(4, 0, 0.0, **ended(4, dispatched=4, failed=4)), True),
        (lambda: stated(4, 0, 0.0, **ended(4, completed=4, failed=1)), False),  # failed, and completed after all
        (lambda: stated(4, 0, 0.0, **ended(4, completed=3, failed=1)), True),
        (lambda: stated(100, 0, 0.0, **ended(100, completed=100, failed=6)), False),  # after all, a few of them
        (lambda: stated(100, 0, 0.0, **ended(100, completed=100, failed=7)), True),
        (lambda: stated(4, 0, 0.0, latency_seconds={"p50_seconds": 5.0, "p95_seconds": 5.0}), False),
        (lambda: stated(4, 0, 0.0, latency_seconds={"p50_seconds": 5.001, "p95_seconds": 5.0}), True),
        (lambda: stated(100, 0, 0.0, **ended(100, completed=95, dispatched=100)), False),
        (lambda: stated(100, 0, 0.0, **ended(100, completed=94, dispatched=100)), True),
        (lambda: stated(4, 0, 0.0, latency_seconds={"p95_seconds": 5.0, "max_seconds": 5.0}), False),
        (lambda: stated(4, 0, 0.0, latency_seconds={"p95_seconds": 5.001, "max_seconds": 5.0}), True),
    ],
)
def test_counts_that_contradict_each_other_are_a_veto(metrics: Callable[[], Metrics], contradicts: bool) -> None:
    found = judged("data_quality", metrics())
    assert bool(contradiction(metrics())) == contradicts
    assert found.caution == ("WATCH" if contradicts else None)
    if contradicts:
        assert found.brief == "data quality (contradiction)"
        assert found.sentence.startswith("The source contradicts itself: it counts ")


def test_listed_missions_that_contradict_the_stated_fallbacks_are_a_veto() -> None:
    metrics = metrics_of([mission(-60.0 - at, fallback=at < 2) for at in range(60)])
    assert contradiction(metrics) == ""
    assert contradiction(replace(metrics, fallback=replace(metrics.fallback, missions_with_fallback=1, rate=1 / 60)))


def test_a_count_that_is_no_count_makes_all_counts_unknown() -> None:
    for count in (-1, 1.5, "3", None, True):
        metrics = stated(4, 0, 0.0, mission_counts={"completed": 4, "failed": count})
        assert metrics.mission_counts is None
        assert judged("failures", metrics).caution is None
    assert stated(4, 0, 0.0, mission_counts={"completed": 3, "failed": 1}).mission_counts is not None


def test_data_quality_of_a_bare_mapping_is_not_assessed() -> None:
    assert judged("data_quality", bare()).caution is None


@pytest.mark.parametrize(("names", "ending"), [(6, "s5 (1)."), (7, "s5 (1) and 1 more.")])
def test_six_names_are_listed_and_more_are_counted(names: int, ending: str) -> None:
    statuses = {f"s{at}": 1 for at in range(names)}
    [note] = judge_quality(metrics_of([mission()], quality=DataQuality(unknown_statuses=statuses)))
    assert note.sentence.endswith(ending)


def test_statuses_of_a_snapshot_that_are_none_are_unaccounted_for() -> None:
    found = judged("data_quality", stated(20, 0, 0.0, mission_counts={"completed": 18, "exploded": 2}))
    assert found.caution == "WATCH"
    assert found.sentence == "2 of 20 missions (10.0 %) cannot be accounted for: status exploded (2)."


# --- every gate

WINDOWS: dict[str, Callable[[], Metrics]] = {
    "clean": lambda: metrics_of(completed(60, -3600.0), session=SESSION),
    "closed": lambda: metrics_of(
        completed(60),
        session=SESSION,
        window=RolloutWindow(LANE, start=NOON - DAY, end=NOON - timedelta(hours=1), as_of=NOON),
    ),
    "empty": lambda: metrics_of([]),
    "one failed": lambda: lane(["failed"]),
    "failing": lambda: lane([*ok(40), *["failed"] * 4]),
    "failed among the newest": lambda: lane(["failed", "completed", "failed"]),
    "falling back": lambda: recent(0, [True] * 9 + [False] * 15),
    "hanging": lambda: metrics_of([hanging(5000.0 + at) for at in range(30)]),
    "slow": lambda: slow_and_fast(15, 15),
    "degraded": lambda: metrics_of([mission()], session=SESSION | {"status": "degraded"}),
    "degraded often": lambda: metrics_of([mission()], session=SESSION, session_events=[(DEGRADED, NOON)] * 3),
    "silent": lambda: metrics_of([mission(-90.0 * 86400)]),
    "mission old": lambda: metrics_of([mission(-90.0 * 86400)], session=SESSION),
    "broken": lambda: metrics_of([mission()], quality=DataQuality(duplicate_missions=3)),
    "bare": bare,
}


@cache
def window_of(name: str) -> Metrics:
    return WINDOWS[name]()


BY_UNIT: dict[str, Callable[[Any], bool]] = {
    "share": lambda value: isinstance(value, float) and 0 <= value <= 1,
    "seconds": lambda value: isinstance(value, float) and value >= 0,
    "count": lambda value: isinstance(value, int) and value >= 0,
    "status": lambda value: isinstance(value, str),
}


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_every_reason_of_a_gate_has_its_unit(gate: Gate) -> None:
    cautions = set()
    for name in WINDOWS:
        for policy in (POLICY, SUSTAINED):
            if policy.gate(gate.name) is None and gate.table is None:
                continue
            found = judged(gate.name, window_of(name), policy)
            cautions.add(found.caution)
            assert found.gate == gate.name
            assert found.sentence.endswith((".", "?")), name
            assert found.value is None or BY_UNIT[found.unit](found.value), (name, found)
            assert found.threshold is None or BY_UNIT[found.unit](found.threshold), (name, found)
            assert found.brief
            if found.caution is None:
                assert found.value is None
                assert found.sentence.startswith("Not assessed: "), name
    assert "HEALTHY" in cautions
    assert cautions & {"WATCH", "FORCE_FALLBACK", "NO_TRAFFIC"}  # these windows trip each of them


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_every_gate_says_when_it_trips_and_what_to_look_at(gate: Gate) -> None:
    assert BY_NAME[gate.name] is gate
    assert gate.unit in BY_UNIT
    for text in (gate.trips, gate.look):
        assert len(text) > 15
        assert not text.endswith(".")
        assert text.isprintable()
    metrics = window_of("clean")
    behind = gate.behind(metrics, POLICY.gate(gate.name), POLICY)
    assert list(behind.index) == list(metrics.missions.index)
    assert not behind.any()
    assert isinstance(gate.limits(POLICY.gate(gate.name), POLICY), str)


THRESHOLDS = {
    "traffic": {"min_missions"},
    "fallback_rate": {"fallback_watch", "fallback_critical", "require_evidence"},
    "latency": {"p95_watch_seconds", "p95_critical_seconds"},
    "slow_share": {"p95_critical_seconds"},
}


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_every_gate_has_a_row_in_the_docs_with_all_its_keys(gate: Gate) -> None:
    page = (Path(__file__).parents[1] / "docs" / "gates.md").read_text("utf-8")
    row = re.search(rf"^\| `{gate.name}` \|.*$", page, re.MULTILINE)
    assert row, f"docs/gates.md has no row that begins with | `{gate.name}` |"
    written = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", row[0]))))
    keys = set(gate.settings.model_fields if gate.settings else ()) | THRESHOLDS.get(gate.name, set())
    assert keys <= written, f"{gate.name}: {keys - written} not in its row"
    assert f"| {gate.trips} |" in row[0]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("gate", some_of([gate for gate in GATES if gate.settings], 3), ids=lambda gate: gate.name)
def test_every_gate_can_be_switched_off_by_a_line(
    gate: Gate, profile: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "without.toml"
    path.write_text(f'name = "without"\nversion = "1"\n[{profile}.gates]\n{gate.name} = false\n', "utf-8")
    policy, base = Policy.load(path, profile), Policy.load("playbook", profile)
    assert policy.gate(gate.name) is None
    assert policy.gates.model_copy(update={gate.name: base.gate(gate.name)}) == base.gates
    assert policy.hash != base.hash or base.gate(gate.name) is None
    for name in WINDOWS:
        found = judge(window_of(name), policy)
        reasons = [*found.reasons, *found.passed, *found.not_assessed]
        if gate.table is None:
            assert gate.name not in {reason.gate for reason in reasons}
    # what `policy show` prints decides the same
    copy = tmp_path / "copy.toml"
    copy.write_text(run_command(capsys, "policy", "show", str(path)).out, "utf-8")
    for one in PROFILES:
        assert Policy.load(copy, one).hash == Policy.load(path, one).hash


TOY = """
import sys
from pathlib import Path

import pandas as pd
from pydantic import Field

from vpanalysis.analysis import gates
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings


class MondayGate(Settings):
    most: int = Field(default=1, ge=0)


def behind(metrics, settings, policy):
    return metrics.missions["created_at"].dt.dayofweek == 0


def judge(metrics, settings, policy):
    n = int(behind(metrics, settings, policy).sum())
    status = "WATCH" if n > settings.most else "HEALTHY"
    return Finding(status, n, settings.most, f"Mondays ({n})", f"{n} missions on a Monday.")


gate = Gate("mondays", "count", "on Mondays", "wait for Tuesday", judge, MondayGate, behind)
gates.GATES += (gate,)
gates.BY_NAME[gate.name] = gate

from lane_frames import LANE, NOON, metrics_of, mission  # 2026-02-16 is a Monday

from vpanalysis.analysis.contributors import missions_behind
from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.policy import Policy

session = {"vp_id": LANE, "status": "active", "updated_at": NOON.isoformat()}
rows = [mission(-86400.0 - 60 * at, mission_id=f"sunday {at}") for at in range(30)]
rows += [mission(-60.0 * at - 60, mission_id=f"monday {at}") for at in range(2)]
metrics, policy = metrics_of(rows, session=session), Policy.load("playbook")
verdict = classify(metrics, policy)
assert verdict.lane_status == "WATCH", verdict.reasons
[reason] = verdict.reasons
assert (reason.gate, reason.unit, reason.value, reason.threshold) == ("mondays", "count", 2, 1)
assert verdict.next_step == "Hold this stage, and wait for Tuesday."
found = missions_behind(verdict, metrics, policy)
assert list(found["mission_id"]) == ["monday 0", "monday 1"], found
assert set(found["gates"]) == {"mondays"}

path = Path(sys.argv[1]) / "own.toml"
head = 'name = "own"\\nversion = "1"\\n'
for body, status in (
    ("[rollout.gates.mondays]\\nmost = 2\\n", "HEALTHY"),
    ("[rollout.gates]\\nmondays = false\\n", "HEALTHY"),
    ("[rollout.gates]\\nmondays = true\\n", "WATCH"),
):
    path.write_text(head + body, "utf-8")
    own = Policy.load(path)
    assert own.hash == policy.hash or status == "HEALTHY"
    assert classify(metrics, own).lane_status == status, body
assert classify(metrics, Policy.load("capture")).lane_status == "HEALTHY"
"""


def test_a_gate_in_the_registry_needs_nothing_else(tmp_path: Path) -> None:
    """In a process of its own: policies take their keys from the registry when they are imported."""
    command = [sys.executable, "-c", TOY, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parent)
    assert run.returncode == 0, run.stderr
