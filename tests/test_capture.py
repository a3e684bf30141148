"""``vpanalysis capture``: the playbook's helper, with its flags, defaults, output and exit codes."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import Ran, run_command
from conftest import LANE, NOON, RuntimeDatabase
from http_server import SNAPSHOT, Server, say

from vpanalysis.data import gateway

TOKEN = "t0ken-that-nobody-may-see"
DEFAULT_REF = '_vp_metrics_snapshot(vp_id="vp.coder.primary", mission_limit=100, event_limit=500)'
DONE = ("vp.mission.dispatched", "vp.mission.completed")
FAILED = ("vp.mission.dispatched", "vp.mission.failed")
LOG = (
    "# Evidence\n\n"
    "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |\n"
    "|---|---|---|---|---:|---:|---|---|\n\nThe end.\n"
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gateway, "PAUSE_SECONDS", 0)
    for variable in ("UA_CODER_VP_DB_PATH", "UA_VP_DB_PATH", "UA_RUNTIME_DB_PATH", "UA_OPS_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def capture(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_command(capsys, "capture", *arguments)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers = []

    def start(*answer: Any, **options: Any) -> Server:
        servers.append(Server(say(*answer, **options)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def failing_lane(fresh_database: RuntimeDatabase) -> RuntimeDatabase:
    """Four missions, three of them failed, none of which fell back: READY by the rule table alone."""
    fresh_database.session()
    for number, events in enumerate((DONE, FAILED, FAILED, FAILED)):
        status = "failed" if events is FAILED else "completed"
        fresh_database.mission(
            f"m{number}", NOON + timedelta(minutes=number), status=status, run=5 * number, events=events
        )
    return fresh_database


def parts(out: str) -> tuple[dict[str, Any], str]:
    """The JSON and the row, with the shape between them checked."""
    text, row = out.split("\n\nMarkdown row:\n")
    assert row.startswith("| ")
    assert row.endswith(" |\n")
    assert row.count("\n") == 1
    content = json.loads(text)
    assert text == json.dumps(content, indent=2, sort_keys=True)
    return content, row


def test_direct_mode(capture: Callable[..., Ran], failing_lane: RuntimeDatabase) -> None:
    """The playbook's command of §6.1, with a source."""
    ran = capture(
        *("--mode", "direct", "--window-label", "Shadow window (real cohort)"),
        *("--scope", "vp.coder.primary real cohort", "--vp-id", "vp.coder.primary", "--source", str(failing_lane.path)),
    )
    assert ran.code == 0, ran.err
    content, row = parts(ran.out)
    assert list(content) == sorted(
        ["vp_id", "generated_at", "fallback", "latency_seconds", "mission_counts", "event_counts", "assessment"]
    )
    assert content["vp_id"] == LANE
    assert content["fallback"] == {"missions_considered": 4, "missions_with_fallback": 0, "rate": 0.0}
    assert content["latency_seconds"] == {
        "count": 4,
        "avg_seconds": 7.5,
        "p50_seconds": 10.0,  # round(3 * 0.5) is 2, half to even
        "p95_seconds": 15.0,
        "max_seconds": 15.0,
    }
    assert content["mission_counts"] == {"completed": 1, "failed": 3}
    assert content["event_counts"] == {"vp.mission.dispatched": 4, "vp.mission.completed": 1, "vp.mission.failed": 3}
    assert "| Shadow window (real cohort) | vp.coder.primary real cohort |" in row
    assert "| 0.000 | 15.000s | HOLD_SHADOW |" in row


def test_the_playbook_policy_says_where_the_rule_table_decides_otherwise(
    capture: Callable[..., Ran], failing_lane: RuntimeDatabase
) -> None:
    content, _ = parts(capture("--source", str(failing_lane.path)).out)
    assessment = content["assessment"]
    assert assessment["decision"] == "HOLD_SHADOW"
    assert assessment["capture_decision"] == "READY_FOR_LIMITED_COHORT_PILOT"
    assert any("READY_FOR_LIMITED_COHORT_PILOT" in reason for reason in assessment["reasons"])


