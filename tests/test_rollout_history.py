"""The history's report: what story it tells of planted lanes, and the log's rows beside the data."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import NOON, RuntimeDatabase, some_of
from matplotlib.dates import num2date

import vpanalysis as vp
from vpanalysis.data.source import SqliteSource
from vpanalysis.report import rollout_history
from vpanalysis.report.history_report import HistoryReport

DAY = timedelta(days=1)
DAYS, SIZE = 12, 40
ERRORS = ("LeaseError: lease expired", "ConnectionError: socket refused")


@pytest.fixture
def report(
    make_database: Callable[..., RuntimeDatabase], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., HistoryReport]:
    """Writes twelve days of 40 missions with so many fallbacks a day (None: no traffic) and returns their report."""

    def made(fallbacks: list[int | None], log: str = "") -> HistoryReport:
        end = datetime(2026, 2, 17, tzinfo=UTC) + (DAYS - 1) * DAY
        monkeypatch.setattr(SqliteSource, "now", lambda source: end)
        database = make_database()
        database.session(at=NOON - DAY)
        for day, fell_back in enumerate(fallbacks):
            for number in range(SIZE if fell_back is not None else 0):
                at = NOON + day * DAY + number * timedelta(minutes=10)
                database.mission(name := f"m{day}-{number}", at, events=["vp.mission.dispatched"])
                if number < (fell_back or 0):
                    error = ERRORS[fell_back is not None and fell_back > 4]
                    database.event(name, "vp.mission.fallback", at, payload_json=json.dumps({"error": error}))
                database.event(name, "vp.mission.completed", at + timedelta(seconds=9))
        if log:
            (tmp_path / "log.md").write_text(log, "utf-8")
        return vp.history_report(source=str(database.path), log=str(tmp_path / "log.md") if log else "")

    return made


def test_a_steady_lane(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1])
    assert (found.story, found.incidents, len(found.flips)) == ("STEADY", (), 0)
    assert "12 of 12 windows with traffic were healthy; 4 of 480 missions (0.8 %)" in vp.tables.history(found).text
    assert vp.tables.incidents(found).finding.startswith("None")


def test_an_incident_and_its_recovery(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 0, 1, 0, 12, 16, None, 10, 0, 0, 0, 0])
    assert found.story == "RECOVERED"
    [incident] = found.incidents
    midnight = NOON - NOON.hour * timedelta(hours=1)
    assert (incident.start, incident.seen) == (midnight + 4 * DAY, midnight + 5 * DAY)
    assert (incident.recovered, incident.windows, incident.worst) == (midnight + 9 * DAY, 3, True)
    assert incident.to_recover == 4 * DAY  # a day without traffic neither ends it nor begins another
    assert vp.tables.incidents(found).finding == "1 incident, recovered"
    assert found.flips["lane_status"].tolist() == ["FORCE_FALLBACK", "HEALTHY"]
    assert "healthy again 4 d after its first window" in vp.tables.history(found).text
    assert found.signatures["first_seen"].tolist() == [midnight + 2 * DAY, midnight + 4 * DAY]
    assert found.signatures["count"].tolist() == [1, 38]
    # 12 of the first 20 missions of day 4 fell back, 16 and 10 of days 5 and 7; 1 of day 2.
    assert found.rolling_fallback.fillna(-1).tolist()[2:9] == pytest.approx([0.05, 0.0, 0.6, 0.8, -1, 0.5, 0.0])


def test_incidents_that_come_again_and_again_are_no_recovery(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 12, 0, 0, 12, 0, 0, 12, 0, 0, 12, 0])
    assert (found.story, len(found.incidents)) == ("RECURRING", 4)
    assert vp.tables.history(found).tone == "watch"
    assert vp.tables.incidents(found).tone == "watch"
    assert "what the incidents have in common" in vp.tables.history(found).text


@pytest.mark.parametrize(
    "fallbacks",
    some_of([[0, 12, 12, 0, 0, 12, 12, 0, 0, 0], [0, 12, 0, 0, 12, 0, 0, 12, 0, 0, 0, 0]], 2),
    ids=["two", "three in twelve windows are chance"],
)
def test_few_incidents_are_a_recovery(fallbacks: list[int], report: Callable[..., HistoryReport]) -> None:
    assert report(fallbacks).story == "RECOVERED"


def test_few_of_many_windows_recur_when_chance_does_not_explain_them(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 0, 12, 0, 0, 0, 0, 0, 12, 0, 0, 0])
    for times, story in ((2, "RECOVERED"), (4, "RECURRING")):  # of 5 %: 4 of 24 have P = 3.0 %, 8 of 48 0.2 %
        windows = pd.concat([found.windows] * times, ignore_index=True)
        assert rollout_history._story(windows, found.incidents * times) == story


def title(ax: Any) -> str:
    return str(ax.get_title(loc="left"))


def test_the_figures_say_what_they_found(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 0, 1, 0, 12, 16, None, 10, 0, 0, 0, 0])
    plots = vp.plots
    assert title(plots.decisions_over_windows(found)) == "8 of 11 windows with traffic were healthy; 1 incident"
    rate = plots.rate_over_windows(found)
    assert title(rate) == "The fallback rate was 5 % or more in 3 of 11 windows; the highest was 40.0 %"
    assert title(plots.failures_over_windows(found)) == "None of 440 missions failed"
    assert (
        title(plots.p95_over_windows(found))
        == "The p95 run time stayed below 90 s in all 11 windows; the highest was 10.0 s"
    )
    [above] = [marks for marks in rate.collections if marks.get_label() == "interval goes on above"]
    high = found.windows["rate_high"] > rate.get_ylim()[1]
    assert len(above.get_offsets()) == high.sum() > 0


@pytest.mark.parametrize(
    ("fallbacks", "words"),
    [
        ([0, 12, 12, 0, 0], "17 Feb, "),
        ([12, 0, 12, 12, 0], "the longest: "),
        ([12, 0, 12, 0, 0], "one of the longest: "),
    ],
)
def test_an_incident_is_the_longest_only_when_no_other_lasted_as_long(
    fallbacks: list[int | None], words: str, report: Callable[..., HistoryReport]
) -> None:
    [told] = vp.plots.decisions_over_windows(report(fallbacks)).texts
    assert told.get_text().startswith(words)


def marked(ax: Any) -> dict[str, int]:
    """How many windows a figure marks, by what its legend says of the mark."""
    labels = ((marks.get_label(), len(marks.get_offsets())) for marks in ax.collections if len(marks.get_offsets()))
    return {str(label): number for label, number in labels if "or more" in str(label)}


def test_a_figure_marks_windows_by_its_own_value(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 0, 1, 0, 12, 3, None, 10, 0, 0, 0, 0])  # 30 %, 7.5 % and 25 % of 40 fell back; all ran 10 s
    assert marked(vp.plots.rate_over_windows(found)) == {"20 % or more": 2, "5 % or more": 1}
    assert marked(vp.plots.p95_over_windows(found)) == {}
    found.windows["p95_seconds"] = [10.0, 50, 90, 200] * 3
    assert marked(vp.plots.p95_over_windows(found)) == {"90 s or more": 6}  # no gate of a rollout asks for 45 s
    sustained = replace(found, policy=vp.Policy.load("playbook", profile="sustained"))
    assert marked(vp.plots.p95_over_windows(sustained)) == {"90 s or more": 6, "45 s or more": 3}


def test_a_session_that_nothing_tells_of_is_no_incident(make_database: Callable[..., RuntimeDatabase]) -> None:
    database = make_database()
    database.session(at=NOON + 9 * DAY)  # its row tells of now, and there is no event
    for number in range(10 * SIZE):
        day, at = number // SIZE, NOON + number // SIZE * DAY + number % SIZE * timedelta(minutes=10)
        kinds = ["vp.mission.dispatched", *["vp.mission.fallback"] * (day == 4 and number % 2), "vp.mission.completed"]
        database.mission(f"m{number:03d}", at, events=kinds)
    found = vp.history_report(source=str(database.path))
    [incident] = found.incidents
    assert (incident.windows, incident.to_recover) == (1, DAY)
    assert found.session_unknown == found.windows["gate"].eq("session").sum() >= 8
    told = vp.tables.history(found).text
    assert f"{found.session_unknown} windows read WATCH only because" in told
    assert "over, as far as missions tell, 24 h after its first window" in told
    assert "healthy again" not in told


def test_a_slow_decay_and_an_incident_that_goes_on(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3, 3])
    assert found.story == "GETTING_WORSE"
    banner = vp.tables.history(found).content  # 3 of 40 are 7.5 %: to watch, and so its badge says
    assert (banner["tone"], banner["status"], banner["status_tone"]) == ("critical", "NEWEST WINDOW WATCH", "watch")


def test_an_abrupt_incident_is_no_decay(report: Callable[..., HistoryReport]) -> None:
    found = report([0, 0, 0, 0, 0, 1, 0, 0, 14, 12, 16, 13])
    assert found.story == "IN_INCIDENT"
    assert vp.tables.incidents(found).finding == "1 incident, not over"


def test_a_lane_without_missions(report: Callable[..., HistoryReport]) -> None:
    found = report([])
    assert (found.story, found.verdict, len(found.windows)) == ("NO_TRAFFIC", None, 0)
    for show in (vp.tables.history, vp.tables.flips, vp.tables.first_errors, vp.tables.windows):
        assert show(found).text
    assert (vp.tables.incidents(found).tone, vp.tables.incidents(found).finding) == ("quiet", "No window had traffic")
    for draw in ("decisions", "rate", "failures", "p95", "guardrail"):
        assert getattr(vp.plots, f"{draw}_over_windows")(found).empty
    assert json.dumps(vp.publish(found)._repr_mimebundle_())


LOG = """| Date (UTC) | Window | Scope | Endpoint snapshot refs | Fallback rate | p95 latency | Decision | Notes |
|---|---|---|---|---:|---:|---|---|
| 2026-02-16T22:00:00Z | Shadow window #1 | lane | `capture` | 0.000 | 10.0s | HOLD_SHADOW | missions_considered=40 |
| 2026-02-17T22:00:00Z | Limited cohort #1 | lane | `capture` | 0.300 | 10.0s | READY_FOR_LIMITED_COHORT_PILOT | |
| 2026-02-21T22:00:00Z | Monitor cycle | sustained default-on | `capture` | 0.000 | 10.0s | SUSTAINED_WATCH | |
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("moved", "finding", "drawn"),
    [
        ("2026-02-", "3 rows, none comparable with the data", 0),
        ("2026-02-16", "3 rows, 1 whose status differs from the data of their day; 1 not comparable", 2),
    ],
)
def test_rows_of_other_days_are_not_held_against_the_data(
    report: Callable[..., HistoryReport], moved: str, finding: str, drawn: int
) -> None:
    found = report([0] * DAYS, LOG.replace(moved, moved.replace("2026", "2025")))
    assert vp.tables.beside_log(found).finding == finding
    rate = vp.plots.rate_over_windows(found)
    rows = [marks for marks in rate.collections if "row of" in str(marks.get_label())]
    assert sum(len(marks.get_offsets()) for marks in rows) == drawn
    day_before = found.windows["window_start"].iloc[0] - timedelta(days=0.5)
    assert num2date(rate.get_xlim()[0]) > day_before  # type: ignore[no-untyped-call]  # no room for rows of long ago


