"""The banner: what was decided, why, and what to do next; the same for a window, many lanes and a history."""

from collections.abc import Iterable, Sequence

from vpanalysis.report.piece import Piece, Tone

_SAMPLE = "SAMPLE: no basis for any rollout"


def banner_piece(
    kind: str, label: str, lane: str, decision: str, status: str, tone: Tone, *, why: Sequence[str], next_step: str,
    facts: Iterable[tuple[str, Iterable[str]]], others: str = "", badges: Sequence[str] = (), sample: bool = False,
    status_tone: Tone | None = None, first_line: str = "",
) -> Piece:  # fmt: skip
    """Returns the banner of a report.

    Args:
        kind: What kind of report it is.
        label: What its user calls the window; ``""`` for nothing.
        lane: The lane, or what the lanes were read from.
        decision: The decision, or the story in a word.
        status: The lane's status, in words.
        tone: The decision's accent.
        why: What it rests on, in sentences, the main one first.
        next_step: What to do next.
        facts: Names and values; a value is one or more parts, of which none breaks.
        others: What else tripped, by name.
        badges: What limits the decision.
        sample: It is of the built-in sample.
        status_tone: The status' accent, where it is not the decision's.
        first_line: What the plain text begins with; ``""``: decision and status.
    """
    name = f"{kind}: {label}" if label else kind
    badges = [*([_SAMPLE] if sample else []), *badges]
    content = {
        "page_title": f"{decision}: {name}, {lane}",
        "name": name,
        "lane": lane,
        "decision": decision,
        "status": status,
        "status_tone": status_tone or tone,
        "tone": tone,
        "badges": badges,
        "why": list(why),
        "others": others,
        "next": next_step,
        "facts": [{"name": name, "parts": [part for part in parts if part]} for name, parts in facts],
    }
    lines = [
        first_line or f"{decision} ({status})",
        *(f"{badge}." for badge in badges),
        *why,
        *([others] if others else []),
        f"Next: {next_step}",
    ]
    return Piece("banner", content, tone=tone, text="\n".join(lines))
