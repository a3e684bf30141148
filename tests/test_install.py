"""The wheel in a fresh virtual environment, outside the checkout, with the oldest DuckDB that is supported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    """The folder of commands of a virtual environment that holds the wheel and nothing of the checkout."""
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
    constraints = folder / "constraints.txt"
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    constraints.write_text("\n".join(pin for pin in pins if not pin.startswith("duckdb==")), "utf-8")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(commands / "python"))
    run(*pip, "wheel", "--no-deps", "--wheel-dir", "wheels", "./source", cwd=folder)
    [wheel] = (folder / "wheels").glob("vpanalysis-*.whl")
    run(*pip, "install", "--no-compile", "-c", str(constraints), str(wheel), OLDEST_DUCKDB, cwd=folder)
    return commands


def test_the_wheel_reports_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    made = run(str(installed / "vpanalysis"), "report", "--source", "sample:critical", cwd=tmp_path)
    html = tmp_path / made.strip()
    assert html.parent.name == "reports"
    document = json.loads(html.with_suffix(".json").read_text("utf-8"))
    assert document["verdict"]["lane_status"] == "FORCE_FALLBACK"
    assert document["provenance"]["versions"]["duckdb"].startswith("1.5.")
    assert "<!doctype html" in html.read_text("utf-8")[:100].lower()


def test_both_duckdbs_read_the_same(installed: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "vpanalysis", "sample", "vp_state.db", "--scenario", "adapter-unstable", cwd=tmp_path)
    arguments = ("capture", "--source", "vp_state.db", "--policy", "capture")
    with_oldest = run(str(installed / "vpanalysis"), *arguments, cwd=tmp_path)
    with_newest = run(sys.executable, "-m", "vpanalysis", *arguments, cwd=tmp_path)
    numbers = [json.loads(text.partition("\n\nMarkdown row:")[0]) for text in (with_oldest, with_newest)]
    assert [part.pop("generated_at") for part in numbers] != []
    assert numbers[0] == numbers[1]
    assert numbers[0]["fallback"]["missions_considered"] == 100
