"""`vpanalysis evidence` on logs as people keep them and on logs that a database can vouch for."""

import csv
import json
import os
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import LANE, NOON, RuntimeDatabase, some_of

import vpanalysis as vp
from vpanalysis.cli import commands
from vpanalysis.errors import InputError

TABLE = (
    "| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |\n"
    "|---|---|---|---|---:|---:|---|---|\n"
)
CALL = f'`_vp_metrics_snapshot(vp_id="{LANE}", mission_limit=100, event_limit=500)`'
#: A log like the one from the field: bare dates, typed counts, decisions by hand, windows that overlap.
FIELD = TABLE + "".join(
    f"| {date} | W{number} | real cohort | `scripts/coder_vp_rollout_capture.py --mode http` | {rate} | {p95} | "
    f"{decision} | {notes} |\n"
    for number, (date, rate, p95, decision, notes) in enumerate(
        [
            ("2026-02-16", "n/a", "n/a", "BLOCKED_AUTH", "no token"),
            ("2026-02-16T14:18:29Z", "0.000", "n/a", "HOLD_SHADOW", "`missions_considered=0`"),
            *(
                (
                    f"2026-02-16T15:{minute:02d}:00Z",
                    "0.000",
                    "35.964s",
                    "GO_BROADER_TRAFFIC_ACTIVE",
                    f"`mission_counts={{completed:{n}}}`, `missions_with_fallback=0`",
                )
                for minute, n in ((1, 1), (21, 2), (45, 9))
            ),
        ]
    )
)


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(commands, ["evidence", *arguments], input=stdin)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "log.md"
    path.write_text(FIELD)
    return path


def line(
    date: str = "2026-02-16T15:00:00Z",
    rate: str = "0.000",
    p95: str = "1.000s",
    decision: str = "READY_FOR_LIMITED_COHORT_PILOT",
    notes: str = "missions_considered=4, missions_with_fallback=0",
    label: str = "w",
    ref: str = "by hand",
) -> str:
    return f"| {date} | {label} | s | {ref} | {rate} | {p95} | {decision} | {notes} |\n"


def test_init_writes_a_log_that_takes_rows(log: Path) -> None:
    log.unlink()
    assert run("init", "log.md", "--title", "Lane\nlog").exit_code == 0
    assert log.read_text() == f"# Lane log\n\n## Evidence table\n\n{TABLE}"
    before = log.read_bytes()
    row = line().strip()
    assert run("append", "log.md", row).exit_code == 0
    assert log.read_bytes() == before + row.encode() + b"\n"
    assert isinstance(run("init", "log.md").exception, InputError)
    assert run("append", "log.md", stdin="{}\n\nMarkdown row:\n" + row.replace("15:00", "16:00") + "\n").exit_code == 0
    assert log.read_text().endswith(row.replace("15:00", "16:00") + "\n")


@pytest.mark.parametrize("row", ["", "| \x1b[2J |", "prose"])
def test_append_refuses_what_is_no_row(log: Path, row: str) -> None:
    assert isinstance(run("append", "log.md", row).exception, InputError)
    assert log.read_text() == FIELD


def test_a_row_of_the_sample_is_no_evidence(log: Path) -> None:
    assert "sample" in str(run("append", "log.md", line(label="SAMPLE w").strip()).exception)
    assert log.read_text() == FIELD


def test_show(log: Path) -> None:
    ran = run("show", "log.md")
    assert ran.stdout.splitlines()[0].split()[:3] == ["line", "date", "window"]
    assert len(ran.stdout.splitlines()) == 6
    assert "9 distinct missions in 3 rows, which add up to 12" in ran.stderr
    records = json.loads(run("show", "log.md", "--format", "json").stdout)
    assert [one["missions"] for one in records] == [None, 0, 1, 2, 9]
    assert [one["status"] for one in records] == [None, "NO_TRAFFIC", "HEALTHY", "HEALTHY", "HEALTHY"]
    rows = list(csv.DictReader(run("show", "log.md", "--format", "csv").stdout.splitlines()))
    assert [row["date"] for row in rows][:2] == ["2026-02-16", "2026-02-16T14:18:29Z"]
    assert [row["line"] for row in rows] == ["3", "4", "5", "6", "7"]


