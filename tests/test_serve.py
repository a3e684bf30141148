"""``vpanalysis serve`` as a process: the playbook's commands, word for word, and what may not go wrong beside them."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from command_line import run_command
from conftest import LANE, NOON, SCHEMA, RuntimeDatabase, need, some_of
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth

import vpanalysis as vp
from vpanalysis.data.source import SqliteSource
from vpanalysis.serve import create_app

TOKEN = "t0ken-that-nobody-may-see"
OPS = "/api/v1/ops/metrics/coder-vp"
LANES = "/api/v1/ops/metrics/vp"
DASHBOARD = "/api/v1/dashboard/metrics/coder-vp"
DONE = ("vp.mission.dispatched", "vp.mission.completed")

#: The playbook's §2.1 to §2.6; only the port is another.
PLAYBOOK = {
    "2.1": """
curl -sS \\
  -H "x-ua-ops-token: ${UA_OPS_TOKEN}" \\
  "http://127.0.0.1:8002/api/v1/ops/metrics/coder-vp?vp_id=vp.coder.primary&mission_limit=100&event_limit=400"
""",
    "2.2": """
curl -sS \\
  "http://127.0.0.1:8002/api/v1/dashboard/metrics/coder-vp?vp_id=vp.coder.primary&mission_limit=50&event_limit=200"
""",
    "2.3": """
curl -sS \\
  -H "x-ua-ops-token: ${UA_OPS_TOKEN}" \\
  "http://127.0.0.1:8002/api/v1/ops/metrics/coder-vp?vp_id=vp.coder.primary" \\
  | jq '.fallback'
""",
    "2.4": """
curl -sS \\
  -H "x-ua-ops-token: ${UA_OPS_TOKEN}" \\
  "http://127.0.0.1:8002/api/v1/ops/metrics/coder-vp?vp_id=vp.coder.primary" \\
  | jq '.latency_seconds'
""",
    "2.5": """
curl -sS \\
  -H "x-ua-ops-token: ${UA_OPS_TOKEN}" \\
  "http://127.0.0.1:8002/api/v1/ops/metrics/coder-vp?vp_id=vp.coder.primary&event_limit=500" \\
  | jq '{event_counts, recent_events: [.recent_events[] | select(.event_type=="vp.mission.fallback" or .event_type=="vp.mission.failed")]}'
""",  # noqa: E501
    "2.6": """
curl -sS \\
  -H "x-ua-ops-token: ${UA_OPS_TOKEN}" \\
  "http://127.0.0.1:8002/api/v1/ops/metrics/coder-vp?vp_id=vp.coder.primary&event_limit=500" \\
  | jq '{session_event_counts, recovery, session_health, recent_session_events}'
""",
    "6.1": """
vpanalysis capture \\
  --mode direct \\
  --window-label "Shadow window (real cohort)" \\
  --scope "vp.coder.primary real cohort" \\
  --vp-id "vp.coder.primary"
""",
    "6.2": """
vpanalysis capture \\
  --mode http \\
  --gateway-url "http://127.0.0.1:8002" \\
  --ops-token "${UA_OPS_TOKEN}" \\
  --window-label "Limited cohort window #1" \\
  --scope "vp.coder.primary limited cohort"
""",
    "7.2": """
vpanalysis capture \\
  --mode http \\
  --gateway-url "http://127.0.0.1:8002" \\
  --assessment-profile sustained \\
  --mission-limit 60 \\
  --event-limit 180 \\
  --window-label "Sustained default-on monitor cycle" \\
  --scope "vp.coder.primary sustained default-on"
