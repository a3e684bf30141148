"""The examples in docstrings and docs run, and say what they say."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in sorted((ROOT / "vpanalysis").rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    found = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples_where_analysts_begin() -> None:
    assert {"vpanalysis", "vpanalysis.analysis.decision", "vpanalysis.analysis.signatures"} <= set(MODULES)


def test_every_promise_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    tables = re.findall(r"\| promise \| test \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    promises = [line for table in tables for line in table.splitlines()]
    assert len(promises) > 15
    for promise in promises:
        held = promise.rpartition(" | ")[2]
        named, file = re.findall(r"`(?:(test_\w+\.py): )?(test_\w+)`", held), ""
        assert named, promise
        for of, name in named:
            file = of or file
            assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8"), name


def test_the_questions_of_analysts_are_answered() -> None:
    names: dict[str, object] = {}
    answers = []
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "analysts.md").read_text("utf-8"), re.DOTALL):
        *lines, last = block.strip().splitlines()
        exec("\n".join(lines), names)
        answers.append(eval(last.partition("#")[0], names))
    signatures, lost, claimed_again, status = answers
    assert "secret" in "".join(signatures["example"])
    assert lost.iloc[0] > 0
    assert claimed_again >= 0
    assert status == "FORCE_FALLBACK"
