"""A verdict as Markdown for a CI job's step summary: decision, next step, reasons, key figures and evidence row."""

from vpanalysis import formatting
from vpanalysis.analysis.verdict import Reason, Verdict
from vpanalysis.report.row import COLUMNS, text_cell

#: GitHub refuses a step summary over 1 MiB; several windows may share one.
MAX_BYTES = 128 * 1024
_SIGNS = {"HEALTHY": "✅", "NO_TRAFFIC": "⚪", "WATCH": "⚠️", "FORCE_FALLBACK": "🛑"}
_CUT = "\n\nCut here: a step summary holds no more. The HTML report has everything.\n"


def markdown(verdict: Verdict, row: str) -> str:
    """Returns a verdict and its evidence row as GitHub-flavoured Markdown of at most `MAX_BYTES` bytes of UTF-8.

    Texts that come from data are escaped, so that they read as they are and make no markup.
    """
    seconds, evidence = verdict.latency_seconds, verdict.evidence
    failed = evidence.failure
    figures = [
        ("Missions with a fallback", formatting.share(verdict.missions_with_fallback, verdict.missions_considered)),
        ("Failures", formatting.share(failed.against, failed.missions)),
        ("p95 run time", formatting.duration(seconds.p95_seconds)),
        ("Evidence", text_cell(": ".join(filter(None, (evidence.strength, evidence.distance))))),
        ("Window", f"{formatting.time(verdict.window_start)} to {formatting.time(verdict.window_end)}"),
        ("Judged at", formatting.time(verdict.generated_at)),
    ]
    title = f"{_SIGNS[verdict.lane_status]} {text_cell(verdict.vp_id) or 'lane'}: {text_cell(verdict.decision)}"
    notes = ["**SAMPLE**: the built-in lane, not a basis for any rollout."] if verdict.sample else []
    notes += [text_cell(evidence.caveat)] if evidence.caveat else []
    parts = [
        f"### {title} ({verdict.lane_status})",
        *notes,
        text_cell(verdict.next_step),
        "\n".join(f"- {_reason(reason)}" for reason in verdict.reasons),
        _table(("", ""), *figures),
        "For the evidence log:",
        "\n".join((_table(COLUMNS), row)),
    ]
    return _cut("\n\n".join(part for part in parts if part) + "\n\n")


def _reason(reason: Reason) -> str:
    return f"`{reason.gate}`: {text_cell(reason.sentence)}"


def _table(head: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= MAX_BYTES:
        return text
    whole_lines = data[: MAX_BYTES - len(_CUT.encode())].rpartition(b"\n")[0]
    return whole_lines.decode(errors="ignore") + _CUT
