"""The command line's frame: help, exit codes, sentences, and the sample command."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from vpanalysis.data.sample import SAMPLE_END, SCENARIOS

COMMANDS = ("report", "capture", "snapshot", "policy", "sample", "serve")


def vpanalysis(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vpanalysis", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=60,
    )


def test_help_names_every_command() -> None:
    shown = vpanalysis("--help")
    assert shown.returncode == 0
    assert all(f"\n  {command} " in shown.stdout for command in COMMANDS)
    assert "Exit codes: 0 done; 1 a bug" in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    shown = vpanalysis(command, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage:")


def test_report_help_lists_the_notebooks_parameters() -> None:
    shown = vpanalysis("report", "--help").stdout
    assert all(f"--{name}" in shown for name in ("window-start", "last-missions", "as-of", "event-limit", "policy"))


@pytest.mark.parametrize("arguments", [("unheard-of",), ("sample",), ("sample", "x.db", "--missions", "0")])
def test_wrong_usage_is_one_sentence_and_exit_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    refused = vpanalysis(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("ERROR: ")
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_sample_writes_a_database_and_prints_its_path(tmp_path: Path) -> None:
    written = vpanalysis("sample", "lane.db", "--scenario", "failing", "--missions", "60", cwd=tmp_path)
    assert (written.returncode, written.stdout) == (0, "lane.db\n")
    assert SAMPLE_END.isoformat() in written.stderr
    connection = sqlite3.connect(tmp_path / "lane.db")
    assert connection.execute("SELECT count(*) FROM vp_missions").fetchone() == (60,)


def test_sample_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "lane.db").write_text("precious")
    refused = vpanalysis("sample", "lane.db", cwd=tmp_path)
    assert refused.returncode == 2
    assert "lane.db" in refused.stderr
    assert (tmp_path / "lane.db").read_text() == "precious"


def test_sample_takes_another_end(tmp_path: Path) -> None:
    written = vpanalysis("sample", "lane.db", "--end", "2026-11-01T12:00:00+02:00", cwd=tmp_path)
    assert written.returncode == 0
    newest = sqlite3.connect(tmp_path / "lane.db").execute("SELECT max(created_at) FROM vp_missions").fetchone()[0]
    assert "2026-11-01T09" <= newest <= "2026-11-01T10:00:00+00:00"
    assert vpanalysis("sample", "other.db", "--end", "soon", cwd=tmp_path).returncode == 2


def test_sample_knows_its_scenarios(tmp_path: Path) -> None:
    refused = vpanalysis("sample", "lane.db", "--scenario", "sunny", cwd=tmp_path)
    assert refused.returncode == 2
    assert all(f"'{scenario}'" in refused.stderr for scenario in SCENARIOS)
