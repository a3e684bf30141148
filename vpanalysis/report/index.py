"""The index of a folder of reports: which need somebody, every report by lane, and the way between them.

It is written from the JSON twins. A fact file beside it keeps what they said: one more report costs one more row.
"""

import html as markup
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis.verdict import CAUTION
from vpanalysis.data.snapshot import FallbackShare
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
    series = _series(entries)
    lasting = {entry.name for one in series for entry in _lasting(one)}
    worst = sorted((entry for entry in entries if entry.name in lasting), key=_severity)
    count = formatting.need_you(len(worst), len(entries))
    tone = TONES[worst[0].status] if worst else "good"  # type: ignore[index]
    newest = {entry.series[:2]: entry for entry in sorted(entries, key=lambda entry: entry.judged)}
    oldest_first = sorted(newest.values(), key=lambda entry: entry.judged)
    late = [note for entry in oldest_first if (note := _overdue(entry, now))]
    several = len({entry.source for entry in entries}) > 1
    places = {entry.name: (one, place) for one in series for place, entry in enumerate(one)}
    needing = [_rows("Reports that need you, worst first", [_row(*places[entry.name], several) for entry in worst])]
    heading = Section("need", "Reports", count, tone, needing if worst else [])
    listed_late = [blocks.notes(("watch", "", note) for note in part) for part in (late[:_LATE], late[_LATE:]) if part]
    if len(late) > _LATE:
        listed_late[1] = blocks.folded(f"{len(late) - _LATE:,} more", listed_late[1])
    due = [Shown("piece", {"kind": "blocks", "content": {"blocks": listed_late}})]
    dues = [Section("due", "Looks due", f"{formatting.count(len(late), 'lane')} overdue", "watch", due)] if late else []
    listed: list[dict[str, Any]] = []
    for one in sorted(series, key=_severity_of_series):
        listed.append(_heading(one, several, sum(entry.name in lasting for entry in one)))
        listed += [_row(one, place, several, trends=False) for place in reversed(range(len(one)))]
    lanes = formatting.count(len({entry.series[:2] for entry in entries}), "lane")
    whole = f"{formatting.count(len(entries), 'report')} of {lanes}"
    table = _rows("Every report, the worst lanes first, newest first", listed, grouped=True)
    everything = Section("all", "All", whole, "plain", [table])
    return page([heading, *dues, everything], f"{count}: rollout reports", f"Written {formatting.time(now)}")


def _rows(caption: str, rows: Sequence[Mapping[str, Any]], *, grouped: bool = False) -> Shown:
    return Shown("reports", {"caption": caption, "rows": rows, "grouped": grouped})


def _series(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Reports of one lane, oldest first; one list a lane, source, kind, profile and policy."""
    ordered = sorted(entries, key=lambda entry: (entry.series, entry.end, entry.judged, entry.name))
    return [list(group) for _, group in groupby(ordered, key=lambda entry: entry.series)]


def _lasting(series: Sequence[Entry]) -> list[Entry]:
    """The reports of a lane that ask for something, up to the newest, since it was last told to continue."""
    asking = []
    for entry in reversed(series):
        if entry.action == "continue":
            break
        asking.append(entry)
    return asking


def _severity(entry: Entry) -> tuple[int, float, str]:
    rank = CAUTION.index(entry.status) if entry.status in CAUTION else len(CAUTION)
    judged = parse_time(entry.end)
    return -rank, -(judged.timestamp() if judged else 0.0), entry.name


def _severity_of_series(series: Sequence[Entry]) -> tuple[int, float, str]:
    return _severity(series[-1])


def _overdue(newest: Entry, now: datetime) -> str:
    """What to say where the playbook's next look at a lane is overdue; ``""`` where it is not."""
    judged, cadence = parse_time(newest.judged), _CADENCE.get(newest.profile)
    if judged is None or cadence is None or newest.notebook != "rollout_window" or now - judged <= cadence:
        return ""
    late = formatting.duration((now - judged - cadence).total_seconds())
    last = f"{newest.lane} ({newest.source}): last judged {formatting.time(judged)}"
    return f"{last}, next look overdue by {late} (playbook §7.1)."


def _heading(one: Sequence[Entry], several: bool, needing: int) -> dict[str, Any]:
    """What stands above a lane's reports: how many there are, and its newest rates and p95 as lines."""
    flips = sum(before.status != entry.status for before, entry in pairwise(one))
    facts = [
        formatting.count(len(one), "report"),
        f"{needing:,} need you" if needing > 1 else "1 needs you" if needing else "",
        formatting.count(flips, "change") + " of status" if flips else "",
        *({one[-1].notebook.replace("_", " "), one[-1].profile} - {"rollout window", "rollout"}),
    ]
    return {"lane": _lane(one[-1], several), "facts": " · ".join(filter(None, facts)), **_trends(one[-_TREND:])}


def _row(one: Sequence[Entry], place: int, several: bool, *, trends: bool = True) -> dict[str, Any]:
    entry = one[place]
    return {
        "href": _href(f"{entry.name}.html"),
        "window": entry.window,
        "mark": MARKS[TONES.get(entry.status, "plain")],  # type: ignore[call-overload]
        "tone": TONES.get(entry.status, "plain"),  # type: ignore[call-overload]
        "status": entry.status.replace("_", " "),
        "lane": _lane(entry, several),
        "changed": _changed(one[place - 1] if place else None, entry),
        "rate": formatting.percent(entry.rate),
        "p95": formatting.duration(entry.p95),
        "reason": "" if entry.action == "continue" else entry.reason,
        **(_trends(one[max(0, place + 1 - _TREND) : place + 1]) if trends else {"rates": None, "p95s": None}),
    }


def _lane(entry: Entry, several: bool) -> str:
    return f"{entry.lane} ({entry.source})" if several else entry.lane


def _trends(entries: Sequence[Entry]) -> dict[str, Any]:
    """Fallback rates and p95 of windows that follow each other, as lines and in words."""
    rates, p95s = [entry.rate for entry in entries], [entry.p95 for entry in entries]
    shown = {
        "rates": (sparkline(rates), "Fallback rates so far: " + ", ".join(map(formatting.percent, rates))),
        "p95s": (sparkline(p95s), "p95 so far: " + ", ".join(map(formatting.duration, p95s))),
    }
    return {name: trend if trend[0] else None for name, trend in shown.items()}


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
            rate=FallbackShare(verdict["missions_considered"], None, verdict["fallback_rate"]).of_any,
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
    label = str(given.get("window_label") or "")
    label = label[: _LABEL - 1] + "…" if len(label) > _LABEL else label
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
                shown = " ".join(f'<a href="{markup.escape(_href(to))}">{text}</a>' for to, text in links)
                _replace(path, f"{before}{begin}{shown}{end}{after}")
            facts[entry.name]["links"] = links


def _href(name: str) -> str:
    from urllib.parse import quote

    return quote(name)


def _replace(path: Path, text: str) -> None:
    """Writes a file whole, with the permissions that the one before it has."""
    waiting = path.with_name(f".{path.name}.{os.getpid()}.part")
    waiting.write_text(text, "utf-8")
    if path.exists():
        waiting.chmod(path.stat().st_mode & 0o777)
    waiting.replace(path)
