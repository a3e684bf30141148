"""What a source hands to the analysis: frames at mission grain, and what the reading noticed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from vpanalysis.data.window import RolloutWindow


@dataclass(frozen=True)
class DataQuality:
    """What the reading noticed about the data; judged by :mod:`vpanalysis.analysis.gates.data_quality`.

    Attributes:
        missing_tables: VP tables that the database lacks.
        missing_columns: ``table.column`` names that this package reads and the database lacks.
        unreadable_times: Number of values per ``table.column`` that are no time stamp (empty ones not counted).
        undecodable_texts: Number of values per ``table.column`` that are not valid UTF-8.
        missions_without_created_at: Missions of the lane that no time window can hold.
        duplicate_missions: Rows of the window beyond the first with the same mission id.
        missions_without_id: Rows of the window with an empty mission id.
        unknown_statuses: Number of missions per status outside the contract; the empty status is ``""``.
        backwards_clocks: Missions of the window whose stamps run backwards (started before created, or
            completed before started).
        orphan_events: Events of the lane since the window's start whose mission does not exist.
        orphan_signals: Fallbacks and failures among the events whose mission does not exist or that name none.
        lane_events: Events of the lane since the window's start that name no mission, by type.
        foreign_events: Events of the window's missions that name another lane.
        truncated_events: ``True`` when the source cannot show all events of the missions (a snapshot without
            ``events_complete`` whose event counts reach its limit, or missions without their dispatched event);
            ``None``: it holds all of them.
        beyond_as_of: Missions, events and session events of the lane stamped over 60 s after the moment of reading.
        ends_before_window: The moment the source ends at, when that is before the window does; else ``None``.
        malformed: Parts of a snapshot that are there, but not of the contract's form.
        unchecked: The VP tables are so large that SQLite was not asked whether they are damaged.
    """

    missing_tables: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    unreadable_times: Mapping[str, int] = field(default_factory=dict)
    undecodable_texts: Mapping[str, int] = field(default_factory=dict)
    missions_without_created_at: int = 0
    duplicate_missions: int = 0
    missions_without_id: int = 0
    unknown_statuses: Mapping[str, int] = field(default_factory=dict)
    backwards_clocks: int = 0
    orphan_events: int = 0
    orphan_signals: int = 0
    lane_events: Mapping[str, int] = field(default_factory=dict)
    foreign_events: int = 0
    truncated_events: bool | None = None
    beyond_as_of: int = 0
    ends_before_window: datetime | None = None
    malformed: tuple[str, ...] = ()
    unchecked: bool = False


@dataclass(frozen=True)
class Known:
    """What the source can tell at all; what it cannot is missing in the frames.

    Attributes:
        missions: Each mission's own row; without it the missions' frame is empty.
        events: Single events with their payloads.
        queue_wait: How long missions waited, and which worker claimed them.
        session: The lane's session row, or that there is none.
        session_events: Every session event of the window.
    """

    missions: bool = True
    events: bool = True
    queue_wait: bool = True
    session: bool = True
    session_events: bool = True


@dataclass(frozen=True)
class Tables:
    """The VP tables of one window, read in one transaction; every time is in UTC. The same whatever the source.

    Attributes:
        window: The window, its ``as_of`` fixed; of a snapshot its newest missions.
        as_of: The moment of judgement; ``None`` when a snapshot does not say when it was taken.
        source: What was read, as a reader may see it: a file's name, a URL without credentials, ``sample``.
        kind: ``sqlite``, ``sample``, ``snapshot`` or ``gateway``: to be shown, never to be asked.
        missions: One row per mission, oldest first (by ``created_at``, then rowid); NA where the source cannot know.
            Text columns ``mission_id``, ``run_id``, ``objective``, ``result_ref``, ``worker_id``, ``priority_tier``,
            ``source``, ``status`` (an unknown or empty one is ``unknown``; what it became after ``as_of`` is taken
            back) and, as stored, ``status_text``, ``created_at_text``, ``started_at_text``, ``completed_at_text``,
            ``updated_at_text``; times ``created_at``, ``started_at``, ``completed_at``, ``updated_at``,
            ``dispatched_at``, ``started_event_at``, ``fallback_at`` (the first), ``ended_event_at`` (the last
            terminal event), NaT when missing; seconds ``queue_wait_seconds`` (created → started) and
            ``duration_seconds`` (started → completed), never below 0, NaN when either end is missing; counts
            ``events`` (NA when unknown), ``fallback_events`` and ``starts`` (``started`` events: more than one is a
            lost worker); ``cancel_requested`` (bool); ``ended_event`` (type of the last terminal event) and
            ``sequence`` (its event types in time order without progress, joined by ``" > "``, ``""`` without events).
        events: The missions' newest 1,000 events (``recent`` is true) and all their fallbacks and failures,
            oldest first: ``event_id``, ``mission_id``, ``vp_id``, ``event_type``, ``payload_json``,
            ``created_at``, ``created_at_text``, ``recent``.
        event_counts: Number of events per type over all events of the missions; an empty type is ``unknown``.
        session: The lane's ``vp_sessions`` row as stored; ``None`` when there is none.
        session_events: All session events of the lane up to the window's end, oldest first: ``event_id``,
            ``vp_id``, ``event_type``, ``payload_json``, ``created_at``, ``created_at_text``.
        quality: What the reading noticed.
        known: What the source can tell at all.
        last_activity: The newest stamp of any row of the lane up to ``as_of``; ``None`` when unknown.
        more_to_come: Whether rows that this window may hold are stamped after ``as_of``: it changes when their time
            comes, without any change of the database.
        snapshot: What a snapshot says, when that is all the source has; ``None`` for a database.
    """

    window: RolloutWindow
    as_of: datetime | None
    source: str
    kind: str
    missions: pd.DataFrame
    events: pd.DataFrame
    event_counts: Mapping[str, int]
    session: Mapping[str, Any] | None
    session_events: pd.DataFrame
    quality: DataQuality = DataQuality()
    known: Known = Known()
    last_activity: datetime | None = None
    more_to_come: bool = False
    snapshot: Mapping[str, Any] | None = None


_TEXTS = ("mission_id", "run_id", "objective", "result_ref", "worker_id", "priority_tier", "source", "status")
_STORED = ("status", "created_at", "started_at", "completed_at", "updated_at")
MISSION_FRAME_TIMES = (*_STORED[1:], "dispatched_at", "started_event_at", "fallback_at", "ended_event_at")
_SECONDS = ("queue_wait_seconds", "duration_seconds")
_TYPES = {"events": "Int64", "fallback_events": "int64", "starts": "int64", "cancel_requested": "bool"}
_TOLD = ("ended_event", "sequence", *(f"{name}_text" for name in _STORED))
MISSION_FRAME = (*_TEXTS, *MISSION_FRAME_TIMES, *_SECONDS, *_TYPES, *_TOLD)


def missions_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns missions, oldest first, as a frame of the form that ``Tables.missions`` has; what is not given is NA."""
    nothing = {"events": None, "fallback_events": 0, "starts": 0, "cancel_requested": False, "sequence": ""}
    frame = pd.DataFrame.from_records([{**nothing, **row} for row in rows], columns=list(MISSION_FRAME))
    for name in MISSION_FRAME_TIMES:
        frame[name] = utc_times(frame[name])
    return frame.astype({**_TYPES, **dict.fromkeys(_SECONDS, "float64"), **dict.fromkeys((*_TEXTS, *_TOLD), object)})


def events_frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Returns events, oldest first, as a frame: ``columns``, ``created_at_text`` and ``recent``."""
    frame = pd.DataFrame.from_records(list(rows), columns=[*columns, "created_at_text", "recent"])
    return frame.assign(created_at=utc_times(frame["created_at"]))


def utc_times(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Returns a column of moments as UTC times in microseconds; what is missing is NaT."""
    return pd.Series(list(column), index=column.index, dtype="datetime64[us, UTC]")
