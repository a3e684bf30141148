"""The report's pieces besides figures: each takes the report and returns data that a template renders."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vpanalysis import formatting
from vpanalysis.analysis.contributors import missions_behind
from vpanalysis.analysis.intervals import ShareDifference
from vpanalysis.analysis.verdict import LaneStatus, Reason
from vpanalysis.report import findings
from vpanalysis.report.findings import TONES, Finding, percent_limit, seconds_limit
from vpanalysis.report.piece import MARKS, Piece, Tone, columns_of_text
from vpanalysis.report.summary import evidence_row as evidence_row
from vpanalysis.report.summary import in_words as in_words
from vpanalysis.report.summary import key_figures as key_figures
from vpanalysis.report.summary import verdict as verdict
from vpanalysis.report.window_report import WindowReport

_PLAIN = Finding("", "plain")
#: What is shown of lists that a database can make long; a note says how many more there are.
_SIGNATURES, _SEQUENCES, _BEHIND = 10, 8, 20

#: A table's column: its name, and ``text``, ``number``, ``wide`` or ``time``.
_Column = str | tuple[str, str]


def fallback(report: WindowReport) -> Piece:
    """Returns the fallback share with what the data can say of the true rate."""
    share, proof, policy = report.metrics.fallback, report.verdict.evidence, report.policy
    limits = f"{percent_limit(policy.fallback_watch)} and {percent_limit(policy.fallback_critical)}"
    rows = [
        ["Missions with a fallback", formatting.share(share.missions_with_fallback, share.missions_considered)],
        ["True rate, 95 % interval (Wilson)", _ends(proof.interval_low, proof.interval_high, formatting.percent)],
        ["True rate, at 95 % at most (Clopper–Pearson)", formatting.percent(proof.upper_bound)],
        ["Watch and critical lines", limits],
        [f"Evidence that it is below {percent_limit(policy.fallback_watch)}", proof.strength],
    ]
    return _blocks(findings.fallback(report), _pairs("Fallback rate", rows))


def latency(report: WindowReport) -> Piece:
    """Returns queue wait and run time apart, with p95's interval and the share of slow missions."""
    fields = ("p50_seconds", "p95_seconds", "max_seconds", "avg_seconds")
    rows = [
        [name, f"{stage.count:,}", *(formatting.duration(getattr(stage, field)) for field in fields)]
        for name, stage in (
            ("Queue wait (created → started)", report.metrics.queue_wait_seconds),
            ("Run time (started → completed)", report.metrics.latency_seconds),
        )
        if stage is not None
    ]
    columns: list[_Column] = ["Stage"]
    columns += [(name, "number") for name in ("Missions", "p50", "p95", "Longest", "Mean")]
    table = _table("Queue wait and run time", columns, rows, note=report.latency.p95_sentence)
    return _blocks(findings.latency(report), table, _say(report.latency.finding))


def events(report: WindowReport) -> Piece:
    """Returns how missions depart from the expected sequence, and the sequences they took."""
    counts, profile = report.metrics.mission_counts, report.profile
    blocks = []
    if profile.deviations:
        rows = [[item.label, f"{item.missions:,}", ", ".join(item.examples)] for item in profile.deviations]
        columns: list[_Column] = ["Deviation", ("Missions", "number"), ("Newest examples", "wide")]
        blocks.append(_table("How missions depart from dispatched → completed", columns, rows))
    if profile.sequences:
        shown = [[sequence, f"{number:,}"] for sequence, number in profile.sequences[:_SEQUENCES]]
        if rest := profile.sequences[_SEQUENCES:]:
            shown.append([f"{len(rest):,} other sequences", f"{sum(number for _, number in rest):,}"])
        blocks.append(
            _table("Event sequences, progress left out", [("Sequence", "wide"), ("Missions", "number")], shown)
        )
    elif counts:
        rows = [[name, f"{number:,}"] for name, number in counts.items()]
        blocks.append(_pairs("Missions by status", rows, ("Status", "Missions")))
    if not blocks:
        blocks.append(_say(profile.finding))
    return _blocks(findings.events(report), *blocks)


