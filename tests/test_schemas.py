"""The published JSON Schemas: current, and true of what is printed."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import some_of

import vpanalysis as vp
from vpanalysis.report.document import DOCUMENT_MIME, document, publish
from vpanalysis.report.schemas import MODELS, schema_text

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"
LANE = "vp.coder.primary"


def published(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.schema.json").read_text("utf-8"))


@pytest.mark.parametrize("name", list(MODELS))
def test_the_published_schema_is_current(name: str) -> None:
    found = (FOLDER / f"{name}.schema.json").read_text("utf-8")
    assert found == schema_text(name), "run: python -m vpanalysis.report.schemas docs/schemas"


def test_nothing_else_is_published() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in MODELS}


@pytest.mark.parametrize(
    "scenario", some_of(["sample", "sample:failing", "sample:no-traffic", "sample:degraded-session"], 2)
)
def test_what_is_printed_follows_the_schemas(scenario: str) -> None:
    with vp.open_source(scenario) as source:
        tables = source.load(vp.RolloutWindow(LANE, last_missions=60))
        answers = [vp.snapshot(tables), source.gateway_snapshot(LANE), source.gateway_snapshot("vp.unheard.of")]
    for answer in answers:
        jsonschema.validate(json.loads(answer.model_dump_json()), published("snapshot"))
    verdict = vp.classify(vp.summarize(tables), vp.Policy.load("playbook", "sustained"))
    jsonschema.validate(json.loads(verdict.model_dump_json()), published("verdict"))


def test_the_report_follows_its_schema() -> None:
    report = vp.rollout_report(source="sample", vp_id=LANE, last_missions=30)
    jsonschema.validate(json.loads(document(report).model_dump_json()), published("report"))


def test_the_history_follows_its_schema(tmp_path: Path) -> None:
    """Also where much is missing: a day without traffic, an incident that goes on, log rows without numbers."""
    rows = (
        "| 2026-02-15 | Kickoff | lane | `none` | n/a | n/a | BLOCKED_AUTH | |",
        "| 2026-02-16T22:00:00Z | Limited cohort | lane | `x` | 0.250 | 0.5s | HOLD_SHADOW | missions_considered=4 |",
    )
    head = "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |"
    (tmp_path / "log.md").write_text("\n".join([head, "|---" * 8 + "|", *rows, ""]))
    for given in ({"source": "sample:critical", "log": str(tmp_path / "log.md")}, {"source": "sample:no-traffic"}):
        content = publish(vp.history_report(**given, every="7h"))._repr_mimebundle_()[DOCUMENT_MIME]  # type: ignore[arg-type]
        jsonschema.validate(json.loads(json.dumps(content, allow_nan=False)), published("history"))
        assert len(content["windows"]) == len(content["rolling_fallback"])


@pytest.mark.parametrize("name", ["snapshot", "verdict"])
def test_a_schema_refuses_what_is_none(name: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"fallback": {}}, published(name))