@pytest.mark.parametrize(
    ("profile", "decision"),
    [("rollout", "READY_FOR_LIMITED_COHORT_PILOT"), ("sustained", "SUSTAINED_DEFAULT_ON_HEALTHY")],
)
def test_the_capture_policy_is_the_rule_table(
    capture: Callable[..., Ran], failing_lane: RuntimeDatabase, profile: str, decision: str
) -> None:
    ran = capture("--source", str(failing_lane.path), "--policy", "capture", "--assessment-profile", profile)
    content, row = parts(ran.out)
    assert content["assessment"]["decision"] == decision
    assert set(content["assessment"]) == {"decision", "reasons"}
    assert f"| {decision} |" in row


def test_thresholds_and_reasons_to_the_letter(capture: Callable[..., Ran], serve: Callable[..., Server]) -> None:
    table = ["--mode", "http", "--gateway-url", serve().url, "--policy", "capture"]
    for more, decision, reasons in (
        ([], "HOLD_SHADOW", ["fallback rate high (0.250 >= 0.200)"]),
        (["--max-fallback-critical", "0.3"], "HOLD_SHADOW", ["fallback rate elevated (0.250 >= 0.050)"]),
        (["--max-fallback-watch", "0.26", "--max-fallback-critical", "0.3"], "READY_FOR_LIMITED_COHORT_PILOT", None),
        (["--min-missions", "4"], "HOLD_SHADOW", ["fallback rate high (0.250 >= 0.200)"]),
        (["--assessment-profile", "sustained", "--min-missions", "5"], "SUSTAINED_MONITOR_NO_TRAFFIC", None),
        (["--assessment-profile", "sustained"], "SUSTAINED_FORCE_FALLBACK", ["fallback rate high (0.250 >= 0.200)"]),
    ):
        content, _ = parts(capture(*table, *more).out)
        assert content["assessment"]["decision"] == decision, more
        assert reasons is None or content["assessment"]["reasons"] == reasons
    slow = ["--assessment-profile", "sustained", "--max-fallback-watch", "0.26", "--max-fallback-critical", "0.3"]
    for more, decision, reason in (
        (["--max-p95-watch-seconds", "0.5"], "SUSTAINED_WATCH", "p95 latency elevated (0.534s >= 0.500s)"),
        (
            ["--max-p95-watch-seconds", "0.4", "--max-p95-critical-seconds", "0.534"],
            "SUSTAINED_FORCE_FALLBACK",
            "p95 latency high (0.534s >= 0.534s)",
        ),
    ):
        content, _ = parts(capture(*table, *slow, *more).out)
        assert content["assessment"] == {"decision": decision, "reasons": [reason]}


def test_http_mode(capture: Callable[..., Ran], serve: Callable[..., Server]) -> None:
    """The playbook's command of §6.2."""
    server = serve(SNAPSHOT | {"mission_counts": {"completed": 4}, "event_counts": {"vp.mission.dispatched": 4}})
    ran = capture(
        *("--mode", "http", "--gateway-url", server.url, "--ops-token", TOKEN),
        *("--window-label", "Limited cohort window #1", "--scope", "vp.coder.primary limited cohort"),
    )
    assert ran.code == 0, ran.err
    content, row = parts(ran.out)
    assert server.query == {"vp_id": [LANE], "mission_limit": ["100"], "event_limit": ["500"]}
    assert server.requests[0][1]["x-ua-ops-token"] == TOKEN
    assert content["generated_at"] == "2026-02-16T14:07:42+00:00"
    assert content["latency_seconds"] == SNAPSHOT["latency_seconds"]
    assert row.startswith(
        f"| 2026-02-16T14:07:42Z | Limited cohort window #1 | vp.coder.primary limited cohort | `{DEFAULT_REF}` | "
        "0.250 | 0.534s | HOLD_SHADOW | missions_considered=4, missions_with_fallback=1, mission_counts={"
    )
    assert TOKEN not in ran.out + ran.err


