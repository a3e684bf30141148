"""Runs that are killed, cannot write, or would tell a secret; inputs that no reader can take."""

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from command_line import run_command
from conftest import NOON, RuntimeDatabase, some_of
from nbformat.v4 import new_code_cell, new_notebook

from vpanalysis.report.notebook import NotebookFailedError, run
from vpanalysis.scratch import scratch_folder

TOKEN = 'ops"tok\\en/4711'


def write(path: Path, *cells: str) -> Path:
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def test_a_scratch_folder_is_gone_after_its_use(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "x").write_text("x")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_runs_are_removed_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib; from vpanalysis.scratch import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as f: (f / 'x').touch(); print(flush=True); time.sleep(60)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(2)]
    for one in runs:
        assert one.stdout is not None
        one.stdout.readline()
    assert len(list(tmp_path.iterdir())) == 2
    runs[0].kill()
    runs[0].communicate()
    with scratch_folder(tmp_path):
        assert len(list(tmp_path.iterdir())) == 2  # its own, and that of the one that lives
    runs[1].kill()
    runs[1].communicate()
    with scratch_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_strangers_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".vpanalysis-note").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".vpanalysis-link").symlink_to(tmp_path / "elsewhere")
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".vpanalysis-note", ".vpanalysis-link", "elsewhere"}


