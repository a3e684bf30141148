"""``vpanalysis archive``: keeps a database's VP tables as Parquet, which ``--source`` reads."""

from pathlib import Path

import click

from vpanalysis.cli.source_option import resolve_source, source_option
from vpanalysis.errors import InputError


@click.command()
@source_option("A runtime database", lane=False)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The archive's folder; made when missing.")
@click.option(
    "--factory",
    envvar="UA_FACTORY_ID",
    default="factory",
    show_default=True,
    show_envvar=True,
    help="Which factory's database it is: lanes and missions of several may have the same names.",
)
def archive(source: str | None, to: Path, factory: str) -> None:
    """Updates the archive in the folder --to with what a runtime database holds.

    Rows that the database no longer has stay. Days that have not changed are not written again. stdout carries the
    folder, which --source reads.
    """
    from vpanalysis.data.archive import write
    from vpanalysis.data.source import SqliteSource, open_source

    with open_source(resolve_source(source)) as opened:
        if not isinstance(opened, SqliteSource) or opened.kind != "sqlite":
            raise InputError("Only a runtime database can be archived: give its path, not a URL, snapshot or archive.")
        mode = opened.path.stat().st_mode
        done = opened.read(lambda reading: write(reading, to, factory, mode), files=True)
    click.echo(f"Archived {opened.name}: {done.written} files written, {done.unchanged} unchanged.", err=True)
    click.echo(done.folder)
