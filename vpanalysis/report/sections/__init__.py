"""The report's sections, one module each; ``tables`` and ``plots`` name what notebooks show of them."""

from types import SimpleNamespace

from vpanalysis.report.sections import (
    baseline,
    data_quality,
    events,
    fallback,
    key_figures,
    latency,
    provenance,
    reasons,
    recovery,
    session,
    verdict,
)

tables = SimpleNamespace(
    verdict=verdict.banner,
    key_figures=key_figures.tiles,
    evidence_row=verdict.row,
    in_words=verdict.in_words,
    reasons=reasons.table,
    fallback=fallback.table,
    latency=latency.table,
    events=events.table,
    signatures=events.signatures,
    recent_events=events.recent_events,
    session=session.table,
    comparison=baseline.sentence,
    baseline=baseline.table,
    quality=data_quality.table,
    checklist=recovery.checklist,
    way_back=recovery.way_back,
    provenance=provenance.table,
)
plots = SimpleNamespace(
    fallback_over_time=fallback.fallback_over_time,
    latency_over_time=latency.latency_over_time,
    latency_distribution=latency.latency_distribution,
    distributions_compared=latency.distributions_compared,
    queue_beside_run=latency.queue_beside_run,
    mission_timeline=events.mission_timeline,
    event_mix=events.event_mix,
    session_lifecycle=session.session_lifecycle,
    baseline_comparison=baseline.baseline_comparison,
)
