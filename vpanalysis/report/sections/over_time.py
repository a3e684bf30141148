"""A lane's history: what happened in a glance, incidents, flips, rollout steps, the log beside the data, errors."""

from typing import Any

import pandas as pd

from vpanalysis import formatting
from vpanalysis.report import blocks
from vpanalysis.report.blocks import Block, Column
from vpanalysis.report.finding import TONES, Finding
from vpanalysis.report.history_report import GUARDRAIL, STEPS, HistoryReport
from vpanalysis.report.piece import MARKS, Piece, Tone
from vpanalysis.report.sections import provenance
from vpanalysis.report.sections.banner import banner_piece

#: Each story's accent, and what to do next.
_STORIES: dict[str, tuple[Tone, str]] = {
    "NO_TRAFFIC": ("quiet", "Find out why no mission reaches the lane."),
    "GETTING_WORSE": ("critical", "Do not promote; find what has been growing since the oldest windows."),
    "IN_INCIDENT": ("critical", "Follow the recovery checklist of the newest window's report."),
    "RECURRING": ("watch", "Do not promote on the newest windows alone; find what the incidents have in common."),
    "RECOVERED": ("good", "Keep the cadence; compare what came after the incident with what was before it."),
    "GETTING_BETTER": ("good", "Keep the cadence."),
    "STEADY": ("good", "Keep the cadence."),
}
#: Rows of a table before the older ones are folded, and before they are left out.
_NEWEST, _SHOWN = 8, 40
#: Missed looks that are told one by one, the newest.
_MISSED = 5


def _day(moment: Any) -> str:
    return f"{moment:%d %b %Y %H:%M}" if moment.hour or moment.minute else f"{moment:%d %b %Y}"


def gist(report: HistoryReport) -> list[str]:
    """Returns what happened, in a few sentences: the windows, each incident, what moved, the newest window."""
    windows = report.windows
    live = windows[windows["missions"] > 0]
    if live.empty:
        return ["The lane has had no mission in this time."]
    missions, fallbacks, failures = (int(live[name].sum()) for name in ("missions", "fallbacks", "failures"))
    found = [
        f"{healthy(int((live['lane_status'] == 'HEALTHY').sum()), len(live))}; "
        f"{formatting.share(fallbacks, missions, 'mission')} fell back and {failures:,} failed."
    ]
    thirds = len(live) // 3
    if thirds >= 2 and report.story in ("GETTING_WORSE", "GETTING_BETTER"):
        old, new = live.iloc[:thirds], live.iloc[-thirds:]
        moved = {
            name: [formatting.percent(part[name].sum() / part["missions"].sum()) for part in (old, new)]
            for name in ("fallbacks", "failures")
        } | {"p95": [formatting.duration(part["p95_seconds"].median()) for part in (old, new)]}
        changes = [f"{name} from {before} to {after}" for name, (before, after) in moved.items() if before != after]
        found.append(f"From the oldest third to the newest: {', '.join(changes)}.")
    if report.incidents:
        last = report.incidents[-1]
        again = "over, as far as missions tell," if report.session_unknown else "healthy again"
        ended = (
            "it is not over" if last.to_recover is None
            else f"{again} {formatting.duration(last.to_recover.total_seconds())} after its first window"
        )  # fmt: skip
        which = "The incident" if len(report.incidents) == 1 else f"The last of {len(report.incidents)} incidents"
        found.append(f"{which} began on {_day(last.start)} ({last.gate.replace('_', ' ')}); {ended}.")
    if report.session_unknown:
        number = formatting.count(report.session_unknown, "window")
        found.append(f"{number} read WATCH only because the session's state then is unknown: no incident.")
    return found


def healthy(windows: int, of: int) -> str:
    """Returns how many windows with traffic were healthy."""
    if of == 1:
        return f"The only window with traffic was {'healthy' if windows else 'not healthy'}"
    return f"{windows:,} of {of:,} windows with traffic were healthy"


