"""``vpanalysis notebook``: lists the notebooks that the package carries, and copies one to work on."""

from contextlib import suppress
from pathlib import Path

import click

from vpanalysis.errors import InputError


@click.group()
def notebook() -> None:
    """Lists and copies the notebooks that the package carries."""


@notebook.command("list")
def list_notebooks() -> None:
    """Prints each notebook's name and what it is about."""
    from vpanalysis.report import packaged

    for path in packaged.notebooks():
        click.echo(f"{path.stem}\t{packaged.subject(path)}")


@notebook.command()
@click.argument("name")
@click.argument("to", type=click.Path(path_type=Path), default=Path())
def copy(name: str, to: Path) -> None:
    """Copies a notebook, to change and run in JupyterLab.

    NAME is one that "notebook list" shows, TO a file or a folder (default: this one).
    """
    from vpanalysis.report.packaged import find_notebook

    source = find_notebook(name)
    target = to / source.name if to.is_dir() else to
    try:
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        raise InputError(f"{target} exists already: move it away or give another path.") from None
    except OSError as error:
        with suppress(OSError):  # half of it is not left
            target.unlink()
        raise InputError(f"{target} cannot be written: {error.strerror}.") from None
    click.echo(target)
