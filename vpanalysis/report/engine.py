"""The papermill engine of the notebooks that the package carries: no kernel is started, outputs are as with one.

The entry point group ``papermill.engine`` names it, so every import of papermill loads this module: it is small.
Import papermill first, or the two wait for each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nbformat
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.log import logger

from vpanalysis.report.packaged import needs_no_kernel, preload

NAME = "vpanalysis"


class Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's own engine, with a forked process in the kernel's place for the package's notebooks."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, input_path: str | None = None, **more: Any
    ) -> None:
        """Executes the cells as papermill asks its engines to; a cell that raises ends the run.

        Of ``more`` two are our own: ``kernel`` starts one, whatever the notebook, and ``died`` is where the notebook
        goes when its process dies, which papermill then keeps nowhere.
        """
        died = more.pop("died", None)
        kernel = more.pop("kernel", False) or not needs_no_kernel(input_path)
        try:
            if kernel:
                super().execute_managed_notebook(nb_man, kernel_name, input_path=input_path, **more)
            else:
                cls._execute_forked(nb_man, kernel_name, **more)
        except (RuntimeError, TimeoutError):
            if died:
                nbformat.write(nb_man.nb, died)  # type: ignore[no-untyped-call]
            raise

    @staticmethod
    def _execute_forked(nb_man: NotebookExecutionManager, kernel_name: str, **more: Any) -> None:
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
