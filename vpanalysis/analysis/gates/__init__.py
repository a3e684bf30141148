"""The gates, in the order of judgement: one module each."""

from vpanalysis.analysis.gates import (
    completions,
    data_quality,
    failures,
    fallback_rate,
    freshness,
    latency,
    recent_change,
    rolling_fallback,
    session,
    slow_share,
    traffic,
)
from vpanalysis.analysis.gates.gate import Gate

GATES: tuple[Gate, ...] = tuple(
    module.GATE
    for module in (
        traffic, fallback_rate, latency, failures, completions, session, rolling_fallback, recent_change, slow_share,
        freshness, data_quality,
    )
)  # fmt: skip
BY_NAME = {gate.name: gate for gate in GATES}