""",
}


class Served:
    """A server process and where it listens."""

    def __init__(self, process: subprocess.Popen[str], url: str, path: Path) -> None:
        self.process = process
        self.url = url
        self.path = path
        self.log = ""

    def get(self, path: str, token: str | None = TOKEN, host: str | None = None, **query: Any) -> requests.Response:
        headers = {"x-ua-ops-token": token, "host": host}
        headers = {name: value for name, value in headers.items() if value is not None}
        return requests.get(self.url + path, params=query, headers=headers, timeout=30)


@contextmanager
def serving(path: Path, *options: str, token: str | None = TOKEN) -> Iterator[Served]:
    """Starts the real server on a free port; what it wrote is searched for the token at the end."""
    environment = {name: value for name, value in os.environ.items() if name != "UA_OPS_TOKEN"}
    if token is not None:
        environment["UA_OPS_TOKEN"] = token
    process = subprocess.Popen(
        [sys.executable, "-m", "vpanalysis", "serve", "--source", str(path), "--port", "0", *options],
        env=environment,
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        server = Served(process, found[0], path)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    server.log = err
    assert out == ""
    assert TOKEN not in err
    assert "Traceback" not in err, err


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> RuntimeDatabase:
    """Sixty missions, the newest of which fell back and failed; a session that was degraded and resumed."""
    made = RuntimeDatabase(tmp_path_factory.mktemp("served") / "vp_state.db")
    made.session()
    for minute, event_type in enumerate(("created", "degraded", "resumed")):
        made.session_event(f"vp.session.{event_type}", NOON + timedelta(minutes=minute))
    for number in range(59):
        made.mission(f"m{number:02d}", NOON + timedelta(minutes=number), run=number + 1, events=DONE)
    made.mission("m59", NOON + timedelta(minutes=59), status="failed", run=60, events=DONE[:1])
    for second, event_type in ((20, "vp.mission.fallback"), (30, "vp.mission.failed")):
        made.event("m59", event_type, NOON + timedelta(minutes=59, seconds=second), payload_json='{"error": "boom"}')
    made.mission("other", vp_id="vp.general.primary", events=DONE)
    return made


@pytest.fixture(scope="module")
def served(database: RuntimeDatabase) -> Iterator[Served]:
    with serving(database.path) as server:
        yield server


def run_playbook(section: str, served: Served, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    need("curl")
    need("jq")
    environment = os.environ | {
        "UA_OPS_TOKEN": token,
        "UA_CODER_VP_DB_PATH": str(served.path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = PLAYBOOK[section].replace("http://127.0.0.1:8002", served.url)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=environment, capture_output=True, text=True)
    assert TOKEN not in done.stdout + done.stderr
    return done


def result(section: str, served: Served) -> Any:
    done = run_playbook(section, served)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_2_1_direct_ops_query(served: Served) -> None:
    content = result("2.1", served)
    assert content["fallback"] == {"missions_considered": 60, "missions_with_fallback": 1, "rate": 1 / 60}
    assert content["events_complete"] is True
    assert [mission["mission_id"] for mission in content["recent_missions"][:2]] == ["m59", "m58"]


def test_2_2_dashboard_query_needs_no_token(served: Served) -> None:
    content = result("2.2", served)
    assert list(content) == ["status", "metrics"]
    assert content["status"] == "ok"
    assert content["metrics"]["fallback"]["missions_considered"] == 50


def test_2_3_fallback(served: Served) -> None:
    assert result("2.3", served) == {"missions_considered": 50, "missions_with_fallback": 1, "rate": 0.02}


def test_2_4_latency(served: Served) -> None:
    """The newest fifty ran 11 to 60 s: index round(49 * 0.5) = 24 is 35 s, round(49 * 0.95) = 47 is 58 s."""
    assert result("2.4", served) == {
        "count": 50,
        "avg_seconds": 35.5,
        "p50_seconds": 35,
        "p95_seconds": 58,
        "max_seconds": 60,
    }


def test_2_5_event_mix(served: Served) -> None:
    content = result("2.5", served)
    assert content["event_counts"] == {
        "vp.mission.dispatched": 50,
        "vp.mission.completed": 49,
        "vp.mission.fallback": 1,
        "vp.mission.failed": 1,
    }
    assert [event["event_type"] for event in content["recent_events"]] == ["vp.mission.fallback", "vp.mission.failed"]
    assert content["recent_events"][0]["payload"] == {"error": "boom"}


def test_2_6_session(served: Served) -> None:
    content = result("2.6", served)
    assert content["session_event_counts"] == {
        "vp.session.created": 1,
        "vp.session.degraded": 1,
        "vp.session.resumed": 1,
    }
    assert content["recovery"] == {"attempts": 1, "successes": 1, "success_rate": 1}
    assert content["session_health"] == {"currently_orphaned": False, "orphan_signals": 0, "orphan_rate": 0}
    assert [event["event_type"] for event in content["recent_session_events"]] == list(content["session_event_counts"])


@pytest.mark.parametrize(
    ("section", "considered", "label"),
    some_of(
        [
            ("6.1", 60, "Shadow window (real cohort)"),
            ("6.2", 60, "Limited cohort window #1"),
            ("7.2", 60, "Sustained default-on monitor cycle"),
        ],
        3,
    ),
)
def test_6_and_7_capture(served: Served, section: str, considered: int, label: str) -> None:
    done = run_playbook(section, served)
    assert done.returncode == 0, done.stderr
    text, row = done.stdout.split("\n\nMarkdown row:\n")
    assert json.loads(text)["fallback"]["missions_considered"] == considered
    assert f" | {label} | " in row


def test_a_wrong_token_in_the_playbook(served: Served) -> None:
    assert json.loads(run_playbook("2.1", served, token="wrong").stdout) == {"detail": "Unauthorized"}
    done = run_playbook("6.2", served, token="wrong")
    assert done.returncode == 2
    assert "401" in done.stderr


@pytest.mark.parametrize("path", [OPS, LANES])
def test_the_ops_endpoints_want_the_token(served: Served, path: str) -> None:
    url = f"{served.url}{path}?vp_id={LANE}"
    for headers in ({}, {"x-ua-ops-token": ""}, {"x-ua-ops-token": TOKEN[:-1]}, {"Authorization": f"Basic {TOKEN}"}):
        answer = requests.get(url, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"})
    for headers in (
        {"x-ua-ops-token": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": "Bearer wrong", "x-ua-ops-token": TOKEN},
    ):
        assert requests.get(url, headers=headers, timeout=30).status_code == 200


def test_defaults(served: Served) -> None:
    content = served.get(OPS).json()
    assert (content["vp_id"], len(content["recent_missions"])) == (LANE, 50)
    assert len(content["recent_events"]) == 101
    dashboard = served.get(DASHBOARD, token=None).json()["metrics"]
    assert (dashboard["vp_id"], len(dashboard["recent_missions"])) == (LANE, 20)
    assert len(dashboard["recent_events"]) == 41


@pytest.mark.parametrize(("asked", "missions", "events"), [(0, 1, 1), (-5, 1, 1), (10**30, 60, 121)])
def test_limits_are_clamped(served: Served, asked: int, missions: int, events: int) -> None:
    content = served.get(OPS, mission_limit=asked, event_limit=asked).json()
    assert (len(content["recent_missions"]), len(content["recent_events"])) == (missions, events)


def test_any_lane(served: Served) -> None:
    assert served.get(LANES, vp_id="vp.general.primary").json()["fallback"]["missions_considered"] == 1
    assert served.get(LANES).status_code == 422
    empty = served.get(LANES, vp_id="vp.unheard.of").json()
    assert (empty["session"], empty["recent_missions"], empty["events_complete"]) == (None, [], True)


@pytest.mark.parametrize("blank", ["", "  ", "\0"])
def test_a_blank_lane_is_400(served: Served, blank: str) -> None:
    for path in (OPS, LANES, DASHBOARD):
        answer = served.get(path, vp_id=blank)
        assert answer.status_code == 400
        assert isinstance(answer.json()["detail"], str)


def test_gateway_compatible(served: Served, database: RuntimeDatabase) -> None:
    content = served.get(OPS, gateway_compatible=1, event_limit=100).json()
    with vp.open_source(database.path) as source:
        expected = source.gateway_snapshot(LANE, 50, 100).model_dump(mode="json")
    assert content["fallback"]["missions_with_fallback"] == 0
    assert "events_complete" not in content
    for answer in (content, expected):
        del answer["generated_at"]
        for field in ("stale", "stale_reason", "effective_status"):
            del answer["session"][field]
    assert content == expected


def test_our_own_server_as_a_source(served: Served) -> None:
    with vp.open_source(served.url, ops_token=TOKEN) as source:
        tables = source.load(vp.RolloutWindow(LANE, last_missions=60))
        gateway = source.gateway_snapshot(LANE, 60, 100)
    assert len(tables.missions) == 60
    assert tables.quality.truncated_events is None
    assert gateway.events_complete is None
    assert gateway.fallback.missions_with_fallback == 0


def test_a_database_that_goes_away(tmp_path: Path) -> None:
    made = RuntimeDatabase(tmp_path / "vp_state.db")
    made.session()
    made.connection.close()
    with serving(made.path) as server:
        assert server.get(OPS).status_code == 200
        made.path.rename(tmp_path / "away.db")
        answer = server.get(OPS)
        assert (answer.status_code, list(answer.json())) == (503, ["detail"])
        assert server.get(OPS, token=None).status_code == 401
        dashboard = server.get(DASHBOARD, token=None)
        assert dashboard.status_code == 200
        assert dashboard.json() == {"status": "unavailable", "detail": answer.json()["detail"], "metrics": None}
        assert str(tmp_path) not in dashboard.text
        (tmp_path / "away.db").rename(made.path)
        assert server.get(OPS).status_code == 200


def test_without_a_token_the_endpoints_are_open(database: RuntimeDatabase) -> None:
    with serving(database.path, "--ops-token", "", token=None) as server:
        assert server.get(OPS, token=None).status_code == 200
        assert server.get(OPS, token="anything").status_code == 200


def test_each_request_reads_anew_and_nothing_is_written(tmp_path: Path) -> None:
    made = RuntimeDatabase(tmp_path / "vp_state.db")
    with serving(made.path) as server:
        assert server.get(OPS).json()["session"] is None
        made.mission("m1", events=DONE)
        made.session(status="degraded")
        before = made.path.read_bytes()
        content = server.get(OPS).json()
    assert (content["session"]["status"], content["fallback"]["missions_considered"]) == ("degraded", 1)
    assert made.path.read_bytes() == before


WRITER = """
import sqlite3, sys, select, time
connection = sqlite3.connect(sys.argv[1], timeout=0.5, isolation_level=None)
number = 0
while not select.select([sys.stdin], [], [], 0.004)[0]:
    at = f"2026-02-16T12:{number // 6000 % 60:02d}:{number // 100 % 60:02d}.{number % 100:02d}0000+00:00"
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO vp_missions (mission_id, vp_id, status, created_at) VALUES (?, ?, 'running', ?)",
                       (f"{number:06d}", "vp.coder.primary", at))
    for part in range(3):
        connection.execute("INSERT INTO vp_events VALUES (?, ?, ?, ?, '{}', ?)",
                           (f"{number}-{part}", f"{number:06d}", "vp.coder.primary", f"part-{part}", at))
    connection.execute("UPDATE vp_sessions SET last_error = ?", (f"{number:06d}",))
    connection.execute("COMMIT")
    number += 1
    if number == 60:
        print("ready", flush=True)
