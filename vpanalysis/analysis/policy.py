"""Policies: thresholds and gates, from TOML."""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vpanalysis.errors import InputError

Profile = Literal["rollout", "sustained"]
PROFILES: tuple[Profile, ...] = ("rollout", "sustained")
BUILT_IN = ("playbook", "capture")
#: The thresholds that a command line or a caller may replace; all else is the file's.
OVERRIDES = ("min_missions", "fallback_watch", "fallback_critical", "p95_watch_seconds", "p95_critical_seconds")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FailuresGate(_Table):
    """Sustained failures: missions that failed or timed out among those that finished; cancelled ones count nowhere.

    Attributes:
        in_a_row: So many in a row trip the gate.
        newest: How many of the newest finished missions that is looked for in.
        share: Failed share of the window's finished missions from which the gate trips.
        least: Failures below which the share does not count.
        force_share: Failed share from which a tripped gate asks to force the fallback; ``None``: never.
    """

    in_a_row: int = Field(ge=1)
    newest: int = Field(ge=1)
    share: float = Field(gt=0, le=1)
    least: int = Field(ge=1)
    force_share: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.in_a_row > self.newest:
            raise ValueError(f"in_a_row ({self.in_a_row}) must not exceed newest ({self.newest})")
        if self.force_share is not None and self.force_share < self.share:
            raise ValueError(f"share ({self.share:g}) must not exceed force_share ({self.force_share:g})")
        return self


class CompletionsGate(_Table):
    """Missing completions: so many ``missions`` without an end ``seconds`` after their start (or dispatch)."""

    missions: int = Field(ge=1)
    seconds: float = Field(gt=0)


class SessionGate(_Table):
    """Session: degraded or recovering now, no row, or so many ``degraded`` events in the window."""

    degraded: int = Field(ge=1)


class RollingFallbackGate(_Table):
    """Rolling fallback: a fallback rate over ``share`` among the ``newest`` missions, when there are as many."""

    newest: int = Field(ge=1)
    share: float = Field(ge=0, lt=1)


class LatencyGate(_Table):
    """Latency: p95 at or above ``p95_critical_seconds``, and so many ``missions`` that slow."""

    missions: int = Field(ge=1)


class SlowShareGate(_Table):
    """Slow share: over ``share`` of the missions that had ``p95_critical_seconds`` to run are slower than that.

    ``matured``: fewer such missions than this are not judged.
    """

    matured: int = Field(ge=1)
    share: float = Field(ge=0, lt=1)


def _switched_off(value: Any) -> Any:
    return None if value is False else value


_OFF = BeforeValidator(_switched_off)


class Gates(_Table):
    """The gates on top of the rule table; ``None`` (in the file: ``false``) switches one off."""

    failures: Annotated[FailuresGate | None, _OFF] = None
    completions: Annotated[CompletionsGate | None, _OFF] = None
    session: Annotated[SessionGate | None, _OFF] = None
    rolling_fallback: Annotated[RollingFallbackGate | None, _OFF] = None
    latency: Annotated[LatencyGate | None, _OFF] = None
    slow_share: Annotated[SlowShareGate | None, _OFF] = None
    data_quality: bool = False

    @property
    def any_on(self) -> bool:
        """Whether there is any gate."""
        return any(gate not in (None, False) for _, gate in self)


class Policy(_Table):
    """One profile of a policy: what a window is judged by.

    Attributes:
        name: The policy's name, as the row and the report show it.
        version: The policy's own version.
        profile: ``rollout`` or ``sustained``.
        min_missions: Fewer missions than this are no traffic.
        fallback_watch: Fallback rate from which to watch (a share).
        fallback_critical: Fallback rate from which to force the fallback (a share).
        p95_watch_seconds: p95 run time from which to watch (``sustained``).
        p95_critical_seconds: p95 run time from which to force the fallback (``sustained``), and the run time from
            which the latency and slow-share gates call a mission slow.
        require_evidence: Whether a window is healthy only when the evidence supports a rate below
            ``fallback_watch``.
        gates: What can make the verdict more cautious than the thresholds do.
    """

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    profile: Profile
    min_missions: int = Field(ge=0)
    fallback_watch: float = Field(gt=0, le=1)
    fallback_critical: float = Field(gt=0, le=1)
    p95_watch_seconds: float = Field(gt=0)
    p95_critical_seconds: float = Field(gt=0)
    require_evidence: bool
    gates: Annotated[Gates, BeforeValidator(lambda value: {} if value is False else value)]

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

        Args:
            name_or_path: ``playbook``, ``capture``, or the path of a TOML file. What a file does not say is as in
                ``playbook``.
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
            own = tomllib.loads(Path(text).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"There is no policy {text!r}: give {' or '.join(BUILT_IN)}, or the path of a TOML file."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{title} is not valid TOML: {error}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{title} is not a text file in UTF-8.") from None
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
        merged[key] = _over(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
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
        return f"{where}: there is no key {key!r}."
    if problem["type"] == "missing":
        return f"{where}: the key {key!r} is missing."
    if problem["type"] == "model_type":
        return f"{where}: {key} = {problem['input']!r} is wrong; it should be a table, or false."
    return f"{where}: {key} = {problem['input']!r} is wrong; it {problem['msg'].removeprefix('Input ')}."