def test_sigterm_cleans_up(tmp_path: Path) -> None:
    notebook = write(
        tmp_path / "sleeps.ipynb", f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(60)"
    )
    (tmp_path / "temporary").mkdir()
    program = [sys.executable, "-m", "vpanalysis", "report", str(notebook), "--out", str(tmp_path / "out")]
    running = subprocess.Popen(
        program,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not (tmp_path / "begun").exists():
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    running.communicate()
    assert running.returncode not in (0, None)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_killed_kernel_is_named_with_its_cell_and_leaves_a_copy(tmp_path: Path) -> None:
    notebook = write(tmp_path / "dies.ipynb", "print('seen')", "import os; os.kill(os.getpid(), 9)", "1")
    with pytest.raises(NotebookFailedError, match=r"Kernel died in cell 2\. Its failed copy is .*dies\.failed\.ipynb"):
        run(notebook, {}, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dies.failed.ipynb"]
    assert "seen" in (tmp_path / "out" / "dies.failed.ipynb").read_text()


def test_an_out_folder_that_goes_away_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = write(tmp_path / "removes.ipynb", f"import shutil; shutil.rmtree({str(tmp_path / 'out')!r})")
    ran = run_command(capsys, "report", str(notebook), "--out", str(tmp_path / "out"))
    assert ran.code == 2
    assert "cannot be written" in ran.err
    assert "Traceback" not in ran.err


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    notebook = write(tmp_path / "plain.ipynb", "1")
    ran = run_command(capsys, "report", str(notebook), "--out", str(tmp_path / "out"))
    assert ran.code == 2
    assert "cannot be written: No space left on device." in ran.err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [["evidence", "init", "made"], ["notebook", "copy", "rollout_window", "made"], ["archive", "--to", "made"]],
)
def test_what_cannot_be_written_whole_is_a_sentence_and_not_left_in_part(
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # half a module's would stay, and break every later process
    if command[0] == "archive":
        database = make_database()
        database.mission("m1", NOON)
        database.connection.close()
        command = [*command, "--source", str(database.path)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))  # as a disk that is full after 50 bytes
    try:
        ran = run_command(capsys, *command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be written: File too large" in ran.err
    assert ran.err.count("\n") == 1
    assert [path for path in tmp_path.rglob("made*/**/*") if path.is_file() and path.stat().st_size] == []
    assert not (tmp_path / "made").is_file()


@pytest.mark.parametrize("fails", [False, True])
def test_the_ops_token_is_in_no_file_that_a_users_own_notebook_makes(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UA_OPS_TOKEN", TOKEN)
    notebook = write(
        tmp_path / "tells.ipynb",
        "import os, json, html\nfrom urllib.parse import quote\ntoken = os.environ['UA_OPS_TOKEN']",
        "print(token); print(json.dumps([token])); print(json.dumps(json.dumps(token))); print(quote(token, safe=''))",
        "print(html.escape(token))\nfrom IPython.display import HTML, display",
        "display(HTML(f'<b>{html.escape(token)}</b>'))",
        "display({'application/json': {'a': [token]}}, raw=True)",
        "raise ValueError(token)" if fails else "token",
    )
    ran = run_command(capsys, "report", str(notebook), "--out", str(tmp_path / "out"))
    assert ran.code == (1 if fails else 0)
    files = list((tmp_path / "out").iterdir())
    assert len(files) == (1 if fails else 2)
    for text in (ran.out, ran.err, *(path.read_text() for path in files)):
        assert "4711" not in text
    assert "***" in files[0].read_text()


@pytest.mark.parametrize(
    ("mode", "umask", "expected"), some_of([(0o600, 0o022, 0o600), (0o644, 0o022, 0o644), (0o644, 0o077, 0o600)], 2)
)
def test_files_are_read_by_nobody_who_may_not_read_the_database(
    mode: int, umask: int, expected: int, make_database: Callable[..., RuntimeDatabase], tmp_path: Path
) -> None:
    database = make_database()
    database.mission("m1", NOON)
    database.connection.close()
    database.path.chmod(mode)
    notebook = write(tmp_path / "plain.ipynb", "1")
    nb = nbformat.read(notebook, 4)
    nb.cells.insert(0, new_code_cell("source = ''", metadata={"tags": ["parameters"]}))
    nbformat.write(nb, notebook)
    before = os.umask(umask)
    try:
        made = run(notebook, {"source": str(database.path)}, tmp_path / "out")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (made.html, made.notebook)} == {expected}


def huge(path: Path, number: object) -> Path:
    seconds = dict.fromkeys(("count", "avg_seconds", "p50_seconds", "p95_seconds", "max_seconds"), number)
    content = {
        "vp_id": "vp.coder.primary",
        "generated_at": NOON.isoformat(),
        "fallback": {"missions_considered": number, "missions_with_fallback": number, "rate": 0.0},
        "latency_seconds": seconds,
        "mission_counts": {"completed": number},
        "event_counts": {"vp.mission.completed": number},
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("number", [10**400, 2**63, 2**70, 1e308, 10**15])
@pytest.mark.parametrize("command", ["snapshot", "capture"])
def test_numbers_that_nothing_counts_to_are_unknown(
    command: str, number: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_command(capsys, command, "--source", str(huge(tmp_path / "huge.json", number)))
    assert ran.code == 0, ran.err
    if command == "capture":
        assert "HOLD_SHADOW" in ran.out
        assert "| n/a | n/a |" in ran.out


def test_a_policy_that_nests_too_deeply_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep.toml"
    path.write_text("a = " + "[" * 3000 + "]" * 3000)
    ran = run_command(capsys, "policy", "check", str(path))
    assert (ran.code, ran.err) == (2, f"ERROR: Policy {path} nests too deeply to be a policy.\n")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo.json")
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for arguments in (
        ["snapshot", "--source", str(tmp_path / "fifo.json")],
        ["snapshot", "--source", str(tmp_path / "zero.json")],
        ["policy", "check", str(tmp_path / "fifo.toml")],
        ["batch", str(tmp_path / "fifo.toml")],
    ):
        ran = run_command(capsys, *arguments)
        assert ran.code == 2
        assert "not a regular file" in ran.err


def test_an_index_passes_over_what_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "gone.json").symlink_to("nowhere")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    ran = run_command(capsys, "index", str(tmp_path))
    assert ran.code == 2
    assert "holds no report with its JSON" in ran.err


def test_a_token_file_that_is_a_fifo_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / ".env")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UA_OPS_TOKEN", raising=False)
    ran = run_command(capsys, "snapshot", "--source", "http://127.0.0.1:9")
    assert ran.code == 2
    assert "cannot be reached" in ran.err


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "lane.db"
    from vpanalysis.data.sample import write_sample
    from vpanalysis.report.packaged import find_notebook

    write_sample(source, missions=60)
    made = []
    for name in ("one", "two"):
        produced = run(
            find_notebook("rollout_window"), {"source": str(source), "as_of": "2026-03-01T00:00:00Z"}, tmp_path / name
        )
        assert produced.document is not None
        made.append([path.read_bytes() for path in (produced.html, produced.document, produced.notebook)])
        shutil.rmtree(tmp_path / name)
    assert made[0][0] == made[1][0]
    assert made[0][1] == made[1][1]
    assert made[0][2] == made[1][2]
