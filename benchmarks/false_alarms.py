"""How often each rule and gate trips on lanes that are healthy, by simulation.

``python benchmarks/false_alarms.py`` prints the tables of ``docs/gates.md`` within a few minutes. It is seeded, so
that a run repeats; the tests hold a smaller run against exact binomial probabilities.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from vpanalysis.analysis.decision import judge
from vpanalysis.analysis.evidence import rate_evidence
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.data.tables import DataQuality, Tables
from vpanalysis.data.window import RolloutWindow

SEED = 20260216
SIZES = (20, 60, 100, 500)
END = datetime(2026, 2, 16, 12, 0, tzinfo=UTC)
_VP_ID = "vp.coder.primary"
_SESSION = {"vp_id": _VP_ID, "status": "active", "updated_at": END.isoformat()}
ROWS = (
    ("fallback_rate", "fallback rate at or above watch"),
    ("rolling_fallback", "rolling fallback"),
    ("failures", "failures"),
    ("completions", "completions"),
    ("session", "session"),
    ("latency", "latency"),
    ("slow_share", "slow share"),
    ("data_quality", "data quality"),
)


@dataclass(frozen=True)
class Lane:
    """A lane without a fault: what happens now and then to its missions, as shares.

    Attributes:
        fallback: Missions that fall back.
        failed: Missions that fail.
        cancelled: Missions that are cancelled.
        hanging: Missions that never end.
        slow: Missions that take 100 s to 240 s; all others are log-normal around 12 s.
        degraded: Lost leases per mission.
    """

    fallback: float = 0.01
    failed: float = 0.02
    cancelled: float = 0.02
    hanging: float = 0.002
    slow: float = 0.01
    degraded: float = 0.005


LANES = {"1 % fallbacks": Lane(), "2 % fallbacks": Lane(fallback=0.02)}


def window(lane: Lane, n: int, rng: np.random.Generator) -> Metrics:
    """One window of ``n`` missions that arrive 5 minutes apart on average, judged as it ends."""
    ages = np.sort(rng.uniform(0, 300.0 * n, n))[::-1].round(6)
    wait = np.minimum(rng.lognormal(np.log(2), 0.5, n), ages).round(6)
    run = np.minimum(rng.lognormal(np.log(12), 0.5, n), 80.0)
    run = np.where(rng.random(n) < lane.slow, rng.uniform(100, 240, n), run).round(6)
    fate = rng.choice(
        ["hanging", "failed", "cancelled", "completed"],
        n,
        p=[lane.hanging, lane.failed, lane.cancelled, 1 - lane.hanging - lane.failed - lane.cancelled],
    )
    created = pd.Series(pd.Timestamp(END) - pd.to_timedelta(ages, unit="s")).dt.as_unit("us")
    started = created + pd.to_timedelta(wait, unit="s").as_unit("us")
    ended = started + pd.to_timedelta(run, unit="s").as_unit("us")
    over = (fate != "hanging") & (ended <= END)
    outcome = pd.Series(fate).where(over)
    completed = ended.where(over)
    missions = pd.DataFrame(
        {
            "mission_id": [f"mission-{number}" for number in range(n)],
            "status": outcome.fillna("running"),
            "created_at": created,
            "started_at": started,
            "completed_at": completed,
            "started_event_at": started,
            "dispatched_at": created,
            "queue_wait_seconds": wait,
            "duration_seconds": np.where(over, run, np.nan),
            "fallback_events": (rng.random(n) < lane.fallback).astype(int),
            "outcome": outcome,
            "ended_at": completed,
        }
    )
    lost = [END - timedelta(seconds=float(age)) for age in rng.uniform(0, ages[0], rng.poisson(lane.degraded * n))]
    session_events = pd.DataFrame({"event_type": "vp.session.degraded", "created_at": pd.to_datetime(lost, utc=True)})
    return summarize(
        Tables(
            window=RolloutWindow(_VP_ID, last_missions=n, as_of=END),
            as_of=END,
            source="simulation",
            kind="sqlite",
            missions=missions,
            events=pd.DataFrame({"event_type": []}),
            event_counts={},
            session=_SESSION,
            session_events=session_events,
            quality=DataQuality(),
        )
    )


def trip_rates(lane: Lane, n: int, repetitions: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of windows in which each gate trips, the verdict is not healthy, and the evidence supports the claim."""
    playbook, capture = Policy.load("playbook"), Policy.load("capture")
    found: Counter[str] = Counter()
    for _ in range(repetitions):
        metrics = window(lane, n, rng)
        judged = judge(metrics, playbook)
        found.update(reason.gate for reason in judged.reasons if judged.status != "HEALTHY")
        found["playbook"] += judged.status != "HEALTHY"
        found["capture"] += judge(metrics, capture).status != "HEALTHY"
        found["supports"] += rate_evidence(metrics, playbook.fallback_watch)["strength"] == "supports"
    return {name: count / repetitions for name, count in found.items()}


def main(repetitions: int = 1000) -> None:
    """Prints a table for each lane."""
    start, rng = time.perf_counter(), np.random.default_rng(SEED)
    for name, lane in LANES.items():
        rates = {n: trip_rates(lane, n, repetitions, rng) for n in SIZES}
        print(f"### A healthy lane with {name}\n")
        print("| share of windows in which … trips | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
        print("|---|" + "---:|" * len(SIZES))
        rows = [*ROWS, ("capture", "**not healthy by `capture`**"), ("playbook", "**not healthy by `playbook`**")]
        for key, title in [*rows, ("supports", "evidence `supports` a rate below 0.05")]:
            cells = " | ".join(f"{100 * rates[n].get(key, 0.0):.1f} %" for n in SIZES)
            print(f"| {title} | {cells} |")
        print()
    print(f"{repetitions:,} windows each, seed {SEED}.")
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
