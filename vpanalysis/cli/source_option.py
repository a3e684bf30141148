"""Where a command reads from and what it exits with: options that ``report``, ``capture`` and ``snapshot`` share."""

import os
from collections.abc import Callable, Collection
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vpanalysis.data.lane_lookup import why_not
from vpanalysis.data.ops_token import TOKEN_VARIABLE, resolve_token
from vpanalysis.data.schema import DEFAULT_VP_ID, SEVERAL, SOURCE_ENVIRONMENT
from vpanalysis.data.sqlite_file import CHECK_VARIABLE, WAIT_VARIABLE
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

if TYPE_CHECKING:
    from vpanalysis.analysis.verdict import LaneStatus
    from vpanalysis.data.source import Source

__all__ = [
    "check_fail_on",
    "fail_on_option",
    "format_option",
    "is_sample",
    "open_with_limit",
    "ops_token_option",
    "refuse_sample",
    "resolve_source",
    "resolve_sources",
    "resolve_token",
    "source_option",
    "vp_id_option",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_SEVERAL_KINDS = "; several databases and archives are read as one, and where they overlap the first one counts"
_ALL_KINDS = (
    f"A runtime database, an archive's folder, a gateway's URL, a saved snapshot (.json), or 'sample'{_SEVERAL_KINDS}"
)
#: What holds a lane's past.
PAST_KINDS = f"A runtime database, an archive's folder, or 'sample'{_SEVERAL_KINDS}"
#: The lane statuses that each choice of ``--fail-on`` names; ``watch`` includes critical.
_FAILING = {
    "watch": ("WATCH", "FORCE_FALLBACK"),
    "critical": ("FORCE_FALLBACK",),
    "no-traffic": ("NO_TRAFFIC",),
}
FAIL_ON = click.Choice(list(_FAILING))
EXIT_FAILING_VERDICT = 3


def source_option(kinds: str = _ALL_KINDS, *, lane: bool = True) -> Callable[[_F], _F]:
    """Adds ``--source``, and how a database is read: ``--wait`` and ``--check``.

    Several sources become one location, as :func:`vpanalysis.open_source` takes it.

    Args:
        kinds: What the command reads, as its help says it.
        lane: Without ``--source``, a file counts only when it has anything of the lane.
    """

    def joined(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> str | None:
        if len(given) > 1 and not all(part.strip() for part in given):
            raise InputError("One --source of several is empty: is a variable unset?")
        return SEVERAL.join(given) if given else None

    variables = f"{', '.join(SOURCE_ENVIRONMENT[:-1])} and {SOURCE_ENVIRONMENT[-1]}"
    default = f"the first file named by {variables}{' that has anything of the lane' if lane else ''}"
    options = (
        click.option(
            "--check",
            is_flag=True,
            expose_value=False,
            callback=_told(CHECK_VARIABLE),
            help="Have SQLite check for damage however large the tables are (always done under 256 MB).",
        ),
        click.option(
            "--wait",
            type=click.FloatRange(0, 3600),
            expose_value=False,
            callback=_told(WAIT_VARIABLE),
            metavar="SECONDS",
            help="How long to wait for a database that a writer has locked.  [default: 5]",
        ),
        click.option(
            "--source", multiple=True, callback=joined, metavar="SOURCE", help=f"{kinds}.  [default: {default}]"
        ),
    )
    return lambda command: reduce(lambda decorated, option: option(decorated), options, command)


def vp_id_option(command: _F) -> _F:
    """Adds ``--vp-id``."""
    return click.option("--vp-id", metavar="LANE", default=DEFAULT_VP_ID, show_default=True, help="The lane.")(command)


def resolve_sources(source: str | None) -> list[str]:
    """Returns the locations to read lanes from: the option's values, else every database that a variable names.

    Raises:
        InputError: There is none, or a value is blank.
    """
    if source is not None:
        return [resolve_source(part) for part in source.split(SEVERAL)]
    named = (os.environ.get(variable, "").strip() for variable in SOURCE_ENVIRONMENT)
    return list(dict.fromkeys(filter(None, named))) or [resolve_source(None)]


def _told(variable: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Hands an option's value to whatever reads the database, in a notebook's process, too."""

    def tell(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            before = os.environ.get(variable)
            os.environ[variable] = str(value)
            ctx.call_on_close(lambda: os.environ.update({variable: before}) if before else os.environ.pop(variable))

    return tell


def format_option(command: _F) -> _F:
    """Adds ``--format``."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["table", "csv", "json"]),
        default="table",
        show_default=True,
        help="Columns to read, or the same for programs.",
    )(command)


def ops_token_option(command: _F) -> _F:
    """Adds ``--ops-token``."""
    return click.option("--ops-token", help=f"The gateway's token.  [default: {TOKEN_VARIABLE}, or .env]")(command)


def fail_on_option(command: _F) -> _F:
    """Adds ``--fail-on``, repeatable."""
    return click.option(
        "--fail-on",
        type=FAIL_ON,
        multiple=True,
        help="Exit with 3 on such a verdict; 'watch' includes critical; may be given more than once.",
    )(command)


def resolve_source(source: str | None, vp_id: str | None = None) -> str:
    """Returns the location to read: the option's value, else the database that an environment variable names.

    Of the set variables it is the first whose file has anything of the lane, as the gateway looks for it; a note on
    stderr says which. A file that is there and cannot be read is not passed over: whether it has the lane is unknown,
    and reading it says why.

    Args:
        source: The option's value; ``None`` when it was not given.
        vp_id: The lane; ``None``: none is looked for, and the first set variable is taken.

    Raises:
        InputError: There is none, the option's value is blank (a variable that is not set, in CI), or the lane is.
    """
    if source is not None:
        if not source.strip():
            raise InputError("--source is empty: give a runtime database, a URL or a snapshot (is a variable unset?).")
        return source
    if vp_id is not None:
        RolloutWindow(vp_id)  # it refuses what is no lane's name
    passed_over: list[str] = []
    for variable in SOURCE_ENVIRONMENT:
        location = os.environ.get(variable, "").strip()
        if not location:
            continue
        if vp_id is None:
            return location
        fault = why_not(location, vp_id)
        name = "a URL" if "://" in location else Path(location).name or location
        if fault is None:
            others = f"; passed over: {', '.join(passed_over)}" if passed_over else ""
            click.echo(f"Source: {name} ({variable}){others}.", err=True)
            return location
        passed_over.append(f"{name} ({variable}) {fault}")
    if passed_over:
        raise InputError(
            f"No source, no verdict: {', '.join(passed_over)}. Check the variables and the lane, or give --source."
        )
    raise InputError(
        f"No source, no verdict: give --source, or set one of {', '.join(SOURCE_ENVIRONMENT)} "
        "(for the built-in example lane, say --source sample)."
    )


def open_with_limit(location: str, ops_token: str | None, event_limit: int) -> "Source":
    """Opens a source for a command with an event limit, which only a gateway needs to be asked with."""
    from vpanalysis.data.source import is_url, open_source

    if is_url(location) and SEVERAL not in location:
        from vpanalysis.data.snapshot_source import GatewaySource

        return GatewaySource(location, ops_token=ops_token, event_limit=event_limit)
    return open_source(location)


def is_sample(location: str) -> bool:
    """Whether ``location`` names the built-in sample lane."""
    return location == "sample" or location.startswith("sample:")


def refuse_sample(source_kind: str, **options: object) -> None:
    """Refuses options that would turn the sample lane into evidence; to be called before any work.

    Args:
        source_kind: The location, or a source's ``kind``.
        options: The options' values by name (``fail_on=…, append_log=…``); only those given count.

    Raises:
        InputError: The source is the sample and one of the options is given.
    """
    given = " and ".join(f"--{name.replace('_', '-')}" for name, value in options.items() if value)
    if given and is_sample(source_kind):
        raise InputError(f"The sample lane is no basis for any rollout: {given} cannot be used with it.")


def fails(lane_status: str, fail_on: Collection[str]) -> bool:
    """Whether ``--fail-on`` names a lane status."""
    return any(lane_status in _FAILING[choice] for choice in fail_on)


def check_fail_on(lane_status: "LaneStatus", fail_on: Collection[str], source_kind: str) -> None:
    """Ends the command with exit code 3 when ``--fail-on`` names the lane status.

    To be called when everything is written; :func:`refuse_sample` belongs before the work.

    Raises:
        click.exceptions.Exit: The lane status is one of those named.
        InputError: ``fail_on`` was given for the sample lane.
    """
    refuse_sample(source_kind, fail_on=fail_on)
    if fails(lane_status, fail_on):
        raise click.exceptions.Exit(EXIT_FAILING_VERDICT)
