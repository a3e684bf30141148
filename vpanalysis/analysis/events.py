"""Each mission's event sequence against the expected one: dispatched → (started) → completed (playbook §3.3)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vpanalysis import formatting
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.data.schema import (
    BRIDGE,
    CANCELLED,
    COMPLETED,
    DISPATCHED,
    FAILED,
    FALLBACK,
    MISSION_EVENT_TYPES,
    STARTED,
    TERMINAL_EVENTS,
    UNKNOWN,
)

#: The kinds of deviation, in words; their order is that of the playbook's escalation indicators.
DEVIATIONS = {
    "fallback": "fell back to the primary path",
    "failed": "failed or timed out",
    "missing_completion": "overdue: no end, or no start",
    "unaccounted": "unaccounted for: nobody can say what became of them",
    "cancelled": "cancelled",
    "cancel_requested": "cancellation requested, but not cancelled yet",
    "missing_dispatched": "no dispatched event",
    "missing_terminal_event": "ended by status, but without a terminal event",
    "several_terminals": "more than one terminal event",
    "claimed_again": "started more than once: a worker was lost",
    "repeated": "dispatched more than once",
    "out_of_order": "events out of order",
    "unknown_type": "event types outside the contract",
    "status_disagrees": "status and terminal event disagree",
}
_EXPECTED = ((DISPATCHED, COMPLETED), (DISPATCHED, STARTED, COMPLETED), (STARTED, COMPLETED))
_RANK = {DISPATCHED: 0, STARTED: 1, FALLBACK: 2, COMPLETED: 3, FAILED: 3, CANCELLED: 3}


@dataclass(frozen=True)
class Deviation:
    """One way in which missions depart from the expected sequence.

    Attributes:
        kind: A key of ``DEVIATIONS``.
        label: The kind in words.
        missions: How many missions; one mission can deviate in several ways.
        examples: Up to three mission ids, the newest first.
    """

    kind: str
    label: str
    missions: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class EventProfile:
    """A window's missions by their event sequence.

    Attributes:
        missions: Missions looked at; ``None`` when the source has no missions' rows.
        as_expected: Those that went dispatched → (started) → completed and nothing else; ``None`` likewise.
        under_way: Unfinished missions that do not deviate (yet); ``None`` likewise.
        deviations: The kinds found, most missions first.
        sequences: Each sequence (short types joined by `` > ``, progress left out, ``(no events)``) and its
            missions, most frequent first.
        event_counts: Events by type, progress included, most frequent first; ``None`` when unknown.
        finding: One sentence for a heading.
    """

    missions: int | None
    as_expected: int | None
    under_way: int | None
    deviations: tuple[Deviation, ...]
    sequences: tuple[tuple[str, int], ...]
    event_counts: Mapping[str, int] | None
    finding: str


def event_profile(metrics: Metrics) -> EventProfile:
    """Returns a window's event profile; from a snapshot without missions' rows only its event mix."""
    missions, counts = metrics.missions, metrics.event_counts
    if not metrics.known.missions:
        finding = "The source has no missions' rows: only the event mix is known."
        return EventProfile(None, None, None, (), (), counts, finding)
    found: dict[str, list[str]] = {kind: [] for kind in DEVIATIONS}
    shapes: Counter[str] = Counter()
    as_expected = under_way = 0
    for row in missions.to_dict("records"):
        sequence = tuple(str(row["sequence"]).split(" > ")) if row["sequence"] else ()
        shapes[_shape(sequence)] += 1
        kinds = set(_deviations(row, sequence))
        as_expected += sequence in _EXPECTED and not kinds
        under_way += row["outcome"] == "pending" and not kinds
        for kind in kinds:
            found[kind].append(str(row["mission_id"]) if row["mission_id"] and not pd.isna(row["mission_id"]) else "")
    deviations = [
        Deviation(kind, DEVIATIONS[kind], len(ids), tuple(name for name in reversed(ids) if name)[:3])
        for kind, ids in found.items()
        if ids
    ]
    deviations.sort(key=lambda deviation: -deviation.missions)
    return EventProfile(
        missions=len(missions),
        as_expected=as_expected,
        under_way=under_way,
        deviations=tuple(deviations),
        sequences=tuple(shapes.most_common()),
        event_counts=counts,
        finding=_finding(len(missions), as_expected, deviations, metrics.quality.truncated_events is True),
    )


def _shape(sequence: tuple[str, ...]) -> str:
    """A sequence as it is shown: short types, of a long one the first ten."""
    names = [shown(name, 40).removeprefix("vp.mission.") or UNKNOWN for name in sequence[:10]]
    rest = len(sequence) - len(names)
    return " > ".join([*names, f"… {rest:,} more"] if rest else names) or "(no events)"


def _deviations(row: Mapping[Any, Any], sequence: tuple[str, ...]) -> Iterator[str]:
    """The kinds in which one mission deviates."""
    outcome, why = row["outcome"], row["why"]
    terminals = [name for name in sequence if name in TERMINAL_EVENTS]
    ranks = [_RANK[name] for name in sequence if name in _RANK]
    if row["fell_back"]:
        yield "fallback"
    if outcome == "failed" or FAILED in sequence:
        yield "failed"
    if outcome == "cancelled" or CANCELLED in sequence:
        yield "cancelled"
    if outcome == "overdue":
        yield "missing_completion"
    if row["cancel_requested"] and outcome in ("pending", "overdue"):
        yield "cancel_requested"
    if why == "status and last event disagree":
        yield "status_disagrees"
    elif outcome == "unaccounted":
        yield "unaccounted"
    if DISPATCHED not in sequence and not _of_bridge(row):
        yield "missing_dispatched"
    if outcome in ("completed", "failed", "cancelled") and not terminals:
        yield "missing_terminal_event"
    if len(terminals) > 1:
        yield "several_terminals"
    if sequence.count(STARTED) > 1:
        yield "claimed_again"
    if sequence.count(DISPATCHED) > 1:
        yield "repeated"
    if ranks != sorted(ranks):
        yield "out_of_order"
    if any(name not in MISSION_EVENT_TYPES for name in sequence):
        yield "unknown_type"


def _of_bridge(row: Mapping[Any, Any]) -> bool:
    """Whether the mission arrived over the Redis bridge, which never writes a dispatched event."""
    return row["source"] == "redis_bridge" or str(row["mission_id"]).startswith(BRIDGE)


def _finding(missions: int, as_expected: int, deviations: list[Deviation], truncated: bool) -> str:
    if not missions:
        return "No mission, so no event sequence."
    text = f"{formatting.share(as_expected, missions)} missions went dispatched → completed"
    if deviations:
        shown = [f"{deviation.label}: {deviation.missions:,}" for deviation in deviations[:3]]
        text += f"; {', '.join(shown)}"
    return f"{text}. {'Events are missing from the snapshot, so do not trust this.' if truncated else ''}".strip()
