"""Gate ``data_quality``: what is wrong with the data, in sentences, and whether it forbids a verdict."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import Field

from vpanalysis import formatting
from vpanalysis.analysis.account import OUTCOMES
from vpanalysis.analysis.gates.gate import Finding, Gate, Settings, Thresholds, not_assessed, were
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.verdict import WATCH
from vpanalysis.data.schema import (
    BEYOND_SECONDS,
    COMPLETED,
    FAILED,
    FALLBACK,
    MISSION_STATUSES,
    SESSION_DEGRADED,
    UNKNOWN,
)

#: How far a stated rate may be from its counts: it may have been rounded to three digits.
_ROUNDED = 0.0006
_SIGNALS = (FALLBACK, FAILED, SESSION_DEGRADED)


class DataQualityGate(Settings):
    """Data quality: what is wrong with the data forbids a healthy verdict.

    Attributes:
        unaccounted: Share of missions nobody can account for over which the gate trips, when there are two or more;
            the same of those that completed without a completed event.
        backwards: Share of missions with clocks that run backwards over which the gate trips.
        without_mission: Share of fallback and failure events without a mission over which the gate trips; the same of
            events without a type.
    """

    unaccounted: float = Field(default=0.05, ge=0, lt=1)
    backwards: float = Field(default=0.10, ge=0, lt=1)
    without_mission: float = Field(default=0.02, ge=0, lt=1)


@dataclass(frozen=True)
class QualityNote:
    """One thing that is wrong with the data.

    Attributes:
        code: What it is, such as ``duplicate_missions``: a field of
            :class:`~vpanalysis.data.tables.DataQuality`.
        count: How many rows, values or missions it concerns; 1 for a thing that is or is not.
        sentence: For the reviewer: what, how many, and for a veto what to do.
        veto: Whether it forbids a healthy verdict.
    """

    code: str
    count: int
    sentence: str
    veto: bool


def judge_quality(metrics: Metrics, settings: DataQualityGate | None = None) -> tuple[QualityNote, ...]:
    """Returns what is wrong with a window's data: vetoes first, and an empty tuple when nothing is.

    Args:
        metrics: The window.
        settings: From when on it is a veto; ``None``: the gate's defaults.
    """
    limits, found, account = settings or DataQualityGate(), metrics.quality, metrics.account
    missions = account.total or metrics.fallback.missions_considered or 0
    unaccounted = account.count("unaccounted")
    signals = sum((metrics.event_counts or {}).get(name, 0) for name in (FALLBACK, FAILED)) + found.orphan_signals
    lost_signals = found.orphan_signals > limits.without_mission * signals
    misplaced = _misplaced_signals(metrics)
    undated = found.missions_without_created_at
    endless, completed = _without_event(metrics), account.count("completed")
    untyped, events = (metrics.event_counts or {}).get(UNKNOWN, 0), sum((metrics.event_counts or {}).values())
    contradicting = contradiction(metrics)
    backwards = f"Clocks run backwards in {formatting.share(found.backwards_clocks, missions, 'mission')}"
    too_many = missions > 0 and found.backwards_clocks > limits.backwards * missions
    notes = [
        _note(
            "duplicate_missions",
            found.duplicate_missions,
            f"{were(found.duplicate_missions, 'row', 'repeats', 'repeat')} a mission id: counts and rates cannot "
            "be trusted until the source holds each mission once.",
            veto=True,
        ),
        _note(
            "truncated_events",
            int(found.truncated_events is True),
            "The snapshot does not hold all events of its missions (the gateway counts only the lane's oldest): its "
            "fallback rate cannot be trusted. Read the database itself, or 'vpanalysis serve' beside it.",
            veto=True,
        ),
        _note(
            "ends_before_window",
            int(found.ends_before_window is not None),
            f"The source ends at {formatting.time(found.ends_before_window)}, before the window does: what came "
            "later is not in it. Read a newer source, or end the window there.",
            veto=True,
        ),
        _note(
            "malformed",
            len(found.malformed),
            f"The snapshot's {', '.join(found.malformed)} cannot be read: what they would show is unknown.",
            veto=True,
        ),
        _note(
            "unchecked",
            int(found.unchecked),
            "The tables are too large to be checked for damage on every reading: --check has SQLite check them.",
        ),
        _note(
            "backwards_clocks",
            found.backwards_clocks,
            f"{backwards}, more than {formatting.percent_limit(limits.backwards)}: durations cannot be trusted."
            if too_many
            else f"{backwards}: their durations count as 0.",
            veto=too_many,
        ),
        _note(
            "unaccounted",
            unaccounted,
            f"{formatting.share(unaccounted, missions, 'mission')} cannot be accounted for{_why(metrics)}.",
            veto=unaccounted >= 2 and unaccounted > limits.unaccounted * missions,
        ),
        _note(
            "missing_ends",
            endless,
            f"{formatting.share(endless, completed, 'completed mission')} lack the event that says so: events are "
            "missing, and fallbacks may be among them.",
            veto=endless >= 2 and endless > limits.unaccounted * missions,
        ),
        _note(
            "untyped_events",
            untyped,
            f"{formatting.share(untyped, events, 'event')} have no type: nobody knows whether they are fallbacks.",
            veto=untyped > limits.without_mission * events,
        ),
        _note(
            "orphan_signals",
            found.orphan_signals,
            f"{formatting.share(found.orphan_signals, signals, 'fallback or failure event')} have no mission "
            "in the lane: what is missing cannot be judged.",
            veto=lost_signals,
        ),
        _note(
            "misplaced_signals",
            misplaced,
            f"{were(misplaced, 'fallback, failure or degraded event', 'stands', 'stand')} in the wrong table, or under "
            "a name that only looks right, so that nothing counts them.",
            veto=misplaced > limits.without_mission * (signals + misplaced),
        ),
        _note(
            "beyond_as_of",
            found.beyond_as_of,
            f"{formatting.count(found.beyond_as_of, 'row')} of the lane are stamped over {BEYOND_SECONDS} s later than "
            "this judgement: a clock is wrong, and times cannot be trusted.",
            veto=True,
        ),
        _note("contradiction", int(bool(contradicting)), contradicting, veto=True),
        _note(
            "missing_tables",
            len(found.missing_tables),
            f"The database lacks {', '.join(found.missing_tables)}: what they would show is unknown.",
        ),
        _note(
            "missing_columns",
            len(found.missing_columns),
            f"The database lacks the columns {', '.join(found.missing_columns)}, as older schemas do.",
        ),
        _note(
            "unreadable_times",
            sum(found.unreadable_times.values()),
            f"Values that are not time stamps count as missing: {_listed(found.unreadable_times)}.",
        ),
        _note(
            "undecodable_texts",
            sum(found.undecodable_texts.values()),
            f"Values that are not valid UTF-8 count as missing: {_listed(found.undecodable_texts)}.",
        ),
        _note(
            "missions_without_created_at",
            found.missions_without_created_at,
            f"{formatting.count(found.missions_without_created_at, 'mission')} of the lane without a readable "
            "created_at, so that no time window holds them.",
            veto=undated >= 2 and undated > limits.unaccounted * (missions + undated),
        ),
        _note(
            "missions_without_id",
            found.missions_without_id,
            f"{formatting.count(found.missions_without_id, 'mission')} without an id, not in the fallback rate.",
        ),
        _note(
            "unknown_statuses",
            sum(found.unknown_statuses.values()),
            f"Statuses outside the contract count as unknown: {_listed(found.unknown_statuses)}.",
        ),
        _note(
            "orphan_events",
            found.orphan_events,
            f"{formatting.count(found.orphan_events, 'event')} of the lane belong to no mission of it and are "
            "not counted.",
        ),
        _note(
            "lane_events",
            sum(found.lane_events.values()),
            f"Events of the lane that name no mission are not counted: {_listed(found.lane_events)}.",
        ),
        _note(
            "foreign_events",
            found.foreign_events,
            f"{formatting.count(found.foreign_events, 'event')} of these missions name another lane but are counted.",
        ),
    ]
    return tuple(sorted((note for note in notes if note.count), key=lambda note: not note.veto))


def _misplaced_signals(metrics: Metrics) -> int:
    """How many signals of the window count nowhere, for where they stand or how they are named."""
    events = metrics.session_events
    if metrics.start is not None:
        events = events[events["created_at"].isna() | (events["created_at"] >= metrics.start)]
    of_session, elsewhere = Counter(map(str, events["event_type"])), Counter(metrics.quality.lane_events)
    elsewhere.update(metrics.event_counts or {})
    for name in (FALLBACK, FAILED):
        del elsewhere[name]
    del of_session[SESSION_DEGRADED]
    return sum(n for name, n in (of_session + elsewhere).items() if _plain(name) in _SIGNALS)


def _plain(name: str) -> str:
    """A name without what the eye does not see: capitals, blanks, accents, letters of another width."""
    return re.sub(r"[^\w.]", "", unicodedata.normalize("NFKD", name).casefold(), flags=re.ASCII)


def _without_event(metrics: Metrics) -> int:
    """How many missions completed although no event has said so since their creation, where all events are known.

    One that fell back may have completed on the primary path, where nobody writes it down for the lane.
    """
    if metrics.quality.truncated_events is not None:
        return 0
    missions = metrics.missions
    said = missions["ended_event"].notna() & ~(missions["ended_event_at"] < missions["created_at"])
    wanted = (missions["outcome"] == "completed") & missions["events"].notna() & ~missions["fell_back"]
    return int((wanted & ~said).sum())


def _why(metrics: Metrics) -> str:
    """Why missions are unaccounted for, most frequent first; of a source that does not list them, their statuses."""
    reasons = Counter(str(why) for why in metrics.missions["why"] if why)
    if not metrics.known.missions:
        counts = metrics.mission_counts or {}
        reasons = Counter({f"status {name}": n for name, n in counts.items() if name not in MISSION_STATUSES})
    return f": {_listed(reasons, 60)}" if reasons else ""


def contradiction(metrics: Metrics) -> str:
    """How the source's own numbers contradict each other; ``""`` when they do not."""
    share = metrics.fallback
    n, k, rate = share.missions_considered, share.missions_with_fallback, share.rate
    rows = None if metrics.mission_counts is None else sum(metrics.mission_counts.values())
    known = "The source contradicts itself: it counts"
    events = metrics.event_counts
    if n is not None and k is not None:
        if k > n:
            return f"{known} {k:,} fallbacks in {formatting.count(n, 'mission')}."
        if rate is not None and abs(rate - (k / n if n else 0.0)) > _ROUNDED:
            return f"{known} {k:,} of {formatting.count(n, 'mission')} with a fallback, and a rate of {rate:.3f}."
    if n is not None and rows is not None and rows < n:
        return f"{known} {formatting.count(n, 'mission')}, but statuses of {rows:,} only."
    if rows is not None and metrics.latency_seconds.count > rows:
        return f"{known} run times of {metrics.latency_seconds.count:,} missions, but statuses of {rows:,} only."
    if k is not None and metrics.known.missions and int(metrics.missions["fell_back"].sum()) != k:
        return f"{known} {k:,} missions with a fallback, and lists {int(metrics.missions['fell_back'].sum()):,}."
    if k is not None and events and k > (fallbacks := events.get(FALLBACK, 0)):
        return f"{known} {k:,} missions with a fallback, but {formatting.count(fallbacks, 'fallback event')}."
    run = metrics.latency_seconds
    if run.p95_seconds is not None and run.max_seconds is not None and run.p95_seconds > run.max_seconds:
        return f"{known} a p95 of {formatting.duration(run.p95_seconds)} above its longest run time."
    if run.p50_seconds is not None and run.p95_seconds is not None and run.p50_seconds > run.p95_seconds:
        return f"{known} a median run time of {formatting.duration(run.p50_seconds)} above its p95."
    if metrics.quality.truncated_events is not None or events is None:
        return ""  # events that are not all there prove nothing
    if metrics.known.missions and metrics.missions["events"].notna().all():
        return ""  # what single missions show is the account's
    if k == 0 and events.get(FALLBACK, 0):
        return f"{known} no mission with a fallback, but {formatting.count(events[FALLBACK], 'fallback event')}."
    counts = metrics.account.counts or dict.fromkeys(OUTCOMES, 0)
    ended = counts["completed"] + counts["failed"] + counts["cancelled"]
    if ended > sum(events.values()):
        return f"{known} {formatting.count(ended, 'mission')} that ended, but only {sum(events.values()):,} events."
    odd = events.get(FAILED, 0) - counts["failed"]
    if (odd > 0 and counts["completed"] > events.get(COMPLETED, 0)) or odd > 0.05 * sum(counts.values()) + 1:
        return f"{known} {counts['failed']:,} failed missions, but {formatting.count(events[FAILED], 'failed event')}."
    if counts["completed"] - (k or 0) > 1.05 * events.get(COMPLETED, 0) + 1:  # one may be about to be written
        number = formatting.count(events.get(COMPLETED, 0), "completed event")
        return f"{known} {formatting.count(counts['completed'], 'completed mission')}, but {number}."
    return ""


