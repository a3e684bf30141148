"""``vpanalysis capture``: the playbook's capture helper, flag for flag."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpanalysis.cli.source_option import (
    check_fail_on,
    fail_on_option,
    open_with_limit,
    ops_token_option,
    refuse_sample,
    resolve_source,
    source_option,
    vp_id_option,
)
from vpanalysis.data.schema import DEFAULT_VP_ID
from vpanalysis.errors import InputError

if TYPE_CHECKING:
    from vpanalysis.analysis.verdict import Verdict
    from vpanalysis.data.tables import Tables

_NUMBERS = ("fallback", "latency_seconds", "mission_counts", "event_counts")


@click.command()
@click.option(
    "--mode",
    type=click.Choice(["direct", "http"]),
    default="direct",
    show_default=True,
    help="direct reads --source, from all events; http asks the gateway at --gateway-url.",
)
@source_option()
@click.option(
    "--gateway-url",
    metavar="URL",
    default="http://127.0.0.1:8002",
    show_default=True,
    help="The gateway that --mode http asks.",
)
@ops_token_option
@click.option("--window-label", default="Shadow window", show_default=True, help="What the row calls the window.")
@click.option("--scope", default=DEFAULT_VP_ID, show_default=True, help="What the row calls the traffic.")
@vp_id_option
@click.option(
    "--assessment-profile",
    type=click.Choice(["rollout", "sustained"]),
    default="rollout",
    show_default=True,
    help="rollout judges an active window, sustained the steady state.",
)
@click.option(
    "--mission-limit",
    type=int,
    default=100,
    show_default=True,
    help="How many of the newest missions to judge; clamped to 1..500.",
)
@click.option(
    "--event-limit",
    type=int,
    default=500,
    show_default=True,
    help="How many events a gateway is asked for; clamped to 1..1000.",
)
@click.option(
    "--ref",
    help="What the row names as its source.  "
    "[default: _vp_metrics_snapshot(vp_id=…, mission_limit=…, event_limit=…) with the lane and limits used]",
)
@click.option("--min-missions", type=int, help="Fewer missions than this are no traffic.  [default: the policy's, 1]")
@click.option("--max-fallback-watch", type=float, help="WATCH from this rate on.  [default: the policy's, 0.05]")
@click.option("--max-fallback-critical", type=float, help="Critical from this rate on.  [default: the policy's, 0.20]")
@click.option("--max-p95-watch-seconds", type=float, help="WATCH from this p95 on.  [default: the policy's, 45]")
@click.option("--max-p95-critical-seconds", type=float, help="Critical from this p95 on.  [default: the policy's, 90]")
@click.option("--policy", default="playbook", show_default=True, help="playbook, capture, or the path of a TOML file.")
@fail_on_option
@click.option(
    "--append-log",
    type=click.Path(path_type=Path),
    metavar="LOG.md",
    help="Appends the row to the table of this evidence log.",
)
def capture(
    mode: str,
    source: str | None,
    gateway_url: str,
    ops_token: str | None,
    window_label: str,
    scope: str,
    vp_id: str,
    assessment_profile: str,
    mission_limit: int,
    event_limit: int,
    ref: str | None,
    min_missions: int | None,
    max_fallback_watch: float | None,
    max_fallback_critical: float | None,
    max_p95_watch_seconds: float | None,
    max_p95_critical_seconds: float | None,
    policy: str,
    fail_on: tuple[str, ...],
    append_log: Path | None,
) -> None:
    """Prints a window's numbers and verdict as JSON, and its row for the evidence log."""
    location = _location(mode, source, gateway_url, vp_id)
    refuse_sample(location, fail_on=fail_on, append_log=append_log)

    from vpanalysis.analysis.decision import classify
    from vpanalysis.analysis.metrics import summarize
    from vpanalysis.analysis.policy import Policy
    from vpanalysis.report.row import evidence_row

    limits = {
        "min_missions": None if min_missions is None else max(0, min_missions),
        "fallback_watch": max_fallback_watch,
        "fallback_critical": max_fallback_critical,
        "p95_watch_seconds": max_p95_watch_seconds,
        "p95_critical_seconds": max_p95_critical_seconds,
    }
    profile: Any = assessment_profile
    judge = Policy.load(policy, profile, **limits)
    table = Policy.load("capture", profile, **limits)
    tables = _load(location, ops_token, vp_id, mission_limit, event_limit)
    metrics = summarize(tables)
    looks = None
    if append_log is not None:  # reading Markdown takes a while to import
        from vpanalysis.report.log import append_row, count_looks

        looks = count_looks(append_log, vp_id=vp_id, scope=scope, start=metrics.start, until=metrics.generated_at)
    verdict = classify(metrics, judge, looks)
    if ref is None:
        ref = _ref(vp_id, mission_limit, event_limit)
    row = evidence_row(verdict, window_label=window_label, scope=scope, ref=ref)
    content = {**_numbers(tables), "assessment": _assessment(verdict, classify(metrics, table))}
    if looks:
        content["assessment"]["earlier_looks"] = looks
        click.echo(f"Note: {verdict.evidence.caveat}", err=True)
    click.echo(json.dumps(content, indent=2, sort_keys=True, allow_nan=False))
    click.echo(f"\nMarkdown row:\n{row}")
    if append_log is not None:
        append_row(append_log, row)
        click.echo(f"Appended to {append_log}.", err=True)
    check_fail_on(verdict.lane_status, fail_on, tables.kind)


