"""The project's own files say the same thing in each place, and imports run one way."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vpanalysis"
#: Each layer may import itself and those before it.
LAYERS = ["data", "analysis", "report", "cli"]
FREE = {"errors", "formatting"}


def imported_names(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


@pytest.mark.parametrize("module", sorted(PACKAGE.glob("*/*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports_run_from_data_to_the_command_line(module: Path) -> None:
    allowed = FREE | set(LAYERS[: LAYERS.index(module.parent.name) + 1])
    if module.parent.name == "cli":
        allowed |= {"serve", "front_door"}
    inside = {name.split(".")[1] for name in imported_names(module) if name.startswith("vpanalysis.")}
    assert inside <= allowed, f"{module} imports {inside - allowed}"


def test_only_the_source_imports_duckdb_and_adbc() -> None:
    readers = {
        module.relative_to(PACKAGE).as_posix()
        for module in PACKAGE.rglob("*.py")
        if any(name.startswith(("duckdb", "adbc")) for name in imported_names(module))
    }
    assert readers == {"data/source.py"}


def test_environment_and_constraints_pin_the_same_versions() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line]
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.\-+!]+", pin) for pin in pins)
    environment = (ROOT / "environment.yml").read_text("utf-8")
    assert re.findall(r"^ +- (\S+==\S+)$", environment, re.MULTILINE) == pins


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    wanted += project["optional-dependencies"]["dev"]
    pins = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text("utf-8").split()}
    names = {re.split(r"[<>=\[]", dependency)[0].lower() for dependency in wanted}
    assert names <= pins, f"not pinned: {names - pins}"


def test_the_readme_maps_every_module_in_the_words_of_its_docstring() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for path in PACKAGE.rglob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            assert docstring, f"{path} has no docstring"
            summary = docstring.split("\n\n")[0].replace("\n", " ").replace("``", "`")
            assert f"| `{path.name}` | {summary} |" in readme


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], ("duckdb", "pandas", "matplotlib", "papermill", "nbconvert", "scipy", "pydantic")),
        (["snapshot", "--source", "sample"], ("matplotlib", "papermill", "nbconvert", "scipy.stats")),
        (["capture", "--source", "sample"], ("matplotlib", "papermill", "nbconvert")),
        (["serve", "--help"], ("matplotlib", "papermill", "nbconvert")),
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
