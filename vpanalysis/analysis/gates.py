"""One function per rule of the capture helper's table and per gate on top of it: metrics in, what it found out."""

import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis.latency import matured_slow, overdue
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import (
    CompletionsGate,
    FailuresGate,
    LatencyGate,
    Policy,
    RollingFallbackGate,
    SessionGate,
    SlowShareGate,
)
from vpanalysis.analysis.quality import judge_quality
from vpanalysis.analysis.verdict import FORCE, WATCH, Gate, LaneStatus, Reason
from vpanalysis.data.schema import FAILED_STATUSES, ORPHANED_STATUSES

_HEALTHY: LaneStatus = "HEALTHY"
_STATUS_LENGTH = 40
_FINISHED = ("completed", *FAILED_STATUSES)


def traffic(metrics: Metrics, policy: Policy) -> Reason:
    """Judges whether there are missions enough; an unknown number is none."""
    n, least = metrics.fallback.missions_considered, max(1, policy.min_missions)
    if n is None:
        brief = f"insufficient missions (unknown < {least})"
        return _reason("traffic", n, least, "NO_TRAFFIC", brief, "The number of missions is unknown.")
    if n >= least:
        sentence = f"{formatting.count(n, 'mission')} in the window, {least:,} or more asked for."
        return _reason("traffic", n, least, _HEALTHY, f"missions sufficient ({n} >= {least})", sentence)
    few = f"{formatting.count(n, 'mission')} in the window, fewer than the {least:,} asked for."
    sentence = few if n else "There is no mission in the window."
    return _reason("traffic", n, least, "NO_TRAFFIC", f"insufficient missions ({n} < {least})", sentence)


def fallback_rate(metrics: Metrics, policy: Policy) -> Reason:
    """Judges the fallback rate by its two thresholds; a negative rate is unknown."""
    rate, share = metrics.fallback.rate, metrics.fallback
    if rate is None or rate < 0:
        sentence = "The fallback rate is unknown."
        return _reason("fallback_rate", None, policy.fallback_watch, WATCH, "fallback rate unknown", sentence)
    known = share.missions_considered is not None and share.missions_with_fallback is not None
    shown = formatting.share(share.missions_with_fallback, share.missions_considered)
    subject = f"Fallback {shown}" if known else f"The fallback rate of {formatting.percent(rate)}"
    for limit, status, line, word in (
        (policy.fallback_critical, FORCE, "critical", "high"),
        (policy.fallback_watch, WATCH, "watch", "elevated"),
    ):
        if rate >= limit:
            brief = f"fallback rate {word} ({rate:.3f} >= {limit:.3f})"
            sentence = f"{subject} is at or above the {line} line of {formatting.percent(limit)}."
            return _reason("fallback_rate", rate, limit, status, brief, sentence)
    limit = policy.fallback_watch
    brief = f"fallback rate within target ({rate:.3f} < {limit:.3f})"
    sentence = f"{subject} is below the watch line of {formatting.percent(limit)}."
    return _reason("fallback_rate", rate, limit, _HEALTHY, brief, sentence)


def p95(metrics: Metrics, policy: Policy) -> Reason:
    """Judges p95 by the table's rules: unknown is no health; its thresholds count in ``sustained`` only."""
    value, limit = metrics.latency_seconds.p95_seconds, policy.p95_watch_seconds
    if value is None or value < 0:
        sentence = "The p95 run time is unknown: no mission has one."
        return _reason("latency", None, limit, WATCH, "p95 latency unknown", sentence)
    subject = f"The p95 run time of {formatting.duration(value)}"
    if policy.profile == "rollout":
        brief = f"p95 latency observed ({formatting.log_seconds(value)})"
        return _reason("latency", value, limit, _HEALTHY, brief, f"{subject} has no threshold in a rollout.")
    for limit, status, line, word in (
        (policy.p95_critical_seconds, FORCE, "critical", "high"),
        (policy.p95_watch_seconds, WATCH, "watch", "elevated"),
    ):
        if value >= limit:
            brief = f"p95 latency {word} ({value:.3f}s >= {limit:.3f}s)"
            sentence = f"{subject} is at or above the {line} line of {formatting.duration(limit)}."
            return _reason("latency", value, limit, status, brief, sentence)
    brief = f"p95 latency within target ({value:.3f}s < {limit:.3f}s)"
    sentence = f"{subject} is below the watch line of {formatting.duration(limit)}."
    return _reason("latency", value, limit, _HEALTHY, brief, sentence)