def _location(mode: str, source: str | None, gateway_url: str, vp_id: str) -> str:
    if mode == "direct":
        return resolve_source(source, vp_id)
    if source is not None:
        raise InputError("--mode http reads --gateway-url; --source belongs to --mode direct, which takes a URL too.")
    if "://" not in gateway_url:
        raise InputError("--gateway-url is not a URL: give one such as http://127.0.0.1:8002.")
    return gateway_url


def _ref(vp_id: str, mission_limit: int, event_limit: int) -> str:
    """The capture helper's words for its source, with the limits as they were used."""
    from vpanalysis.data.snapshot import clamp_event_limit, clamp_mission_limit

    missions, events = clamp_mission_limit(mission_limit), clamp_event_limit(event_limit)
    lane = json.dumps(vp_id, ensure_ascii=False)
    return f"_vp_metrics_snapshot(vp_id={lane}, mission_limit={missions}, event_limit={events})"


def _load(location: str, ops_token: str | None, vp_id: str, mission_limit: int, event_limit: int) -> "Tables":
    from vpanalysis.data.snapshot import clamp_mission_limit
    from vpanalysis.data.window import RolloutWindow

    with open_with_limit(location, ops_token, event_limit) as source:
        return source.load(RolloutWindow(vp_id, last_missions=clamp_mission_limit(mission_limit)))


def _numbers(tables: "Tables") -> dict[str, Any]:
    from vpanalysis.analysis.answer import snapshot
    from vpanalysis.analysis.masking import mask_counts

    content = tables.snapshot if tables.snapshot is not None else snapshot(tables).model_dump(mode="json")
    numbers = {key: content.get(key) for key in ("vp_id", "generated_at", *_NUMBERS)}
    return {name: mask_counts(value) if _is_counts(name, value) else value for name, value in numbers.items()}


def _is_counts(name: str, value: Any) -> bool:
    return name.endswith("_counts") and isinstance(value, dict)


def _assessment(verdict: "Verdict", by_table: "Verdict") -> dict[str, Any]:
    """The policy's decision and reasons; where the capture helper's rule table decides otherwise, that too."""
    reasons = [reason.brief for reason in verdict.reasons]
    assessment: dict[str, Any] = {"decision": verdict.decision, "reasons": reasons}
    if by_table.decision != verdict.decision:
        assessment["capture_decision"] = by_table.decision
        reasons.append(f"the capture rule table alone would say {by_table.decision}")
    return assessment
