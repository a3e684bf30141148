"""Each gate on windows built mission by mission, at its edges; counts are by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from lane_frames import LANE, NOON, metrics_from_snapshot, metrics_of, mission

from vpanalysis.analysis import gates
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Reason
from vpanalysis.data.tables import DataQuality

POLICY, SUSTAINED = Policy.load("playbook"), Policy.load("playbook", "sustained")
SESSION = {"vp_id": LANE, "status": "active", "updated_at": NOON.isoformat()}


def judged(name: str, metrics: Metrics, policy: Policy = POLICY) -> Reason:
    """What one gate says under the playbook."""
    on, seconds = policy.gates, policy.p95_critical_seconds
    if name in ("traffic", "fallback_rate", "p95"):
        return getattr(gates, name)(metrics, policy)  # type: ignore[no-any-return]
    if name == "data_quality":
        return gates.data_quality(metrics)
    more = (seconds,) if name in ("latency", "slow_share") else ()
    return getattr(gates, name)(metrics, getattr(on, name), *more)  # type: ignore[no-any-return]


def lane(statuses: Sequence[str], **columns: Any) -> Metrics:
    """Missions a minute apart, the last a minute before noon, with these statuses, oldest first."""
    return metrics_of(
        [mission(-60.0 * (len(statuses) - at), status=status, **columns) for at, status in enumerate(statuses)]
    )


def ok(n: int) -> list[str]:
    return ["completed"] * n


def bare(**parts: Any) -> Metrics:
    return metrics_from_snapshot({"fallback": {}, "latency_seconds": {}} | parts)


# --- the table's rows


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
def test_traffic(considered: int | None, least: int, caution: str, brief: str) -> None:
    found = gates.traffic(
        bare(fallback={"missions_considered": considered}), Policy.load("capture", min_missions=least)
    )
    assert (found.gate, found.value, found.threshold) == ("traffic", considered, max(1, least))
    assert (found.caution, found.brief) == (caution, brief)


@pytest.mark.parametrize(
    ("fell_back", "of", "caution", "brief", "sentence"),
    [
        (
            0,
            52,
            "HEALTHY",
            "fallback rate within target (0.000 < 0.050)",
            "Fallback 0 of 52 (0.0 %) is below the watch",
        ),
        (2, 41, "HEALTHY", "fallback rate within target (0.049 < 0.050)", "line of 5.0 %."),
        (2, 40, "WATCH", "fallback rate elevated (0.050 >= 0.050)", "2 of 40 (5.0 %) is at or above the watch line of"),
        (10, 51, "WATCH", "fallback rate elevated (0.196 >= 0.050)", "10 of 51 (19.6 %) is at or above the watch line"),
        (
            13,
            52,
            "FORCE_FALLBACK",
            "fallback rate high (0.250 >= 0.200)",
            "Fallback 13 of 52 (25.0 %) is at or above the critical line of 20.0 %.",
        ),
        (1, 5, "FORCE_FALLBACK", "fallback rate high (0.200 >= 0.200)", "1 of 5 (20.0 %)"),
        (1, 1, "FORCE_FALLBACK", "fallback rate high (1.000 >= 0.200)", "1 of 1 (100.0 %)"),
    ],
)
def test_fallback_rate(fell_back: int, of: int, caution: str, brief: str, sentence: str) -> None:
    metrics = metrics_of([mission(-60.0 * (at + 1), fallback=at < fell_back) for at in range(of)])
    found = gates.fallback_rate(metrics, POLICY)
    assert (found.gate, found.value, found.caution, found.brief) == ("fallback_rate", fell_back / of, caution, brief)
    assert sentence in found.sentence


@pytest.mark.parametrize("rate", [None, float("nan"), float("inf"), -0.1, "0.3"])
def test_a_fallback_rate_that_is_no_rate_is_unknown(rate: Any) -> None:
    found = gates.fallback_rate(bare(fallback={"missions_considered": 4, "rate": rate}), POLICY)
    assert (found.value, found.caution, found.brief) == (None, "WATCH", "fallback rate unknown")


def test_a_negative_rate_or_p95_in_metrics_is_unknown_too() -> None:
    metrics = lane(ok(3))
    broken = replace(
        metrics,
        fallback=replace(metrics.fallback, rate=-0.1),
        latency_seconds=metrics.latency_seconds.model_copy(update={"p95_seconds": -3.0}),
    )
    assert judged("fallback_rate", broken).brief == "fallback rate unknown"
    assert judged("p95", broken).brief == "p95 latency unknown"
    assert judged("latency", broken).caution is None


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
    assert gates.p95(metrics, POLICY).caution == rollout
    found = gates.p95(metrics, SUSTAINED)
    assert (found.gate, found.caution, found.brief) == ("latency", sustained, brief)


# --- the gates


@pytest.mark.parametrize(
    ("runs", "caution", "in_sentence"),
    [
        ([10.0] * 8 + [90.0] * 2, "WATCH", "and 2 missions took as long"),
        ([10.0] * 8 + [89.9, 95.0], "HEALTHY", "but by 1 mission: it takes 2"),
        ([10.0] * 98 + [95.0] * 2, "HEALTHY", "10.0 s is below the critical line of 90.0 s"),
        ([95.0], "HEALTHY", "but by 1 mission"),
        ([95.0, 96.0], "WATCH", "and 2 missions"),
    ],
)
def test_latency_needs_two_missions_that_slow(runs: list[float], caution: str, in_sentence: str) -> None:
    found = judged("latency", metrics_of([mission(-900.0 * (at + 1), run=run) for at, run in enumerate(runs)]))
    assert (found.gate, found.threshold, found.caution) == ("latency", 90.0, caution)
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
def test_latency_from_a_p95_alone_counts_what_its_rank_leaves_above(count: int | None, caution: str | None) -> None:
    metrics = bare(latency_seconds={"count": count, "p95_seconds": 120.0})
    assert judged("latency", metrics).caution == caution


@pytest.mark.parametrize(
    ("statuses", "caution", "value", "threshold"),
    [
        (ok(27) + ["failed"] * 2, "HEALTHY", 2 / 29, 0.10),
        ([*ok(13), "failed", *ok(13), "failed", "failed"], "WATCH", 3 / 29, 0.10),
        (["failed", *ok(13), "failed", *ok(14), "failed"], "WATCH", 0.10, 0.10),  # 3 of 30, to the letter
        (["failed", *ok(13), "failed", *ok(15), "failed"], "HEALTHY", 3 / 31, 0.10),
        (["failed", *ok(5), "failed"], "HEALTHY", 2 / 7, 0.10),  # two are too few
        ([*ok(40), "failed", "timed_out", "failed", *ok(17)], "WATCH", 3, 3),  # in a row, within the newest 20
        ([*ok(40), "failed", "timed_out", "failed", *ok(18)], "HEALTHY", 3 / 61, 0.10),  # the first is the 21st
        ([*ok(40), "failed", "cancelled", "failed", "cancelled", "failed"], "WATCH", 3, 3),  # cancelled ends no run
        ([*ok(40), "failed", "completed", "failed", "failed"], "HEALTHY", 3 / 44, 0.10),
        (["failed"] * 3 + ["cancelled"] * 97, "WATCH", 1.0, 0.10),  # and counts in no share
        (["failed"], "HEALTHY", 1.0, 0.10),
    ],
)
def test_failures(statuses: list[str], caution: str, value: float, threshold: float) -> None:
    found = judged("failures", lane(statuses))
    assert (found.gate, found.caution, found.value, found.threshold) == ("failures", caution, value, threshold)


@pytest.mark.parametrize(
    ("statuses", "caution", "threshold"),
    [
        ([*ok(3), *["failed"] * 3], "FORCE_FALLBACK", 0.50),
        ([*ok(4), *["failed"] * 3], "WATCH", 0.10),
        (["completed", *["failed"] * 2], "HEALTHY", 0.10),  # two of three, but the gate has not tripped
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
    hidden = [mission(-100.0 - at, status="failed", ended_at=None, completed_at=None) for at in range(3)]
    assert judged("failures", metrics_of(rows + hidden)).value == 3


def test_failures_from_counts_alone() -> None:
    found = judged("failures", bare(mission_counts={"completed": 40, "failed": 3, "timed_out": 2, "cancelled": 9}))
    assert (found.caution, found.value) == ("WATCH", 5 / 45)
    assert "in a row" not in found.sentence
    few = judged("failures", bare(mission_counts={"completed": 40, "failed": 3}))
    assert (few.caution, few.value) == ("HEALTHY", 3 / 43)
    assert "how many in a row is unknown" in few.sentence


def test_failures_without_data_or_without_a_finished_mission_are_not_assessed() -> None:
    for metrics in (bare(), bare(mission_counts={"running": 3}), lane(["cancelled", "running"])):
        found = judged("failures", metrics)
        assert (found.caution, found.value) == (None, None)
        assert found.sentence.startswith("Not assessed: ")


@pytest.mark.parametrize(
    ("ages", "caution", "value"),
    [
        ([900.0, 900.0, 900.0], "WATCH", 3),
        ([900.0, 900.0, 899.999], "HEALTHY", 2),
        ([5000.0] * 7, "WATCH", 7),
        ([], "HEALTHY", 0),
    ],
)
def test_completions_at_their_edges(ages: list[float], caution: str, value: int) -> None:
    hanging = [mission(-age - 5.0, wait=5.0, run=None, status="running") for age in ages]
    found = judged("completions", metrics_of([mission(), *hanging]))
    assert (found.gate, found.caution, found.value, found.threshold) == ("completions", caution, value, 3)


def test_completions_count_from_start_event_or_dispatch_and_end_with_a_terminal_event() -> None:
    queued = [mission(-1000.0 - at, wait=None, status="queued") for at in range(3)]  # dispatched when created
    assert judged("completions", metrics_of(queued)).caution == "WATCH"
    never = [row | {"dispatched_at": None} for row in queued]
    assert judged("completions", metrics_of(never)).value == 0
    by_event = [row | {"started_event_at": NOON - timedelta(seconds=950)} for row in never]
    assert judged("completions", metrics_of(by_event)).value == 3
    lately = [row | {"started_event_at": NOON - timedelta(seconds=50)} for row in queued]
    assert judged("completions", metrics_of(lately)).value == 0
    ended = [mission(-1000.0 - at, run=None, status="running", outcome="completed") for at in range(3)]
    assert judged("completions", metrics_of(ended)).value == 0


def test_completions_without_rows_or_a_moment_are_not_assessed() -> None:
    assert judged("completions", bare()).caution is None
    assert judged("completions", replace(lane(ok(3)), generated_at=None)).caution is None


@pytest.mark.parametrize("status", ["degraded", "recovering"])
def test_session_degraded_now(status: str) -> None:
    found = judged("session", metrics_of([mission()], session=SESSION | {"status": status}))
    assert (found.gate, found.caution, found.value, found.brief) == ("session", "WATCH", status, f"session {status}")


@pytest.mark.parametrize("status", ["active", "idle", "paused", "retired", "unknown"])
@pytest.mark.parametrize(("degraded", "caution"), [(0, "HEALTHY"), (2, "HEALTHY"), (3, "WATCH")])
def test_session_degraded_often_in_the_window(status: str, degraded: int, caution: str) -> None:
    events = [("vp.session.degraded", NOON - timedelta(hours=5))] * 4  # before the window's first mission
    events += [("vp.session.degraded", NOON - timedelta(minutes=10))] * degraded
    metrics = metrics_of([mission(-3600.0)], session=SESSION | {"status": status}, session_events=events)
    found = judged("session", metrics)
    assert (found.caution, found.value, found.threshold) == (caution, degraded, 3)


def test_no_session_row_although_missions_exist() -> None:
    found = judged("session", metrics_of([mission()]))
    assert (found.caution, found.value, found.brief) == ("WATCH", None, "no session row")
    assert judged("session", bare(session=None, fallback={"missions_considered": 3})).caution == "WATCH"
    assert judged("session", bare(session=None)).caution is None


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
    found = judged("session", metrics_of([mission()], session=SESSION | {"status": "up\x1b[31m\n" + "x" * 500}))
    assert found.sentence.isprintable()
    assert len(found.brief) < 100


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
    assert (found.gate, found.caution, found.value, found.threshold) == ("rolling_fallback", caution, value, 0.10)
    assert ("the log's guardrail asks to revert" in found.sentence) == (caution == "WATCH")


def test_rolling_fallback_takes_twenty_missions_with_an_id() -> None:
    fell_back = [mission(-900.0 + at, fallback=True) for at in range(19)]
    assert judged("rolling_fallback", metrics_of(fell_back)).caution is None
    nameless = [mission(-800.0 + at, mission_id="") for at in range(30)]
    assert judged("rolling_fallback", metrics_of(fell_back + nameless)).caution is None
    assert judged("rolling_fallback", metrics_of([*fell_back, mission(-700.0), *nameless])).value == 0.95
    assert judged("rolling_fallback", bare()).caution is None


@pytest.mark.parametrize(
    ("slow", "fast", "caution", "value"),
    [
        (1, 19, "HEALTHY", 0.05),
        (2, 18, "WATCH", 0.10),
        (6, 94, "WATCH", 0.06),
        (5, 95, "HEALTHY", 0.05),
        (5, 14, None, None),
    ],
)
def test_slow_share(slow: int, fast: int, caution: str | None, value: float | None) -> None:
    rows = [mission(-3600.0 + at, run=90.001) for at in range(slow)]
    rows += [mission(-3000.0 + at, run=90.0) for at in range(fast)]
    found = judged("slow_share", metrics_of(rows))
    assert (found.gate, found.caution, found.value, found.threshold) == ("slow_share", caution, value, 0.05)


def test_slow_share_counts_running_missions_and_leaves_out_the_young_and_those_cancelled_soon() -> None:
    rows = [mission(-3600.0 + at) for at in range(18)]
    rows += [mission(-400.0 - at, run=None, status="running") for at in range(2)]  # 399 s so far: slow
    rows += [mission(-80.0, run=60.0), mission(-70.0, run=None, status="running")]  # had no 90 s to run
    rows += [mission(-2000.0, run=5.0, status="cancelled"), mission(-2100.0, run=500.0, status="cancelled")]
    found = judged("slow_share", metrics_of(rows))
    assert found.value == 3 / 21  # two running, and the one that was cancelled after 500 s
    assert found.sentence.startswith(
        "3 of 21 (14.3 %) missions that had 90.0 s to run took longer (1 mission cancelled"
    )


def test_slow_share_without_rows_is_not_assessed() -> None:
    assert judged("slow_share", bare()).caution is None


@pytest.mark.parametrize(
    ("quality", "code"),
    [
        ({"duplicate_missions": 1}, "duplicate missions"),
        ({"truncated_events": True}, "truncated events"),
        ({"backwards_clocks": 3}, "backwards clocks"),  # of 20 missions
        ({"ends_before_window": NOON}, "ends before window"),
    ],
)
def test_data_quality_vetoes(quality: Mapping[str, Any], code: str) -> None:
    rows = [mission(-900.0 + at) for at in range(20)]
    found = judged("data_quality", metrics_of(rows, quality=DataQuality(**quality)))
    assert (found.gate, found.value, found.caution) == ("data_quality", 1, "WATCH")
    assert found.brief == f"data quality ({code})"


@pytest.mark.parametrize("quality", [{}, {"backwards_clocks": 2}, {"orphan_events": 9}, {"truncated_events": False}])
def test_data_quality_without_a_veto(quality: Mapping[str, Any]) -> None:
    rows = [mission(-900.0 + at) for at in range(20)]
    found = judged("data_quality", metrics_of(rows, quality=DataQuality(**quality)))
    assert (found.value, found.caution) == (0, "HEALTHY")
    assert ("no sign of missing events" in found.sentence) == ("truncated_events" in quality)


def test_data_quality_of_a_bare_mapping_is_not_assessed() -> None:
    assert judged("data_quality", bare()).caution is None
