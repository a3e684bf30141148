"""The playbook's recovery checklist (§4), filled in with a window's facts, and the way back to the lane (§4.5)."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from vpanalysis import formatting
from vpanalysis.analysis import intervals
from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.gates.data_quality import judge_quality
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.sessions import session_story
from vpanalysis.analysis.signatures import group_signatures
from vpanalysis.analysis.trends import Comparison, compare
from vpanalysis.analysis.verdict import Verdict
from vpanalysis.data.schema import FAILED, FALLBACK, MAX_MISSION_LIMIT, ORPHANED_STATUSES

FORCE_VARIABLE = "UA_CODER_VP_FORCE_FALLBACK"
_NO_ERROR = "Look at the session and at hanging missions"


@dataclass(frozen=True)
class Step:
    """One step of the checklist.

    Attributes:
        number: 1 to 5, as in the playbook's §4.
        title: What to do, after the playbook.
        text: What it means for this window: its facts and thresholds.
        command: A shell command to copy; ``None`` where there is none.
        now: Whether the verdict asks for the step at once; a step that waits for something says for what.
    """

    number: int
    title: str
    text: str
    command: str | None
    now: bool


@dataclass(frozen=True)
class ReenableVerdict:
    """Whether a lane under forced fallback may be enabled again.

    Attributes:
        justified: Nothing stands against it.
        sentence: The answer, with the numbers of the probe missions and of the window before.
        against: What stands against it, in words; empty when justified.
        probes: Probe missions considered; ``None`` when unknown.
        more_probes: How many more probe missions without a fallback the evidence needs; 0 when enough.
        upper_bound: One-sided 95 % upper bound of the probes' fallback rate; ``None`` without probes.
        change: Change of the fallback rate against the window before the incident; ``None`` when either is unknown.
    """

    justified: bool
    sentence: str
    against: tuple[str, ...]
    probes: int | None
    more_probes: int
    upper_bound: float | None
    change: intervals.ShareDifference | None


def recovery_checklist(
    verdict: Verdict, metrics: Metrics, policy: Policy, *, source: str | None = None
) -> tuple[Step, ...]:
    """Returns the five steps for a window whose action is not ``continue``; else an empty tuple.

    Args:
        verdict: The verdict on the window.
        metrics: The window it was given on.
        policy: The policy that judged it.
        source: The source as the commands name it; ``None``: the name the metrics know, which of a file is the last
            part of its path.
    """
    if verdict.action == "continue":
        return ()
    name, file = shlex.quote(source or metrics.source), "snapshot.json"
    kept = f"what this verdict rests on, as of {formatting.time(metrics.generated_at)}"
    if metrics.kind == "snapshot":  # lest the command writes over what was judged
        name, file = '"$UA_CODER_VP_DB_PATH"', "database.json"
        kept = "the snapshot that this verdict rests on, and what the database shows now"
    lane = f"--source {name} --vp-id {shlex.quote(metrics.vp_id)}"
    errors = f'select(.event_type == "{FALLBACK}" or .event_type == "{FAILED}") | .payload'
    forced = verdict.action == "force_fallback"
    title, text = _errors(metrics)
    return (
        Step(
            1,
            "Capture a snapshot",
            f"Keep {kept}, before anything changes{_left_out(metrics)}.",
            f"vpanalysis snapshot {lane} {_window_options(metrics)} > {file}",
            now=True,
        ),
        Step(
            2,
            title,
            text,
            None if title == _NO_ERROR else f"jq '.recent_events[] | {errors}' {file}",
            True,
        ),
        Step(
            3,
            "Force the fallback",
            _forcing(verdict, policy),
            f"export {FORCE_VARIABLE}=1" if forced else None,
            forced,
        ),
        Step(
            4,
            "Validate the user flow on the primary path",
            _validation(metrics),
            f"vpanalysis snapshot {lane} | jq '{{mission_counts, event_counts, session, recovery}}'",
            now=True,
        ),
        Step(
            5, "Re-enable the lane only after it is back in range", _way_back(policy), f"unset {FORCE_VARIABLE}", False
        ),
    )


def _left_out(metrics: Metrics) -> str:
    """What the command does not keep: of a window by its number of missions the endpoint gives the newest only."""
    missions = metrics.fallback.missions_considered or 0
    if metrics.window.last_missions is None or missions <= MAX_MISSION_LIMIT:
        return ""
    return f" (the newest {MAX_MISSION_LIMIT} of its {missions:,} missions)"


def _window_options(metrics: Metrics) -> str:
    """The options by which ``vpanalysis snapshot`` shows the verdict's own missions."""
    window = metrics.window
    if window.last_missions is None:
        times = (("--window-start", window.start), ("--window-end", window.end), ("--as-of", metrics.generated_at))
        options = [f"{name} {moment.isoformat()}" for name, moment in times if moment is not None]
    else:
        missions = min(max(metrics.fallback.missions_considered or 0, 1), MAX_MISSION_LIMIT)
        options = [f"--mission-limit {missions}"]
        if metrics.known.queue_wait and metrics.generated_at is not None:
            options.append(f"--as-of {metrics.generated_at.isoformat()}")
    return " ".join([*options, "--event-limit 500"])


