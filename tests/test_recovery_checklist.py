"""The checklist filled in with a window's facts, and when a lane may be enabled again."""

import shlex
from datetime import timedelta

import pytest
from conftest import LANE, some_of
from lane_frames import NOON, events_frame, metrics_from_snapshot, metrics_of, mission
from scipy.stats import binomtest

from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.metrics import summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.recovery_checklist import recovery_checklist, reenable
from vpanalysis.data.sample import SCENARIOS
from vpanalysis.data.source import open_source
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow

SESSION = {"vp_id": LANE, "status": "active", "last_heartbeat_at": NOON.isoformat(), "updated_at": NOON.isoformat()}
POLICY = Policy.load("playbook")


def lane(n, *, fallbacks=0, run=10.0, status="completed", **more):
    rows = [mission(-5000 + i, mission_id=f"m{i}", fallback=i < fallbacks, run=run, status=status) for i in range(n)]
    return metrics_of(rows, session=SESSION, **more)


def steps_of(metrics, policy=POLICY, **more):
    return recovery_checklist(classify(metrics, policy), metrics, policy, **more)


# -- the checklist -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", some_of(SCENARIOS, 6))
def test_checklist_is_there_whenever_the_action_is_not_continue(scenario):
    with open_source(f"sample:{scenario}") as source:
        metrics = summarize(source.load(RolloutWindow(LANE, last_missions=100)))
    for profile in ("rollout", "sustained"):
        policy = Policy.load("playbook", profile=profile)
        verdict = classify(metrics, policy)
        steps = recovery_checklist(verdict, metrics, policy)
        assert [step.number for step in steps] == ([] if verdict.action == "continue" else [1, 2, 3, 4, 5])
        for step in steps:
            assert step.text.endswith(".")
            assert "sk-sample" not in step.text
            assert step.number != 3 or step.now == (verdict.action == "force_fallback")


def test_steps_hold_this_windows_facts():
    error = '{"error": "socket 4 refused (password=hunter2)"}'
    events = events_frame(
        [
            ("m0", "vp.mission.failed", NOON, '{"error": "boom"}'),
            ("m1", "vp.mission.failed", NOON, '{"error": "boom"}'),
            ("m0", "vp.mission.fallback", NOON, error),
        ]
    )
    snapshot, errors, force, flow, back = steps_of(lane(20, fallbacks=5, events=events))
    assert "as of 2026-02-16T12:00:00Z" in snapshot.text
    assert snapshot.command == (
        "vpanalysis snapshot --source vp_state.db --vp-id vp.coder.primary --mission-limit 20 "
        "--as-of 2026-02-16T12:00:00+00:00 --event-limit 500 > snapshot.json"
    )
    assert "Most frequent first: boom (failure, 2×); socket # refused (password=[secret] (fallback, 1×)." in errors.text
    assert errors.title == "Inspect the fallback and failure errors"
    assert errors.command == (
        'jq \'.recent_events[] | select(.event_type == "vp.mission.fallback" or .event_type == "vp.mission.failed")'
        " | .payload' snapshot.json"
    )
    assert force.now
    assert force.title == "Force the fallback"  # which latency or failures may ask for at a low rate
    assert "5 of 20 missions (25.0 %)" in force.text
    assert force.command == "export UA_CODER_VP_FORCE_FALLBACK=1"
    assert flow.now
    assert back.command == "unset UA_CODER_VP_FORCE_FALLBACK"
    for threshold in ("below 5 %", "p95 below 45 s", "below 20 %", "14 probe missions"):
        assert threshold in back.text


def test_of_more_missions_than_a_snapshot_holds_the_newest_are_said_to_be_kept():
    kept, *_ = steps_of(lane(600, fallbacks=200))
    assert kept.text.endswith(" (the newest 500 of its 600 missions).")
    assert "--mission-limit 500 " in kept.command
    whole, *_ = steps_of(lane(600, fallbacks=200, window=RolloutWindow(LANE, start=NOON - timedelta(days=1))))
    assert whole.text.endswith("before anything changes.")  # the range is kept whole
    assert "--mission-limit" not in whole.command


