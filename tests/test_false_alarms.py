"""The simulation behind the table of healthy lanes, against exact binomial probabilities; and the page it is on."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import binom

from vpanalysis.analysis.policy import Gates

ROOT = Path(__file__).parents[1]


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


def test_trip_rates_are_the_binomials(simulation: ModuleType) -> None:
    lane, windows = simulation.Lane(fallback=0.05), 250
    found = simulation.trip_rates(lane, 60, windows, np.random.default_rng(1))
    for gate, exact in (
        ("fallback_rate", binom.sf(2, 60, 0.05)),  # 3 of 60 are 5 %
        ("rolling_fallback", binom.sf(2, 20, 0.05)),  # 3 of 20 are over 10 %
        ("supports", binom.cdf(0, 60, 0.05)),  # with one fallback it takes 93 missions
        ("capture", binom.sf(2, 60, 0.05)),
    ):
        error = (exact * (1 - exact) / windows) ** 0.5
        assert found.get(gate, 0.0) == pytest.approx(exact, abs=4 * error), gate
    assert found["playbook"] >= found["capture"]


def test_a_lane_to_which_nothing_happens_trips_nothing(simulation: ModuleType) -> None:
    lane = simulation.Lane(fallback=0, failed=0, cancelled=0, hanging=0, slow=0, degraded=0)
    found = simulation.trip_rates(lane, 60, 20, np.random.default_rng(1))
    assert {name: rate for name, rate in found.items() if rate} == {"supports": 1.0}


def test_the_page_names_every_gate_and_has_a_table_for_each_lane(simulation: ModuleType) -> None:
    page = (ROOT / "docs" / "gates.md").read_text("utf-8")
    for gate in (*Gates.model_fields, "traffic", "fallback_rate"):
        assert f"`{gate}`" in page, gate
    for lane in simulation.LANES:
        table = page.split(f"### A healthy lane with {lane}\n")[1].split("\n#")[0]
        assert re.findall(r"n = (\d+)", table) == [str(n) for n in simulation.SIZES]
        for _, title in simulation.ROWS:
            assert len(re.findall(rf"\| {title} \|(?: [\d.]+ % \|){{4}}", table)) == 1, title
