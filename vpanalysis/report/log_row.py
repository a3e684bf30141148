"""The rows of an evidence log as people keep it: where its tables stand, and what each row's cells say."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from markdown_it import MarkdownIt

from vpanalysis.data.schema import DEFAULT_VP_ID
from vpanalysis.data.timestamps import parse_time
from vpanalysis.formatting import NOT_AVAILABLE
from vpanalysis.report.row import COLUMNS

_BLOCKS = MarkdownIt("commonmark").enable("table").disable("inline")
_INLINE = MarkdownIt("commonmark")
#: What separates lines for a Markdown renderer; no other character of Unicode does.
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")
_MEASURE = re.compile(r"(\d+(?:\.(\d+))?)\s*(|%|ms|s|sec|seconds|min)")
_SCALES = {"": 1.0, "%": 0.01, "ms": 0.001, "s": 1.0, "sec": 1.0, "seconds": 1.0, "min": 60.0}
_NOTHING = ("", "-", "–", "—", NOT_AVAILABLE)
#: The codes that the policies write, and the lane status that each stands for; HOLD_SHADOW also says critical.
_STATUSES = {
    "READY_FOR_LIMITED_COHORT_PILOT": "HEALTHY",
    "GO_BROADER_TRAFFIC_ACTIVE": "HEALTHY",
    "HOLD_SHADOW": "WATCH",
    "SUSTAINED_DEFAULT_ON_HEALTHY": "HEALTHY",
    "SUSTAINED_MONITOR_NO_TRAFFIC": "NO_TRAFFIC",
    "SUSTAINED_WATCH": "WATCH",
    "SUSTAINED_FORCE_FALLBACK": "FORCE_FALLBACK",
}
#: The calls that refs name, and how many of the newest missions each reads unless it says so.
_CALLS = {
    "RolloutWindow(": 100,
    "_vp_metrics_snapshot(": 100,
    "capture": 100,
    "/ops/metrics/": 50,
    "/dashboard/metrics/": 20,
}


@dataclass(frozen=True)
class Measure:
    """A number as its cell writes it.

    Attributes:
        value: The share, or the seconds.
        decimals: How many digits follow the point.
        scale: What one of the cell's units is worth: 0.01 for per cent.
    """

    value: float
    decimals: int
    scale: float

    def reads(self, value: float | None) -> bool:
        """Whether the cell is how ``value`` is written, rounded to its digits."""
        return value is not None and round(value / self.scale, self.decimals) == round(
            self.value / self.scale, self.decimals
        )


@dataclass(frozen=True)
class LookedAt:
    """The window that a row's refs name.

    Attributes:
        vp_id: The lane; the coder's where a command that defaults to it names none.
        call: What read it, one of a few known words: rows of one lane and call looked at the same place.
        last_missions: The newest N missions; ``None`` for a range.
        start: A range's first moment, as written; ``None``: from the beginning.
        end: The first moment after it, as written; ``None``: open.
    """

    vp_id: str
    call: str
    last_missions: int | None
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True)
class LogRow:
    """One row of an evidence log; what it does not say is ``None``.

    Attributes:
        line: Its line in the file, from 1.
        cells: The eight cells, as a reader of the rendered page sees them.
        faults: What cannot be read in it, a sentence each.
        since: The first moment that its date can mean, in UTC; a bare date means the whole day.
        until: The last such moment.
        rate: The fallback rate.
        p95: Seconds.
        counts: ``missions_considered`` and ``missions_with_fallback``, as stated in its notes.
        mission_counts: Missions by status, as stated in its notes.
        event_counts: Events by type, likewise.
    """

    line: int
    cells: tuple[str, ...]
    faults: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    rate: Measure | None = None
    p95: Measure | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    mission_counts: Mapping[str, int] | None = None
    event_counts: Mapping[str, int] | None = None

    @property
    def window_label(self) -> str:
        """What the window is called."""
        return self.cells[1]

    @property
    def scope(self) -> str:
        """What traffic the window covers."""
        return self.cells[2]

    @property
    def decision(self) -> str:
        """The decision's code, known or not."""
        return self.cells[6]

    @property
    def notes(self) -> str:
        """The last cell."""
        return self.cells[7]

    @property
    def missions(self) -> int | None:
        """Missions considered: as stated, else the sum of the mission counts."""
        stated = self.counts.get("missions_considered")
        return sum(self.mission_counts.values()) if stated is None and self.mission_counts is not None else stated

    @property
    def fallbacks(self) -> int | None:
        """Missions that fell back: as stated, else the fallback events where they are none or one."""
        stated = self.counts.get("missions_with_fallback")
        if stated is None and self.event_counts:
            events = self.event_counts.get("vp.mission.fallback", self.event_counts.get("fallback", 0))
            return events if events < 2 else None
        return stated

    @property
    def status(self) -> str | None:
        """The lane status that the decision stands for; ``None`` for a code that no policy writes."""
        return "NO_TRAFFIC" if self.decision == "HOLD_SHADOW" and self.missions == 0 else _STATUSES.get(self.decision)

    @property
    def profile(self) -> str:
        """``sustained`` for the decisions of that profile, else ``rollout``."""
        return "sustained" if self.decision.startswith("SUSTAINED_") else "rollout"

    @property
    def policy_hash(self) -> str | None:
        """The hash of the policy that judged."""
        found = re.search(r"policy=.* \((?:rollout|sustained), ([0-9a-f]{12})\)", self.notes)
        return found[1] if found else None

    @cached_property
    def looked_at(self) -> LookedAt | None:
        """The window that the refs name; ``None`` where they name none."""
        ref = self.cells[3]
        call = next((call for call in _CALLS if call in ref), None)
        lane = re.search(r'vp_id="((?:[^"\\]|\\.)*)"|(?:--vp-id[= ]|[?&]vp_id=)"?([^"&\s]+)', ref)
        if call is None or (lane is None and "coder" not in ref):
            return None
        vp_id = DEFAULT_VP_ID if lane is None else lane[2] or re.sub(r'\\(["\\])', r"\1", lane[1])
        bounds = {name: found[1] for name in ("start", "end") if (found := re.search(rf'\b{name}="([^"]+)"', ref))}
        if bounds:
            return LookedAt(vp_id, call, None, **bounds)
        number = re.search(r"(?:mission[_-]limit|last_missions)[= ](\d{1,9})", ref)
        return LookedAt(vp_id, call, int(number[1]) if number else _CALLS[call])


