"""How often each gate trips on lanes that are healthy, how often on lanes that are not, and what many looks cost.

``python benchmarks/false_alarms.py`` prints the tables of ``docs/gates.md`` in about ten minutes. It is seeded, so
that a run repeats; the tests hold a smaller run against exact probabilities.
"""

import math
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd

from vpanalysis.analysis.chance import log_e_below
from vpanalysis.analysis.decision import judge
from vpanalysis.analysis.gates import GATES
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.data.schema import COMPLETED, FAILED
from vpanalysis.data.tables import MISSION_FRAME, Tables, missions_frame
from vpanalysis.data.window import RolloutWindow

SEED = 20261125
SIZES = (20, 60, 100, 500)
END = datetime(2026, 2, 16, 12, 0, tzinfo=UTC)
_VP_ID = "vp.coder.primary"
_SESSION = {"vp_id": _VP_ID, "status": "active", "last_heartbeat_at": END.isoformat(), "updated_at": END.isoformat()}
_EMPTY = missions_frame([])


@dataclass(frozen=True)
class Lane:
    """A lane: what happens now and then to its missions, as shares, and how they arrive.

    Attributes:
        fallback: Missions that fall back.
        failed: Missions that fail.
        hanging: Missions that never end.
        slow: Missions that take 100 s to 240 s; all others are log-normal around 12 s.
        degraded: Lost leases per mission.
        shape: ``steady``: missions arrive 5 minutes apart on average; ``bursty``: in bursts of about ten within a
            minute, which wait for each other; ``slow tier``: as steady, but a fifth of the missions is of the tier
            ``background``, waits up to 40 minutes and runs three times as long.
        newest: How many of the newest missions the fields of ``change`` are about; 0: none.
        change: What is different among them.
    """

    fallback: float = 0.01
    failed: float = 0.02
    hanging: float = 0.002
    slow: float = 0.01
    degraded: float = 0.005
    shape: Literal["steady", "bursty", "slow tier"] = "steady"
    newest: int = 0
    change: tuple[tuple[str, float], ...] = ()

    def shares(self, name: str, n: int) -> np.ndarray:
        """One field's share for each of ``n`` missions, oldest first."""
        found = np.full(n, getattr(self, name))
        if name in dict(self.change):
            found[n - min(n, self.newest) :] = dict(self.change)[name]
        return found


#: Healthy lanes, and lanes with one fault each: the gate that is there for it.
HEALTHY = {shape: Lane(shape=shape) for shape in ("steady", "bursty", "slow tier")}
FAULTY = {
    "newest 12 failing at 50 %": (Lane(newest=12, change=(("failed", 0.5),)), "failures"),
    "5 % hanging": (Lane(hanging=0.05), "completions"),
    "newest 200 of 500 falling back at 10 %": (Lane(newest=200, change=(("fallback", 0.10),)), "recent_change"),
    "two degradations per 100 missions": (Lane(degraded=0.02), "session"),
    "10 % slow": (Lane(slow=0.10), "slow_share"),
    "8 % fallbacks": (Lane(fallback=0.08), "fallback_rate"),
    "10 % failing": (Lane(failed=0.10), "failures"),
}


