"""``vpanalysis snapshot``: the metrics endpoint's JSON, for jq."""

import json
from typing import TYPE_CHECKING

import click

from vpanalysis.cli.source_option import (
    open_with_limit,
    ops_token_option,
    resolve_source,
    source_option,
    vp_id_option,
)
from vpanalysis.errors import InputError, UnknownLaneError

if TYPE_CHECKING:
    from vpanalysis.data.source import Source
    from vpanalysis.data.window import RolloutWindow


@click.command()
@source_option()
@ops_token_option
@vp_id_option
@click.option(
    "--mission-limit",
    type=int,
    default=50,
    show_default=True,
    help="How many of the newest missions to count; clamped to 1..500.",
)
@click.option(
    "--event-limit",
    type=int,
    default=200,
    show_default=True,
    help="How many of the newest events to list (a gateway counts no more, either); clamped to 1..1000.",
)
@click.option(
    "--window-start",
    default="",
    metavar="TIME",
    help="Count the missions created from here on, not the newest; ISO 8601, UTC.",
)
@click.option("--window-end", default="", metavar="TIME", help="Count the missions created before this moment.")
@click.option(
    "--as-of",
    default="",
    metavar="TIME",
    help="The moment to answer for: what came later is not seen.  [default: now]",
)
@click.option("--gateway-compatible", is_flag=True, help="The gateway's own answer, from the lane's oldest events.")
def snapshot(
    source: str | None,
    ops_token: str | None,
    vp_id: str,
    mission_limit: int,
    event_limit: int,
    window_start: str,
    window_end: str,
    as_of: str,
    gateway_compatible: bool,
) -> None:
    """Prints the metrics endpoint's JSON for a lane's newest missions, counted from all their events.

    Where the gateway's own answer would differ, a note on stderr says by how much.
    """
    location = resolve_source(source, vp_id)

    from vpanalysis.data.snapshot import clamp_mission_limit
    from vpanalysis.data.window import RolloutWindow

    if gateway_compatible and (window_start or window_end or as_of):
        raise InputError("--gateway-compatible answers for the newest missions now: leave the window's options out.")
    bounded = bool(window_start or window_end)
    window = RolloutWindow(
        vp_id,
        start=window_start or None,
        end=window_end or None,
        as_of=as_of or None,
        last_missions=None if bounded else clamp_mission_limit(mission_limit),
    )
    with open_with_limit(location, ops_token, event_limit) as opened:
        if opened.kind in ("gateway", "snapshot"):
            text, note = _of_endpoint(opened, window, event_limit, gateway_compatible)
        else:
            text, note = _of_database(opened, window, event_limit, gateway_compatible)
    if note:
        click.echo(f"Note: {note}", err=True)
    click.echo(text)


def _of_database(
    opened: "Source", window: "RolloutWindow", event_limit: int, gateway_compatible: bool
) -> tuple[str, str | None]:
    from vpanalysis.analysis.answer import compare_with_gateway
    from vpanalysis.analysis.answer import snapshot as own_snapshot
    from vpanalysis.analysis.metrics import summarize
    from vpanalysis.formatting import count

    if window.last_missions is None or window.as_of is not None:  # the gateway knows no such window
        return own_snapshot(opened.load(window), event_limit=event_limit).model_dump_json(indent=2), None
    answer = opened.gateway_snapshot(window.vp_id, window.last_missions, event_limit)
    try:
        tables = opened.load(window)
    except UnknownLaneError:
        if gateway_compatible:
            return answer.model_dump_json(indent=2), None
        raise
    shown = answer if gateway_compatible else own_snapshot(tables, event_limit=event_limit)
    note = compare_with_gateway(summarize(tables), answer)
    theirs, ours = sum(answer.event_counts.values()), sum(tables.event_counts.values())
    if note is None and theirs != ours:
        note = f"The gateway counts the lane's oldest {count(theirs, 'event')} instead of these missions' {ours:,}."
    return shown.model_dump_json(indent=2), note


def _of_endpoint(
    opened: "Source", window: "RolloutWindow", event_limit: int, gateway_compatible: bool
) -> tuple[str, str | None]:
    """What a gateway or a saved snapshot says is passed on as it is."""
    from vpanalysis.analysis.gates.data_quality import judge_quality
    from vpanalysis.analysis.metrics import summarize

    if gateway_compatible:
        answer = opened.gateway_snapshot(window.vp_id, window.last_missions or 1, event_limit)
        return answer.model_dump_json(indent=2), None
    tables = opened.load(window)
    notes = [note.sentence for note in judge_quality(summarize(tables)) if note.veto]
    return json.dumps(tables.snapshot, indent=2, ensure_ascii=False, allow_nan=False), " ".join(notes)
