"""Running in CI: the step summary, the reusable workflow, and each command of docs/ci.md."""

import ast
import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import run_command
from conftest import need, some_of
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

import vpanalysis as vp
from vpanalysis.report.notebook import parameters_of
from vpanalysis.report.packaged import find_notebook
from vpanalysis.report.summary import MAX_BYTES, markdown

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "rollout-window.yml"
DOCS = (ROOT / "docs" / "ci.md").read_text("utf-8")
RENDERER = MarkdownIt("gfm-like", {"linkify": False})


def blocks(language: str) -> list[str]:
    """The code blocks of docs/ci.md in one language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


@pytest.fixture
def job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a job: a healthy database and one that is critical, and the notebooks."""
    for name, scenario in (("coder_vp_state.db", "healthy"), ("critical.db", "critical")):
        assert run_command(capsys, "sample", str(tmp_path / name), "--scenario", scenario).code == 0
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    return tmp_path


def run(script: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a Bash script as a job would, with our commands first in PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [need("bash"), "-e", "-o", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text("utf-8"))


# --- the step summary


def verdict(scenario: str) -> vp.Verdict:
    with vp.open_source(f"sample:{scenario}") as source:
        tables = source.load(vp.RolloutWindow("vp.coder.primary", last_missions=100))
    return vp.classify(vp.summarize(tables), vp.Policy.load("playbook"))


def test_the_summary_says_what_the_verdict_says() -> None:
    judged = verdict("critical")
    row = vp.evidence_row(judged, window_label="cohort #1", scope="limited", ref="state.db")
    html = RENDERER.render(markdown(judged, row))
    assert "<h3>🛑 vp.coder.primary: HOLD_SHADOW (FORCE_FALLBACK)</h3>" in html
    assert "SAMPLE" in html
    assert "<td>26 of 100 (26.0 %)</td>" in html
    for reason in judged.reasons:
        assert f"<li><code>{reason.gate}</code>: " in html
    assert html.count("<th>") == 2 + 8, "the row stands in a table of eight columns"
    assert html.count("cohort #1") == 1


def test_texts_from_data_make_no_markup_in_the_summary() -> None:
    hostile = "<img src=x> [a](http://e.vil) | `b` **c**"
    judged = verdict("healthy").model_copy(update={"vp_id": hostile, "next_step": hostile})
    html = RENDERER.render(markdown(judged, "| row |"))
    assert html.count("&lt;img src=x&gt;") == 2
    assert not {"<img", "<a ", "<strong>c", "<code>b"} & set(re.findall(r"<[a-z]+(?: |>b|>c)?", html))


def test_a_long_summary_is_cut_at_a_line_and_says_so() -> None:
    judged = verdict("healthy")
    long = markdown(judged, "| " + "ü" * MAX_BYTES + " |")
    assert len(long.encode()) <= MAX_BYTES < 2**20
    assert long.rstrip().endswith("The HTML report has everything.")
    assert "ü" not in long, "the line that does not fit is left out whole"
    assert "Cut here" not in markdown(judged, "| row |")


def test_a_summary_that_cannot_be_written_is_a_sentence_and_the_report_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path / "reports"), "--summary", str(tmp_path / "nowhere" / "summary.md")]
    done = run_command(capsys, "report", "--source", "sample:no-traffic", *options)
    assert done.code == 2
    assert "summary.md cannot be written: No such file or directory. The report itself is complete." in done.err
    assert len(list((tmp_path / "reports").glob("*.html"))) == 1


# --- the workflow


