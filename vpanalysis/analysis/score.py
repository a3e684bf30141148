"""Policies judged by what happened next: false promotions, false holds, delays and flips over a lane's own past."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from vpanalysis import formatting
from vpanalysis.analysis.decision import Judgement
from vpanalysis.analysis.intervals import Interval, wilson
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.replay import ReplayedWindow


@dataclass(frozen=True)
class Bad:
    """When a window counts as bad, whatever any policy says: any of these, as of its end.

    Attributes:
        fallback: Share of its missions that fell back, from which on it is bad; the playbook's revert guardrail.
        failures: Share of its finished missions that failed, likewise.
        p95_seconds: p95 of the run time, likewise; ``None``: durations make no window bad.
    """

    fallback: float = 0.10
    failures: float = 0.10
    p95_seconds: float | None = None

    def holds(self, metrics: Metrics) -> bool:
        """Whether a window was bad."""
        finished, failed = metrics.account.finished or 0, metrics.account.count("failed")
        rate, p95 = metrics.fallback.rate, metrics.latency_seconds.p95_seconds
        return bool(
            (metrics.fallback.missions_considered and rate is not None and rate >= self.fallback)
            or (finished and failed / finished >= self.failures)
            or (self.p95_seconds is not None and p95 is not None and p95 >= self.p95_seconds)
        )

    @property
    def sentence(self) -> str:
        """The definition in words."""
        parts = [
            f"{formatting.percent_limit(self.fallback)} or more of its missions fell back",
            f"{formatting.percent_limit(self.failures)} or more of its finished missions failed",
        ]
        if self.p95_seconds is not None:
            parts.append(f"its p95 run time was {formatting.seconds_limit(self.p95_seconds)} or more")
        return f"A window was bad when {', or '.join(parts)}."


@dataclass(frozen=True)
class Share:
    """How often something happened of the times that it could have; few windows make a wide interval.

    Attributes:
        count: How often.
        of: Out of how many.
    """

    count: int
    of: int

    @property
    def interval(self) -> Interval | None:
        """Wilson's 95 % interval; ``None`` when it could not have happened."""
        return wilson(self.count, self.of)


@dataclass(frozen=True)
class GateScore:
    """What one gate did for or against a policy.

    Attributes:
        gate: Its name.
        tripped: Windows that it tripped on.
        right: Those that were bad, or were followed by a bad one.
        alone_right: Right ones that no other gate held: without it they would have been promoted.
        alone_wrong: The price: windows that it alone held, good and followed by a good one.
    """

    gate: str
    tripped: int
    right: int
    alone_right: int
    alone_wrong: int


@dataclass(frozen=True)
class PolicyScore:
    """How a policy would have done.

    Attributes:
        policy: The policy.
        false_promotions: Of the windows that it called healthy, those that were followed by a bad one.
        false_holds: Of the good windows followed by a good one, those that it did not call healthy.
        missed_spells: Of the spells of bad windows, those in which it never called a window anything but healthy.
        delays: For each spell that it saw, the time from the end of its first window to the end of the first one that
            it did not call healthy; zero when it saw it at once.
        flips: How often it went from healthy to not, or back, from one window to the next.
        gates: What its gates did, those that did most good alone first.
    """

    policy: Policy
    false_promotions: Share
    false_holds: Share
    missed_spells: Share
    delays: tuple[timedelta, ...]
    flips: int
    gates: tuple[GateScore, ...]


def score(windows: Sequence[ReplayedWindow], policies: Sequence[Policy], bad: Bad) -> list[PolicyScore]:
    """Scores each policy by the windows that followed.

    Windows without a mission are left out, and the last one while it is open: nobody knows yet what it becomes.

    Args:
        windows: What `~vpanalysis.analysis.replay.replay` returned, oldest first.
        policies: The policies that judged them, in their order.
        bad: When a window was bad.
    """
    known = [window for window in windows if window.metrics.fallback.missions_considered and not window.metrics.is_open]
    were_bad = [bad.holds(window.metrics) for window in known]
    ends = [window.metrics.end for window in known]
    found = []
    for place, policy in enumerate(policies):
        judged = [window.judgements[place] for window in known]
        healthy = [judgement.status == "HEALTHY" for judgement in judged]
        pairs = list(zip(healthy, were_bad, were_bad[1:], strict=False))
        good = [promoted for promoted, now, then in pairs if not now and not then]
        seen: list[timedelta] = []
        spells = _spells(were_bad)
        for first, last in spells:
            at = next((number for number in range(first, last) if not healthy[number]), None)
            begun, noticed = ends[first], ends[at] if at is not None else None
            if begun is not None and noticed is not None:
                seen.append(noticed - begun)
        promoted = [then for was_healthy, _, then in pairs if was_healthy]
        found.append(
            PolicyScore(
                policy=policy,
                false_promotions=Share(sum(promoted), len(promoted)),
                false_holds=Share(len(good) - sum(good), len(good)),
                missed_spells=Share(len(spells) - len(seen), len(spells)),
                delays=tuple(seen),
                flips=sum(one != other for one, other in pairwise(healthy)),
                gates=_gates(judged, were_bad),
            )
        )
    return found


def _spells(were_bad: Sequence[bool]) -> list[tuple[int, int]]:
    """Returns the first of each run of bad windows, and the one after its last."""
    edges = [False, *were_bad, False]
    changes = [place for place in range(len(edges) - 1) if edges[place] != edges[place + 1]]
    return list(zip(changes[::2], changes[1::2], strict=True))


def _gates(judged: Sequence[Judgement], were_bad: Sequence[bool]) -> tuple[GateScore, ...]:
    right_after = [now or then for now, then in zip(were_bad, [*were_bad[1:], False], strict=True)]
    counts: dict[str, list[int]] = {}
    for judgement, right in zip(judged, right_after, strict=True):
        tripped = {reason.gate for reason in judgement.reasons if reason.caution not in ("HEALTHY", None)}
        for gate in tripped:
            count = counts.setdefault(gate, [0, 0, 0, 0])
            alone = len(tripped) == 1
            for place, applies in enumerate((True, right, alone and right, alone and not right)):
                count[place] += applies
    scores = [GateScore(gate, *count) for gate, count in counts.items()]
    return tuple(sorted(scores, key=lambda one: (-one.alone_right, one.alone_wrong, -one.right, one.gate)))