def _errors(metrics: Metrics) -> tuple[str, str]:
    """What to inspect, by what the window holds, and what is known of it."""
    found, read = group_signatures(metrics.events), "Read the errors in the database"
    if not metrics.known.events:
        return read, "The source shows no payloads."
    if not found and metrics.quality.truncated_events:
        return read, "The snapshot lacks events of these missions."
    if not found:
        left = "No fallback and no failure left a payload in this window"
        return _NO_ERROR, f"{left}, so no error says why."
    frequent = sorted(found, key=lambda each: -each.count)
    top = "; ".join(f"{each.signature} ({each.kind}, {each.count:,}×)" for each in frequent[:3])
    more = f"; {len(found) - 3:,} more" if len(found) > 3 else ""
    kinds = " and ".join(sorted({each.kind for each in found}, reverse=True))
    return f"Inspect the {kinds} errors", f"Most frequent first: {top}{more}."


def _forcing(verdict: Verdict, policy: Policy) -> str:
    rate, critical = formatting.percent(verdict.fallback_rate), formatting.percent_limit(policy.fallback_critical)
    if verdict.action == "force_fallback":
        why = verdict.reasons[0].sentence.rstrip(".")
        return (
            f"Needed now, because {why[:1].lower()}{why[1:]}. Set it in the gateway's environment, so that "
            "missions take the primary path."
        )
    if verdict.lane_status == "NO_TRAFFIC":
        return "Not needed: the lane has too few missions to be a risk."
    if any(reason.gate == "fallback_rate" and reason.value is None for reason in verdict.reasons):
        rate = "unknown"
    return f"Not needed yet: the fallback rate is {rate}. Force it at {critical} or more, or when the errors get worse."


def _validation(metrics: Metrics) -> str:
    parts = []
    story = session_story(metrics)
    if story.status in ORPHANED_STATUSES:
        lasting = story.longest_open_seconds
        state = f"has been {story.status} for {formatting.duration(lasting)}" if lasting else f"is {story.status}"
        parts.append(f"The session {state}: run the lease and recovery drill first (§3.4).")
    counts = metrics.mission_counts or {}
    open_ones = sum(counts.get(status, 0) for status in ("queued", "running", "blocked"))
    if open_ones:
        parts.append(f"{formatting.count(open_ones, 'mission')} not finished yet: make sure that none is lost.")
    parts.append("Run one request of each kind, and check that it completes on the primary path without a regression.")
    return " ".join(parts)


def _way_back(policy: Policy) -> str:
    enough = formatting.count(_probes_needed(0, policy), "probe mission")
    return (
        "A lane under forced fallback has no traffic, so send it probe missions. It is back in range when their "
        f"fallback rate is below {formatting.percent_limit(policy.fallback_watch)}, their p95 below "
        f"{formatting.seconds_limit(policy.p95_watch_seconds)}, and no gate trips. It takes {enough} without a "
        f"fallback to show a rate below {formatting.percent_limit(policy.fallback_critical)} with 95 % confidence."
    )