def signatures(report: WindowReport) -> Piece:
    """Returns the errors of fallbacks and failures, grouped by what they have in common."""
    if not report.signatures:
        where = "in the events that the source holds" if findings.incomplete(report) else "in this window"
        return _blocks(_PLAIN, _say(f"No fallback and no failure left an error text {where}."))
    rows = [
        [
            item.signature,
            item.kind,
            f"{item.count:,}",
            f"{item.missions:,}",
            formatting.time(item.last_seen),
            item.example,
        ]
        for item in report.signatures[:_SIGNATURES]
    ]
    note = "Numbers, ids and paths are replaced by #, … and [path]; secrets are masked."
    if (more := len(report.signatures) - _SIGNATURES) > 0:
        note = f"{formatting.count(more, 'rarer signature')} not shown. {note}"
    columns: list[_Column] = [
        ("Signature", "wide"), "Kind", ("Events", "number"), ("Missions", "number"), ("Last seen", "time"),
        ("Newest example", "wide"),
    ]  # fmt: skip
    return _blocks(_PLAIN, _table("Error signatures, most frequent first", columns, rows, note=note))


def session(report: WindowReport) -> Piece:
    """Returns the session's state, its recoveries and what departs from the expected lifecycle."""
    story = report.session
    slowest = formatting.duration(max(story.recovery_seconds)) if story.recovery_seconds else formatting.NOT_AVAILABLE
    rows = [
        ["Status at the window's end", story.status or "unknown"],
        ["Heartbeat", "unknown" if story.stale is None else story.stale_reason or "fresh"],
        ["Degraded in the window", _count(story.degraded_in_window)],
        ["Degradations resumed since the lane began", formatting.share(story.successes, story.attempts)],
        ["Slowest recovery", slowest],
        ["Open degradations per degradation (orphan rate)", formatting.rate(story.orphan_rate)],
    ]
    departs = f"Departs from created → resumed: {'; '.join(story.deviations)}." if story.deviations else ""
    return _blocks(findings.session(report), _pairs("Session", rows), *([_say(departs)] if departs else []))


def baseline(report: WindowReport) -> Piece:
    """Returns the window against the one before it."""
    found = report.comparison
    rows = [
        ["Missions considered", _count(found.missions_before), _count(found.missions_after), ""],
        _share_row("Fallback rate", found.fallback),
        _share_row(f"Slower than {seconds_limit(found.slow_after.seconds)}", found.slow),
        *(
            [
                name,
                formatting.duration(change.before),
                formatting.duration(change.after),
                _toned("watch", "up") if change.up else "no rise shown",
            ]
            for name, change in (
                ("Queue wait p50", found.queue_p50),
                ("Queue wait p95", found.queue_p95),
                ("Run time p50", found.run_p50),
                ("Run time p95", found.run_p95),
            )
        ),
    ]
    columns: list[_Column] = ["Measure", ("Before", "number"), ("Now", "number"), ("Change (95 % interval)", "number")]
    return _blocks(
        findings.baseline(report), _say(found.sentence), _table("This window and the one before", columns, rows)
    )


def quality(report: WindowReport) -> Piece:
    """Returns what is wrong with the data, vetoes first, and where the gateway's own numbers differ."""
    notes = [_note("critical" if item.veto else "plain", item.sentence) for item in report.quality]
    if not notes:
        notes.append(_note("good", "Every row, time stamp and event of the window could be read and fits."))
    if report.gateway_difference:
        notes.append(_note("plain", report.gateway_difference))
    return _blocks(findings.quality(report), {"kind": "notes", "notes": notes})


def checklist(report: WindowReport) -> Piece:
    """Returns the playbook's recovery checklist; a report whose action is to continue leaves it out."""
    if not report.checklist:
        return _blocks(_PLAIN, _say("Nothing to recover: the action is to continue."), omit=True)
    steps = [
        {"title": step.title, "text": step.text, "command": step.command or "", "now": step.now}
        for step in report.checklist
    ]
    now = sum(step.now for step in report.checklist)
    found = Finding(f"{now} of {formatting.count(len(steps), 'step')} to take now", "plain")
    return _blocks(found, {"kind": "steps", "steps": steps})