def latency(metrics: Metrics, gate: LatencyGate, critical_seconds: float) -> Reason:
    """Judges whether p95 is critical by more than a single mission."""
    value = metrics.latency_seconds.p95_seconds
    if value is None or value < 0:
        return _unknown("latency", critical_seconds, "The p95 run time is unknown.")
    subject = f"The p95 run time of {formatting.duration(value)}"
    line = f"the critical line of {formatting.duration(critical_seconds)}"
    if value < critical_seconds:
        brief = f"p95 latency within target ({value:.3f}s < {critical_seconds:.3f}s)"
        return _reason("latency", value, critical_seconds, _HEALTHY, brief, f"{subject} is below {line}.")
    slow = _missions_as_slow(metrics, critical_seconds)
    brief = f"p95 latency high ({value:.3f}s >= {critical_seconds:.3f}s)"
    if slow >= gate.missions:
        sentence = f"{subject} is at or above {line}, and {formatting.count(slow, 'mission')} took as long."
        return _reason("latency", value, critical_seconds, WATCH, brief, sentence)
    if metrics.missions is None:
        sentence = f"{subject} is at or above {line}, but how many missions took as long is unknown."
        return _unknown("latency", critical_seconds, sentence)
    sentence = f"{subject} is at or above {line}, but by {formatting.count(slow, 'mission')}: it takes {gate.missions}."
    return _reason("latency", value, critical_seconds, _HEALTHY, f"{brief} by {slow} of {gate.missions}", sentence)


def _missions_as_slow(metrics: Metrics, seconds: float) -> int:
    """How many missions took ``seconds`` or more; from p95 alone, as many as its rank leaves above it."""
    if metrics.missions is not None:
        return int((metrics.missions["duration_seconds"] >= seconds).sum())
    n = metrics.latency_seconds.count
    return n - round((n - 1) * 0.95) if n else 0


def failures(metrics: Metrics, gate: FailuresGate) -> Reason:
    """Judges sustained failures: in a row among the newest finished missions, or as a share of all finished.

    Without the missions' rows the share is judged from their counts.
    """
    counts = metrics.mission_counts
    if metrics.missions is not None:
        flags = finished_in_order(metrics.missions)["outcome"].isin(FAILED_STATUSES).tolist()
        failed, finished = sum(flags), len(flags)
        row: int | None = _longest_run(flags[-gate.newest :])
    elif counts is not None:
        failed = sum(counts.get(status, 0) for status in FAILED_STATUSES)
        finished, row = failed + counts.get("completed", 0), None
    else:
        return _unknown("failures", gate.share, "How the missions ended is unknown.")
    if finished == 0:
        return _unknown("failures", gate.share, "No mission has finished: there are neither failures nor successes.")
    share = failed / finished
    many, in_a_row = share >= gate.share and failed >= gate.least, row is not None and row >= gate.in_a_row
    status, value, limit = WATCH, share, gate.share
    if (many or in_a_row) and gate.force_share is not None and share >= gate.force_share:
        status, limit = FORCE, gate.force_share
    what = f"{formatting.share(failed, finished)} finished missions failed or timed out"
    run = "how many in a row is unknown" if row is None else f"{row:,} in a row among the newest {gate.newest:,}"
    if many or status == FORCE:
        line = f"at or above {formatting.percent(limit)}"
        tail = f"; {run}" if in_a_row else ""
        brief = f"failed share high ({share:.3f} >= {limit:.3f})"
        return _reason("failures", value, limit, status, brief, f"{what}, {line}{tail}.")
    if in_a_row:
        brief = f"failures in a row ({row} >= {gate.in_a_row})"
        sentence = f"{row:,} missions in a row failed or timed out among the newest {gate.newest:,} finished; {what}."
        return _reason("failures", row, gate.in_a_row, WATCH, brief, sentence)
    few = f" (by fewer than {gate.least:,})" if share >= gate.share else ""
    sentence = f"{what}{few}; {run}."
    relation = "<" if share < gate.share else f"by {failed} of {gate.least}, >="
    brief = f"failed share within target ({share:.3f} {relation} {gate.share:.3f})"
    return _reason("failures", share, gate.share, _HEALTHY, brief, sentence)


