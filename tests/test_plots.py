"""Figures, by their artists: what stands where, against plain counts of the same database."""

import base64
import io
import itertools
import re
import sqlite3
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.dates
import matplotlib.image
import numpy as np
import pytest
from conftest import NOON, RuntimeDatabase, some_of
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from report_pages import EVENTS, NEXT_DAY, WINDOWS, of_a_window, report_on, telling

from vpanalysis.data.sample import SAMPLE_END, write_sample
from vpanalysis.report import drawing, style
from vpanalysis.report.piece import FIGURE_MIME
from vpanalysis.report.rollout import rollout_report
from vpanalysis.report.sections import plots
from vpanalysis.report.style import ReportAxes
from vpanalysis.report.window_report import WindowReport

FIGURES = list(of_a_window(plots).values())
FELL_BACK = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2])


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("plots") / "lane.db", "elevated")


@pytest.fixture(scope="module")
def elevated(lane: Path) -> WindowReport:
    """The newest 100 missions of a sample lane of which 8 fell back."""
    return rollout_report(source=str(lane), as_of=SAMPLE_END.isoformat())


@pytest.fixture(scope="module")
def long() -> WindowReport:
    return report_on("5,000-missions")


@pytest.fixture(scope="module")
def newest(lane: Path) -> list[sqlite3.Row]:
    """The same 100 missions as SQLite holds them, oldest first."""
    with sqlite3.connect(lane) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT m.*, EXISTS (SELECT 1 FROM vp_events e WHERE e.mission_id = m.mission_id "
            "AND e.event_type = 'vp.mission.fallback') AS fell_back "
            "FROM vp_missions m ORDER BY created_at DESC, rowid DESC LIMIT 100"
        ).fetchall()
    return rows[::-1]


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in (*ax.texts, *ax.yaxis.get_minorticklabels())]


def at(moment: str) -> float:
    return float(matplotlib.dates.datestr2num(moment))


def scatters(ax: Any) -> list[PathCollection]:
    return [artist for artist in ax.collections if isinstance(artist, PathCollection)]


def test_the_rolling_share_is_that_of_a_plain_loop(elevated: WindowReport, newest: list[sqlite3.Row]) -> None:
    ax = plots.fallback_over_time(elevated)
    fell_back = [row["fell_back"] for row in newest]
    expected = [sum(fell_back[i - 19 : i + 1]) / 20 for i in range(19, 100)]
    [line] = [line for line in ax.lines if len(line.get_xdata()) == len(expected)]
    assert list(line.get_ydata()) == pytest.approx(expected)
    assert f"peaked at {100 * max(expected):.1f} %" in ax.get_title(loc="left")


def test_fallback_thresholds_are_drawn_and_named(elevated: WindowReport) -> None:
    ax = plots.fallback_over_time(elevated)
    across = [line.get_ydata()[0] for line in ax.lines if list(line.get_xdata()) == [0, 1]]
    assert across == [0.05, 0.20]
    assert {"watch 5 %", "critical 20 %"} <= set(texts(ax))
    assert ax.get_ylim()[1] > 0.20


def test_every_fallback_is_marked_where_its_mission_was_created(
    elevated: WindowReport, newest: list[sqlite3.Row]
) -> None:
    [marks] = scatters(plots.fallback_over_time(elevated))
    expected = [at(row["created_at"]) for row in newest if row["fell_back"]]
    assert len(expected) == 8
    assert marks.get_offsets()[:, 0].tolist() == pytest.approx(expected)