def provenance(report: WindowReport) -> Piece:
    """Returns how the report was made: the command, parameters, policy, data and versions."""
    given = {name: value for name, value in report.parameters.items() if value not in ("", 0)}
    left_out = [name for name in report.parameters if name not in given]
    note = f"Not given: {', '.join(left_out)}." if left_out else ""
    policy = report.policy.model_dump(mode="json", exclude={"name", "version", "profile"})
    rules = report.policy
    made = [
        ["Source", f"{report.metrics.source} ({report.metrics.kind})"],
        ["Rows", ", ".join(f"{table} {number:,}" for table, number in report.row_counts.items())],
        ["Content hash (SHA-256)", report.content_hash],
        ["Policy", f"{rules.name} {rules.version}, profile {rules.profile}, hash {rules.hash}"],
        ["Versions", ", ".join(f"{name} {number}" for name, number in report.versions.items())],
    ]
    columns: tuple[_Column, _Column] = ("Name", ("Value", "wide"))
    return _blocks(
        _PLAIN,
        {"kind": "code", "label": "This report again, from the same source:", "text": report.command},
        _table("Parameters", columns, [[name, str(value)] for name, value in given.items()], note=note),
        _table("Data, policy and versions", columns, made),
        _pairs("Thresholds and gates of the policy", _settings(policy), ("Setting", "Value")),
    )


def reasons(report: WindowReport) -> Piece:
    """Returns what each gate found, worst first, how far the evidence carries, and the missions behind it."""
    judged, proof = report.verdict, report.verdict.evidence
    rows = [_reason_row(reason, reason.caution or "WATCH") for reason in judged.reasons]
    rows += [_reason_row(reason, "HEALTHY") for reason in judged.passed if reason not in judged.reasons]
    rows += [[_toned("quiet", _gate(item.gate)), item.sentence, "not assessed", "", ""] for item in judged.not_assessed]
    columns: list[_Column] = [
        ("Gate", "short"), ("Finding", "wide"), ("Asks for", "short"), ("Value", "number"), ("Limit", "number"),
    ]  # fmt: skip
    blocks = [_table("What each gate found, worst first", columns, rows)]
    sure = {
        "Distance": proof.distance,
        "Fragility": proof.fragility,
        "p95": proof.p95_sentence,
        "Caveat": proof.caveat,
    }
    notes = [_note("plain", sentence, name) for name, sentence in sure.items() if sentence]
    if notes:
        blocks.append({"kind": "notes", "notes": notes})
    behind = missions_behind(judged, report.metrics, report.policy)
    if len(behind):
        blocks.append(_behind(behind.iloc[::-1].head(_BEHIND).to_dict("records"), len(behind)))
    return _blocks(findings.reasons(report), *blocks)


def _behind(missions: Iterable[Any], total: int) -> dict[str, Any]:
    rows = [
        [
            str(row["mission_id"]),
            formatting.time(row["created_at"]),
            row["outcome"] if isinstance(row["outcome"], str) else "unfinished",
            formatting.duration(row["queue_wait_seconds"]),
            formatting.duration(row["duration_seconds"]),
            row["gates"].replace("_", " "),
        ]
        for row in missions
    ]
    note = f"{total - len(rows):,} older ones not shown." if total > len(rows) else ""
    columns: list[_Column] = [
        ("Mission", "wide"), ("Created", "time"), ("Outcome", "short"), ("Queue wait", "number"),
        ("Run time", "number"), "Counts for",
    ]  # fmt: skip
    return _table("Missions that count against the lane, newest first", columns, rows, note=note)


def _reason_row(reason: Reason, status: LaneStatus) -> list[Any]:
    asks = "nothing: passed" if status == "HEALTHY" else status.replace("_", " ")
    sentence = reason.sentence[:1].upper() + reason.sentence[1:]
    gate = _toned(TONES[status], _gate(reason.gate))
    return [gate, sentence, asks, _measured(reason, "value"), _measured(reason, "threshold")]


