"""What is wrong with an evidence log by its own words, and when its next look is due (playbook §7.1)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from vpanalysis.formatting import count, rate, time
from vpanalysis.report.log_row import EvidenceTable, LogRow

if TYPE_CHECKING:
    from vpanalysis.analysis.policy import Policy

#: §7.1: after an incident one follow-up within 30 minutes, in active windows every 30-60, else 2-4 snapshots a day.
_AFTER_INCIDENT, _ACTIVE, _STEADY = timedelta(minutes=30), timedelta(minutes=60), timedelta(hours=12)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its line in the file, its code, and a sentence."""

    line: int
    code: str
    sentence: str


@dataclass(frozen=True)
class Chain:
    """Rows whose windows overlap, so that their missions must not be added up.

    Attributes:
        rows: The rows, oldest first; one alone overlaps with none.
        distinct: Missions that they show to be different.
        exact: Whether there are no more: false where a window was full, or slides.
    """

    rows: tuple[LogRow, ...]
    distinct: int
    exact: bool


@dataclass(frozen=True)
class Due:
    """When a lane's next look is due.

    Attributes:
        vp_id: The lane; ``None`` where no row names one.
        last: The newest look that is not of the future; ``None`` without any.
        at: The moment at which it is due; ``None`` without a look: at once.
        why: The rule, in words.
        overdue: Whether that moment has passed.
    """

    vp_id: str | None
    last: LogRow | None
    at: datetime | None
    why: str
    overdue: bool


def check(tables: Sequence[EvidenceTable], policies: Sequence["Policy"], profile: str | None = None) -> list[Finding]:
    """Returns what is wrong with a log, in the order of its lines.

    Args:
        tables: The log's tables.
        policies: Those that decisions are held against: by the hash in a row, else the first of the row's profile.
            A row of another policy is not held against any.
        profile: Whose cadence the log has to keep; ``None``: each row's own.
    """
    rows = [row for table in tables for row in table.rows]
    found = [Finding(row.line, "unparsable-row", fault) for row in rows for fault in row.faults]
    for table in tables:
        dated = [row for row in table.rows if row.since and row.until]
        found += [
            Finding(row.line, "time-backwards", f"{row.cells[0]} is before the {above.cells[0]} of line {above.line}.")
            for above, row in pairwise(dated)
            if row.until and above.since and row.until < above.since
        ]
    found += [Finding(row.line, "rate-against-counts", text) for row in rows if (text := _against_counts(row))]
    found += _against_rate(rows, policies)
    found += _duplicates(rows)
    for chain in chains(rows):
        *earlier, last = chain.rows
        if earlier:
            added = sum(row.missions or 0 for row in chain.rows)
            found.append(
                Finding(
                    last.line,
                    "overlapping-windows",
                    f"its window overlaps with {'that' if len(earlier) == 1 else 'those'} of "
                    f"{_lines(earlier)}: together they hold {'' if chain.exact else 'at least '}"
                    f"{count(chain.distinct, 'distinct mission')}, not the {added:,} that their rows add up to.",
                )
            )
    for above, row, limit, why in _gaps(rows, profile):
        assert row.since
        assert above.until
        found.append(
            Finding(
                row.line,
                "cadence-missed",
                f"the look before it, line {above.line}, was {_length(row.since - above.until)} earlier; "
                f"{why} asks for one within {_length(limit)}.",
            )
        )
    return sorted(found, key=lambda finding: finding.line)


def chains(rows: Iterable[LogRow]) -> list[Chain]:
    """Returns the rows with missions whose windows are known, those that overlap together.

    The newest N of a lane, read the same way, hold all missions of an earlier such window while they are fewer than N
    and none went missing; once N is reached, how many are the same cannot be told. Ranges overlap where they meet.
    """
    found: dict[tuple[object, ...], list[Chain]] = {}
    dated = sorted((row for row in rows if row.since and row.missions and row.looked_at), key=_moment)
    for row in dated:
        window, missions = row.looked_at, row.missions or 0
        assert window
        full = window.last_missions is not None and missions >= window.last_missions
        series = found.setdefault((window.vp_id, window.call, window.last_missions is None), [])
        joined = next((chain for chain in series if _overlap(chain.rows, row, full)), None)
        if joined is None:
            series.append(Chain((row,), missions, not full))
            continue
        last = joined.rows[-1].looked_at
        assert last
        same = window.last_missions is not None or (last.start, last.end) == (window.start, window.end)
        exact = joined.exact and not full and same
        series[series.index(joined)] = Chain((*joined.rows, row), max(joined.distinct, missions), exact)
    return [chain for series in found.values() for chain in series]


def due(rows: Sequence[LogRow], now: datetime, profile: str | None = None) -> list[Due]:
    """Returns when each lane's next look is due; looks dated after ``now`` prove nothing and do not count."""
    found = []
    for vp_id, looks in _by_lane(rows).items():
        last = next((row for row in reversed(looks) if row.since and row.since <= now), None)
        if last is None or last.since is None:
            found.append(Due(vp_id, None, None, "there is no look yet", True))
        else:
            limit, why = _next_look(last, profile)
            at = last.since + limit
            found.append(Due(vp_id, last, at, f"{_length(limit)} after line {last.line}: {why}", now > at))
    return found


def _moment(row: LogRow) -> datetime:
    assert row.since
    return row.since


def _by_lane(rows: Sequence[LogRow]) -> Mapping[str | None, list[LogRow]]:
    """Each lane's dated rows, oldest first; a row that names no lane counts for all of them."""
    lanes: dict[str | None, None] = dict.fromkeys(row.looked_at.vp_id for row in rows if row.looked_at)
    return {
        lane: sorted(
            (row for row in rows if row.since and (not row.looked_at or row.looked_at.vp_id == lane)), key=_moment
        )
        for lane in lanes or {None: None}
    }


