"""The token is sent to the gateway, and is in nothing that a run leaves behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import LANE
from http_server import Server, say

import vpanalysis as vp

TOKEN = "t0ken-that-nobody-may-see"
LOG = (
    "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |\n"
    "|---|---|---|---|---:|---:|---|---|\n"
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Server]:
    """A gateway that repeats the token it was sent in a payload."""
    with vp.open_source("sample") as source:
        content = vp.snapshot(source.load(vp.RolloutWindow(LANE, last_missions=30))).model_dump(mode="json")
    content["recent_events"][-1]["payload"] = {"error": f"seen {TOKEN}"}
    server = Server(say(content))
    yield server
    server.close()


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("UA_")}
    return subprocess.run(
        [sys.executable, "-m", "vpanalysis", *arguments],
        cwd=folder,
        env=bare | environment,
        capture_output=True,
        text=True,
    )


def leaves_no_token(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert TOKEN not in done.stdout + done.stderr
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".env":
            assert TOKEN.encode() not in path.read_bytes(), path
            assert TOKEN.encode().hex().encode() not in path.read_bytes(), path


def test_report(gateway: Server, tmp_path: Path) -> None:
    """By .env, whose folder is the one the command is called in."""
    (tmp_path / ".env").write_text(f"UA_OPS_TOKEN={TOKEN}\n")
    before = len(gateway.requests)
    done = run(tmp_path, "report", "--source", gateway.url, "--last-missions", "30", "--out", "out")
    assert done.returncode == 0, done.stderr
    sent = {headers.get("x-ua-ops-token") for _, headers in gateway.requests[before:]}
    assert sent == {TOKEN}
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".html", ".ipynb", ".json"}
    assert json.loads(next((tmp_path / "out").glob("*.json")).read_text())["provenance"]["kind"] == "gateway"
    leaves_no_token(done, tmp_path)


@pytest.mark.thorough
def test_report_with_a_refused_token(tmp_path: Path) -> None:
    server = Server(say({"detail": f"bad {TOKEN}"}, status=403))
    done = run(tmp_path, "report", "--source", server.url, "--ops-token", TOKEN, "--out", "out")
    server.close()
    assert done.returncode == 2, done.stderr
    assert "--ops-token" in done.stderr
    assert server.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"
    leaves_no_token(done, tmp_path)


def test_snapshot_and_capture(gateway: Server, tmp_path: Path) -> None:
    (tmp_path / "log.md").write_text(LOG)
    for arguments in (
        ["snapshot", "--source", gateway.url],
        ["capture", "--mode", "http", "--gateway-url", gateway.url, "--append-log", "log.md"],
    ):
        done = run(tmp_path, *arguments, UA_OPS_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr
        assert gateway.requests[-1][1]["x-ua-ops-token"] == TOKEN
        leaves_no_token(done, tmp_path)
    assert len((tmp_path / "log.md").read_text().splitlines()) == 3


def test_the_source_does_not_show_it(gateway: Server) -> None:
    with vp.open_source(gateway.url, ops_token=TOKEN) as source:
        assert TOKEN not in repr(source)
        tables = source.load(vp.RolloutWindow(LANE, last_missions=30))
    assert TOKEN not in repr(tables)
    assert TOKEN not in json.dumps(tables.snapshot)
