"""How ``vpanalysis policy replay --score`` prints scores."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from vpanalysis import formatting

if TYPE_CHECKING:
    from vpanalysis.analysis.score import Bad, PolicyScore, Share

_SHARES = ("false_promotions", "false_holds", "missed_spells")
_NAMES = ["policy", "false promotions", "false holds", "bad spells missed", "delay", "flips"]


def table(scores: Sequence["PolicyScore"], bad: "Bad") -> str:
    """Returns the scores and the gates behind them as aligned text, and the definition of a bad window."""
    rows = [_NAMES]
    for one in scores:
        shares = [_share(getattr(one, name)) for name in _SHARES]
        rows.append([f"{one.policy.name} {one.policy.version}", *shares, _delay(one.delays), str(one.flips)])
    gates = [["policy", "gate", "tripped", "rightly", "alone, rightly", "alone, wrongly"]]
    for one in scores:
        for gate in one.gates:
            numbers = (gate.tripped, gate.right, gate.alone_right, gate.alone_wrong)
            gates.append([one.policy.name, gate.gate, *map(str, numbers)])
    return "\n\n".join([columns(rows), columns(gates), f"{bad.sentence} Intervals are Wilson's at 95 %."])


def as_csv(scores: Sequence["PolicyScore"], _: "Bad") -> str:
    """Returns one line per policy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = [_facts(one) for one in scores]
    writer.writerow(facts[0])
    writer.writerows(one.values() for one in facts)
    return text.getvalue()


def as_json(scores: Sequence["PolicyScore"], bad: "Bad") -> str:
    """Returns all of it, with the definition of a bad window."""
    found = [{**_facts(one), "gates": [vars(gate) for gate in one.gates]} for one in scores]
    return json.dumps({"bad": {**vars(bad), "sentence": bad.sentence}, "policies": found}, indent=2)


def _facts(one: "PolicyScore") -> dict[str, Any]:
    facts: dict[str, Any] = {"policy": one.policy.name, "version": one.policy.version, "hash": one.policy.hash}
    for name in _SHARES:
        share: Share = getattr(one, name)
        low, high = (share.interval.low, share.interval.high) if share.interval else (None, None)
        facts |= {name: share.count, f"{name}_of": share.of, f"{name}_low": low, f"{name}_high": high}
    delays = [delay.total_seconds() for delay in one.delays]
    return facts | {
        "delay_median_seconds": median(delays) if delays else None,
        "delay_longest_seconds": max(delays, default=None),
        "flips": one.flips,
    }


def _share(share: "Share") -> str:
    found = share.interval
    if found is None or found.low is None or found.high is None:
        return formatting.NOT_AVAILABLE
    return f"{share.count} of {share.of} ({100 * found.low:.0f}-{100 * found.high:.0f} %)"


def _delay(delays: Sequence[timedelta]) -> str:
    if not delays:
        return formatting.NOT_AVAILABLE
    longest = max(delays).total_seconds()
    return "at once" if not longest else f"up to {formatting.duration(longest)}"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as aligned text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
