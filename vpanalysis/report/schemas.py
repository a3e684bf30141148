"""The JSON Schemas of what the commands print and write: ``python -m vpanalysis.report.schemas docs/schemas``."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from vpanalysis.analysis.verdict import Verdict
from vpanalysis.data.snapshot import Snapshot
from vpanalysis.report.document import ReportDocument
from vpanalysis.report.history_document import HistoryDocument
from vpanalysis.report.lanes_document import LanesDocument

MODELS: dict[str, type[BaseModel]] = {
    "snapshot": Snapshot,
    "verdict": Verdict,
    "report": ReportDocument,
    "lanes": LanesDocument,
    "history": HistoryDocument,
}


def schema_text(name: str) -> str:
    """Returns the JSON Schema of one of `MODELS`, as its file holds it."""
    schema = MODELS[name].model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def write_schemas(folder: Path) -> None:
    """Writes all schemas into ``folder``, which is made when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        (folder / f"{name}.schema.json").write_text(schema_text(name), "utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