@pytest.mark.parametrize(("kinds", "more"), [(3, ""), (4, "; 1 more"), (5, "; 2 more")])
def test_the_three_most_frequent_errors_are_named(kinds, more):
    words = ["socket", "disk", "lease", "token", "quota"][:kinds]
    failed = [(f"m{i}", "vp.mission.failed", NOON, f'{{"error": "{word} gone"}}') for i, word in enumerate(words)]
    errors = steps_of(lane(20, fallbacks=5, events=events_frame(failed)))[1].text
    assert errors.count("gone (failure, 1×)") == 3
    assert errors.endswith(f"(failure, 1×){more}.")


def test_thresholds_are_the_policys():
    policy = Policy.load("playbook", fallback_watch=0.02, fallback_critical=0.10, p95_watch_seconds=30.0)
    *_, back = steps_of(lane(20, fallbacks=5), policy)
    assert "below 2 %, their p95 below 30 s" in back.text
    assert "29 probe missions" in back.text  # the smallest n with 0.9 ** n <= 0.05
    assert 0.9**29 <= 0.05 < 0.9**28


def test_watch_does_not_ask_to_force_yet():
    force = steps_of(lane(20, fallbacks=2))[2]
    assert not force.now
    assert force.command is None  # lest somebody copies it
    assert force.text.startswith("Not needed yet: the fallback rate is 10.0 %. Force it at 20 % or more")


def test_no_traffic_is_nothing_to_force():
    force = steps_of(lane(0))[2]
    assert force.text == "Not needed: the lane has too few missions to be a risk."


def test_degraded_session_asks_for_the_drill_first():
    events = [("vp.session.created", NOON - timedelta(hours=9)), ("vp.session.degraded", NOON - timedelta(minutes=5))]
    flow = steps_of(metrics_of(session=SESSION | {"status": "degraded"}, session_events=events))[3]
    assert flow.text.startswith(
        "The session has been degraded for 5 min: run the lease and recovery drill first (§3.4)."
    )


def test_unfinished_missions_are_named():
    rows = [mission(-5000 + i, run=None, status="running") for i in range(4)]
    flow = steps_of(metrics_of(rows, session=SESSION))[3]
    assert flow.text.startswith("4 missions not finished yet: make sure that none is lost.")


def test_commands_quote_what_a_shell_would_read():
    metrics = lane(20, fallbacks=5, window=RolloutWindow("lane; rm -rf x", last_missions=20, as_of=NOON))
    snapshot = steps_of(metrics, source="/data/my db.sqlite")[0]
    words = shlex.split(snapshot.command)
    assert words[words.index("--source") + 1] == "/data/my db.sqlite"
    assert words[words.index("--vp-id") + 1] == "lane; rm -rf x"


def test_snapshot_names_the_database_to_read():
    seconds = {"count": 5, "avg_seconds": 9, "p50_seconds": 9, "p95_seconds": 9, "max_seconds": 9}
    rate = {"missions_considered": 5, "missions_with_fallback": 5, "rate": 1.0}
    metrics = metrics_from_snapshot({"fallback": rate, "latency_seconds": seconds, "vp_id": LANE})
    snapshot, errors, *_ = steps_of(metrics)
    assert '--source "$UA_CODER_VP_DB_PATH"' in snapshot.command
    assert "as of" not in snapshot.text  # the command reads the database as it is now,
    assert snapshot.command.endswith(" > database.json")  # and must not write over what was judged
    assert (errors.title, errors.text) == ("Read the errors in the database", "The source shows no payloads.")