def test_the_windows_rate_stands_in_the_margin_with_the_bounds_of_the_true_one(
    elevated: WindowReport, newest: list[sqlite3.Row]
) -> None:
    ax = plots.fallback_over_time(elevated)
    bar, point = [line for line in ax.lines if set(line.get_xdata()) == {1.02}]
    # The window is open: it may be looked at again and again. A worker's mission records no fallback.
    ended = [row for row in newest if row["status"] in ("completed", "failed", "timed_out") or row["fell_back"]]
    able = sum(row["fell_back"] or not row["worker_id"] for row in ended)
    evidence = elevated.verdict.evidence
    assert (evidence.missions, evidence.against, evidence.basis) == (able, 8, "anytime")
    assert list(bar.get_ydata()) == [evidence.lower_bound, evidence.upper_bound]
    assert point.get_ydata()[0] == pytest.approx(8 / able)  # not of all 100, of which the bounds say nothing
    assert 0 < bar.get_ydata()[0] < 8 / able < bar.get_ydata()[1]
    assert f"recordable\n{800 / able:.1f} %" in texts(ax)


@pytest.mark.parametrize("window", telling([*WINDOWS, "5,000-missions"]))
def test_the_fallback_line_stays_below_the_top(window: str) -> None:
    ax = plots.fallback_over_time(report_on(window))
    low, top = ax.get_ylim()
    for line in ax.lines:
        if line.get_clip_on() and list(line.get_xdata()) != [0, 1] and line.get_transform() == ax.transData:
            assert max(line.get_ydata(), default=0) <= top
            assert min(line.get_ydata(), default=0) >= low
    margin = [line.get_ydata() for line in ax.lines if set(line.get_xdata()) == {1.02}]
    for bounds, rate in zip(margin[::2], margin[1::2], strict=True):
        assert min(bounds) <= rate[0] <= max(bounds) <= top


def test_the_dotted_part_is_explained(elevated: WindowReport, newest: list[sqlite3.Row]) -> None:
    ax = plots.fallback_over_time(elevated)
    [dotted] = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert "fewer than 20 missions" in dotted.get_label()
    assert dotted.get_label() in [text.get_text() for text in ax.get_legend().get_texts()]
    assert matplotlib.dates.date2num(dotted.get_xdata()).max() == pytest.approx(at(newest[19]["created_at"]))


@pytest.mark.thorough  # five thousand missions
def test_the_band_of_a_dense_window_is_explained(long: WindowReport) -> None:
    ax = plots.fallback_over_time(long)
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any(text.startswith("lowest to highest of each") for text in shown)


def test_marks_of_fallbacks_are_explained_where_there_are_any() -> None:
    assert "▲ 26 fell back" in texts(plots.fallback_over_time(report_on("critical")))
    assert not any("▲" in text for text in texts(plots.fallback_over_time(report_on("all-failed"))))


def test_a_short_window_is_all_of_its_missions_and_needs_no_legend() -> None:
    ax = plots.fallback_over_time(report_on("one-mission"))
    assert ax.get_legend() is None
    assert "of the missions so far" in ax.get_title(loc="left")


