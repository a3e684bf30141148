"""The report as a value: its missions as a frame, how it shows itself in a cell, its command, the windows before."""

import json
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from conftest import NOON, RuntimeDatabase, some_of
from report_pages import EVENTS, NEXT_DAY, report_on

import vpanalysis as vp
from vpanalysis.data.sample import SAMPLE_END, write_sample


@pytest.fixture
def lane(make_database: Callable[..., RuntimeDatabase]) -> RuntimeDatabase:
    """Three missions: one completed, one failed with an error, one ran for 100 s and fell back; texts with secrets."""
    lane = make_database()
    lane.session()
    lane.mission("done", NOON, objective="write the docs", events=EVENTS)
    lane.mission(
        "broken",
        NOON + timedelta(minutes=1),
        status="failed",
        objective="deploy with password=hunter22",
        result_ref="https://bob:hunter22@example.org/result",
        events=EVENTS[:2],
    )
    error = json.dumps({"error": "sandbox gone, token=hunter22"})
    lane.event("broken", "vp.mission.failed", NOON + timedelta(minutes=1, seconds=11), payload_json=error)
    lane.mission("slow", NOON + timedelta(minutes=2), run=100.0, events=EVENTS)
    early, late = ({"error": text} for text in ("first cause", "adapter refused"))
    for second, payload in ((50, early), (60, late)):
        moment = NOON + timedelta(minutes=2, seconds=second)
        lane.event("slow", "vp.mission.fallback", moment, payload_json=json.dumps(payload))
    return lane


def report_of(lane: RuntimeDatabase) -> vp.WindowReport:
    return vp.rollout_report(source=str(lane.path), as_of=NEXT_DAY)


def test_its_missions_are_a_frame_with_account_flags_and_error(lane: RuntimeDatabase) -> None:
    missions = report_of(lane).missions.set_index("mission_id")
    assert list(missions.index) == ["done", "broken", "slow"]  # oldest first
    assert missions["outcome"].to_dict() == {"done": "completed", "broken": "failed", "slow": "completed"}
    assert missions["fell_back"].to_dict() == {"done": False, "broken": False, "slow": True}
    assert [bool(slow) for slow in missions["slow"]] == [False, False, True]  # over 90 s
    assert missions["duration_seconds"].tolist() == [10.0, 10.0, 100.0]
    assert missions.at["done", "error"] == ""
    assert missions.at["slow", "error"] == "adapter refused"  # the newest one
    assert missions.at["broken", "error"].startswith("sandbox gone")


def test_no_secret_is_in_any_column_of_the_frame(lane: RuntimeDatabase) -> None:
    missions = report_of(lane).missions
    assert not [name for name in missions if str(name).endswith("_text")]
    assert "hunter22" not in missions.to_csv()
    assert missions["objective"].iloc[0] == "write the docs"
    assert "deploy with" in missions["objective"].iloc[1]


def test_slow_is_missing_where_nobody_knows(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    lane.mission("running", status="running", run=None, events=EVENTS[:2])
    report = vp.rollout_report(source=str(lane.path), as_of=(NOON + timedelta(seconds=31)).isoformat())
    [slow] = report.missions["slow"]
    assert pd.isna(slow)  # it has run for 30 s: it may yet take over 90 s


def test_the_frame_answers_a_question_in_three_lines(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "lane.db", "critical")
    with sqlite3.connect(path) as connection:
        expected = connection.execute(
            "SELECT count(*) FROM (SELECT * FROM vp_missions ORDER BY created_at DESC, rowid DESC LIMIT 100) m "
            "WHERE EXISTS (SELECT 1 FROM vp_events e WHERE e.mission_id = m.mission_id "
            "AND e.event_type = 'vp.mission.fallback')"
        ).fetchone()[0]
    missions = vp.rollout_report(source=str(path), as_of=SAMPLE_END.isoformat()).missions
    assert [name for name in missions if f"``{name}``" not in (vp.WindowReport.missions.__doc__ or "")] == []
    fell_back = missions[missions["fell_back"]]
    counted = fell_back.groupby(["error", fell_back["created_at"].dt.hour]).size()
    assert counted.sum() == expected == 26
    assert "" not in counted.index.get_level_values(0)


def test_a_cell_shows_the_banner_not_every_number() -> None:
    report = report_on("critical")
    shown = report._repr_html_()
    assert "HOLD_<wbr>SHADOW" in shown or "HOLD_SHADOW" in shown
    assert "FORCE FALLBACK" in shown
    assert report.verdict.next_step[:40] in shown
    assert len(shown) < 6_000
    assert len(repr(report)) < 200
    assert repr(report).endswith("vp.coder.primary")


def test_a_cell_shows_no_markup_of_the_database() -> None:
    shown = report_on("hostile")._repr_html_()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;" in shown  # the window's label


@pytest.mark.parametrize("notebook", some_of(["rollout_window", "window_comparison"], 2))
def test_the_command_names_the_notebook_and_fixes_the_moment(notebook: str) -> None:
    report = vp.rollout_report(last_missions=40, scope="two words", notebook=notebook)
    head, _, options = report.command.partition(" --")
    assert head == f"vpanalysis report {notebook}"
    assert f"as-of {SAMPLE_END.isoformat()}" in options
    assert "last-missions 40" in options
    assert "scope 'two words'" in options
    assert "window-label" not in options


def test_the_way_back_is_asked_for_only_after_a_baseline_that_forced_the_fallback(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    lane = make_database()
    lane.session()
    for number in range(60):  # of the first twenty every second falls back, of the second one, of the third none
        bad = (number < 20 and number % 2 == 0) or number == 30
        events = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2]) if bad else EVENTS
        lane.mission(f"m{number}", NOON + timedelta(minutes=number), events=events)

    def way_back(minutes: int) -> bool:
        start, end = (NOON + timedelta(minutes=minute) for minute in (minutes, minutes + 20))
        window = {"window_start": start.isoformat(), "window_end": end.isoformat()}
        return vp.rollout_report(source=str(lane.path), as_of=NEXT_DAY, **window).way_back is not None

    assert [way_back(minutes) for minutes in (0, 20, 40)] == [False, True, False]
