"""The blocks that pieces are made of: tables, notes, sentences, commands and steps, as plain JSON values."""

from collections.abc import Iterable, Sequence
from typing import Any

from vpanalysis.report.finding import Finding
from vpanalysis.report.piece import MARKS, Piece, Tone, columns_of_text

#: A block's data; its ``kind`` names the macro of ``template/pieces.html.j2`` that renders it.
Block = dict[str, Any]
#: A table's column: its name, and how it is set: ``text``, ``number``, ``time``, ``short`` (no line break) or
#: ``wide`` (breaks anywhere: for texts that a database may make long).
Column = tuple[str, str]

NO_FINDING = Finding("", "plain")


def piece(*parts: Block, found: Finding = NO_FINDING, omit: bool = False) -> Piece:
    """Returns blocks as one piece; ``found`` completes its section's heading."""
    text = "\n\n".join(filter(None, [found.words, *map(_text, parts)]))
    return Piece("blocks", {"blocks": list(parts)}, found.words, found.tone, text, omit)


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, note: str = "", compact: bool = False
) -> Block:
    """Returns a table; a cell is a text or what `marked` or `trend` returns, and its first column names the row.

    Args:
        caption: What the table shows.
        columns: The columns, left to right.
        rows: The cells of each row.
        note: A sentence below the table.
        compact: The table is no wider than its cells need.
    """
    return {
        "kind": "table",
        "caption": caption,
        "columns": [{"name": name, "align": align} for name, align in columns],
        "rows": [list(row) for row in rows],
        "note": note,
        "compact": compact,
    }


def pairs(caption: str, rows: Iterable[Sequence[Any]], names: tuple[str, str] = ("Measure", "Value")) -> Block:
    """Returns a compact table of a name and a value each."""
    return table(caption, [(names[0], "text"), (names[1], "number")], rows, compact=True)


def folded(summary: str, *inside: Block) -> Block:
    """Returns blocks that their reader unfolds together."""
    return {"kind": "folded", "summary": summary, "inside": list(inside)}


def sentence(text: str) -> Block:
    """Returns a paragraph."""
    return {"kind": "sentence", "sentence": text}


def command(label: str, text: str) -> Block:
    """Returns a command to copy, with what it does."""
    return {"kind": "command", "label": label, "text": text}


def notes(items: Iterable[tuple[Tone, str, str]]) -> Block:
    """Returns a list of remarks: the accent, the name (or ``""``) and the sentence of each."""
    return {"kind": "notes", "notes": [{"tone": tone, "name": name, "sentence": text} for tone, name, text in items]}


def marked(tone: Tone, text: str) -> dict[str, str]:
    """Returns a table's cell with an accent's mark before its text."""
    return {"tone": tone, "text": text}


def trend(points: str, text: str) -> dict[str, str]:
    """Returns a table's cell with a sparkline (`tile.sparkline`), and what it shows in words."""
    return {"tone": "plain", "text": text, "trend": points}


def linked(text: str, href: str) -> dict[str, str]:
    """Returns a table's cell that leads somewhere."""
    return {"tone": "plain", "text": text, "href": href}


def anchored(text: str, anchor: str) -> dict[str, str]:
    """Returns a table's cell that a link may lead to."""
    return {"tone": "plain", "text": text, "anchor": anchor}


def _text(block: Block) -> str:
    kind = block["kind"]
    if kind == "table":
        rows = [[column["name"] for column in block["columns"]]]
        rows += [[_cell(cell) for cell in row] for row in block["rows"]]
        return "\n".join(part for part in (block["caption"], columns_of_text(rows), block["note"]) if part)
    if kind == "notes":
        named = ((f"{note['name']}: " if note["name"] else "") + note["sentence"] for note in block["notes"])
        return "\n".join(f"- {line}" for line in named)
    if kind == "steps":
        return "\n".join(f"{i}. {step['title']}: {step['text']}" for i, step in enumerate(block["steps"], 1))
    if kind == "folded":
        return "\n\n".join(map(_text, block["inside"]))
    return str(block["text"] if kind == "command" else block["sentence"])


def _cell(cell: Any) -> str:
    return f"{MARKS[cell['tone']]} {cell['text']}".strip() if isinstance(cell, dict) else str(cell)
