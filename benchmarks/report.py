"""A report by `vpanalysis report` and in a warm process, against papermill's and nbconvert's command lines.

`python benchmarks/report.py [pairs]`: interleaved runs (5 by default) of whole processes on the sample's window. The
warm process has the imports and has made one report before, as a worker of many windows has. Wall and CPU seconds
(user and system, kernels and forked processes included) are medians; all sides must reach the same verdict first.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
NOTEBOOK = "notebooks/rollout_window.ipynb"
TARGETS = {"vpanalysis report": 0.45, "a warm process": 0.15}
VERSIONS = ("vpanalysis", "papermill", "nbconvert", "ipykernel", "pandas", "matplotlib", "duckdb")
OURS = ["vpanalysis", "report", "--source", "sample", "--out"]
PAPERMILL = ["papermill", NOTEBOOK, "out.ipynb", "-p", "source", "sample"]
NBCONVERT = ["jupyter", "nbconvert", "--to", "html", "out.ipynb"]


def cpu(who: int = resource.RUSAGE_CHILDREN) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def call(module: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)


def by_us(out: Path) -> None:
    call(*OURS, str(out))


def by_the_pair(out: Path) -> None:
    executed = str(out / "out.ipynb")
    call(*(executed if part == "out.ipynb" else part for part in PAPERMILL))
    call(*(executed if part == "out.ipynb" else part for part in NBCONVERT))


def measured(make: Callable[[Path], None], out: Path) -> tuple[float, float]:
    wall, used = time.perf_counter(), cpu()
    make(out)
    return time.perf_counter() - wall, cpu() - used


class WarmProcess:
    """A process that makes a report whenever it is asked to, and says what the last one took."""

    def __init__(self, out: Path) -> None:
        command = [sys.executable, __file__, "--warm", str(out)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.report()

    def report(self) -> tuple[float, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        wall, used = json.loads(self._process.stdout.readline())
        return wall, used

    def end(self) -> None:
        self._process.communicate()


def serve_warm(out: Path) -> None:
    from vpanalysis.report.notebook import run
    from vpanalysis.report.packaged import find_notebook

    for _ in sys.stdin:
        wall, used = time.perf_counter(), cpu() + cpu(resource.RUSAGE_SELF)
        run(find_notebook("rollout_window"), {"source": "sample"}, out)
        took = time.perf_counter() - wall, cpu() + cpu(resource.RUSAGE_SELF) - used
        print(json.dumps(took), flush=True)


def content(out: Path) -> dict[str, Any]:
    """The report's JSON: the file that we write, or the same out of the pair's notebook."""
    written = list(out.glob("*.json"))
    if written:
        return dict(json.loads(written[0].read_text("utf-8")))
    cells = json.loads((out / "out.ipynb").read_text("utf-8"))["cells"]
    bundles = [output["data"] for cell in cells for output in cell.get("outputs", []) if "data" in output]
    return next(dict(bundle[kind]) for bundle in reversed(bundles) for kind in bundle if "report+json" in kind)


def main(pairs: int) -> None:
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, {pairs} pairs")
    print(", ".join(f"{name} {version(name)}" for name in VERSIONS))
    print(f"ours: {' '.join(OURS)} OUT\npair: {' '.join(PAPERMILL)} && {' '.join(NBCONVERT)}")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, warm = (Path(folder) / name for name in ("ours", "theirs", "warm"))
        for out in (ours, theirs, warm):
            out.mkdir()
        by_us(ours)
        by_the_pair(theirs)
        process = WarmProcess(warm)
        assert content(ours) == content(theirs) == content(warm), "the sides disagree"
        verdict = content(theirs)["verdict"]
        taken: dict[str, list[tuple[float, float]]] = {"the pair": [], **{name: [] for name in TARGETS}}
        loads = [os.getloadavg()[0]]
        for _ in range(pairs):
            taken["the pair"].append(measured(by_the_pair, theirs))
            taken["vpanalysis report"].append(measured(by_us, ours))
            taken["a warm process"].append(process.report())
            loads.append(os.getloadavg()[0])
        process.end()
    print(f"verdict of all: {verdict['decision']}; load average {min(loads):.1f} to {max(loads):.1f}\n")
    print("| what | wall s | CPU s | wall ratio | CPU ratio | target |")
    print("|---|---:|---:|---:|---:|---:|")
    wall, used = (median(column) for column in zip(*taken["the pair"], strict=True))
    print(f"| papermill CLI, then nbconvert CLI | {wall:.2f} | {used:.2f} | 1 | 1 | |")
    for name, target in TARGETS.items():
        mine, my_cpu = (median(column) for column in zip(*taken[name], strict=True))
        print(f"| {name} | {mine:.2f} | {my_cpu:.2f} | {mine / wall:.2f} | {my_cpu / used:.2f} | {target} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--warm"]:
        serve_warm(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
