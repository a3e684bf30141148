"""The executed notebook as one self-contained HTML file, by our own template, and by nbconvert what is not ours."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from markupsafe import Markup
from nbformat import NotebookNode

from vpanalysis import formatting
from vpanalysis.report.piece import FIGURE_MIME, MARKS, MIME, environment

#: Between these, a page has the links to its neighbours once an index is written over its folder.
NEIGHBOURS = ("<!-- neighbours -->", "<!-- end of neighbours -->")
#: Cells with these tags are for readers of the notebook.
NOTEBOOK_ONLY = "notebook-only"
#: What cells with this tag show is folded on the page; with the other one, where the section found nothing amiss.
FOLDED, FOLDED_WHEN_FINE = "folded", "folded-when-fine"
_HIDDEN_TAGS = frozenset({NOTEBOOK_ONLY, "plain-text", "parameters", "injected-parameters"})
_PROSE = re.compile(r"[A-Z][A-Za-z0-9 ,;:.()?'’→–§-]*")
_FINE = ("good", "plain", "quiet")
_CSP = "default-src 'none'; img-src data:; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"
_TEXT_TAGS = ["p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd", "pre", "blockquote", "br", "hr", "div"]
_PHRASE_TAGS = ["strong", "em", "b", "i", "code", "sub", "sup", "span"]
_TABLE_TAGS = ["table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"]


@dataclass
class Shown:
    """One thing to show.

    Attributes:
        kind: ``piece``, ``reports``, ``image``, ``html`` or ``text``.
        value: A piece's data, the index's rows, an image's data URI, harmless markup, or text.
        alt: An image's alternative text.
        title: An image's title, which the page shows above it.
        folded: Its reader unfolds it: it proves what the section's figure and sentence say.
        view: The coordinates of an image's facts and axis, as SVG's ``viewBox`` has them.
        facts: What to tell where one points at a mark of the image.
        axis: Its y axis, which a narrow page keeps in sight; ``None`` for one without.
    """

    kind: str
    value: Any
    alt: str = ""
    title: str = ""
    folded: bool = False
    view: str = ""
    facts: Sequence[Mapping[str, Any]] = ()
    axis: Mapping[str, Any] | None = None


@dataclass
class Section:
    """What stands under one heading of the second level.

    Attributes:
        id: The heading's anchor.
        title: The section's name, as the table of contents shows it; ``""`` before the first heading.
        finding: What the heading says after the name.
        tone: The accent of the heading.
        blocks: What it shows, in order.
        code: The source of its code cells.
        omitted: A piece in it asked for the section to be left out.
    """

    id: str = ""
    title: str = ""
    finding: str = ""
    tone: str = "plain"
    blocks: list[Shown] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    omitted: bool = False


def to_html(notebook: NotebookNode) -> str:
    """Returns an executed notebook as one HTML page that asks the network for nothing.

    Only what the notebook holds is used. Our own pieces are rendered from their data; markup from Markdown and
    from other objects is reduced to harmless tags; scripts cannot run, by the page's content security policy.
    """
    sections = [section for section in _sections(notebook.cells) if not section.omitted]
    return page(sections, _title(sections))


def page(sections: Sequence[Section], title: str, note: str = "") -> str:
    """Returns sections as a page; ``note`` stands at the head of one that no notebook made."""
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    content = {
        "title": title,
        "note": note,
        "neighbours": [Markup(mark) for mark in NEIGHBOURS],
        "sections": sections,
        "style": Markup(style),
        "script": Markup(script),
        "csp": _CSP.format(style=_source_hash(style), script=_source_hash(script)),
        "marks": MARKS,
    }
    return environment().get_template("index.html.j2").render(page=content)


def _asset(name: str) -> str:
    return resources.files("vpanalysis.report").joinpath("template", name).read_text("utf-8").strip()


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _sections(cells: Iterable[NotebookNode]) -> list[Section]:
    sections = [Section()]
    for cell in cells:
        tags = set(cell.metadata.get("tags", ()))
        if cell.cell_type == "markdown" and NOTEBOOK_ONLY not in tags:
            _add_markdown(cell.source, sections)
        elif cell.cell_type == "code" and not tags & _HIDDEN_TAGS:
            sections[-1].code.append(formatting.visible(cell.source))
            before = len(sections[-1].blocks)
            for output in cell.outputs:
                _add_output(output, sections[-1])
            for block in sections[-1].blocks[before:]:
                block.folded |= FOLDED in tags or (FOLDED_WHEN_FINE in tags and sections[-1].tone in _FINE)
    for section in sections:
        images = [block for block in section.blocks if block.title]
        if images and section.title and all(block.kind != "piece" for block in section.blocks):
            first = images[0]  # what it shows is what its section found
            section.finding, first.title = first.title, ""
    return [section for section in sections if section.blocks or section.title]


def _add_markdown(source: str, sections: list[Section]) -> None:
    """Adds Markdown; a heading of the second level opens a section."""
    for part in re.split(r"^(?=## )", source, flags=re.MULTILINE):
        text = part
        if part.startswith("## "):
            heading, _, text = part.partition("\n")
            title = heading[3:].strip()
            taken = {section.id for section in sections}
            slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
            sections.append(Section(slug if slug not in taken else f"{slug}-{len(sections)}", title))
        if text.strip():
            folded = bool(sections[-1].title)  # what to look for is for those who look closer
            sections[-1].blocks.append(Shown("html", _from_markdown(text), folded=folded))


def _add_output(output: NotebookNode, section: Section) -> None:
    if output.output_type == "stream":
        if output.name == "stdout":
            section.blocks.append(Shown("text", output.text))
        return
    if output.output_type == "error":
        section.blocks.append(Shown("text", f"{output.ename}: {output.evalue}"))
        return
    data, metadata = output.data, output.get("metadata", {})
    if MIME in data:
        piece = data[MIME]
        section.blocks.append(Shown("piece", piece))
        section.omitted |= bool(piece["omit"])
        if piece["finding"] and not section.finding:
            section.finding, section.tone = piece["finding"], piece["tone"]
    elif FIGURE_MIME in data:
        figure = data[FIGURE_MIME]
        uri = _data_uri("image/svg+xml", figure["svg"])
        placed = {"view": figure.get("view", ""), "facts": figure.get("facts", ()), "axis": figure.get("axis")}
        section.blocks.append(Shown("image", uri, figure["alt"], figure["title"], folded=figure["empty"], **placed))
    elif any(kind.endswith("+json") for kind in data):
        return  # other documents in the notebook, such as the JSON twin
    elif image := next((kind for kind in ("image/svg+xml", "image/png", "image/jpeg") if kind in data), None):
        alt = metadata.get(image, {}).get("alt") or data.get("text/plain", "")
        section.blocks.append(Shown("image", _data_uri(image, data[image]), alt))
    elif "text/html" in data:
        section.blocks.append(Shown("html", _harmless(data["text/html"])))
    elif "text/markdown" in data:
        section.blocks.append(Shown("html", _from_markdown(data["text/markdown"])))
    elif "text/plain" in data:
        section.blocks.append(Shown("text", data["text/plain"]))


def _data_uri(kind: str, content: str) -> str:
    """An image's content as notebooks hold it, SVG as text and all else in base64, as a URI that loads nothing."""
    encoded = base64.b64encode(content.encode()).decode() if kind == "image/svg+xml" else "".join(content.split())
    return f"data:{kind};base64,{encoded}"


def _from_markdown(text: str) -> Markup:
    """Markdown as harmless markup; a paragraph of nothing but prose does not wait for nbconvert's imports."""
    if _PROSE.fullmatch(text.strip()):
        return Markup(f"<p>{text.strip()}</p>\n")
    from nbconvert.filters import markdown2html

    return _harmless(markdown2html(text))


def _harmless(html: str) -> Markup:
    """Markup that is not ours, without what could run, load, link or restyle."""
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    cleaner = SanitizeHTML(  # type: ignore[no-untyped-call]
        tags=_TEXT_TAGS + _PHRASE_TAGS + _TABLE_TAGS, attributes={"th": ["scope"]}, strip=True
    )
    return Markup(cleaner.sanitize_html_tags(html))  # type: ignore[no-untyped-call]


def _title(sections: list[Section]) -> str:
    """The first banner's title, else the first section's name."""
    for section in sections:
        for block in section.blocks:
            if block.kind == "piece" and "page_title" in block.value["content"]:
                return str(block.value["content"]["page_title"])
    return next((section.title for section in sections if section.title), "Report")