def runs_backwards(missions: pd.DataFrame) -> "pd.Series[Any]":
    """Returns which missions started before they were created, or completed before they were created or started."""
    begun = missions[["created_at", "started_at"]].max(axis=1)
    return (missions["started_at"] < missions["created_at"]) | (missions["completed_at"] < begun)


def _note(code: str, count: int, sentence: str, veto: bool = False) -> QualityNote:
    return QualityNote(code, count, sentence, veto)


def _listed(counts: Mapping[str, int], characters: int = 40) -> str:
    """Names with their counts, the most frequent first, at most six of them."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{shown(name, characters) or '(empty)'} ({count:,})" for name, count in ordered[:6]]
    return ", ".join(parts) + (f" and {len(ordered) - 6:,} more" if len(ordered) > 6 else "")


def judge(metrics: Metrics, settings: DataQualityGate, policy: Thresholds) -> Finding:
    """Judges whether the data can carry a verdict at all."""
    vetoes = [note for note in judge_quality(metrics, settings) if note.veto]
    if vetoes:
        brief = f"data quality ({', '.join(note.code.replace('_', ' ') for note in vetoes)})"
        return Finding(WATCH, len(vetoes), 1, brief, " ".join(note.sentence for note in vetoes))
    if not metrics.known.missions:
        return not_assessed(1, "It is unknown whether the source holds every event, and each mission once.")
    complete = "no events are missing" if metrics.quality.truncated_events is None else "no events seem to be missing"
    unaccounted = metrics.account.count("unaccounted")
    counted = f", all but {unaccounted:,} are accounted for" if unaccounted else " and is accounted for"
    sentence = f"Every mission appears once{counted}, {complete}, and few if any have clocks that run backwards."
    return Finding("HEALTHY", 0, 1, "data quality sufficient", sentence)


def behind(metrics: Metrics, settings: DataQualityGate, policy: Thresholds) -> "pd.Series[Any]":
    """Returns the missions nobody can account for, and those whose clocks run backwards."""
    return (metrics.missions["outcome"] == "unaccounted") | runs_backwards(metrics.missions)


GATE = Gate(
    name="data_quality",
    unit="count",
    trips="over 5 % of the missions (and 2 or more) are unaccounted for, have no readable creation time, or completed "
    "without a completed event or a fallback; ids occur twice; events are missing from a snapshot; clocks run "
    "backwards in over 10 % of the missions; over 2 % of the fallback and failure events have no mission in the "
    "lane, or as many are misplaced or misnamed; over 2 % of the events have no type; rows are stamped more than "
    "60 s after the moment of reading; counts contradict each other; the source ends before the window",
    look="mend the data or read another source: no verdict can rest on these",
    judge=judge,
    settings=DataQualityGate,
    behind=behind,
    limits=lambda settings, policy: "watch from 1",
)
