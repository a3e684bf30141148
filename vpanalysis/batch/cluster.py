"""Running a batch on a Dask cluster: runs travel there, files travel back; no disk is shared."""

import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vpanalysis.batch.make import Result, known_twin, make
from vpanalysis.batch.plan import MERGED, Run
from vpanalysis.data.extract import NotingSource, extract
from vpanalysis.data.sqlite_file import read_consistently
from vpanalysis.errors import InputError
from vpanalysis.report import rollout
from vpanalysis.report.packaged import find_notebook, notebooks

#: A worker that is lost takes its run with it this often before the run has failed.
_RETRIES = 2


@dataclass(frozen=True)
class Parcel:
    """What a worker needs to make a run: it may share nothing with whoever asks for it.

    Attributes:
        run: The run; its notebook by name where the package carries it.
        known: What is known of its report, see :func:`.make.known_twin`.
        notebook: A notebook of the user's own; ``None``: the package's.
        policy: A policy file's content; ``None``: built in.
        sources: Content by file name, archives zipped; empty: the worker opens the location itself.
        timeout_seconds: What the run may take.
    """

    run: Run
    known: Mapping[str, Any] | None
    notebook: bytes | None
    policy: bytes | None
    sources: Mapping[str, bytes]
    timeout_seconds: float


@dataclass(frozen=True)
class Returned:
    """What a worker sends back: what became of the run, and its files by name, the JSON twin last."""

    result: Result
    files: Mapping[str, bytes]


def results(
    runs: Sequence[Run], out: Path, scheduler: str, timeout_seconds: float, ship_sources: bool
) -> Iterator[Result]:
    """Yields what became of each run, as they end; files are written whole, the JSON twin last.

    Raises:
        InputError: ``distributed`` is not installed, or the scheduler is no address or does not answer.
    """
    if not re.fullmatch(r"\w+://.+:\d+", scheduler):  # the client would wait for a minute
        raise InputError(f"The scheduler {scheduler!r} is no address: give one such as tcp://HOST:8786.")
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError("--scheduler needs an extra of the package: pip install 'vpanalysis[cluster]'.") from None
    try:
        client = Client(scheduler, timeout=20, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"The scheduler {scheduler} does not answer: {error}.") from None
    with client, TemporaryDirectory(prefix="vpanalysis-") as folder:
        sources = _Sources(Path(folder))
        waiting = {}
        for run in runs:
            parcel = _parcel(run, known_twin(run, out), sources.of(run) if ship_sources else {}, timeout_seconds)
            waiting[client.submit(_made_alone, parcel, pure=False, retries=_RETRIES)] = run
        for future in as_completed(waiting, loop=client.loop):  # type: ignore[no-untyped-call]
            run = waiting[future]
            if future.status != "finished":
                yield Result(run, "failed", f"The run was lost: {future.exception()}.")
                continue
            returned: Returned = future.result()
            for name, content in returned.files.items():
                part = out / f".{name}.part"
                part.write_bytes(content)
                part.replace(out / name)
            yield replace(returned.result, run=run)


def _parcel(run: Run, known: Mapping[str, Any] | None, sources: Mapping[str, bytes], timeout_seconds: float) -> Parcel:
    policy = Path(str(run.parameters.get("policy", "playbook")))
    return Parcel(
        run=run,
        known=known,
        notebook=None if run.notebook in notebooks() else run.notebook.read_bytes(),
        policy=policy.read_bytes() if policy.is_file() else None,
        sources=sources,
        timeout_seconds=timeout_seconds,
    )


