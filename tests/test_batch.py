"""Batches: plans checked before anything runs, each report made once, and whole, whatever ends the batch."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from command_line import run_command
from conftest import LANE, some_of

from vpanalysis.batch.make import known_twin
from vpanalysis.batch.plan import read_plan, runs_of
from vpanalysis.batch.run import journal, remove_old
from vpanalysis.data.sample import write_sample
from vpanalysis.data.timestamps import parse_time

ROOT = Path(__file__).parents[1]
AS_OF = "2026-03-06T18:00:00Z"
PLAN = f"""
as_of = "{AS_OF}"
[sources]
alpha = "alpha.db"
beta = "beta.db"
[[windows]]
from = "2026-03-05T18:00:00Z"
to = "2026-03-06T18:00:00Z"
every = "12h"
lanes = "vp.coder.*"
"""
NAMES = [
    f"{factory}_{LANE}_{bounds}"
    for factory in ("alpha", "beta")
    for bounds in ("2026-03-05T180000Z_2026-03-06T060000Z", "2026-03-06T060000Z_2026-03-06T180000Z")
]
#: Two runs instead of four: one window of each factory.
SHORT = PLAN.replace('every = "12h"', 'every = "24h"')
TWO = [f"{factory}_{LANE}_2026-03-05T180000Z_2026-03-06T180000Z" for factory in ("alpha", "beta")]
COMMAND = [sys.executable, "-m", "vpanalysis", "batch", "plan.toml"]


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """The folder of a plan over two factories of one lane, and two windows."""
    write_sample(tmp_path / "alpha.db", "healthy")
    write_sample(tmp_path / "beta.db", "critical")
    (tmp_path / "plan.toml").write_text(PLAN, "utf-8")
    return tmp_path


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    batch = subprocess.Popen([*COMMAND, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield batch
    finally:
        batch.kill()
        batch.communicate()


class Resumed(NamedTuple):
    """What a batch leaves that was ended after its first report and started again."""

    folder: Path
    before: dict[str, int]
    again: "subprocess.CompletedProcess[str]"


def ended_and_resumed(folder: Path, number: signal.Signals) -> Resumed:
    """Ends a batch once it has made a report, and starts it again."""
    write_sample(folder / "alpha.db", "healthy")
    write_sample(folder / "beta.db", "critical")
    (folder / "plan.toml").write_text(SHORT.replace(f'as_of = "{AS_OF}"', ""), "utf-8")
    with running(folder, "--jobs", "1") as batch:
        while not made(folder):
            assert batch.poll() is None
            time.sleep(0.05)
        os.kill(batch.pid, number)
        batch.wait()
    before = made(folder)
    assert not json.loads((folder / "reports" / ".batch.json").read_text("utf-8"))["finished"]
    again = subprocess.run([*COMMAND, "--fail-on", "critical"], cwd=folder, capture_output=True, text=True)
    return Resumed(folder, before, again)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """What a batch leaves that was killed."""
    return ended_and_resumed(tmp_path_factory.mktemp("whole"), signal.SIGKILL)


@pytest.fixture
def done(resumed: Resumed, tmp_path: Path) -> Path:
    """A copy of its folder."""
    return shutil.copytree(resumed.folder, tmp_path, dirs_exist_ok=True)


def made(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "reports").glob("[!.]*.json")}


def states(out: str) -> list[str]:
    return [line.split()[-1] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("replaced", "by", "sentence"),
    [
        ('every = "12h"', 'every = "often"', "windows.1.every: 'often' is not a duration"),
        ('every = "12h"', "", "generated windows need from and every"),
        ('every = "12h"', 'every = "12h"\nlast_missions = 3', "not several of them"),
        (
            'lanes = "vp.coder.*"',
            'lane = "vp.coder.*"',
            "there is no key windows.1.lane: [[windows]] may have sources, lanes, start, end, from, to",
        ),
        (
            'lanes = "vp.coder.*"',
            'lanes = "vp.other.*"',
            f"No lane of alpha, beta matches vp.other.*: there are {LANE}.",
        ),
        ('lanes = "vp.coder.*"', 'sources = "gamma"', "there is no source 'gamma' in [sources]: it holds alpha, beta"),
        ('lanes = "vp.coder.*"', 'notebook = "rolout"', "There is no notebook 'rolout'"),
        ('lanes = "vp.coder.*"', 'policy = "strict"', "strict"),
        ('every = "12h"', 'every = "12h"\n[[windows]]\nlabel = "x"\n[[windows]]\nlabel = "x"', "Two reports"),
        ("beta.db", "gamma.db", "gamma.db"),
        ("[[windows]]", "[windows", "is not valid TOML"),
        ("[[windows]]", "[windows]", "windows is one table: write [[windows]], in double brackets."),
        (
            AS_OF,
            "yesterday",
            "as_of: 'yesterday' is not a readable time: give ISO 8601, such as 2026-02-16T14:00:00Z.\n",
        ),
        (f'as_of = "{AS_OF}"', "as_of = 3", "as_of: '3' is not a readable time"),
    ],
)
def test_a_wrong_plan_is_a_sentence_and_nothing_is_made(
    planned: Path, capsys: pytest.CaptureFixture[str], replaced: str, by: str, sentence: str
) -> None:
    assert replaced in PLAN
    (planned / "plan.toml").write_text(PLAN.replace(replaced, by, 1), "utf-8")
    ran = run_command(capsys, "batch", str(planned / "plan.toml"))
    assert (ran.code, ran.out) == (2, "")
    assert sentence in ran.err
    assert ran.err.count("\n") == 1
    assert not made(planned)


def test_a_dry_run_prints_the_runs_and_makes_nothing(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_command(capsys, "batch", str(planned / "plan.toml"), "--dry-run")
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == NAMES
    assert not (planned / "reports").exists()
    dates = PLAN.replace('"2026-03-05T18:00:00Z"', "2026-03-06").replace(
        '"2026-03-06T18:00:00Z"', "2026-03-06T12:00:00"
    )
    (planned / "plan.toml").write_text(dates, "utf-8")  # TOML's own dates, without quotes
    ran = run_command(capsys, "batch", str(planned / "plan.toml"), "--dry-run")
    assert ran.out.split("\t")[0] == f"alpha_{LANE}_2026-03-06T000000Z_2026-03-06T120000Z"


def test_a_dry_run_tells_of_lanes_that_are_not_there(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PLAN.replace('"vp.coder.*"', f'["{LANE}", "vp.absent"]').replace('beta = "beta.db"\n', "")
    (planned / "plan.toml").write_text(text, "utf-8")
    ran = run_command(capsys, "batch", str(planned / "plan.toml"), "--dry-run")
    assert (ran.code, ran.err.splitlines()) == (
        0,
        ["alpha has no lane vp.absent: its reports would be refused.", "4 reports to make; nothing was made."],
    )


def test_several_policies_and_labels_make_names_of_their_own(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PLAN + 'label = "cohort"\npolicy = ["playbook", "capture"]\nprofile = "sustained"\nsources = "beta"\n'
    (planned / "plan.toml").write_text(text, "utf-8")
    ran = run_command(capsys, "batch", str(planned / "plan.toml"), "--dry-run")
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == [
        f"beta_{LANE}_cohort_{start}_{policy}_sustained"
        for start in ("2026-03-05T180000Z", "2026-03-06T060000Z")
        for policy in ("playbook", "capture")
    ]


def test_a_batch_makes_each_report_once_until_something_changes(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made(done)
    assert sorted(first) == TWO
    for name in TWO:
        page = (done / "reports" / f"{name}.html").read_text("utf-8")
        twin = json.loads((done / "reports" / f"{name}.json").read_text("utf-8"))
        assert page.rstrip().endswith("</html>")
        assert twin["factory"] == name.partition("_")[0]
        assert len(twin["run_key"]) == 64
    assert 'href="index.html"' in page
    assert "1 of 2 needs you" in (done / "reports" / "index.html").read_text("utf-8")

    with closing(sqlite3.connect(done / "beta.db")) as db, db:
        db.execute(
            "UPDATE vp_missions SET status = 'failed' WHERE mission_id = (SELECT mission_id FROM vp_missions "
            "WHERE status = 'completed' ORDER BY created_at DESC LIMIT 1)"
        )
    ran = run_command(capsys, "batch", str(done / "plan.toml"))
    assert states(ran.out) == ["unchanged", "made"], ran.err
    assert [made(done)[name] == first[name] for name in TWO] == [True, False]


def test_a_twin_without_its_page_is_no_report(done: Path) -> None:
    [_, run] = runs_of(read_plan(done / "plan.toml"), datetime.now(UTC))
    assert known_twin(run, done / "reports") is not None
    (done / "reports" / f"{TWO[1]}.html").unlink()
    assert known_twin(run, done / "reports") is None


def test_one_refused_window_does_not_stop_the_others(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PLAN.replace('"vp.coder.*"', f'["{LANE}", "vp.absent"]').replace('beta = "beta.db"\n', "")
    (planned / "plan.toml").write_text(text.replace('every = "12h"', 'every = "24h"'), "utf-8")
    ran = run_command(capsys, "batch", str(planned / "plan.toml"), "--keep", "2d")
    assert (ran.code, states(ran.out)) == (2, ["refused", "made"])
    assert "vp.absent" in ran.err
    assert "Removed 0 reports of healthy windows that were judged over 2 days ago." in ran.err


def test_healthy_reports_that_are_old_are_removed_and_no_others(done: Path) -> None:
    reports = done / "reports"
    verdicts = [json.loads((reports / f"{name}.json").read_text("utf-8"))["verdict"] for name in TWO]
    assert [verdict["lane_status"] for verdict in verdicts] == ["HEALTHY", "FORCE_FALLBACK"]
    judged = parse_time(verdicts[0]["generated_at"])
    assert judged is not None
    keep = timedelta(days=2)
    for age, kept in ((keep, TWO), (keep + timedelta(seconds=1), TWO[1:])):
        assert remove_old(reports, keep, judged + age) == 2 - len(kept)
        assert sorted(made(done)) == kept
        assert {path.stem for path in reports.glob("*.html")} == {*kept, "index"}


def plan_own_notebook(folder: Path, code: str) -> None:
    """Lets the plan run a notebook of one's own, in a kernel: the parameters, and a cell of code."""
    declared = ("source", "vp_id", "window_start", "window_end", "as_of", "profile", "policy")
    cells = [
        nbformat.v4.new_code_cell("\n".join(f'{name}: str = ""' for name in declared)),
        nbformat.v4.new_code_cell(code),
    ]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "own.ipynb")
    (folder / "plan.toml").write_text(SHORT + 'notebook = "own.ipynb"\nprofile = "rollout"\n', "utf-8")


