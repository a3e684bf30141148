"""Gate ``session``: the lane's session at the window's end, and how often it degraded."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.chance import most_events_by_chance
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds, not_assessed, were
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics, degraded_since
from vpanalysis.analysis.verdict import WATCH
from vpanalysis.data import snapshot
from vpanalysis.data.schema import ORPHANED_STATUSES
from vpanalysis.data.timestamps import parse_time

_STATUS_LENGTH = 40
_SERVING = ("idle", "active", "running", "healthy")
_RESTING = ("paused", "retired")


class SessionGate(Settings):
    """Session: not serving at the window's end, or degraded again and again.

    Attributes:
        degraded: So many ``degraded`` events within the span of the ``newest`` missions trip the gate.
        newest: How many missions that span is over.
        per_mission: Degradations per mission that are normal; over the whole window more than they explain trip the
            gate, but ...
        chance: ... only where chance alone would show as many with this probability or less.
    """

    degraded: int = Field(default=3, ge=1)
    newest: int = Field(default=60, ge=1)
    per_mission: float = Field(default=0.006, gt=0)
    chance: float = Field(default=0.01, gt=0, lt=1)


def judge(metrics: Metrics, settings: SessionGate, policy: Thresholds) -> Finding:
    """Judges the session: gone, not serving, unknown, or degraded more often than happens by chance."""
    lost = metrics.session_health is not None and metrics.session_health.currently_orphaned
    if not metrics.known.session and not lost:
        return not_assessed("active or idle", "The source says nothing about the session.")
    considered = metrics.fallback.missions_considered or len(metrics.missions)
    if metrics.session is None and not lost:
        if not considered:
            return not_assessed("active or idle", "There is no session row, and no mission is known.")
        sentence = "There is no session row although missions exist: bootstrap has not happened, or the runtime "
        return Finding(WATCH, None, "a session", "no session row", f"{sentence}database is unavailable.")
    status = metrics.session_status
    text = shown(status or "unknown", _STATUS_LENGTH)
    row = metrics.session or {}
    statuses = (status, snapshot.session_status(row) if metrics.is_open or _written_before_end(row, metrics) else None)
    orphaned = next((name for name in statuses if name in ORPHANED_STATUSES), None)
    orphaned = orphaned or ("orphaned" if lost else None)
    if orphaned:
        return _state(orphaned, f"The session is {orphaned} at the window's end.")
    waiting = int(
        (metrics.missions["outcome"].isin(("pending", "overdue")) & metrics.missions["begun_at"].isna()).sum()
    )
    if status in _RESTING and waiting:
        return _state(text, f"The session is {text} although {were(waiting, 'mission', 'waits', 'wait')} in the queue.")
    if status not in (*_SERVING, *_RESTING):
        outside = (
            f"is {text}, which is not a status of the contract" if status not in (None, "unknown") else "is unknown"
        )
        return _state(text, f"The session's state at the window's end {outside}.")
    if metrics.degraded_events is None:
        return not_assessed("active or idle", f"The session is {text}; how often it degraded is unknown.")
    return _degraded(metrics, settings, text)


def _written_before_end(row: Mapping[str, Any], metrics: Metrics) -> bool:
    """Whether the session's row says how the session was within the window, not at a later time."""
    written = parse_time(str(row.get("updated_at")))
    return written is not None and metrics.end is not None and written < metrics.end


def _state(status: str, sentence: str) -> Finding:
    return Finding(WATCH, status, "active or idle", f"session {status}", sentence)


def _degraded(metrics: Metrics, settings: SessionGate, status: str) -> Finding:
    created = metrics.missions["created_at"].dropna().tail(settings.newest)
    span = created.min().to_pydatetime() if len(created) else None
    recent, whole = degraded_since(metrics.session_events, span), metrics.degraded_events or 0
    missions = max(metrics.fallback.missions_considered or 0, len(metrics.missions))
    normal = most_events_by_chance(settings.per_mission * missions, settings.chance)
    times = f"degraded {formatting.times(whole)} in the window" if whole else "did not degrade in the window"
    if recent >= settings.degraded:
        brief = f"session degraded often ({recent} >= {settings.degraded})"
        newest = f"within the span of the newest {formatting.count(len(created), 'mission')}"
        sentence = f"The session degraded {formatting.times(recent)} {newest}; {settings.degraded} times is too often."
        return Finding(WATCH, recent, settings.degraded, brief, sentence, "count")
    if whole >= normal:
        brief = f"session degraded often ({whole} >= {normal})"
        usual = formatting.threshold(round(100 * settings.per_mission, 6))
        sentence = f"The session {times}; at {usual} per 100 missions, chance explains {normal - 1:,} at most."
        return Finding(WATCH, whole, normal, brief, sentence, "count")
    brief = f"session {status}, degraded {whole} < {normal}"
    return Finding("HEALTHY", status, "active or idle", brief, f"The session is {status} and {times}.")


GATE = Gate(
    name="session",
    unit="status",
    trips="the session is degraded or recovering at the window's end (also by its row alone), paused or retired "
    "although missions are queued, unknown, or missing although missions exist; it degraded 3 times within the span of "
    "the newest 60 missions, or more often than a rate of 0.6 per 100 missions explains (Poisson, 1 %)",
    look="run the lease/recovery drill (§3.4)",
    judge=judge,
    settings=SessionGate,
    limits=lambda settings, policy: f"watch when not serving, or degraded {settings.degraded} times",
)
