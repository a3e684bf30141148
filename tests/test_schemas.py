"""The published JSON Schemas: current, and true of what is printed."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import vpanalysis as vp
from vpanalysis.report.document import document
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


@pytest.mark.parametrize("scenario", ["sample", "sample:failing", "sample:no-traffic", "sample:degraded-session"])
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


@pytest.mark.parametrize("name", ["snapshot", "verdict"])
def test_a_schema_refuses_what_is_none(name: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"fallback": {}}, published(name))