def test_state_does_not_leak_from_run_to_run(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A notebook that fails where an earlier run left something in a module, the environment or the folder."""
    plan_own_notebook(
        planned,
        "import os, vpanalysis\n"
        "assert not hasattr(vpanalysis, 'left') and 'LEFT' not in os.environ\n"
        "vpanalysis.left = os.environ['LEFT'] = 'something'\nprint(os.getpid())",
    )
    ran = run_command(capsys, "batch", str(planned / "plan.toml"), "--jobs", "1")
    assert states(ran.out) == ["made"] * 2, ran.err


@pytest.mark.parametrize(("kills", "expected"), some_of([(2, ["failed", "made"]), (1, ["made"] * 2)], 2))
def test_a_run_whose_process_is_killed_is_tried_once_more(
    planned: Path, capsys: pytest.CaptureFixture[str], kills: int, expected: list[str]
) -> None:
    """One run's notebook kills the process that runs it, its kernel's parent."""
    killed = planned / "killed"
    killed.write_text("")
    plan_own_notebook(
        planned,
        f"import os, pathlib, signal, time\nkilled = pathlib.Path({str(killed)!r})\n"
        f"if 'alpha' in source and len(killed.read_text()) < {kills}:\n"
        "    killed.write_text(killed.read_text() + 'x')\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(600)",
    )
    ran = run_command(capsys, "batch", str(planned / "plan.toml"), "--jobs", "2")
    assert sorted(states(ran.out)) == expected, ran.err
    assert killed.read_text() == "x" * kills
    assert ("killed twice" in ran.out + ran.err) == (kills == 2)
    assert len(list((planned / "reports").glob("*.html"))) == expected.count("made")


def test_a_killed_batch_goes_on_where_it_stopped(resumed: Resumed) -> None:
    assert_went_on(resumed)


@pytest.mark.thorough
def test_a_terminated_batch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    assert_went_on(ended_and_resumed(tmp_path, signal.SIGTERM))


def assert_went_on(resumed: Resumed) -> None:
    """Whole files only, nothing made twice, and one moment of judgement; the exit code is that of the worst report."""
    folder, before, again = resumed
    assert again.returncode == 3, again.stderr
    assert sorted(made(folder)) == TWO
    assert {name: made(folder)[name] for name in before} == before
    assert states(again.stdout).count("unchanged") >= len(before) == 1
    moments = {
        json.loads((folder / "reports" / f"{name}.json").read_text("utf-8"))["provenance"]["parameters"]["as_of"]
        for name in TWO
    }
    assert len(moments) == 1


def test_only_one_batch_writes_a_folder(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with journal(read_plan(planned / "plan.toml")):
        ran = run_command(capsys, "batch", str(planned / "plan.toml"))
    assert ran.code == 2
    assert "Another batch is writing" in ran.err
