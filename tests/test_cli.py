"""The command line's frame: help, exit codes, sentences, and the sample command."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from command_line import Ran, run_command

from vpanalysis.cli import commands
from vpanalysis.data.sample import SAMPLE_END, SCENARIOS

COMMANDS = ("report", "capture", "snapshot", "policy", "sample", "serve")


@pytest.fixture
def vpanalysis(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ran]:
    """Runs a command in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_command(capsys, *arguments)


def test_help_names_every_command(vpanalysis: Callable[..., Ran]) -> None:
    shown = vpanalysis("--help")
    assert shown.code == 0
    assert all(f"\n  {command} " in shown.out for command in COMMANDS)
    assert "Exit codes: 0 done; 1 a bug" in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, vpanalysis: Callable[..., Ran]) -> None:
    shown = vpanalysis(command, "--help")
    assert shown.code == 0
    assert shown.out.startswith("Usage:")


def test_report_help_lists_the_notebooks_parameters(vpanalysis: Callable[..., Ran]) -> None:
    shown = vpanalysis("report", "--help").out
    assert all(f"--{name}" in shown for name in ("window-start", "last-missions", "as-of", "event-limit", "policy"))


def test_every_option_of_every_command_says_what_it_does() -> None:
    def walk(command: click.Command) -> list[click.Command]:
        if not isinstance(command, click.Group):
            return [command]
        names = command.list_commands(click.Context(command))
        return [one for name in names for one in walk(command.get_command(click.Context(command), name) or command)]

    found = walk(commands)
    assert len(found) > 15
    options = [(command.name, item) for command in found for item in command.params if isinstance(item, click.Option)]
    assert [(name, item.name) for name, item in options if not (item.help or "").split("  [")[0]] == []


def test_the_help_of_a_notebook_lists_its_own_parameters_and_only_defaults_that_are_used(
    vpanalysis: Callable[..., Ran],
) -> None:
    own = vpanalysis("report", "lane_overview", "--help").out.partition("Parameters of lane_overview:\n")[2]
    assert "  --sources TEXT " in own
    assert "sample:fleet" not in own
    assert "[default: playbook]" in own
    assert "  --source " not in vpanalysis("report", "--help").out.partition("Parameters of")[2]


@pytest.mark.parametrize("arguments", [(), ("evidence",)])
def test_a_command_without_anything_shows_its_help(arguments: tuple[str, ...], vpanalysis: Callable[..., Ran]) -> None:
    shown = vpanalysis(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("Usage: ")
    assert "\nCommands:\n" in shown.err


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (("unheard-of",), "No such command 'unheard-of'. See 'vpanalysis --help'."),
        (("sample",), "Missing argument 'PATH'. See 'vpanalysis sample --help'."),
        (("capture", "x.db"), "Got unexpected extra argument (x.db). See 'vpanalysis capture --help'."),
        (("evidence", "shw"), "See 'vpanalysis evidence --help'."),
        (("sample", "x.db", "--missions", "0"), "0 is not in the range x>=1."),
        (
            ("sample", "x.db", "--end", "soon"),
            "the time 'soon' is not a readable time: give ISO 8601, such as 2026-02-16T14:00:00Z.",
        ),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    arguments: tuple[str, ...], ending: str, tmp_path: Path, vpanalysis: Callable[..., Ran]
) -> None:
    refused = vpanalysis(*arguments)
    assert refused.code == 2
    assert refused.err.startswith("ERROR: ")
    assert refused.err.endswith(f"{ending}\n")
    assert len(refused.err.splitlines()) == 1
    assert refused.out == ""
    assert list(tmp_path.iterdir()) == []


def test_sample_writes_a_database_and_prints_its_path(tmp_path: Path, vpanalysis: Callable[..., Ran]) -> None:
    written = vpanalysis("sample", "lane.db", "--scenario", "failing", "--missions", "60")
    assert (written.code, written.out) == (0, "lane.db\n")
    assert SAMPLE_END.isoformat() in written.err
    connection = sqlite3.connect(tmp_path / "lane.db")
    assert connection.execute("SELECT count(*) FROM vp_missions").fetchone() == (60,)


def test_sample_refuses_to_overwrite(tmp_path: Path, vpanalysis: Callable[..., Ran]) -> None:
    (tmp_path / "lane.db").write_text("precious")
    refused = vpanalysis("sample", "lane.db")
    assert refused.code == 2
    assert "lane.db" in refused.err
    assert (tmp_path / "lane.db").read_text() == "precious"


def test_sample_takes_another_end(tmp_path: Path, vpanalysis: Callable[..., Ran]) -> None:
    written = vpanalysis("sample", "lane.db", "--end", "2026-11-01T12:00:00+02:00")
    assert written.code == 0
    newest = sqlite3.connect(tmp_path / "lane.db").execute("SELECT max(created_at) FROM vp_missions").fetchone()[0]
    assert "2026-11-01T09" <= newest <= "2026-11-01T10:00:00+00:00"
    assert vpanalysis("sample", "other.db", "--end", "soon").code == 2


def test_sample_knows_its_scenarios(tmp_path: Path, vpanalysis: Callable[..., Ran]) -> None:
    refused = vpanalysis("sample", "lane.db", "--scenario", "sunny")
    assert refused.code == 2
    assert all(f"'{scenario}'" in refused.err for scenario in SCENARIOS)