print(number)
"""


def test_200_concurrent_requests_beside_a_writer(tmp_path: Path) -> None:
    """Each answer is one state of the database: its newest mission, its events and its session belong together."""
    made = RuntimeDatabase(tmp_path / "vp_state.db", SCHEMA)
    made.session()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(made.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    try:
        assert select.select([writer.stdout], [], [], 30)[0]
        assert writer.stdout.readline() == "ready\n"
        with serving(made.path) as server, ThreadPoolExecutor(50) as pool:
            answers = list(
                pool.map(lambda number: server.get(OPS, mission_limit=20, gateway_compatible=number % 2), range(200))
            )
    finally:
        written, errors = writer.communicate("stop", timeout=30)
    assert errors == ""
    assert writer.returncode == 0
    newest = []
    for number, answer in enumerate(answers):
        assert answer.status_code == 200, answer.text
        content = answer.json()
        numbers = [int(mission["mission_id"]) for mission in content["recent_missions"]]
        assert numbers == list(range(numbers[0], numbers[0] - 20, -1))
        assert content["session"]["last_error"] == f"{numbers[0]:06d}"
        if number % 2 == 0:
            assert content["event_counts"] == {"part-0": 20, "part-1": 20, "part-2": 20}
            assert len(content["recent_events"]) == 60
        newest.append(numbers[0])
    assert len(set(newest)) > 10
    assert max(newest) < int(written)


def test_a_stopped_server_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vpanalysis", "serve", "--source", "sample", "--port", "0"]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Serving sample" in process.stderr.readline()
    assert len(list(tmp_path.iterdir())) == 1
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err, list(tmp_path.iterdir())) == (0, "", [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], ("UA_OPS_TOKEN", "--allow-open")),
        (["--host", "::"], ("UA_OPS_TOKEN", "--allow-open")),
        (["--host", "203.0.113.7", "--ops-token", TOKEN], ("203.0.113.7", "--host")),
        (["--source", "nowhere.db"], ("nowhere.db", "does not exist")),
        (["--source", "http://127.0.0.1:9"], ("runtime database",)),
        (["--source", ""], ("--source is empty",)),
    ],
)
def test_what_serve_refuses(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    database: RuntimeDatabase,
    arguments: list[str],
    words: tuple[str, ...],
) -> None:
    monkeypatch.delenv("UA_OPS_TOKEN", raising=False)
    source = [] if "--source" in arguments else ["--source", str(database.path)]
    ran = run_command(capsys, "serve", *source, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("ERROR: ")
    assert all(word in ran.err for word in words), ran.err
    assert TOKEN not in ran.err


def test_a_taken_port(capsys: pytest.CaptureFixture[str], database: RuntimeDatabase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run_command(capsys, "serve", "--source", str(database.path), "--port", port)
    assert (ran.code, ran.out) == (2, "")
    assert (
        ran.err
        == f"ERROR: Cannot listen on 127.0.0.1:{port} (Address already in use): choose another --host or --port.\n"
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("mode", "path"),
    [(mode, path) for path in (OPS, LANES, DASHBOARD) for mode in schemathesis.GenerationMode],
)
def test_the_openapi_document_holds(database: RuntimeDatabase, path: str, mode: schemathesis.GenerationMode) -> None:
    """Answers to valid and invalid requests follow the document, and none is a 500."""
    app = create_app(SqliteSource(database.path), TOKEN, ["testserver"])
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path]["GET"]

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"x-ua-ops-token": TOKEN}, excluded_checks=[ignored_auth])
        case.call_and_validate()

    answers()


def test_the_openapi_document_names_every_answer(served: Served) -> None:
    document = served.get("/openapi.json", token=None).json()
    answers = {path: sorted(methods["get"]["responses"]) for path, methods in document["paths"].items()}
    assert answers == {
        OPS: ["200", "400", "401", "422", "503"],
        LANES: ["200", "400", "401", "422", "503"],
        DASHBOARD: ["200", "400", "422"],
        "/healthz": ["200", "503"],
    }
    snapshot = document["components"]["schemas"]["Snapshot"]
    assert set(snapshot["properties"]) - set(snapshot["required"]) == {"events_complete"}
