"""The evidence row of a verdict: one line of Markdown for the evidence log."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vpanalysis import formatting

if TYPE_CHECKING:
    from vpanalysis.analysis.verdict import Verdict

COLUMNS = (
    "Date (UTC)",
    "Window",
    "Scope",
    "Endpoint snapshot refs",
    "Fallback rate",
    "p95 latency",
    "Decision",
    "Notes",
)
#: Longest name and most names in a row's counts: both come from a database that anybody's code may have filled.
_NAME_LENGTH = 80
_NAMES = 20


def evidence_row(verdict: "Verdict", *, window_label: str, scope: str, ref: str) -> str:
    """Returns the verdict's line for the evidence log: one Markdown table row of eight cells.

    Args:
        verdict: The verdict; one on the sample lane says SAMPLE in its window cell.
        window_label: What the window is called.
        scope: What traffic the window covers.
        ref: Where the numbers come from; shown in a code span.
    """
    cells = (
        formatting.time(verdict.generated_at),
        text_cell(f"SAMPLE {window_label}" if verdict.sample else window_label),
        text_cell(scope),
        code_span(ref),
        formatting.rate(verdict.fallback.of_any),
        formatting.log_seconds(verdict.latency_seconds.p95_seconds),
        text_cell(verdict.decision),
        _notes(verdict),
    )
    return f"| {' | '.join(cells)} |"


def _notes(verdict: "Verdict") -> str:
    missions, fallbacks = (
        formatting.NOT_AVAILABLE if number is None else str(number)
        for number in (verdict.missions_considered, verdict.missions_with_fallback)
    )
    seconds, evidence, policy = verdict.latency_seconds, verdict.evidence, verdict.policy
    notes = [
        f"missions_considered={missions}, missions_with_fallback={fallbacks}, "
        f"mission_counts={_counts(verdict.mission_counts)}, event_counts={_counts(verdict.event_counts)}",
        f"assessment={'; '.join(reason.brief for reason in verdict.reasons)}",
        f"avg={formatting.log_seconds(seconds.avg_seconds)}, max={formatting.log_seconds(seconds.max_seconds)}",
        f"evidence={evidence.strength}" + (f" ({evidence.distance})" if evidence.distance else ""),
    ]
    if verdict.provisional:
        notes.append("provisional")
    if verdict.not_assessed:
        notes.append("not assessed: " + ", ".join(dict.fromkeys(reason.gate for reason in verdict.not_assessed)))
    shown = [text_cell(note) for note in notes]
    shown += [f"{item.count}× {item.kind} {code_span(item.signature)}" for item in verdict.signatures[:3]]
    shown.append(text_cell(f"policy={policy.name} {policy.version} ({policy.profile}, {policy.hash})"))
    return "; ".join(shown)


def _counts(counts: Mapping[str, int]) -> str:
    """Compact JSON, most frequent first; the names beyond the first twenty together as ``…``."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown: dict[str, int] = {}
    for position, (name, number) in enumerate(ranked):
        short = name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "…"
        key = short if position < _NAMES else "…"
        shown[key] = shown.get(key, 0) + number
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)


def text_cell(text: str) -> str:
    """Returns ``text`` as a table cell that GitHub's renderer shows literally: no markup, link or second line."""
    line = re.sub(r"([\\`|*~]|(?<!\w)_|_(?!\w))", r"\\\1", _one_line(text)).replace("](", "]\\(")
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line)
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", line)


def code_span(text: str) -> str:
    r"""Returns ``text`` as a code span in a table cell; empty for blank text.

    Within a table only ``\|`` is special in code; backticks want a longer fence around them.
    """
    line = _one_line(text).replace("|", "\\|")
    if not line:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _one_line(text: str) -> str:
    """Returns ``text`` without line breaks and other characters that cannot be seen."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def cells(row: str) -> list[str]:
    """Returns the cells of a row that `evidence_row` made, as its reader sees them."""
    return [_plain(cell) for cell in re.split(r"(?<!\\)\|", row.strip()[1:-1])]


def _plain(cell: str) -> str:
    return re.sub(r"\\([\\`|(*~_])", r"\1", cell.strip().strip("`")).replace("&lt;", "<").replace("&amp;", "&")
