"""The simulation behind the tables of docs/gates.md, against exact probabilities; and the page it is on."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import some_of
from scipy.stats import binom

from vpanalysis.analysis.gates import GATES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "gates.md").read_text("utf-8")


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = ROOT / "benchmarks" / "false_alarms.py"
    spec = importlib.util.spec_from_file_location("benchmarks_false_alarms", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.thorough
def test_trip_rates_are_the_binomials(simulation: ModuleType) -> None:
    lane, windows = simulation.Lane(fallback=0.05, slow=0, hanging=0), 80
    found = simulation.trip_rates(lane, 60, windows, np.random.default_rng(1))
    for gate, exact in (
        ("fallback_rate", binom.sf(2, 60, 0.05)),  # 3 of 60 are 5 %
        ("rolling_fallback", binom.sf(2, 20, 0.05)),  # 3 of 20 are over 10 %
        ("capture", binom.sf(2, 60, 0.05)),
    ):
        error = (exact * (1 - exact) / windows) ** 0.5
        assert found.get(gate, 0.0) == pytest.approx(exact, abs=4 * error), gate
    assert found["playbook"] >= found["capture"]


@pytest.mark.parametrize("shape", some_of(["bursty", "steady", "slow tier"], 3))
def test_a_lane_to_which_nothing_happens_trips_nothing(simulation: ModuleType, shape: str) -> None:
    lane = simulation.Lane(fallback=0, failed=0, hanging=0, slow=0, degraded=0, shape=shape)
    found = simulation.trip_rates(lane, 60, 20, np.random.default_rng(1))
    assert not any(found.values())


def test_a_change_is_among_the_newest_only(simulation: ModuleType) -> None:
    lane = simulation.Lane(fallback=0, newest=12, change=(("fallback", 1.0),))
    missions = simulation.window(lane, 60, np.random.default_rng(1)).missions
    assert missions["fell_back"].tolist()[:48] == [False] * 48
    assert missions["fell_back"].tail(12).sum() >= 11  # the newest may not have started


def test_many_looks_are_counted(simulation: ModuleType) -> None:
    anytime, fixed = simulation.wrong_claims(0.0, 48, 20, np.random.default_rng(1))
    assert (anytime, fixed) == (1.0, 1.0)  # 240 clean missions show it either way
    assert simulation.wrong_claims(0.5, 48, 20, np.random.default_rng(1)) == (0.0, 0.0)


def test_the_page_names_every_gate_as_the_gate_does() -> None:
    for gate in GATES:
        assert f"| `{gate.name}` | {gate.trips} |" in PAGE, gate.name


def test_the_page_has_a_table_for_each_lane(simulation: ModuleType) -> None:
    for lane in [*simulation.HEALTHY, "with 2 % fallbacks, steady"]:
        comma = "" if lane.startswith("with") else ","
        table = PAGE.split(f"### A healthy lane{comma} {lane}\n")[1].split("\n#")[0]
        assert re.findall(r"n = (\d+)", table) == [str(n) for n in simulation.SIZES]
        for gate in GATES:
            assert len(re.findall(rf"\| `{gate.name}` \|(?: [\d.]+ % \|){{4}}", table)) == 1, gate.name
        for rate in re.findall(r"not healthy by `playbook`\*\* \|(?: [\d.]+ % \|) ([\d.]+) % \| ([\d.]+)", table):
            assert comma == "" or max(map(float, rate)) <= 5.0
    for fault in simulation.FAULTY:
        assert f"| {fault} |" in PAGE
