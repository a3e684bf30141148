"""The overview of real databases: who is there, who is not, by which policy; its page, its JSON and its exit codes."""

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_line import Ran, run_command
from conftest import NOON, RuntimeDatabase
from report_pages import EVENTS, HOSTILE, cells, executed, old_snapshot, table

import vpanalysis as vp
from vpanalysis.data.sample import SAMPLE_END, write_sample
from vpanalysis.errors import InputError
from vpanalysis.formatting import need_you
from vpanalysis.report import locations
from vpanalysis.report.fleet_report import FleetReport
from vpanalysis.report.html import to_html
from vpanalysis.report.lanes_document import lanes_document

AS_OF = (NOON + timedelta(minutes=70)).isoformat()


@pytest.fixture(autouse=True)
def _no_enabled_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UA_VP_ENABLED_IDS", raising=False)


def fill(database: RuntimeDatabase, lane: str, *, failing: int = 0, run: float = 10.0, days_ago: int = 0) -> None:
    """Sixty missions of a lane, a minute apart, the newest of which fail."""
    start = NOON - timedelta(days=days_ago)
    database.session(lane, at=start + timedelta(minutes=65))
    for number in range(60):
        ended = "vp.mission.failed" if number >= 60 - failing else EVENTS[2]
        database.mission(
            f"{lane} {number}", start + timedelta(minutes=number), run=run, vp_id=lane, events=(*EVENTS[:2], ended),
            status="failed" if number >= 60 - failing else "completed",
            priority_tier=("operator_daily", "background")[number % 2],
        )  # fmt: skip


@pytest.fixture
def factory(make_database: Callable[..., RuntimeDatabase]) -> RuntimeDatabase:
    """A healthy lane, and one whose newest ten missions failed."""
    database = make_database()
    fill(database, "vp.a")
    fill(database, "vp.b", failing=10)
    return database


@pytest.fixture(scope="module")
def outage() -> FleetReport:
    return vp.lane_overview(sources="sample:outage")


def test_an_outage_is_one_incident_of_the_lanes_that_it_hit(tmp_path: Path, outage: FleetReport) -> None:
    hit = {"vp.coder.primary", "vp.coder.secondary", "vp.research.primary"}
    assert {lane.vp_id for lane in outage.needy} == hit
    [found] = outage.incidents
    assert {lane for _, lane in found.lanes} == hit
    database = sqlite3.connect(write_sample(tmp_path / "outage.db", "outage"))
    failed = database.execute(
        "SELECT count(*) FROM vp_missions WHERE status = 'failed' AND completed_at BETWEEN ? AND ? "
        "AND vp_id IN ('vp.coder.primary', 'vp.coder.secondary', 'vp.research.primary')",
        [found.start.isoformat(), found.end.isoformat()],
    ).fetchone()
    assert found.troubled == failed[0]
    assert SAMPLE_END - timedelta(hours=4) < found.start < found.end < SAMPLE_END - timedelta(hours=2)
    assert outage.headline == "3 of 6 lanes need you"
    banner = vp.tables.fleet(outage)
    assert sum("One incident" in line for line in banner.content["why"]) == len(banner.content["why"]) == 1


def test_the_sample_has_one_lane_that_needs_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UA_VP_ENABLED_IDS", "vp.gone")
    report = vp.lane_overview()
    assert report.absent == (), "the sample is nobody's factory"
    assert [lane.vp_id for lane in report.needy] == ["vp.general.primary"]
    assert report.incidents == ()
    assert report.sample


def test_figures_stand_side_by_side(factory: RuntimeDatabase) -> None:
    report = vp.lane_overview(sources=str(factory.path), as_of=AS_OF)
    assert vp.tables.lanes(report).finding == "Failed missions from 0.0 % to 16.7 %"  # 10 of 60 decided
    found = cells(vp.tables.lanes(report), "Lanes")
    assert list(found) == ["vp.b", "vp.a"]
    assert found["vp.a"][:6] == [
        {"tone": "good", "text": "HEALTHY"}, "60", "0.0 % (0.0–5.3 %)", "0.0 %", "10.0 s", "active, 5 min"
    ]  # fmt: skip
    bound = 0.0534  # where the e-process of 0 of 60 missions reaches 20, here by SciPy
    from scipy.special import beta, betainc

    mixed = beta(0.5, 60.5) * betainc(0.5, 60.5, bound) / (beta(0.5, 0.5) * betainc(0.5, 0.5, bound))
    assert (1 + mixed) / 2 / (1 - bound) ** 60 == pytest.approx(20, rel=0.02)
    assert found["vp.b"][3] == {"tone": "watch", "text": "16.7 %"}  # 10 of 60
    assert found["vp.b"][6]["text"].endswith("0.0 %, 0.0 %, 28.6 %, 100.0 %")  # 2 of 7, 8 of 8
    assert cells(vp.tables.lane_queues(report), "Queue")["vp.a"] == ["1.00 s"] * 3  # all missions, and two tiers
    assert [row.split(" | ")[2] for row in report.rows] == ["vp.b", "vp.a"]


