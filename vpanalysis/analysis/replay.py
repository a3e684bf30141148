"""Past windows under several policies: what each would have decided, and where they part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pandas as pd

from vpanalysis.analysis.decision import Judgement, judge
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.data.source import Source
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

_T = TypeVar("_T")
#: More windows than a reader can look over want a longer step.
MOST_WINDOWS = 1000


@dataclass(frozen=True, eq=False)
class ReplayedWindow:
    """One past window and what each policy says about it.

    Attributes:
        metrics: The window as of its own end: what happened later is not seen.
        judgements: One per policy, in their order.
    """

    metrics: Metrics
    judgements: tuple[Judgement, ...]

    @property
    def flips(self) -> tuple[bool, ...]:
        """Whether each policy's lane status differs from the first one's."""
        return tuple(judgement.status != self.judgements[0].status for judgement in self.judgements)


def replay(
    source: Source,
    vp_id: str,
    policies: Sequence[Policy],
    *,
    every: timedelta | None = None,
    last_missions: int | None = None,
) -> list[ReplayedWindow]:
    """Judges each past window of a lane under each policy, oldest first, all of them out of one reading.

    Args:
        source: The source.
        vp_id: The lane.
        policies: The first is the one that the others are compared with.
        every: The length of each window, see `windows_by_time`.
        last_missions: Missions per window instead, see `windows_by_missions`.

    Raises:
        InputError: There would be more than `MOST_WINDOWS` windows, or what the source raises.
    """

    def judged(tables: Tables) -> ReplayedWindow:
        metrics = summarize(tables)
        return ReplayedWindow(metrics, tuple(judge(metrics, policy) for policy in policies))

    return past_windows(source, vp_id, judged, every=every, last_missions=last_missions)


def past_windows(
    source: Source,
    vp_id: str,
    use: Callable[[Tables], _T],
    *,
    every: timedelta | None = None,
    last_missions: int | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
) -> list[_T]:
    """Returns what ``use`` makes of each past window of a lane as of its own end, oldest first; arguments as `replay`.

    Args:
        source: The source.
        vp_id: The lane.
        use: A pure function of a window's tables.
        every: The length of each window; without ``last_missions`` a day if not given.
        last_missions: Missions per window instead.
        start: First moment of the first window; ``None``: from the first mission on.
        end: First moment after the last window; ``None``: up to the newest mission.
    """
    span = RolloutWindow(vp_id, start=start or datetime.min.replace(tzinfo=UTC), end=end)

    def plan(created: pd.DatetimeIndex, as_of: datetime) -> list[RolloutWindow]:
        until = min(as_of, span.end or as_of)
        if last_missions is not None:
            windows = windows_by_missions(vp_id, created, until, last_missions)
        else:
            windows = windows_by_time(vp_id, created, until, every or timedelta(days=1), span.start if start else None)
        open_end = [window for window in windows if window.end is None or (span.end and window.end > span.end)]
        return [replace(window, end=span.end) if window in open_end else window for window in windows]

    return source.series(span, plan, use)


def windows_by_time(
    vp_id: str,
    created: Sequence[datetime] | pd.DatetimeIndex,
    until: datetime,
    every: timedelta,
    start: datetime | None = None,
) -> list[RolloutWindow]:
    """Returns the windows of one length from the first mission's to the newest one's, each as of its end.

    They are counted from midnight (UTC) of the first mission's day; the last one may be open still.

    Args:
        vp_id: The lane.
        created: The missions' creation times, oldest first.
        until: The moment of reading.
        every: The windows' length.
        start: Where the first window begins, whatever the first mission; ``None``: as above.

    Raises:
        InputError: There would be more than `MOST_WINDOWS`.
    """
    if len(created) == 0:
        return []
    if start is None:
        midnight = created[0].replace(hour=0, minute=0, second=0, microsecond=0)
        start = midnight + (created[0] - midnight) // every * every
    number = (created[-1] - start) // every + 1
    if number > MOST_WINDOWS:
        raise InputError(f"That would be {number:,} windows, more than {MOST_WINDOWS:,}: give a longer --every.")
    windows = []
    for _ in range(number):
        windows.append(RolloutWindow(vp_id, start=start, end=start + every, as_of=min(start + every, until)))
        start += every
    return windows


def windows_by_missions(
    vp_id: str, created: Sequence[datetime] | pd.DatetimeIndex, until: datetime, size: int
) -> list[RolloutWindow]:
    """Returns the windows of ``size`` missions, counted back from the newest, each as of the next one's start.

    The oldest window has what is left over; missions created at one moment stay together; the newest is open.

    Args:
        vp_id: The lane.
        created: The missions' creation times, oldest first.
        until: The moment of reading.
        size: Missions per window.

    Raises:
        InputError: There would be more than `MOST_WINDOWS`.
    """
    starts = sorted({created[max(0, last - size)] for last in range(len(created), 0, -size)})
    if len(starts) > MOST_WINDOWS:
        raise InputError(
            f"That would be {len(starts):,} windows, more than {MOST_WINDOWS:,}: give a larger --last-missions."
        )
    return [
        RolloutWindow(vp_id, start=start, end=end, as_of=end or until)
        for start, end in zip(starts, [*starts[1:], None], strict=False)  # no start, no window
    ]
