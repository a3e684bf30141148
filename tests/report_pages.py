"""Reports for tests: notebooks executed in this process, and windows that stretch what a report must bear."""

import ast
import functools
import inspect
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import nbformat
import pytest
from _pytest.mark import ParameterSet
from conftest import MADE, NOON, RuntimeDatabase
from nbformat import NotebookNode
from nbformat.v4 import new_output

import vpanalysis as vp
from vpanalysis.data.sample import CHOICES, SAMPLE_END, SCENARIOS, write_sample
from vpanalysis.report import style
from vpanalysis.report.html import to_html
from vpanalysis.report.piece import Piece
from vpanalysis.report.rollout import rollout_report
from vpanalysis.report.window_report import WindowReport

T = TypeVar("T")
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NEXT_DAY = (NOON + timedelta(days=1)).isoformat()
EVENTS = ("vp.mission.dispatched", "vp.mission.started", "vp.mission.completed")
#: What code that ran for a user may have written: markup, template syntax, links, other scripts and long words.
HOSTILE = (
    "\x1b[31m\u202e<script>alert(1)</script><img src=x onerror=alert(2)> & \"q\" 's' | `code` $x_1$ {{7*7}} {% raw %} "
    "javascript:alert(3) https://evil.example/x שלום مرحبا 🎉 "
)


