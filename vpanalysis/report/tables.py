"""The report's pieces besides figures: each takes the report and returns data that a template renders."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vpanalysis import formatting
from vpanalysis.analysis.decision import Reason
from vpanalysis.data.schema import FAILED_STATUSES
from vpanalysis.report import findings
from vpanalysis.report.evidence import COLUMNS
from vpanalysis.report.findings import TONES, Finding
from vpanalysis.report.piece import MARKS, Piece, Tone, columns_of_text

if TYPE_CHECKING:
    from vpanalysis.report.window_report import WindowReport

_ACTIONS = {"continue": "continue", "hold": "hold", "force_fallback": "force the fallback path"}


def verdict(report: "WindowReport") -> Piece:
    """Returns the banner: decision, status, why, and what to do next."""
    judged, metrics = report.verdict, report.metrics
    window = f"{formatting.time(metrics.start)} to {formatting.time(metrics.end)}"
    status = judged.lane_status.replace("_", " ")
    why = judged.reasons[0].sentence if judged.reasons else "No reason was recorded."
    badges = [
        word
        for word, shown in (("SAMPLE DATA: no basis for a rollout", judged.sample), ("PROVISIONAL", judged.provisional))
        if shown
    ]
    kicker = f"{report.parameters['window_label'] or 'Rollout window'} · {judged.vp_id}"
    facts = [
        ("Action", _ACTIONS[judged.action]),
        ("Window (UTC)", window),
        ("Missions considered", "unknown" if judged.missions_considered is None else f"{judged.missions_considered:,}"),
        ("Evidence for the claim", f"{judged.evidence.strength}"),
        ("Judged as of", formatting.time(judged.generated_at)),
        ("Source", report.metrics.source),
    ]
    text = "\n".join(
        [f"{judged.decision} ({judged.lane_status}, {judged.action})", f"Why: {why}", f"Next: {judged.next_step}"]
    )
    return Piece(
        "banner",
        {
            "page_title": f"{judged.decision}: {kicker}",
            "kicker": kicker,
            "decision": judged.decision,
            "status": status,
            "tone": TONES[judged.lane_status],
            "badges": badges,
            "why": why,
            "next": judged.next_step,
            "facts": facts,
        },
        tone=TONES[judged.lane_status],
        text=text,
    )


def key_figures(report: "WindowReport") -> Piece:
    """Returns the tiles: each number with its thresholds beside it."""
    metrics, policy, proof = report.metrics, report.policy, report.verdict.evidence
    fallback, run, queue = metrics.fallback, metrics.latency_seconds, metrics.queue_wait_seconds
    limits = (policy.fallback_watch, policy.fallback_critical)
    interval = (proof.interval_low, proof.interval_high)
    tiles = [
        _tile(
            "Fallback rate",
            formatting.percent(fallback.rate if fallback.missions_considered else None),
            f"{formatting.share(fallback.missions_with_fallback, fallback.missions_considered)}{_range(interval)}",
            findings.fallback(report),
            f"watch from {formatting.percent(limits[0])}, critical from {formatting.percent(limits[1])}",
            _scale(fallback.rate if fallback.missions_considered else None, *limits, interval),
        ),
        _tile(
            "Run time p95",
            formatting.duration(run.p95_seconds),
            f"p50 {formatting.duration(run.p50_seconds)}, longest {formatting.duration(run.max_seconds)}",
            findings.latency(report),
            f"watch from {formatting.duration(policy.p95_watch_seconds)}, "
            f"critical from {formatting.duration(policy.p95_critical_seconds)}",
            _scale(run.p95_seconds, policy.p95_watch_seconds, policy.p95_critical_seconds),
        ),
        _tile(
            "Queue wait p95",
            formatting.duration(queue.p95_seconds if queue else None),
            f"p50 {formatting.duration(queue.p50_seconds)}" if queue else "the source does not tell",
            Finding("", "plain"),
            "no limit in the playbook",
        ),
        _outcomes(report),
        _session(report),
    ]
    rows = [[tile["name"], tile["value"], tile["detail"], tile["limits"]] for tile in tiles]
    return Piece("key_figures", {"tiles": tiles}, text=columns_of_text(rows))


def _tile(name: str, value: str, detail: str, found: Finding, limits: str, scale: Any = None) -> dict[str, Any]:
    return {"name": name, "value": value, "detail": detail, "tone": found.tone, "limits": limits, "scale": scale}


def _range(interval: tuple[float | None, float | None]) -> str:
    low, high = interval
    return "" if low is None or high is None else f"; 95 %: {100 * low:.1f} to {formatting.percent(high)}"


def _scale(
    value: float | None, watch: float, critical: float, interval: tuple[float | None, float | None] = (None, None)
) -> dict[str, Any] | None:
    """Positions on a scale of 200 from zero to a third beyond the critical limit, or to the value if that is more."""
    if value is None:
        return None
    end = max(critical * 4 / 3, value)
    low, high = (None if bound is None else round(200 * min(bound / end, 1), 1) for bound in interval)
    return {
        "value": round(min(200 * value / end, 196), 1),
        "low": low,
        "high": high,
        "limits": [("watch", round(200 * watch / end, 1)), ("critical", round(200 * critical / end, 1))],
    }


def _outcomes(report: "WindowReport") -> dict[str, Any]:
    counts = report.metrics.mission_counts
    if counts is None:
        return _tile("Failed missions", formatting.NOT_AVAILABLE, "the source does not tell", Finding("", "plain"), "")
    failed, total = sum(counts.get(status, 0) for status in FAILED_STATUSES), sum(counts.values())
    others = [f"{number:,} {status}" for status, number in counts.items() if status not in FAILED_STATUSES]
    tone = findings.gate_tone(report, "failures", "completions")
    return _tile(
        "Failed missions", f"{failed:,} of {total:,}", ", ".join(others), Finding("", tone), "failed or timed out"
    )


def _session(report: "WindowReport") -> dict[str, Any]:
    metrics = report.metrics
    status = metrics.session_status or ("no session row" if metrics.session_known else "unknown")
    degraded = metrics.degraded_events
    detail = (
        "degraded events unknown"
        if degraded is None
        else f"{formatting.count(degraded, 'degraded event')} in the window"
    )
    return _tile(
        "Session", status, detail, Finding("", findings.gate_tone(report, "session")), "expected: active or idle"
    )


def evidence_row(report: "WindowReport") -> Piece:
    """Returns the row for the evidence log, as a table row and as Markdown to copy."""
    cells = [_plain(cell) for cell in re.split(r"(?<!\\)\|", report.row.strip().strip("|"))]
    return Piece("row", {"columns": COLUMNS, "cells": cells, "markdown": report.row}, text=report.row)


def _plain(cell: str) -> str:
    """A Markdown cell as its reader sees it."""
    return re.sub(r"\\([\\`|(])", r"\1", cell.strip()).replace("&lt;", "<").strip("`")


def reasons(report: "WindowReport") -> Piece:
    """Returns what each gate found, worst first, what was not assessed, and how far the evidence carries."""
    judged = report.verdict
    rows = [_reason_row(reason) for reason in judged.reasons]
    rows += [[_toned("plain", reason.gate), reason.sentence, "not assessed", ""] for reason in judged.not_assessed]
    tables = [
        _table(
            "What each gate found, worst first",
            ["Gate", ("Finding", "wide"), ("Value", "number"), ("Limit", "number")],
            rows,
        )
    ]
    evidence = [sentence for sentence in (judged.evidence.distance, judged.evidence.fragility) if sentence]
    if evidence:
        tables[0]["note"] = " ".join(evidence)
    return _tables(
        tables, Finding(judged.reasons[0].sentence.rstrip(".") if judged.reasons else "", TONES[judged.lane_status])
    )


def _reason_row(reason: Reason) -> list[Any]:
    tone = TONES[reason.caution] if reason.caution else "plain"
    return [_toned(tone, reason.gate), reason.sentence, _number(reason.value), _number(reason.threshold)]


def _number(value: float | int | str | None) -> str:
    if value is None:
        return formatting.NOT_AVAILABLE
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


def _toned(tone: Tone, text: str) -> dict[str, str]:
    return {"tone": tone, "text": text}


def _table(
    caption: str, columns: Sequence[str | tuple[str, str]], rows: Iterable[Sequence[Any]], note: str = ""
) -> dict[str, Any]:
    named = [(column, "text") if isinstance(column, str) else column for column in columns]
    return {
        "caption": caption,
        "columns": [{"name": name, "align": align} for name, align in named],
        "rows": [list(row) for row in rows],
        "note": note,
    }


def _tables(tables: list[dict[str, Any]], found: Finding) -> Piece:
    parts = []
    for table in tables:
        rows = [[column["name"] for column in table["columns"]]]
        rows += [[_cell_text(cell) for cell in row] for row in table["rows"]]
        parts.append("\n".join(part for part in (table["caption"], columns_of_text(rows), table["note"]) if part))
    return Piece("tables", {"tables": tables}, found.words, found.tone, "\n\n".join(parts))


def _cell_text(cell: Any) -> str:
    return f"{MARKS[cell['tone']]} {cell['text']}".strip() if isinstance(cell, dict) else str(cell)


def fallback(report: "WindowReport") -> Piece:
    """Returns the fallback share with what the data can say of the true rate."""
    proof, policy = report.verdict.evidence, report.policy
    rows = [
        [
            "Missions with a fallback",
            formatting.share(
                report.metrics.fallback.missions_with_fallback, report.metrics.fallback.missions_considered
            ),
        ],
        ["95 % interval of the rate (Wilson)", _ends(proof.interval_low, proof.interval_high, formatting.percent)],
        ["95 % upper bound of the rate (Clopper–Pearson)", formatting.percent(proof.upper_bound)],
        [
            "Watch and critical lines",
            f"{formatting.percent(policy.fallback_watch)} and {formatting.percent(policy.fallback_critical)}",
        ],
        [f"Evidence that the true rate is below {formatting.percent(policy.fallback_watch)}", proof.strength],
    ]
    return _tables([_table("Fallback rate", ["Measure", ("Value", "number")], rows)], findings.fallback(report))


def latency(report: "WindowReport") -> Piece:
    """Returns queue wait and run time apart, with p95's interval and the share of slow missions."""
    run, queue, profile = report.metrics.latency_seconds, report.metrics.queue_wait_seconds, report.latency
    seconds = ["p50_seconds", "p95_seconds", "max_seconds", "avg_seconds"]
    rows = [
        [name, f"{stage.count:,}", *(formatting.duration(getattr(stage, field)) for field in seconds)]
        for name, stage in (("Queue wait (created → started)", queue), ("Run time (started → completed)", run))
        if stage is not None
    ]
    numbers = [(name, "number") for name in ("Missions", "p50", "p95", "Longest", "Mean")]
    return _tables(
        [_table("Durations", ["Stage", *numbers], rows, f"{profile.p95_sentence} {profile.finding}")],
        findings.latency(report),
    )


