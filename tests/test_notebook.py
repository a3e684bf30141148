"""Notebook runs: parameters checked, finished files moved into place, failures told apart; every scenario real."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from command_line import run_command
from conftest import LANE, NOON, RuntimeDatabase
from papermill.exceptions import PapermillExecutionError

from vpanalysis.errors import InputError
from vpanalysis.report import notebook
from vpanalysis.report.notebook import NotebookFailedError, check_parameters, output_name, run
from vpanalysis.report.packaged import find_notebook
from vpanalysis.report.rollout import rollout_report

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = [
    "source",
    "vp_id",
    "window_start",
    "window_end",
    "last_missions",
    "as_of",
    "window_label",
    "scope",
    "profile",
    "policy",
    "event_limit",
]


def make_notebook(path: Path, *cells: str, parameters: str = 'vp_id: str = "lane"  # the lane') -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})  # type: ignore[no-untyped-call]
    content.cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]  # type: ignore[no-untyped-call]
    content.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]  # type: ignore[no-untyped-call]
    nbformat.write(content, path)  # type: ignore[no-untyped-call]
    return path


def vpanalysis(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UA_")}
    command = [sys.executable, "-m", "vpanalysis", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=inherited | environment, timeout=120, check=False
    )


# --- the notebooks as they are committed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_stripped_but_for_the_cells_that_are_compared(path: Path) -> None:
    content = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(content)
    assert content.metadata.kernelspec.name == "python3"
    compared = [cell for cell in content.cells if "plain-text" in cell.metadata.get("tags", [])]
    assert compared, "nbval passes a cell without stored output whatever it prints"
    for cell in content.cells:
        if cell.cell_type != "code":
            continue
        if cell in compared:
            assert [sorted(output.get("data", {"text/plain": ""})) for output in cell.outputs] == [["text/plain"]]
        else:
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_declares_its_parameters_with_types_and_help(path: Path) -> None:
    declared = notebook.parameters_of(path)
    if path.stem not in ("lane_overview", "rollout_history"):  # these are about many lanes and many windows
        assert [item.name for item in declared][: len(PARAMETERS)] == PARAMETERS
    assert all(item.type in ("str", "int") and item.help for item in declared)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_and_calculates_nothing(path: Path) -> None:
    content = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    sources = [cell.source for cell in content.cells if cell.cell_type == "code"]
    code = "\n".join(line.partition("  #")[0] for source in sources for line in source.splitlines())
    assert not any(word in code.split() for word in ("def", "class", "for", "+", "-", "*", "/", "lambda"))


# --- parameters


def test_parameters_get_the_types_that_the_notebook_declares(tmp_path: Path) -> None:
    parameters = 'vp_id: str = ""  # a\nlast_missions: int = 0  # b\nshare: float = 0.5  # c\nfold: bool = True  # d'
    path = make_notebook(tmp_path / "typed.ipynb", "1", parameters=parameters)
    given = {"vp_id": "001", "last_missions": "20", "share": "1e-2", "fold": "False"}
    assert check_parameters(path, given) == {"vp_id": "001", "last_missions": 20, "share": 0.01, "fold": False}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"window": "x"}, "rollout_window has no parameter 'window': its parameters are source, vp_id"),
        ({"last_missions": "many"}, "last_missions is 'many': give a whole number"),
        ({"last_missions": 2.5}, "last_missions is 2.5"),
        ({"vp_id": 1}, "vp_id is 1"),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_parameters(find_notebook("rollout_window"), given)


def test_an_unknown_notebook_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no notebook 'weather': choose one of .*rollout_window"):
        find_notebook("weather")
    with pytest.raises(InputError, match=r"no notebook gone\.ipynb"):
        find_notebook("gone.ipynb")
    (tmp_path / "text.ipynb").write_text("not JSON")
    with pytest.raises(InputError, match="not a readable notebook"):
        check_parameters(tmp_path / "text.ipynb", {})


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "vp.coder.primary_last-100"),
        ({"last_missions": 20}, "vp.coder.primary_last-20"),
        ({"window_label": "Shadow window"}, "vp.coder.primary_Shadow-window"),
        ({"vp_id": "a", "window_start": "2026-02-16", "window_end": "2026-02-17"}, "a_2026-02-16_2026-02-17"),
    ],
)
def test_results_are_named_by_lane_and_window(parameters: dict[str, Any], name: str) -> None:
    found = output_name(find_notebook("rollout_window"), parameters)
    assert found.startswith(name)
    assert all(character.isalnum() or character in "._-" for character in found)


@pytest.mark.parametrize(
    ("parameters", "window"),
    [
        ({}, "all-by-1d"),
        ({"every": "12h"}, "all-by-12h"),
        ({"last_missions": 20}, "all-by-20-missions"),
        ({"window_start": "2026-02-16", "every": "7d"}, "2026-02-16_open-by-7d"),
    ],
)
def test_a_history_is_named_by_its_range_and_step(parameters: dict[str, Any], window: str) -> None:
    path = find_notebook("rollout_history")
    assert output_name(path, check_parameters(path, parameters)) == f"vp.coder.primary_{window}_rollout_history"


def test_labels_that_look_alike_when_made_safe_stay_apart() -> None:
    path = find_notebook("rollout_window")
    names = {output_name(path, {"window_label": label}) for label in ("a/b", "a:b", "a-b", "../b", "🚀", "x" * 500)}
    assert len(names) == 6
    assert all("/" not in name and len(name) < 200 for name in names)


# --- runs


def test_a_cell_that_raises_leaves_the_failed_notebook_only(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "broken.ipynb", "1 / 0")
    with pytest.raises(NotebookFailedError, match="raised ZeroDivisionError: division by zero"):
        run(path, {}, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["lane_last-100_broken.failed.ipynb"]


def test_a_kernel_that_ends_early_is_no_success(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "quits.ipynb", "import os", "os._exit(0)", "1")
    with pytest.raises(NotebookFailedError):
        run(path, {}, tmp_path / "out")
    path = make_notebook(tmp_path / "exits.ipynb", "import sys", "sys.exit(0)", "1")
    with pytest.raises(NotebookFailedError, match=r"never ran|SystemExit"):
        run(path, {}, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.html"))


def test_a_sentence_from_the_notebook_is_wrong_usage_not_a_failure(tmp_path: Path) -> None:
    path = make_notebook(
        tmp_path / "refuses.ipynb", "from vpanalysis import InputError", "raise InputError('No lane.')"
    )
    with pytest.raises(InputError, match="No lane"):
        run(path, {}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.thorough
def test_the_notebook_reaches_the_verdict_that_its_scenario_names(tmp_path: Path) -> None:
    """`test_decision` holds it of every scenario."""
    produced = run(find_notebook("rollout_window"), {"source": "sample:elevated", "window_label": "window"}, tmp_path)
    assert produced.html.stat().st_size < 400_000
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".ipynb", ".json"]
    assert produced.document is not None
    document = json.loads(produced.document.read_text("utf-8"))
    assert document["verdict"]["lane_status"] == "WATCH"
    assert document["sample"] is True
    assert "SAMPLE" in document["evidence_row"]
    assert document["provenance"]["command"].startswith("vpanalysis report rollout_window --source sample:")


def test_the_report_of_a_database_built_by_hand_has_the_numbers_counted_by_hand(
    fresh_database: RuntimeDatabase, tmp_path: Path
) -> None:
    fresh_database.session(status="idle")
    events = ["vp.mission.dispatched", "vp.mission.completed"]
    for number in range(8):
        fresh_database.mission(f"m{number}", NOON, run=10.0 + number, events=events)
    fresh_database.mission("m8", NOON, run=50, events=[*events, "vp.mission.fallback"])
    fresh_database.mission("m9", NOON, run=None, status="failed", events=["vp.mission.dispatched"])
    run_report = vpanalysis(
        "report", "--source", str(fresh_database.path), "--window-start", "2026-02-16", "--window-end", "2026-02-17",
        "--out", "made here", cwd=tmp_path,
    )  # fmt: skip
    assert run_report.returncode == 0, run_report.stderr
    html = tmp_path / run_report.stdout.strip()
    document = json.loads(html.with_suffix(".json").read_text("utf-8"))
    verdict = document["verdict"]
    # 1 of 10 fell back; of 9 durations 10..17 and 50 the p95 is at index round(7.6) = 8
    assert (verdict["missions_considered"], verdict["missions_with_fallback"], verdict["fallback_rate"]) == (10, 1, 0.1)
    assert verdict["latency_seconds"]["p95_seconds"] == 50.0
    assert verdict["latency_seconds"]["avg_seconds"] == pytest.approx((sum(range(10, 18)) + 50) / 9)
    assert verdict["mission_counts"] == {"completed": 9, "failed": 1}
    assert verdict["event_counts"] == {"vp.mission.dispatched": 10, "vp.mission.completed": 9, "vp.mission.fallback": 1}
    assert verdict["decision"] == "HOLD_SHADOW"
    assert "| 0.100 | 50.000s | HOLD_SHADOW |" in document["evidence_row"]
    text = html.read_text("utf-8")
    assert "1 of 10 (10.0\u00a0%)" in text
    assert str(tmp_path) not in text + html.with_suffix(".ipynb").read_text("utf-8") + json.dumps(document)


def test_fail_on_exits_3_after_writing_the_report(
    make_database: Callable[..., RuntimeDatabase],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = make_database()
    database.session()
    monkeypatch.setenv("UA_VP_DB_PATH", str(database.path))
    made = run_command(capsys, "report", "--out", str(tmp_path / "out"), "--fail-on", "no-traffic")
    assert made.code == 3, made.err
    assert Path(made.out.strip()).is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "No source, no verdict"),
        (["--source", ""], "--source is empty"),
        (["--source", "sample", "--vp-id", "vp.other"], "no lane 'vp.other'"),
        (["--source", "sample", "--windows", "2"], "no parameter 'windows'"),
        (["--source", "sample", "--last-missions", "few"], "give a whole number"),
        (["--source", "sample", "--fail-on", "watch"], "sample lane is no basis"),
        (["a", "b", "--source", "sample"], "One notebook at a time"),
        (["--sorce", "sample"], "rollout_window has no parameter 'sorce'"),
        (["-s", "sample"], "There is no option -s"),
        (["--source", "sample", "--stmp"], "--stmp has no value, or is no option"),
        (["."], "There is no notebook '.': choose one of lane_overview, rollout_history"),
        (["."], "To read ., say --source ."),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("UA_CODER_VP_DB_PATH", "UA_VP_DB_PATH", "UA_RUNTIME_DB_PATH"):
        monkeypatch.delenv(name, raising=False)
    made = run_command(capsys, "report", *arguments, "--out", "out")
    assert (made.code, made.out) == (2, "")
    assert sentence in made.err
    assert "Traceback" not in made.err
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"source": "gone.db"}, "gone.db does not exist"),
        ({"source": "."}, "is a folder"),
        ({"window_start": "2026-03-02", "window_end": "2026-03-01"}, "is not after its start"),
        ({"as_of": "soon"}, "'soon' is not a readable time"),
        ({"profile": "brave"}, "no profile 'brave'"),
        ({"policy": "gone.toml"}, "gone.toml"),
        ({"last_missions": -5}, "last_missions is -5"),
        ({"last_missions": True}, r"last_missions is True \(bool\)"),
        ({"last_missions": 5, "window_start": "2026-03-01"}, "not both"),
        ({"scope": 7}, r"scope is 7 \(int\), but must be str; papermill's -r"),
    ],
)
def test_the_notebooks_first_call_checks_its_parameters(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        rollout_report(**parameters)


@pytest.mark.thorough  # tests/test_ci.py runs it as docs/ci.md has it
def test_plain_papermill_runs_the_notebook_from_another_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "rollout_window.ipynb"), "out.ipynb"]
    made = subprocess.run(
        [*command, "-p", "source", "sample:failing", "-p", "last_missions", "50"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    content = nbformat.read(tmp_path / "out.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    document = notebook.published_document(content)
    assert document is not None
    assert document["verdict"]["missions_considered"] == 50


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("window_label", "001"), "The parameter window_label is 1 (int), but must be str"),
        (("last_mission", "60"), "The notebook has no parameter 'last_mission': its parameters are source, vp_id"),
    ],
)
def test_plain_papermill_with_a_wrong_parameter_fails_with_a_sentence(
    given: tuple[str, str], sentence: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "rollout_window.ipynb"), "out.ipynb"]
    made = subprocess.run(
        [*command, "-p", *given], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert made.returncode != 0
    assert sentence in made.stderr


def test_papermill_with_our_engine_refuses_a_misspelt_parameter(tmp_path: Path) -> None:
    with pytest.raises(PapermillExecutionError, match="The notebook has no parameter 'last_mission'"):
        papermill.execute_notebook(
            find_notebook("rollout_window"), tmp_path / "out.ipynb", {"last_mission": 60}, "vpanalysis",
            progress_bar=False,
        )  # fmt: skip


def test_a_named_lane_without_rows_is_reported_as_no_traffic(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    produced = run(find_notebook("rollout_window"), {"source": str(fresh_database.path), "vp_id": LANE}, tmp_path)
    assert produced.content is not None
    assert produced.content["verdict"]["lane_status"] == "NO_TRAFFIC"