def test_the_logs_rows_stand_beside_the_data(report: Callable[..., HistoryReport]) -> None:
    found = report([0] * DAYS, LOG)
    assert found.log["step"].tolist() == ["shadow", "limited", "default-on"]
    assert vp.tables.beside_log(found).finding == "3 rows, 2 whose status differs from the data of their day"
    assert vp.tables.rollout_steps(found).finding.startswith("Furthest step: default-on; 2 looks missed")
    [step] = [mark for mark in vp.plots.decisions_over_windows(found).texts if mark.get_text() == "limited"]
    assert step.get_visible()
    content = vp.publish(found).content
    assert (content["story"], content["verdict"]["lane_status"], len(content["windows"])) == ("STEADY", "HEALTHY", 12)
    assert content["log"][1]["rate"] == 0.3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"every": "soon"}, "'soon' is not a duration: give a number"),
        ({"every": "1d", "last_missions": 9}, "either every or last_missions"),
        ({"last_missions": -1}, "last_missions is -1"),
        ({"every": 5}, "every is 5"),
        ({"profile": "x"}, "no profile 'x'"),
        ({"log": "/nowhere.md"}, "There is no log /nowhere.md: check its path"),
    ],
)
def test_bad_parameters_are_a_sentence(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(vp.InputError, match=sentence):
        vp.history_report(**given)  # type: ignore[arg-type]