class _Sources:
    """Sources as they travel: of a database only the rows that a run reads, where it is known which those are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole: dict[str, Mapping[str, bytes]] = {}
        self._copies: dict[Path, NotingSource] = {}

    def of(self, run: Run) -> Mapping[str, bytes]:
        """Returns what the run's source is on a worker, as content by file name."""
        location = str(run.parameters["source"])
        path = Path(location)
        if path.is_file() and path.suffix.lower() != ".json" and _reads_one_window(run):
            to = self._folder / "extract.db"
            to.unlink(missing_ok=True)
            extract(self._copy(path), lambda source: rollout.read_window(source, run.window), to)
            return {path.name: to.read_bytes()}
        if location not in self._whole:
            self._whole[location] = _packed(location)
        return self._whole[location]

    def _copy(self, path: Path) -> NotingSource:
        """One consistent state of a database that others may write, for all its runs."""
        if path not in self._copies:
            copy = self._folder / str(len(self._copies)) / path.name
            copy.parent.mkdir()
            read_consistently(path, partial(_copied, copy))
            self._copies[path] = NotingSource(copy)
        return self._copies[path]


def _reads_one_window(run: Run) -> bool:
    """Whether all that a run reads is what `rollout.read_window` reads; a notebook of the user's may read anything."""
    return any(run.notebook == find_notebook(name) for name in ("rollout_window", "window_comparison"))


def _packed(location: str) -> dict[str, bytes]:
    """A source's files, of a live database one consistent state."""
    packed = {}
    for part in location.split(MERGED):
        path = Path(part)
        with TemporaryDirectory(prefix="vpanalysis-") as folder:
            if path.is_dir():
                packed[f"{path.name}.zip"] = Path(shutil.make_archive(f"{folder}/it", "zip", path)).read_bytes()
            elif path.suffix.lower() == ".json":
                packed[path.name] = path.read_bytes()
            elif path.is_file():
                packed[path.name] = read_consistently(path, partial(_copied, Path(folder) / "copy.db"))
    return packed


def _copied(copy: Path, uri: str, opened: Callable[[], None]) -> bytes:
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(uri, uri=True)) as live, closing(sqlite3.connect(copy)) as target:
        live.backup(target)
        opened()
        target.execute("PRAGMA journal_mode = DELETE")  # so that readers need no file beside it
    return copy.read_bytes()


def _made_alone(parcel: Parcel) -> Returned:
    """Makes a run in a process of its own on the worker: it may be killed, and what it leaves behind ends with it."""
    command = [sys.executable, "-m", "vpanalysis.batch.alone"]
    try:
        done = subprocess.run(
            command, input=pickle.dumps(parcel), stdout=subprocess.PIPE, timeout=parcel.timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Returned(Result(parcel.run, "failed", f"It took over {parcel.timeout_seconds:g} s."), {})
    if done.returncode != 0:
        return Returned(Result(parcel.run, "failed", f"Its process ended with {done.returncode}."), {})
    returned: Returned = pickle.loads(done.stdout)
    return returned


def unpacked_and_made(parcel: Parcel) -> Returned:
    """Makes a run out of what travelled to it; returns its files as bytes."""
    with TemporaryDirectory(prefix="vpanalysis-") as name:
        folder, out = Path(name) / "in", Path(name) / "out"
        folder.mkdir()
        out.mkdir()
        run, parameters = parcel.run, dict(parcel.run.parameters)
        path = find_notebook(run.notebook.stem) if parcel.notebook is None else folder / run.notebook.name
        if parcel.notebook is not None:
            path.write_bytes(parcel.notebook)
        if parcel.policy is not None:
            policy = folder / Path(str(parameters["policy"])).name
            policy.write_bytes(parcel.policy)
            parameters["policy"] = str(policy)
        if parcel.sources:
            parameters["source"] = MERGED.join(_unpacked(folder, *item) for item in parcel.sources.items())
        result = make(replace(run, notebook=path, parameters=parameters), parcel.known, out)
        made = sorted((path for path in out.iterdir() if path.is_file()), key=lambda path: path.suffix == ".json")
        return Returned(replace(result, run=run), {path.name: path.read_bytes() for path in made})


def _unpacked(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    if path.suffix == ".zip":
        shutil.unpack_archive(path, path.with_suffix(""))
        return str(path.with_suffix(""))
    return str(path)
