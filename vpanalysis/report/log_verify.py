"""Holding an evidence log against the data: each row's window is read again, as of the row's own time."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from vpanalysis import formatting
from vpanalysis.analysis.decision import classify
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.data.snapshot import clamp_mission_limit
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError, UnknownLaneError
from vpanalysis.report.log_row import LogRow, Measure
from vpanalysis.report.row import cells, evidence_row

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_STAMPS = ("created_at", "started_at", "completed_at", "fallback_at", "ended_event_at")


@dataclass(frozen=True)
class Verified:
    """What the data say of a row.

    Attributes:
        row: The row.
        differences: What differs, a phrase each: what the log says and what the data say.
        unknown: Why it cannot be verified; empty where it was.
    """

    row: LogRow
    differences: tuple[str, ...] = ()
    unknown: str = ""


def verify(
    rows: Iterable[LogRow], load: Callable[[RolloutWindow], Tables], policies: Sequence[Policy], *, sample: bool = False
) -> Iterator[Verified]:
    """Yields for each row what differs from the data.

    The rate, p95, missions and counts are always compared; where the row's policy is one of ``policies`` and the
    notes are in today's words, every number of the notes and the decision are too. A row's date is cut to the second,
    so a row agrees when any moment within that second gives its numbers.

    Args:
        rows: The rows.
        load: A database's ``load``: it has to know the past, which a gateway does not.
        policies: The policies that rows may have been judged by.
        sample: Whether that is the sample lane, which only rows that say SAMPLE are about.
    """
    known = {policy.hash: policy for policy in policies}

    @lru_cache(maxsize=8)  # several rows may be of one look: one for each cohort or policy
    def read(window: RolloutWindow) -> tuple[Tables, Metrics]:
        tables = load(window)
        return tables, summarize(tables)

    for row in rows:
        window = _window(row, sample)
        if isinstance(window, str):
            yield Verified(row, unknown=window)
            continue
        try:
            yield Verified(row, _differences(row, window, read, known.get(row.policy_hash or "")))
        except UnknownLaneError as error:
            yield Verified(row, unknown=str(error))


def _window(row: LogRow, sample: bool) -> RolloutWindow | str:
    """Returns the window that a row looked at, as of its time; or why that is not known."""
    known = row.looked_at
    if row.faults:
        return f"it cannot be read: {row.faults[0]}"
    if not (row.rate or row.p95 or row.missions is not None or row.event_counts):
        return "it states no number."
    if row.window_label.startswith("SAMPLE ") != sample:
        return "it is about the sample lane." if not sample else "it is not about the sample lane."
    if row.since is None or row.until is None or row.until - row.since > timedelta(seconds=1):
        return f"its date {row.cells[0]!r} does not say the second."
    if known is None:
        return "its refs name no window."
    try:
        if known.last_missions is None:
            return RolloutWindow(known.vp_id, start=known.start, end=known.end, as_of=row.since)
        number = known.last_missions if known.call == "RolloutWindow(" else clamp_mission_limit(known.last_missions)
        return RolloutWindow(known.vp_id, last_missions=number, as_of=row.since)
    except InputError as error:
        return f"its refs name no window that can be read: {error}"


def _differences(
    row: LogRow,
    window: RolloutWindow,
    read: Callable[[RolloutWindow], tuple[Tables, Metrics]],
    policy: Policy | None,
) -> tuple[str, ...]:
    """Returns what differs at the moment within the row's date at which least does."""
    assert row.since
    assert row.until
    tried: dict[datetime, tuple[str, ...]] = {}
    moments = [row.since + (row.until - row.since) / 2, row.since, row.until]
    for moment in moments:
        if moment in tried:
            continue
        tables, metrics = read(replace(window, as_of=moment))
        tried[moment] = tuple(_compare(row, metrics, policy))
        if not tried[moment]:
            return ()
        if moment == row.until:
            stamps = [tables.missions[name] for name in _STAMPS] + [tables.events["created_at"]]
            moments += sorted(
                {stamp.to_pydatetime() for column in stamps for stamp in column[column.between(row.since, row.until)]}
            )
    return min(tried.values(), key=len)


def _compare(row: LogRow, metrics: Metrics, policy: Policy | None) -> Iterator[str]:
    fallback, seconds = metrics.fallback, metrics.latency_seconds
    for name, logged, number in (
        ("missions_considered", row.missions, fallback.missions_considered),
        ("missions_with_fallback", row.fallbacks, fallback.missions_with_fallback),
    ):
        if logged is not None and logged != number:
            yield _words(name, logged, formatting.known_count(number))
    rate = fallback.of_any
    if not _agrees(row.rate, rate) and not (rate is None and row.rate and row.rate.value == 0):
        yield _words("fallback rate", row.cells[4], formatting.rate(rate))
    if not _agrees(row.p95, seconds.p95_seconds):
        yield _words("p95", row.cells[5], formatting.log_seconds(seconds.p95_seconds))
    for name, counts, numbers in (
        ("mission_counts", row.mission_counts, metrics.mission_counts),
        ("event_counts", row.event_counts, metrics.event_counts),
    ):
        yield from _compare_counts(name, counts, numbers or {})
    if policy is not None:
        verdict = classify(metrics, policy)
        again = cells(evidence_row(verdict, window_label=row.window_label, scope=row.scope, ref=row.cells[3]))
        logged_notes, notes = _plain(row.notes), _plain(again[7])
        if _NUMBER.sub("#", logged_notes) == _NUMBER.sub("#", notes):
            if row.decision != verdict.decision:
                yield _words("decision", row.decision, verdict.decision)
            pairs = zip(_NUMBER.finditer(logged_notes), _NUMBER.finditer(notes), strict=True)
            for ours, theirs in pairs:
                if ours[0] != theirs[0]:
                    before = logged_notes[max(0, ours.start() - 30) : ours.start()]
                    yield _words(f"“…{before}”", ours[0], theirs[0])


def _compare_counts(name: str, logged: Mapping[str, int] | None, numbers: Mapping[str, int]) -> Iterator[str]:
    """Compares the counts that a row states; people leave out ``vp.mission.``, and what they did not look for."""
    for kind, number in (logged or {}).items():
        known = numbers.get(kind, numbers.get(f"vp.mission.{kind}", 0))
        if number != known and not kind.endswith("…"):
            yield _words(f"{name} {kind}", number, f"{known}")


def _agrees(logged: Measure | None, value: float | None) -> bool:
    return value is None if logged is None else logged.reads(value)


def _words(name: str, logged: object, known: str) -> str:
    return f"{name}: the log says {logged}, the data say {known}"


def _plain(notes: str) -> str:
    """Notes without marks of code, which a renderer swallows and a row's cells may keep."""
    return notes.replace("`", "").replace("  ", " ")
