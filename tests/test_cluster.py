"""A batch on a real Dask cluster: its reports are those made here, and nothing is lost with a worker that is killed."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import distributed
import pytest
from command_line import run_command

from vpanalysis.batch.make import make
from vpanalysis.batch.plan import read_plan, runs_of
from vpanalysis.data.sample import write_sample

PLAN = """
as_of = "2026-03-06T18:00:00Z"
ship_sources = true
[sources]
alpha = "alpha.db"
[[windows]]
from = "2026-03-05T18:00:00Z"
every = "8h"
"""


@pytest.mark.thorough
def test_a_report_is_the_same_as_one_made_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the byte in its JSON, from the whole database, but for where its source lay."""
    write_sample(tmp_path / "alpha.db", "healthy")
    (tmp_path / "plan.toml").write_text(PLAN.replace("8h", "24h"), "utf-8")
    local = {"host": "127.0.0.1", "dashboard_address": None, "protocol": "tcp://"}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **local) as cluster:
        ran = run_command(capsys, "batch", str(tmp_path / "plan.toml"), "--scheduler", cluster.scheduler_address)
    assert (ran.code, ran.out.split()[-1]) == (0, "made")
    plan = read_plan(tmp_path / "plan.toml")
    assert plan.as_of is not None
    [run] = runs_of(plan, plan.as_of)
    here = tmp_path / "here"
    here.mkdir()
    assert make(run, None, here).state == "made"
    there, own = ((out / f"{run.name}.json").read_text("utf-8") for out in (tmp_path / "reports", here))
    assert re.sub(r"/[^ \"']*/alpha\.db", "alpha.db", there) == re.sub(r"/[^ \"']*/alpha\.db", "alpha.db", own)


@pytest.mark.thorough  # a minute of both processors
def test_nothing_is_lost_with_a_worker(tmp_path: Path) -> None:
    write_sample(tmp_path / "alpha.db", "healthy")
    (tmp_path / "plan.toml").write_text(PLAN, "utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    address = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    dask += ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(address)]
    cluster: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        cluster.append(subprocess.Popen(command, cwd=elsewhere, **quiet))

    try:
        start(*dask)
        while not (scheduler := written(address)):
            time.sleep(0.1)
        for _ in range(2):
            start(
                sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--nthreads", "1", "--no-nanny",
                "--no-dashboard",
            )  # fmt: skip
        command = [sys.executable, "-m", "vpanalysis", "batch", "plan.toml", "--scheduler", scheduler]
        batch = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        reports = tmp_path / "reports"
        while not list(reports.glob("[!.]*.json")) and batch.poll() is None:
            time.sleep(0.1)
        cluster[1].kill()
        out, err = batch.communicate()
        assert batch.returncode == 0, err
        assert [line.split()[-1] for line in out.splitlines()] == ["made"] * 3
        twins = [json.loads(path.read_text("utf-8")) for path in reports.glob("[!.]*.json")]
        assert [twin["factory"] for twin in twins] == ["alpha"] * 3
        assert len({twin["run_key"] for twin in twins}) == 3
    finally:
        for process in cluster:
            process.kill()
            process.wait()


def written(file: Path) -> str:
    """The address in a scheduler's file; empty while there is none, or not all of it is written."""
    try:
        return str(json.loads(file.read_text("utf-8"))["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return ""


def test_without_the_extra_there_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sample(tmp_path / "alpha.db", "healthy")
    (tmp_path / "plan.toml").write_text(PLAN, "utf-8")
    monkeypatch.setitem(sys.modules, "distributed", None)
    ran = run_command(capsys, "batch", str(tmp_path / "plan.toml"), "--scheduler", "tcp://127.0.0.1:1")
    assert (ran.code, ran.out) == (2, "")
    assert "pip install 'vpanalysis[cluster]'" in ran.err
    mistyped = run_command(capsys, "batch", str(tmp_path / "plan.toml"), "--scheduler", "HOST")
    assert (mistyped.code, "The scheduler 'HOST' is no address: give one such as" in mistyped.err) == (2, True)
