"""``vpanalysis evidence``: starts, shows, extends, checks and verifies an evidence log, and says when to look next."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpanalysis import formatting
from vpanalysis.cli.source_option import PAST_KINDS, format_option, is_sample, resolve_source, source_option
from vpanalysis.data.timestamps import as_utc
from vpanalysis.errors import InputError
from vpanalysis.report.log import RECORD, append_row, init_log, read_log, record
from vpanalysis.report.log_check import chains
from vpanalysis.report.log_check import check as find
from vpanalysis.report.log_check import due as next_looks
from vpanalysis.report.log_row import LogRow

if TYPE_CHECKING:
    from vpanalysis.analysis.policy import Policy

_EXIT_FOUND = 3
_LOG = click.argument("log", type=click.Path(path_type=Path), metavar="LOG.md")
_POLICY = click.option(
    "--policy",
    "names",
    multiple=True,
    help="A TOML file that rows were judged by, besides the built-in policies; may be given more than once.",
)
_PROFILE = click.option(
    "--profile", type=click.Choice(["rollout", "sustained"]), help="Whose cadence to keep.  [default: each row's own]"
)


@click.group()
def evidence() -> None:
    """Keeps an evidence log. Exit 3: check or verify found something, or a look is overdue."""


@evidence.command()
@_LOG
@click.option("--title", default="Rollout evidence log", show_default=True, help="The log's heading.")
def init(log: Path, title: str) -> None:
    """Writes a new log with the table's heading."""
    init_log(log, title)
    click.echo(f"Wrote {_visible(log)}.", err=True)


@evidence.command()
@_LOG
@format_option
def show(log: Path, output: str) -> None:
    """Prints a log's rows.

    On stderr: how many different missions they are about.
    """
    rows = _rows(log)
    records = [{**record(row), "date": row.since and row.cells[0]} for row in rows]
    click.echo({"table": _table, "csv": _csv, "json": _json}[output](records).rstrip("\n"))
    click.echo(f"{formatting.count(len(rows), 'row')}.", err=True)
    lanes: dict[tuple[str, str], list[Any]] = {}
    for chain in chains(rows):
        window = chain.rows[0].looked_at
        assert window
        lanes.setdefault((window.vp_id, window.call), []).append(chain)
    for (vp_id, call), found in lanes.items():
        distinct, exact = sum(chain.distinct for chain in found), all(chain.exact for chain in found)
        counted = [row for chain in found for row in chain.rows]
        added = sum(row.missions or 0 for row in counted)
        click.echo(
            formatting.visible(
                f"{vp_id} by {call.strip('(/')}: {'' if exact else 'at least '}"
                f"{formatting.count(distinct, 'distinct mission')} in {formatting.count(len(counted), 'row')}"
                + (f", which add up to {added:,} because their windows overlap." if added > distinct else ".")
            ),
            err=True,
        )


@evidence.command()
@_LOG
@click.argument("row", required=False)
def append(log: Path, row: str | None) -> None:
    """Appends a row to a log's last table.

    Without ROW, it is the last line of stdin, which is where capture prints it.
    """
    if row is None:
        row = next((line for line in reversed(sys.stdin.read().split("\n")) if line.strip()), "")
    row = row.strip()
    if not row or not row.isprintable():
        raise InputError("The row is empty, or holds characters that cannot be seen: give one line of Markdown.")
    append_row(log, row)
    click.echo(f"Appended to {_visible(log)}.", err=True)


@evidence.command()
@_LOG
@_POLICY
@_PROFILE
def check(log: Path, names: tuple[str, ...], profile: str | None) -> None:
    """Prints what is wrong within a log, a line each.

    Only the log itself is read. Exits with 3 when anything is wrong.
    """
    findings = find(read_log(log), _policies(names), profile)
    _print(log, [(finding.line, finding.code, finding.sentence) for finding in findings])


