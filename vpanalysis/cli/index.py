"""``vpanalysis index``: an index over a folder of reports."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def index(folder: Path) -> None:
    """Writes index.html over the reports in FOLDER, and links each report to it and to its neighbours.

    stdout carries the index's path.
    """
    from vpanalysis.report.index import write_index

    click.echo(write_index(folder))
