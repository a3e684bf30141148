"""The papermill engine of the notebooks that the package carries: no kernel is started, outputs are as with one.

The entry point group ``papermill.engine`` names it, so every import of papermill loads this module: it is small.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.log import logger

NAME = "vpanalysis"
#: What the notebooks need besides the package itself, and partly import late.
_LIBRARIES = (
    "ipykernel.zmqshell",
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "pandas",
    "pydantic",
)


class Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's own engine, with a forked process in the kernel's place for the package's notebooks."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, input_path: str | None = None, **more: Any
    ) -> None:
        """Executes the cells as papermill asks its engines to; a cell that raises ends the run."""
        if not needs_no_kernel(input_path):
            super().execute_managed_notebook(nb_man, kernel_name, input_path=input_path, **more)
            return
        preload()
        timeout = more.pop("execution_timeout", None) or more.pop("timeout", None)
        understood = {name: value for name, value in more.items() if name in _Client.class_trait_names()}
        _Client(nb_man, timeout=timeout, kernel_name=kernel_name, log=logger, **understood).execute()


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    @contextmanager
    def setup_kernel(self, **_: Any) -> Iterator[None]:
        from vpanalysis.report.forked import ForkedKernel

        self.kc = ForkedKernel()
        try:
            yield
        finally:
            self.kc.end()


def register() -> None:
    """Makes papermill know the engine, also where the package's entry point is not installed."""
    papermill_engines.register(NAME, Engine)


def notebooks_folder() -> Path:
    """Returns the folder of the package's notebooks: beside it in a checkout, or inside it where a wheel put them."""
    beside, inside = (Path(__file__).parents[level] / "notebooks" for level in (2, 1))
    return inside if inside.is_dir() else beside


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