# -- the way back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "justified", "more"), [(1, False, 13), (13, False, 1), (14, True, 0), (40, True, 0)])
def test_enough_clean_probes_justify_it(n, justified, more):
    found = reenable(lane(n), lane(100, fallbacks=1), POLICY)
    assert (found.justified, found.more_probes, found.probes) == (justified, more, n)
    exact = binomtest(0, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert found.upper_bound == pytest.approx(exact)
    assert (exact < 0.20) == justified
    assert found.sentence.startswith("Re-enabling is justified" if justified else "Not yet")


def test_no_probes_no_answer():
    found = reenable(lane(0), lane(100, fallbacks=30), POLICY)
    assert (found.justified, found.probes, found.more_probes, found.upper_bound) == (False, 0, 14, None)
    assert "a lane under forced fallback gets no others: send 14" in found.sentence


def against(probes, before=None, policy=POLICY):
    found = reenable(probes, before or lane(100, fallbacks=1), policy)
    assert found.justified == (not found.against)
    return " / ".join(found.against)


def test_what_stands_against_it():
    assert "finds the probes WATCH: 2 of 30 missions (6.7 %) fell back" in against(lane(30, fallbacks=2))
    assert "finds the probes WATCH: 20 of 20 finished missions (100.0 %) failed" in against(lane(20, status="failed"))
    slow = against(lane(20, run=60.0))
    assert "their p95 60.0 s is not below 45 s" in slow  # no rule of the rollout profile says so
    assert "run times rose compared with the window before the incident (p95 10.0 s → 60.0 s)" in slow
    assert "no probe mission has a run time" in against(lane(20, run=None, status="queued"))
    assert "finds the probes NO_TRAFFIC" in against(lane(20), policy=Policy.load("playbook", min_missions=50))


def test_one_fallback_takes_more_probes():
    found = reenable(lane(21, fallbacks=1), lane(100), POLICY)
    assert (found.justified, found.more_probes) == (False, 1)  # facts: 22 missions with one fallback
    assert not reenable(lane(22, fallbacks=1), lane(100), POLICY).more_probes


def test_probes_worse_than_before_the_incident_do_not_pass():
    policy = Policy.load("capture", fallback_watch=0.19)
    found = reenable(lane(100, fallbacks=12), lane(300), policy)
    assert found.against == ("the fallback rate rose compared with the window before the incident (0.0 % → 12.0 %)",)
    assert found.change.change == pytest.approx(0.12)


@pytest.mark.parametrize(("run", "late"), [(44.999, False), (45.0, True)])
def test_p95_must_be_below_the_watch_line(run, late):
    found = against(lane(20, run=run), lane(100, run=run))
    assert ("is not below 45 s" in found) is late


def test_windows_must_not_overlap():
    def ended(end):
        return lane(100, window=RolloutWindow(LANE, start=NOON - timedelta(hours=9), end=end, as_of=NOON))

    probes = lane(20)  # the first of them is created 5,000 s before noon
    assert "begins before the other one ends, at 2026-02-16T12:00:00Z" in against(probes, ended(NOON))
    first = NOON - timedelta(seconds=5000)
    assert against(probes, ended(first)) == ""
    assert "begins before the other one ends" in against(probes, ended(first + timedelta(microseconds=1)))


def test_probes_that_hang_or_that_nobody_can_account_for_do_not_pass():
    rows = [mission(-5000 + i) for i in range(20)]
    hanging = [mission(-4000 + i, run=None, status="running") for i in range(5)]
    assert "5 missions not finished" in steps_of(metrics_of([*rows, *hanging], session=SESSION))[3].text
    assert "finds the probes WATCH" in against(metrics_of([*rows, *hanging], session=SESSION))
    unknown = [mission(-4000 + i, status="unknown", ended_event=None) for i in range(5)]
    assert "5 of 25 missions (20.0 %) cannot be accounted for" in against(
        metrics_of([*rows, *unknown], session=SESSION)
    )


def test_unknown_numbers_justify_nothing():
    seconds = {"count": 50, "avg_seconds": 9, "p50_seconds": 9, "p95_seconds": 9, "max_seconds": 9}
    for numbers in ({}, {"missions_considered": 50, "missions_with_fallback": 51, "rate": 0.0}):
        probes = metrics_from_snapshot({"fallback": numbers, "latency_seconds": seconds, "events_complete": True})
        assert "it is unknown how many probe missions ran and fell back" in against(probes)


def test_truncated_probes_justify_nothing_under_any_policy():
    for policy in (POLICY, Policy.load("capture")):
        found = reenable(lane(50, quality=DataQuality(truncated_events=True)), lane(100), policy)
        assert not found.justified
        assert "its fallback rate cannot be trusted" in found.sentence
    errors = steps_of(lane(20, quality=DataQuality(truncated_events=True)))[1]
    assert errors.text == "The snapshot lacks events of these missions."


def test_window_before_without_missions_leaves_the_probes_to_speak():
    found = reenable(lane(20), lane(0), POLICY)
    assert found.justified
    assert found.change is None
    assert "before the incident: 0 of 0 fell back, p95 n/a" in found.sentence
