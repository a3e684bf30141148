"""Nothing that data hold acts on a terminal; what cannot be written is a sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run_command
from conftest import NOON, RuntimeDatabase

HOSTILE = "vp.\x1b]52;c;ZXZpbA==\x07\u202eevil\u2066\x9b31m\U000e0041"
ACTING = ("\x1b", "\x07", "\u202e", "\u2066", "\x9b", "\U000e0041")


@pytest.fixture
def hostile_lane(make_database: Callable[..., RuntimeDatabase]) -> Path:
    """A lane whose every text would act on a terminal."""
    database = make_database()
    database.session(status=HOSTILE, last_error=HOSTILE)
    for number in range(3):
        database.mission(f"m{number}{HOSTILE}", NOON, status=HOSTILE, objective=HOSTILE, run_id=HOSTILE)
        database.event(f"m{number}{HOSTILE}", HOSTILE, NOON, payload_json=json.dumps({"error": HOSTILE}))
        database.event(f"m{number}{HOSTILE}", "vp.mission.fallback", NOON, payload_json=json.dumps({"error": HOSTILE}))
    database.session_event(HOSTILE, NOON)
    return database.path


@pytest.mark.parametrize("command", ["snapshot", "capture"])
def test_control_and_bidi_characters_of_data_never_reach_the_terminal(
    command: str, hostile_lane: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_command(capsys, command, "--source", str(hostile_lane))
    assert ran.code == 0
    assert not [character for character in ACTING if character in ran.out + ran.err]


def test_json_keeps_them_escaped(hostile_lane: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(run_command(capsys, "snapshot", "--source", str(hostile_lane)).out)
    assert answer["mission_counts"] == {HOSTILE: 3}
    assert answer["recent_missions"][0]["objective"] == HOSTILE


def test_nor_do_those_of_lane_and_file_names(
    hostile_lane: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["snapshot", "--source", str(hostile_lane), "--vp-id", HOSTILE],
        ["snapshot", "--source", str(tmp_path / HOSTILE)],
        ["report", HOSTILE],
    ):
        ran = run_command(capsys, *arguments)
        assert ran.code == 2
        assert "\\u001b]52;" in ran.err or "\\x1b]52;" in ran.err
        assert not [character for character in ACTING if character in ran.out + ran.err]


def test_nor_those_of_a_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr("vpanalysis.report.packaged.notebooks", break_down)
    ran = run_command(capsys, "notebook", "list")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert not [character for character in ACTING if character in ran.err]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = [sys.executable, "-m", "vpanalysis", "notebook", "list"]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, check=False, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_stdout_is_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        program = [sys.executable, "-m", "vpanalysis", "notebook", "list"]
        ended = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "ERROR: The output cannot be written: No space left on device.\n"