def banner(report: HistoryReport) -> Piece:
    """Returns the banner: the story in a word, what happened, and what to do next."""
    windows, (tone, next_step) = report.windows, _STORIES[report.story]
    newest = windows.iloc[-1] if len(windows) else None
    status = "NO WINDOW" if newest is None else f"NEWEST WINDOW {newest['lane_status'].replace('_', ' ')}"
    span = [] if newest is None else [_day(windows["window_start"].iloc[0]), f"to {_day(newest['window_end'])}"]
    facts = [
        ("Time, UTC", span or [formatting.NOT_AVAILABLE]),
        ("Windows", [f"{len(windows):,}"]),
        ("Flips", [f"{len(report.flips):,}"]),
        ("Log rows", [f"{len(report.log):,}" if report.parameters["log"] else "no log given"]),
        (
            "Source, policy",
            [f"{report.source},", f"{report.policy.name} {report.policy.version} ({report.policy.profile})"],
        ),
    ]
    return banner_piece(
        "Rollout history", "", report.vp_id, report.story.replace("_", " "), status, tone,
        why=gist(report), next_step=next_step, facts=facts, sample=report.sample,
        status_tone=None if newest is None else TONES[newest["lane_status"]],
    )  # fmt: skip


def in_words(report: HistoryReport) -> Piece:
    """Returns the history as plain text, which is the same on every machine."""
    lines = ["SAMPLE: no basis for any rollout."] if report.sample else []
    lines += [report.story.replace("_", " "), *gist(report)]
    for row in report.windows.tail(_SHOWN).to_dict("records"):
        status = row["lane_status"]
        lines.append(
            f"{MARKS[TONES[status]]} {formatting.time(row['window_start'])}: {row['missions']} missions, fallback "
            f"{formatting.percent(row['fallback_rate'])}, {row['failures']} failed, p95 "
            f"{formatting.duration(row['p95_seconds'])}: {status}" + ("" if status == "HEALTHY" else f": {row['gate']}")
        )
    return Piece("text", {}, text="\n".join(lines))


def _newest_first(caption: str, columns: list[Column], rows: list[list[Any]], note: str) -> list[Block]:
    """A table of the newest rows, and folded one of the others."""
    older = rows[_NEWEST:] if len(rows) > _NEWEST + 2 else []
    shown = [blocks.table(f"{caption}, newest first", columns, rows[: len(rows) - len(older)], note=note)]
    if older:
        shown.append(blocks.folded(f"{len(older):,} older ones", blocks.table(f"{caption}, older", columns, older)))
    return shown


def incidents(report: HistoryReport) -> Piece:
    """Returns the incidents with what began them and the time to recover, newest first."""
    found = report.incidents
    if report.story == "NO_TRAFFIC":
        return blocks.piece(found=Finding("No window had traffic", "quiet"))
    if not found:
        unknown = "apart from the session's unknown state, " if report.session_unknown else ""
        return blocks.piece(found=Finding(f"None: {unknown}no window with traffic was anything but healthy", "good"))
    rows = [
        [
            blocks.marked("critical" if one.worst else "watch", _day(one.start)),
            formatting.duration(one.to_recover.total_seconds()) if one.to_recover is not None else "not over",
            f"{one.windows:,}",
            one.gate.replace("_", " "),
            formatting.capitalized(one.reason),
        ]
        for one in reversed(found[-_SHOWN:])
    ]
    columns = [
        ("Began", "time"), ("Time to recover", "number"), ("Windows", "number"), ("Cause", "short"),
        ("What the first window showed", "wide"),
    ]  # fmt: skip
    note = "Time to recover: from the end of the first window, when it could first be known, to that of a healthy one."
    open_now = found[-1].recovered is None
    ended = ("the last one not over", "all recovered") if len(found) > 1 else ("not over", "recovered")
    words = f"{formatting.count(len(found), 'incident')}, {ended[not open_now]}"
    tone: Tone = "critical" if open_now else "watch" if report.story == "RECURRING" else "good"
    return blocks.piece(*_newest_first("Incidents", columns, rows, note), found=Finding(words, tone))


