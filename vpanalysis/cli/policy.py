"""``vpanalysis policy``: shows and checks policies, and replays past windows under them."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from vpanalysis import formatting
from vpanalysis.cli.policy_score import columns
from vpanalysis.cli.source_option import (
    PAST_KINDS,
    format_option,
    ops_token_option,
    resolve_source,
    source_option,
    vp_id_option,
)
from vpanalysis.data.timestamps import parse_length

if TYPE_CHECKING:
    from vpanalysis.analysis.policy import Policy
    from vpanalysis.analysis.replay import ReplayedWindow

_SHARE = click.FloatRange(0, 1, min_open=True)


def _duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    try:
        return parse_length(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def policy() -> None:
    """Shows, checks and replays policies: the built-in playbook and capture, or TOML files."""


@policy.command()
@click.argument("name_or_path", default="playbook")
def show(name_or_path: str) -> None:
    """Prints a policy as a complete TOML file.

    What it takes from the playbook is included.
    """
    from vpanalysis.analysis.policy import PROFILES, Policy

    loaded = [Policy.load(name_or_path, profile) for profile in PROFILES]
    lines = [f"name = {json.dumps(loaded[0].name)}", f"version = {json.dumps(loaded[0].version)}"]
    for one in loaded:
        content = one.model_dump(exclude={"name", "version", "profile"})
        if not one.gated:
            content["gates"] = False
        lines += ["", f"# hash {one.hash}", *_toml(one.profile, content)]
    click.echo("\n".join(lines))


def _toml(table: str, content: dict[str, Any]) -> list[str]:
    """The lines of a table and of those below it; a gate that is off is ``false``."""
    lines = [f"[{table}]"]
    for key, value in content.items():
        if not isinstance(value, dict) and not (value is None and key == "force_share"):
            lines.append(f"{key} = {json.dumps(value if value is not None else False)}")
    for key, value in content.items():
        if isinstance(value, dict):
            lines += ["", *_toml(f"{table}.{key}", value)]
    return lines


@policy.command()
@click.argument("paths", nargs=-1, required=True)
def check(paths: tuple[str, ...]) -> None:
    """Checks policy files.

    Prints a line for each, with its hashes, or what is wrong (exit 2).
    """
    from vpanalysis.analysis.policy import PROFILES, Policy

    for path in paths:
        loaded = [Policy.load(path, profile) for profile in PROFILES]
        hashes = ", ".join(f"{one.profile} {one.hash}" for one in loaded)
        click.echo(f"{path}: {loaded[0].name} {loaded[0].version} ({hashes})")


@policy.command()
@source_option(PAST_KINDS)
@ops_token_option
@vp_id_option
@click.option(
    "--policy",
    "names",
    multiple=True,
    help="A policy (capture, or a TOML file) to compare with the playbook; may be given more than once.",
)
@click.option(
    "--profile",
    type=click.Choice(["rollout", "sustained"]),
    default="rollout",
    show_default=True,
    help="rollout judges active windows, sustained the steady state.",
)
@click.option(
    "--every", callback=_duration, metavar="LENGTH", help="Windows of this length, such as 12h or 1d.  [default: 1d]"
)
@click.option("--last-missions", type=click.IntRange(min=1), help="Windows of this many missions instead.")
@format_option
@click.option("--score", "scored", is_flag=True, help="Instead, score the policies by what the next windows showed.")
@click.option("--bad-fallback", type=_SHARE, default=0.10, show_default=True, help="Fallback share of a bad window.")
@click.option("--bad-failures", type=_SHARE, default=0.10, show_default=True, help="Failed share of a bad window.")
@click.option("--bad-p95", type=click.FloatRange(min=0, min_open=True), help="p95 run time of a bad window, seconds.")
def replay(
    source: str | None,
    ops_token: str | None,
    vp_id: str,
    names: tuple[str, ...],
    profile: Any,
    every: timedelta | None,
    last_missions: int | None,
    output: str,
    scored: bool,
    bad_fallback: float,
    bad_failures: float,
    bad_p95: float | None,
) -> None:
    """Judges each past window of a lane by each policy.

    Each window is judged as of its own end: what happened later is not seen. Where a policy differs from the first
    one, the flip is marked.
    """
    if every is not None and last_missions is not None:
        raise click.UsageError("Give either --every or --last-missions, not both.")
    location = resolve_source(source, vp_id)
    from vpanalysis.analysis.policy import Policy

    policies = [Policy.load(name, profile) for name in dict.fromkeys(("playbook", *names))]

    from vpanalysis.analysis.replay import replay as replay_windows
    from vpanalysis.data.source import open_source

    with open_source(location, ops_token=ops_token) as opened:
        windows = replay_windows(opened, vp_id, policies, every=every, last_missions=last_missions)
    if scored:
        from vpanalysis.analysis.score import Bad, score
        from vpanalysis.cli import policy_score

        bad = Bad(bad_fallback, bad_failures, bad_p95)
        write = {"table": policy_score.table, "csv": policy_score.as_csv, "json": policy_score.as_json}[output]
        click.echo(write(score(windows, policies, bad), bad).rstrip("\n"))
        return
    click.echo({"table": _table, "csv": _csv, "json": _json}[output](policies, windows).rstrip("\n"))
    flips = sum(any(window.flips) for window in windows)
    click.echo(f"{formatting.count(len(windows), 'window')}, {formatting.count(flips, 'flip')}.", err=True)


def _facts(window: "ReplayedWindow") -> dict[str, str]:
    metrics = window.metrics
    considered = metrics.fallback.missions_considered
    return {
        "window_start": formatting.time(metrics.start),
        "window_end": formatting.time(metrics.end),
        "provisional": "yes" if metrics.provisional else "no",
        "missions": formatting.NOT_AVAILABLE if considered is None else str(considered),
        "fallback_rate": formatting.rate(metrics.fallback.rate if considered else None),
        "p95": formatting.log_seconds(metrics.latency_seconds.p95_seconds),
    }


def _table(policies: Sequence["Policy"], windows: Sequence["ReplayedWindow"]) -> str:
    """Aligned columns; a flip is marked with ``!`` and its gates."""
    head = ["window start", "window end", "open", "missions", "fallback", "p95"]
    rows = [[*head, *(f"{one.name} {one.version} ({one.hash})" for one in policies)]]
    for window in windows:
        cells = list(_facts(window).values())
        for judgement, flip in zip(window.judgements, window.flips, strict=True):
            gates = ", ".join(dict.fromkeys(reason.gate for reason in judgement.reasons))
            cells.append(
                f"{'! ' if flip else ''}{judgement.status}" + ("" if judgement.status == "HEALTHY" else f": {gates}")
            )
        rows.append(cells)
    return columns(rows)


def _csv(policies: Sequence["Policy"], windows: Sequence["ReplayedWindow"]) -> str:
    """One line per window and policy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ["window_start", "window_end", "provisional", "missions", "fallback_rate", "p95"]
    writer.writerow([*facts, "policy", "version", "hash", "decision", "lane_status", "action", "flip", "reasons"])
    for window in windows:
        for one, judgement, flip in zip(policies, window.judgements, window.flips, strict=True):
            found = [one.name, one.version, one.hash, judgement.decision, judgement.status, judgement.action]
            briefs = "; ".join(reason.brief for reason in judgement.reasons)
            writer.writerow([*_facts(window).values(), *found, "yes" if flip else "no", briefs])
    return text.getvalue()


def _json(policies: Sequence["Policy"], windows: Sequence["ReplayedWindow"]) -> str:
    content = {
        "profile": policies[0].profile,
        "policies": [{"name": one.name, "version": one.version, "hash": one.hash} for one in policies],
        "windows": [
            {
                "window_start": window.metrics.start and window.metrics.start.isoformat(),
                "window_end": window.metrics.end and window.metrics.end.isoformat(),
                "provisional": window.metrics.provisional,
                "missions_considered": window.metrics.fallback.missions_considered,
                "missions_with_fallback": window.metrics.fallback.missions_with_fallback,
                "fallback_rate": window.metrics.fallback.rate,
                "p95_seconds": window.metrics.latency_seconds.p95_seconds,
                "verdicts": [
                    {
                        "policy": one.name,
                        "hash": one.hash,
                        "decision": judgement.decision,
                        "lane_status": judgement.status,
                        "action": judgement.action,
                        "flip": flip,
                        "reasons": [reason.model_dump(mode="json") for reason in judgement.reasons],
                    }
                    for one, judgement, flip in zip(policies, window.judgements, window.flips, strict=True)
                ],
            }
            for window in windows
        ],
    }
    return json.dumps(content, indent=2)
