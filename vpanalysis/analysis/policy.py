"""Policies: thresholds and gates, from TOML."""

import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vpanalysis.errors import InputError

Profile = Literal["rollout", "sustained"]
PROFILES: tuple[Profile, ...] = ("rollout", "sustained")
BUILT_IN = ("playbook", "capture")


class Policy(BaseModel):
    """One profile of a policy: the thresholds a window is judged by.

    Attributes:
        name: The policy's name, as the row and the report show it.
        version: The policy's own version.
        profile: ``rollout`` or ``sustained``.
        min_missions: Fewer missions than this are no traffic.
        fallback_watch: Fallback rate from which to watch (a share).
        fallback_critical: Fallback rate from which to force the fallback (a share).
        p95_watch_seconds: p95 run time from which to watch.
        p95_critical_seconds: p95 run time from which to force the fallback (``sustained``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    profile: Profile
    min_missions: int = Field(default=1, ge=0)
    fallback_watch: float = Field(default=0.05, gt=0, le=1)
    fallback_critical: float = Field(default=0.20, gt=0, le=1)
    p95_watch_seconds: float = Field(default=45.0, gt=0)
    p95_critical_seconds: float = Field(default=90.0, gt=0)

    @classmethod
    def load(cls, name_or_path: str | Path = "playbook", profile: Profile = "rollout", **overrides: Any) -> Self:
        """Returns a built-in policy (``playbook``, ``capture``) or one from a TOML file."""
        if str(name_or_path) in BUILT_IN:
            text = (resources.files("vpanalysis") / "policies" / f"{name_or_path}.toml").read_text("utf-8")
        else:
            text = Path(name_or_path).read_text("utf-8")
        content = tomllib.loads(text)
        if profile not in PROFILES:
            raise InputError(f"There is no profile {profile!r}: choose rollout or sustained.")
        chosen = {**content.get(profile, {}), **{k: v for k, v in overrides.items() if v is not None}}
        try:
            return cls(name=content["name"], version=content["version"], profile=profile, **chosen)
        except ValidationError as error:
            raise InputError(f"Policy {name_or_path}: {error.errors()[0]['msg']}") from None

    @property
    def hash(self) -> str:
        """The first 12 hex digits of the SHA-256 of the policy's content."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:12]
