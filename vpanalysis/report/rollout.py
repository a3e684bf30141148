"""Reads a window, judges it and returns its report: the notebooks' first call."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd

from vpanalysis.analysis.answer import compare_with_gateway, gateway_misleads
from vpanalysis.analysis.decision import classify, judge
from vpanalysis.analysis.events import event_profile
from vpanalysis.analysis.gates.data_quality import judge_quality
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.outlook import outlook
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.recovery_checklist import recovery_checklist, reenable
from vpanalysis.analysis.run_times import latency_profile
from vpanalysis.analysis.sessions import session_story
from vpanalysis.analysis.signatures import group_signatures
from vpanalysis.analysis.trends import compare, past_windows, rolling_fallback
from vpanalysis.analysis.verdict import Profile
from vpanalysis.data.schema import DEFAULT_VP_ID, MAX_MISSION_LIMIT
from vpanalysis.data.snapshot import Snapshot
from vpanalysis.data.source import Source, open_source
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.report import locations
from vpanalysis.report.made import command
from vpanalysis.report.parameters import check_types
from vpanalysis.report.row import evidence_row
from vpanalysis.report.sections.verdict import banner
from vpanalysis.report.window_report import WindowReport

#: The capture helper's limits: what an operator would have been told by the gateway.
_GATEWAY_MISSIONS, _GATEWAY_EVENTS = 100, 500
#: Windows before this one whose numbers a sparkline shows.
PRECEDING = 8


def rollout_report(
    *,
    source: str = "sample",
    vp_id: str = DEFAULT_VP_ID,
    window_start: str = "",
    window_end: str = "",
    last_missions: int = 0,
    as_of: str = "",
    window_label: str = "",
    scope: str = "",
    profile: Profile = "rollout",
    policy: str = "playbook",
    event_limit: int = 200,
    baseline_start: str = "",
    baseline_end: str = "",
    notebook: str = "rollout_window",
) -> WindowReport:
    """Reads a window and its baseline and judges it; a read-only operation.

    Args:
        source: A runtime database, an archive's folder, a gateway's URL, a saved snapshot (``.json``), or ``sample``.
        vp_id: The lane.
        window_start: First moment inside (ISO 8601, UTC); ``""``: not given.
        window_end: First moment outside; ``""``: not given.
        last_missions: The newest N missions instead; 0: not given, and 100 when no range is given either.
        as_of: The moment to judge at; ``""``: the time of reading.
        window_label: What the row calls the window; ``""``: its bounds.
        scope: What the row calls the traffic; ``""``: the lane.
        profile: ``rollout`` or ``sustained``.
        policy: ``playbook``, ``capture``, or the path of a TOML file.
        event_limit: How many of the newest events the report lists, clamped to 1..1000.
        baseline_start: First moment of the window to compare with; ``""``: the window right before.
        baseline_end: First moment after it.
        notebook: The notebook that shows the report, as ``vpanalysis report`` names it.

    Raises:
        InputError: A parameter is ill-typed, or names nothing that exists; the sentence says which.
    """
    given = dict(locals())
    given.pop("notebook")
    check_types(given)
    rules = Policy.load(locations.real(policy), profile=profile)
    window = window_of(vp_id, given, as_of or None)
    with open_source(locations.real(source)) as opened:
        tables, others, gateway = read_window(opened, window, baseline_start, baseline_end)
    metrics = summarize(tables).overdue_after(rules.overdue_seconds)
    newest = summarize(others["gateway"]) if "gateway" in others else metrics
    difference = compare_with_gateway(newest, gateway) if gateway else None
    before, preceding = others.get("baseline"), others.get("preceding")
    baseline = summarize(before).overdue_after(rules.overdue_seconds) if before is not None else None
    forced = baseline if baseline and judge(baseline, rules).action == "force_fallback" else None
    verdict = classify(metrics, rules)
    evidence = verdict.evidence.model_copy(update={"fragility": outlook(metrics, rules)})
    verdict = verdict.model_copy(update={"evidence": evidence})
    parameters = given | {"as_of": tables.as_of.isoformat() if tables.as_of else ""}
    label = window_label or bounds(metrics)
    return WindowReport(
        tables=tables,
        metrics=metrics,
        verdict=verdict,
        policy=rules,
        baseline=baseline,
        comparison=compare(metrics, baseline, slow_seconds=rules.p95_critical_seconds),
        preceding=past_windows(preceding, tables.window, PRECEDING) if preceding is not None else (),
        rolling=rolling_fallback(metrics),
        latency=latency_profile(metrics, slow_seconds=rules.p95_critical_seconds),
        baseline_latency=latency_profile(baseline, slow_seconds=rules.p95_critical_seconds) if baseline else None,
        signatures=group_signatures(metrics.events),
        quality=judge_quality(metrics, rules.gate("data_quality")),
        gateway_difference=difference,
        gateway_misleads=gateway is not None and difference is not None and gateway_misleads(newest, gateway, rules),
        session=session_story(metrics),
        event_profile=event_profile(metrics),
        checklist=recovery_checklist(verdict, metrics, rules, source=source),
        way_back=reenable(metrics, forced, rules) if forced else None,
        evidence_row=evidence_row(
            verdict, window_label=label, scope=scope or vp_id, ref=f"{tables.source}: {call(tables.window)}"
        ),
        notebook=notebook,
        parameters=given,
        command=command(notebook, parameters),
        content_hash=content_hash(tables),
        row_counts={
            "vp_missions": len(tables.missions),
            "vp_events": sum(tables.event_counts.values()),
            "vp_session_events": len(tables.session_events),
            "vp_sessions": int(tables.session is not None),
        },
        banner=banner,
    )


def window_of(vp_id: str, given: Mapping[str, Any], as_of: datetime | str | None) -> RolloutWindow:
    """Returns the window of a lane that a notebook's parameters name."""
    start, end, newest = (given[name] or None for name in ("window_start", "window_end", "last_missions"))
    return RolloutWindow(vp_id, start=start, end=end, last_missions=newest, as_of=as_of)


