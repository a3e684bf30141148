"""Policies scored by what happened next, on a planted history that a lax policy must lose and a strict one too."""

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from command_line import run_command
from conftest import LANE, NOON, RuntimeDatabase

import vpanalysis as vp
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.replay import replay
from vpanalysis.analysis.score import Bad, PolicyScore, score
from vpanalysis.data.source import SqliteSource

DAY = timedelta(days=1)
#: Fallbacks of 50 missions, day by day: 3 (6 %) announce each of the two bad spells; 1 (2 %) is no sign of anything.
PLANTED = (0, 1, 0, 0, 3, 10, 9, 0, 0, 1, 0, 3, 8, 0, 0)
END = NOON + len(PLANTED) * DAY
LAX = "[rollout]\nfallback_watch = 0.3\nfallback_critical = 0.5\ngates = false\n"
STRICT = "[rollout]\nfallback_watch = 0.01\n"


@pytest.fixture
def planted(make_database: Callable[..., RuntimeDatabase], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(SqliteSource, "now", lambda source: END)
    database = make_database()
    database.session(at=END)
    database.session_event("vp.session.created", NOON - DAY)
    for day, fallbacks in enumerate(PLANTED):
        for number in range(50):
            at: datetime = NOON + day * DAY + number * timedelta(minutes=5)
            events = ["vp.mission.dispatched", "vp.mission.completed"]
            if fallbacks and number % (50 // fallbacks) == 0 and number // (50 // fallbacks) < fallbacks:
                events.insert(1, "vp.mission.fallback")
            database.mission(f"m{day}-{number}", at, events=events)
    database.mission("next", END - timedelta(hours=1))  # the last window is still open
    return database.path


def policy(tmp_path: Path, name: str, rules: str) -> Path:
    path = tmp_path / f"{name}.toml"
    path.write_text(f'name = "{name}"\nversion = "1"\n{rules}', "utf-8")
    return path


@pytest.fixture
def scores(planted: Path, tmp_path: Path) -> dict[str, PolicyScore]:
    files = [policy(tmp_path, "lax", LAX), policy(tmp_path, "strict", STRICT)]
    policies = [Policy.load("playbook"), *map(Policy.load, files)]
    with vp.open_source(planted) as source:
        found = score(replay(source, LANE, policies, every=DAY), policies, Bad())
    return {one.policy.name: one for one in found}


def test_the_planted_history_ranks_the_three_policies(scores: dict[str, PolicyScore]) -> None:
    # Bad are days 5, 6 and 12; 14 windows are followed by a known one, 3 of these by a bad one.
    assert {name: (one.false_promotions.count, one.false_promotions.of) for name, one in scores.items()} == {
        "lax": (3, 14),  # it promotes on every day
        "playbook": (0, 9),  # it holds on the five days that fell back in 6 % or more
        "strict": (0, 7),
    }
    # Good days followed by good ones: 0 to 3, 7 to 10 and 13.
    assert {name: (one.false_holds.count, one.false_holds.of) for name, one in scores.items()} == {
        "lax": (0, 9),
        "playbook": (0, 9),
        "strict": (2, 9),  # days 1 and 9, for one fallback each
    }


def test_delays_spells_and_flips(scores: dict[str, PolicyScore]) -> None:
    assert (scores["lax"].missed_spells.count, scores["lax"].missed_spells.of, scores["lax"].delays) == (2, 2, ())
    assert (scores["playbook"].missed_spells.count, scores["playbook"].delays) == (0, (timedelta(0),) * 2)
    assert [scores[name].flips for name in ("lax", "playbook", "strict")] == [0, 4, 8]


def test_the_gate_that_earned_its_place(scores: dict[str, PolicyScore]) -> None:
    found = {gate.gate: gate for gate in scores["playbook"].gates}["fallback_rate"]
    assert (found.tripped, found.right, found.alone_wrong) == (5, 5, 0)
    assert scores["strict"].gates[0].gate == "fallback_rate"
    assert scores["strict"].gates[0].alone_wrong == 2
    assert scores["lax"].gates == ()


def test_a_spell_seen_late_has_its_delay(planted: Path, tmp_path: Path) -> None:
    late = [Policy.load(policy(tmp_path, "late", "[rollout]\nfallback_watch = 0.19\ngates = false\n"))]
    with vp.open_source(planted) as source:
        [found] = score(replay(source, LANE, late, every=DAY), late, Bad(fallback=0.06))
    # Spells are then days 4 to 6 and 11 to 12: only day 5 (20 %) is held.
    assert (found.delays, found.missed_spells.count, found.missed_spells.of) == ((DAY,), 1, 2)


@pytest.mark.thorough
def test_the_command_prints_the_definition_and_the_ranking(
    capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path
) -> None:
    given = ("policy", "replay", "--source", str(planted), "--policy", str(policy(tmp_path, "lax", LAX)), "--score")
    text = run_command(capsys, *given).out
    assert "A window was bad when 10 % or more of its missions fell back, or 10 % or more of its finished" in text
    assert "3 of 14 (8-48 %)" in text
    found = json.loads(run_command(capsys, *given, "--bad-p95", "30", "--format", "json").out)
    assert found["bad"]["p95_seconds"] == 30
    assert "its p95 run time was 30 s or more" in found["bad"]["sentence"]
    rows = list(csv.DictReader(io.StringIO(run_command(capsys, *given, "--format", "csv").out)))
    assert [(row["policy"], row["false_promotions"], row["delay_median_seconds"]) for row in rows] == [
        ("playbook", "0", "0.0"),
        ("lax", "3", ""),
    ]