def window(lane: Lane, n: int, rng: np.random.Generator) -> Metrics:
    """One window of ``n`` missions, judged as it ends."""
    ages = rng.uniform(0, 300.0 * n, n)
    if lane.shape == "bursty":
        bursts = rng.uniform(0, 300.0 * n, max(1, n // 10))
        ages = rng.choice(bursts, n) + rng.uniform(0, 60, n)
    ages = np.sort(ages)[::-1].round(6)
    background = (rng.random(n) < 0.2) & (lane.shape == "slow tier")
    wait = rng.lognormal(np.log(2), 0.5, n) * (10 if lane.shape == "bursty" else 1)
    wait = np.where(background, rng.uniform(60, 2400, n), wait)
    started = ages >= wait
    run = np.minimum(rng.lognormal(np.log(12), 0.5, n), 80.0) * np.where(background, 3.0, 1.0)
    run = np.minimum(run, 85.0)
    run = np.where(rng.random(n) < lane.shares("slow", n), rng.uniform(100, 240, n), run).round(6)
    draw = rng.random(n)
    hanging, failed = lane.shares("hanging", n), lane.shares("failed", n)
    fate = np.select([draw < hanging, draw < hanging + failed, draw < hanging + failed + 0.02],
                     ["running", "failed", "cancelled"], "completed")  # fmt: skip
    ended = started & (fate != "running") & (ages >= wait + run)
    status = np.where(ended, fate, np.where(started, "running", "queued"))
    created = pd.Series(pd.Timestamp(END) - pd.to_timedelta(ages, unit="s")).dt.as_unit("us")
    begun = (created + pd.to_timedelta(wait, unit="s").as_unit("us")).where(started)
    over = (begun + pd.to_timedelta(run, unit="s").as_unit("us")).where(ended)
    events = {"completed": COMPLETED, "failed": FAILED, "cancelled": "vp.mission.cancelled"}
    missions = pd.DataFrame(
        {
            "mission_id": [f"mission-{number}" for number in range(n)],
            "status": status,
            "created_at": created,
            "started_at": begun,
            "completed_at": over,
            "updated_at": over,
            "dispatched_at": created,
            "queue_wait_seconds": np.where(started, wait, np.nan),
            "duration_seconds": np.where(ended, run, np.nan),
            "events": 2,
            "fallback_events": (rng.random(n) < lane.shares("fallback", n)).astype(int) * started,
            "ended_event": pd.Series(status).map(events),
            "cancel_requested": False,
        }
    ).reindex(columns=MISSION_FRAME)
    for name in ("started_event_at", "fallback_at", "ended_event_at"):
        missions[name] = _EMPTY[name].reindex(missions.index)
    lost = [END - timedelta(seconds=float(age)) for age in rng.uniform(0, ages[0], rng.poisson(lane.degraded * n))]
    lifecycle = pd.DataFrame({"event_type": "vp.session.degraded", "created_at": pd.to_datetime(lost, utc=True)})
    return summarize(
        Tables(
            window=RolloutWindow(_VP_ID, last_missions=n, as_of=END),
            as_of=END,
            source="simulation",
            kind="sqlite",
            missions=missions,
            events=pd.DataFrame({"event_type": [], "payload_json": [], "created_at": pd.to_datetime([], utc=True)}),
            event_counts={},
            session=_SESSION,
            session_events=lifecycle,
        )
    )


def trip_rates(lane: Lane, n: int, repetitions: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of windows in which each gate trips, and in which each policy does not find the lane healthy."""
    playbook, capture = Policy.load("playbook"), Policy.load("capture")
    found: Counter[str] = Counter()
    for _ in range(repetitions):
        metrics = window(lane, n, rng)
        judged = judge(metrics, playbook)
        found.update({reason.gate for reason in judged.reasons if judged.status != "HEALTHY"})
        found["playbook"] += judged.status != "HEALTHY"
        found["capture"] += judge(metrics, capture).status != "HEALTHY"
    return {name: count / repetitions for name, count in found.items()}


def wrong_claims(rate: float, looks: int, lanes: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of lanes at ``rate`` that one of many looks calls below 0.05: by the e-process, and by fixed bounds.

    A lane grows by five missions between looks, as one does that is looked at every half an hour.
    """
    wrong_anytime = wrong_fixed = 0
    for _ in range(lanes):
        counts = np.cumsum(rng.binomial(5, rate, looks))
        sizes = 5 * np.arange(1, looks + 1)
        wrong_anytime += any(
            log_e_below(int(k), int(n), 0.05) >= math.log(20) for k, n in zip(counts, sizes, strict=True)
        )
        wrong_fixed += any(_at_most(int(k), int(n), 0.05) < 0.05 for k, n in zip(counts, sizes, strict=True))
    return wrong_anytime / lanes, wrong_fixed / lanes


def _at_most(k: int, n: int, p: float) -> float:
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def table(title: str, rates: dict[str, dict[str, float]]) -> None:
    """Prints the share of windows in which each gate trips, a column per kind of window."""
    print(f"| {title} | " + " | ".join(rates) + " |")
    print("|---|" + "---:|" * len(rates))
    names = {gate.name: f"`{gate.name}`" for gate in GATES}
    names |= {"capture": "**not healthy by `capture`**", "playbook": "**not healthy by `playbook`**"}
    for key, name in names.items():
        print(f"| {name} | " + " | ".join(f"{100 * found.get(key, 0.0):.1f} %" for found in rates.values()) + " |")
    print()


def main(repetitions: int = 1000) -> None:
    """Prints a table for healthy lanes, one for faulty ones, and the error of many looks."""
    start, rng = time.perf_counter(), np.random.default_rng(SEED)
    for shape, lane in HEALTHY.items():
        print(f"### A healthy lane, {shape}\n")
        table("trips", {f"n = {n}": trip_rates(lane, n, repetitions, rng) for n in SIZES})
    print("### A healthy lane with 2 % fallbacks, steady\n")
    lane = replace(HEALTHY["steady"], fallback=0.02)
    table("trips", {f"n = {n}": trip_rates(lane, n, repetitions, rng) for n in SIZES})
    print("### Power: lanes with a fault\n")
    print(
        "| fault | gate for it | " + " | ".join(f"it trips, n = {n} | not healthy, n = {n}" for n in SIZES[1:]) + " |"
    )
    print("|---|---|" + "---:|" * 6)
    for name, (faulty, gate) in FAULTY.items():
        cells = []
        for n in SIZES[1:]:
            rates = trip_rates(faulty, n, repetitions // 2, rng)
            cells += [f"{100 * rates.get(gate, 0.0):.0f} %", f"{100 * rates['playbook']:.0f} %"]
        print(f"| {name} | `{gate}` | " + " | ".join(cells) + " |")
    anytime, fixed = wrong_claims(0.05, 48, 4 * repetitions, rng)
    print(f"\nA lane at exactly 5 %, looked at 48 times: wrongly claimed to be below by the anytime claim in "
          f"{100 * anytime:.1f} % of lanes, by a fixed bound at each look in {100 * fixed:.1f} %.")  # fmt: skip
    print(f"\n{repetitions:,} windows each (half as many for faults), seed {SEED}.")
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
