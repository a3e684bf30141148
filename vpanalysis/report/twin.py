"""What the JSON twins have in common: their fields are taken from the results that call them so."""

import math
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from pydantic import BaseModel


def fields(model: type[BaseModel], *places: object, **given: Any) -> dict[str, Any]:
    """Returns a model's required fields: those given, the others as the last of ``places`` that has them holds them."""
    names = [name for name, field in model.model_fields.items() if field.is_required() and name not in given]
    found = {name: plain(getattr(place, name)) for name in names for place in places if hasattr(place, name)}
    return found | given


def plain(value: Any) -> Any:
    """Returns a result as plain JSON values; what is missing becomes null, times ISO 8601 in UTC, a frame its rows."""
    if isinstance(value, pd.DataFrame):
        return plain(value.to_dict("records"))
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | pd.Series):
        return [plain(item) for item in value]
    if value is pd.NaT or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.isoformat() if isinstance(value, datetime) else value