def test_the_sustained_low_cost_command(capture: Callable[..., Ran], serve: Callable[..., Server]) -> None:
    """The playbook's command of §7.2."""
    server = serve()
    ran = capture(
        *("--mode", "http", "--gateway-url", server.url, "--assessment-profile", "sustained"),
        *("--mission-limit", "60", "--event-limit", "180"),
        *("--window-label", "Sustained default-on monitor cycle", "--scope", "vp.coder.primary sustained default-on"),
    )
    assert ran.code == 0, ran.err
    assert server.query == {"vp_id": [LANE], "mission_limit": ["60"], "event_limit": ["180"]}
    assert parts(ran.out)[0]["assessment"]["decision"] == "SUSTAINED_FORCE_FALLBACK"
    assert "Authorization" not in server.requests[0][1]


@pytest.mark.parametrize(("asked", "sent"), [("0", "1"), ("-7", "1"), ("99999", "500")])
def test_limits_are_clamped(capture: Callable[..., Ran], serve: Callable[..., Server], asked: str, sent: str) -> None:
    server = serve()
    capture("--mode", "http", "--gateway-url", server.url, "--mission-limit", asked, "--event-limit", asked)
    assert server.query["mission_limit"] == [sent]
    assert server.query["event_limit"] == ["1000" if asked == "99999" else "1"]


def test_defaults_of_the_row(capture: Callable[..., Ran], serve: Callable[..., Server]) -> None:
    _, row = parts(capture("--mode", "http", "--gateway-url", serve().url).out)
    assert f"| Shadow window | vp.coder.primary | `{DEFAULT_REF}` |" in row
    _, row = parts(capture("--mode", "http", "--gateway-url", serve().url, "--ref", "a|`b`").out)
    assert "| `` a\\|`b` `` |" in row


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        (["--mission-limit", "60", "--event-limit", "180"], "mission_limit=60, event_limit=180"),
        (["--mission-limit", "9999", "--event-limit", "9999"], "mission_limit=500, event_limit=1000"),
        (["--mission-limit", "0", "--event-limit", "-1"], "mission_limit=1, event_limit=1"),
    ],
)
def test_the_rows_ref_names_the_lane_and_limits_used(
    capture: Callable[..., Ran], serve: Callable[..., Server], options: list[str], limits: str
) -> None:
    server = serve(SNAPSHOT | {"vp_id": "vp.general.primary"})
    arguments = ["--mode", "http", "--gateway-url", server.url, "--vp-id", "vp.general.primary", *options]
    _, row = parts(capture(*arguments).out)
    assert f'| `_vp_metrics_snapshot(vp_id="vp.general.primary", {limits})` |' in row
    _, row = parts(capture(*arguments, "--ref", DEFAULT_REF).out)
    assert f"| `{DEFAULT_REF}` |" in row