def executed(name: str, **parameters: Any) -> NotebookNode:
    """Returns a notebook with the outputs of its cells, run as a kernel does but in this process."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    names: dict[str, Any] = {}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= parameters
        cell.execution_count, cell.outputs = number, []
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            if hasattr(shown, "_repr_mimebundle_"):
                bundle = shown._repr_mimebundle_()
                data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
                cell.outputs = [new_output("execute_result", data=data, metadata=metadata, execution_count=number)]  # type: ignore[no-untyped-call]
    return notebook


def hostile_lane(folder: Path) -> dict[str, Any]:
    """Thirty missions whose ids, errors, event types and session are hostile and up to 2,000 characters long."""
    lane = RuntimeDatabase(folder / "hostile.db")
    lane.session(status="<b onmouseover=alert(4)>active</b>", last_error=HOSTILE)
    for number in range(30):
        mission, at = f"{HOSTILE}{number}-{'x' * 2000}", NOON + timedelta(minutes=number)
        lane.mission(
            mission, at, status="failed" if number % 3 == 0 else "completed", objective=HOSTILE, events=EVENTS[:1]
        )
        kind = "vp.mission.failed" if number % 3 == 0 else "vp.mission.fallback"
        error = json.dumps({"error": f"{HOSTILE} {number % 12} {'y' * 2000}", "reason": HOSTILE})
        lane.event(mission, kind, at + timedelta(seconds=5), payload_json=error)
        lane.event(mission, f"vp.<i>{number % 14}</i> 🎃 {HOSTILE}{'w' * 500}", at + timedelta(seconds=6))
    lane.session_event(f"vp.session.<script>alert(5)</script>{'q' * 300}", NOON)
    return {
        "source": str(lane.path),
        "as_of": NEXT_DAY,
        "window_label": f"</title></script><script>alert(6)</script> {HOSTILE}",
        "scope": '"><img src=x onerror=alert(7)>',
    }


def five_thousand_missions(folder: Path) -> dict[str, Any]:
    """5,000 missions of a sample lane in which 26 of 100 fall back."""
    path = write_sample(folder / "long.db", "critical", missions=12_000)
    return {"source": str(path), "as_of": SAMPLE_END.isoformat(), "last_missions": 5_000}


def small_lane(folder: Path) -> dict[str, Any]:
    """Twenty missions: three fell back, two failed, one still runs; run times 1, 2, … 19 seconds."""
    lane = RuntimeDatabase(folder / "small.db")
    lane.session()
    for number in range(1, 20):
        failed = number in (4, 9)
        kinds = (*EVENTS[:2], "vp.mission.failed") if failed else EVENTS
        if number in (2, 7, 12):
            kinds = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2])
        lane.mission(f"m{number}", run=float(number), status="failed" if failed else "completed", events=kinds)
    lane.mission("m20", NOON, status="running", run=None, events=EVENTS[:2])
    return {"source": str(lane.path), "as_of": "2026-02-16T12:05:00+00:00", "window_label": "Window 7"}


def one_mission(folder: Path) -> dict[str, Any]:
    lane = RuntimeDatabase(folder / "one.db")
    lane.session()
    lane.mission("only", events=EVENTS)
    return {"source": str(lane.path), "as_of": NEXT_DAY}


def empty_window(folder: Path) -> dict[str, Any]:
    return one_mission(folder) | {"window_start": "2026-02-10", "window_end": "2026-02-11"}


def all_failed(folder: Path) -> dict[str, Any]:
    lane = RuntimeDatabase(folder / "failed.db")
    lane.session(status="degraded")
    for number in range(25):
        events = (*EVENTS[:2], "vp.mission.failed")
        lane.mission(f"m{number}", NOON + timedelta(minutes=number), status="failed", run=None, events=events)
    return {"source": str(lane.path), "as_of": NEXT_DAY}


def all_equal(folder: Path) -> dict[str, Any]:
    lane = RuntimeDatabase(folder / "equal.db")
    lane.session()
    for number in range(30):
        lane.mission(f"m{number}", wait=0.0, run=0.0, events=EVENTS)
    return {"source": str(lane.path), "as_of": NEXT_DAY}


def three_weeks(folder: Path) -> dict[str, Any]:
    """A mission every four hours for three weeks, every ninth with a fallback."""
    lane = RuntimeDatabase(folder / "weeks.db")
    lane.session()
    for number in range(126):
        kinds = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2]) if number % 9 == 0 else EVENTS
        lane.mission(f"m{number}", NOON + timedelta(hours=4 * number), run=5.0 + number % 40, events=kinds)
    window = {"window_start": NOON.isoformat(), "window_end": (NOON + timedelta(days=21)).isoformat()}
    return {"source": str(lane.path), "as_of": (NOON + timedelta(days=22)).isoformat(), **window}


def old_snapshot(folder: Path) -> dict[str, Any]:
    """A snapshot as the gateway gives it, without the newest events."""
    from vpanalysis.data.source import open_source

    with open_source("sample:critical") as source:
        snapshot = source.gateway_snapshot("vp.coder.primary", 60, 180)
    path = folder / "snapshot.json"
    path.write_text(snapshot.model_dump_json(), "utf-8")
    return {"source": str(path)}


DEGENERATE = {
    "empty-window": empty_window,
    "one-mission": one_mission,
    "all-failed": all_failed,
    "all-equal": all_equal,
    "snapshot": old_snapshot,
    "three-weeks": three_weeks,
    "hostile": hostile_lane,
    "small": small_lane,
    "5,000-missions": five_thousand_missions,
}

WINDOWS = [*SCENARIOS, *(name for name in DEGENERATE if name != "5,000-missions")]
#: Windows whose pages and figures differ in kind; the others differ from them in numbers, sentences and gates.
TELLING = ("healthy", "critical", "no-traffic", "one-mission", "snapshot", "hostile")


def telling(windows: Iterable[str], here: Sequence[str] = TELLING) -> list[ParameterSet]:
    """Windows as parameters: those that differ in kind, and the others for `make thorough` only."""
    return [_parameter(window, here=window in here) for window in windows]


def of_profiles(windows: Iterable[str]) -> list[ParameterSet]:
    """Windows with both profiles as parameters: those that differ in kind, and the others for `make thorough` only."""
    here = {"rollout": TELLING, "sustained": ("critical",)}
    return [_parameter(window, profile, here=window in here[profile]) for window in windows for profile in here]


def _parameter(*values: str, here: bool = True) -> ParameterSet:
    return pytest.param(*values, id="-".join(values), marks=[] if here else pytest.mark.thorough)


#: The pages that are looked at: the main notebook on every window, the others where they differ.
_FEW = ("healthy", "critical", "hostile")
PAGES = [_parameter("rollout_window", window, here=window in _FEW) for window in (*SCENARIOS, *DEGENERATE)]
for _notebook, _windows in {
    "window_comparison": ("hostile", "load-pressure", "no-traffic", "snapshot"),
    "lane_overview": ("outage", "hostile", "snapshot"),
    "rollout_history": ("three-weeks", "hostile", "no-traffic"),
}.items():
    PAGES += [_parameter(_notebook, window, here=window == _windows[0]) for window in _windows]


@functools.cache
def page(notebook: str, window: str) -> str:
    """Returns the page of a notebook on a sample scenario or a degenerate window; each is made once."""

    def make(folder: Path) -> str:
        if notebook == "rollout_window":
            return shown()
        made = _made(window, folder)
        if notebook == "lane_overview":
            kept = {name: made[name] for name in ("as_of", "window_label") if name in made}
            made = {"sources": made["source"], **kept}
        elif notebook == "rollout_history":
            made = {"source": made["source"]}
        return shown(**made)

    def shown(**given: Any) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(style, "_png", lambda figure: b"")  # which no page shows
            if not given:
                patch.setattr(vp, "rollout_report", lambda **_: report_on(window), raising=False)
            return to_html(executed(notebook, **given))

    return _made_once(f"{notebook}-{window}", make)


@functools.cache
def report_on(window: str, profile: str = "rollout", policy: str = "playbook") -> WindowReport:
    """Returns the report on a sample scenario or a degenerate window; each is made once."""

    def make(folder: Path) -> WindowReport:
        return rollout_report(**_made(window, folder), profile=profile, policy=policy)

    return _made_once(f"{window}-{profile}-{policy}", make)


def _made_once(name: str, make: Callable[[Path], T]) -> T:
    """Makes something in this process or takes what another worker of the same test run has made."""
    kept = Path(os.environ[MADE]) / f"{name}.pickle"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            made = make(Path(folder))
        waiting = kept.with_suffix(f".{os.getpid()}")
        waiting.write_bytes(pickle.dumps(made))
        waiting.replace(kept)
    return cast(T, pickle.loads(kept.read_bytes()))


def _made(window: str, folder: Path) -> dict[str, Any]:
    return {"source": f"sample:{window}"} if window in CHOICES else DEGENERATE[window](folder)


def of_a_window(shown: SimpleNamespace) -> dict[str, Callable[..., Any]]:
    """Returns what ``vp.tables`` or ``vp.plots`` makes of one window, by name; others are of many windows or lanes."""
    return {
        name: make
        for name, make in vars(shown).items()
        if next(iter(inspect.signature(make).parameters.values())).annotation is WindowReport
    }


def table(piece: Piece, caption: str) -> dict[str, Any]:
    """Returns the table of a piece whose caption begins so, folded or not."""
    blocks = piece.content["blocks"]
    blocks = [inside for block in blocks for inside in block.get("inside", [block])]
    [found] = [block for block in blocks if block["kind"] == "table" and block["caption"].startswith(caption)]
    return dict(found)


def cells(piece: Piece, caption: str) -> dict[str, list[Any]]:
    """Returns the cells of each row of a table by the row's name."""
    rows = table(piece, caption)["rows"]
    return {row[0] if isinstance(row[0], str) else row[0]["text"]: row[1:] for row in rows}