def reenable(probes: Metrics, before: Metrics, policy: Policy) -> ReenableVerdict:
    """Returns whether the lane may be enabled again (playbook §4.5).

    A lane under forced fallback has no traffic of its own: what counts are the probe missions sent through it
    since. Enabling it is justified when the policy finds them healthy, their p95 is below ``p95_watch_seconds`` in
    either profile, neither their fallback rate nor their run times rose against the window before the incident, and
    they are so many that a rate of ``fallback_critical``, which would force the fallback again, is ruled out: the
    one-sided 95 % upper bound is below it.

    Args:
        probes: The probe missions' window.
        before: The window before the incident.
        policy: The policy that judges.
    """
    n, k = probes.fallback.missions_considered, probes.fallback.missions_with_fallback
    found = compare(probes, before, slow_seconds=policy.p95_critical_seconds)
    bound, more = None, 0
    if n is None or k is None or k > n:
        against = ["it is unknown how many probe missions ran and fell back"]
    elif n == 0:
        more = _probes_needed(0, policy)
        against = [f"no probe mission has run, and a lane under forced fallback gets no others: send {more:,}"]
    else:
        bound, more = intervals.upper_bound(k, n), max(0, _probes_needed(k, policy) - n)
        against = [*_probes_against(probes, policy), *_worse_than(found)]
    if n and more:
        clean = formatting.count(more, "more probe mission")
        against.append(
            f"{clean} without a fallback would rule out a rate of {formatting.percent_limit(policy.fallback_critical)}"
        )
    end = before.window.end if before.window else None
    if end is not None and probes.start is not None and probes.start < end:
        against.append(f"the probes' window begins before the other one ends, at {formatting.time(end)}")
    if against:
        answer = f"Not yet: {'; '.join(against)}."
    else:
        critical = formatting.percent_limit(policy.fallback_critical)
        at_most = f"at most {formatting.percent(bound)} with 95 % confidence, below {critical}"
        answer = f"Re-enabling is justified: the fallback rate is {at_most}."
    facts = f"Probe missions: {_facts(probes)}; before the incident: {_facts(before)}."
    return ReenableVerdict(not against, f"{answer} {facts}", tuple(against), n, more, bound, found.fallback)


def _probes_against(probes: Metrics, policy: Policy) -> Iterator[str]:
    """What the probe missions say by themselves."""
    verdict = classify(probes, policy)
    if verdict.lane_status != "HEALTHY":
        yield f"the policy finds the probes {verdict.lane_status}: {verdict.reasons[0].sentence.rstrip('.')}"
    elif vetoes := [note.sentence for note in judge_quality(probes, policy.gate("data_quality")) if note.veto]:
        yield vetoes[0].rstrip(".")
    p95, limit = probes.latency_seconds.p95_seconds, policy.p95_watch_seconds
    if p95 is None:
        yield "no probe mission has a run time"
    elif p95 >= limit:
        yield f"their p95 {formatting.duration(p95)} is not below {formatting.seconds_limit(limit)}"


def _worse_than(found: Comparison) -> Iterator[str]:
    """What the comparison with the window before the incident says."""
    if found.fallback_up and found.fallback is not None:
        rates = f"{formatting.percent(found.fallback.before)} → {formatting.percent(found.fallback.after)}"
        yield f"the fallback rate rose compared with the window before the incident ({rates})"
    if found.run_time_up:
        p95 = f"{formatting.duration(found.run_p95.before)} → {formatting.duration(found.run_p95.after)}"
        yield f"the run times rose compared with the window before the incident (p95 {p95})"


def _probes_needed(k: int, policy: Policy) -> int:
    """Probe missions, ``k`` of them fallen back, that rule out a rate of ``fallback_critical``."""
    return intervals.missions_needed(k, min(policy.fallback_critical, 0.999))


def _facts(window: Metrics) -> str:
    share = formatting.share(window.fallback.missions_with_fallback, window.fallback.missions_considered)
    return f"{share} fell back, p95 {formatting.duration(window.latency_seconds.p95_seconds)}"
