"""The command line. Each command lives in a module of its name and is imported only when it is called."""

import sys
import traceback
from importlib import import_module

import click

from vpanalysis.cli.edge import guarded
from vpanalysis.errors import InputError

_COMMANDS = {
    "report": "Executes a notebook and writes its HTML, notebook and JSON.",
    "batch": "Makes many reports by a plan, and an index of them.",
    "index": "Writes an index over a folder of reports.",
    "capture": "The playbook's capture helper: JSON and a row for the evidence log.",
    "snapshot": "The metrics endpoint's JSON, for jq.",
    "evidence": "Keeps an evidence log: shows, appends, checks, verifies, says when to look next.",
    "policy": "Shows, checks and replays policies.",
    "notebook": "Lists and copies the notebooks that the package carries.",
    "sample": "Writes a sample runtime database.",
    "archive": "Keeps a database's VP tables as Parquet, which --source reads.",
    "serve": "The playbook's metrics endpoints over HTTP.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"vpanalysis.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vpanalysis")
def commands() -> None:
    """Decides, with evidence, whether an AI coding lane may get more traffic.

    Exit codes: 0 done; 1 a bug or a failed notebook; 2 wrong usage, source or credentials; 3 the verdict is one
    that --fail-on names, or the evidence command found something.
    """


def main() -> None:
    """Runs the command line; a sentence on stderr and exit 2 for whatever the user can mend."""
    with guarded():
        try:
            sys.exit(commands(prog_name="vpanalysis", standalone_mode=False))
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(2)
        except (InputError, click.ClickException) as error:
            click.echo(f"ERROR: {_sentence(error)}", err=True)
            sys.exit(2)
        except click.Abort:
            sys.exit(130)
        except Exception:
            traceback.print_exc()
            sys.exit(1)


def _sentence(error: InputError | click.ClickException) -> str:
    """What was wrong; where an option or argument is unknown or missing, with the help that lists them."""
    if isinstance(error, InputError):
        return str(error)
    message = error.format_message()
    if not isinstance(error, click.UsageError) or error.ctx is None or type(error) is click.BadParameter:
        return message
    return f"{message}{'' if message.endswith(('.', '?', '?)')) else '.'} See '{error.ctx.command_path} --help'."
