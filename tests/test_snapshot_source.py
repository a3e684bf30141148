"""A snapshot as a source: its own numbers, what it lists, and what it cannot know."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import LANE, NOON, RuntimeDatabase
from lane_frames import metrics_from_snapshot

import vpanalysis as vp
from vpanalysis.analysis.gates.data_quality import contradiction
from vpanalysis.data.snapshot import parse_payload
from vpanalysis.data.snapshot_tables import snapshot_tables
from vpanalysis.data.tables import Known

DONE = ("vp.mission.dispatched", "vp.mission.started", "vp.mission.completed")
FELL_BACK = ("vp.mission.dispatched", "vp.mission.started", "vp.mission.fallback", "vp.mission.completed")


@pytest.fixture
def busy_lane(fresh_database: RuntimeDatabase) -> RuntimeDatabase:
    """Six missions a minute apart: four done, one that fell back and failed, one running; a session with a drill."""
    fresh_database.session(status="recovering")
    for number in range(4):
        fresh_database.mission(f"m{number}", NOON + timedelta(minutes=number), run=10 + number, events=DONE)
    fresh_database.mission("m4", NOON + timedelta(minutes=4), status="failed", run=40, events=FELL_BACK[:3])
    fresh_database.event("m4", "vp.mission.failed", NOON + timedelta(minutes=5), payload_json='{"error": "boom"}')
    fresh_database.mission("m5", NOON + timedelta(minutes=6), status="running", run=None, events=DONE[:2])
    for minute, event_type in ((-9, "created"), (1, "degraded"), (2, "resumed"), (5, "degraded")):
        fresh_database.session_event(f"vp.session.{event_type}", NOON + timedelta(minutes=minute))
    return fresh_database


def saved(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "captured.JSON"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def content_of(database: RuntimeDatabase, event_limit: int = 200) -> dict[str, Any]:
    with vp.open_source(database.path) as source:
        window = vp.RolloutWindow(LANE, last_missions=50)
        content: dict[str, Any] = vp.snapshot(source.load(window), event_limit=event_limit).model_dump(mode="json")
    return content


def gateway_content(database: RuntimeDatabase, event_limit: int) -> dict[str, Any]:
    with vp.open_source(database.path) as source:
        content: dict[str, Any] = source.gateway_snapshot(LANE, 50, event_limit).model_dump(mode="json")
    return content


def load(path: Path, **window: Any) -> Any:
    with vp.open_source(path) as source:
        return source.load(vp.RolloutWindow(LANE, **window))


def test_the_numbers_are_the_snapshots_own(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    content = content_of(busy_lane)
    content["fallback"]["rate"] = 0.123  # what the missions listed would not give
    content["latency_seconds"]["p95_seconds"] = 77.5
    content["recovery"]["successes"] = 2
    tables = load(saved(tmp_path, content))
    metrics = vp.summarize(tables)
    assert (tables.kind, tables.source, tables.snapshot) == ("snapshot", "captured.JSON", content)
    assert metrics.fallback.rate == 0.123
    assert metrics.latency_seconds.p95_seconds == 77.5
    assert metrics.recovery is not None
    assert metrics.recovery.successes == 2
    assert metrics.generated_at == tables.as_of == datetime.fromisoformat(content["generated_at"])
    assert metrics.mission_counts == {"completed": 4, "failed": 1, "running": 1}
    assert metrics.event_counts == content["event_counts"]
    assert metrics.session_status == "degraded"  # the event of 12:05, later than the row of 12:00
    assert metrics.queue_wait_seconds is None
    assert metrics.window is not None
    assert metrics.window.last_missions == 100


@pytest.mark.parametrize(("written", "status"), [(4, "degraded"), (5, "recovering"), (6, "recovering")])
def test_the_later_of_the_sessions_row_and_its_last_event_tells_its_status(
    busy_lane: RuntimeDatabase, written: int, status: str
) -> None:
    content = content_of(busy_lane)  # its last event: degraded at 12:05
    content["session"]["updated_at"] = (NOON + timedelta(minutes=written)).isoformat()
    assert metrics_from_snapshot(content).session_status == status


def test_of_a_worker_only_that_there_was_one(busy_lane: RuntimeDatabase) -> None:
    busy_lane.mission("m6", NOON + timedelta(minutes=7), status="queued", wait=None, run=None, events=DONE[:1])
    missions = metrics_from_snapshot(content_of(busy_lane)).missions.set_index("mission_id")
    assert len(missions) == 7
    assert missions["worker_id"].dropna().to_dict() == {f"m{number}": "a worker" for number in range(6)}


def test_one_count_that_is_no_count_leaves_all_counts_unknown() -> None:
    content = {"fallback": {}, "latency_seconds": {}, "mission_counts": {"completed": 3, "failed": -1}}
    assert metrics_from_snapshot(content).mission_counts is None


def test_what_it_lists_is_as_from_the_database(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    """Every column but those that need ``created_at``, and the worker's name."""
    with vp.open_source(busy_lane.path) as source:
        of_database = source.load(vp.RolloutWindow(LANE))
    of_snapshot = load(saved(tmp_path, content_of(busy_lane)))
    for column in of_database.missions.columns:
        if column not in ("created_at_text", "queue_wait_seconds", "worker_id"):
            ours, theirs = of_snapshot.missions[column], of_database.missions[column]
            assert ours.equals(theirs) or list(ours.fillna("")) == list(theirs.fillna("")), column
    assert of_snapshot.missions["queue_wait_seconds"].isna().all()
    for frame in ("events", "session_events"):
        columns = [column for column in getattr(of_database, frame).columns if column != "recent"]
        ours, theirs = getattr(of_snapshot, frame)[columns], getattr(of_database, frame)[columns]
        assert ours.to_dict("records") == theirs.to_dict("records")
    ours, theirs = vp.summarize(of_snapshot), vp.summarize(of_database)
    assert (ours.start, ours.degraded_events) == (theirs.start, theirs.degraded_events) == (NOON, 2)


