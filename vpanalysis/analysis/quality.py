"""What is wrong with the data, in sentences, and whether it forbids a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

from vpanalysis import formatting
from vpanalysis.analysis.masking import shown
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.data import endpoint

#: Clocks that run backwards in more than this share of missions leave no duration to trust.
BACKWARDS_LIMIT = 0.10


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


def judge_quality(metrics: Metrics) -> tuple[QualityNote, ...]:
    """Returns what is wrong with a window's data: vetoes first, and an empty tuple when nothing is."""
    found = metrics.quality
    missions = metrics.fallback.missions_considered or 0
    if metrics.missions is not None:
        missions = len(metrics.missions)
    backwards = f"Clocks run backwards in {formatting.share(found.backwards_clocks, missions)} missions"
    too_many = missions > 0 and found.backwards_clocks > BACKWARDS_LIMIT * missions
    notes = [
        _note(
            "duplicate_missions",
            found.duplicate_missions,
            f"{formatting.count(found.duplicate_missions, 'row')} repeat a mission id: counts and rates are not to be "
            "trusted until the source holds each mission once.",
            veto=True,
        ),
        _note(
            "truncated_events",
            int(found.truncated_events is True),
            "The snapshot does not hold all events of its missions (the gateway counts only the lane's oldest): its "
            "fallback rate is not to be trusted. Read the database itself, or 'vpanalysis serve' beside it.",
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
            "backwards_clocks",
            found.backwards_clocks,
            f"{backwards}, more than {formatting.percent(BACKWARDS_LIMIT)}: durations are not to be trusted."
            if too_many
            else f"{backwards}: their durations count as 0.",
            veto=too_many,
        ),
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
            f"Values that are no time stamp count as missing: {_listed(found.unreadable_times)}.",
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
            "created_at: no time window holds them.",
        ),
        _note(
            "missions_without_id",
            found.missions_without_id,
            f"{formatting.count(found.missions_without_id, 'mission')} without an id: not in the fallback rate.",
        ),
        _note(
            "unknown_statuses",
            sum(found.unknown_statuses.values()),
            f"Statuses outside the contract count as unknown: {_listed(found.unknown_statuses)}.",
        ),
        _note(
            "orphan_events",
            found.orphan_events,
            f"{formatting.count(found.orphan_events, 'event')} of the lane belong to no mission: they count nowhere.",
        ),
        _note(
            "lane_events",
            sum(found.lane_events.values()),
            f"Events of the lane that name no mission count nowhere: {_listed(found.lane_events)}.",
        ),
        _note(
            "foreign_events",
            found.foreign_events,
            f"{formatting.count(found.foreign_events, 'event')} of these missions name another lane: they count here.",
        ),
    ]
    return tuple(sorted((note for note in notes if note.count), key=lambda note: not note.veto))


def compare_with_gateway(own: Metrics, gateway: endpoint.Snapshot) -> str | None:
    """Returns in a sentence how far the gateway's own numbers are from ours; ``None`` when they agree.

    Args:
        own: The newest missions' metrics from all their events; for a fair comparison as many missions as the
            gateway considered.
        gateway: What the gateway answers for the lane, ``source.gateway_snapshot(...)``.
    """
    parts = [
        f"{name} {theirs} instead of {ours}"
        for name, theirs, ours in (
            ("missions considered", gateway.fallback.missions_considered, own.fallback.missions_considered),
            (
                "missions with a fallback",
                gateway.fallback.missions_with_fallback,
                own.fallback.missions_with_fallback,
            ),
            ("fallback rate", formatting.rate(gateway.fallback.rate), formatting.rate(own.fallback.rate)),
            (
                "p95",
                formatting.log_seconds(gateway.latency_seconds.p95_seconds),
                formatting.log_seconds(own.latency_seconds.p95_seconds),
            ),
        )
        if theirs != ours
    ]
    if not parts:
        return None
    events = formatting.count(sum(gateway.event_counts.values()), "event")
    return f"The gateway, from the lane's oldest {events}, reports {', '.join(parts)}."


def _note(code: str, count: int, sentence: str, veto: bool = False) -> QualityNote:
    return QualityNote(code, count, sentence, veto)


def _listed(counts: Mapping[str, int]) -> str:
    """Names with their counts, the most frequent first, at most six of them."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{shown(name, 40) or '(empty)'} ({count:,})" for name, count in ordered[:6]]
    return ", ".join(parts) + (f" and {len(ordered) - 6:,} more" if len(ordered) > 6 else "")