@pytest.mark.parametrize("workflow", sorted(WORKFLOW.parent.glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_follow_githubs_schema(workflow: Path) -> None:
    checked = run(f"check-jsonschema --builtin-schema vendor.github-workflows {shlex.quote(str(workflow))}", ROOT)
    assert checked.returncode == 0, checked.stdout


def test_the_docs_workflow_follows_githubs_schema_and_uses_inputs_that_exist(tmp_path: Path) -> None:
    [text] = blocks("yaml")
    (tmp_path / "window.yml").write_text(text, "utf-8")
    checked = run("check-jsonschema --builtin-schema vendor.github-workflows window.yml", tmp_path)
    assert checked.returncode == 0, checked.stdout
    used = loaded(tmp_path / "window.yml")["jobs"]["window"]["with"]
    inputs = loaded(WORKFLOW)["on"]["workflow_call"]["inputs"]
    assert set(used) <= set(inputs)
    assert {name for name, value in inputs.items() if value.get("required")} <= set(used)


@pytest.mark.parametrize(
    ("source", "start", "end", "fail_on", "exit_code"),
    some_of(
        [
            ("critical.db", "", "", "critical no-traffic", 3),
            ("critical.db", "2026-03-05", "2026-03-06", "", 0),
        ],
        2,
    ),
)
def test_the_workflows_script_reports_and_fails_as_asked(
    job: Path, source: str, start: str, end: str, fail_on: str, exit_code: int
) -> None:
    steps = loaded(WORKFLOW)["jobs"]["report"]["steps"]
    [step] = [step for step in steps if step.get("name") == "Report"]
    assert "${{" not in step["run"], "an expression in a script is an injection"
    given = {
        "SOURCE": source, "LANE": "vp.coder.primary", "PROFILE": "rollout", "POLICY": "playbook",
        "START": start, "END": end, "FAIL_ON": fail_on,
    }  # fmt: skip
    assert set(given) == set(step["env"])
    summary = job / "summary.md"
    summary.write_text("before\n", "utf-8")
    done = run(step["run"], job, GITHUB_STEP_SUMMARY=str(summary), **given)
    assert done.returncode == exit_code, done.stderr
    text = summary.read_text("utf-8")
    assert text.startswith("before\n### 🛑 vp.coder.primary")
    [twin] = (job / "reports").glob("*.json")
    assert json.loads(twin.read_text("utf-8"))["evidence_row"] in text
    assert [path.suffix for path in sorted((job / "reports").iterdir())] == [".html", ".ipynb", ".json"]


# --- every command of the docs


@pytest.fixture
def in_docs_words(job: Path) -> Any:
    """Gives a command of the docs the job's folder in the place of the server's."""
    return lambda text: text.replace("/srv/codie", str(job)).replace("/opt/vpanalysis/bin/", "")


@pytest.mark.thorough
def test_the_shell_commands_run(job: Path) -> None:
    need("jq")
    for script in blocks("bash"):
        done = run(script, job)
        assert done.returncode == 0, done.stderr
    assert "READY_FOR_LIMITED_COHORT_PILOT" in (job / "summary.md").read_text("utf-8")


@pytest.mark.thorough
def test_jq_tells_the_verdict_of_a_bad_lane_by_its_exit_code(job: Path) -> None:
    (job / "coder_vp_state.db").unlink()
    (job / "critical.db").rename(job / "coder_vp_state.db")
    by_command, by_papermill, twin = blocks("bash")
    assert run(by_command, job).returncode == 3
    assert run(by_papermill, job).returncode == 1
    assert run(twin, job).returncode == 1


@pytest.mark.thorough
def test_the_lines_for_cron_and_systemd_run(job: Path, in_docs_words: Any) -> None:
    [table] = blocks("cron")
    lines = [line.split(maxsplit=5) for line in table.splitlines() if not line.startswith("#")]
    assert [line[:5] for line in lines] == [["*/30", "*", "*", "*", "*"], ["0", "*/6", "*", "*", "*"]]
    service, timer = map(configparser.ConfigParser, [{}, {}])
    for unit, text in zip((service, timer), blocks("ini"), strict=True):
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(text)
    assert timer["Timer"]["OnCalendar"] == "*:0/30"
    assert run("vpanalysis evidence init evidence_log.md", job).returncode == 0
    for command in [line[5] for line in lines] + [service["Service"]["ExecStart"]]:
        done = run(in_docs_words(command), job)
        assert done.returncode in (0, int(service["Service"]["SuccessExitStatus"])), done.stderr
    rows = (job / "evidence_log.md").read_text("utf-8").count("\n| 20")
    assert rows == 2


def test_the_airflow_dag_is_python_and_names_the_notebooks_parameters() -> None:
    [source] = blocks("python")
    calls = {
        node.func.id: {keyword.arg: keyword.value for keyword in node.keywords}
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    given = calls["PapermillOperator"]
    assert (ROOT / ast.literal_eval(given["input_nb"])).is_file()
    declared = {item.name for item in parameters_of(find_notebook("rollout_window"))}
    assert set(ast.literal_eval(given["parameters"])) <= declared