def _next_look(row: LogRow, profile: str | None) -> tuple[timedelta, str]:
    """Returns how soon after a row the playbook asks for the next, and by which rule."""
    if row.status == "FORCE_FALLBACK":
        return _AFTER_INCIDENT, "§7.1 after an incident"
    if row.status == "WATCH" and row.profile == "sustained":
        return _ACTIVE, "§7.3 under SUSTAINED_WATCH"
    if (profile or row.profile) == "rollout":
        return _ACTIVE, "§7.1 in an active window"
    return _STEADY, "§7.1 in the steady state"


def _gaps(rows: Sequence[LogRow], profile: str | None) -> Iterator[tuple[LogRow, LogRow, timedelta, str]]:
    """Yields neighbours in time, timed to the hour at least, that lie further apart than the cadence allows."""
    seen = set()
    for looks in _by_lane(rows).values():
        timed = [row for row in looks if row.since and row.until and row.until - row.since < timedelta(hours=1)]
        for above, row in pairwise(timed):
            limit, why = _next_look(above, profile)
            late = row.since and above.until and row.since - above.until > limit
            if late and (above.line, row.line) not in seen:
                seen.add((above.line, row.line))
                yield above, row, limit, why


def _against_counts(row: LogRow) -> str | None:
    missions, fallbacks = row.missions, row.fallbacks
    stated = row.counts.get("missions_considered")
    if stated is not None and row.mission_counts and sum(row.mission_counts.values()) < stated:
        return f"mission_counts add up to {sum(row.mission_counts.values())}, fewer than missions_considered={stated}."
    if missions is None or fallbacks is None:
        return None
    if fallbacks > missions:
        return f"{count(fallbacks, 'mission')} with a fallback among {missions}."
    share = fallbacks / missions if missions else 0.0
    if row.rate is None:
        return f"the rate is missing, though {fallbacks} of {missions} make it {rate(share)}." if missions else None
    if not row.rate.reads(share):
        return f"the rate is {row.cells[4]}, but {fallbacks} of {missions} make it {rate(share)}."
    return None


def _against_rate(rows: Iterable[LogRow], policies: Sequence["Policy"]) -> Iterator[Finding]:
    """Yields decisions that are less cautious than the rule table on the row's own numbers, or of no known caution."""
    from vpanalysis.analysis.decision import rule_table
    from vpanalysis.analysis.metrics import summarize
    from vpanalysis.analysis.verdict import CAUTION
    from vpanalysis.data.snapshot import FallbackShare
    from vpanalysis.data.snapshot_tables import snapshot_tables

    blank = summarize(snapshot_tables({"fallback": {}, "latency_seconds": {}}))
    for row in rows:
        suited = (one for one in policies if one.profile == row.profile and row.policy_hash in (None, one.hash))
        policy = next(suited, None)
        if policy is None or row.decision == "HOLD_SHADOW" or row.faults:
            continue
        missions = (
            row.missions if row.missions is not None else max(1, policy.min_missions)
        )  # not said: not held against
        shares = FallbackShare(missions, row.fallbacks, row.rate.value if row.rate else None)
        seconds = blank.latency_seconds.model_copy(update={"p95_seconds": row.p95.value if row.p95 else None})
        reason = rule_table(replace(blank, fallback=shares, latency_seconds=seconds), policy)
        if reason.caution and CAUTION.index(reason.caution) > CAUTION.index(row.status or "HEALTHY"):
            numbers = f"{row.decision} on a rate of {row.cells[4]} and a p95 of {row.cells[5]}"
            rule = f"the rule table of {policy.name} says {reason.caution}: {reason.brief}."
            if row.status:
                yield Finding(row.line, "decision-against-rate", f"{numbers}, but {rule}")
            elif row.rate:
                yield Finding(row.line, "unknown-decision", f"{numbers} is no decision that a policy takes; {rule}")


def _duplicates(rows: Iterable[LogRow]) -> Iterator[Finding]:
    seen: dict[tuple[object, ...], int] = {}
    for row in rows:
        timed = row.since and row.until and row.until - row.since < timedelta(minutes=1)
        key = (row.since, row.window_label, row.scope) if timed else row.cells
        if key in seen:
            yield Finding(row.line, "duplicate-row", f"line {seen[key]} has the same time, window and scope already.")
        seen.setdefault(key, row.line)


def _overlap(chain: Sequence[LogRow], row: LogRow, full: bool) -> bool:
    """Whether the window of ``row``, the newest, meets that of the chain: of its last row, or for ranges of any."""
    window, last = row.looked_at, chain[-1]
    assert window
    if window.last_missions is not None:
        grew = (row.missions or 0) >= (last.missions or 0)
        return grew and (full or (row.fallbacks or 0) >= (last.fallbacks or 0))
    return any(_bounds(row)[0] < _bounds(other)[1] and _bounds(other)[0] < _bounds(row)[1] for other in chain)


def _bounds(row: LogRow) -> tuple[str, str]:
    """A range's bounds as text that sorts: refs write them in one form; an open one ends with the look."""
    assert row.looked_at
    return row.looked_at.start or "", min(row.looked_at.end or "9", time(row.until))


def _lines(rows: Sequence[LogRow]) -> str:
    numbers = [str(row.line) for row in rows]
    return f"line {numbers[0]}" if len(rows) == 1 else f"lines {', '.join(numbers[:-1])} and {numbers[-1]}"


def _length(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 2880 else f"{minutes / 1440:.0f} days"
