"""A plan of reports: sources by name, lanes by pattern, windows given or generated; and the runs that it asks for."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Profile
from vpanalysis.data.source import open_source
from vpanalysis.data.timestamps import as_utc, parse_length
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError
from vpanalysis.report.notebook import check_parameters, output_name, safe_name
from vpanalysis.report.packaged import find_notebook

#: Stands between the locations of a source that several make up; the first one wins.
MERGED = " + "
_MOST_RUNS = 100_000


def _moment(value: Any) -> datetime:
    return as_utc(value if isinstance(value, datetime) else str(value), "")  # TOML's dates have no time


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Windows(_Entry):
    """One ``[[windows]]`` table: windows of some lanes, shown by one notebook under one profile and some policies.

    Attributes:
        sources: Names of sources; empty: all.
        lanes: Lanes' names or patterns (``vp.coder.*``); by default all that a source has.
        start: A window's first moment.
        end: Its end, which is outside.
        from_: With ``every``, the first window's start.
        to: The last window's end at most.
        every: Length of generated windows, such as ``12h``.
        last_missions: The newest N missions instead.
        label: What the row calls the window.
        scope: What the row calls the traffic.
        notebook: A notebook's name or path.
        profile: ``rollout`` or ``sustained``.
        policy: A policy, or several, each with its own report.
    """

    sources: list[str] = []
    lanes: list[str] = Field(default=["*"], min_length=1)
    start: datetime | None = None
    end: datetime | None = None
    from_: datetime | None = Field(default=None, alias="from")
    to: datetime | None = None
    every: timedelta | None = None
    last_missions: int | None = Field(default=None, ge=1)
    label: str = ""
    scope: str = ""
    notebook: str = "rollout_window"
    profile: Profile = "rollout"
    policy: list[str] = Field(default=["playbook"], min_length=1)

    _moments = field_validator("start", "end", "from_", "to", mode="before")(_moment)
    _duration = field_validator("every", mode="before")(parse_length)

    @field_validator("policy", "lanes", "sources", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        generated = [self.from_, self.to, self.every]
        if any(value is not None for value in generated):
            if None in (self.from_, self.every):
                raise ValueError("generated windows need from and every (and to, when they end)")
            if self.start or self.end or self.last_missions:
                raise ValueError("give from, to and every, or start and end, or last_missions, not several of them")
        elif self.last_missions and (self.start or self.end):
            raise ValueError("give start and end, or last_missions, not both")
        return self

    def bounds(self, as_of: datetime) -> Iterator[tuple[datetime | None, datetime | None]]:
        """Yields the windows' starts and ends; generated ones end by ``to``, or by ``as_of``."""
        if self.every is None or self.from_ is None:
            yield self.start, self.end
            return
        start, until = self.from_, self.to or as_of
        while start + self.every <= until:
            yield start, start + self.every
            start += self.every


class Plan(_Entry):
    """What a batch makes.

    Attributes:
        out: The folder of the reports, relative to the plan's.
        as_of: The moment that open windows are judged at; ``None``: that of the batch's first run.
        timeout_seconds: What one report may take.
        ship_sources: Sends each window's source to the cluster's workers, which have no disk in common.
        sources: Locations by name, one a factory; of several for one name the first one wins.
        windows: What is judged.
    """

    out: Path = Path("reports")
    as_of: datetime | None = None
    timeout_seconds: float = Field(default=600.0, gt=0)
    ship_sources: bool = False
    sources: dict[str, list[str]] = Field(min_length=1)
    windows: list[Windows] = Field(min_length=1)

    _moments = field_validator("as_of", mode="before")(_moment)

    @field_validator("sources", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: [item] if isinstance(item, str) else item for name, item in value.items()}
        return value

    @model_validator(mode="after")
    def _known_sources(self) -> Self:
        for name, locations in self.sources.items():
            if not name.strip() or not locations or not all(location.strip() for location in locations):
                raise ValueError(f"the source {name!r} has no location")
        for windows in self.windows:
            for name in windows.sources:
                if name not in self.sources:
                    raise ValueError(f"there is no source {name!r} in [sources]: it holds {', '.join(self.sources)}")
        return self


@dataclass(frozen=True)
class Run:
    """One report to be made.

    Attributes:
        source: The source's name in the plan.
        window: The lane and its window, ``as_of`` fixed.
        notebook: The notebook's path.
        parameters: The notebook's parameters.
        name: The files' name without their endings.
    """

    source: str
    window: RolloutWindow
    notebook: Path
    parameters: Mapping[str, Any]
    name: str