def test_a_lane_has_the_verdict_the_bounds_and_the_main_reason_of_its_own_report(factory: RuntimeDatabase) -> None:
    report = vp.lane_overview(sources=str(factory.path), as_of=AS_OF)
    alone = vp.rollout_report(source=str(factory.path), vp_id="vp.b", as_of=AS_OF)
    [lane] = [lane for lane in report.lanes if lane.vp_id == "vp.b"]
    assert lane.verdict.decision == alone.verdict.decision
    assert [one.sentence for one in lane.verdict.reasons] == [one.sentence for one in alone.verdict.reasons]
    assert report.hashes[report.lanes.index(lane)] == alone.content_hash
    low, high = alone.verdict.evidence.lower_bound, alone.verdict.evidence.upper_bound
    assert low is not None
    assert high is not None
    ends = f"({100 * low:.1f}–{100 * high:.1f} %)"
    assert cells(vp.tables.lanes(report), "Lanes")["vp.b"][2].endswith(ends)
    [why] = vp.tables.fleet(report).content["why"]
    assert why.startswith(f"vp.b: {alone.verdict.reasons[0].sentence}")


@pytest.mark.parametrize(
    ("seen", "rate", "words"),
    [(0, "n/a", "fallbacks unknown"), (3, "at least 5.0 %", "at least 3 of 60 (5.0 %) fell back")],
)
def test_a_rate_of_a_source_that_lacks_events_is_a_lower_bound(
    seen: int, rate: str, words: str, tmp_path: Path
) -> None:
    path = Path(old_snapshot(tmp_path)["source"])
    content = json.loads(path.read_text("utf-8"))
    assert content["fallback"]["missions_with_fallback"] == 0
    content["fallback"] |= {"missions_with_fallback": seen, "rate": seen / 60}
    path.write_text(json.dumps(content), "utf-8")
    report = vp.lane_overview(sources=str(path))
    piece = vp.tables.lanes(report)
    [[*_, shown, _, _, _, _]] = cells(piece, "Lanes").values()
    assert shown["tone"] in ("quiet", "watch")
    assert shown["text"] == rate
    assert ("At least: the source lacks events" in table(piece, "Lanes")["note"]) == rate.startswith("at least")
    assert words in vp.tables.fleet_in_words(report).text