def finished_in_order(missions: pd.DataFrame) -> pd.DataFrame:
    """Returns the finished missions in the order in which they ended; cancelled ones are left out."""
    finished = missions[missions["outcome"].isin(_FINISHED)]
    ended, started, created = (
        pd.to_datetime(finished[column], utc=True).dt.as_unit("us")
        for column in ("ended_at", "started_at", "created_at")
    )
    ended = ended.fillna(started).fillna(created)
    return finished.loc[ended.sort_values(kind="stable", na_position="first").index]


def _longest_run(flags: list[bool]) -> int:
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def completions(metrics: Metrics, gate: CompletionsGate) -> Reason:
    """Judges missions that have neither a terminal status nor a terminal event long after their start."""
    if metrics.missions is None or metrics.generated_at is None:
        return _unknown("completions", gate.missions, "When the missions started and ended is unknown.")
    missing = int(overdue(metrics.missions, metrics.generated_at, gate.seconds).sum())
    after = f"{formatting.duration(gate.seconds)} after their start"
    if missing >= gate.missions:
        sentence = f"{formatting.count(missing, 'mission')} without a terminal status or event {after}."
        brief = f"missions without completion ({missing} >= {gate.missions})"
        return _reason("completions", missing, gate.missions, WATCH, brief, sentence)
    count = formatting.count(missing, "mission") if missing else "No mission"
    brief = f"missions without completion ({missing} < {gate.missions})"
    return _reason("completions", missing, gate.missions, _HEALTHY, brief, f"{count} without an end {after}.")


def session(metrics: Metrics, gate: SessionGate) -> Reason:
    """Judges the session: gone, degraded now, or degraded again and again."""
    if not metrics.session_known:
        return _unknown("session", gate.degraded, "The source does not tell about the session.")
    if metrics.session is None:
        if not metrics.fallback.missions_considered:
            return _unknown("session", gate.degraded, "There is no session row, and no mission is known.")
        sentence = "There is no session row although missions exist: bootstrap has not happened, or the runtime "
        return _reason("session", None, "a session", WATCH, "no session row", f"{sentence}database is unavailable.")
    status, degraded = metrics.session_status, metrics.degraded_events
    if status in ORPHANED_STATUSES:
        brief, sentence = f"session {status}", f"The session is {status} at the window's end."
        return _reason("session", status, "active or idle", WATCH, brief, sentence)
    if degraded is not None and degraded >= gate.degraded:
        brief = f"session degraded often ({degraded} >= {gate.degraded})"
        times = formatting.count(degraded, "time")
        sentence = f"The session degraded {times} in the window; {gate.degraded:,} are too many."
        return _reason("session", degraded, gate.degraded, WATCH, brief, sentence)
    if status is None or degraded is None:
        known = f"The session is {shown(status, _STATUS_LENGTH)} at the window's end; how often" if status else "How"
        return _unknown("session", gate.degraded, f"{known} it degraded in the window is unknown.")
    brief = f"session {shown(status, _STATUS_LENGTH)}, degraded {degraded} < {gate.degraded}"
    times = formatting.count(degraded, "time")
    sentence = f"The session is {shown(status, _STATUS_LENGTH)}, and degraded {times} in the window."
    return _reason("session", degraded, gate.degraded, _HEALTHY, brief, sentence)


