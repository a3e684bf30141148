"""Running a plan: a journal that fixes its moment, one run at a time or many, retention, and the index at the end."""

import fcntl
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vpanalysis.batch.make import Result, known_twin, make
from vpanalysis.batch.plan import Plan, Run
from vpanalysis.data.timestamps import parse_time
from vpanalysis.errors import InputError

_JOURNAL = ".batch.json"
#: A run whose process was killed is tried this often in all.
_ATTEMPTS = 2


@contextmanager
def journal(plan: Plan) -> Iterator[datetime]:
    """Yields the moment that a plan's windows are judged at; an interrupted batch goes on with its own.

    Only one batch at a time writes a folder.

    Raises:
        InputError: Another one does, or the folder cannot be written.
    """
    path = plan.out / _JOURNAL
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"The folder {plan.out} cannot be written: {error.strerror}.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another batch is writing {plan.out}: wait for its end.") from None
        lock.seek(0)
        as_of = plan.as_of or _unfinished(lock.read()) or datetime.now(UTC)
        _note(lock, as_of=as_of.isoformat(), finished=False)
        yield as_of
        _note(lock, as_of=as_of.isoformat(), finished=True)


def _unfinished(text: str) -> datetime | None:
    try:
        content = json.loads(text)
        return None if content["finished"] else parse_time(content["as_of"])
    except (ValueError, KeyError, TypeError):
        return None


def _note(file: Any, **content: Any) -> None:
    file.truncate(0)
    file.write(json.dumps(content))
    file.flush()


def results(plan: Plan, runs: Sequence[Run], jobs: int) -> Iterator[Result]:
    """Yields what became of each run on this machine, as they end.

    Each run has a process of its own, forked from one that has the imports; a killed one is tried once more.
    """
    from pebble import ProcessExpired, ProcessPool

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vpanalysis.batch.warm"])
    waiting: dict[Future[Result], tuple[Run, int]] = {}
    rest = iter([(run, 1) for run in runs])
    pool = ProcessPool(max_workers=jobs, max_tasks=1, context=context)

    def start(run: Run, attempt: int) -> None:
        nonlocal pool
        if not pool.active:  # it breaks when a process is killed while it has no run
            pool.stop()  # type: ignore[no-untyped-call]
            pool = ProcessPool(max_workers=jobs, max_tasks=1, context=context)
        future = pool.schedule(make, args=[run, known_twin(run, plan.out), plan.out], timeout=plan.timeout_seconds)
        waiting[future] = run, attempt

    try:
        for _ in range(2 * jobs):  # a process that ends finds the next run waiting
            if (following := next(rest, None)) is not None:
                start(*following)
        while waiting:
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                run, attempt = waiting.pop(future)
                try:
                    result = future.result()
                except (ProcessExpired, BrokenProcessPool, CancelledError):
                    if attempt < _ATTEMPTS:
                        start(run, attempt + 1)
                        continue
                    result = Result(run, "failed", "Its process was killed twice.")
                except TimeoutError:
                    result = Result(run, "failed", f"It took over {plan.timeout_seconds:g} s.")
                if (following := next(rest, None)) is not None:
                    start(*following)
                yield result
        pool.close()  # type: ignore[no-untyped-call]
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def remove_old(out: Path, keep: timedelta, now: datetime) -> int:
    """Removes reports of healthy windows that were judged longer ago than ``keep``; returns their number."""
    removed = 0
    for twin in out.glob("*.json"):
        try:
            content = json.loads(twin.read_text("utf-8"))
            judged = parse_time(content["verdict"]["generated_at"])
            healthy = content["verdict"]["lane_status"] == "HEALTHY"
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if healthy and judged is not None and now - judged > keep:
            for path in (twin, twin.with_suffix(".html"), twin.with_suffix(".ipynb")):
                path.unlink(missing_ok=True)
            removed += 1
    return removed