def events(report: "WindowReport") -> Piece:
    """Returns missions by status, event sequences and their deviations, and the error signatures."""
    counts, profile = report.metrics.mission_counts, report.profile
    tables = []
    if profile.deviations:
        rows = [[item.label, f"{item.missions:,}", ", ".join(item.examples)] for item in profile.deviations]
        tables.append(
            _table(
                "How missions depart from dispatched → completed",
                ["Deviation", ("Missions", "number"), ("Newest examples", "wide")],
                rows,
            )
        )
    if profile.sequences:
        shown = [[sequence, f"{number:,}"] for sequence, number in profile.sequences[:8]]
        rest = profile.sequences[8:]
        if rest:
            shown.append([f"{len(rest):,} other sequences", f"{sum(number for _, number in rest):,}"])
        tables.append(_table("Event sequences, progress left out", ["Sequence", ("Missions", "number")], shown))
    elif counts:
        tables.append(
            _table(
                "Missions by status",
                ["Status", ("Missions", "number")],
                [[name, f"{number:,}"] for name, number in counts.items()],
            )
        )
    return _tables(tables, findings.events(report))


def signatures(report: "WindowReport") -> Piece:
    """Returns the errors of fallbacks and failures, grouped by what they have in common."""
    if not report.signatures:
        return Piece("sentence", {"sentence": "No fallback and no failure left an error."}, text="No error signatures.")
    rows = [
        [
            item.signature,
            item.kind,
            f"{item.count:,}",
            f"{item.missions:,}",
            formatting.time(item.last_seen),
            item.example,
        ]
        for item in report.signatures[:10]
    ]
    more = len(report.signatures) - 10
    note = "Numbers, ids and paths are replaced by #, … and [path]; secrets are masked."
    if more > 0:
        note = f"{formatting.count(more, 'rarer signature')} not shown. {note}"
    columns = [
        ("Signature", "wide"),
        "Kind",
        ("Events", "number"),
        ("Missions", "number"),
        "Last seen (UTC)",
        ("Newest example", "wide"),
    ]
    return Piece(
        "tables",
        {"tables": [_table("Error signatures, most frequent first", columns, rows, note)]},
        text=columns_of_text([row[:4] for row in rows]),
    )


