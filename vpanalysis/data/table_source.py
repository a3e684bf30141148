"""What sources that hold VP tables have in common: windows and the gateway's answer, out of one reading."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Self, TypeVar

import pandas as pd

from vpanalysis.data.gateway_answer import gateway_answer
from vpanalysis.data.load import load_window
from vpanalysis.data.reading import Reading
from vpanalysis.data.series import load_series
from vpanalysis.data.snapshot import Snapshot, clamp_event_limit, clamp_mission_limit
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow

_T = TypeVar("_T")


class TableSource(ABC):
    """A source of VP tables: each load is one reading of its own.

    Attributes:
        name: What is read, as reports show it.
        kind: ``sqlite``, ``sample`` or ``archive``.
    """

    name: str
    kind: str

    @abstractmethod
    def read(self, use: Callable[[Reading], _T]) -> _T:
        """Returns what ``use`` makes of a consistent reading."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:  # noqa: B027
        """Nothing to close: connections live as long as a load."""

    def now(self) -> datetime:
        """Returns the moment at which a window without one of its own is judged."""
        return datetime.now(UTC)

    def load(self, window: RolloutWindow) -> Tables:
        """Returns the window's tables, read in one transaction.

        Raises:
            InputError: The lane is not in the source although others are, a table is missing, or a file
                cannot be read.
        """
        return self.load_with(window, lambda tables: {})[0]

    def load_with(
        self, window: RolloutWindow, others: Callable[[Tables], Mapping[str, RolloutWindow]]
    ) -> tuple[Tables, dict[str, Tables]]:
        """Returns the window's tables and, read in the same transaction, those of other windows of its lane.

        Args:
            window: The window.
            others: Names the other windows, given the first one's tables; a pure function: it is called again when
                the source changed meanwhile.

        Raises:
            InputError: As by `load`.
        """
        now = self.now()

        def read(reading: Reading) -> tuple[Tables, dict[str, Tables]]:
            tables = load_window(reading, window, now, self.name, self.kind)
            found = others(tables).items()
            return tables, {name: load_window(reading, other, now, self.name, self.kind) for name, other in found}

        return self.read(read)

    def series(
        self,
        span: RolloutWindow,
        plan: Callable[[pd.DatetimeIndex, datetime], Sequence[RolloutWindow]],
        use: Callable[[Tables], _T],
    ) -> list[_T]:
        """Returns what ``use`` makes of many windows' tables, read in one transaction: see `load_series`.

        Args:
            span: A lane and the range that every window lies in.
            plan: Returns the windows, given when its missions were created, oldest first, and the moment of judgement.
            use: A pure function: it is called again when the source changed meanwhile.
        """
        now = self.now()
        return self.read(
            lambda reading: [use(tables) for tables in load_series(reading, span, plan, now, self.name, self.kind)]
        )

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> Snapshot:
        """Returns the gateway's own answer: from the lane's *oldest* ``event_limit`` events, in text order.

        Limits are clamped as the gateway does; a lane that is not in the source is an empty snapshot.
        """
        missions, events = clamp_mission_limit(mission_limit), clamp_event_limit(event_limit)
        return self.read(lambda reading: gateway_answer(reading, vp_id, missions, events, self.now()))