def test_a_queue_without_tiers_is_shown_all_the_same(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    for number in range(20):
        fresh_database.mission(f"m{number}", wait=3.0, events=EVENTS)
    piece = vp.tables.lane_queues(vp.lane_overview(sources=str(fresh_database.path), as_of=AS_OF))
    assert piece.finding == "Longest p95: 3.00 s, on vp.coder.primary"
    assert cells(piece, "Queue") == {"vp.coder.primary": ["3.00 s"]}


def test_each_source_is_read_once_per_lane(factory: RuntimeDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    from vpanalysis.data.source import SqliteSource

    read: list[str] = []
    load = SqliteSource.load
    monkeypatch.setattr(SqliteSource, "load", lambda self, window: read.append(window.vp_id) or load(self, window))
    vp.lane_overview(sources=str(factory.path), as_of=AS_OF)
    assert read == ["vp.a", "vp.b"]


def test_patterns_choose_lanes(factory: RuntimeDatabase) -> None:
    report = vp.lane_overview(sources=str(factory.path), lanes="vp.a, nothing.*", as_of=AS_OF, enabled="vp.a,vp.b")
    assert [lane.vp_id for lane in report.lanes] == ["vp.a"]
    assert report.absent == ()  # vp.b was not asked for
    with pytest.raises(InputError, match=r"There is no lane 'vp\.x\*' in vp_state\.db"):
        vp.lane_overview(sources=str(factory.path), lanes="vp.x*")


def test_an_enabled_lane_that_is_absent_needs_somebody(
    factory: RuntimeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UA_VP_ENABLED_IDS", "vp.a, vp.gone")
    report = vp.lane_overview(sources=str(factory.path), as_of=AS_OF)
    assert (report.absent, report.headline) == (("vp.gone",), "2 of 3 lanes need you")
    assert "vp.gone: enabled, but no source has anything of it." in vp.tables.fleet(report).content["why"]
    assert cells(vp.tables.lanes(report), "Lanes")["vp.gone"][0] == {"tone": "watch", "text": "absent"}
    assert vp.tables.roll_call(report).finding == "1 enabled lane absent: vp.gone"
    named = vp.lane_overview(sources=str(factory.path), as_of=AS_OF, enabled="vp.a")
    assert (named.absent, named.lane_status) == ((), "WATCH")
    only = vp.lane_overview(sources=str(factory.path), as_of=AS_OF, lanes="vp.a,vp.gone")
    assert only.lane_status == "NO_TRAFFIC"


def test_a_dormant_file_is_named_and_its_lane_counted_where_it_lives(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    live, old = make_database("vp_state.db"), make_database("coder_vp_state.db")
    fill(live, "vp.a")
    fill(old, "vp.a", days_ago=9)
    report = vp.lane_overview(sources=f"{live.path};{old.path}", as_of=AS_OF)
    assert [file.name for file in report.dormant] == ["coder_vp_state.db"]
    assert report.headline == "None of 2 lanes needs you"
    assert cells(vp.tables.roll_call(report), "Sources")["coder_vp_state.db"][3].startswith("dormant")
    assert "vp.a (coder_vp_state.db)" in str(vp.tables.fleet_reasons(report))


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    places = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        database = RuntimeDatabase(tmp_path / folder / "vp_state.db")
        fill(database, "vp.a")
        places.append(str(database.path))
    by_folder = vp.lane_overview(sources=";".join(places), as_of=AS_OF)
    assert [file.name for file in by_folder.files] == ["one/vp_state.db", "two/vp_state.db"]
    assert len({lane.key for lane in by_folder.lanes}) == 2
    named = vp.lane_overview(sources=f"berlin={places[0]};porto={places[1]}", as_of=AS_OF)
    assert sorted(named.label(lane.key) for lane in named.lanes) == ["vp.a (berlin)", "vp.a (porto)"]
    assert "vp.a (porto)" in named.rows[1]
    twice = vp.lane_overview(sources=";".join([places[0]] * 2), as_of=AS_OF)
    assert [file.name for file in twice.files] == ["one/vp_state.db #1", "one/vp_state.db #2"]


def test_a_folder_of_policies_has_one_for_each_lane(factory: RuntimeDatabase, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    with pytest.raises(InputError, match="has no policy"):
        vp.lane_overview(sources=str(factory.path), policy=str(folder))
    (folder / "vp.a.toml").write_text('name = "strict"\nversion = 1\n[rollout]\nmin_missions = 61\n', "utf-8")
    report = vp.lane_overview(sources=str(factory.path), policy=str(folder), as_of=AS_OF)
    assert {lane.vp_id: lane.policy.name for lane in report.lanes} == {"vp.a": "strict", "vp.b": "playbook"}
    assert {lane.vp_id: lane.verdict.lane_status for lane in report.lanes} == {"vp.a": "NO_TRAFFIC", "vp.b": "WATCH"}
    (folder / "default.toml").write_text('name = "ours"\nversion = 2\n', "utf-8")
    report = vp.lane_overview(sources=str(factory.path), policy=str(folder), as_of=AS_OF)
    assert {lane.vp_id: lane.policy.name for lane in report.lanes} == {"vp.a": "strict", "vp.b": "ours"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sources": " ; "}, "No source"),
        ({"sources": 3}, "sources is 3"),
        ({"last_missions": -1}, "last_missions is -1"),
        ({"profile": "steady"}, "no profile 'steady'"),
        ({"sources": "http://127.0.0.1:9"}, "does not list its lanes: name them"),
        ({"sources": "sample:nothing"}, "There is no sample 'nothing': choose one of .*fleet, outage"),
    ],
)
def test_bad_parameters_are_sentences(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        vp.lane_overview(**given)


@pytest.mark.parametrize(
    ("number", "whole", "words"),
    [(0, 12, "None of 12 lanes needs you"), (1, 12, "1 of 12 lanes needs you"), (2, 12, "2 of 12 lanes need you")],
)
def test_a_headline_counts(number: int, whole: int, words: str) -> None:
    assert need_you(number, whole, "lane") == words


def test_the_twin_follows_its_schema(outage: FleetReport) -> None:
    schema = json.loads((Path(__file__).parents[1] / "docs" / "schemas" / "lanes.schema.json").read_text("utf-8"))
    content = json.loads(lanes_document(outage).model_dump_json())
    jsonschema.validate(content, schema)
    assert [lane["needs_you"] for lane in content["lanes"]] == [True] * 3 + [False] * 3
    assert content["incidents"][0]["lanes"][0] == ["sample:outage", "vp.coder.primary"]


@pytest.mark.thorough
def test_the_same_moment_gives_the_same_overview(factory: RuntimeDatabase) -> None:
    first, again = (lanes_document(vp.lane_overview(sources=str(factory.path), as_of=AS_OF)) for _ in range(2))
    assert first == again


def test_the_figure_shows_every_lane_and_incident(outage: FleetReport) -> None:
    ax = vp.plots.troubles_over_time(outage)
    assert [label.get_text() for label in ax.get_yticklabels()] == [lane.vp_id for lane in reversed(outage.lanes)]
    assert len([band for band in ax.collections if type(band).__name__ == "FillBetweenPolyCollection"]) == 3
    assert "Incident from 2026-03-06T14:" in ax.alt


def test_a_hostile_lane_is_shown_and_runs_nothing(fresh_database: RuntimeDatabase) -> None:
    fill(fresh_database, HOSTILE.strip(), failing=20)
    text = to_html(executed("lane_overview", sources=str(fresh_database.path), as_of=AS_OF))
    assert "1 of 1 lane needs you" in text
    assert text.count("<script") == 1
    assert "<img src=x" not in text


class TestReport:
    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        monkeypatch.chdir(tmp_path)
        for name in ("UA_CODER_VP_DB_PATH", "UA_VP_DB_PATH", "UA_RUNTIME_DB_PATH"):
            monkeypatch.delenv(name, raising=False)

    def run(self, *arguments: str) -> Ran:
        return run_command(self.capsys, "report", "lane_overview", *arguments)

    def test_two_sources_make_one_page_without_a_path_of_this_machine(
        self, factory: RuntimeDatabase, make_database: Callable[..., RuntimeDatabase], tmp_path: Path
    ) -> None:
        other = make_database("other.db")
        fill(other, "vp.c")
        ran = self.run(
            "--source", str(factory.path), "--source", f"porto={other.path}", "--as-of", AS_OF, "--fail-on", "watch"
        )
        assert ran.code == 3, ran.err
        assert "1 of 3 lanes needs you: vp.b (vp_state.db).\n" in ran.err
        content = json.loads((tmp_path / "reports" / "lane_overview.json").read_text("utf-8"))
        assert [source["name"] for source in content["sources"]] == ["vp_state.db", "porto"]
        assert content["parameters"]["sources"] == "vp_state.db;porto=other.db"
        for path in (tmp_path / "reports").iterdir():
            assert str(tmp_path) not in path.read_text("utf-8")

    def test_without_a_source_it_reads_every_file_that_a_variable_names(
        self, factory: RuntimeDatabase, make_database: Callable[..., RuntimeDatabase], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.run().code == 2
        other = make_database("other.db")
        fill(other, "vp.c")
        monkeypatch.setenv("UA_VP_DB_PATH", str(factory.path))
        monkeypatch.setenv("UA_RUNTIME_DB_PATH", str(other.path))
        ran = self.run("--as-of", AS_OF, "--fail-on", "critical", "--enabled", "vp.a,vp.b,vp.gone")
        assert (ran.code, "2 of 4 lanes need you: vp.b (vp_state.db), vp.gone (absent)." in ran.err) == (0, True), (
            ran.err
        )

    @pytest.mark.thorough
    def test_files_of_one_factory_are_read_as_one(
        self, factory: RuntimeDatabase, make_database: Callable[..., RuntimeDatabase], tmp_path: Path
    ) -> None:
        other = make_database("other.db")
        fill(other, "vp.c")
        ran = self.run("--sources", f"berlin={factory.path} + {other.path};porto={other.path}", "--as-of", AS_OF)
        assert ran.code == 0, ran.err
        content = json.loads((tmp_path / "reports" / "lane_overview.json").read_text("utf-8"))
        found = sorted((lane["source"], lane["vp_id"]) for lane in content["lanes"])
        assert found == [("berlin", "vp.a"), ("berlin", "vp.b"), ("berlin", "vp.c"), ("porto", "vp.c")]
        assert content["parameters"]["sources"] == "berlin=vp_state.db + other.db;porto=other.db"

    def test_the_sample_fails_nothing(self) -> None:
        assert self.run("--source", "x=sample:fleet", "--fail-on", "watch").code == 2


def test_locations_of_several_sources_are_shown_by_their_names() -> None:
    shown, hidden = locations.shown({"sources": "/srv/a/vp_state.db;porto=/srv/b/vp.db;https://me:pw@host.test/x"})
    assert shown["sources"] == "vp_state.db;porto=vp.db;https://host.test/x"
    with locations.handed_over(hidden):
        assert re.search("me:pw", locations.real(shown["sources"]))
