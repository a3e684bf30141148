"""The lanes that a source names, against plain SQL over a real database."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import NOON, RuntimeDatabase

from vpanalysis.data.lane_lookup import lanes_in
from vpanalysis.data.source import open_source
from vpanalysis.errors import InputError


def test_a_lane_in_any_table_is_a_lane(fresh_database: RuntimeDatabase) -> None:
    fresh_database.session("vp.b")
    for number in range(3):
        fresh_database.mission(f"m{number}", vp_id="vp.a")
    fresh_database.event("gone", "vp.mission.failed", NOON, vp_id="vp.c")
    fresh_database.session_event("vp.session.created", NOON, vp_id="vp.d")
    assert lanes_in(fresh_database.path) == ("vp.a", "vp.b", "vp.c", "vp.d")


def test_names_that_are_none_are_left_out_and_hide_no_other(fresh_database: RuntimeDatabase) -> None:
    for number, name in enumerate((None, "", "  ", "vp.a\0b", b"\xff\xfe", "vp.z", "vp.é")):
        fresh_database.mission(f"m{number}", vp_id=name)  # type: ignore[arg-type]
    assert lanes_in(fresh_database.path) == ("vp.z", "vp.é")


def test_a_number_in_an_untyped_column_hides_no_lane(make_database: Callable[..., RuntimeDatabase]) -> None:
    schema = "".join(
        f"CREATE TABLE {name} (vp_id, mission_id);" for name in ("vp_sessions", "vp_missions", "vp_events")
    )
    database = make_database("untyped.db", schema)
    database.insert("vp_missions", vp_id=5, mission_id="m1")
    database.insert("vp_missions", vp_id="vp.a", mission_id="m2")
    assert lanes_in(database.path) == ("5", "vp.a")


def test_the_look_up_seeks_in_the_indexes(fresh_database: RuntimeDatabase) -> None:
    """Its cost is that of the lanes, whatever their history: no step of its plan scans a table."""
    from vpanalysis.data import lane_lookup

    for table in ("vp_missions", "vp_events", "vp_session_events"):
        plan = fresh_database.connection.execute("EXPLAIN QUERY PLAN " + lane_lookup._LANES.format(table))
        steps = [row[3] for row in plan if table in row[3]]
        assert steps
        assert all(step.startswith("SEARCH") for step in steps), steps


def test_sources_list_their_lanes(fresh_database: RuntimeDatabase, tmp_path: Path) -> None:
    fresh_database.mission("m", vp_id="vp.a")
    with open_source(fresh_database.path) as source:
        assert source.lanes() == ("vp.a",)
    saved = tmp_path / "saved.json"
    saved.write_text('{"vp_id": "vp.b", "fallback": {"missions_considered": 0}, "latency_seconds": {}}', "utf-8")
    with open_source(saved) as source:
        assert source.lanes() == ("vp.b",)
    with open_source("http://127.0.0.1:9") as source:
        assert source.lanes() == ()  # asks nobody
    with open_source("sample:fleet") as source:
        assert len(source.lanes()) == 6


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.db"):
        lanes_in(tmp_path / "nowhere.db")


def test_several_databases_as_one_list_the_lanes_of_all(
    make_database: Callable[..., RuntimeDatabase],
) -> None:
    one, two = make_database("one.db"), make_database("two.db")
    one.mission("m1", vp_id="vp.b")
    two.mission("m2", vp_id="vp.a")
    two.mission("m3", vp_id="")
    with open_source(f"{one.path} + {two.path}") as source:
        assert source.lanes() == ("vp.a", "vp.b")
