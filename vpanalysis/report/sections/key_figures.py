"""The key figures: a tile for each number that a reviewer looks for first, and for each gate that decided."""

from dataclasses import asdict

from vpanalysis import formatting
from vpanalysis.report.finding import TONES, limits
from vpanalysis.report.piece import Piece, Tone, columns_of_text
from vpanalysis.report.sections import events, fallback, latency, session
from vpanalysis.report.sections.reasons import measured
from vpanalysis.report.sections.tile import Tile
from vpanalysis.report.window_report import WindowReport

#: The gates that a fixed tile is about; any other one that decided gets a tile of its own.
_SHOWN = ("fallback_rate", "latency", "failures", "slow_share", "session")
#: The tiles of the others: the name, where it is not the gate's, and what the number is.
_NAMES = {"completions": "Overdue missions"}
_MEASURES = {
    "rolling_fallback": "of the newest {newest:,} missions fell back",
    "recent_change": "of the newest {newest:,} settled missions fell back",
    "completions": "{among}{overdue:,} of all {total}",
    "freshness": "since the lane's last sign of life or mission",
    "data_quality": "serious {faults} in the data",
}


def tiles(report: WindowReport) -> Piece:
    """Returns the tiles, and in words which of them decided."""
    rate, wait = fallback.tile(report), latency.queue_wait_tile(report)
    shown = [
        rate, latency.run_time_tile(report), wait, events.tile(report), latency.slow_tile(report), session.tile(report),
        *_deciding(report),
    ]  # fmt: skip
    # A wait beyond its limit is told by the overdue missions: p95 is not what exceeds it.
    held = [tile for tile in shown if tile.tone in ("watch", "critical") and tile is not wait]
    lower_bound = any(reason.gate == "fallback_rate" and reason.value is None for reason in report.verdict.reasons)
    unknown = [tile for tile in held if tile.value == formatting.NOT_AVAILABLE or (lower_bound and tile is rate)]
    names = {
        "beyond a limit": [tile.name.lower() for tile in held if tile not in unknown],
        "unknown": [tile.name.lower() for tile in unknown],
    }
    words = "; ".join(f"{what}: {', '.join(these)}" for what, these in names.items() if these) or "none beyond a limit"
    words = formatting.capitalized(words)
    tone: Tone = "critical" if any(tile.tone == "critical" for tile in held) else "watch" if held else "plain"
    rows = [[tile.name, tile.value, tile.detail, tile.limits] for tile in shown]
    return Piece("key_figures", {"tiles": [asdict(tile) for tile in shown]}, words, tone, columns_of_text(rows))


def _deciding(report: WindowReport) -> list[Tile]:
    """Tiles for the gates that tripped and have no fixed one."""
    return [
        Tile(
            name=_NAMES.get(reason.gate, reason.gate.replace("_", " ").capitalize()),
            value=measured(reason, "value"),
            detail=_MEASURES.get(reason.gate, "").format(
                newest=reason.newest,
                among=f"among the newest {reason.newest:,}, " if reason.newest else "",
                overdue=report.metrics.account.count("overdue"),
                total=formatting.known_count(report.metrics.account.total),
                faults="fault" if reason.value == 1 else "faults",
            ),
            tone=TONES[reason.caution],
            limits=limits(report, reason.gate) or f"watch from {measured(reason, 'threshold')}",
        )
        for reason in report.verdict.reasons
        if reason.caution not in (None, "HEALTHY", "NO_TRAFFIC") and reason.gate not in _SHOWN
    ]
