"""Many lanes, judged: everything that their overview and its JSON twin show."""

from dataclasses import dataclass
from datetime import datetime

from vpanalysis import formatting
from vpanalysis.analysis.fleet import Lane, is_silent
from vpanalysis.analysis.incident import Incident
from vpanalysis.analysis.verdict import CAUTION, LaneStatus
from vpanalysis.report.made import Made


@dataclass(frozen=True)
class SourceFile:
    """One source of an overview.

    Attributes:
        name: Its name, told apart from those of the others.
        kind: ``sqlite``, ``sample``, ``snapshot`` or ``gateway``.
        lanes: How many lanes of it were read.
        last_activity: The newest sign of life of any of them; ``None`` when unknown.
    """

    name: str
    kind: str
    lanes: int
    last_activity: datetime | None


@dataclass(frozen=True, eq=False, kw_only=True)
class FleetReport(Made):
    """Many lanes, judged: what the overview shows, and how it was made (:class:`.Made`).

    Attributes:
        lanes: Every lane of every source: who needs somebody first, then the most cautious verdicts.
        absent: Enabled lanes that no source has anything of.
        enabled: The lanes that should be there; empty when not given.
        incidents: Failures and fallbacks of several lanes that coincide beyond chance, oldest first.
        files: The sources.
        as_of: The moment of judgement; ``None`` when unknown.
        rows: Each lane's line for the evidence log, in the order of ``lanes``.
        hashes: SHA-256 of the rows that each lane's verdict rests on, likewise.
    """

    lanes: tuple[Lane, ...]
    absent: tuple[str, ...]
    enabled: tuple[str, ...]
    incidents: tuple[Incident, ...]
    files: tuple[SourceFile, ...]
    as_of: datetime | None
    rows: tuple[str, ...]
    hashes: tuple[str, ...]

    @property
    def needy(self) -> tuple[Lane, ...]:
        """The lanes that need somebody; enabled ones that are absent do too, and are not among them."""
        return tuple(lane for lane in self.lanes if lane.needs)

    @property
    def headline(self) -> str:
        """How many lanes need somebody."""
        return formatting.need_you(len(self.needy) + len(self.absent), len(self.lanes) + len(self.absent), "lane")

    @property
    def lane_status(self) -> LaneStatus:
        """The most cautious status of those that need somebody; an absent lane has no traffic."""
        found: list[LaneStatus] = [lane.verdict.lane_status for lane in self.needy]
        return max(found + ["NO_TRAFFIC"] * bool(self.absent), key=CAUTION.index, default="HEALTHY")

    @property
    def sample(self) -> bool:
        """Whether any of it is the built-in sample."""
        return any(file.kind == "sample" for file in self.files)

    @property
    def dormant(self) -> tuple[SourceFile, ...]:
        """The sources that nobody writes any more."""
        return tuple(file for file in self.files if is_silent(file.last_activity, self.as_of))

    def __repr__(self) -> str:
        return f"FleetReport: {self.headline}"

    def label(self, key: tuple[str, str]) -> str:
        """What a lane is called: with its source where there are several."""
        return key[1] if len(self.files) == 1 else f"{key[1]} ({key[0]})"