def test_check_names_the_overlap(log: Path) -> None:
    ran = run("check", "log.md")
    assert ran.exit_code == 3
    (found,) = ran.stdout.splitlines()
    assert found.startswith("log.md:7: overlapping-windows: ")
    assert "lines 5 and 6" in found
    assert "9 distinct missions, not the 12" in found


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([line()], []),
        ([line(date="soon")], ["3: unparsable-row"]),
        ([line(), line(date="2026-02-16T14:59:59Z")], ["4: time-backwards"]),
        ([line(), line(date="2026-02-16", label="v")], []),
        ([line(), line(date="2026-02-15", label="v")], ["4: time-backwards"]),
        ([line(rate="0.001")], ["3: rate-against-counts"]),
        ([line(rate="n/a", decision="BLOCKED")], ["3: rate-against-counts"]),
        ([line(rate="0.333", decision="HOLD_SHADOW", notes="missions_considered=3, missions_with_fallback=1")], []),
        ([line(rate="0.334", decision="HOLD_SHADOW", notes="missions_considered=3, missions_with_fallback=1")],
         ["3: rate-against-counts"]),
        ([line(rate="0.333", decision="SHIP_IT", notes="missions_considered=3, missions_with_fallback=1")],
         ["3: unknown-decision"]),
        ([line(rate="0.300", notes="", decision="SHIP_IT")], ["3: unknown-decision"]),
        ([line(rate="n/a", p95="n/a", notes="", decision="BLOCKED_AUTH")], []),
        ([line(rate="0.250", notes="`mission_counts={completed:4}`, `event_counts={fallback:1}`")],
         ["3: decision-against-rate"]),
        ([line(notes="missions_considered=0")], ["3: decision-against-rate"]),
        ([line(p95="n/a")], ["3: decision-against-rate"]),
        ([line(rate="0.300", notes="", decision="SUSTAINED_WATCH")], ["3: decision-against-rate"]),
        ([line(rate="0.300", notes="", decision="HOLD_SHADOW")], []),
        ([line(rate="0.100", notes="policy=mine 1 (rollout, 0123456789ab)")], []),
        ([line(), line(rate="0.0000")], ["4: duplicate-row"]),
        ([line(), line(date="2026-02-16T16:01:00Z")], ["4: cadence-missed"]),
        ([line(), line(date="2026-02-16T16:00:00Z")], []),
        ([line(decision="SUSTAINED_DEFAULT_ON_HEALTHY"), line(date="2026-02-17T02:59:00Z")], []),
        ([line(decision="SUSTAINED_FORCE_FALLBACK"), line(date="2026-02-16T15:31:00Z")], ["4: cadence-missed"]),
        ([line(ref=CALL), line(date="2026-02-16T15:30:00Z", ref=CALL)], ["4: overlapping-windows"]),
        ([line(ref=CALL), line(date="2026-02-16T15:30:00Z", ref=CALL.replace(LANE, "other"))], []),
        ([line(ref='`x: RolloutWindow(vp_id="l", start="2026-02-16T14:00:00Z", end="2026-02-16T14:30:00Z")`'),
          line(ref='`x: RolloutWindow(vp_id="l", start="2026-02-16T14:30:00Z", end="2026-02-16T15:00:00Z")`',
               label="v")], []),
        ([line(ref='`x: RolloutWindow(vp_id="l", start="2026-02-16T14:00:00Z", end="2026-02-16T14:30:00Z")`'),
          line(ref='`x: RolloutWindow(vp_id="l", start="2026-02-16T14:20:00Z")`', label="v")],
         ["4: overlapping-windows"]),
    ],
)  # fmt: skip
def test_check_finds_what_is_wrong(log: Path, rows: list[str], found: list[str]) -> None:
    log.write_text(TABLE + "".join(rows))
    ran = run("check", "log.md")
    assert [":".join(text.split(":")[1:3]) for text in ran.stdout.splitlines()] == found
    assert ran.exit_code == (3 if found else 0)


def test_nothing_of_a_log_reaches_the_terminal_raw(log: Path) -> None:
    log.write_text(TABLE + line(date="\x1b]52;c;aGk=\x07", label="\u202e"))
    for arguments in (["show", "log.md"], ["check", "log.md"], ["show", "log.md", "--format", "csv"]):
        ran = run(*arguments)
        assert not set("\x1b\x07\u202e") & set(ran.output)