def rolling_fallback(metrics: Metrics, gate: RollingFallbackGate) -> Reason:
    """Judges the fallback rate of the newest missions alone, when there are as many as the gate asks for."""
    if metrics.missions is None:
        return _unknown("rolling_fallback", gate.share, "Which missions fell back is unknown.")
    named = metrics.missions[metrics.missions["mission_id"].fillna("") != ""].drop_duplicates("mission_id", keep="last")
    if len(named) < gate.newest:
        missions = formatting.count(len(named), "mission")
        sentence = f"{missions}: fewer than the {gate.newest:,} whose rolling rate the guardrail looks at."
        return _unknown("rolling_fallback", gate.share, sentence)
    fell_back = int(named["fallback_seen"].tail(gate.newest).sum())
    share = fell_back / gate.newest
    what = f"{formatting.share(fell_back, gate.newest)} of the newest missions fell back"
    limit = formatting.percent(gate.share)
    if share > gate.share:
        brief = f"rolling fallback high ({share:.3f} > {gate.share:.3f})"
        sentence = f"{what}, over {limit}: the log's guardrail asks to revert."
        return _reason("rolling_fallback", share, gate.share, WATCH, brief, sentence)
    brief = f"rolling fallback within target ({share:.3f} <= {gate.share:.3f})"
    return _reason("rolling_fallback", share, gate.share, _HEALTHY, brief, f"{what}, not over {limit}.")


def slow_share(metrics: Metrics, gate: SlowShareGate, seconds: float) -> Reason:
    """Judges the share of slow missions among those that had ``seconds`` to run, finished or not.

    A mission cancelled sooner is neither slow nor fast: nobody knows how long it would have run.
    """
    if metrics.missions is None or metrics.generated_at is None:
        return _unknown("slow_share", gate.share, "When the missions started and ended is unknown.")
    found = matured_slow(metrics.missions, metrics.generated_at, seconds)
    left_out = f" ({formatting.count(found.cut_short, 'mission')} cancelled sooner left out)" if found.cut_short else ""
    long = formatting.duration(seconds)
    if found.share is None or found.matured < gate.matured:
        missions = formatting.count(found.matured, "mission")
        sentence = f"{missions} had {long} to run{left_out}: fewer than the {gate.matured:,} it takes."
        return _unknown("slow_share", gate.share, sentence)
    what = f"{formatting.share(found.slow, found.matured)} missions that had {long} to run took longer{left_out}"
    limit = formatting.percent(gate.share)
    if found.share > gate.share:
        brief = f"slow share high ({found.share:.3f} > {gate.share:.3f})"
        return _reason("slow_share", found.share, gate.share, WATCH, brief, f"{what}: over {limit}.")
    brief = f"slow share within target ({found.share:.3f} <= {gate.share:.3f})"
    return _reason("slow_share", found.share, gate.share, _HEALTHY, brief, f"{what}: not over {limit}.")


def data_quality(metrics: Metrics) -> Reason:
    """Judges whether the data can carry a verdict at all."""
    vetoes = [note for note in judge_quality(metrics) if note.veto]
    if vetoes:
        brief = f"data quality ({', '.join(note.code.replace('_', ' ') for note in vetoes)})"
        sentence = " ".join(note.sentence for note in vetoes)
        return _reason("data_quality", len(vetoes), 0, WATCH, brief, sentence)
    if metrics.missions is None:
        return _unknown("data_quality", 0, "Whether the source holds every event and each mission once is unknown.")
    complete = "its events complete" if metrics.quality.truncated_events is None else "no sign of missing events"
    sentence = f"Each mission once, {complete}, clocks in order in enough missions."
    return _reason("data_quality", 0, 0, _HEALTHY, "data quality sufficient", sentence)


def _unknown(gate: Gate, threshold: float | str, sentence: str) -> Reason:
    brief = f"{gate.replace('_', ' ')} not assessed"
    return _reason(gate, None, threshold, None, brief, f"Not assessed: {sentence[0].lower()}{sentence[1:]}")


def _reason(
    gate: Gate,
    value: float | str | None,
    threshold: float | str,
    caution: LaneStatus | None,
    brief: str,
    sentence: str,
) -> Reason:
    return Reason(gate=gate, value=value, threshold=threshold, caution=caution, brief=brief, sentence=sentence)
