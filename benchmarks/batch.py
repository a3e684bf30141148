"""A batch of 3 factories, 3 lanes and 25 windows, interrupted in every way, against one `report` at a time.

`python benchmarks/batch.py [jobs]` (2 by default). The batch is stopped by Ctrl-C, a run's process is killed with -9,
then the batch itself; each time it is started again. In the end there must be 225 whole reports, none made twice
after its JSON twin was in place. Wall seconds per window are those of all the batch's lives together.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from vpanalysis.data.sample import write_sample

ROOT = Path(__file__).parents[1]
PLAN = """
as_of = "2026-03-06T18:00:00Z"
[sources]
alpha = "alpha.db"
beta = "beta.db"
gamma = "gamma.db"
[[windows]]
from = "2026-03-02T14:00:00Z"
to = "2026-03-06T18:00:00Z"
every = "4h"
lanes = ["vp.coder.primary", "vp.general.primary", "vp.general.secondary"]
"""
REPORTS = 3 * 3 * 25
#: Reports that are there when something is done to the batch.
CTRL_C, KILL_RUN, KILL_BATCH = 40, 80, 120
SINGLE = 6


def start(folder: Path, jobs: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vpanalysis", "batch", "plan.toml", "--jobs", str(jobs)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def twins(out: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in out.glob("[!.]*.json")}


def wait_for(out: Path, number: int) -> dict[str, int]:
    while len(twins(out)) < number:
        time.sleep(0.2)
    return twins(out)


def check(out: Path, before: dict[str, int]) -> None:
    """Whole files only, and nothing made again that was there."""
    for name, made in before.items():
        assert (out / f"{name}.json").stat().st_mtime_ns == made, f"{name} was made twice"
    for name in twins(out):
        json.loads((out / f"{name}.json").read_text("utf-8"))
        json.loads((out / f"{name}.ipynb").read_text("utf-8"))
        assert (out / f"{name}.html").read_text("utf-8").rstrip().endswith("</html>"), f"{name}.html is cut"


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and their children
    folder = Path(tempfile.mkdtemp(prefix="vpanalysis-batch-"))
    for name, scenario in (("alpha", "fleet"), ("beta", "outage"), ("gamma", "fleet")):
        write_sample(folder / f"{name}.db", scenario)
    (folder / "plan.toml").write_text(PLAN, "utf-8")
    out, begun = folder / "reports", time.perf_counter()

    batch = start(folder, jobs)
    wait_for(out, CTRL_C)
    batch.send_signal(signal.SIGINT)
    batch.communicate()
    before = twins(out)
    print(f"Ctrl-C at {len(before)} reports: exit {batch.returncode}", flush=True)

    batch = start(folder, jobs)
    wait_for(out, KILL_RUN)
    inner = [
        child
        for child in psutil.Process(batch.pid).children(recursive=True)
        if "multiprocessing.fork" in " ".join(child.cmdline())
    ]
    inner[-1].kill()
    print(f"a run's process killed at {len(twins(out))} reports", flush=True)
    wait_for(out, KILL_BATCH)
    check(out, before)
    batch.kill()
    batch.communicate()
    time.sleep(10)  # a run that was being made may end
    before = twins(out)
    print(f"the batch killed at {len(before)} reports; running on: {left_over(folder)}", flush=True)

    batch = start(folder, jobs)
    said, told = batch.communicate()
    wall = time.perf_counter() - begun
    check(out, before)
    assert len(twins(out)) == REPORTS, f"{len(twins(out))} reports"
    assert batch.returncode == 0, told
    print(f"the last life: {told.strip().splitlines()[-2]}; {len(said.splitlines())} lines on stdout")

    single = time.perf_counter()
    for name in sorted(twins(out))[:: REPORTS // SINGLE][:SINGLE]:
        given = json.loads((out / f"{name}.json").read_text("utf-8"))["provenance"]["parameters"]
        options = [part for key, value in given.items() if value for part in (f"--{key.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "vpanalysis", "report", *options, "--out", str(folder / "single")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
    each = (time.perf_counter() - single) / SINGLE
    print(f"{platform.machine()}, {os.cpu_count()} processors, {jobs} jobs, Python {platform.python_version()}")
    print(f"wall per window: batch {wall / REPORTS:.2f} s, one `report` at a time {each:.2f} s")
    print(f"{folder} holds the reports and their index", file=sys.stderr)


def left_over(folder: Path) -> int:
    found = 0
    for process in psutil.process_iter(["cwd", "cmdline"]):
        found += process.info["cwd"] == str(folder)
    return found


if __name__ == "__main__":
    main()