def session(report: "WindowReport") -> Piece:
    """Returns the session's state, its recoveries and what departs from the expected lifecycle."""
    story = report.session
    rate = "none degraded" if story.attempts == 0 else formatting.percent(story.success_rate)
    slowest = formatting.duration(max(story.recovery_seconds)) if story.recovery_seconds else formatting.NOT_AVAILABLE
    rows = [
        ["Status at the window's end", story.status or "unknown"],
        ["Heartbeat", "unknown" if story.stale is None else story.stale_reason or "fresh"],
        [
            "Degraded in the window",
            formatting.NOT_AVAILABLE if story.degraded_in_window is None else f"{story.degraded_in_window:,}",
        ],
        ["Degradations resumed since the lane began", formatting.share(story.successes, story.attempts)],
        ["Recovery success rate", rate],
        ["Slowest recovery", slowest],
        ["Orphan rate", formatting.rate(story.orphan_rate)],
    ]
    note = "; ".join(story.deviations)
    return _tables(
        [
            _table(
                "Session",
                ["Measure", ("Value", "number")],
                rows,
                f"Departs from created → resumed: {note}." if note else "",
            )
        ],
        findings.session(report),
    )


def baseline(report: "WindowReport") -> Piece:
    """Returns the window against the one before it."""
    found = report.comparison
    rows = [
        ["Missions considered", _count(found.missions_before), _count(found.missions_after), ""],
        _share_row("Fallback rate", found.fallback),
        _share_row(f"Slower than {formatting.duration(found.slow_after.seconds)}", found.slow),
    ]
    for name, change in (
        ("Queue wait p50", found.queue_p50),
        ("Queue wait p95", found.queue_p95),
        ("Run time p50", found.run_p50),
        ("Run time p95", found.run_p95),
    ):
        rows.append(
            [
                name,
                formatting.duration(change.before),
                formatting.duration(change.after),
                "up" if change.up else "no rise shown",
            ]
        )
    columns = ["Measure", ("Before", "number"), ("Now", "number"), ("Change (95 % interval)", "number")]
    return _tables([_table("This window and the one before", columns, rows, found.sentence)], findings.baseline(report))


