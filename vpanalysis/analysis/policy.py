"""Policies: thresholds and gates, from TOML."""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, create_model, model_validator

from vpanalysis.analysis.gates import GATES
from vpanalysis.analysis.gates.completions import CompletionsGate
from vpanalysis.analysis.gates.failures import FailuresGate
from vpanalysis.analysis.gates.gate import Settings, Thresholds
from vpanalysis.analysis.verdict import Profile
from vpanalysis.errors import InputError

PROFILES: tuple[Profile, ...] = ("rollout", "sustained")
BUILT_IN = ("playbook", "capture")
#: The thresholds that a command line or a caller may replace; all else is the file's.
OVERRIDES = ("min_missions", "fallback_watch", "fallback_critical", "p95_watch_seconds", "p95_critical_seconds")


def _switch(value: Any) -> Any:
    """``false`` switches a gate off, ``true`` on: as the playbook has it, else as the gate has it by default."""
    return None if value is False else {} if value is True else value


def _all_off(value: Any) -> Any:
    return dict.fromkeys(Gates.model_fields, False) if value is False else {} if value is True else value


if TYPE_CHECKING:
    Gates = Settings
else:
    #: One field per gate: its settings, or ``None`` when it is off. What is not said is on, as the gate has it.
    Gates = create_model(
        "Gates",
        __base__=Settings,
        **{
            gate.name: (Annotated[gate.settings | None, BeforeValidator(_switch)], gate.settings())
            for gate in GATES
            if gate.settings is not None
        },
    )


class Policy(Thresholds):
    """One profile of a policy: what a window is judged by, its thresholds and its gates.

    Attributes:
        name: The policy's name, as the row and the report show it.
        version: The policy's own version.
        require_evidence: Whether a window is healthy only when the evidence supports a fallback rate below
            ``fallback_watch`` and a failure rate below the failures gate's share.
        gates: What can make the verdict more cautious than the thresholds do: each gate's settings by its name.
    """

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    require_evidence: bool
    gates: Annotated[Gates, BeforeValidator(_all_off)]

    def gate(self, name: str) -> Any:
        """Returns a gate's settings; ``None`` when it is switched off, or has none."""
        return getattr(self.gates, name, None)

    @property
    def gated(self) -> bool:
        """Whether there is any gate on top of the rule table."""
        return any(settings is not None for _, settings in self.gates)

    @property
    def overdue_seconds(self) -> float:
        """Seconds after its start from which an unfinished mission of the lane is overdue."""
        return float((self.gate("completions") or CompletionsGate()).seconds)

    @property
    def failure_share(self) -> float:
        """The failure rate that the evidence claims the lane to be below: the failures gate's share."""
        return float((self.gate("failures") or FailuresGate()).share)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for watch, critical in (("fallback_watch", "fallback_critical"), ("p95_watch_seconds", "p95_critical_seconds")):
            low, high = getattr(self, watch), getattr(self, critical)
            if low >= high:
                raise ValueError(f"watch must be below critical, but {watch} is {low:g} and {critical} {high:g}")
        return self

    @classmethod
    def load(
        cls, name_or_path: str | os.PathLike[str] = "playbook", profile: Profile = "rollout", **overrides: Any
    ) -> Self:
        """Returns one profile of a policy.

        Examples:
            >>> Policy.load("playbook", "sustained", fallback_watch=0.02).fallback_watch
            0.02

        Args:
            name_or_path: ``playbook``, ``capture``, or the path of a TOML file. What a file does not say is as in
                ``playbook``: its thresholds, and every gate as the gate has it by default.
            profile: ``rollout`` or ``sustained``.
            overrides: Thresholds in place of the file's, any of `OVERRIDES`; ``None`` keeps the file's.

        Raises:
            InputError: There is no such policy, profile or override, or the file is not a valid policy; the
                sentence names file, table and key.
        """
        if profile not in PROFILES:
            raise InputError(f"There is no profile {profile!r}: choose rollout or sustained.")
        unknown = [name for name in overrides if name not in OVERRIDES]
        if unknown:
            raise InputError(f"There is no override {unknown[0]!r}: choose from {', '.join(OVERRIDES)}.")
        title, content = _read(name_or_path)
        profiles = {name: cls._validated(title, content, name, {}) for name in PROFILES}
        given = {name: value for name, value in overrides.items() if value is not None}
        return cls._validated(title, content, profile, given) if given else profiles[profile]

    @classmethod
    def _validated(cls, title: str, content: Mapping[str, Any], profile: Profile, given: Mapping[str, Any]) -> Self:
        head = {"name": content["name"], "version": content["version"], "profile": profile}
        try:
            return cls(**{**head, **content[profile], **given})
        except ValidationError as error:
            where = f"{title}, table [{profile}{{}}]" + (" with its overrides" if given else "")
            raise InputError(_sentence(where, error)) from None

    @property
    def hash(self) -> str:
        """12 hex digits that stand for all that decides, overrides included: not for the name and version."""
        decides = self.model_dump(mode="json", exclude={"name", "version"})
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def _read(name_or_path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Returns the policy's title for sentences, and its content over the playbook's."""
    folder = resources.files("vpanalysis") / "policies"
    base = tomllib.loads((folder / "playbook.toml").read_text("utf-8"))
    text = os.fspath(name_or_path)
    if not text.strip():
        raise InputError(f"No policy: give {' or '.join(BUILT_IN)}, or the path of a TOML file.")
    title = f"Policy {text}"
    try:
        if text in BUILT_IN:
            own = tomllib.loads((folder / f"{text}.toml").read_text("utf-8"))
        else:
            if Path(text).exists() and not (Path(text).is_file() or Path(text).is_dir()):
                raise InputError(f"{title} is not a regular file.")
            own = tomllib.loads(Path(text).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"There is no policy {text!r}: give {' or '.join(BUILT_IN)}, or the path of a TOML file."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{title} is not valid TOML: {error}.") from None
    except RecursionError:
        raise InputError(f"{title} nests too deeply to be a policy.") from None
    except UnicodeDecodeError:
        raise InputError(f"{title} is not a text file in UTF-8.") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{title} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    for key in ("name", "version"):
        value = own.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            raise InputError(f'{title} lacks its {key}: begin the file with {key} = "…".')
        own[key] = str(value)
    for key, value in own.items():
        if key not in base:
            raise InputError(f"{title} has no place for {key!r}: a policy holds {', '.join(base)}.")
        if key in PROFILES and not isinstance(value, dict):
            raise InputError(f"{title}: {key} must be a table, [{key}].")
    return title, _over(base, own)


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(below, dict) and (value is True or isinstance(value, dict)):
            value = _over(below, {} if value is True else value)  # switched on: as it is below
        merged[key] = value
    return merged


def _sentence(where: str, error: ValidationError) -> str:
    """Returns the first thing that is wrong, with its table and key."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] == "value_error":
        return f"{where.format(''.join(f'.{part}' for part in path))}: {problem['ctx']['error']}."
    key, tables = path[-1], path[:-1]
    where = where.format("".join(f".{table}" for table in tables))
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no key {key!r} ('vpanalysis policy show' prints those that there are)."
    if problem["type"] == "missing":
        return f"{where}: the key {key!r} is missing."
    if problem["type"] == "model_type":
        return f"{where}: {key} = {problem['input']!r} is wrong; it should be a table, or false."
    return f"{where}: {key} = {problem['input']!r} is wrong; it {problem['msg'].removeprefix('Input ')}."