def read_plan(path: Path) -> Plan:
    """Returns a plan from its TOML file; locations, policies and notebooks are relative to the file's folder.

    Raises:
        InputError: The file cannot be read, or is no plan; the sentence names the table and key.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # a FIFO would be waited for
        raise InputError(f"{path} is not a regular file.")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no plan {path}: check its path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        plan = Plan(**content)
    except (ValidationError, TypeError) as error:
        raise InputError(f"{path}: {_sentence(error)}") from None
    folder = path.parent
    return plan.model_copy(
        update={
            "out": folder / plan.out,
            "sources": {name: [_beside(folder, item) for item in items] for name, items in plan.sources.items()},
            "windows": [
                windows.model_copy(
                    update={
                        "policy": [_beside(folder, name) for name in windows.policy],
                        "notebook": _beside(folder, windows.notebook),
                    }
                )
                for windows in plan.windows
            ],
        }
    )


def runs_of(plan: Plan, as_of: datetime) -> list[Run]:
    """Returns the plan's runs in its order, each with a name of its own.

    Raises:
        InputError: A source, notebook or policy is not there, a parameter does not fit, or no lane matches.
    """
    found: list[Run] = []
    lanes = {name: lanes_of(locations) for name, locations in plan.sources.items()}
    for windows in plan.windows:
        notebook = find_notebook(windows.notebook)
        for policy in windows.policy:
            Policy.load(policy, windows.profile)
        matched = False
        for source in windows.sources or plan.sources:
            for vp_id in _matching(windows.lanes, lanes[source]):
                matched = True
                for start, end in windows.bounds(as_of):
                    for policy in windows.policy:
                        found.append(_run(plan, windows, source, vp_id, start, end, policy, notebook, as_of))
                        if len(found) > _MOST_RUNS:
                            raise InputError(
                                f"The plan asks for more than {_MOST_RUNS:,} reports: take longer windows."
                            )
        if not matched:
            asked = windows.sources or plan.sources
            there = ", ".join(sorted({lane for source in asked for lane in lanes[source]})) or "none"
            raise InputError(f"No lane of {', '.join(asked)} matches {', '.join(windows.lanes)}: there are {there}.")
    names = [run.name.lower() for run in found]
    if twice := next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None:
        raise InputError(f"Two reports of the plan would be called {twice}: give the windows labels that differ.")
    return found


def _run(
    plan: Plan, windows: Windows, source: str, vp_id: str, start: datetime | None, end: datetime | None, policy: str,
    notebook: Path, as_of: datetime,
) -> Run:  # fmt: skip
    window = RolloutWindow(vp_id, start=start, end=end, last_missions=windows.last_missions, as_of=as_of)
    given = {
        "source": MERGED.join(plan.sources[source]),
        "vp_id": vp_id,
        "window_start": start and _stamp(start),
        "window_end": end and _stamp(end),
        "last_missions": windows.last_missions,
        "as_of": as_of.isoformat(),
        "window_label": windows.label,
        "scope": windows.scope,
        "profile": windows.profile,
        "policy": policy,
    }
    parameters = check_parameters(notebook, {name: value for name, value in given.items() if value})
    shown = "_".join(f"{moment:%Y-%m-%dT%H%M%SZ}" for moment in (start, end) if moment)
    if windows.label:
        shown = f"{windows.label}_{start:%Y-%m-%dT%H%M%SZ}" if windows.every else windows.label
    parts = [output_name(notebook, parameters | {"window_label": shown if start and end else windows.label})]
    if len(plan.sources) > 1:
        parts.insert(0, safe_name(source))
    if len(windows.policy) > 1:
        parts.append(safe_name(Path(policy).stem))
    if windows.profile != "rollout":
        parts.append(windows.profile)
    return Run(source, window, notebook, parameters, "_".join(parts))


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}" if moment.second == moment.microsecond == 0 else moment.isoformat()


def lanes_of(locations: list[str]) -> tuple[str, ...]:
    """Returns the names of the lanes of one factory, given by its sources."""
    with open_source(MERGED.join(locations)) as source:
        return source.lanes()


def _matching(patterns: list[str], lanes: tuple[str, ...]) -> list[str]:
    """The lanes that a pattern matches, and every name without wildcards: a lane that is absent is found missing."""
    named = [pattern for pattern in patterns if not re.search(r"[*?\[]", pattern)]
    matched = [lane for lane in lanes if any(fnmatchcase(lane, pattern) for pattern in patterns)]
    return list(dict.fromkeys([*matched, *named]))


def _beside(folder: Path, location: str) -> str:
    """A location that is a relative path, from the plan's folder; others, and what is not there, stay."""
    beside = folder / location
    return str(beside) if not Path(location).is_absolute() and beside.exists() else location


def _sentence(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return f"{error}."
    problem = error.errors()[0]
    path = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in problem["loc"])
    where = f"{path}: " if path else ""
    if problem["type"] == "missing":
        return f"the key {path} is missing."
    if problem["type"] == "extra_forbidden":
        model = Windows if path.startswith("windows.") else Plan
        keys = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"there is no key {path}: {'[[windows]]' if model is Windows else 'a plan'} may have {keys}."
    if path == "windows" and problem["type"] == "list_type":
        return "windows is one table: write [[windows]], in double brackets."
    cause = str(problem.get("ctx", {}).get("error", "")).strip().rstrip(".")
    return f"{where}{cause or problem['msg'][0].lower() + problem['msg'][1:]}."
