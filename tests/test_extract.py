"""Extracts: from the rows that a reading asked for, every answer is that of the whole database."""

import random
import sqlite3
from contextlib import closing
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import LANE
from test_gateway_answer import NOW, OTHER, write_hostile_database

import vpanalysis as vp
from vpanalysis.data import load, mission_events
from vpanalysis.data.extract import NotingSource, extract
from vpanalysis.data.sample import SAMPLE_END, write_sample
from vpanalysis.data.source import SqliteSource
from vpanalysis.data.tables import Tables
from vpanalysis.report.rollout import read_window

WINDOWS = [
    vp.RolloutWindow(LANE, last_missions=20, as_of=NOW),
    vp.RolloutWindow(LANE, last_missions=3, as_of=NOW - timedelta(hours=12)),
    vp.RolloutWindow(LANE, start=NOW - timedelta(days=1), end=NOW - timedelta(hours=20), as_of=NOW),
    vp.RolloutWindow(OTHER, end="2026-02-17", as_of=NOW),
]


@pytest.fixture(autouse=True)
def fixed_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read happens at NOW."""
    monkeypatch.setattr(SqliteSource, "now", lambda source: NOW)


def assert_equal(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple):
        for one, other in zip(found, wanted, strict=True):
            assert_equal(one, other)
    elif isinstance(wanted, dict) and all(isinstance(value, Tables) for value in wanted.values()):
        assert found.keys() == wanted.keys()
        for name, tables in wanted.items():
            assert_equal(found[name], tables)
    elif isinstance(wanted, Tables):
        for field in fields(Tables):
            assert_equal(getattr(found, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(found, wanted)
    else:
        assert found == wanted


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return sum(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("vp_missions", "vp_events")
        )


def assert_extract_answers(whole: Path, window: vp.RolloutWindow, to: Path) -> None:
    to.mkdir()
    small = to / whole.name
    extract(NotingSource(whole), lambda asked: read_window(asked, window), small)
    assert_equal(read_window(SqliteSource(small), window), read_window(SqliteSource(whole), window))


@pytest.mark.thorough
@pytest.mark.parametrize(("seed", "window"), [(seed, window) for seed in range(2) for window in WINDOWS])
def test_a_hostile_databases_extract_answers_as_it_does(seed: int, window: vp.RolloutWindow, tmp_path: Path) -> None:
    write_hostile_database(tmp_path / "vp_state.db", random.Random(seed))
    assert_extract_answers(tmp_path / "vp_state.db", window, tmp_path / "extract")


@pytest.mark.thorough
def test_an_extract_of_packed_missions_answers_as_the_database_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As missions are read where there are many."""
    monkeypatch.setattr(load, "_FEW_MISSIONS", 0)
    monkeypatch.setattr(mission_events, "MAX_EVENT_LIMIT", 20)
    monkeypatch.setattr(SqliteSource, "now", lambda source: SAMPLE_END)
    whole = write_sample(tmp_path / "whole.db", "critical")
    assert_extract_answers(whole, vp.RolloutWindow(LANE, last_missions=50, as_of=SAMPLE_END), tmp_path / "small")


def test_an_extract_has_little_else_than_the_windows_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteSource, "now", lambda source: SAMPLE_END)
    whole = write_sample(tmp_path / "whole.db", "critical", missions=2_000)
    window = vp.RolloutWindow(LANE, start=SAMPLE_END - timedelta(hours=4), end=SAMPLE_END, as_of=SAMPLE_END)
    extract(NotingSource(whole), lambda source: source.load(window), tmp_path / "small.db")
    assert len(SqliteSource(tmp_path / "small.db").load(window).missions) == len(
        SqliteSource(whole).load(window).missions
    )
    assert rows(tmp_path / "small.db") < rows(whole) / 5  # up to 1,000 newest missions and events are always read


def test_a_lane_that_is_not_there_is_refused_in_the_same_words(tmp_path: Path) -> None:
    whole = write_sample(tmp_path / "whole.db", "healthy")
    window = vp.RolloutWindow("vp.absent", last_missions=5)
    extract(NotingSource(whole), lambda source: source.load(window), tmp_path / "small.db")
    sentences = []
    for path in (whole, tmp_path / "small.db"):
        with pytest.raises(vp.InputError) as refused:
            SqliteSource(path).load(window)
        sentences.append(str(refused.value))
    assert sentences[0] == sentences[1]
