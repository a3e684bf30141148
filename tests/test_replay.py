"""Past windows under several policies: which windows there are, what each could see, and where policies part."""

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import run_command
from conftest import LANE, NOON, RuntimeDatabase

import vpanalysis as vp
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.replay import MOST_WINDOWS, replay, windows_by_missions, windows_by_time
from vpanalysis.data.source import SqliteSource

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LATER = datetime(2026, 2, 18, 18, 0, tzinfo=UTC)


def created(*hours: float) -> list[datetime]:
    """Creation times in hours from noon of 16 February."""
    return [NOON + hour * HOUR for hour in hours]


def bounds(windows: list[vp.RolloutWindow]) -> list[tuple[datetime | None, datetime | None, datetime | None]]:
    return [(window.start, window.end, window.as_of) for window in windows]


def test_days_are_counted_from_midnight_and_each_is_judged_at_its_end() -> None:
    midnight = NOON - 12 * HOUR
    assert bounds(windows_by_time(LANE, created(0, 1, 37), LATER, DAY)) == [
        (midnight, midnight + DAY, midnight + DAY),
        (midnight + DAY, midnight + 2 * DAY, midnight + 2 * DAY),
        (midnight + 2 * DAY, midnight + 3 * DAY, LATER),  # still open
    ]


def test_shorter_windows_begin_where_the_first_mission_is() -> None:
    found = windows_by_time(LANE, created(0.5, 4), NOON + 5 * HOUR, 2 * HOUR)
    assert bounds(found) == [
        (NOON, NOON + 2 * HOUR, NOON + 2 * HOUR),
        (NOON + 2 * HOUR, NOON + 4 * HOUR, NOON + 4 * HOUR),  # without a mission
        (NOON + 4 * HOUR, NOON + 6 * HOUR, NOON + 5 * HOUR),
    ]


def test_windows_end_with_the_newest_mission_however_long_ago() -> None:
    assert len(windows_by_time(LANE, created(0, 1), LATER + 300 * DAY, DAY)) == 1


def test_a_mission_at_midnight_belongs_to_the_day_that_begins() -> None:
    midnight = NOON + 12 * HOUR
    found = windows_by_time(LANE, [NOON, midnight], midnight + DAY, DAY)
    assert [(window.start, window.is_open(midnight + DAY)) for window in found] == [
        (midnight - DAY, False),
        (midnight, False),  # it ends at the moment of reading
    ]
    assert len(windows_by_time(LANE, [NOON, midnight - timedelta(microseconds=1)], LATER, DAY)) == 1


def test_windows_of_missions_are_counted_back_from_the_newest() -> None:
    assert bounds(windows_by_missions(LANE, created(0, 1, 2, 3, 4), LATER, 2)) == [
        (NOON, NOON + HOUR, NOON + HOUR),
        (NOON + HOUR, NOON + 3 * HOUR, NOON + 3 * HOUR),
        (NOON + 3 * HOUR, None, LATER),
    ]


def test_missions_created_at_one_moment_stay_together() -> None:
    found = windows_by_missions(LANE, created(0, 1, 1, 1, 1, 2), LATER, 2)
    assert [window.start for window in found] == created(0, 1)
    assert [window.end for window in found] == [NOON + HOUR, None]


def test_a_lane_without_missions_has_no_windows() -> None:
    assert windows_by_time(LANE, [], LATER, DAY) == []
    assert windows_by_missions(LANE, [], LATER, 20) == []


def test_too_many_windows_are_refused() -> None:
    with pytest.raises(vp.InputError, match="give a longer --every"):
        windows_by_time(LANE, created(0, MOST_WINDOWS), NOON + 90 * DAY, HOUR)
    assert len(windows_by_time(LANE, created(0, MOST_WINDOWS - 1), NOON + 90 * DAY, HOUR)) == MOST_WINDOWS
    with pytest.raises(vp.InputError, match="give a larger --last-missions"):
        windows_by_missions(LANE, created(*range(MOST_WINDOWS + 1)), LATER, 1)
    assert len(windows_by_missions(LANE, created(*range(MOST_WINDOWS)), LATER, 1)) == MOST_WINDOWS


