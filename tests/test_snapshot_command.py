"""``vpanalysis snapshot``: the endpoint's JSON, and the playbook's jq lines on it."""

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import run_command
from conftest import LANE, NOON, RuntimeDatabase, need, some_of

import vpanalysis as vp

DONE = ("vp.mission.dispatched", "vp.mission.started", "vp.mission.completed")
JQ_LINES = [
    ".fallback",
    ".latency_seconds",
    "{event_counts, recent_events: [.recent_events[] | select("
    '.event_type=="vp.mission.fallback" or .event_type=="vp.mission.failed")]}',
    "{session_event_counts, recovery, session_health, recent_session_events}",
]


@pytest.fixture
def lane(fresh_database: RuntimeDatabase) -> RuntimeDatabase:
    """Twelve missions of three events; the newest two fell back, which the oldest 30 events do not show."""
    fresh_database.session(metadata_json='{"lane": "coder"}')
    fresh_database.session_event("vp.session.created", NOON)
    for number in range(12):
        fresh_database.mission(f"m{number:02d}", NOON + timedelta(minutes=number), run=number + 1, events=DONE)
    for number in (10, 11):
        fresh_database.event(
            f"m{number}",
            "vp.mission.fallback",
            NOON + timedelta(minutes=number, seconds=9),
            payload_json='{"error": "x"}',
        )
    return fresh_database


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    ran = run_command(capsys, "snapshot", *arguments)
    assert ran.code == 0, ran.err
    return json.loads(ran.out, parse_constant=pytest.fail), ran.err


def test_it_counts_all_events_and_says_so(capsys: pytest.CaptureFixture[str], lane: RuntimeDatabase) -> None:
    content, note = printed(capsys, "--source", str(lane.path), "--event-limit", "30")
    assert content["events_complete"] is True
    assert content["fallback"] == {"missions_considered": 12, "missions_with_fallback": 2, "rate": 2 / 12}
    assert content["latency_seconds"]["p95_seconds"] == 11.0  # the value at index round(11 * 0.95) = 10 of 1..12
    assert content["event_counts"]["vp.mission.completed"] == 12
    assert len(content["recent_events"]) == 30
    assert content["recent_events"][-1]["payload"] == {"error": "x"}
    assert content["session"]["metadata"] == {"lane": "coder"}
    assert "a fallback rate of 0.0 % instead of 16.7 %" in note
    assert note.count("\n") == 1


def test_gateway_compatible_is_the_gateways_own(capsys: pytest.CaptureFixture[str], lane: RuntimeDatabase) -> None:
    content, note = printed(capsys, "--source", str(lane.path), "--event-limit", "30", "--gateway-compatible")
    assert "events_complete" not in content
    assert content["fallback"]["rate"] == 0.0
    assert sum(content["event_counts"].values()) == 30
    assert "a fallback rate of 0.0 % instead of 16.7 %" in note


def test_no_note_when_the_two_agree(capsys: pytest.CaptureFixture[str], lane: RuntimeDatabase) -> None:
    for more in ([], ["--gateway-compatible"]):
        content, note = printed(capsys, "--source", str(lane.path), *more)
        assert content["fallback"]["missions_with_fallback"] == 2
        assert note == ""


def test_a_note_when_only_the_events_differ(
    capsys: pytest.CaptureFixture[str], fresh_database: RuntimeDatabase
) -> None:
    for number in range(3):
        fresh_database.mission(f"m{number}", NOON + timedelta(minutes=number), events=DONE)
    _, note = printed(capsys, "--source", str(fresh_database.path), "--event-limit", "8")
    assert "8 events" in note
    assert "9" in note


def test_defaults_and_clamping(capsys: pytest.CaptureFixture[str], fresh_database: RuntimeDatabase) -> None:
    for number in range(60):
        fresh_database.mission(f"m{number:02d}", NOON + timedelta(minutes=number), events=DONE * 2)
    source = ["--source", str(fresh_database.path)]
    content, _ = printed(capsys, *source)
    assert (len(content["recent_missions"]), len(content["recent_events"])) == (50, 200)
    assert content["recent_missions"][0]["mission_id"] == "m59"
    content, _ = printed(capsys, *source, "--mission-limit", "0", "--event-limit", "-1")
    assert (len(content["recent_missions"]), len(content["recent_events"])) == (1, 1)
    content, _ = printed(capsys, *source, "--mission-limit", "9999", "--event-limit", "9999")
    assert (len(content["recent_missions"]), len(content["recent_events"])) == (60, 360)


