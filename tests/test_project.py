"""The project's own files say the same thing in each place, and imports run one way."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vpanalysis"
#: Each layer may import itself and those before it; what stands at the top of the package is a layer of its own.
LAYERS = [
    "errors",
    "scratch",
    "formatting",
    "data",
    "analysis",
    "report",
    "batch",
    "answer_cache",
    "front_door",
    "serve",
    "cli",
    "__main__",
]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


#: Every module by its dotted name, but for the package's own ``__init__``, which only hands on what others hold.
MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}


def imported_names(path: Path) -> set[str]:
    """What a module imports anywhere: at its top, within functions, for type checkers only, or by a name in quotes."""
    names: set[str] = set()
    package = module_name(path).split(".") if path.stem == "__init__" else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{home}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return names


def imported_modules(path: Path) -> set[str]:
    """The package's own modules among them: of ``from module import name`` the module, unless the name is one."""
    found = {name if name in MODULES else name.rpartition(".")[0] for name in imported_names(path)}
    return found & set(MODULES)


@cache
def graph() -> dict[str, set[str]]:
    return {name: imported_modules(path) for name, path in MODULES.items()}


def test_the_graph_of_imports_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "vpanalysis" / "report" / "odd.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import vpanalysis.errors\n"
        "from vpanalysis import formatting\n"
        "from vpanalysis.data.window import RolloutWindow\n"
        "from . import html\n"
        "from ..analysis import metrics\n"
        "if TYPE_CHECKING:\n    from vpanalysis.analysis.policy import Policy\n"
        "def late():\n    from vpanalysis.data.source import open_source\n    import_module('vpanalysis.serve')\n"
    )
    found = {name.removeprefix("vpanalysis.") for name in imported_modules(path)}
    assert found == {
        *("errors", "formatting", "serve", "data.window", "data.source"),
        *("analysis.metrics", "analysis.policy", "report.html"),
    }


def test_imports_run_in_no_circle() -> None:
    try:
        order = list(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))
    assert len(order) == len(MODULES)


@pytest.mark.parametrize("module", list(MODULES))
def test_imports_run_down_the_layers(module: str) -> None:
    def layer(name: str) -> int:
        return LAYERS.index(name.split(".")[1])

    upwards = {name for name in graph()[module] if layer(name) > layer(module)}
    assert not upwards, f"{module} imports {upwards}"


def test_no_two_modules_have_one_name() -> None:
    """Within ``cli`` a module is named after its command, and within ``report.sections`` after the page's section."""
    homes: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        here = name.split(".")
        if here[1] in ("data", "analysis", "report") and "sections" not in here and path.stem != "__init__":
            homes.setdefault(path.stem, []).append(name)
    assert {stem: names for stem, names in homes.items() if len(names) > 1} == {}


def test_only_reading_and_sources_import_duckdb_and_adbc() -> None:
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name.startswith(("duckdb", "adbc")) for name in imported_names(path))
    }
    files = ("archive", "archive_source", "duck", "reading", "source")
    assert readers == {f"data/{name}.py" for name in files}


def test_environment_and_constraints_pin_the_same_versions() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line]
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.\-+!]+", pin) for pin in pins)
    environment = (ROOT / "environment.yml").read_text("utf-8")
    assert re.findall(r"^ +- (\S+==\S+)$", environment, re.MULTILINE) == pins


def test_every_pin_installs_on_the_oldest_python_that_the_project_names() -> None:
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"].strip(">=")
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
    installed = {found.name: found for found in distributions() if found.version == pins.get(found.name)}
    if len(installed) < len(pins) / 2:
        pytest.skip("constraints.txt did not make this environment")
    asked = {name: found.metadata.get("Requires-Python", "") for name, found in installed.items()}
    # Debian's 3.11.2 has ">=3.11.5" to say no to.
    refused = {name: said for name, said in asked.items() if not SpecifierSet(said).contains(f"{oldest}.0")}
    assert refused == {}


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    wanted += project["optional-dependencies"]["dev"]
    pins = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text("utf-8").split()}
    names = {re.split(r"[<>=\[]", dependency)[0].lower() for dependency in wanted}
    assert names <= pins, f"not pinned: {names - pins}"


def test_contributing_maps_every_module_in_the_words_of_its_docstring() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for path in PACKAGE.rglob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            assert docstring, f"{path} has no docstring"
            summary = docstring.split("\n\n")[0].replace("\n", " ").replace("``", "`")
            assert f"| `{path.name}` | {summary} |" in contributing


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], ("duckdb", "pandas", "matplotlib", "papermill", "nbconvert", "scipy", "pydantic")),
        (["snapshot", "--source", "sample"], ("matplotlib", "papermill", "nbconvert", "scipy.stats")),
        (["capture", "--source", "sample"], ("matplotlib", "papermill", "nbconvert", "scipy.stats")),
        (["evidence", "due", "--help"], ("pandas", "duckdb", "matplotlib", "papermill", "nbconvert", "scipy.stats")),
        (["serve", "--help"], ("matplotlib", "papermill", "nbconvert", "scipy.stats")),
    ],
    ids=lambda value: value[0],
)
def test_commands_import_only_what_they_need(arguments: list[str], heavy: tuple[str, ...]) -> None:
    code = (
        "import sys\nsys.argv = ['vpanalysis', *sys.argv[1:]]\n"
        "from vpanalysis.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('LOADED', *sys.modules, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stderr.rpartition("LOADED ")[2].split())
    assert "click" in loaded
    assert not loaded & set(heavy)


def test_the_readme_names_what_make_test_runs() -> None:
    readme = " ".join((ROOT / "README.md").read_text("utf-8").replace("\\\n", " ").split())
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("$(BIN)", ".venv/bin")
    [tests] = re.findall(r"^test:.*\n(?:\t.*\n)*\t(.*)$", makefile, re.MULTILINE)
    assert tests.endswith("tests notebooks")
    assert tests in readme
