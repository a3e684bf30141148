"""Everything a window's report shows, from one call: the notebooks' first."""

import hashlib
import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import pandas as pd

from vpanalysis.analysis.answer import compare_with_gateway, gateway_misleads
from vpanalysis.analysis.decision import classify, judge
from vpanalysis.analysis.events import EventProfile, event_profile
from vpanalysis.analysis.gates.data_quality import QualityNote, judge_quality
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.outlook import outlook
from vpanalysis.analysis.policy import PROFILES, Policy
from vpanalysis.analysis.recovery_checklist import ReenableVerdict, Step, recovery_checklist, reenable
from vpanalysis.analysis.run_times import LatencyProfile, latency_profile, slowness
from vpanalysis.analysis.sessions import SessionStory, session_story
from vpanalysis.analysis.signatures import MAX_EXAMPLE, Signature, error_text, group_signatures, normalise
from vpanalysis.analysis.trends import Comparison, PastWindow, compare, past_windows, rolling_fallback
from vpanalysis.analysis.verdict import Verdict
from vpanalysis.data.schema import DEFAULT_VP_ID, FAILED, FALLBACK, MAX_MISSION_LIMIT
from vpanalysis.data.source import Source, open_source
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError, UnknownLaneError
from vpanalysis.report import locations
from vpanalysis.report.row import evidence_row

#: The capture helper's limits: what an operator would have been told by the gateway.
_GATEWAY_MISSIONS, _GATEWAY_EVENTS = 100, 500
#: Windows before this one whose numbers a sparkline shows.
_PRECEDING = 8
_SHOWN_VERSIONS = ("vpanalysis", "duckdb", "pandas", "scipy", "matplotlib", "papermill", "nbconvert")


