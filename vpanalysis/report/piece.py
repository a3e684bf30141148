"""Pieces: what a notebook's cells show besides figures. Data, which templates turn into markup."""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import jinja2

from vpanalysis import formatting

MIME = "application/vnd.vpanalysis.piece+json"
#: What the report's template shows of a figure: its title as text, and a drawing for wide and for narrow pages.
FIGURE_MIME = "application/vnd.vpanalysis.figure+json"
#: The accents: a status is always said in a word and a shape as well.
Tone = Literal["good", "quiet", "watch", "critical", "plain"]
MARKS: Mapping[str, str] = {"good": "✓", "quiet": "○", "watch": "▲", "critical": "■", "plain": ""}


@dataclass(frozen=True)
class Piece:
    """One block of a report.

    A notebook stores it as data for our own template, as HTML for JupyterLab and as plain text; both are escaped
    by the template, whatever a database put into the data.

    Attributes:
        kind: The macro of ``template/pieces.html.j2`` that renders it; ``text`` has no other form than its plain text.
        content: Plain JSON values for that macro.
        finding: What its section's heading says after the section's name; ``""`` for none.
        tone: The accent of that heading.
        text: The plain-text form.
        omit: The report on paper and screen leaves its section out; notebooks show it.
    """

    kind: str
    content: Mapping[str, Any]
    finding: str = ""
    tone: Tone = "plain"
    text: str = field(default="", repr=False)
    omit: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", formatting.visible(self.text))  # a terminal would obey some

    def data(self) -> dict[str, Any]:
        """Returns what the notebook stores and the report's template reads."""
        return {
            "kind": self.kind,
            "content": dict(self.content),
            "finding": self.finding,
            "tone": self.tone,
            "omit": self.omit,
        }

    def html(self) -> str:
        """Returns the piece as JupyterLab shows it."""
        return environment().get_template("notebook.html.j2").render(piece=self.data(), marks=MARKS)

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        if self.kind == "text":
            return {"text/plain": self.text}
        return {MIME: self.data(), "text/html": self.html(), "text/plain": self.text}


def shown(value: Any) -> Any:
    """Returns what a template shows of a value: a plain text's invisible characters too, its numbers tied to units."""
    return formatting.tied(formatting.visible(value)) if type(value) is str else value


@cache
def environment() -> jinja2.Environment:
    """Returns the templates of this package, every value escaped."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("vpanalysis.report", "template"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
    )
    made.filters["parts"] = re.compile(r"(?<=[._/:])(?=[^\s/.\d])").split
    return made


def columns_of_text(rows: list[list[str]], width: int = 100) -> str:
    """Returns rows as aligned plain text; a cell over ``width`` characters is cut."""
    cut = [[textwrap.shorten(cell, width, placeholder=" …") if cell else "" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    lines = ("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)) for row in cut)
    return "\n".join(line.rstrip() for line in lines)