def test_the_moment_of_a_recent_change_is_marked(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    for number in range(400):  # 10 of 400 (2.5 %), but of the newest 20 every second
        bad = number >= 380 and number % 2 == 0
        lane.mission(f"m{number:03d}", NOON + timedelta(minutes=number), events=FELL_BACK if bad else EVENTS)
    given = {"source": str(lane.path), "as_of": NEXT_DAY, "last_missions": 400}
    ax = plots.fallback_over_time(rollout_report(**given))
    [mark] = [text for text in ax.texts if text.get_text() == "change"]
    assert mark.xy[0] == NOON + timedelta(minutes=380)
    assert any(list(line.get_xdata()) == [mark.xy[0]] * 2 for line in ax.lines)
    assert "change" not in texts(plots.fallback_over_time(rollout_report(**given | {"policy": "capture"})))
    assert "change" not in texts(plots.fallback_over_time(report_on("elevated")))


def test_each_dot_is_a_missions_run_time(elevated: WindowReport, newest: list[sqlite3.Row]) -> None:
    ax = plots.latency_over_time(elevated)
    expected = sorted(
        round(86400 * (at(row["completed_at"]) - at(row["started_at"])), 3)
        for row in newest
        if row["started_at"] and row["completed_at"]
    )
    dots = scatters(ax)[0].get_offsets()[:, 1]
    assert sorted(dots.tolist()) == pytest.approx(expected, abs=1e-3)
    assert {"watch 90 s", "p50", "p95"} <= set(texts(ax))
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > max(*expected, 90)


def test_missions_that_still_run_are_drawn_as_slower_than_so_far(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    for number in range(3):
        lane.mission(f"done-{number}", run=10.0, events=EVENTS)
    lane.mission("running", status="running", run=None, events=EVENTS[:2])
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY)
    ax = plots.latency_over_time(report)
    arrows = scatters(ax)[1]
    assert arrows.get_offsets()[:, 1].tolist() == [ax.get_ylim()[1]]  # a day is far beyond the axis: at its edge
    shown = [*texts(ax), *(text.get_text() for text in ax.get_legend().get_texts())]
    [said] = [text for text in shown if "1 still running" in text]
    assert "24 h" in said
    assert "24 h" in ax.alt
    distribution = plots.latency_distribution(report)
    assert "not reached yet" in distribution.get_title(loc="left").replace("\n", " ")


def test_without_running_missions_the_distribution_is_the_empirical_one(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    lane = make_database()
    lane.session()
    seconds = [3.0, 5.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0]
    for number, run in enumerate(seconds):
        lane.mission(f"m{number}", run=run, events=EVENTS)
    ax = plots.latency_distribution(rollout_report(source=str(lane.path), as_of=NEXT_DAY))
    [curve] = [line for line in ax.lines if len(line.get_xdata()) > 2]
    distinct = sorted(set(seconds))
    assert list(curve.get_xdata()) == [0.0, *distinct]
    assert list(curve.get_ydata()) == pytest.approx([0, *(np.mean(np.array(seconds) <= value) for value in distinct)])
    assert {"p50 13.0 s", "p95 55.0 s", "watch 90 s"} <= set(texts(ax))  # by the contract's index
    assert len(ax.collections) == 1  # the band


@pytest.mark.parametrize("window", ["all-failed", "empty-window", "no-traffic"])
def test_a_distribution_of_nothing_says_so(window: str) -> None:
    ax = plots.latency_distribution(report_on(window))
    assert texts(ax) == ["Nothing to draw"]
    assert ax.get_title(loc="left").startswith("No mission completed")
    assert not ax.lines


def test_equal_quantiles_are_named_once() -> None:
    assert "p50 and p95 10.0 s" in texts(plots.latency_distribution(report_on("one-mission")))


def test_queue_wait_stands_beside_run_time_and_the_window_before(elevated: WindowReport) -> None:
    ax = plots.queue_beside_run(elevated)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Run time", "Queue wait"]
    ends = sorted(line.get_xdata()[1] for line in ax.lines if len(line.get_xdata()) == 2)
    run, queue, before = elevated.metrics.latency_seconds, elevated.metrics.queue_wait_seconds, elevated.baseline
    assert queue is not None
    assert before is not None
    assert before.queue_wait_seconds is not None
    values = (run, queue, before.latency_seconds, before.queue_wait_seconds)
    assert ends == pytest.approx(sorted(float(value.p95_seconds or 0) for value in values))
    assert sum(text.startswith("before:") for text in texts(ax)) == 2
    assert {text.xy[0] for text in ax.texts} == {0}  # a narrow page, which begins there, has them all, and the bars
    assert isinstance(ax, ReportAxes)
    assert ax.from_start


def test_the_window_before_is_drawn_beneath_the_window(elevated: WindowReport) -> None:
    ax = plots.distributions_compared(elevated)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["before", "this window"]
    curves = [line for line in ax.lines if not line.get_label().startswith("_")]
    for curve, profile in zip(curves, (elevated.baseline_latency, elevated.latency), strict=True):
        assert profile is not None
        assert profile.curve is not None
        assert list(curve.get_xdata()) == [0.0, *profile.curve.seconds]
        assert list(curve.get_ydata()) == [0.0, *profile.curve.share_finished]
    assert curves[0].get_linestyle() != curves[1].get_linestyle()


def test_the_timeline_has_a_row_per_outcome_with_every_mission(
    elevated: WindowReport, newest: list[sqlite3.Row]
) -> None:
    ax = plots.mission_timeline(elevated)
    ended = ("completed", "failed", "cancelled")
    statuses = ["failed" if row["status"] == "timed_out" else row["status"] for row in newest]
    outcomes = [status if status in ended else "pending" for status in statuses]
    counted = {name: outcomes.count(name) for name in (*ended, "pending") if name in outcomes}
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"{name}  {number}" for name, number in reversed(counted.items())]
    assert [len(marks.get_offsets()) for marks in scatters(ax)] == list(reversed(counted.values()))
    markers = {marks.get_paths()[0].vertices.tobytes() for marks in scatters(ax)}
    assert len(markers) == len(counted)  # told apart by shape, not by colour alone


def test_the_bars_of_the_event_mix_are_the_counts(
    elevated: WindowReport, lane: Path, newest: list[sqlite3.Row]
) -> None:
    ids = [row["mission_id"] for row in newest]
    with sqlite3.connect(lane) as connection:
        counted = dict(
            connection.execute(
                f"SELECT event_type, count(*) FROM vp_events WHERE mission_id IN ({','.join('?' * 100)}) GROUP BY 1",
                ids,
            )
        )
    ax = plots.event_mix(elevated)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert dict(zip(labels, (bar.get_width() for bar in ax.patches), strict=True)) == counted
    shares = [f"{counted[f'vp.mission.{kind}']} {kind}" for kind in ("completed", "fallback", "failed")]
    assert ax.get_title(loc="left") == f"{', '.join(shares)} among {sum(counted.values())} events"


def test_rare_event_types_are_drawn_together(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.mission("m", events=[f"vp.custom.{number}" for number in range(15)])
    ax = plots.event_mix(rollout_report(source=str(lane.path), as_of=NEXT_DAY))
    assert len(ax.patches) == 11
    assert ax.get_yticklabels()[-1].get_text() == "5 other types"
    assert ax.get_title(loc="left") == "None completed, fallback or failed among 15 events"
    assert ax.patches[-1].get_width() == 5


def test_the_lifecycle_has_a_row_per_event_type(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    lane.mission("m", events=EVENTS)
    for kind in ("created", "degraded", "resumed", "degraded", "unheard_of"):
        lane.session_event(f"vp.session.{kind}", NOON)
    ax = plots.session_lifecycle(rollout_report(source=str(lane.path), as_of=NEXT_DAY))
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["degraded  2", "resumed  1", "created  1", "unheard_of  1"]
    assert [len(marks.get_offsets()) for marks in scatters(ax)] == [2, 1, 1, 1]
    assert ax.get_title(loc="left").startswith("Degraded 2 times among 5 session events")


def test_changes_stand_with_their_interval_and_a_word(elevated: WindowReport) -> None:
    ax = plots.baseline_comparison(elevated)
    change = elevated.comparison.fallback
    assert change is not None
    interval = [change.interval.low, change.interval.high]
    assert interval in [list(line.get_xdata()) for line in ax.lines]
    assert "1.0 % → 8.0 %, up" in texts(ax)
    assert not any("0.0 % → 0.0 %" in text for text in (*texts(ax), ax.get_title(loc="left"), ax.alt))
    [none] = [text for text in ax.texts if text.get_text() == "none, before or now"]  # slower than 90 s
    assert none.get_ha() == "left"  # a narrow page begins at zero
    assert "1.0 %, as before" in texts(plots.baseline_comparison(report_on("load-pressure")))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_a_figure_is_drawn_on_the_axes_it_is_given(figure: Callable[..., Any], elevated: WindowReport) -> None:
    given = Figure().add_subplot()
    settings = dict(matplotlib.rcParams)
    assert figure(elevated, ax=given) is given
    assert given.get_title(loc="left")
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_a_figure_of_its_own_has_a_sentence_units_and_alternative_text(
    figure: Callable[..., Any], elevated: WindowReport
) -> None:
    ax = figure(elevated)
    assert isinstance(ax, ReportAxes)
    title = " ".join(ax.get_title(loc="left").split())
    assert re.match(r"\S+ \S+ \S+", title)
    assert ax.alt.startswith(title)
    assert len(ax.alt) > len(title) + 10
    label = ax.get_xlabel()
    assert "UTC" in label or "time" in label.lower() or label.startswith(("Bars", "Events", "Change")), label


@pytest.mark.thorough
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_dense_windows_are_aggregated(figure: Callable[..., Any], long: WindowReport) -> None:
    ax = figure(long)
    marks = [artist for artist in scatters(ax) if not artist.get_rasterized()]
    assert sum(len(artist.get_offsets()) for artist in marks) <= style.DENSE
    assert sum(len(line.get_xdata()) for line in ax.lines) <= 2 * style.DENSE
    assert len(ax.patches) <= style.DENSE
    assert len(style.svg(ax.get_figure(root=True))) < 200_000


@pytest.mark.thorough
def test_dense_fallbacks_are_marked_together_and_counted(long: WindowReport) -> None:
    ax = plots.fallback_over_time(long)
    assert "▲ 1,300 fell back" in texts(ax)  # 26 of 100, of 5,000
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    settled = long.verdict.evidence.missions
    assert f"95 % bounds of the {settled:,} that could record one" in labels
    edges, counts = drawing.histogram(long.metrics.missions["created_at"], long.metrics.start, long.metrics.end)  # type: ignore[index, arg-type]
    assert sum(counts) == 5_000
    assert len(edges) == len(counts) + 1


@pytest.mark.parametrize("window", telling(WINDOWS, ["no-traffic", "hostile"]))
def test_every_figure_bears_every_window(window: str) -> None:
    report = report_on(window)
    for figure in FIGURES:
        ax = figure(report)
        ElementTree.fromstring(style.svg(ax.get_figure(root=True)))
        assert ax.alt


def test_without_data_a_sentence_says_so(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    report = rollout_report(source=str(fresh_database.path), as_of=NEXT_DAY)
    for figure in FIGURES:
        ax = figure(report)
        assert texts(ax) == ["Nothing to draw"]
        assert ax.get_title(loc="left").startswith(("No ", "There is no "))
        assert ax.get_figure().get_size_inches()[1] < 1


@pytest.mark.parametrize("window", telling(WINDOWS, ("critical", "hostile")))
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_nothing_is_cut_or_covered(figure: Callable[..., Any], window: str) -> None:
    ax = figure(report_on(window))
    drawn = ax.get_figure(root=True)
    canvas = FigureCanvasAgg(drawn)
    with style.styled():
        canvas.draw()
    renderer = canvas.get_renderer()
    shown = [*ax.texts, *ax.yaxis.get_ticklabels("both")]
    named = [(text.get_text(), text.get_window_extent(renderer)) for text in shown if text.get_text()]
    if ax.get_legend() is not None:
        named.append(("legend", ax.get_legend().get_window_extent(renderer)))
    for name, box in named:
        assert box.x0 >= -1, name
        assert box.y0 >= -1, name
        assert box.x1 <= drawn.bbox.x1 + 1, name
        assert box.y1 <= drawn.bbox.y1 + 1, name
    for (one, box), (other, place) in itertools.combinations(named, 2):
        shared = type(box).intersection(box, place)
        assert shared is None or shared.width < 2 or shared.height < 2, f"{one!r} covers {other!r}"
    inside = ax.get_window_extent(renderer)
    for marks in scatters(ax):
        if marks.get_clip_on():  # then every mark must be wholly inside
            x, y = marks.get_offset_transform().transform(marks.get_offsets()).T
            radius = np.sqrt(marks.get_sizes().max()) / 2 * drawn.dpi / 72
            assert min(*x, *y) >= min(inside.x0, inside.y0) + radius
            assert x.max() <= inside.x1 - radius
            assert y.max() <= inside.y1 - radius


@pytest.mark.parametrize(
    "figure", [plots.fallback_over_time, plots.latency_over_time, plots.mission_timeline], ids=lambda f: f.__name__
)
def test_a_time_axis_for_one_mission_spans_about_an_hour(figure: Callable[..., Any]) -> None:
    ax = figure(report_on("one-mission"))
    start, end = ax.get_xlim()
    assert 0.5 <= 24 * (end - start) <= 2
    assert start < matplotlib.dates.date2num(NOON) < end


@pytest.mark.parametrize("window", ["one-mission", "small"])  # of small, twenty missions at one moment
def test_one_moment_is_a_point_not_an_invisible_line(window: str) -> None:
    ax = plots.fallback_over_time(report_on(window))
    assert any(line.get_marker() == "o" and len(line.get_xdata()) == 1 for line in ax.lines)


def test_a_legend_explains_only_lines_that_can_be_seen() -> None:
    named = [plots.fallback_over_time(report_on(window)).get_legend() for window in ("small", "all-equal")]
    assert [legend is not None for legend in named] == [True, False]  # dotted from 0 % to 33 %, or a point at 0 %


@pytest.mark.parametrize(
    ("start", "length", "labels"),
    [
        (NOON - timedelta(minutes=20), timedelta(minutes=40), ["11:40", "11:50", "12:00", "12:10", "12:20"]),
        (NOON, timedelta(seconds=1), ["12:00", "12:00:00.2", "12:00:00.4", "12:00:00.6", "12:00:00.8", "12:00:01.0"]),
        (NOON, timedelta(days=20), ["17 Feb", "21 Feb", "25 Feb", "01 Mar", "05 Mar"]),
    ],
)
def test_each_tick_of_time_says_which_moment_it_is(start: datetime, length: timedelta, labels: list[str]) -> None:
    ax = Figure().subplots()
    style.time_axis(ax, start, start + length, "Created")
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    assert [label.get_text() for label in ax.get_xticklabels() if low <= label.get_position()[0] <= high] == labels


@pytest.mark.parametrize(
    ("longest", "labels"),
    [
        (80.0, ["0 s", "20 s", "40 s", "60 s", "80 s", "100 s"]),  # up to 90 s and more
        (163.0, ["0 s", "60 s", "2 min", "3 min"]),
        (600.0, ["0 s", "2 min", "4 min", "6 min", "8 min", "10 min"]),
        (5000.0, ["1 s", "10 s", "60 s", "10 min", "60 min"]),  # logarithmic
    ],
)
def test_ticks_of_durations_are_round_in_the_units_that_the_sentences_use(longest: float, labels: list[str]) -> None:
    ax = Figure().subplots()
    drawing.seconds_axis(ax, "x", 1.0, longest, 90.0)
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    assert [label.get_text() for label in ax.get_xticklabels() if low <= label.get_position()[0] <= high] == labels


def test_missions_that_took_no_time_are_not_said_to_be_running() -> None:
    title = plots.latency_distribution(report_on("all-equal")).get_title(loc="left")
    assert title == "Half of the missions finish within 0.00 s, 95 % within 0.00 s"


class TestImages:
    def test_the_same_figure_is_the_same_image(self, elevated: WindowReport) -> None:
        first, second = (plots.event_mix(elevated)._repr_mimebundle_()[0]["image/svg+xml"] for _ in range(2))
        assert first == second

    def test_ink_follows_the_readers_light_or_dark(self, elevated: WindowReport) -> None:
        image = plots.fallback_over_time(elevated)._repr_mimebundle_()[0]["image/svg+xml"]
        drawn = {ink for ink in style._INKS if f": {ink.light}" in image.partition("</style>")[2]}
        assert len(drawn) >= 6
        for ink in drawn:
            assert f": {ink.light}" in image.partition("prefers-color-scheme:dark")[2]
            assert f":{ink.dark}!important" in image

    @pytest.mark.parametrize("pixels", [True, False])
    def test_dots_that_are_pixels_are_light_on_a_dark_ground(self, pixels: bool) -> None:
        ax = style.new_axes(1.5)
        ax.plot([0, 1], [0, 1], "o", rasterized=pixels)
        image = style.svg(ax.get_figure(root=True))  # type: ignore[arg-type]
        dark = image.partition("prefers-color-scheme:dark")[2].partition("</style>")[0]
        assert ("image{filter:invert(1)" in dark) == pixels == ("<image" in image)

    def test_every_ink_of_text_is_legible_on_both_grounds(self) -> None:
        for ink in (style.INK, style.MUTED, style.BLUE, style.ORANGE, style.PURPLE, style.WATCH, style.CRITICAL):
            assert contrast(ink.light, style.SURFACE.light) >= 4.5
            assert contrast(ink.dark, style.SURFACE.dark) >= 4.5

    def test_a_figure_is_drawn_once_without_its_title_for_the_page(self, elevated: WindowReport) -> None:
        ax = plots.latency_over_time(elevated)
        shown = ax._repr_mimebundle_()[0][FIGURE_MIME]
        assert [name for name, value in shown.items() if "<svg" in str(value)] == ["svg"]
        image = ElementTree.fromstring(shown["svg"])
        assert float(image.attrib["viewBox"].split()[1]) > 10  # begins below the title
        assert shown["title"] == ax.get_title(loc="left").replace("\n", " ")
        assert shown["alt"] == ax.alt
        assert ax.get_figure(root=True).get_size_inches()[0] == style.WIDTH_INCHES

    @pytest.mark.parametrize("figure", some_of(FIGURES, 3), ids=lambda figure: figure.__name__)
    def test_an_untrusted_notebook_has_a_picture_to_show(
        self, figure: Callable[..., Any], elevated: WindowReport
    ) -> None:
        data, metadata = figure(elevated)._repr_mimebundle_()
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(data["image/png"])), format="png")
        height, width = pixels.shape[:2]
        assert 800 <= width <= 1000
        assert 100 <= height < width
        assert pixels[..., :3].min() < 0.5 < pixels[..., :3].max()  # ink on paper
        alt = data["text/plain"]
        assert metadata["image/png"]["alt"] == metadata["image/svg+xml"]["alt"] == alt
        assert len(alt) > 40

    def test_an_image_asks_nobody_for_anything(self, elevated: WindowReport) -> None:
        for figure in FIGURES:
            image = figure(elevated)._repr_mimebundle_()[0]["image/svg+xml"]
            assert set(re.findall(r'https?://[^"\s]+', image)) <= {
                "http://www.w3.org/2000/svg",
                "http://www.w3.org/1999/xlink",
            }

    def test_dollars_in_a_name_are_no_formula(self, make_database: Callable[..., RuntimeDatabase]) -> None:
        lane = make_database()
        lane.mission("m", events=["vp.$x_1$", "vp.<b>&amp;"])
        ax = plots.event_mix(rollout_report(source=str(lane.path), as_of=NEXT_DAY))
        written = {text.text for text in ElementTree.fromstring(style.svg(ax.get_figure(root=True))).iter()}
        assert {"vp.$x_1$", "vp.<b>&amp;"} <= written

    def test_invisible_characters_of_a_name_are_shown(self, make_database: Callable[..., RuntimeDatabase]) -> None:
        lane = make_database()
        lane.session()
        lane.mission("m", events=["vp.\x1b[31m", "vp.\u202ecod"])
        lane.session_event("vp.session.\x1b]0;x\x07", NOON)
        report = rollout_report(source=str(lane.path), as_of=NEXT_DAY)
        for figure in (plots.event_mix, plots.session_lifecycle):
            ax = figure(report)
            image = style.svg(ax.get_figure(root=True))
            ElementTree.fromstring(image)
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", image + ax.alt)
        assert "U+202E" in style.svg(plots.event_mix(report).get_figure(root=True))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