@pytest.fixture
def three_days(make_database: Callable[..., RuntimeDatabase], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three days of 20 missions: clean ones; one fallback, and one that ends the day after; failures. Read later on."""
    monkeypatch.setattr(SqliteSource, "now", lambda source: LATER)
    database = make_database()
    database.session(at=LATER)
    database.session_event("vp.session.created", NOON - HOUR)  # the row is from later: the event tells of then
    for day in range(3):
        for number in range(20):
            at = NOON + day * DAY + number * timedelta(minutes=5)
            status = "failed" if day == 2 else "completed"
            run, events = 10.0, ["vp.mission.dispatched", "vp.mission.started", f"vp.mission.{status}"]
            if day == 1 and number == 7:
                events.insert(2, "vp.mission.fallback")
            if day == 1 and number == 19:
                run, events = 80_000.0, events[:2]
            database.mission(f"mission-{day}-{number}", at, status=status, run=run, events=events)
    return database.path


def test_each_policy_judges_each_past_day(three_days: Path) -> None:
    policies = [Policy.load("playbook"), Policy.load("capture")]
    with vp.open_source(three_days) as source:
        found = replay(source, LANE, policies, every=DAY)
    assert [[judgement.status for judgement in window.judgements] for window in found] == [
        ["HEALTHY", "HEALTHY"],
        ["WATCH", "WATCH"],  # 1 of 20 fell back
        ["WATCH", "HEALTHY"],  # all failed
    ]
    assert [window.flips for window in found] == [(False, False), (False, False), (False, True)]
    assert [reason.gate for reason in found[2].judgements[0].reasons] == ["failures"]
    assert [window.metrics.fallback.missions_considered for window in found] == [20, 20, 20]


def test_a_past_window_does_not_see_what_happened_later(three_days: Path) -> None:
    with vp.open_source(three_days) as source:
        second = replay(source, LANE, [Policy.load("playbook")], every=DAY)[1].metrics
        now = source.load(vp.RolloutWindow(LANE, start=NOON + 0.5 * DAY, end=NOON + 1.5 * DAY, as_of=LATER))
    assert second.missions["status"].tolist() == ["completed"] * 19 + ["running"]
    assert second.account.count("overdue") == 1
    assert not second.provisional
    assert now.missions["status"].tolist() == ["completed"] * 20


def test_windows_of_twenty_missions_find_the_days(three_days: Path) -> None:
    with vp.open_source(three_days) as source:
        found = replay(source, LANE, [Policy.load("playbook")], last_missions=20)
    assert [window.judgements[0].status for window in found] == ["HEALTHY", "WATCH", "WATCH"]
    assert [window.metrics.start for window in found] == created(0, 24, 48)
    assert [window.metrics.provisional for window in found] == [False, False, True]


@pytest.fixture
def lenient(tmp_path: Path) -> Path:
    path = tmp_path / "lenient.toml"
    path.write_text('name = "lenient"\nversion = "3"\n[sustained]\nfallback_watch = 0.19\n', "utf-8")
    return path


def test_the_commands_csv(capsys: pytest.CaptureFixture[str], three_days: Path, lenient: Path) -> None:
    arguments = ("policy", "replay", "--source", str(three_days), "--policy", str(lenient), "--profile", "sustained")
    ran = run_command(capsys, *arguments, "--last-missions", "20", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert (ran.code, ran.err) == (0, "3 windows, 1 flip.\n")
    assert [(row["policy"], row["decision"], row["flip"]) for row in rows] == [
        ("playbook", "SUSTAINED_DEFAULT_ON_HEALTHY", "no"),
        ("lenient", "SUSTAINED_DEFAULT_ON_HEALTHY", "no"),
        ("playbook", "SUSTAINED_WATCH", "no"),
        ("lenient", "SUSTAINED_DEFAULT_ON_HEALTHY", "yes"),
        ("playbook", "SUSTAINED_FORCE_FALLBACK", "no"),
        ("lenient", "SUSTAINED_FORCE_FALLBACK", "no"),
    ]
    assert rows[2]["window_start"] == "2026-02-17T12:00:00Z"
    assert (rows[2]["missions"], rows[2]["fallback_rate"], rows[2]["p95"]) == ("20", "0.050", "10.000s")
    assert rows[2]["reasons"] == "fallback rate elevated (0.050 >= 0.050)"
    assert rows[1]["hash"] == Policy.load(lenient, "sustained").hash
    assert [row["provisional"] for row in rows] == ["no"] * 4 + ["yes"] * 2


def test_the_commands_json(capsys: pytest.CaptureFixture[str], three_days: Path, lenient: Path) -> None:
    arguments = ("policy", "replay", "--source", str(three_days), "--policy", "capture", "--policy", str(lenient))
    content = json.loads(run_command(capsys, *arguments, "--every", "1d", "--format", "json").out)
    assert [one["name"] for one in content["policies"]] == ["playbook", "capture", "lenient"]
    third = content["windows"][2]
    assert third["window_start"] == "2026-02-18T00:00:00+00:00"
    assert [(one["policy"], one["lane_status"], one["flip"]) for one in third["verdicts"]] == [
        ("playbook", "WATCH", False),
        ("capture", "HEALTHY", True),
        ("lenient", "WATCH", False),
    ]
    assert [reason["gate"] for reason in third["verdicts"][0]["reasons"]] == ["failures"]
    assert (third["missions_considered"], third["fallback_rate"]) == (20, 0.0)


def test_the_commands_table_marks_flips(capsys: pytest.CaptureFixture[str], three_days: Path) -> None:
    ran = run_command(
        capsys, "policy", "replay", "--source", str(three_days), "--policy", "capture", "--last-missions", "20"
    )
    head, *lines = (re.split(r"\s{2,}", line) for line in ran.out.splitlines())
    assert head[:6] == ["window start", "window end", "open", "missions", "fallback", "p95"]
    assert [cells[6:] for cells in lines] == [
        ["HEALTHY", "HEALTHY"],
        ["WATCH: fallback_rate", "WATCH: fallback_rate"],
        ["WATCH: failures", "! HEALTHY"],
    ]


def test_the_playbook_is_not_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_command(capsys, "policy", "replay", "--source", "sample:no-traffic", "--policy", "playbook")
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 1
    assert ran.out.count("playbook") == 1
    assert ran.err == "0 windows, 0 flips.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--every", "1d", "--last-missions", "20"], "Give either --every or --last-missions, not both."),
        (["--every", "soon"], "'soon' is not a duration: give a number with m, h, d or w"),
        (["--every", "0d"], "'0d' is not a duration"),
        (["--every", "1m"], "more than 1,000: give a longer --every"),
        (["--policy", "missing.toml"], "There is no policy 'missing.toml'"),
        (["--vp-id", "vp.other"], "There is no lane 'vp.other'"),
        (["--source", ""], "is empty"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    ran = run_command(capsys, "policy", "replay", "--source", "sample", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("ERROR: ")
    assert sentence in ran.err
