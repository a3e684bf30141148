"""Reads all lanes of one or more sources, judges each by its policy and returns their overview."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.fleet import Lane, p_value, told_apart
from vpanalysis.analysis.incident import Key, incidents, troubles
from vpanalysis.analysis.metrics import summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.verdict import Profile
from vpanalysis.data.schema import ENABLED_ENVIRONMENT
from vpanalysis.data.source import SAMPLE, Source, open_source
from vpanalysis.data.tables import Tables
from vpanalysis.errors import InputError
from vpanalysis.report import locations
from vpanalysis.report.fleet_report import FleetReport, SourceFile
from vpanalysis.report.made import command
from vpanalysis.report.parameters import check_types
from vpanalysis.report.rollout import bounds, call, content_hash, window_of
from vpanalysis.report.row import evidence_row


def lane_overview(
    *,
    sources: str = "sample:fleet",
    lanes: str = "",
    enabled: str = "",
    window_start: str = "",
    window_end: str = "",
    last_missions: int = 0,
    as_of: str = "",
    window_label: str = "",
    profile: Profile = "rollout",
    policy: str = "playbook",
) -> FleetReport:
    """Reads all lanes of one or more sources, each once, and judges each by its policy; a read-only operation.

    Args:
        sources: Runtime databases, gateways' URLs and saved snapshots, separated by semicolons; ``NAME=`` before one
            names it (a factory), else its file does.
        lanes: Names or patterns of lanes (``vp.coder.*``), separated by commas; ``""``: all that a source names.
        enabled: The lanes that should be there, separated by commas; ``""``: those in ``UA_VP_ENABLED_IDS``.
        window_start: First moment inside (ISO 8601, UTC); ``""``: not given.
        window_end: First moment outside; ``""``: not given.
        last_missions: Each lane's newest N missions instead; 0: not given, and 100 when no range is given either.
        as_of: The moment to judge at; ``""``: the time of reading.
        window_label: What the rows call the window; ``""``: its bounds.
        profile: ``rollout`` or ``sustained``.
        policy: ``playbook``, ``capture``, the path of a TOML file, or a folder with ``LANE.toml`` for some lanes and
            ``default.toml`` for all others (without it: ``playbook``).

    Raises:
        InputError: A parameter is ill-typed, or names nothing that exists; the sentence says which.
    """
    given = dict(locals())
    check_types(given)
    named = [_named(text) for text in locations.real(sources).split(locations.SEPARATOR) if text.strip()]
    if not named:
        raise InputError("No source: give at least one runtime database, gateway's URL or saved snapshot.")
    samples = all(place.partition(":")[0] == SAMPLE for _, place in named)
    wanted = _listed(enabled or ("" if samples else os.environ.get(ENABLED_ENVIRONMENT, "")))
    patterns = _listed(lanes)
    moment: str | datetime | None = as_of or None
    judged: list[Lane] = []
    hashes: dict[Key, str] = {}
    files: list[SourceFile] = []
    with ExitStack() as stack:
        opened = [stack.enter_context(open_source(place)) for _, place in named]
        names = _distinct(
            [name or source.name for (name, _), source in zip(named, opened, strict=True)],
            [Path(place).parent.name for _, place in named],
        )
        for name, source in zip(names, opened, strict=True):
            alive = []
            asked = _asked(source, wanted, patterns)
            for lane in asked:
                tables = source.load(window_of(lane, given, moment))
                moment = moment or (tables.as_of if tables.snapshot is None else None)
                judged.append(_judged(name, tables, locations.real(policy), profile))
                hashes[judged[-1].key] = content_hash(tables)
                alive.append(judged[-1].metrics.last_activity)
            newest = max((seen for seen in alive if seen is not None), default=None)
            files.append(SourceFile(name, source.kind, len(asked), newest))
    if not judged and not wanted:
        raise InputError(f"There is no lane{f' {lanes!r}' if lanes else ''} in {', '.join(names)}.")
    coincided = incidents({one.key: troubles(one.metrics) for one in judged})
    at = max((one.metrics.generated_at for one in judged if one.metrics.generated_at), default=None)
    found = told_apart(judged, coincided, wanted, at)
    given |= {"enabled": ",".join(wanted)}
    return FleetReport(
        lanes=found,
        absent=tuple(lane for lane in _matching(wanted, patterns) if lane not in {one.vp_id for one in judged}),
        enabled=tuple(wanted),
        incidents=coincided,
        files=tuple(files),
        as_of=at,
        rows=tuple(
            evidence_row(
                lane.verdict,
                window_label=window_label or bounds(lane.metrics),
                scope=f"{lane.vp_id} ({lane.source})" if len(named) > 1 else lane.vp_id,
                ref=f"{lane.source}: {call(lane.metrics.window)}",
            )
            for lane in found
        ),
        hashes=tuple(hashes[lane.key] for lane in found),
        parameters=given,
        command=command("lane_overview", given | {"as_of": at.isoformat() if at else ""}),
    )


def _named(text: str) -> tuple[str, str]:
    """A source's name, ``""`` when it has none of its own, and its location."""
    place = text.strip()
    found = re.fullmatch(r"([\w.-]+)=(.+)", place)
    return (found[1], found[2]) if found and not Path(place).exists() else ("", place)


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, re.split(r"[,\s]+", text))))


def _asked(source: Source, enabled: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The lanes to be read of a source: of one that cannot list them, those that somebody names."""
    listed = source.lanes()
    if not listed and source.kind == "gateway":
        listed = tuple(patterns or enabled)
        if not listed:
            raise InputError(f"{source.name} does not list its lanes: name them by lanes or enabled.")
    return _matching(listed, patterns)


def _matching(lanes: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [lane for lane in lanes if not patterns or any(fnmatchcase(lane, pattern) for pattern in patterns)]


def _judged(source: str, tables: Tables, policy: str, profile: Profile) -> Lane:
    rules = Policy.load(_policy_of(tables.window.vp_id, policy), profile)
    metrics = summarize(tables).overdue_after(rules.overdue_seconds)
    verdict = classify(metrics, rules)
    return Lane(source, tables.window.vp_id, metrics, verdict, rules, p_value(metrics, rules))


def _policy_of(lane: str, policy: str) -> str:
    """The policy of a lane: its own file of a folder, else the folder's ``default.toml``, else the playbook."""
    folder = Path(policy)
    if not folder.is_dir():
        return policy
    files = {path.name: path for path in folder.glob("*.toml")}
    if not files:
        raise InputError(f"The folder {policy} has no policy: it holds LANE.toml for a lane, or default.toml.")
    return str(files.get(f"{lane}.toml") or files.get("default.toml") or "playbook")


def _distinct(names: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Names that are told apart: those that occur more than once by their folder, failing that by their place."""
    named = [
        f"{folder}/{name}" if names.count(name) > 1 and folder else name
        for name, folder in zip(names, folders, strict=True)
    ]
    return [f"{name} #{place}" if named.count(name) > 1 else name for place, name in enumerate(named, 1)]
