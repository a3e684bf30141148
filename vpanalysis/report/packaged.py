"""The notebooks that the package carries: where they are, what each is about, and what they need imported."""

import re
import sys
from importlib import import_module
from pathlib import Path

import nbformat

from vpanalysis.errors import InputError

#: What the notebooks need besides the package itself, and partly import late.
_LIBRARIES = (
    "ipykernel.zmqshell",
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "pandas",
    "pydantic",
)


def notebooks_folder() -> Path:
    """Returns the folder of the package's notebooks: beside it in a checkout, or inside it where a wheel put them."""
    beside, inside = (Path(__file__).parents[level] / "notebooks" for level in (2, 1))
    return inside if inside.is_dir() else beside


def notebooks() -> list[Path]:
    """Returns the paths of the notebooks that the package carries, by name."""
    return sorted(notebooks_folder().glob("*.ipynb"))


def find_notebook(name: str) -> Path:
    """Returns the path of a notebook given by name (``rollout_window``) or by path.

    Raises:
        InputError: There is no such notebook; the sentence names those that the package carries.
    """
    if name.endswith(".ipynb"):
        path = Path(name)
        if path.is_file():
            return path
        raise InputError(f"There is no notebook {name}: check its path.")
    folder = notebooks_folder()
    if (folder / f"{name}.ipynb").is_file():
        return folder / f"{name}.ipynb"
    known = ", ".join(path.stem for path in notebooks())
    data = f" To read {name}, say --source {name}." if Path(name).exists() or "://" in name else ""
    raise InputError(f"There is no notebook {name!r}: choose one of {known}, or give the path of an .ipynb file.{data}")


def subject(notebook: Path) -> str:
    """Returns what a notebook is about: the first sentence under its title; ``""`` when it has none."""
    cells = nbformat.read(notebook, as_version=4).cells  # type: ignore[no-untyped-call]
    text = next((cell.source for cell in cells if cell.cell_type == "markdown"), "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return re.split(r"(?<=[.?!]) ", lines[0])[0] if lines else ""


def needs_no_kernel(notebook: str | None) -> bool:
    """Whether a notebook, by its path, is one of the package's, and this system forks safely (macOS does not)."""
    if notebook is None or sys.platform != "linux":
        return False
    path = Path(notebook).resolve()
    return path.is_file() and path.parent == notebooks_folder().resolve()


def import_libraries() -> None:
    """Imports the libraries that the package's notebooks use."""
    for name in _LIBRARIES:
        import_module(name)


def preload() -> None:
    """Imports what the package's notebooks use, so that each run's process has it already."""
    import_libraries()
    package = import_module("vpanalysis")
    for name in package.__all__:
        getattr(package, name)
    import_module("vpanalysis.report.piece").environment().get_template("notebook.html.j2")
