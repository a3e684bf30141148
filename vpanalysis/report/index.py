"""The index of a folder of reports: which need somebody, every report by lane, and the way between them.

It is written from the JSON twins. A fact file beside it keeps what they said: one more report costs one more row.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vpanalysis import formatting
from vpanalysis.analysis.verdict import CAUTION
from vpanalysis.data.timestamps import parse_time
from vpanalysis.errors import InputError
from vpanalysis.report import blocks
from vpanalysis.report.finding import TONES
from vpanalysis.report.html import NEIGHBOURS, Section, Shown, page
from vpanalysis.report.piece import MARKS
from vpanalysis.report.sections.tile import sparkline

INDEX = "index.html"
_FACTS = ".index.json"
_FORMAT = 2  # raised with every change of `Entry` or of what it is made from
#: Windows of a lane whose rates and p95 a sparkline shows.
_TREND = 12
#: Characters of a window's label: its column is as wide as its longest text.
_LABEL = 40
#: Lanes that are overdue and told at once; the others are folded.
_LATE = 10
#: The playbook's cadence (§7.1): at most 60 minutes apart in a rollout, at least twice a day in steady state.
_CADENCE = {"rollout": timedelta(minutes=60), "sustained": timedelta(hours=12)}


@dataclass(frozen=True)
class Entry:
    """What the index says of one report.

    Attributes:
        name: The files' name without their endings.
        source: The factory, by its name in a batch's plan; failing that, what was read.
        lane: The lane.
        notebook: What kind of report it is: a lane's windows are compared within a kind, profile and policy.
        window: The window in words.
        end: Its end, ISO 8601 in UTC, or the moment of judgement while it is open.
        judged: The moment of judgement.
        status: The lane status.
        action: What to do.
        reason: What decided, in a sentence.
        rate: The fallback rate; ``None``: unknown, or no mission.
        p95: Seconds; ``None``: unknown.
        profile: ``rollout`` or ``sustained``.
        policy: The policy's name and hash.
    """

    name: str
    source: str
    lane: str
    notebook: str
    window: str
    end: str
    judged: str
    status: str
    action: str
    reason: str
    rate: float | None
    p95: float | None
    profile: str
    policy: str

    @property
    def series(self) -> tuple[str, ...]:
        """What a report shares with those before and after it."""
        return self.source, self.lane, self.notebook, self.profile, self.policy.partition(" ")[0]


def write_index(folder: Path, now: datetime | None = None) -> Path:
    """Writes ``index.html`` over the reports of a folder, and into each report the way to its neighbours.

    Args:
        folder: The reports' folder.
        now: The moment at which looks are due; ``None``: this one.

    Returns:
        The index's path.

    Raises:
        InputError: The folder holds no report, or cannot be read or written.
    """
    try:
        known = _read_facts(folder)
        facts = _facts(folder, known)
        entries = [Entry(**fact["entry"]) for fact in facts.values() if fact["entry"]]
        if not entries:
            raise InputError(
                f"{folder} holds no report with its JSON: make one with 'vpanalysis report --out {folder}'."
            )
        _link(folder, entries, facts)
        text = render(entries, (now or datetime.now(UTC)).astimezone(UTC))
        _replace(folder / INDEX, text)
        _replace(folder / _FACTS, json.dumps({"format": _FORMAT, "reports": facts}))
    except OSError as error:
        raise InputError(f"The index of {folder} cannot be written: {error.strerror or error}.") from None
    return folder / INDEX


def render(entries: Sequence[Entry], now: datetime) -> str:
    """Returns the index as one page that asks the network for nothing."""
    several = len({entry.source for entry in entries}) > 1
    needing: list[tuple[Any, dict[str, Any]]] = []
    listed: list[dict[str, Any]] = []
    for one in sorted(_series(entries), key=lambda one: _severity(one[-1])):
        rows = [_row(one, place, several) for place in range(len(one))]
        asking = sum(1 for _ in takewhile(lambda entry: entry.action != "continue", reversed(one)))
        places = range(len(one) - asking, len(one))
        needing += [(_severity(one[place]), rows[place] | _trends(one[: place + 1])) for place in places]
        listed += [_heading(one, rows[-1]["lane"], asking), *reversed(rows)]
    worst = [row for _, row in sorted(needing, key=lambda pair: pair[0])]
    count = formatting.need_you(len(worst), len(entries))
    shown = [_rows("Reports that need you, worst first", worst)] if worst else []
    sections = [Section("need", "Reports", count, worst[0]["tone"] if worst else "good", shown)]
    newest = {entry.series[:2]: entry for entry in sorted(entries, key=lambda entry: entry.judged)}
    oldest_first = sorted(newest.values(), key=lambda entry: entry.judged)
    if late := [note for entry in oldest_first if (note := _overdue(entry, now))]:
        told, more = (blocks.notes(("watch", "", note) for note in part) for part in (late[:_LATE], late[_LATE:]))
        folded = [blocks.folded(f"{len(late) - _LATE:,} more", more)] if len(late) > _LATE else []
        piece = Shown("piece", blocks.piece(told, *folded).data())
        sections.append(Section("due", "Looks due", f"{formatting.count(len(late), 'lane')} overdue", "watch", [piece]))
    whole = f"{formatting.count(len(entries), 'report')} of {formatting.count(len(newest), 'lane')}"
    table = _rows("Every report, the worst lanes first, newest first", listed, grouped=True)
    sections.append(Section("all", "All", whole, "plain", [table]))
    return page(sections, f"{count}: rollout reports", f"Written {formatting.time(now)}")


def _rows(caption: str, rows: Sequence[Mapping[str, Any]], *, grouped: bool = False) -> Shown:
    return Shown("reports", {"caption": caption, "rows": rows, "grouped": grouped})


def _series(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Reports of one lane, oldest first; one list a lane, source, kind, profile and policy."""
    ordered = sorted(entries, key=lambda entry: (entry.series, entry.end, entry.judged, entry.name))
    return [list(group) for _, group in groupby(ordered, key=lambda entry: entry.series)]


