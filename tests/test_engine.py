"""Our papermill engine against a real kernel, cell by cell; and nothing of a run is left for the next one."""

import builtins
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import papermill
import pytest
from conftest import some_of
from nbclient.exceptions import CellTimeoutError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from vpanalysis.errors import InputError
from vpanalysis.report import engine
from vpanalysis.report import packaged as packaged_notebooks
from vpanalysis.report.notebook import NotebookFailedError, parameters_of, run
from vpanalysis.report.packaged import find_notebook, needs_no_kernel

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
#: Every notebook where much is shown, and the main one where little is.
SHOWN = [*((name, "failing") for name in NOTEBOOKS), ("rollout_window", "no-traffic")]
GOES_ON = "raises-exception"  # the tag of a cell whose error does not end the run
WHO = "type(get_ipython().kernel).__name__"

Write = Callable[..., Path]


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a notebook of the given cells into a folder that the engine takes for the package's."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    monkeypatch.setattr(packaged_notebooks, "notebooks_folder", lambda: folder)
    return lambda *cells: write(folder / "case.ipynb", *cells)


def write(path: Path, *cells: str | tuple[str, str]) -> Path:
    """Writes a notebook; a cell given with a tag has it."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})  # type: ignore[no-untyped-call]
    for cell in cells:
        source, tags = (cell, []) if isinstance(cell, str) else (cell[0], [cell[1]])
        content.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))  # type: ignore[no-untyped-call]
    nbformat.write(content, path)  # type: ignore[no-untyped-call]
    return path


def executed(notebook: Path, engine_name: str | None, folder: Path, **options: Any) -> NotebookNode:
    """Executes a notebook by papermill, as `run` does; a cell that raises is in what it returns."""
    out = folder / f"{engine_name}.ipynb"
    options = {"progress_bar": False, "kernel_name": "python3", "request_save_on_cell_execute": False, **options}
    with contextlib.suppress(PapermillExecutionError):
        papermill.execute_notebook(notebook, out, engine_name=engine_name, **options)
    return read(out)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def both(notebook: Path, folder: Path, **options: Any) -> tuple[NotebookNode, NotebookNode]:
    """Executes a notebook by our engine and by a kernel."""
    ours, theirs = (executed(notebook, name, folder, **options) for name in (engine.NAME, None))
    return ours, theirs


def plain(notebook: NotebookNode) -> dict[str, Any]:
    """A notebook without what differs from run to run: moments, durations, and the ids of cells that papermill adds."""
    content: dict[str, Any] = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    ours = content["metadata"]["papermill"]
    for moment in ("start_time", "end_time", "duration", "output_path"):
        ours[moment] = type(ours[moment]).__name__
    for cell in content["cells"]:
        cell.pop("id")
        for part, kept in (("papermill", ("status", "exception")), ("execution", ())):
            if part in cell["metadata"]:
                found = cell["metadata"][part]
                cell["metadata"][part] = {
                    name: value if name in kept else type(value).__name__ for name, value in found.items()
                }
    return content


def assert_same(ours: NotebookNode, theirs: NotebookNode) -> None:
    assert errors_of(ours) == errors_of(theirs)
    mine, other = plain(ours), plain(theirs)
    assert len(mine["cells"]) == len(other["cells"])
    for number, (cell, expected) in enumerate(zip(mine["cells"], other["cells"], strict=True)):
        assert cell == expected, f"cell {number}"
    assert mine == other


def errors_of(notebook: NotebookNode) -> list[tuple[str, str, str]]:
    """What was raised, by its cell's source."""
    return [
        (cell.source, output.ename, output.evalue)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def text_of(notebook: NotebookNode) -> list[str]:
    """The plain text of each cell's outputs."""
    return [
        "".join(output.get("text") or output.get("data", {}).get("text/plain") or "" for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


# --- as with a kernel


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "scenario"), SHOWN)
def test_a_packaged_notebook_is_executed_cell_for_cell_as_by_a_kernel(name: str, scenario: str, tmp_path: Path) -> None:
    declared = {item.name for item in parameters_of(find_notebook(name))}
    given = {"source": f"sample:{scenario}", "window_label": scenario}
    parameters = {name: value for name, value in given.items() if name in declared}
    ours, theirs = both(find_notebook(name), tmp_path, parameters=parameters)
    assert_same(ours, theirs)
    bundles = [kind for cell in ours.cells for output in cell.get("outputs", []) for kind in output.data]
    assert {"image/svg+xml", "image/png", "application/vnd.vpanalysis.figure+json"} <= set(bundles)
    counts = [cell.execution_count for cell in ours.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


CASES = {
    "streams": ["import sys\nprint('out')\nprint('err', file=sys.stderr)", "print('a', flush=True)\nprint('b')", ""],
    "order": ["print('before')\ndisplay(1)\nprint('between')\n2", "display({'x': 1}, 'two')"],
    "values": ["1", "_ + 1", "3;", "None", "Out[1], In[1], _i2", "x = 4", "x", "[1.5] * 40", "b'bytes'"],
    "bundles": [
        "class Rich:\n    def _repr_mimebundle_(self, **_):\n"
        "        data = {'text/plain': 'p', 'application/b+json': {'n': [1, (2, 3)]}, 'image/png': b'\\x89PNG'}\n"
        "        return data, {'application/b+json': {'m': 1}}",
        "Rich()",
        "display(Rich(), metadata={'extra': True})",
        "import pandas as pd\npd.DataFrame({'n': [1, 2]})",
        "from IPython.display import HTML, Image, Markdown, SVG\nHTML('<b>b</b>')",
        "display(Markdown('*m*'), SVG('<svg/>'))",
    ],
    "display ids": [
        "handle = display('first', display_id='one')\ndisplay('other')",
        "handle.update('second')",
        "from IPython.display import clear_output\nprint('gone')\nclear_output()\nprint('kept')",
        "print('old')\nclear_output(wait=True)\nprint('new')",
    ],
    "magics": ["%precision 2\n1 / 3", "%%capture told\nprint('inside')", "told.stdout", "!echo from a shell", "1+1 #"],
    "await": ["import asyncio\nawait asyncio.sleep(0)\n'awaited'", "async def f():\n    return 5\nawait f()"],
    "warnings": ["import warnings\nwarnings.warn_explicit('one', UserWarning, 'f.py', 3)"],
    "logging": ["import logging\nlogging.getLogger('a').warning('careful')\nlogging.getLogger('a').info('not shown')"],
    "allowed error": [("1 / 0", GOES_ON), "'goes on'"],
    "error": ["def f(n):\n    return 1 / n\n\nf(1)", "print('so far')\nf(0)", "'never'"],
    "chained error": [
        ("try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('two\\nlines') from error", GOES_ON)
    ],
    "syntax error": [("1 +", GOES_ON)],
    "error of the package": [("import vpanalysis as vp\nvp.rollout_report(source='nowhere.db')", GOES_ON), "1"],
    "error in a repr": [
        ("class Bad:\n    def __repr__(self):\n        raise RuntimeError('no words')\nBad()", GOES_ON),
        "1",
    ],
    "exit 0": ["import sys\nsys.exit(0)", "1"],
    "exit 2": ["raise SystemExit('refused')", "1"],
}


def test_the_last_result_is_the_notebooks_own(packaged: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "_", "the parent's", raising=False)  # as a doctest or an interactive Python leaves it
    assert text_of(executed(packaged("1", "_ + 1"), engine.NAME, tmp_path)) == ["1", "2"]


#: Cases that end no run, in one notebook: the numbers of cells that the first one names are its own.
TOGETHER = (
    "values",
    "streams",
    "order",
    "bundles",
    "display ids",
    "await",
    "warnings",
    "logging",
    "allowed error",
    "magics",
    "chained error",
    "syntax error",
    "error of the package",
    "error in a repr",
)
ALONE = [(name,) for name in CASES if name not in TOGETHER]


@pytest.mark.parametrize("names", some_of([(names,) for names in (TOGETHER, *ALONE)], 99), ids=lambda names: names[0])
def test_a_cell_leaves_what_it_leaves_in_a_kernel(names: tuple[str, ...], packaged: Write, tmp_path: Path) -> None:
    cells = [cell for name in names for cell in CASES[name]]
    ours, theirs = both(packaged(*cells, WHO), tmp_path)
    if ours.cells[-1].execution_count is not None:
        assert text_of(ours)[-1] != text_of(theirs)[-1] == "'IPythonKernel'", "both ran in the same place"
    for content in (ours, theirs):
        content.cells[-1].outputs = []
    assert_same(ours, theirs)
    assert any(cell.get("outputs") for cell in ours.cells)


def test_a_cell_that_takes_too_long_ends_the_run(packaged: Write, tmp_path: Path) -> None:
    with pytest.raises(CellTimeoutError):
        executed(packaged("import time; time.sleep(60)"), engine.NAME, tmp_path, execution_timeout=1)


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_ends_early_is_no_success(end: str, packaged: Write, tmp_path: Path) -> None:
    with pytest.raises(NotebookFailedError, match="died"):
        run(packaged("import os", end, "1"), {}, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case.failed.ipynb"]


def test_failures_are_told_apart_and_leave_nothing_half_written(packaged: Write, tmp_path: Path) -> None:
    with pytest.raises(NotebookFailedError, match="cell 2 raised ZeroDivisionError: division by zero"):
        run(packaged("1", "1 / 0"), {}, tmp_path / "raised")
    assert [path.name for path in (tmp_path / "raised").iterdir()] == ["case.failed.ipynb"]
    with pytest.raises(NotebookFailedError, match=r"never ran|SystemExit"):
        run(packaged("import sys; sys.exit(0)", "1"), {}, tmp_path / "exited")
    assert [path.name for path in (tmp_path / "exited").iterdir()] == ["case.failed.ipynb"]
    with pytest.raises(InputError, match="No lane"):
        run(packaged("from vpanalysis import InputError\nraise InputError('No lane.')"), {}, tmp_path / "refused")
    assert not list((tmp_path / "refused").iterdir())


# --- who gets which


def test_any_other_notebook_gets_a_kernel(packaged: Write, tmp_path: Path) -> None:
    other = write(tmp_path / "case.ipynb", WHO)
    assert text_of(read(run(packaged(WHO), {}, tmp_path / "a").notebook)) == ["'NoneType'"]
    assert text_of(read(run(packaged(WHO), {}, tmp_path / "b", kernel=True).notebook)) == ["'IPythonKernel'"]
    assert text_of(read(run(other, {}, tmp_path / "c").notebook)) == ["'IPythonKernel'"]
    assert text_of(executed(other, engine.NAME, tmp_path)) == ["'IPythonKernel'"]


def test_systems_that_do_not_fork_safely_get_a_kernel(packaged: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(packaged("1"))
    assert needs_no_kernel(path)
    assert not needs_no_kernel(None), "a notebook given as an object"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not needs_no_kernel(path)


def test_the_entry_point_names_the_engine() -> None:
    assert 'vpanalysis = "vpanalysis.report.engine:Engine"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert papermill.engines.papermill_engines.get_engine("vpanalysis") is engine.Engine


@pytest.mark.thorough
def test_the_command_makes_the_same_page_with_a_kernel_and_imports_little_without(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom vpanalysis.cli import main\n"
        "try:\n    main()\nfinally:\n    print('LOADED', *sys.modules, file=sys.stderr)"
    )
    pages = {}
    for name in ("vpanalysis", "kernel"):
        command = [sys.executable, "-c", code, "report", "--source", "sample", "--engine", name, "--out", f"by-{name}"]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
        page = tmp_path / made.stdout.strip()
        pages[name] = page.read_bytes(), page.with_suffix(".json").read_bytes()
        assert "leak" not in made.stderr, "duckdb's complaint about objects that are never freed"
        if name == "vpanalysis":
            loaded = set(made.stderr.rpartition("LOADED ")[2].split())
            assert "papermill" in loaded
            assert not loaded & {"nbconvert", "scipy", "matplotlib.pyplot", "ipykernel.kernelapp"}
    assert pages["vpanalysis"] == pages["kernel"]


# --- nothing stays

DISTURBS = """
import builtins, os, sys, warnings
import matplotlib, pandas as pd
import vpanalysis as vp
from vpanalysis import errors, formatting
left_over = builtins.left_behind = 1
os.chdir("/")
os.environ["LEFT_OVER"] = "1"
matplotlib.rcParams["lines.linewidth"] = 9
pd.set_option("display.max_rows", 3)
sys.stdout = sys.stderr = open(os.devnull, "w")
sys.path.insert(0, "/left/over")
sys.argv.append("left over")
sys.modules["left_over"] = sys
formatting.time = vp.rollout_report = None
errors.InputError.__doc__ = "left over"
warnings.simplefilter("error")
"""
IMPORTS = """
import builtins, os, sys, warnings, matplotlib, pandas as pd
import vpanalysis as vp
from vpanalysis import errors, formatting
"""
#: What a notebook can tell of each disturbance; none of it may outlast its run.
TELLS = [
    "'left_over' in globals()",
    "hasattr(builtins, 'left_behind')",
    "os.getcwd()",
    "os.environ.get('LEFT_OVER')",
    "matplotlib.rcParams['lines.linewidth']",
    "pd.get_option('display.max_rows')",
    "type(sys.stdout).__name__",
    "sys.path",
    "sys.argv",
    "'left_over' in sys.modules",
    "formatting.time is None",
    "vp.rollout_report is None",
    "errors.InputError.__doc__",
    "warnings.filters[0]",
]


def state() -> tuple[Any, ...]:
    return (
        Path.cwd(), dict(os.environ), matplotlib.rcParams.copy(), sys.stdout, sys.stderr, list(sys.path),
        list(sys.argv), sys.modules["__main__"], sys.displayhook, hasattr(builtins, "display"),
        sorted(path.name for path in Path("/proc/self/fd").iterdir()), children(), threading.active_count(),
    )  # fmt: skip


def children() -> list[str]:
    return [text for path in Path("/proc/self/task").glob("*/children") if (text := path.read_text())]


def test_a_run_finds_nothing_of_the_run_before_it_and_leaves_the_process_as_it_was(
    packaged: Write, tmp_path: Path
) -> None:
    undisturbed = text_of(executed(packaged(IMPORTS, *TELLS), engine.NAME, tmp_path))[-len(TELLS) :]
    before = state()
    disturbed = text_of(executed(packaged(DISTURBS, *TELLS), engine.NAME, tmp_path))[-len(TELLS) :]
    assert [tell for tell, *texts in zip(TELLS, disturbed, undisturbed, strict=True) if len(set(texts)) == 1] == []
    assert state() == before
    again = text_of(executed(packaged(IMPORTS, *TELLS), engine.NAME, tmp_path))[-len(TELLS) :]
    assert dict(zip(TELLS, again, strict=True)) == dict(zip(TELLS, undisturbed, strict=True))


def test_a_run_that_fails_leaves_the_process_as_it_was(packaged: Write, tmp_path: Path) -> None:
    executed(packaged("1 / 0"), engine.NAME, tmp_path)
    before = state()
    executed(packaged("1 / 0"), engine.NAME, tmp_path)
    with pytest.raises(NotebookFailedError, match="died"):
        run(packaged("import os; os._exit(1)"), {}, tmp_path / "out")
    assert state() == before


def test_a_notebook_sees_no_token_of_the_command_line_and_writes_nothing_to_its_stdout(
    packaged: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vpanalysis", "--ops-token", "s3cret"])
    content = executed(packaged("import sys, os\nsys.argv", "os.write(1, b'stray')"), engine.NAME, tmp_path)
    assert text_of(content)[0] == "['vpanalysis']"
    assert capfd.readouterr().out == ""
