"""A child process and what it cost, for the other benchmarks."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Cost(NamedTuple):
    """CPU seconds (user and system), wall seconds and peak megabytes, as the operating system counts them."""

    cpu: float
    wall: float
    peak: float


def run(command: Sequence[str | Path]) -> tuple[str, Cost]:
    """Returns what a command wrote to stdout, and its cost; raises where it failed."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return said, Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024)


def medians(costs: Sequence[Cost]) -> Cost:
    """Returns the median of each."""
    return Cost(*map(median, zip(*costs, strict=True)))


def machine(*packages: str) -> str:
    """Returns what the figures were taken on: system, processors, load and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, load average {load:.1f}, "
        f"Python {platform.python_version()}, {versions}"
    )
