"""What became of each mission: the account that every gate, claim, table and figure reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from vpanalysis.data.schema import (
    FAILED_STATUSES,
    NEVER_STARTED_SECONDS,
    STALE_SECONDS,
    STARTED,
    TERMINAL_EVENTS,
    UNKNOWN,
)
from vpanalysis.data.snapshot import Numbers
from vpanalysis.data.tables import Tables

#: Each mission has exactly one of these.
OUTCOMES = ("completed", "failed", "cancelled", "pending", "overdue", "unaccounted")
_ENDED = OUTCOMES[:3]
#: The outcome of each known status that is one.
_OF_STATUS = {"completed": "completed", "cancelled": "cancelled", **dict.fromkeys(FAILED_STATUSES, "failed")}


@dataclass(frozen=True, eq=False)
class Account:
    """A window's missions, each with one outcome.

    Attributes:
        missions: One row per mission, oldest first, each id once: the columns of ``Tables.missions``, and

            - ``outcome``: one of `OUTCOMES`;
            - ``why``: why it is ``unaccounted``; ``""`` for all others;
            - ``ended_at``: when it completed, failed or was cancelled: ``completed_at``, else its last terminal event,
              else ``updated_at``; NaT when it has not ended, or nobody knows;
            - ``begun_at``: when it started (or, running, was dispatched); NaT when it never did;
            - ``fell_back``: it has a fallback event;
            - ``settled``: it completed, failed or fell back;
            - ``recordable``: it could have recorded a fallback: no worker claimed it, or it did record one.

            Empty when the source does not list its missions.
        listed: Whether it does.
        counts: Missions by outcome, every outcome named; their sum is that of the missions considered. A source that
            does not list its missions cannot tell which are overdue: those are among ``pending``. ``None``: it does
            not tell how its missions ended.
        fell_back: Missions that fell back; ``None`` when unknown.
        recordable: Settled missions that could have recorded a fallback; ``None`` when unknown.
        overdue_seconds: Seconds after its start from which an unfinished mission is overdue.
    """

    missions: pd.DataFrame
    listed: bool
    counts: Mapping[str, int] | None
    fell_back: int | None
    recordable: int | None
    overdue_seconds: float

    @property
    def total(self) -> int | None:
        """All missions; ``None`` when unknown."""
        return None if self.counts is None else sum(self.counts.values())

    @property
    def finished(self) -> int | None:
        """Missions that completed or failed; ``None`` when unknown."""
        return None if self.counts is None else self.counts["completed"] + self.counts["failed"]

    @property
    def settled(self) -> int | None:
        """Missions that completed, failed or fell back; ``None`` when unknown."""
        return int(self.missions["settled"].sum()) if self.listed else self.finished

    def count(self, outcome: str) -> int:
        """Missions of one outcome; 0 when unknown."""
        return 0 if self.counts is None else self.counts[outcome]


def account_of(tables: Tables, numbers: Numbers, overdue_seconds: float = STALE_SECONDS) -> Account:
    """Returns the account of a window's missions as of its moment of judgement.

    Args:
        tables: The window.
        numbers: Its numbers: of missions that the source does not list, all there is.
        overdue_seconds: From so many seconds after its start an unfinished mission is overdue; one that never started,
            from `NEVER_STARTED_SECONDS` after its creation, or later when this is more.
    """
    if not tables.known.missions:
        counts = _counts_of_statuses(numbers.mission_counts)
        recordable = None
        if counts is not None:
            # An in-process mission has no started event.
            by_workers = (numbers.event_counts or {}).get(STARTED, 0)
            recordable = max(0, counts["completed"] + counts["failed"] - by_workers)
        missions = with_outcomes(tables.missions, tables.as_of, overdue_seconds)
        return Account(missions, False, counts, numbers.fallback.missions_with_fallback, recordable, overdue_seconds)
    return accounted(with_outcomes(tables.missions, tables.as_of, overdue_seconds), overdue_seconds)


def accounted(missions: pd.DataFrame, overdue_seconds: float = STALE_SECONDS) -> Account:
    """Returns the account of missions that have their outcomes already."""
    counts = missions["outcome"].value_counts()
    return Account(
        missions=missions,
        listed=True,
        counts={outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES},
        fell_back=int(missions["fell_back"].sum()),
        recordable=int((missions["settled"] & missions["recordable"]).sum()),
        overdue_seconds=overdue_seconds,
    )


def with_outcomes(missions: pd.DataFrame, as_of: datetime | None, overdue_seconds: float) -> pd.DataFrame:
    """Returns each mission once, with the columns that `Account` adds; rows and columns else as they are."""
    identity = missions["mission_id"]
    named = identity.fillna("") != ""
    fell_back = missions["fallback_events"] > 0
    fell_back |= named & identity.isin(identity[fell_back])
    single = ~named | ~identity.duplicated(keep="last")
    missions, named, fell_back = missions[single], named[single], fell_back[single]
    by_status, by_event = missions["status"].map(_OF_STATUS), missions["ended_event"].map(TERMINAL_EVENTS)
    known, terminal, evented = missions["status"] != UNKNOWN, by_status.notna(), by_event.notna()
    created, now = missions["created_at"], pd.Timestamp(as_of) if as_of is not None else pd.NaT
    why = _first(
        missions.index,
        {
            "no id": ~named,
            "no readable creation time": created.isna() | (created > now),
            "status and last event disagree": known & evented & (by_status != by_event),
            "neither a known status nor a terminal event": ~known & ~evented,
            "ended without a single event": terminal & missions["events"].eq(0).fillna(False).astype(bool),
        },
        otherwise="",
    )
    started = missions["started_at"].fillna(missions["started_event_at"]).where(missions["status"] != "blocked")
    begun = started.fillna(missions["dispatched_at"].where(missions["status"] == "running"))
    never_started = max(NEVER_STARTED_SECONDS, overdue_seconds)
    late = (_seconds(begun, now) >= overdue_seconds) | (begun.isna() & (_seconds(created, now) >= never_started))
    ended_as = by_status.fillna(by_event)
    outcome = _first(
        missions.index,
        {
            "unaccounted": why != "",
            **{outcome: ended_as == outcome for outcome in _ENDED},
            "overdue": late,
        },
        otherwise="pending",
    )
    ended = missions["completed_at"].fillna(missions["ended_event_at"]).fillna(missions["updated_at"])
    claimed = missions["worker_id"].notna() & (missions["worker_id"].astype(str) != "")
    return missions.assign(
        outcome=outcome,
        why=why,
        ended_at=ended.where(outcome.isin(_ENDED)),
        begun_at=begun,
        fell_back=fell_back,
        settled=outcome.isin(("completed", "failed")) | fell_back,
        recordable=~claimed | fell_back,
    )


def failed_in_order_of_end(missions: pd.DataFrame) -> "pd.Series[bool]":
    """Returns whether each mission failed, of those that completed or failed, in the order in which they ended."""
    outcome = missions["outcome"]
    ended = missions[["ended_at", "begun_at", "created_at"]].max(axis=1)  # a clock may run backwards
    ended = ended[outcome.isin(("completed", "failed"))].sort_values(kind="stable", na_position="first")
    return (outcome == "failed").loc[ended.index]


def _first(index: pd.Index, applies: "Mapping[str, pd.Series[Any]]", otherwise: str) -> "pd.Series[Any]":
    """Returns for each row the name of the first of several conditions that applies."""
    names = np.select([condition.to_numpy(bool) for condition in applies.values()], list(applies), otherwise)
    return pd.Series(names, index=index, dtype=object)


def _seconds(since: "pd.Series[Any]", now: Any) -> "pd.Series[Any]":
    seconds: pd.Series[Any] = (now - since).dt.total_seconds()
    return seconds


def _counts_of_statuses(statuses: Mapping[str, int] | None) -> dict[str, int] | None:
    if statuses is None:
        return None
    counts = dict.fromkeys(OUTCOMES, 0)
    for status, number in statuses.items():
        outcome = _OF_STATUS.get(status, "pending" if status in ("queued", "running", "blocked") else "unaccounted")
        counts[outcome] += number
    return counts