@pytest.mark.parametrize(
    ("decision", "profile", "minutes"),
    [
        ("READY_FOR_LIMITED_COHORT_PILOT", None, 60),
        ("SUSTAINED_DEFAULT_ON_HEALTHY", None, 720),
        ("SUSTAINED_DEFAULT_ON_HEALTHY", "rollout", 60),
        ("SUSTAINED_WATCH", None, 60),
        ("SUSTAINED_FORCE_FALLBACK", "sustained", 30),
    ],
)
def test_due_by_the_playbooks_cadence(log: Path, decision: str, profile: str | None, minutes: int) -> None:
    """§7.1: half an hour after an incident, an hour in active windows, twice a day in the steady state."""
    log.write_text(TABLE + line(date="2027-01-01T00:00:00Z") + line(decision=decision, ref=CALL))
    at = datetime(2026, 2, 16, 15, tzinfo=UTC) + timedelta(minutes=minutes)
    options = ["due", "log.md", *(["--profile", profile] if profile else []), "--now"]
    ran = run(*options, at.isoformat())
    assert (ran.exit_code, ran.stdout.count("\n")) == (0, 1)
    assert f"{LANE}: next look due at {at:%Y-%m-%dT%H:%M:%SZ}" in ran.stdout
    ran = run(*options, (at + timedelta(seconds=1)).isoformat())
    assert ran.exit_code == 3
    assert "overdue" in ran.stdout


def test_a_log_without_a_look_is_overdue(log: Path) -> None:
    log.write_text(TABLE)
    assert run("due", "log.md").exit_code == 3


@pytest.fixture
def lane(make_database: Callable[..., RuntimeDatabase]) -> RuntimeDatabase:
    """60 missions, one a minute, each done in 10 s; every seventh fell back."""
    lane = make_database()
    for number in range(60):
        fell = ["vp.mission.fallback"] if number % 7 == 6 else []
        at = NOON + timedelta(minutes=number)
        lane.mission(f"m{number}", at, wait=0, run=10.0, events=["vp.mission.dispatched", *fell])
    return lane


def true_row(minute: int, label: str = "w", last: int = 30) -> str:
    """A row for a look half a minute after a mission, counted by hand."""
    seen = range(60)[: minute + 1][-last:]
    fell = sum(number % 7 == 6 for number in seen)
    events = f'"vp.mission.dispatched":{len(seen)}' + (f',"vp.mission.fallback":{fell}' if fell else "")
    notes = f"missions_considered={len(seen)}, missions_with_fallback={fell}, "
    notes += f'mission_counts={{"completed":{len(seen)}}}, event_counts={{{events}}}'
    at = f"{NOON + timedelta(minutes=minute, seconds=30):%Y-%m-%dT%H:%M:%SZ}"
    ref = f'`_vp_metrics_snapshot(vp_id="{LANE}", mission_limit={last})`'
    return line(at, f"{fell / len(seen):.3f}", "10.000s", "HOLD_SHADOW", notes, label, ref)


@pytest.mark.thorough
@pytest.mark.parametrize(("cell", "written"), [(4, r"0\.\d\d(\d)"), (7, r"dispatched\":\d(\d)")])
def test_verify_finds_one_altered_digit_in_500_rows(log: Path, lane: RuntimeDatabase, cell: int, written: str) -> None:
    """Ten looks, a row each for fifty cohorts; no row of the other 499 is said to differ."""
    rows = [true_row(5 * look + 9, f"cohort {cohort}") for look in range(10) for cohort in range(50)]
    place = random.Random(written).randrange(500)
    cells = rows[place].split(" | ")
    found = re.search(written, cells[cell])
    assert found
    cells[cell] = cells[cell][: found.start(1)] + str((int(found[1]) + 1) % 10) + cells[cell][found.end(1) :]
    log.write_text(TABLE + "".join([*rows[:place], " | ".join(cells), *rows[place + 1 :]]))
    ran = run("verify", "log.md", "--source", str(lane.path))
    assert ran.exit_code == 3
    assert ran.stdout.startswith(f"log.md:{place + 3}: numbers-differ: ")
    assert ran.stdout.count("\n") == ran.stdout.count("the log says") == 1
    assert "500 rows: 499 as the data say, 1 different, 0 that cannot be verified." in ran.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    some_of(
        [
            ("| 10.000s", "| 10.001s"),
            ("| 10.000s", "| n/a"),
            ("| 0.133", "| n/a"),
            ("considered=30", "considered=31"),
            ("with_fallback=4", "with_fallback=3"),
            ('"completed":30', '"completed":29'),
            ('"completed":30', '"failed":30'),
            ("12:30:30", "12:28:30"),
        ],
        5,
    ),
)
def test_verify_compares_what_the_row_says(log: Path, lane: RuntimeDatabase, old: str, new: str) -> None:
    row = true_row(30)
    assert row.count(old) == 1
    log.write_text(TABLE + row + row.replace(old, new))
    ran = run("verify", "log.md", "--source", str(lane.path))
    assert (ran.exit_code, ran.stdout.count("\n")) == (3, 1)
    assert ran.stdout.startswith("log.md:4: ")