@dataclass(frozen=True, eq=False)
class WindowReport:
    """One window, judged: what the report and its JSON twin show.

    Attributes:
        tables: The window's tables.
        metrics: What they say.
        verdict: The decision, its reasons and its evidence.
        policy: The policy that judged.
        baseline: The metrics of the window before (or the given one); ``None`` when there is none.
        comparison: The window against its baseline.
        preceding: The eight windows of the same length before this one, oldest first; empty when unknown.
        rolling: Fallback share over the newest 20 missions up to each mission.
        latency: Run time and queue wait, missions still running included.
        baseline_latency: The same of the baseline; ``None`` without one.
        signatures: Fallback and failure errors, grouped.
        quality: What is wrong with the data, vetoes first.
        gateway_difference: By how much the gateway's own numbers differ now; ``None`` when they do not, or when
            the source is no database.
        gateway_misleads: Whether those numbers would have passed the rule table where ours do not.
        session: The session's lifecycle.
        profile: Each mission's events against the expected sequence.
        checklist: The recovery checklist; empty when the action is ``continue``.
        way_back: Whether this window's missions, as probes of a lane under forced fallback, justify re-enabling it;
            ``None`` unless the baseline asked to force the fallback.
        row: The line for the evidence log.
        notebook: The notebook's name.
        parameters: Its parameters, as given.
        command: The command that makes this report again.
        content_hash: SHA-256 of the rows that the report rests on.
        row_counts: Rows per table in the window.
        versions: Versions of Python and of the packages that made it.
    """

    tables: Tables
    metrics: Metrics
    verdict: Verdict
    policy: Policy
    baseline: Metrics | None
    comparison: Comparison
    preceding: tuple[PastWindow, ...]
    rolling: pd.DataFrame
    latency: LatencyProfile
    baseline_latency: LatencyProfile | None
    signatures: tuple[Signature, ...]
    quality: tuple[QualityNote, ...]
    gateway_difference: str | None
    gateway_misleads: bool
    session: SessionStory
    profile: EventProfile
    checklist: tuple[Step, ...]
    way_back: ReenableVerdict | None
    row: str
    notebook: str
    parameters: Mapping[str, Any]
    command: str
    content_hash: str
    row_counts: Mapping[str, int]
    versions: Mapping[str, str]

    @property
    def missions(self) -> pd.DataFrame:
        """The window's missions, oldest first, for questions of your own; secrets in free text are masked.

        Returns:
            The columns of :class:`~vpanalysis.analysis.account.Account`'s missions that are no stored text, with
            ``slow`` (ran longer than the policy's critical p95; missing where nobody knows) and ``error`` (the
            signature of its newest fallback or failure; ``""`` without one).
        """
        frame = self.metrics.missions
        frame = frame.drop(columns=[name for name in frame if str(name).endswith("_text")])
        for name in ("objective", "result_ref"):
            frame[name] = [shown(value, MAX_EXAMPLE) if isinstance(value, str) else None for value in frame[name]]
        errors = self.errors
        slow = slowness(self.metrics, self.policy.p95_critical_seconds)
        return frame.assign(slow=slow, error=[errors.get(name, "") for name in frame["mission_id"]])

    @cached_property
    def errors(self) -> Mapping[str, str]:
        """The signature of each mission's newest fallback or failure."""
        events = self.metrics.events
        told = events[events["event_type"].isin([FALLBACK, FAILED])]
        return {
            str(name): normalise(error_text(payload))
            for name, payload in zip(told["mission_id"], told["payload_json"], strict=True)
        }

    def __repr__(self) -> str:
        verdict = self.verdict
        return f"WindowReport: {verdict.decision} ({verdict.lane_status}) on {verdict.vp_id}"

    def _repr_html_(self) -> str:
        from vpanalysis.report.sections.verdict import banner  # the sections need this module

        return banner(self).html()


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
    profile: str = "rollout",
    policy: str = "playbook",
    event_limit: int = 200,
    baseline_start: str = "",
    baseline_end: str = "",
    notebook: str = "rollout_window",
) -> WindowReport:
    """Reads a window and its baseline and judges it; a read-only operation.

    Args:
        source: A runtime database, a gateway's URL, a saved snapshot, or ``sample``.
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
    _check_types(given)
    if profile not in PROFILES:
        raise InputError(f"There is no profile {profile!r}: choose rollout or sustained.")
    rules = Policy.load(locations.real(policy), profile=profile)
    window = RolloutWindow(
        vp_id,
        start=window_start or None,
        end=window_end or None,
        last_missions=last_missions or None,
        as_of=as_of or None,
    )
    with open_source(locations.real(source)) as opened:
        tables = opened.load(window)
        before = _baseline(opened, tables, baseline_start, baseline_end)
        metrics = summarize(tables).overdue_after(rules.overdue_seconds)
        difference, misleads = _gateway_difference(opened, tables, metrics, rules)
        preceding = _preceding(opened, tables)
    baseline = summarize(before).overdue_after(rules.overdue_seconds) if before is not None else None
    verdict = classify(metrics, rules)
    evidence = verdict.evidence.model_copy(update={"fragility": outlook(metrics, rules)})
    verdict = verdict.model_copy(update={"evidence": evidence})
    parameters = given | {"as_of": tables.as_of.isoformat() if tables.as_of else ""}
    label = window_label or _bounds(metrics)
    return WindowReport(
        tables=tables,
        metrics=metrics,
        verdict=verdict,
        policy=rules,
        baseline=baseline,
        comparison=compare(metrics, baseline, slow_seconds=rules.p95_critical_seconds),
        preceding=preceding,
        rolling=rolling_fallback(metrics),
        latency=latency_profile(metrics, slow_seconds=rules.p95_critical_seconds),
        baseline_latency=latency_profile(baseline, slow_seconds=rules.p95_critical_seconds) if baseline else None,
        signatures=group_signatures(tables.events),
        quality=judge_quality(metrics, rules.gate("data_quality")),
        gateway_difference=difference,
        gateway_misleads=misleads,
        session=session_story(metrics),
        profile=event_profile(metrics),
        checklist=recovery_checklist(verdict, metrics, rules, source=source),
        way_back=_way_back(metrics, baseline, rules),
        row=evidence_row(verdict, window_label=label, scope=scope or vp_id, ref=_ref(tables)),
        notebook=notebook,
        parameters=given,
        command=_command(notebook, parameters),
        content_hash=_content_hash(tables),
        row_counts={
            "vp_missions": len(tables.missions),
            "vp_events": sum(tables.event_counts.values()),
            "vp_session_events": len(tables.session_events),
            "vp_sessions": int(tables.session is not None),
        },
        versions={"python": platform.python_version()} | {name: version(name) for name in _SHOWN_VERSIONS},
    )


def _check_types(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        wanted = int if name in ("last_missions", "event_limit") else str
        if type(value) is not wanted:
            raise InputError(
                f"The parameter {name} is {value!r} ({type(value).__name__}), but must be {wanted.__name__}"
                + ("; papermill's -r passes a value as text." if wanted is str else ".")
            )
    for name in ("last_missions", "event_limit"):
        if given[name] < 0:
            raise InputError(f"The parameter {name} is {given[name]}: give a whole number of 0 or more.")


def _baseline(source: Source, tables: Tables, start: str, end: str) -> Tables | None:
    """Loads the window to compare with; ``None`` when there is none, or when the source cannot show it."""
    if start or end:
        return source.load(RolloutWindow(tables.window.vp_id, start=start or None, end=end or None, as_of=tables.as_of))
    window = tables.window.baseline()
    return None if window is None or tables.snapshot is not None else source.load(window)


def _way_back(metrics: Metrics, baseline: Metrics | None, policy: Policy) -> ReenableVerdict | None:
    forced = baseline is not None and judge(baseline, policy).action == "force_fallback"
    return reenable(metrics, baseline, policy) if baseline is not None and forced else None


def _preceding(source: Source, tables: Tables) -> tuple[PastWindow, ...]:
    """Reads the windows before this one at once; empty when the source cannot show them."""
    before = tables.window.preceding(_PRECEDING)
    if before is None or tables.snapshot is not None:
        return ()
    try:
        return past_windows(source.load(before), tables.window, _PRECEDING)
    except UnknownLaneError:
        return ()


def _gateway_difference(source: Source, tables: Tables, metrics: Metrics, policy: Policy) -> tuple[str | None, bool]:
    """Compares the gateway's own numbers, at the capture helper's limits, with ours for the same missions."""
    if tables.snapshot is not None:
        return None, False
    window = tables.window
    if window.last_missions is None or window.last_missions > MAX_MISSION_LIMIT or window.skip_missions:
        window = RolloutWindow(window.vp_id, last_missions=_GATEWAY_MISSIONS, as_of=tables.as_of)
        metrics = summarize(source.load(window))
    gateway = source.gateway_snapshot(window.vp_id, window.last_missions or _GATEWAY_MISSIONS, _GATEWAY_EVENTS)
    difference = compare_with_gateway(metrics, gateway)
    return difference, difference is not None and gateway_misleads(metrics, gateway, policy)


def _bounds(metrics: Metrics) -> str:
    window = metrics.window
    if window.last_missions is not None:
        known = metrics.fallback.missions_considered if metrics.kind in ("snapshot", "gateway") else None
        return f"Newest {known or window.last_missions} missions"
    start, end = (value and f"{value:%Y-%m-%d %H:%M}" for value in (metrics.start, metrics.end))
    return f"{start or 'beginning'} to {end or 'open'} UTC"


def _ref(tables: Tables) -> str:
    """The call that gives the row's numbers, as the log's other rows write it."""
    window = tables.window
    arguments = [f'vp_id="{window.vp_id}"']
    if window.last_missions is not None:
        arguments.append(f"last_missions={window.last_missions}")
    else:
        arguments += [
            f'{name}="{value:%Y-%m-%dT%H:%M:%SZ}"'
            for name, value in (("start", window.start), ("end", window.end))
            if value is not None
        ]
    return f"{tables.source}: RolloutWindow({', '.join(arguments)})"


def _command(notebook: str, parameters: Mapping[str, Any]) -> str:
    options = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in parameters.items() if value]
    return " ".join([f"vpanalysis report {notebook}", *options])


def _content_hash(tables: Tables) -> str:
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