def test_the_snapshot_of_a_snapshot_is_itself(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    content = content_of(busy_lane)
    tables = load(saved(tmp_path, content | {"a later gateway's key": 1}))
    assert vp.snapshot(tables, event_limit=1000).model_dump(mode="json") == content
    assert vp.snapshot(tables, event_limit=18).model_dump(mode="json") == content  # exactly its events
    assert len(vp.snapshot(tables, event_limit=17).recent_events) == 17
    short = vp.snapshot(tables, event_limit=2)
    assert [event["event_type"] for event in short.recent_events] == ["vp.mission.dispatched", "vp.mission.started"]
    assert short.event_counts == content["event_counts"]


def test_events_complete_is_believed(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    content = content_of(busy_lane, event_limit=1)
    assert len(content["recent_events"]) == 1
    assert load(saved(tmp_path, content)).quality.truncated_events is None


def test_a_gateways_answer_that_holds_everything_shows_no_truncation(
    busy_lane: RuntimeDatabase, tmp_path: Path
) -> None:
    content = gateway_content(busy_lane, 200)
    assert sum(content["event_counts"].values()) == 18
    assert load(saved(tmp_path, content)).quality.truncated_events is False


@pytest.mark.parametrize("event_limit", [1, 12, 15])
def test_missions_without_their_dispatched_event_show_truncation(
    busy_lane: RuntimeDatabase, tmp_path: Path, event_limit: int
) -> None:
    content = gateway_content(busy_lane, event_limit)
    assert load(saved(tmp_path, content)).quality.truncated_events is True
    del content["recent_missions"]  # the counts alone tell it too
    assert load(saved(tmp_path, content)).quality.truncated_events is True


@pytest.mark.parametrize(
    ("total", "truncated"), [(100, True), (180, True), (200, True), (500, True), (1000, True), (199, False)]
)
def test_counts_that_reach_a_usual_limit_show_truncation(total: int, truncated: bool) -> None:
    """The newest mission's fallback may be the one event that was cut off."""
    content = {
        "fallback": {"missions_considered": 10, "missions_with_fallback": 0, "rate": 0.0},
        "latency_seconds": {},
        "event_counts": {"vp.mission.dispatched": 10, "vp.mission.progress": total - 10},
    }
    assert metrics_from_snapshot(content).quality.truncated_events is truncated


def test_a_mapping_without_event_counts_is_not_called_truncated() -> None:
    content = {"fallback": {"missions_considered": 10, "rate": 0.0}, "latency_seconds": {}}
    metrics = metrics_from_snapshot(content)
    assert metrics.quality.truncated_events is False
    assert metrics.known == Known(missions=False, events=False, queue_wait=False, session=False, session_events=False)
    assert metrics.missions.empty  # a frame all the same, as from any source
    assert metrics.events.empty
    assert metrics.session_events.empty
    assert metrics.degraded_events is None
    assert (metrics.account.listed, metrics.account.counts, metrics.account.settled) == (False, None, None)


def test_a_shortened_list_of_missions_is_no_list(busy_lane: RuntimeDatabase) -> None:
    content = content_of(busy_lane)
    assert metrics_from_snapshot(content).known.missions
    del content["recent_missions"][0]
    metrics = metrics_from_snapshot(content)
    assert not metrics.known.missions
    assert metrics.missions.empty
    counts = {name: count for name, count in (metrics.account.counts or {}).items() if count}
    assert counts == {"completed": 4, "failed": 1, "pending": 1}  # by their statuses: which are overdue is unknown


def test_the_account_of_listed_missions_is_that_of_the_database(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    with vp.open_source(busy_lane.path) as source:
        of_database = vp.summarize(source.load(vp.RolloutWindow(LANE)))
    of_snapshot = vp.summarize(load(saved(tmp_path, content_of(busy_lane))))
    assert of_snapshot.account.counts == of_database.account.counts
    assert of_snapshot.account.counts["overdue"] == 1  # m5 runs since the day the database was filled
    assert (of_snapshot.account.settled, of_snapshot.account.fell_back) == (5, 1)


def test_what_a_source_can_tell(busy_lane: RuntimeDatabase) -> None:
    assert metrics_from_snapshot(content_of(busy_lane)).known == Known(queue_wait=False)
    assert metrics_from_snapshot(gateway_content(busy_lane, 200)).known == Known(queue_wait=False)
    content = {key: value for key, value in content_of(busy_lane).items() if key != "recent_session_events"}
    assert metrics_from_snapshot(content).known == Known(queue_wait=False, session_events=False)
    metrics = metrics_from_snapshot(content | {"session": None})
    assert (metrics.known.session, metrics.session, metrics.session_status) == (True, None, None)
    assert metrics.queue_wait_seconds is None
    assert metrics.last_activity is not None


def test_a_mission_whose_events_are_not_all_listed_may_have_any(busy_lane: RuntimeDatabase) -> None:
    """``events`` is unknown then: a mission without a listed event is no mission without an event."""
    all_listed = metrics_from_snapshot(content_of(busy_lane)).missions
    assert all_listed["events"].tolist() == [3, 3, 3, 3, 4, 2]
    some_listed = metrics_from_snapshot(content_of(busy_lane, event_limit=1))
    assert some_listed.missions["events"].isna().all()
    assert some_listed.account.count("unaccounted") == 0
    silent = content_of(busy_lane)
    silent["recent_events"] = [event for event in silent["recent_events"] if event["mission_id"] != "m0"]
    silent["event_counts"] = {name: count - (name in DONE) for name, count in silent["event_counts"].items()}
    metrics = metrics_from_snapshot(silent)
    assert metrics.missions["why"].tolist() == ["ended without a single event"] + [""] * 5


def test_oldest_session_events_do_not_count_the_newest_degraded(busy_lane: RuntimeDatabase) -> None:
    content = gateway_content(busy_lane, 200)
    assert metrics_from_snapshot(content).degraded_events == 2
    content["session_event_counts"] = {"vp.session.resumed": 200}
    assert metrics_from_snapshot(content).degraded_events is None


@pytest.mark.parametrize(("limit", "degraded"), [(4, None), (5, 2), (None, 2)])
def test_session_events_that_reach_the_limit_asked_for_may_be_the_oldest(
    busy_lane: RuntimeDatabase, limit: int | None, degraded: int | None
) -> None:
    content = gateway_content(busy_lane, 1000)
    assert len(content["recent_session_events"]) == 4
    assert vp.summarize(snapshot_tables(content, event_limit=limit)).degraded_events == degraded


@pytest.mark.parametrize(("first", "known"), [(NOON, True), (NOON + timedelta(microseconds=1), False)])
def test_the_newest_session_events_know_the_window_when_they_reach_back_to_its_start(
    busy_lane: RuntimeDatabase, first: datetime, known: bool
) -> None:
    content = content_of(busy_lane)
    del content["recent_session_events"][:2]
    content["recent_session_events"][0]["created_at"] = first.isoformat()
    metrics = metrics_from_snapshot(content)
    assert metrics.known.session_events is known
    assert metrics.degraded_events == (1 if known else None)
    content["recent_session_events"] = []
    assert not metrics_from_snapshot(content).known.session_events


def test_bridge_missions_do_not_prove_lost_events(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    """They never have a dispatched event."""
    for number in range(3):
        busy_lane.mission(f"bridge-{number}", NOON + timedelta(minutes=7), events=DONE[1:], source="redis_bridge")
    content = gateway_content(busy_lane, 1000)
    assert metrics_from_snapshot(content).quality.truncated_events is False
    text = json.dumps(content).replace("bridge-", "other-")
    assert metrics_from_snapshot(json.loads(text)).quality.truncated_events is True
    counted = content | {"recent_events": []}  # where no event is listed, their numbers decide
    assert metrics_from_snapshot(counted).quality.truncated_events is False
    assert metrics_from_snapshot(json.loads(text) | {"recent_events": []}).quality.truncated_events is True


@pytest.mark.parametrize(("limit", "truncated"), [(17, True), (18, True), (19, False), (None, False)])
def test_counts_that_reach_the_limit_asked_for_show_truncation(
    busy_lane: RuntimeDatabase, limit: int | None, truncated: bool
) -> None:
    content = gateway_content(busy_lane, 1000)
    assert sum(content["event_counts"].values()) == 18
    tables = snapshot_tables(content, event_limit=limit)
    assert tables.quality.truncated_events is truncated
    assert snapshot_tables(content | {"events_complete": True}, event_limit=limit).quality.truncated_events is None


@pytest.mark.parametrize(("late", "beyond"), [(60, 0), (60.000001, 1)])
@pytest.mark.parametrize("column", ["started_at", "completed_at"])
def test_stamps_over_a_minute_after_the_snapshot_are_counted(
    busy_lane: RuntimeDatabase, column: str, late: float, beyond: int
) -> None:
    content = content_of(busy_lane)
    taken = datetime.fromisoformat(content["generated_at"])
    content["recent_missions"][0][column] = (taken + timedelta(seconds=late)).isoformat()
    assert metrics_from_snapshot(content).quality.beyond_as_of == beyond
    del content["generated_at"]
    assert metrics_from_snapshot(content).quality.beyond_as_of == 0  # nobody knows when it was taken


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -0.5, "0.1", True, [], {}, 10**400])
def test_what_is_no_number_is_unknown(value: Any) -> None:
    metrics = metrics_from_snapshot(
        {
            "fallback": {"missions_considered": value, "missions_with_fallback": value, "rate": value},
            "latency_seconds": {"count": value, "p95_seconds": value},
            "mission_counts": {"completed": value},
            "recovery": {"attempts": value},
            "session_health": value,
        }
    )
    assert metrics.fallback.missions_considered is None
    assert metrics.fallback.missions_with_fallback is None
    assert metrics.fallback.rate is None
    assert metrics.latency_seconds.p95_seconds is None
    assert metrics.mission_counts is None
    assert metrics.recovery is None
    assert metrics.session_health is None


def test_a_rate_above_one_is_unknown() -> None:
    assert metrics_from_snapshot({"fallback": {"rate": 1.5}, "latency_seconds": {}}).fallback.rate is None
    assert metrics_from_snapshot({"fallback": {"rate": 1}, "latency_seconds": {}}).fallback.rate == 1.0


@pytest.mark.parametrize(("levels", "kept"), [(200, True), (201, False)])
def test_payloads_nest_as_deep_as_every_reader_can_follow(levels: int, kept: bool) -> None:
    text = "[" * levels + "]" * levels
    assert (parse_payload(text) is not None) is kept


def test_nan_in_a_saved_file_is_unknown(tmp_path: Path) -> None:
    text = '{"fallback": {"missions_considered": 3, "rate": NaN}, "latency_seconds": {"p95_seconds": 1e999}}'
    metrics = vp.summarize(load(saved(tmp_path, text)))
    assert (metrics.fallback.rate, metrics.latency_seconds.p95_seconds) == (None, None)


HOSTILE: list[Any] = [
    {"recent_missions": "x", "recent_events": 1, "recent_session_events": {}, "mission_counts": []},
    {"recent_missions": [1, None, "x", {}], "mission_counts": {"unknown": 1}},
    {
        "recent_missions": [{"mission_id": 7, "status": ["x"], "started_at": 5, "duration_seconds": "x"}],
        "mission_counts": {"x": 1},
    },
    {"recent_events": [{"mission_id": {}, "event_type": None, "payload": {"a": "\ud800"}, "created_at": []}, None]},
    {"session": "x", "recovery": [], "session_health": 1, "generated_at": 5, "event_counts": {"": -1}},
    {"generated_at": "9999-12-31T23:59:59-14:00", "session": {"status": 5}},
    {
        "mission_counts": {"completed": 2},
        "recent_missions": [
            {"mission_id": "a", "status": "completed", "started_at": "0001-01-01", "completed_at": "9999-12-31"},
            {
                "mission_id": "a",
                "status": "",
                "started_at": "2026-02-17",
                "completed_at": "2026-02-16",
                "updated_at": "?",
            },
        ],
    },
]


@pytest.mark.parametrize("extra", HOSTILE)
def test_hostile_snapshots_still_give_their_two_numbers(tmp_path: Path, extra: dict[str, Any]) -> None:
    content = {
        "fallback": {"missions_considered": 2, "missions_with_fallback": 0, "rate": 0.0},
        "latency_seconds": {"count": 1, "p95_seconds": 3.0},
    } | extra
    metrics = vp.summarize(load(saved(tmp_path, content)))
    assert (metrics.fallback.rate, metrics.latency_seconds.p95_seconds) == (0.0, 3.0)
    for policy in ("playbook", "capture"):
        verdict = vp.classify(metrics, vp.Policy.load(policy))
        vp.evidence_row(verdict, window_label="w", scope="s", ref="r").encode()


def test_missions_that_failed_and_completed_after_all_contradict_nothing(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session()
    for number in range(20):
        events = [f"vp.mission.{name}" for name in ("dispatched", "failed", "completed")]
        fresh_database.mission(f"m{number}", NOON + timedelta(minutes=number), events=events)
    assert contradiction(metrics_from_snapshot(content_of(fresh_database))) == ""


def test_a_mission_of_no_duration_has_no_clock_that_runs_backwards(busy_lane: RuntimeDatabase) -> None:
    busy_lane.mission("instant", NOON + timedelta(minutes=7), run=0, events=DONE)
    assert metrics_from_snapshot(content_of(busy_lane)).quality.backwards_clocks == 0


def test_quality_of_the_listed_missions() -> None:
    quality = metrics_from_snapshot({"fallback": {}, "latency_seconds": {}} | HOSTILE[-1]).quality
    assert quality.duplicate_missions == 1
    assert quality.backwards_clocks == 1
    assert quality.unknown_statuses == {"": 1}
    assert quality.unreadable_times == {"vp_missions.updated_at": 1}


@pytest.mark.parametrize(
    ("window", "word"),
    [
        ({"start": "2026-02-16"}, "start"),
        ({"end": "2026-02-16"}, "end"),
        ({"last_missions": 5, "skip_missions": 5}, "newest missions only"),
        ({"as_of": "2026-02-16T11:00:00Z"}, "as_of"),
    ],
)
def test_windows_that_a_snapshot_cannot_show(
    busy_lane: RuntimeDatabase, tmp_path: Path, window: dict[str, Any], word: str
) -> None:
    path = saved(tmp_path, content_of(busy_lane))
    with pytest.raises(vp.InputError, match=word):
        load(path, **window)


def test_another_lane(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    path = saved(tmp_path, content_of(busy_lane))
    with vp.open_source(path) as source, pytest.raises(vp.InputError, match=LANE):
        source.load(vp.RolloutWindow("vp.other"))


def test_as_of_to_the_second_still_means_the_snapshot(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    content = content_of(busy_lane) | {"generated_at": "2026-02-16T14:07:42.900000+00:00"}
    tables = load(saved(tmp_path, content), as_of="2026-02-16T14:07:42Z")
    assert tables.as_of.isoformat() == content["generated_at"]
    assert tables.quality.ends_before_window is None


def test_a_later_as_of_finds_the_snapshot_ended(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    content = content_of(busy_lane) | {"generated_at": "2026-02-16T14:07:42+00:00"}
    tables = load(saved(tmp_path, content), as_of="2026-02-16T15:00:00Z")
    assert tables.quality.ends_before_window == tables.as_of == datetime.fromisoformat(content["generated_at"])


def test_more_missions_than_asked_for_widen_the_window(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    tables = load(saved(tmp_path, content_of(busy_lane)), last_missions=2)
    assert tables.window.last_missions == len(tables.missions) == 6


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a metrics snapshot"),
        ("{}", "'fallback'"),
        ('{"status": "ok", "metrics": {}}', "'fallback'"),
    ],
)
def test_files_that_are_no_snapshot(tmp_path: Path, content: str, word: str) -> None:
    with pytest.raises(vp.InputError, match=word):
        vp.open_source(saved(tmp_path, content))


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(vp.InputError, match="does not exist"):
        vp.open_source(tmp_path / "nowhere.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(vp.InputError, match="cannot be read"):
        vp.open_source(tmp_path / "folder.json")


def test_a_saved_dashboard_answer(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    content = content_of(busy_lane)
    assert load(saved(tmp_path, {"status": "ok", "metrics": content})).snapshot == content
    for metrics in (None, content):
        with pytest.raises(vp.InputError, match="unavailable"):
            vp.open_source(saved(tmp_path, {"status": "unavailable", "detail": "x", "metrics": metrics}))
    verdict = vp.classify({"status": "ok", "metrics": content}, vp.Policy.load("capture"))
    assert verdict.missions_considered == 6


def test_the_gateways_own_answer_is_only_in_a_gateways_snapshot(busy_lane: RuntimeDatabase, tmp_path: Path) -> None:
    theirs = gateway_content(busy_lane, 12)
    with vp.open_source(saved(tmp_path, theirs)) as source:
        assert source.gateway_snapshot(LANE).model_dump(mode="json") == theirs
    with (
        vp.open_source(saved(tmp_path, content_of(busy_lane))) as source,
        pytest.raises(vp.InputError, match="all events"),
    ):
        source.gateway_snapshot(LANE)
