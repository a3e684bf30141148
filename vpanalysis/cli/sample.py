"""``vpanalysis sample``: writes a sample runtime database."""

from datetime import datetime
from pathlib import Path

import click

from vpanalysis.data.sample import CHOICES, SAMPLE_END, SCENARIOS, write_sample
from vpanalysis.data.schema import DEFAULT_VP_ID
from vpanalysis.data.timestamps import as_utc


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime:
    try:
        return SAMPLE_END if value is None else as_utc(value, "the time")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--scenario",
    type=click.Choice(list(CHOICES)),
    metavar="NAME",
    default="healthy",
    show_default=True,
    help=f"What is wrong with it: {', '.join(CHOICES)}.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Another seed gives another lane of that kind.")
@click.option("--missions", type=click.IntRange(min=1), default=240, show_default=True, help="How many to write.")
@click.option(
    "--vp-id",
    metavar="LANE",
    default=DEFAULT_VP_ID,
    show_default=True,
    help="The lane's name; a scenario of several lanes names its own.",
)
@click.option(
    "--end",
    callback=_moment,
    metavar="TIME",
    help=f"The lane's last moment; ISO 8601, UTC.  [default: {SAMPLE_END:%Y-%m-%dT%H:%MZ}]",
)
def sample(path: Path, scenario: str, seed: int, missions: int, vp_id: str, end: datetime) -> None:
    """Writes a sample runtime database to PATH, in the runtime's own schema and WAL mode."""
    write_sample(path, scenario, seed=seed, end=end, vp_id=vp_id, missions=missions)
    what = f"lane {vp_id} ({scenario})" if scenario in SCENARIOS else f"lanes ({scenario}: {CHOICES[scenario]})"
    click.echo(f"Wrote the sample {what}; judge it --as-of {end.isoformat()}.", err=True)
    click.echo(path)
