"""What a source hands to the analysis: frames at mission grain, and what the reading noticed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from vpanalysis.data.window import RolloutWindow


@dataclass(frozen=True)
class DataQuality:
    """What the reading noticed about the data; judged by :mod:`vpanalysis.analysis.quality`.

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
        lane_events: Events of the lane since the window's start that name no mission, by type.
        foreign_events: Events of the window's missions that name another lane.
        truncated_events: ``True`` when the source cannot show all events of the missions (a snapshot without
            ``events_complete`` whose event counts reach its limit, or missions without their dispatched event);
            ``None``: it holds all of them.
        ends_before_window: The moment the source ends at, when that is before the window does; else ``None``.
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
    lane_events: Mapping[str, int] = field(default_factory=dict)
    foreign_events: int = 0
    truncated_events: bool | None = None
    ends_before_window: datetime | None = None


@dataclass(frozen=True)
class Tables:
    """The VP tables of one window, read in one transaction; every time is in UTC.

    Attributes:
        window: The window, its ``as_of`` fixed.
        as_of: The moment of judgement.
        source: What was read, as a reader may see it: a file's name, a URL without credentials, ``sample``.
        kind: ``sqlite``, ``sample``, ``snapshot`` or ``gateway``.
        missions: One row per mission, oldest first (by ``created_at``, then rowid). Text columns
            ``mission_id``, ``run_id``, ``objective``, ``result_ref``, ``status`` (an unknown or empty one is
            ``unknown``; a mission that ended after ``as_of`` is ``running`` or ``queued``) and, as stored,
            ``status_text``, ``created_at_text``, ``started_at_text``, ``completed_at_text``,
            ``updated_at_text``; times ``created_at``, ``started_at``, ``completed_at``, ``updated_at``,
            ``dispatched_at``, ``started_event_at``, ``fallback_at`` (the first), ``ended_event_at`` (the last
            terminal event), NaT when missing; seconds ``queue_wait_seconds`` (created → started) and
            ``duration_seconds`` (started → completed), never below 0, NaN when either end is missing; counts
            ``events`` and ``fallback_events``; ``ended_event`` (type of the last terminal event),
            ``sequence`` (its event types in time order without progress, joined by ``" > "``, ``""`` without
            events), ``outcome`` (the terminal status, or failing that the one its terminal event stands for;
            missing while unfinished) and ``ended_at`` (when the outcome was reached: ``completed_at``, else
            the terminal event, else ``updated_at``).
        events: The missions' newest 1,000 events (``recent`` is true) and all their fallbacks and failures,
            oldest first: ``event_id``, ``mission_id``, ``vp_id``, ``event_type``, ``payload_json``,
            ``created_at``, ``created_at_text``, ``recent``.
        event_counts: Number of events per type over all events of the missions; an empty type is ``unknown``.
        session: The lane's ``vp_sessions`` row as stored; ``None`` when there is none.
        session_events: All session events of the lane up to the window's end, oldest first: ``event_id``,
            ``vp_id``, ``event_type``, ``payload_json``, ``created_at``, ``created_at_text``.
        quality: What the reading noticed.
        snapshot: The endpoint's answer, when that is all the source has; ``None`` for a database.
    """

    window: RolloutWindow
    as_of: datetime
    source: str
    kind: str
    missions: pd.DataFrame
    events: pd.DataFrame
    event_counts: Mapping[str, int]
    session: Mapping[str, Any] | None
    session_events: pd.DataFrame
    quality: DataQuality
    snapshot: Mapping[str, Any] | None = None