def test_an_unknown_lane_is_an_error_but_for_the_gateway(
    capsys: pytest.CaptureFixture[str], lane: RuntimeDatabase
) -> None:
    ran = run_command(capsys, "snapshot", "--source", str(lane.path), "--vp-id", "vp.other")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("ERROR: ")
    assert LANE in ran.err
    content, note = printed(capsys, "--source", str(lane.path), "--vp-id", "vp.other", "--gateway-compatible")
    assert content["session"] is None
    assert content["fallback"] == {"missions_considered": 0, "missions_with_fallback": 0, "rate": 0.0}
    assert note == ""


def test_the_environments_first_database_with_the_lane_is_read(
    capsys: pytest.CaptureFixture[str],
    lane: RuntimeDatabase,
    make_database: Callable[..., RuntimeDatabase],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_database("coder_vp_state.db")
    other.mission("m", vp_id="vp.other")
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", str(other.path))
    monkeypatch.setenv("UA_VP_DB_PATH", str(lane.path))
    monkeypatch.delenv("UA_RUNTIME_DB_PATH", raising=False)
    content, note = printed(capsys)
    assert content["fallback"]["missions_considered"] == 12
    assert note.startswith("Source: vp_state.db (UA_VP_DB_PATH); passed over: coder_vp_state.db (UA_CODER_VP_DB_PATH)")
    content, note = printed(capsys, "--vp-id", "vp.other")
    assert content["fallback"]["missions_considered"] == 1
    assert note.startswith("Source: coder_vp_state.db (UA_CODER_VP_DB_PATH).\n")


@pytest.mark.parametrize("filter_", JQ_LINES)
def test_the_playbooks_jq_lines(capsys: pytest.CaptureFixture[str], lane: RuntimeDatabase, filter_: str) -> None:
    jq = need("jq")
    text = run_command(capsys, "snapshot", "--source", str(lane.path), "--event-limit", "500").out
    result = json.loads(subprocess.run([jq, filter_], input=text, capture_output=True, text=True, check=True).stdout)
    content = json.loads(text)
    if filter_.startswith("."):
        assert result == content[filter_[1:]]
    elif "recent_events" in result:
        assert [event["mission_id"] for event in result["recent_events"]] == ["m10", "m11"]
        assert result["event_counts"] == content["event_counts"]
    else:
        assert result == {name: content[name] for name in result}
        assert result["session_event_counts"] == {"vp.session.created": 1}


@pytest.mark.parametrize("compatible", some_of([[], ["--gateway-compatible"]], 2))
def test_hostile_values_stay_valid_json_for_jq(
    capsys: pytest.CaptureFixture[str], fresh_database: RuntimeDatabase, compatible: list[str]
) -> None:
    jq = need("jq")
    fresh_database.connection.execute("ALTER TABLE vp_sessions ADD COLUMN load REAL")
    fresh_database.session(
        load=float("inf"), last_error=b"\xff\xed\xa0\x80", metadata_json='{"a": NaN}', workspace_dir="\ud7ff\x00"
    )
    hostile = [
        "[" * 300 + "]" * 300,
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        "[" * 100_000,
        "NaN",
        b"\xed\xa0\x80",
        "9" * 400,
    ]
    fresh_database.mission("m", objective=b"\xff", run_id=b"\xed\xa0\x80", events=DONE)
    for payload in hostile:
        fresh_database.event("m", 'x"\n|\x00', NOON, payload_json=payload)
    text = run_command(capsys, "snapshot", "--source", str(fresh_database.path), *compatible).out
    json.loads(text, parse_constant=pytest.fail)
    with vp.open_source(fresh_database.path) as source:
        answers = [vp.snapshot(source.load(vp.RolloutWindow(LANE))), source.gateway_snapshot(LANE)]
    for answer in answers:
        json.dumps(answer.model_dump(mode="json"), allow_nan=False).encode()
    done = subprocess.run([jq, ".recent_events | length"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr


def test_a_saved_gateway_answer_is_passed_on_with_a_warning(
    capsys: pytest.CaptureFixture[str], lane: RuntimeDatabase, tmp_path: Path
) -> None:
    theirs, _ = printed(capsys, "--source", str(lane.path), "--event-limit", "30", "--gateway-compatible")
    path = tmp_path / "gateway.json"
    path.write_text(json.dumps(theirs))
    content, note = printed(capsys, "--source", str(path))
    assert content == theirs
    assert "cannot be trusted" in note
    again, _ = printed(capsys, "--source", str(path), "--gateway-compatible")
    assert again == theirs
