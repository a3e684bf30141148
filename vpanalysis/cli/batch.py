"""``vpanalysis batch``: many windows, lanes and sources by a plan, and an index of their reports."""

import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from vpanalysis import formatting
from vpanalysis.cli.source_option import EXIT_FAILING_VERDICT, fail_on_option, fails, refuse_sample
from vpanalysis.errors import InputError

if TYPE_CHECKING:
    from vpanalysis.batch.make import Result
    from vpanalysis.batch.plan import Plan, Run

_EXIT_REFUSED, _EXIT_FAILED, _EXIT_TERMINATED = 2, 1, 143


def _keep(_ctx: click.Context, _param: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,5})d", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a number of days: give one such as 90d.")
    return timedelta(days=int(found[1]))


@click.command()
@click.argument("plan", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Checks the plan and prints its runs; makes nothing.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many reports to make at a time on this machine.",
)
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="Runs on this Dask cluster instead (extra 'cluster').")
@click.option(
    "--keep", metavar="DAYS", callback=_keep, help="Removes reports of healthy windows judged longer ago, such as 90d."
)
@fail_on_option
def batch(
    plan: Path, dry_run: bool, jobs: int, scheduler: str | None, keep: timedelta | None, fail_on: tuple[str, ...]
) -> None:
    """Makes the reports that PLAN (a TOML file) asks for, and an index of them.

    A report that is still true is not made again, so an interrupted batch carries on where it stopped.
    stdout carries a table of the runs. Exit codes: 0 done; 1 a notebook failed; 2 a source or parameter was refused;
    3 a verdict is one that --fail-on names.
    """
    from vpanalysis.batch import run as running
    from vpanalysis.batch.plan import read_plan, runs_of

    asked = read_plan(plan)
    for locations in asked.sources.values():
        for location in locations:
            refuse_sample(location, fail_on=fail_on)
    if dry_run:
        from datetime import UTC

        _print_runs(asked, runs_of(asked, asked.as_of or datetime.now(UTC)))
        return
    with _terminated(), running.journal(asked) as as_of:
        runs = runs_of(asked, as_of)
        results = list(_watched(asked, runs, jobs, scheduler))
        if keep is not None:
            removed = running.remove_old(asked.out, keep, as_of)
            reports, days = formatting.count(removed, "report"), formatting.count(keep.days, "day")
            click.echo(f"Removed {reports} of healthy windows that were judged over {days} ago.", err=True)
        from vpanalysis.report.index import write_index

        try:
            index = str(write_index(asked.out))
        except InputError as error:  # none of the runs left a report
            index = str(error)
    _print_results(results)
    click.echo(index, err=True)
    states = {result.state for result in results}
    if "failed" in states:
        sys.exit(_EXIT_FAILED)
    if "refused" in states:
        sys.exit(_EXIT_REFUSED)
    if any(fails(result.lane_status, fail_on) for result in results):
        sys.exit(EXIT_FAILING_VERDICT)


def _watched(plan: "Plan", runs: Sequence["Run"], jobs: int, scheduler: str | None) -> Iterator["Result"]:
    """The results as they come, with a progress bar on a terminal and what went wrong on stderr."""
    from tqdm import tqdm

    if scheduler is None:
        from vpanalysis.batch.run import results

        found = results(plan, runs, jobs)
    else:
        from vpanalysis.batch import cluster

        found = cluster.results(runs, plan.out, scheduler, plan.timeout_seconds, plan.ship_sources)
    with tqdm(total=len(runs), unit="report", file=sys.stderr, disable=None) as bar:
        for result in found:
            bar.update()
            if result.state in ("refused", "failed"):
                bar.write(f"{result.run.name}: {result.sentence}", file=sys.stderr)
            yield result


def _print_runs(plan: "Plan", runs: Sequence["Run"]) -> None:
    from vpanalysis.batch.plan import lanes_of

    for run in runs:
        click.echo(f"{run.name}\t{run.notebook.stem}\t{run.source}")
    there = {source: lanes_of(plan.sources[source]) for source in {run.source for run in runs}}
    for lane, source in dict.fromkeys((run.window.vp_id, run.source) for run in runs):
        if lane not in there[source]:
            click.echo(f"{source} has no lane {lane}: its reports would be refused.", err=True)
    click.echo(f"{formatting.count(len(runs), 'report')} to make; nothing was made.", err=True)


def _print_results(results: Sequence["Result"]) -> None:
    rows = sorted((item.run.name, item.lane_status or "–", item.decision or "–", item.state) for item in results)
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(3)]
    for row in rows:
        click.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    counts = Counter(result.state for result in results)
    click.echo(", ".join(f"{counts[state]} {state}" for state in ("made", "unchanged", "refused", "failed")), err=True)


@contextmanager
def _terminated() -> Iterator[None]:
    """Ends the batch on SIGTERM as on Ctrl-C: its processes end with it."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        sys.exit(_EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