@evidence.command()
@_LOG
@source_option(PAST_KINDS, lane=False)
@_POLICY
def verify(log: Path, source: str | None, names: tuple[str, ...]) -> None:
    """Computes each row again from the data, as of its own time.

    Prints which numbers differ, and exits with 3 when any do. What cannot be verified is named on stderr and does not
    count as a difference.
    """
    rows = _rows(log)
    location = resolve_source(source)
    from vpanalysis.data.source import open_source
    from vpanalysis.report.log_verify import verify as hold

    with open_source(location) as opened:
        if opened.kind in ("gateway", "snapshot"):
            raise InputError("A gateway or a snapshot does not hold the past: give the database or an archive.")
        found = list(hold(rows, opened.load, _policies(names), sample=is_sample(opened.kind)))
    for one in found:
        if one.unknown:
            click.echo(formatting.visible(f"{log}:{one.row.line}: cannot be verified: {one.unknown}"), err=True)
    different = [one for one in found if one.differences]
    unknown = sum(bool(one.unknown) for one in found)
    click.echo(
        f"{formatting.count(len(rows), 'row')}: {len(rows) - unknown - len(different)} as the data say, "
        f"{len(different)} different, {unknown} that cannot be verified.",
        err=True,
    )
    _print(log, [(one.row.line, "numbers-differ", "; ".join(one.differences) + ".") for one in different])


@evidence.command()
@_LOG
@_PROFILE
@click.option("--now", default="", metavar="TIME", help="The moment to answer for; ISO 8601, UTC.  [default: now]")
def due(log: Path, profile: str | None, now: str) -> None:
    """Prints when each lane's next look is due (playbook §7.1).

    Exits with 3 when one is overdue.
    """
    try:
        moment = as_utc(now, "--now") if now else datetime.now(UTC)
    except ValueError as error:
        raise InputError(str(error)) from None
    looks = next_looks(_rows(log), moment, profile)
    for look in looks:
        at = f"due at {formatting.time(look.at)}" if look.at else "due at once"
        late = "overdue" if look.overdue else "not overdue"
        click.echo(formatting.visible(f"{look.vp_id or 'no lane named'}: next look {at} ({look.why}), {late}"))
    if any(look.overdue for look in looks):
        raise click.exceptions.Exit(_EXIT_FOUND)


def _rows(log: Path) -> list[LogRow]:
    return [row for table in read_log(log) for row in table.rows]


def _policies(names: Sequence[str]) -> list["Policy"]:
    from vpanalysis.analysis.policy import BUILT_IN, PROFILES, Policy

    return [Policy.load(name, profile) for name in (*names, *sorted(BUILT_IN)) for profile in PROFILES]


def _print(log: Path, findings: Sequence[tuple[int, str, str]]) -> None:
    for line, code, sentence in findings:
        click.echo(formatting.visible(f"{log}:{line}: {code}: {sentence}"))
    if findings:
        raise click.exceptions.Exit(_EXIT_FOUND)


def _visible(log: Path) -> str:
    return formatting.visible(str(log))


def _texts(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for one in records:
        texts = {name: "" if value is None else str(value) for name, value in one.items()}
        texts |= {"rate": formatting.rate(one["rate"]), "p95_seconds": formatting.log_seconds(one["p95_seconds"])}
        rows.append([formatting.visible(texts[name]) for name in RECORD])
    return rows


def _table(records: Sequence[dict[str, Any]]) -> str:
    """Aligned columns; long words are cut."""
    rows = [
        [formatting.shortened(text, 40) for text in (row[-1], *row[:-1])]
        for row in [[name.replace("_seconds", "") for name in RECORD], *_texts(records)]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _csv(records: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RECORD)
    writer.writerows(
        [formatting.visible("" if one[name] is None else str(one[name])) for name in RECORD] for one in records
    )
    return text.getvalue()


def _json(records: Sequence[dict[str, Any]]) -> str:
    return json.dumps(records, indent=2)
