"""The report's sections, one module each; ``tables`` and ``plots`` name what notebooks show of them.

A figure has its function's name; a table is named after its section.
"""

from types import SimpleNamespace

from vpanalysis.report import drawing
from vpanalysis.report.sections import (
    baseline,
    data_quality,
    events,
    fallback,
    fleet_head,
    key_figures,
    lane_table,
    latency,
    outages,
    over_time,
    provenance,
    reasons,
    recovery,
    roll_call,
    session,
    verdict,
)
from vpanalysis.report.sections import over_time_figures as over_time_figures

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
    history=over_time.banner,
    history_in_words=over_time.in_words,
    incidents=over_time.incidents,
    flips=over_time.flips,
    rollout_steps=over_time.steps,
    beside_log=over_time.beside_log,
    first_errors=over_time.first_errors,
    windows=over_time.table,
    history_made=over_time.made,
    fleet=fleet_head.banner,
    fleet_in_words=fleet_head.in_words,
    fleet_reasons=fleet_head.reasons,
    lanes=lane_table.side_by_side,
    lane_queues=lane_table.queue_wait,
    lane_rows=lane_table.evidence_rows,
    outages=outages.table,
    roll_call=roll_call.table,
    fleet_provenance=roll_call.made,
)
plots = SimpleNamespace(**drawing.FIGURES)