def _severity(entry: Entry) -> tuple[int, float, str]:
    rank = CAUTION.index(entry.status) if entry.status in CAUTION else len(CAUTION)
    judged = parse_time(entry.end)
    return -rank, -(judged.timestamp() if judged else 0.0), entry.name


def _overdue(newest: Entry, now: datetime) -> str:
    """What to say where the playbook's next look at a lane is overdue; ``""`` where it is not."""
    judged, cadence = parse_time(newest.judged), _CADENCE.get(newest.profile)
    if judged is None or cadence is None or newest.notebook != "rollout_window" or now - judged <= cadence:
        return ""
    late = formatting.duration((now - judged - cadence).total_seconds())
    last = f"{newest.lane} ({newest.source}): last judged {formatting.time(judged)}"
    return f"{last}, next look overdue by {late} (playbook §7.1)."


def _heading(one: Sequence[Entry], lane: str, asking: int) -> dict[str, Any]:
    """What stands above a lane's reports: how many there are, and its newest rates and p95 as lines."""
    flips = sum(before.status != entry.status for before, entry in pairwise(one))
    facts = [
        formatting.count(len(one), "report"),
        f"{asking:,} need you" if asking > 1 else "1 needs you" if asking else "",
        formatting.count(flips, "change") + " of status" if flips else "",
        *({one[-1].notebook.replace("_", " "), one[-1].profile} - {"rollout window", "rollout"}),
    ]
    return {"lane": lane, "facts": " · ".join(filter(None, facts)), **_trends(one)}


def _row(one: Sequence[Entry], place: int, several: bool) -> dict[str, Any]:
    entry = one[place]
    tone = TONES.get(entry.status, "plain")
    return {
        "href": quote(f"{entry.name}.html"),
        "window": entry.window,
        "mark": MARKS[tone],
        "tone": tone,
        "status": entry.status.replace("_", " "),
        "lane": f"{entry.lane} ({entry.source})" if several else entry.lane,
        "changed": _changed(one[place - 1] if place else None, entry),
        "rate": formatting.percent(entry.rate),
        "p95": formatting.duration(entry.p95),
        "reason": "" if entry.action == "continue" else entry.reason,
        "rates": None,
        "p95s": None,
    }


def _trends(entries: Sequence[Entry]) -> dict[str, Any]:
    """Fallback rates and p95 of the newest windows of a lane, as lines and in words."""
    newest = entries[-_TREND:]
    shown: dict[str, Any] = {}
    for name, what, values, words in (
        ("rates", "Fallback rates", [entry.rate for entry in newest], formatting.percent),
        ("p95s", "p95", [entry.p95 for entry in newest], formatting.duration),
    ):
        line = sparkline(values)
        shown[name] = (line, f"{what} so far: {', '.join(map(words, values))}") if line else None
    return shown


