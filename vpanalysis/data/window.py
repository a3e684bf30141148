"""The rollout window: a lane and the missions of it that a verdict is about."""

from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Self

from vpanalysis.data.timestamps import as_utc
from vpanalysis.errors import InputError

DEFAULT_LAST_MISSIONS = 100


@dataclass(frozen=True)
class RolloutWindow:
    """A lane and either a range of its missions' ``created_at`` or its newest missions.

    Times may be given as ``str`` (ISO 8601) or ``datetime``; naive ones mean UTC. With neither a range nor
    ``last_missions`` the window is the newest 100 missions.

    Examples:
        >>> day = RolloutWindow("vp.coder.primary", start="2026-02-16", end="2026-02-17")
        >>> day.baseline().start.isoformat()
        '2026-02-15T00:00:00+00:00'

    Attributes:
        vp_id: The lane.
        start: First moment inside, in UTC; ``None``: from the beginning.
        end: First moment outside, in UTC; ``None``: open.
        last_missions: The newest N missions by ``created_at`` (ties by rowid); ``None`` for a range.
        as_of: The moment the window is judged at, in UTC; what happened later is not seen. ``None``: the time
            of reading.
        skip_missions: With ``last_missions``, how many of the newest missions are left out first.

    Raises:
        InputError: A blank lane, an unreadable time, an end that is not after the start, a range together with
            ``last_missions``, or a count below 1.
    """

    vp_id: str
    _: KW_ONLY
    start: datetime | None = None
    end: datetime | None = None
    last_missions: int | None = None
    as_of: datetime | None = None
    skip_missions: int = 0

    if TYPE_CHECKING:  # what may be given; the attributes above are what it becomes

        def __init__(
            self,
            vp_id: str,
            *,
            start: str | datetime | None = None,
            end: str | datetime | None = None,
            last_missions: int | None = None,
            as_of: str | datetime | None = None,
            skip_missions: int = 0,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.vp_id, str) or not self.vp_id.strip():
            raise InputError("vp_id is blank: name a lane, such as vp.coder.primary.")
        if "\0" in self.vp_id:
            raise InputError("vp_id holds a NUL character, which no lane's name can.")
        for name in ("start", "end", "as_of"):
            value = getattr(self, name)
            if value is not None:
                try:
                    object.__setattr__(self, name, as_utc(value, name))
                except (TypeError, AttributeError, ValueError) as error:
                    raise InputError(
                        str(error) if isinstance(error, ValueError) else f"{name} {value!r} is not a time."
                    ) from None
        for name, least in (("last_missions", 1), ("skip_missions", 0)):
            count = getattr(self, name)
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < least):
                raise InputError(f"{name} is {count!r}: give a whole number of {least} or more.")
        if self.start is None and self.end is None:
            if self.last_missions is None:
                object.__setattr__(self, "last_missions", DEFAULT_LAST_MISSIONS)
        elif self.last_missions is not None or self.skip_missions:
            raise InputError("Give either a range (start, end) or last_missions, not both.")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise InputError(
                f"The window's end {self.end.isoformat()} is not after its start {self.start.isoformat()}."
            )

    def at(self, as_of: datetime) -> Self:
        """Returns the window with its moment of judgement fixed to ``as_of`` unless it has one already."""
        return self if self.as_of is not None else replace(self, as_of=as_of)

    def baseline(self) -> Self | None:
        """Returns the window of the same length (or number of missions) right before this one.

        An open range is as long as from its start to ``as_of``. ``None`` for a window without a start, and for
        an open range without ``as_of`` or with one that is not after the start.
        """
        if self.last_missions is not None:
            return replace(self, skip_missions=self.skip_missions + self.last_missions)
        end = self.end or self.as_of
        if self.start is None or end is None or end <= self.start:
            return None
        try:
            return replace(self, start=self.start - (end - self.start), end=self.start)
        except OverflowError:
            return None

    def preceding(self, number: int) -> Self | None:
        """Returns what the ``number`` windows before this one cover together; ``None`` where `baseline` is."""
        before = self.baseline()
        if before is None:
            return None
        if self.last_missions is not None:
            return replace(before, last_missions=self.last_missions * number)
        assert before.start is not None
        assert before.end is not None
        try:
            return replace(before, start=before.end - number * (before.end - before.start))
        except OverflowError:
            return None

    def is_open(self, as_of: datetime) -> bool:
        """Whether missions may still join the window at ``as_of``: its end is missing or not yet reached."""
        return self.end is None or self.end > as_of