def read_window(
    source: Source, window: RolloutWindow, baseline_start: str = "", baseline_end: str = ""
) -> tuple[Tables, dict[str, Tables], Snapshot | None]:
    """Returns all that a report reads: a window's tables, those of others by name, and the gateway's own answer.

    The answer, of the same missions and at the capture helper's limits, is ``None`` for a source that holds no more.
    """
    tables, others = source.load_with(window, partial(_others, baseline_start, baseline_end))
    if tables.snapshot is not None:
        return tables, others, None
    newest = others.get("gateway", tables).window.last_missions
    answer = source.gateway_snapshot(window.vp_id, newest or _GATEWAY_MISSIONS, _GATEWAY_EVENTS)
    return tables, others, answer


def _others(baseline_start: str, baseline_end: str, tables: Tables) -> dict[str, RolloutWindow]:
    """Which windows are read beside one: its baseline, those before it, and the newest missions as the gateway counts.

    A snapshot has none of them; an explicit baseline is asked for all the same, so that its source may say why not.
    """
    window, as_of = tables.window, tables.as_of
    asked = RolloutWindow(window.vp_id, start=baseline_start or None, end=baseline_end or None, as_of=as_of)
    found = {"baseline": asked} if baseline_start or baseline_end else {}
    if tables.snapshot is not None:
        return found
    if window.last_missions is None or window.last_missions > MAX_MISSION_LIMIT or window.skip_missions:
        found["gateway"] = RolloutWindow(window.vp_id, last_missions=_GATEWAY_MISSIONS, as_of=as_of)
    before = {"baseline": window.baseline(), "preceding": window.preceding(PRECEDING)}
    return {name: other for name, other in before.items() if other is not None} | found


def bounds(metrics: Metrics) -> str:
    """Returns what a window without a label is called."""
    window = metrics.window
    if window.last_missions is not None:
        known = metrics.fallback.missions_considered if metrics.kind in ("snapshot", "gateway") else None
        return f"Newest {known or window.last_missions} missions"
    start, end = (value and f"{value:%Y-%m-%d %H:%M}" for value in (metrics.start, metrics.end))
    return f"{start or 'beginning'} to {end or 'open'} UTC"


def call(window: RolloutWindow) -> str:
    """Returns the call that gives a row's numbers, as the log's other rows write it."""
    arguments = [f'vp_id="{window.vp_id}"']
    if window.last_missions is not None:
        arguments.append(f"last_missions={window.last_missions}")
    else:
        arguments += [
            f'{name}="{value:%Y-%m-%dT%H:%M:%SZ}"'
            for name, value in (("start", window.start), ("end", window.end))
            if value is not None
        ]
    return f"RolloutWindow({', '.join(arguments)})"


def content_hash(tables: Tables) -> str:
    """Hashes what the report rests on: each mission's stored stamps and event counts, the events, the session."""
    columns = ["mission_id", "status_text", "created_at_text", "started_at_text", "completed_at_text", "sequence"]
    missions = tables.missions[[*columns, "events", "fallback_events"]]
    events = tables.events[["event_id", "mission_id", "event_type", "payload_json", "created_at_text"]]
    session_events = tables.session_events[["event_id", "event_type", "payload_json", "created_at_text"]]
    digest = hashlib.sha256()
    for frame in (missions, events, session_events):
        for row in frame.itertuples(index=False):
            digest.update(json.dumps([None if pd.isna(value) else str(value) for value in row]).encode())
    digest.update(json.dumps([dict(tables.event_counts), tables.session], sort_keys=True, default=str).encode())
    return digest.hexdigest()