def flips(report: HistoryReport) -> Piece:
    """Returns each change of the lane status with its cause, newest first."""
    found = report.flips
    rows = [
        [_day(row["window_start"]), row["before"].replace("_", " "),
         blocks.marked(TONES[row["lane_status"]], row["lane_status"].replace("_", " ")),
         "all gates passed" if row["lane_status"] == "HEALTHY" else row["reason"]]
        for row in reversed(found.tail(_SHOWN).to_dict("records"))
    ]  # fmt: skip
    columns = [("Window", "time"), ("From", "short"), ("To", "short"), ("Cause", "wide")]
    note = f"{len(found) - _SHOWN:,} older ones not shown." if len(found) > _SHOWN else ""
    if not rows:
        return blocks.piece(found=Finding("The status never changed", "plain"), omit=report.story == "NO_TRAFFIC")
    newest = "the newest " * (len(found) > 1) + f"on {rows[0][0]}, from {rows[0][1]} to {rows[0][2]['text']}"
    words = f"{formatting.count(len(found), 'flip')}, {newest}"
    return blocks.piece(blocks.table("Flips, newest first", columns, rows, note=note), found=Finding(words, "plain"))


def steps(report: HistoryReport) -> Piece:
    """Returns the rollout's steps as the log names them, looks that are missing, and changes of the policy."""
    if not report.parameters["log"]:
        return blocks.piece(found=Finding("No evidence log was given", "quiet"), omit=True)
    log, rows = report.log, []
    for step in reversed(STEPS):
        of_step = log[log["step"] == step]
        if len(of_step):
            first = of_step.iloc[0]
            rows.append([step, formatting.time(first["date"]), f"{len(of_step):,}", first["decision"], first["window"]])
    hashed = log.dropna(subset=["policy_hash"])
    changes = hashed[hashed["policy_hash"] != hashed["policy_hash"].shift()].to_dict("records")
    policies = [f"{formatting.time(row['date'])}: {row['policy_hash']}" for row in changes]
    columns = [
        ("Step", "short"), ("First row", "time"), ("Rows", "number"), ("Decision", "text"), ("Window", "wide"),
    ]  # fmt: skip
    sentence = (
        f"Policy hashes in the log: {'; '.join(policies)}." if policies
        else "No row of the log names the policy that judged it."
    )  # fmt: skip
    shown = [blocks.table("Steps as the log names them", columns, rows), blocks.sentence(sentence)]
    if report.missed_looks:
        shown.append(blocks.notes([("watch", "Look missed", text) for text in report.missed_looks[-_MISSED:]]))
    furthest = f"Furthest step: {rows[-1][0]}" if rows else "No step named"
    missed = f"; {formatting.count(len(report.missed_looks), 'look')} missed" if report.missed_looks else ""
    return blocks.piece(*shown, found=Finding(f"{furthest}{missed}", "watch" if missed else "plain"))


def beside_log(report: HistoryReport) -> Piece:
    """Returns the log's rows, each beside what the window of its date shows."""
    if not report.parameters["log"]:
        return blocks.piece(found=Finding("No evidence log was given", "quiet"), omit=True)
    rows, windows, compared, apart = [], report.windows, 0, 0
    for row in report.log.to_dict("records"):
        of_date = windows[(windows["window_start"] <= row["date"]) & (row["date"] <= windows["window_end"])]
        data = of_date.iloc[-1] if len(of_date) else None
        comparable = data is not None and pd.notna(row["status"])
        differs = data is not None and comparable and row["status"] != data["lane_status"]
        compared, apart = compared + comparable, apart + differs
        rows.append(
            [
                f"{row['line']}", formatting.time(row["date"]), row["decision"],
                "" if pd.isna(row["missions"]) else f"{row['missions']:,}", formatting.percent(row["rate"]),
                formatting.duration(row["p95_seconds"]),
                "no window" if data is None
                else blocks.marked("watch" if differs else "plain", data["lane_status"].replace("_", " ")),
                "" if data is None else f"{data['missions']:,}",
                formatting.percent(None if data is None else data["fallback_rate"]),
                formatting.duration(None if data is None else data["p95_seconds"]),
            ]
        )  # fmt: skip
    columns = [
        ("Line", "number"), ("Date", "time"), ("Log: decision", "wide"), ("missions", "number"), ("rate", "number"),
        ("p95", "number"), ("Data: status", "short"), ("missions", "number"), ("rate", "number"), ("p95", "number"),
    ]  # fmt: skip
    note = (
        "A row may be about another window than that of its date: vpanalysis evidence verify computes each row again. "
        "A log's windows overlap, so do not add up their missions."
    )
    told = f"{apart:,} whose status differs from the data of their day" if compared else "none comparable with the data"
    left = f"; {len(rows) - compared:,} not comparable" if 0 < compared < len(rows) else ""
    words = f"{formatting.count(len(rows), 'row')}, {told}{left}"
    return blocks.piece(blocks.table("The log's rows beside the data", columns, rows, note=note),
                        found=Finding(words, "watch" if apart else "plain"))  # fmt: skip


