"""The fragility line against windows that are built anew with one fallback, failure or clean mission more or less."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import LANE, NOON, metrics_from_snapshot, metrics_of, mission
from vpanalysis.analysis.fragility import fragility

from vpanalysis.analysis.decision import judge
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.policy import PROFILES, Policy
from vpanalysis.analysis.verdict import CAUTION

SESSION = {"vp_id": LANE, "status": "active", "updated_at": NOON.isoformat()}
Rows = list[dict[str, Any]]
MOST_TRIED = 40


def line(metrics: Metrics, policy: Policy) -> str:
    return fragility(metrics, lambda changed: judge(changed, policy).status, policy.p95_critical_seconds)


def window(fell_back: list[bool], failed: list[bool]) -> Rows:
    """Missions a minute apart, oldest first, that took 10 s each."""
    return [
        mission(60.0 * (at - len(failed)) - 200, fallback=one, status="failed" if other else "completed")
        for at, (one, other) in enumerate(zip(fell_back, failed, strict=True))
    ]


def changed(rows: Rows, by: int, column: str, now: Any, then: Any) -> Rows | None:
    """The rows with the newest ``by`` of those where ``column`` is ``now`` set to ``then``."""
    places = [at for at, row in enumerate(rows) if row[column] == now]
    if by > len(places):
        return None
    chosen = set(places[len(places) - by :])
    return [row | {column: then} if at in chosen else row for at, row in enumerate(rows)]


KINDS: dict[str, Callable[[Rows, int], Rows | None]] = {
    "more fallback": lambda rows, by: changed(rows, by, "fallback_events", 0, 1),
    "fewer fallback": lambda rows, by: changed(rows, by, "fallback_events", 1, 0),
    "more failure": lambda rows, by: changed(rows, by, "outcome", "completed", "failed"),
    "fewer failure": lambda rows, by: changed(rows, by, "outcome", "failed", "completed"),
    "more clean mission": lambda rows, by: rows + [mission(-200.0 + at / 100) for at in range(by)],
}


def by_trying(rows: Rows, policy: Policy) -> dict[str, tuple[int, str]]:
    """The smallest number of each change that flips the verdict, and the new one, by trying 1, 2, 3, …"""
    now = judge(metrics_of(rows, session=SESSION), policy).status
    found = {}
    for kind, change in KINDS.items():
        for by in range(1, MOST_TRIED + 1):
            after = change(rows, by)
            if after is None:
                break
            status = judge(metrics_of(after, session=SESSION), policy).status
            if status != now:
                found[kind] = (by, status)
                break
    return found


def told(text: str) -> dict[str, tuple[int, str]]:
    """The same, read from the line."""
    found = {}
    for part in text.rstrip(".").split("; "):
        ways, status = re.fullmatch(r"(.+) turns? \w+ into (\w+)", part).groups()  # type: ignore[union-attr]
        for way in ways.split(" or "):
            number, kind = way.split(" ", 1)
            count = 1 if number.lower() == "one" else int(number)
            found[kind if count == 1 else kind.removesuffix("s")] = (count, status)
    return found


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8), st.data())
def test_the_line_tells_what_trying_finds(newest: list[tuple[bool, bool]], data: st.DataObject) -> None:
    older = data.draw(st.sampled_from([0, 3, 30]))
    policy = Policy.load("playbook", data.draw(st.sampled_from(PROFILES)))
    rows = window([False] * older + [one for one, _ in newest], [False] * older + [other for _, other in newest])
    metrics = metrics_of(rows, session=SESSION)
    now = CAUTION.index(judge(metrics, policy).status)
    expected = by_trying(rows, policy)
    better = {kind: flip for kind, flip in expected.items() if CAUTION.index(flip[1]) < now}
    worse = sorted((flip, kind) for kind, flip in expected.items() if CAUTION.index(flip[1]) > now)
    text = line(metrics, policy)
    if text.startswith("No change"):
        assert not expected
        assert text == "No change in fallbacks, failures or clean missions alone flips the verdict."
        return
    found = told(text)
    found_worse = {kind: flip for kind, flip in found.items() if CAUTION.index(flip[1]) > now}
    found_better = {kind: flip for kind, flip in found.items() if kind not in found_worse}
    assert {kind: flip for kind, flip in found_better.items() if flip[0] <= MOST_TRIED} == better
    assert len(found_worse) == (1 if worse else 0)
    for kind, flip in found_worse.items():
        assert flip == expected[kind]
        assert flip[0] == worse[0][0][0]


@pytest.mark.parametrize(
    ("fallbacks", "of", "text"),
    [
        (0, 4, "One more fallback turns HEALTHY into FORCE_FALLBACK."),
        (0, 20, "One more fallback turns HEALTHY into WATCH."),
        (0, 41, "3 more fallbacks turn HEALTHY into WATCH."),  # 2 of 41 are 0.049; the newest 20 would not bear 3
        (0, 200, "3 more fallbacks turn HEALTHY into WATCH."),  # among the newest 20; the rate takes ten
        (1, 5, "One fewer fallback turns FORCE_FALLBACK into HEALTHY; one more clean mission turns FORCE_FALLBACK"),
        (2, 30, "One fewer fallback or 11 more clean missions turn WATCH into HEALTHY; 4 more fallbacks"),
    ],
)
def test_lines_counted_by_hand(fallbacks: int, of: int, text: str) -> None:
    rows = window([at < fallbacks for at in range(of)], [False] * of)
    assert text in line(metrics_of(rows, session=SESSION), Policy.load("playbook"))


def test_clean_missions_lower_a_critical_p95() -> None:
    """Of 10 and 11 run times the p95 is the largest, of 12 the second largest."""
    rows = window([False] * 10, [False] * 10)
    rows[4] |= {"duration_seconds": 100.0}
    found = line(metrics_of(rows, session=SESSION), Policy.load("playbook", "sustained"))
    assert found == "2 more clean missions turn FORCE_FALLBACK into HEALTHY."


def test_from_counts_alone() -> None:
    def content(k: int, n: int, **counts: int) -> dict[str, Any]:
        fallback = {"missions_considered": n, "missions_with_fallback": k, "rate": k / n if n else 0.0}
        return {"fallback": fallback, "latency_seconds": {"p95_seconds": 1.0}, "mission_counts": counts}

    policy = Policy.load("playbook")
    found = line(metrics_from_snapshot(content(0, 100, completed=100)), policy)
    assert found == "5 more fallbacks turn HEALTHY into WATCH."
    found = line(metrics_from_snapshot(content(0, 100, completed=92, failed=8)), policy)
    assert found == "2 more failures turn HEALTHY into WATCH."
    found = line(metrics_from_snapshot(content(0, 100, completed=88, failed=10, timed_out=2)), policy)
    assert found.startswith("3 fewer failures or 21 more clean missions turn WATCH into HEALTHY; ")
    assert line(metrics_from_snapshot(content(0, 0)), policy) == ""
    unknown = {"fallback": {"missions_considered": 4}, "latency_seconds": {}}
    assert line(metrics_from_snapshot(unknown), policy).startswith("No change in fallbacks")


def test_too_little_traffic_wants_more_missions() -> None:
    policy = Policy.load("playbook", min_missions=10)
    found = line(metrics_of(window([False] * 4, [False] * 4), session=SESSION), policy)
    assert found.startswith("6 more clean missions turn NO_TRAFFIC into HEALTHY; 3 more failures turn")


def test_no_change_of_missions_mends_a_degraded_session() -> None:
    metrics = metrics_of(window([False] * 60, [False] * 60), session=SESSION | {"status": "degraded"})
    assert line(metrics, Policy.load("playbook", "sustained")) == ("12 more fallbacks turn WATCH into FORCE_FALLBACK.")
