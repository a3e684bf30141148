"""The wheel in a fresh virtual environment, outside the checkout, with the oldest DuckDB that is supported."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
#: pyproject.toml says duckdb >= 1.5; the pinned environment has 2.0.
OLDEST_DUCKDB = "duckdb==1.5.*"


def run(*command: str, cwd: Path) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("UA_", "PYTHON"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=inherited, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a virtual environment that holds the wheel, what it says it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("install")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=folder)
    commands = folder / "env" / "bin"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(commands / "python"))
    run(*pip, "wheel", "--no-deps", "--wheel-dir", "wheels", "./source", cwd=folder)
    [wheel] = (folder / "wheels").glob("vpanalysis-*.whl")
    run(*pip, "install", "--no-deps", "--no-compile", str(wheel), OLDEST_DUCKDB, cwd=folder)
    [packages] = (folder / "env").glob("lib/python*/site-packages")
    [own] = distributions(name="vpanalysis", path=[str(packages)])
    link(needed_by(own, {"duckdb"}), packages)
    return commands


def needed_by(one: Distribution, known: set[str]) -> list[Distribution]:
    """What a distribution needs, and what that needs, but for what is known: as it is installed here."""
    found: list[Distribution] = []
    for requirement in map(Requirement, one.requires or []):
        extras = {"extra": ""}
        if canonicalize_name(requirement.name) in known or (
            requirement.marker and not requirement.marker.evaluate(extras)
        ):
            continue
        known.add(canonicalize_name(requirement.name))
        needed = distribution(requirement.name)
        assert needed.version in requirement.specifier, requirement
        found += [needed, *needed_by(needed, known)]
    return found


def link(needed: Iterable[Distribution], packages: Path) -> None:
    """Lets an environment have distributions of this one, by links to their modules."""
    for one in needed:
        for name in {file.parts[0] for file in one.files or []} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(Path(str(one.locate_file(name))))


def test_the_wheel_reports_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    made = run(str(installed / "vpanalysis"), "report", "--source", "sample:critical", cwd=tmp_path)
    html = tmp_path / made.strip()
    assert html.parent.name == "reports"
    document = json.loads(html.with_suffix(".json").read_text("utf-8"))
    assert document["verdict"]["lane_status"] == "FORCE_FALLBACK"
    assert document["provenance"]["versions"]["duckdb"].startswith("1.5.")
    assert "<!doctype html" in html.read_text("utf-8")[:100].lower()


@pytest.mark.thorough
def test_both_duckdbs_read_the_same(installed: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "vpanalysis", "sample", "vp_state.db", "--scenario", "adapter-unstable", cwd=tmp_path)
    arguments = ("capture", "--source", "vp_state.db", "--policy", "capture")
    with_oldest = run(str(installed / "vpanalysis"), *arguments, cwd=tmp_path)
    with_newest = run(sys.executable, "-m", "vpanalysis", *arguments, cwd=tmp_path)
    numbers = [json.loads(text.partition("\n\nMarkdown row:")[0]) for text in (with_oldest, with_newest)]
    assert [part.pop("generated_at") for part in numbers] != []
    assert numbers[0] == numbers[1]
    assert numbers[0]["fallback"]["missions_considered"] == 100