@dataclass(frozen=True)
class EvidenceTable:
    """A table of an evidence log.

    Attributes:
        end: How many lines of the file there are up to its last one.
        sources: Its rows as written, by their line from 1; a line without a pipe at its end is prose, and none of them.
        cells: Their cells' Markdown, by the same lines.
        references: The file's link references, by which a renderer reads the cells.
    """

    end: int
    sources: Mapping[int, str]
    cells: Mapping[int, Sequence[str]]
    references: dict[str, Any]

    @cached_property
    def rows(self) -> tuple[LogRow, ...]:
        """The rows, read; most of the time that a long log takes goes here."""
        return tuple(map(self.row, self.sources))

    def row(self, line: int) -> LogRow:
        """Returns the row of a line, read."""
        return _read(line, [_seen(cell, self.references) for cell in self.cells[line]], self.sources[line])


def evidence_tables(content: str) -> list[EvidenceTable]:
    """Returns the evidence tables that a Markdown renderer shows, in their order: none within code or comments."""
    text = content.removeprefix("\ufeff")
    lines = LINE.findall(text)
    references: dict[str, Any] = {}
    tables: list[EvidenceTable] = []
    cells: dict[int, list[str]] = {}
    row: list[str] = []
    for token in _BLOCKS.parse(text, references):
        if token.type == "table_open":
            cells = {}
        elif token.type == "tr_open" and token.map:
            row = cells[token.map[1]] = []
        elif token.type == "inline":
            row.append(token.content)
        elif token.type == "table_close":
            first, row = min(cells), []
            header = [" ".join(_seen(cell, references).split()).casefold() for cell in cells.pop(first)]
            if header == [name.casefold() for name in COLUMNS]:
                end = max(cells, default=first + 1)
                while cells and "|" not in lines[end - 1]:
                    del cells[end]
                    end -= 1
                tables.append(EvidenceTable(end, {line: lines[line - 1] for line in cells}, cells, references))
    return tables