def test_direct_mode_reads_the_first_of_the_environments_databases_with_the_lane(
    capture: Callable[..., Ran], failing_lane: RuntimeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", "coder_vp_state.db")
    monkeypatch.setenv("UA_VP_DB_PATH", str(failing_lane.path))
    ran = capture()
    assert parts(ran.out)[0]["fallback"]["missions_considered"] == 4
    assert ran.err.startswith("Source: vp_state.db (UA_VP_DB_PATH); passed over: coder_vp_state.db")
    ran = capture("--vp-id", "vp.other")
    assert (ran.code, ran.out) == (2, "")
    assert "vp_state.db (UA_VP_DB_PATH) has nothing of the lane 'vp.other'" in ran.err


def test_direct_mode_counts_all_events(capture: Callable[..., Ran], failing_lane: RuntimeDatabase) -> None:
    content, _ = parts(capture("--source", str(failing_lane.path), "--event-limit", "1").out)
    assert sum(content["event_counts"].values()) == 8


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "No source"),
        (["--source", ""], "--source is empty"),
        (["--source", "nowhere.db"], "does not exist"),
        (["--mode", "http", "--source", "x.db"], "--gateway-url"),
        (["--mode", "http", "--gateway-url", "127.0.0.1:8002"], "URL"),
        (["--mode", "http", "--gateway-url", "http://127.0.0.1:9"], "cannot be reached"),
        (["--source", "sample", "--vp-id", " "], "vp_id"),
        (["--source", "sample", "--vp-id", "vp.other"], LANE),
        (["--source", "sample", "--policy", "nowhere.toml"], "nowhere.toml"),
        (["--source", "sample", "--max-fallback-watch", "0.5"], "below"),
        (["--source", "sample", "--fail-on", "watch"], "--fail-on"),
        (["--source", "sample:failing", "--append-log", "log.md"], "--append-log"),
        (["--source", "sample:unheard-of"], "healthy"),
    ],
)
def test_any_failure_is_one_sentence_and_exit_2(capture: Callable[..., Ran], arguments: list[str], word: str) -> None:
    ran = capture(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("ERROR: ")
    assert ran.err.count("\n") == 1
    assert word in ran.err


def test_a_refused_token_is_told_and_not_shown(capture: Callable[..., Ran], serve: Callable[..., Server]) -> None:
    server = serve({"detail": "Unauthorized"}, status=401)
    ran = capture("--mode", "http", "--gateway-url", server.url, "--ops-token", TOKEN)
    assert ran.code == 2
    assert "--ops-token" in ran.err
    assert TOKEN not in ran.err


@pytest.mark.parametrize(
    ("fail_on", "code"), [(["watch"], 3), (["critical"], 0), (["no-traffic"], 0), (["critical", "watch"], 3), ([], 0)]
)
def test_fail_on_exits_3_and_prints_all_the_same(
    capture: Callable[..., Ran], failing_lane: RuntimeDatabase, fail_on: list[str], code: int
) -> None:
    options = [part for choice in fail_on for part in ("--fail-on", choice)]
    ran = capture("--source", str(failing_lane.path), *options)
    assert ran.code == code
    assert parts(ran.out)[0]["assessment"]["decision"] == "HOLD_SHADOW"


def test_critical_includes_watch_and_no_traffic_its_own(
    capture: Callable[..., Ran], serve: Callable[..., Server]
) -> None:
    http = ["--mode", "http", "--gateway-url", serve().url, "--policy", "capture"]
    assert capture(*http, "--fail-on", "watch").code == 3
    assert capture(*http, "--fail-on", "critical").code == 3
    empty = serve(SNAPSHOT | {"fallback": {"missions_considered": 0, "rate": 0.0}})
    assert capture("--mode", "http", "--gateway-url", empty.url, "--fail-on", "watch").code == 0
    assert capture("--mode", "http", "--gateway-url", empty.url, "--fail-on", "no-traffic").code == 3


def test_append_log(capture: Callable[..., Ran], serve: Callable[..., Server], tmp_path: Path) -> None:
    log = tmp_path / "log.md"
    log.write_text(LOG)
    arguments = ["--mode", "http", "--gateway-url", serve().url, "--append-log", str(log), "--fail-on", "watch"]
    ran = capture(*arguments)
    assert ran.code == 3
    _, row = parts(ran.out)
    assert log.read_text() == LOG.replace("\n\nThe end", f"\n{row}\nThe end")
    again = capture(*arguments)
    assert again.code == 2
    assert "already" in again.err
    assert log.read_text().count(row) == 1


def test_append_log_counts_the_earlier_looks_at_an_open_window(
    capture: Callable[..., Ran], serve: Callable[..., Server], tmp_path: Path
) -> None:
    log = tmp_path / "log.md"
    log.write_text(LOG)
    for earlier in range(3):
        server = serve(SNAPSHOT | {"generated_at": f"2026-02-16T15:0{earlier}:00+00:00"})
        ran = capture("--mode", "http", "--gateway-url", server.url, "--append-log", str(log), "--window-label", "w")
        content, _ = parts(ran.out)
        assert content["assessment"].get("earlier_looks", 0) == earlier
        assert (f"{earlier} earlier look" in ran.err) == (earlier > 0)


def test_append_log_without_a_table(capture: Callable[..., Ran], serve: Callable[..., Server], tmp_path: Path) -> None:
    log = tmp_path / "log.md"
    log.write_text("no table\n")
    ran = capture("--mode", "http", "--gateway-url", serve().url, "--append-log", str(log))
    assert ran.code == 2
    assert ran.err.startswith("ERROR: log.md has no evidence table")
    assert log.read_text() == "no table\n"