def quality(report: "WindowReport") -> Piece:
    """Returns what is wrong with the data, vetoes first."""
    found = findings.quality(report)
    notes = [
        {"tone": "critical" if note.veto else "plain", "name": "", "sentence": note.sentence} for note in report.quality
    ]
    if not notes:
        notes = [
            {
                "tone": "good",
                "name": "",
                "sentence": "Every row, time stamp and event of the window could be read and belongs where it should.",
            }
        ]
    return Piece(
        "notes", {"notes": notes}, found.words, found.tone, "\n".join(f"- {note['sentence']}" for note in notes)
    )


def checklist(report: "WindowReport") -> Piece:
    """Returns the playbook's recovery checklist; a healthy report leaves it out."""
    if report.verdict.lane_status == "HEALTHY":
        return Piece(
            "sentence", {"sentence": "Nothing to recover: the lane is healthy."}, text="Nothing to recover.", omit=True
        )
    steps = [{"sentence": step, "code": []} for step in report.checklist]
    return Piece(
        "steps",
        {"steps": steps},
        "what the playbook's §4 asks for",
        "plain",
        "\n".join(f"{number}. {step['sentence']}" for number, step in enumerate(steps, 1)),
    )


def provenance(report: "WindowReport") -> Piece:
    """Returns how the report was made: parameters, policy, data, versions and the command to run it again."""
    policy = report.verdict.policy
    rows: list[list[Any]] = [[name, str(value)] for name, value in report.parameters.items()]
    made = [
        ["Policy", f"{policy.name} {policy.version}, profile {policy.profile}, hash {policy.hash}"],
        ["Content hash of the data", report.content_hash],
        *[[name, version] for name, version in report.versions.items()],
    ]
    return _tables(
        [
            _table("Parameters", ["Name", ("Value", "wide")], rows),
            _table("Policy, data and versions", ["What", ("Value", "wide")], made),
        ],
        Finding("", "plain"),
    )


def _count(number: int | None) -> str:
    return formatting.NOT_AVAILABLE if number is None else f"{number:,}"


def _share_row(name: str, change: Any) -> list[Any]:
    if change is None:
        return [name, formatting.NOT_AVAILABLE, formatting.NOT_AVAILABLE, ""]
    ends = f"{100 * change.interval.low:+.1f} to {100 * change.interval.high:+.1f} points"
    return [
        name,
        formatting.percent(change.before),
        formatting.percent(change.after),
        f"{100 * change.change:+.1f} ({ends})",
    ]


def _ends(low: float | None, high: float | None, write: Any) -> str:
    return formatting.NOT_AVAILABLE if low is None or high is None else f"{write(low)} to {write(high)}"


def in_words(report: "WindowReport") -> Piece:
    """Returns the report's numbers as plain text, which needs no renderer and is the same on every machine."""
    judged, metrics = report.verdict, report.metrics
    queue = metrics.queue_wait_seconds
    lines = [
        f"{judged.decision} ({judged.lane_status}, {judged.action}{', provisional' if judged.provisional else ''})",
        *(
            f"{MARKS[TONES[reason.caution]] if reason.caution else '-'} {reason.gate}: {reason.sentence}"
            for reason in judged.reasons
        ),
        f"Fallback: {findings.fallback(report).words}",
        f"Latency: {findings.latency(report).words}",
        f"Queue wait p95: {formatting.duration(queue.p95_seconds if queue else None)}",
        f"Events: {findings.events(report).words}",
        f"Session: {findings.session(report).words}",
        f"Baseline: {findings.baseline(report).words}",
        f"Data quality: {findings.quality(report).words}",
        f"Evidence: {judged.evidence.strength}. {judged.evidence.distance}".strip(),
    ]
    return Piece("text", {}, text="\n".join(lines))