def first_errors(report: HistoryReport) -> Piece:
    """Returns the errors by first appearance, newest first: what is new is what changed."""
    seen = report.signatures
    rows = [
        [_day(row["first_seen"]), row["kind"], row["signature"], f"{row['count']:,}"]
        for row in reversed(seen.tail(_SHOWN).to_dict("records"))
    ]
    columns = [("First window", "time"), ("Kind", "short"), ("Error", "wide"), ("Events", "number")]
    note = f"{len(seen) - _SHOWN:,} older ones not shown." if len(seen) > _SHOWN else ""
    if not rows:
        silent = Finding("No fallback and no failure left an error text", "plain")
        return blocks.piece(found=silent, omit=report.story == "NO_TRAFFIC")
    words = f"{formatting.count(len(seen), 'kind')} of error, the newest since {rows[0][0]}"
    found = Finding(words, "plain")
    return blocks.piece(*_newest_first("Errors by first appearance", columns, rows, note), found=found)


def guardrail(report: HistoryReport) -> Finding:
    """Returns where the highest rolling share stands against the revert guardrail."""
    over = int((report.rolling_fallback > GUARDRAIL).sum())
    if report.rolling_fallback.notna().sum() == 0:
        return Finding("Fewer than 20 missions: no rolling share yet", "quiet")
    peak = formatting.percent(float(report.rolling_fallback.max()))
    if over:
        return Finding(f"Broken in {formatting.count(over, 'window')}; the highest share was {peak}", "watch")
    return Finding(f"Never broken; the highest share of 20 missions was {peak}", "good")


def table(report: HistoryReport) -> Piece:
    """Returns the windows with their numbers, newest first."""
    rows = [
        [
            _day(row["window_start"]), f"{row['missions']:,}", f"{row['fallbacks']:,}", f"{row['failures']:,}",
            formatting.percent(row["fallback_rate"]),
            f"{formatting.percent(row['rate_low'])} to {formatting.percent(row['rate_high'])}",
            formatting.duration(row["p95_seconds"]),
            blocks.marked(TONES[row["lane_status"]], row["lane_status"].replace("_", " ")),
            "" if row["lane_status"] == "HEALTHY" else row["gate"].replace("_", " "),
        ]
        for row in reversed(report.windows.to_dict("records"))
    ]  # fmt: skip
    columns = [
        ("Window", "time"), ("Missions", "number"), ("Fell back", "number"), ("Failed", "number"),
        ("Fallback rate", "number"), ("95 % interval", "number"), ("p95", "number"), ("Status", "short"),
        ("Gate", "short"),
    ]  # fmt: skip
    silent = int((report.windows["missions"] == 0).sum())
    words = formatting.count(len(rows), "window") + (f", {silent:,} of them without traffic" if silent else "")
    note = "The interval is of the fallback rate (Wilson). The gate is the one that decided first."
    every = blocks.table("All windows, newest first", columns, rows, note=note)
    return blocks.piece(every, found=Finding(words, "plain"), omit=not rows)


def made(report: HistoryReport) -> Piece:
    """Returns how the report was made."""
    data = [["Source", f"{report.source} ({report.kind})"]]
    return provenance.made(report, "Parameters, data, policy and versions", data, [report.policy])
