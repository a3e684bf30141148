"""Key figures: tiles counted by hand, their tones those of the gates, gauges and sparklines in proportion."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from conftest import NOON, RuntimeDatabase, some_of
from hypothesis import example, given
from hypothesis import strategies as st
from report_pages import EVENTS, NEXT_DAY, WINDOWS, of_a_window, of_profiles, page, report_on
from scipy.stats import beta

from vpanalysis.analysis.verdict import CAUTION, Reason
from vpanalysis.report.finding import TONES, thin
from vpanalysis.report.rollout import rollout_report
from vpanalysis.report.sections import plots, tables
from vpanalysis.report.sections.tile import gauge, sparkline
from vpanalysis.report.window_report import WindowReport

FELL_BACK = (*EVENTS[:2], "vp.mission.fallback", EVENTS[2])
#: The fixed tiles, each with the gate that judges it.
GATE_OF = {
    "Fallback rate": "fallback_rate",
    "Run time p95": "latency",
    "Failed or timed out": "failures",
    "Slow missions": "slow_share",
    "Session": "session",
    "Overdue missions": "completions",
}
#: From nothing said to the worst.
SEVERITY = ("plain", "good", "quiet", "watch", "critical")


@pytest.fixture
def small_lane() -> WindowReport:
    """Twenty missions: three fell back, two failed, one still runs; run times 1, 2, … 19 seconds."""
    return report_on("small")


def tiles(report: WindowReport) -> list[dict[str, Any]]:
    return list(tables.key_figures(report).content["tiles"])


def tile(report: WindowReport, name: str) -> dict[str, Any]:
    return next(tile for tile in tiles(report) if tile["name"] == name)


def judged(report: WindowReport, gate: str) -> list[Reason]:
    return [reason for reason in (*report.verdict.reasons, *report.verdict.passed) if reason.gate == gate]


# --- numbers


def test_key_figures_are_those_counted_by_hand(small_lane: WindowReport) -> None:
    fallback = tile(small_lane, "Fallback rate")
    assert (fallback["value"], fallback["tone"]) == ("15.0 %", "watch")
    assert re.match(r"3 of 20 .*true rate at most \d\d\.\d % \(95 %\)", fallback["detail"])
    assert fallback["limits"] == "watch from 5 %, critical from 20 %"
    failed = tile(small_lane, "Failed or timed out")
    assert failed["limits"] == "watch from 10 % (3 or more), 3 in a row, or 5 of the newest 20"
    latency = tile(small_lane, "Run time p95")
    assert latency["value"] == "18.0 s"  # the value at index round(18 * 0.95) = 17 of 1..19
    assert latency["detail"] == "p50 10.0 s, longest finished run 19.0 s"
    assert tile(small_lane, "Queue wait p95")["value"] == "1.00 s"
    failed = tile(small_lane, "Failed or timed out")
    assert (failed["value"], failed["detail"]) == ("2 of 20", "17 completed, 1 pending")
    assert tile(small_lane, "Slow missions")["value"] == "1 of 20"  # the running one, for 299 s by now
    assert tile(small_lane, "Session")["value"] == "active"


def test_a_closed_windows_true_rate_is_bounded_by_clopper_and_pearson(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    lane = make_database()
    lane.session()
    for number in range(40):
        lane.mission(f"m{number}", NOON + timedelta(minutes=number), events=FELL_BACK if number % 16 == 0 else EVENTS)
    report = rollout_report(
        source=str(lane.path), window_start="2026-02-16", window_end="2026-02-16T20:00", as_of="2026-02-16T21:00"
    )
    most = float(beta.ppf(0.95, 3 + 1, 40 - 3))
    assert f"true rate at most {100 * most:.1f} %" in tile(report, "Fallback rate")["detail"]
    ax = plots.fallback_over_time(report)
    bar = next(line for line in ax.lines if list(line.get_xdata()) == [1.02, 1.02])
    assert list(bar.get_ydata()) == pytest.approx([float(beta.ppf(0.05, 3, 40 - 3 + 1)), most])


def test_what_is_supported_is_bounded_below_the_line(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    for number in range(70):
        lane.mission(f"m{number}", NOON + timedelta(minutes=number), events=EVENTS)
    report = rollout_report(
        source=str(lane.path), window_start="2026-02-16", window_end="2026-02-16T20:00", as_of="2026-02-16T21:00"
    )
    facts = {fact["name"]: fact["parts"] for fact in tables.verdict(report).content["facts"]}
    assert facts["Claim: true fallback rate below 5 %"] == ["supported"]
    assert "true rate at most 4.2 %" in tile(report, "Fallback rate")["detail"]  # 1 - 0.05 ** (1 / 70)
    ax = plots.fallback_over_time(report)  # a two-sided interval would reach over the line of 5 %
    bar = next(line for line in ax.lines if list(line.get_xdata()) == [1.02, 1.02])
    assert max(bar.get_ydata()) < 0.05


def test_the_value_of_the_window_before_stands_beside(make_database: Callable[..., RuntimeDatabase]) -> None:
    lane = make_database()
    lane.session()
    for number in range(12):
        failed = number in (0, 9)
        kinds = (*EVENTS[:2], "vp.mission.failed") if failed else FELL_BACK if number in (4, 5, 8) else EVENTS
        lane.mission(
            f"m{number}",
            NOON + timedelta(minutes=number),
            run=95.0 if number == 6 else 10.0 + number,
            wait=1.0 + number,
            status="failed" if failed else "completed",
            events=kinds,
        )
    report = rollout_report(source=str(lane.path), as_of=NEXT_DAY, last_missions=4)
    # The window is m8..m11, the one before m4..m7.
    assert tile(report, "Fallback rate")["before"] == "50.0 %"
    assert tile(report, "Run time p95")["before"] == "95.0 s"
    assert tile(report, "Queue wait p95")["before"] == "8.00 s"
    assert tile(report, "Failed or timed out")["before"] == "0 of 4"
    assert tile(report, "Slow missions")["before"] == "1 of 4"
    # Of the eight windows before there are two: 0, 2 and now 1 of 4 fell back, 1, 0 and now 1 of 4 failed.
    assert [past.missions for past in report.preceding] == [0] * 6 + [4, 4]
    assert tile(report, "Fallback rate")["trend"] == "0,22.0 100,2.0 200,12.0"
    assert tile(report, "Failed or timed out")["trend"] == "0,2.0 100,22.0 200,2.0"


def test_a_mission_on_the_border_of_two_past_windows_is_the_later_ones(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    lane = make_database()
    lane.session()
    for hour in range(10):  # the window is [21:00, 22:00); one mission at the very start of each hour
        lane.mission(f"m{hour}", NOON + timedelta(hours=hour), events=FELL_BACK if hour == 3 else EVENTS)
    report = rollout_report(
        source=str(lane.path), window_start="2026-02-16T21:00", window_end="2026-02-16T22:00", as_of=NEXT_DAY
    )
    assert [past.missions for past in report.preceding] == [1] * 8  # 13:00 to 20:00
    assert [past.fallback_rate for past in report.preceding] == [0, 0, 1, 0, 0, 0, 0, 0]


def test_without_a_window_before_nothing_is_said_of_one() -> None:
    report = report_on("one-mission")
    assert [tile["before"] for tile in tiles(report)] == [""] * 6
    assert [tile["trend"] for tile in tiles(report)] == [""] * 6


@pytest.mark.parametrize("profile", ["rollout", "sustained"])
def test_where_all_failed_none_completed(profile: str) -> None:
    failed = tile(report_on("all-failed", profile), "Failed or timed out")
    assert (failed["value"], failed["detail"]) == ("25 of 25", "none completed")


def test_a_window_without_missions_has_no_rate() -> None:
    report = report_on("empty-window")
    assert {tile["value"] for tile in tiles(report)} <= {"n/a", "unknown"}
    assert tile(report, "Failed or timed out")["detail"] == "no mission"


# --- tones


@pytest.mark.parametrize(("window", "profile"), of_profiles(WINDOWS))
def test_tiles_are_as_severe_as_their_gates_and_the_banner_as_every_tile(window: str, profile: str) -> None:
    report = report_on(window, profile)
    banner = SEVERITY.index(tables.verdict(report).tone)
    shown = tiles(report)
    for one in shown:
        gate = GATE_OF.get(one["name"], one["name"].lower().replace(" ", "_"))
        cautions = [reason.caution for reason in judged(report, gate) if reason.caution]
        expected = TONES[max(cautions, key=CAUTION.index)] if cautions else "plain"
        proves_nothing = thin(report) or report.verdict.evidence.signal == "not recorded"
        if one["name"] == "Fallback rate" and expected == "good" and proves_nothing:
            expected = "quiet"  # no tick at a rate that is not to be trusted
        if one["name"] == "Queue wait p95":  # which no gate judges, but what waits may be overdue
            expected = {"queue-stuck": "watch", "snapshot": "quiet"}.get(window, "plain")
        if one["name"] == "Session" and expected == "good" and report.session.stale:
            expected = "quiet"  # nor at a session whose heartbeat is stale
        assert one["tone"] == expected, one["name"]
    tones = [one["tone"] for one in shown]
    assert max(map(SEVERITY.index, tones)) <= max(banner, SEVERITY.index("quiet"))
    named = {GATE_OF.get(one["name"], one["name"].lower().replace(" ", "_")) for one in shown}
    assert {reason.gate for reason in report.verdict.reasons if reason.caution in ("WATCH", "FORCE_FALLBACK")} <= named


@pytest.mark.parametrize(("window", "profile"), of_profiles(WINDOWS))
def test_no_heading_is_worse_than_the_banner(window: str, profile: str) -> None:
    report = report_on(window, profile)
    banner = tables.verdict(report).tone
    for name, make in of_a_window(tables).items():
        tone = make(report).tone
        if tone in ("watch", "critical"):
            assert SEVERITY.index(tone) <= SEVERITY.index(banner), name


@pytest.mark.parametrize(("window", "profile"), of_profiles(WINDOWS))
def test_the_heading_names_the_tiles_that_stand_out_and_no_other(window: str, profile: str) -> None:
    report = report_on(window, profile)
    piece = tables.key_figures(report)
    held = [tile for tile in tiles(report) if tile["tone"] in ("watch", "critical")]
    held = [tile for tile in held if tile["name"] != "Queue wait p95"]  # a p95 of 5 s is not what waits for hours
    known = [tile for tile in held if tile["value"] != "n/a"]
    beyond = ", ".join(tile["name"].lower() for tile in known)
    unknown = ", ".join(tile["name"].lower() for tile in held if tile not in known)
    words = [text for text in (beyond and f"beyond a limit: {beyond}", unknown and f"unknown: {unknown}") if text]
    heading = "; ".join(words) or "none beyond a limit"
    assert piece.finding == heading[0].upper() + heading[1:]


def test_slow_missions_beside_a_fast_p95_are_in_the_heading() -> None:
    heading = tables.latency(report_on("stalled")).finding
    slow = tile(report_on("stalled"), "Slow missions")  # missions that hang: p95 knows nothing of them
    assert slow["value"] == "7 of 97"
    unfinished = "took over 90 s, counting 7 still unfinished"
    assert slow["detail"] == unfinished
    assert heading.endswith(f"below the watch line of 90 s, but 7 of 97 {unfinished}")
    assert "but" not in tables.latency(report_on("critical")).finding
    failed = tile(report_on("all-failed"), "Slow missions")  # how long a mission takes is unknown, as its gate says
    assert (failed["value"], failed["tone"]) == ("n/a", "plain")


def test_that_the_window_is_open_is_said_once_above_the_reasons() -> None:
    report = report_on("healthy")
    assert "PROVISIONAL: the window is still open" in tables.verdict(report).content["badges"]
    assert "provisional" not in tables.reasons(report).text.lower()


def test_a_rollout_below_the_critical_run_time_is_not_said_to_be_above_a_line(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    lane = make_database()
    lane.session()
    for number in range(30):
        lane.mission(f"m{number}", run=60.0, events=EVENTS)
    rollout, sustained = (
        rollout_report(source=str(lane.path), as_of=NEXT_DAY, profile=name) for name in ("rollout", "sustained")
    )
    assert tile(rollout, "Run time p95")["tone"] == tables.latency(rollout).tone == "good"
    assert "above" not in tables.latency(rollout).finding
    assert tile(sustained, "Run time p95")["tone"] == tables.latency(sustained).tone == "watch"
    assert "above the watch line of 45 s" in tables.latency(sustained).finding


def test_a_tile_names_the_share_that_forces_the_fallback() -> None:
    assert tile(report_on("all-failed", "sustained"), "Failed or timed out")["limits"].endswith("; critical from 50 %")


def test_a_deciding_gate_without_a_fixed_tile_gets_one_with_its_numbers() -> None:
    report = report_on("critical")
    names = [tile["name"] for tile in tiles(report)]
    assert names[6:] == ["Rolling fallback", "Recent change"]
    rolling = tile(report, "Rolling fallback")
    assert (rolling["value"], rolling["tone"]) == ("25.0 %", "watch")  # 5 of 20
    assert rolling["limits"] == "watch over 10 %"
    assert rolling["detail"] == "of the newest 20 missions fell back"
    assert tile(report_on("stalled"), "Overdue missions")["detail"] == "among the newest 60, 7 of all 100"
    assert len(tiles(report_on("healthy"))) == 6


# --- gauges

LINES = {"watch": 0.05, "critical": 0.20}


@pytest.mark.parametrize(
    ("policy", "profile", "limits", "tone"),
    some_of(
        [
            ("playbook", "rollout", "watch from 90 s (2 missions or more)", "watch"),
            ("capture", "rollout", "no limit in this policy", "plain"),
            ("playbook", "sustained", "watch from 45 s, critical from 90 s", "critical"),
        ],
        2,
    ),
)
def test_a_run_time_is_shown_against_the_lines_that_its_gate_judges_by(
    policy: str, profile: str, limits: str, tone: str
) -> None:
    """In a rollout 90 s are where it holds and 45 s nothing; when sustained, 45 s watch and 90 s force the fallback."""
    report = report_on("load-pressure", profile, policy)  # p95 is 2 min 44 s
    shown, drawn = tile(report, "Run time p95"), plots.latency_over_time(report)
    assert shown["limits"] == limits
    if policy == "playbook":
        assert shown["tone"] == tables.latency(report).tone == tone
    marked = [name for name, _ in shown["gauge"]["limits"]] if shown["gauge"] else []
    assert [text.get_text().split()[0] for text in drawn.yaxis.get_minorticklabels()] == marked
    assert ("critical" in tables.latency(report).finding) == (tone == "critical")


def test_a_gauge_ends_a_third_beyond_the_critical_limit() -> None:
    scale = gauge(0.15, LINES, 0.08, 0.25)
    assert scale is not None
    assert scale["value"] == pytest.approx(200 * 0.15 / (0.20 * 4 / 3), abs=0.1)
    assert (scale["low"], scale["high"]) == (60.0, 187.5)
    assert scale["limits"] == [["watch", 37.5], ["critical", 150.0]]


def test_an_interval_beyond_the_scale_stretches_it() -> None:
    scale = gauge(0.10, LINES, 0.02, 0.80)
    assert scale == {"value": 25.0, "low": 5.0, "high": 200.0, "limits": [["watch", 12.5], ["critical", 50.0]]}


SHARE = st.floats(0, 1, allow_subnormal=False)


@given(st.lists(SHARE, min_size=3, max_size=3).map(sorted))
@example([0.0, 0.0, 1.0])
@example([0.05, 0.26, 0.26])
@example([1.0, 1.0, 1.0])
def test_a_gauge_never_cuts_its_interval_or_its_mark(ends: list[float]) -> None:
    low, value, high = ends
    scale = gauge(value, LINES, low, high)
    assert scale is not None
    end = max(0.20 * 4 / 3, high)
    assert scale["low"] == pytest.approx(200 * low / end, abs=0.05001)
    assert scale["high"] == pytest.approx(200 * high / end, abs=0.05001)
    assert scale["high"] <= 200
    assert scale["value"] + 4 <= 200  # the mark is 4 wide
    assert scale["low"] - 4 <= scale["value"] <= scale["high"] + 0.1
    assert all(0 <= at <= 150 for _, at in scale["limits"])


def test_what_is_unknown_has_no_gauge() -> None:
    assert gauge(None, LINES, None, None) is None
    assert gauge(30, {}, None, None) is None
    scale = gauge(30, {"watch": 45, "critical": 90}, None, None)
    assert scale is not None
    assert (scale["low"], scale["high"]) == (None, None)


def test_the_page_draws_the_gauges_whole_interval() -> None:
    report = report_on("critical")
    scale = tile(report, "Fallback rate")["gauge"]
    assert scale["low"] < scale["value"] < scale["high"]
    drawn = re.search(r'<rect class="range" x="([\d.]+)" y="5" width="([\d.]+)"', page("rollout_window", "critical"))
    assert drawn is not None
    assert float(drawn[1]) == scale["low"]
    assert float(drawn[1]) + float(drawn[2]) == pytest.approx(scale["high"])


# --- sparklines


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ([0.0, 1.0, 2.0], "0,22.0 100,12.0 200,2.0"),
        ([0.0, None, 2.0], "0,22.0 200,2.0"),
        ([None, 5.0, 5.0], "0,2.0 200,2.0"),
        ([0.0, 0.0], "0,22.0 200,22.0"),
        ([None, 3.0], ""),
        ([3.0], ""),
        ([], ""),
    ],
)
def test_a_sparkline_goes_through_its_values(values: list[float | None], points: str) -> None:
    assert sparkline(values) == points


@pytest.mark.parametrize("window", ["no-traffic", "one-mission", "all-failed", "snapshot"])
def test_a_tile_without_a_number_says_why(window: str) -> None:
    for tile in tables.key_figures(report_on(window)).content["tiles"]:
        assert "n/a" not in tile["detail"]
        assert tile["value"] != "n/a" or tile["detail"].startswith(
            ("no mission", "the source does not say", "unknown, because")
        )


def test_evidence_too_thin_to_rule_out_a_critical_rate_is_marked_in_the_banner_and_the_tile() -> None:
    report = report_on("one-mission")
    assert report.verdict.decision.startswith("READY")
    assert (
        "THIN EVIDENCE: 1 settled mission, too few to rule out a fallback rate of 20 %"
        in (tables.verdict(report).content["badges"])
    )
    assert tile(report, "Fallback rate")["tone"] == tables.fallback(report).tone == "quiet"
    assert tables.verdict(report).content["others"] == ("Not assessed: rolling fallback, recent change, slow share.")
    assert not any("THIN" in badge for badge in tables.verdict(report_on("healthy")).content["badges"])


def test_a_queue_that_nobody_can_see_or_that_does_not_move_does_not_look_fine() -> None:
    unknown, stuck = (tile(report_on(name), "Queue wait p95") for name in ("snapshot", "queue-stuck"))
    assert stuck["limits"] == "overdue after 60 min of waiting"
    assert (unknown["value"], unknown["tone"]) == ("n/a", "quiet")
    assert stuck["tone"] == "watch"
    assert stuck["detail"].endswith("; 12 still waiting, up to 8 h 57 min")
    titles = [plots.queue_beside_run(report_on(name)).get_title(loc="left") for name in ("snapshot", "queue-stuck")]
    assert "how long they waited is unknown" in " ".join(titles[0].split())
    assert "12 still waiting, up to 8 h 57 min" in " ".join(titles[1].split())


def test_where_none_completed_nothing_is_said_of_how_long_missions_take() -> None:
    report = report_on("all-failed")
    assert "slow_share" in {reason.gate for reason in report.verdict.not_assessed}
    assert tile(report, "Slow missions")["tone"] == "plain"
    assert tile(report, "Run time p95")["tone"] == tables.latency(report).tone == "watch"
    assert report.verdict.evidence.p95.strength != "supports"


def test_one_is_written_in_the_singular() -> None:
    [tile] = [
        one for one in tables.key_figures(report_on("snapshot")).content["tiles"] if one["name"] == "Data quality"
    ]
    assert (tile["value"], tile["detail"]) == ("1", "serious fault in the data")


def test_the_fallback_tile_says_how_many_missions_could_record_one() -> None:
    [tile] = [
        one for one in tables.key_figures(report_on("critical")).content["tiles"] if one["name"].startswith("Fall")
    ]
    assert tile["detail"].startswith("26 of 100 missions, 31.0 % of the 84 that could record one; true rate at most ")