def _changed(before: Entry | None, entry: Entry) -> str:
    """What is different from the lane's window before: its status, or the policy that judged."""
    if before is None:
        return "first report"
    changes = [f"was {before.status.replace('_', ' ')}"] if before.status != entry.status else []
    changes += ["other policy"] if before.policy != entry.policy else []
    return ", ".join(changes)


# --- facts


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / _FACTS).read_text("utf-8"))
        return dict(content["reports"]) if content["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _facts(folder: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """What each twin says, read only where the file is another than before."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith(".") or not path.is_file():
            continue
        stat = path.stat()
        mark = [stat.st_mtime_ns, stat.st_size]
        fact = known.get(path.stem)
        if not fact or fact["mark"] != mark:
            entry = _entry(path)
            fact = {"mark": mark, "entry": asdict(entry) if entry else None, "links": None}
        found[path.stem] = fact
    return found


def _entry(path: Path) -> Entry | None:
    """What a JSON twin says; ``None`` when it is no report on one window, or its page is not there."""
    try:
        content = json.loads(path.read_text("utf-8"))
        verdict, made = content["verdict"], content["provenance"]
        if not path.with_suffix(".html").is_file():
            return None
        given = made["parameters"]
        command = str(made["command"]).split()
        return Entry(
            name=path.stem,
            source=str(content.get("factory") or made["source"]),
            lane=str(verdict["vp_id"]),
            notebook=command[2] if len(command) > 2 else "rollout_window",
            window=_window(verdict, given),
            end=verdict["window_end"] or verdict["generated_at"] or "",
            judged=verdict["generated_at"] or "",
            status=str(verdict["lane_status"]),
            action=str(verdict["action"]),
            reason=str(verdict["reasons"][0]["sentence"]) if verdict["reasons"] else "",
            rate=verdict["fallback_rate"] if verdict["missions_considered"] else None,
            p95=verdict["latency_seconds"]["p95_seconds"],
            profile=str(verdict["policy"]["profile"]),
            policy=f"{verdict['policy']['name']} {verdict['policy']['hash']}",
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None


def _window(verdict: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    start, end = (parse_time(verdict[name]) for name in ("window_start", "window_end"))
    bounds = ""
    if start and end:
        dates = not any((start.hour, start.minute, end.hour, end.minute))
        until = "%Y-%m-%d" if dates else "%H:%M" if end - start < timedelta(days=1) else "%Y-%m-%d %H:%M"
        bounds = f"{start:{'%Y-%m-%d' if dates else '%Y-%m-%d %H:%M'}} to {end:{until}}"
    newest = given.get("last_missions") or (0 if given.get("window_start") or given.get("window_end") else 100)
    label = formatting.shortened(str(given.get("window_label") or ""), _LABEL)
    name = label or (f"newest {newest:,} missions" if newest else "")
    return " · ".join(filter(None, (bounds, name))) or "window"


# --- the way between reports


def _link(folder: Path, entries: Iterable[Entry], facts: dict[str, Any]) -> None:
    """Writes the links to the index and to the lane's windows before and after into the pages that lack them."""
    for one in _series(entries):
        for place, entry in enumerate(one):
            links = [(INDEX, "All reports")]
            links += [(f"{one[place - 1].name}.html", "← The window before")] if place else []
            links += [(f"{one[place + 1].name}.html", "The window after →")] if place + 1 < len(one) else []
            if facts[entry.name]["links"] == [list(link) for link in links]:
                continue
            path = folder / f"{entry.name}.html"
            before, begin, rest = path.read_text("utf-8").partition(NEIGHBOURS[0])
            _, end, after = rest.partition(NEIGHBOURS[1])
            if begin and end:  # a page of an older version has no place for them
                shown = " ".join(f'<a href="{quote(to)}">{text}</a>' for to, text in links)
                _replace(path, f"{before}{begin}{shown}{end}{after}")
            facts[entry.name]["links"] = links


def _replace(path: Path, text: str) -> None:
    """Writes a file whole, with the permissions that the one before it has."""
    waiting = path.with_name(f".{path.name}.{os.getpid()}.part")
    waiting.write_text(text, "utf-8")
    if path.exists():
        waiting.chmod(path.stat().st_mode & 0o777)
    waiting.replace(path)