def _gate(name: str) -> str:
    return name.replace("_", " ")


def _measured(reason: Reason, field: str) -> str:
    """A reason's value or threshold in its gate's unit: shares are floats, counts whole numbers."""
    value = getattr(reason, field)
    if value is None:
        return formatting.NOT_AVAILABLE
    if isinstance(value, float):
        write = (
            (formatting.duration, seconds_limit) if reason.gate == "latency" else (formatting.percent, percent_limit)
        )
        return write[field == "threshold"](value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _toned(tone: Tone, text: str) -> dict[str, str]:
    return {"tone": tone, "text": text}


def _note(tone: Tone, sentence: str, name: str = "") -> dict[str, str]:
    return {"tone": tone, "name": name, "sentence": sentence}


def _say(sentence: str) -> dict[str, Any]:
    return {"kind": "sentence", "sentence": sentence}


def _pairs(
    caption: str, rows: Sequence[Sequence[Any]], names: tuple[str, str] = ("Measure", "Value")
) -> dict[str, Any]:
    """A table of a name and a value each, no wider than they need."""
    return _table(caption, [names[0], (names[1], "number")], rows) | {"compact": True}


def _table(caption: str, columns: Sequence[_Column], rows: Iterable[Sequence[Any]], note: str = "") -> dict[str, Any]:
    named = [(column, "text") if isinstance(column, str) else column for column in columns]
    return {
        "kind": "table",
        "caption": caption,
        "columns": [{"name": name, "align": align} for name, align in named],
        "rows": [list(row) for row in rows],
        "note": note,
        "compact": False,
    }


def _blocks(found: Finding, *blocks: dict[str, Any], omit: bool = False) -> Piece:
    text = "\n\n".join([*([found.words] if found.words else []), *(_block_text(block) for block in blocks)])
    return Piece("blocks", {"blocks": list(blocks)}, found.words, found.tone, text, omit)


def _block_text(block: dict[str, Any]) -> str:
    if block["kind"] == "table":
        rows = [[column["name"] for column in block["columns"]]]
        rows += [[_cell_text(cell) for cell in row] for row in block["rows"]]
        return "\n".join(part for part in (block["caption"], columns_of_text(rows), block["note"]) if part)
    if block["kind"] == "notes":
        return "\n".join(f"- {note['name']}: {note['sentence']}".replace("- : ", "- ") for note in block["notes"])
    if block["kind"] == "steps":
        return "\n".join(f"{i}. {step['title']}: {step['text']}" for i, step in enumerate(block["steps"], 1))
    return str(block["text"] if block["kind"] == "code" else block["sentence"])


def _cell_text(cell: Any) -> str:
    return f"{MARKS[cell['tone']]} {cell['text']}".strip() if isinstance(cell, dict) else str(cell)


def _count(number: int | None) -> str:
    return formatting.NOT_AVAILABLE if number is None else f"{number:,}"


def _ends(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    return formatting.NOT_AVAILABLE if low is None or high is None else f"{write(low)} to {write(high)}"


def _share_row(name: str, change: ShareDifference | None) -> list[Any]:
    if change is None or change.interval.low is None or change.interval.high is None:
        return [name, formatting.NOT_AVAILABLE, formatting.NOT_AVAILABLE, "not known"]
    low, high = change.interval.low, change.interval.high
    moved = f"{_points(change.change)} points ({_points(low)} to {_points(high)})"
    tone: Tone = "watch" if low > 0 else "plain"
    return [name, formatting.percent(change.before), formatting.percent(change.after), _toned(tone, moved)]


def _settings(values: dict[str, Any], within: str = "") -> list[list[str]]:
    """A policy's settings, one a row, those of a gate after its name."""
    rows: list[list[str]] = []
    for key, value in values.items():
        name = f"{within}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _settings(value, "" if key == "gates" else f"{name}: ")
        else:
            shown = (
                {None: "off", True: "on", False: "off"}.get(value) if value is None or isinstance(value, bool) else None
            )
            rows.append([name, shown or formatting.threshold(value)])
    return rows


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