def _seen(cell: str, references: dict[str, Any]) -> str:
    """What a reader sees of a cell: no markup and no comments."""
    (inline,) = _INLINE.parseInline(cell, references)
    return "".join(
        " " if part.type in ("softbreak", "hardbreak") or part.content.lower().startswith("<br") else part.content
        for part in inline.children or ()
        if part.type != "html_inline" or part.content.lower().startswith("<br")
    ).strip()


def _read(line: int, cells: Sequence[str], source: str) -> LogRow:
    faults = []
    written = _split(source)
    if len(written) > len(COLUMNS):  # a pipe within code ends a cell for a renderer, though nobody means it to
        mended = _split(_SPAN.sub(lambda span: re.sub(r"(?<!\\)\|", r"\\|", span[0]), source))
        if len(mended) == len(COLUMNS):
            cells = [_seen(cell.replace("\\|", "|").strip(), {}) for cell in mended]
            faults.append("a pipe within code cuts the row short on the rendered page: write \\| for it.")
            written = mended
    if len(written) != len(COLUMNS):
        faults.append(f"it has {len(written)} cells instead of {len(COLUMNS)}.")
    values: dict[str, Any] = {}
    date = re.sub(r"\s*(UTC|GMT)$", "", cells[0])
    if cells[0] not in _NOTHING:
        values["since"] = since = parse_time(date)
        if since is None:
            faults.append(f"the date {cells[0]!r} cannot be read: write it as 2026-02-16T14:07:42Z.")
        elif since.year == 9999:
            values["since"] = None
            faults.append(f"the date {cells[0]!r} does not exist.")
        else:
            values["until"] = since + _resolution(date) - timedelta(microseconds=1)
    for column, name, example in ((4, "rate", "0.250"), (5, "p95", "0.534s")):
        found = _MEASURE.fullmatch(cells[column])
        measure = found and Measure(float(found[1]) * _SCALES[found[3]], len(found[2] or ""), _SCALES[found[3]])
        if cells[column].casefold() not in _NOTHING and (
            measure is None or (measure.value > 1 if name == "rate" else measure.scale == 0.01)
        ):
            faults.append(f"the {COLUMNS[column]} {cells[column]!r} cannot be read: write it as {example}, or n/a.")
            measure = None
        values[name] = measure
    if not cells[6] and len(written) == len(COLUMNS):
        faults.append("it has no decision.")
    counts = {
        name: int(found[1])
        for name in ("missions_considered", "missions_with_fallback")
        if (found := re.search(rf"\b{name}\s*=\s*(\d{{1,18}})(?!\d)", cells[7]))
    }
    values |= {name: _counts(cells[7], name) for name in ("mission_counts", "event_counts")}
    return LogRow(line, tuple(cells), tuple(faults), counts=counts, **values)


def _split(source: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", re.sub(r"^[\s>]+", "", source).strip())
    return cells[not cells[0].strip() : len(cells) - (len(cells) > 1 and not cells[-1].strip())]


def _resolution(date: str) -> timedelta:
    """How long the moment is that a readable date names."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}", date):
        return timedelta(days=1)
    if re.fullmatch(r"[\d-]+[T ]\d\d:?\d\d(Z|[+-]\d\d:?\d\d)?", date):
        return timedelta(minutes=1)
    return timedelta(microseconds=1) if re.search(r"[.,]\d", date) else timedelta(seconds=1)


def _counts(notes: str, name: str) -> dict[str, int] | None:
    """Counts as JSON, or as people type them: keys without quotes."""
    found = re.search(rf"\b{name}\s*=\s*(?=\{{)", notes)
    if found is None:
        return None
    try:
        content, _ = json.JSONDecoder().raw_decode(notes, found.end())
        return {key: value for key, value in content.items() if type(value) is int}
    except (ValueError, RecursionError):
        typed = notes[found.end() + 1 :].partition("}")[0]
        return {key: int(number) for key, number in re.findall(r'["\s]*([^\s",:]+)["\s]*:\s*(\d{1,18})(?!\d)', typed)}