def test_verify_by_a_rows_own_policy_holds_every_number_and_the_decision(log: Path, lane: RuntimeDatabase) -> None:
    window = vp.RolloutWindow(LANE, last_missions=30, as_of=NOON + timedelta(minutes=40, seconds=10.6))
    with vp.open_source(lane.path) as source:
        verdict = vp.classify(vp.summarize(source.load(window)), vp.Policy.load("playbook"))
    row = vp.evidence_row(
        verdict, window_label="w", scope="s", ref=f'x: RolloutWindow(vp_id="{LANE}", last_missions=30)'
    )
    options = ["verify", "log.md", "--source", str(lane.path)]
    log.write_text(TABLE + row + "\n")
    assert run(*options).exit_code == 0  # though the row's date is cut to the second, and a mission ended within it
    for old, new in (("HOLD_SHADOW", "READY_FOR_LIMITED_COHORT_PILOT"), ("avg=10", "avg=11")):
        assert old in row
        log.write_text(TABLE + row.replace(old, new) + "\n")
        ran = run(*options)
        assert ran.exit_code == 3
        assert ran.stdout.count("the data say") == 1


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (line(date="2026-02-16", ref=CALL), "does not say the second"),
        (line(ref="by hand"), "name no window"),
        (line(rate="n/a", p95="n/a", notes="", ref=CALL), "states no number"),
        (line(label="SAMPLE w", ref=CALL), "sample lane"),
        (line(ref=CALL.replace(LANE, "vp.other")), "vp.other"),
        (line(date="soon", ref=CALL), "cannot be read"),
        (line(ref='`RolloutWindow(vp_id="l", start="soon")`'), "soon"),
    ],
)
def test_what_cannot_be_verified_is_no_finding(log: Path, lane: RuntimeDatabase, row: str, why: str) -> None:
    log.write_text(TABLE + row)
    ran = run("verify", "log.md", "--source", str(lane.path))
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "log.md:3: cannot be verified: " in ran.stderr
    assert why in ran.stderr


def test_verify_wants_a_source_that_knows_the_past(log: Path, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"fallback": {}, "latency_seconds": {}}')
    assert "the past" in str(run("verify", "log.md", "--source", "s.json").exception)


def test_the_log_from_the_field(log: Path) -> None:
    """Counted by hand in the file: 19 rows, the last eleven real windows of 1 to 27 missions. It is not ours."""
    field = Path(os.environ.get("VPANALYSIS_FIELD_LOG", "nowhere"))
    if not field.is_file():
        pytest.skip("VPANALYSIS_FIELD_LOG names no log")
    before = field.read_bytes()
    log.write_bytes(before)
    ran = run("show", "log.md", "--format", "json")
    assert len(json.loads(ran.stdout)) == 19
    assert "27 distinct missions in 11 rows, which add up to 117" in ran.stderr
    assert "27 distinct missions, not the 117" in run("check", "log.md").stdout
    row = line(date="2026-02-16T18:00:00Z").strip()
    assert run("append", "log.md", row).exit_code == 0
    end = before.index(b"\n", before.index(b"| 2026-02-16T17:24:35Z")) + 1
    assert log.read_bytes() == before[:end] + row.encode() + b"\n" + before[end:]
