"""``vpanalysis report``: executes a notebook and writes its HTML, notebook and JSON."""

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpanalysis.cli.source_option import (
    check_fail_on,
    fail_on_option,
    ops_token_option,
    refuse_sample,
    resolve_source,
    resolve_sources,
    source_option,
)
from vpanalysis.errors import InputError

if TYPE_CHECKING:
    from vpanalysis.report.notebook import Parameter


_METAVARS = {"str": "TEXT", "int": "INTEGER", "float": "FLOAT", "bool": "BOOLEAN"}


class _WithNotebookParameters(click.Command):
    """Lists the named notebook's parameters under ``--help``: each is an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args[0] if args and not args[0].startswith("-") else "rollout_window"
        ctx.meta["notebook"] = named
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from vpanalysis.report.notebook import parameters_of
        from vpanalysis.report.packaged import find_notebook

        notebook = find_notebook(ctx.meta["notebook"])
        with formatter.section(f"Parameters of {notebook.stem}"):
            formatter.write_dl(
                [
                    (f"--{item.name.replace('_', '-')} {_METAVARS.get(item.type, 'VALUE')}", _help(item))
                    for item in parameters_of(notebook)
                    if item.name != "source"  # an option of the command's own
                ]
            )


@click.command(cls=_WithNotebookParameters, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[NOTEBOOK] [--PARAMETER VALUE]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reports"),
    show_default=True,
    help="Where the files go; made when missing.",
)
@click.option(
    "--engine",
    type=click.Choice(["vpanalysis", "kernel"]),
    default="vpanalysis",
    show_default=True,
    help="What executes the package's own notebooks; any other notebook gets a kernel.",
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Appends the verdict, key figures and evidence row as Markdown to this file, such as $GITHUB_STEP_SUMMARY.",
)
@click.option(
    "--name",
    default="",
    help="The files' name, in which {lane}, {window}, {notebook} and {as_of} (now, unless given) are filled in.",
)
@click.option("--stamp", is_flag=True, help="Adds _{as_of} to the name, so that no report replaces an older one.")
@source_option()
@ops_token_option
@fail_on_option
def report(
    arguments: tuple[str, ...],
    out: Path,
    engine: str,
    summary: Path | None,
    name: str,
    stamp: bool,
    source: str | None,
    ops_token: str | None,
    fail_on: tuple[str, ...],
) -> None:
    """Executes NOTEBOOK (default: rollout_window) and writes .html, .ipynb and .json to --out.

    stdout carries the report's path.
    """
    notebook, given = _split(arguments)
    if engine == "vpanalysis" and not notebook.endswith(".ipynb"):
        _import_libraries()
    from vpanalysis.report.locations import SEPARATOR
    from vpanalysis.report.notebook import NotebookFailedError, check_parameters, output_name, parameters_of, run
    from vpanalysis.report.packaged import find_notebook

    path = find_notebook(notebook)
    declared = {item.name: item.default.strip("'\"") for item in parameters_of(path)}
    check_parameters(path, given)  # a misspelt one is not hidden by what it leaves out
    if "sources" in declared:
        given["sources"] = given.get("sources") or SEPARATOR.join(resolve_sources(source))
        locations = [location.partition("=")[2] or location for location in given["sources"].split(SEPARATOR)]
    elif "source" in declared:
        locations = [resolve_source(source, given.get("vp_id", declared.get("vp_id")))]
        given["source"] = locations[0]
    else:
        locations = []
    for location in locations:
        refuse_sample(location, fail_on=fail_on)
    parameters = check_parameters(path, given)
    if ops_token:
        os.environ["UA_OPS_TOKEN"] = ops_token  # a parameter would end up in the notebook and the HTML
    name = output_name(path, parameters, name, stamp=stamp)
    replaces = (out / f"{name}.html").exists()
    click.echo(f"Executing {path.name} …", err=True)
    try:
        produced = run(path, parameters, out, kernel=engine == "kernel", name=name)
    except NotebookFailedError as error:
        click.echo(f"ERROR: {error}", err=True)
        sys.exit(1)
    click.echo(produced.html)
    if replaces:
        click.echo(f"This replaced an older {produced.html.name}: --stamp keeps both.", err=True)
    if produced.content is not None and produced.content.get("verdict", produced.content) is not None:
        content = produced.content
        found = content.get("verdict", content)
        decided = "decision" in found
        words = f"{found['decision']} ({found['lane_status']}): {found['next_step']}" if decided else _who(found)
        click.echo(words, err=True)
        if summary is not None:
            _append(summary, [one for one in content.get("lanes", [content]) if one.get("needs_you", True)])
        check_fail_on(found["lane_status"], fail_on, next(iter(locations), ""))


def _who(overview: Mapping[str, Any]) -> str:
    """How many lanes need somebody, and which."""
    several = len(overview["sources"]) > 1
    needy = [one["vp_id"] + f" ({one['source']})" * several for one in overview["lanes"] if one["needs_you"]]
    names = ", ".join([*needy, *(f"{lane} (absent)" for lane in overview["absent"])])
    return f"{overview['headline']}{names and ': '}{names}."


def _help(parameter: "Parameter") -> str:
    """A parameter's comment, and its default where that is not what its comment calls empty."""
    default = parameter.default.strip("'\"")
    return f"{parameter.help}  [default: {default}]" if default and parameter.name != "sources" else parameter.help


def _append(file: Path, judged: Sequence[Mapping[str, Any]]) -> None:
    from vpanalysis.analysis.verdict import Verdict
    from vpanalysis.report.summary import markdown

    texts = [markdown(Verdict.model_validate(one["verdict"]), one["evidence_row"]) for one in judged]
    try:
        with file.open("a", encoding="utf-8") as lines:
            lines.write("".join(texts))
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}. The report itself is complete.") from None


def _import_libraries() -> None:
    """Imports what the notebooks need; garbage is looked for neither meanwhile nor in all of it at the end (0.4 s)."""
    collecting = gc.isenabled()
    gc.disable()
    from vpanalysis.report import packaged

    packaged.import_libraries()
    if "duckdb" not in sys.modules:  # it complains at the end about whatever is not freed
        gc.freeze()
    if collecting:
        gc.enable()


def _split(arguments: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Returns the notebook and the parameters given as ``--name value`` or ``--name=value``."""
    notebooks, given = [], {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            notebooks.append(argument)
            continue
        if not argument.startswith("--"):
            raise InputError(f"There is no option {argument}: see 'vpanalysis report --help'.")
        name, has_value, value = argument[2:].partition("=")
        if not has_value:
            try:
                value = next(rest)
            except StopIteration:
                raise InputError(f"--{name} has no value, or is no option: see 'vpanalysis report --help'.") from None
        given[name.replace("-", "_")] = value
    if len(notebooks) > 1:
        raise InputError(f"One notebook at a time, but got {', '.join(notebooks)}: parameters are --name value.")
    return notebooks[0] if notebooks else "rollout_window", given
