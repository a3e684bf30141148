"""What the next missions would change, against windows that are built anew with those missions in them."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import LANE, NOON, metrics_from_snapshot, metrics_of, mission

import vpanalysis as vp
from vpanalysis.analysis.decision import judge
from vpanalysis.analysis.metrics import Metrics
from vpanalysis.analysis.outlook import outlook
from vpanalysis.analysis.policy import PROFILES, Policy
from vpanalysis.analysis.verdict import CAUTION
from vpanalysis.data.tables import DataQuality
from vpanalysis.data.window import RolloutWindow

SESSION = {"vp_id": LANE, "status": "active", "updated_at": NOON.isoformat()}
POLICY = Policy.load("playbook")
Rows = list[dict[str, Any]]
MOST_TRIED = 12
#: What the next missions may be, in the outlook's words.
KINDS: dict[str, dict[str, Any]] = {
    "fallback": {"fallback": True},
    "failure": {"status": "failed"},
    "clean mission": {},
}


def window(fell_back: list[bool], failed: list[bool]) -> Rows:
    """Missions a minute apart, oldest first, that took 10 s each."""
    return [
        mission(60.0 * (at - len(failed)) - 200, fallback=one, status="failed" if other else "completed")
        for at, (one, other) in enumerate(zip(fell_back, failed, strict=True))
    ]


def lane(n: int, fallbacks: int = 0, failures: int = 0, **session: Any) -> Metrics:
    """So many missions, of which the oldest fell back and the newest failed."""
    rows = window([at < fallbacks for at in range(n)], [at >= n - failures for at in range(n)])
    return metrics_of(rows, session=SESSION | session)


def newest(rows: Rows, size: int, **session: Any) -> Metrics:
    """The window of the newest ``size`` of these missions."""
    held = RolloutWindow(LANE, last_missions=size, as_of=NOON)
    return metrics_of(rows[-size:], session=SESSION | session, window=held)


def with_next(rows: Rows, kind: str, number: int, size: int) -> Metrics:
    """The window when so many more missions have just ended; they took 10 s, in time to be seen as fast."""
    more = [mission(-100.0 - at / 1000, mission_id=f"next {at}", **KINDS[kind]) for at in range(number)]
    return newest(rows + more, size)


def by_trying(rows: Rows, policy: Policy, size: int) -> dict[str, tuple[int, str]]:
    """The smallest number of each kind that turns the verdict, and the new one, by trying 1, 2, 3 and so on."""
    now = judge(newest(rows, size), policy).status
    found = {}
    for kind in KINDS:
        for number in range(1, MOST_TRIED + 1):
            status = judge(with_next(rows, kind, number, size), policy).status
            if status != now:
                found[kind] = (number, status)
                break
    return found


def told(text: str) -> list[tuple[int, str, str, str]]:
    """Number, kind, the verdict now and the one it would be, read from the sentence."""
    found = []
    for part in text.rstrip(".").split("; "):
        match = re.fullmatch(r"([\d,]+) more (.+?)(?:s in a row)? would turn ([A-Z ]+) into ([A-Z ]+)", part)
        assert match, part
        number, kind, now, then = match.groups()
        found.append((int(number.replace(",", "")), kind, now.replace(" ", "_"), then.replace(" ", "_")))
    return found


@settings(max_examples=2, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8), st.data())
def test_the_sentence_tells_what_trying_finds(recent: list[tuple[bool, bool]], data: st.DataObject) -> None:
    older = data.draw(st.sampled_from([0, 3, 30]))
    policy = Policy.load("playbook", data.draw(st.sampled_from(PROFILES)))
    rows = window([False] * older + [one for one, _ in recent], [False] * older + [other for _, other in recent])
    size = data.draw(st.sampled_from([1000, len(rows) + 2]))
    metrics = newest(rows, size)
    now = judge(metrics, policy).status
    expected = by_trying(rows, policy, size)
    text = outlook(metrics, policy)
    if text.startswith("Nothing that"):
        assert not expected
        return
    sides: dict[bool, list[int]] = {True: [], False: []}
    for number, status in expected.values():
        sides[CAUTION.index(status) > CAUTION.index(now)].append(number)
    named = told(text)
    for number, kind, before, then in named:
        worse = CAUTION.index(then) > CAUTION.index(now)  # type: ignore[arg-type]
        assert before == now
        if number <= MOST_TRIED:
            assert expected[kind] == (number, then)
            assert number == min(sides[worse])
        else:
            assert not sides[worse]
    assert len(named) >= sum(bool(side) for side in sides.values())
    assert len({then for *_, then in named}) == len(named)


@pytest.mark.parametrize(
    ("n", "fallbacks", "failures", "text"),
    [
        (4, 0, 0, "1 more fallback would turn HEALTHY into FORCE FALLBACK."),  # 1 of 5 are 20 %
        (19, 0, 0, "1 more fallback would turn HEALTHY into WATCH."),  # 1 of 20 are 5 %
        (20, 0, 0, "2 more fallbacks in a row would turn HEALTHY into WATCH."),  # 1 of 21 are 4.8 %
        (
            200,
            0,
            0,
            "3 more failures in a row would turn HEALTHY into WATCH.",
        ),  # in a row; fallbacks take 3 of 20, too
        (
            4,
            1,
            0,
            "2 more clean missions in a row would turn FORCE FALLBACK into WATCH.",  # 1 of 6
        ),
        (
            30,
            2,
            0,
            "11 more clean missions in a row would turn WATCH into HEALTHY; "  # 2 of 41
            "5 more fallbacks in a row would turn WATCH into FORCE FALLBACK.",  # 7 of 35 are 20 %; 6 of 34 less
        ),
        (
            1,
            0,
            1,
            "1 more clean mission would turn WATCH into HEALTHY; "  # not only failures
            "1 more fallback would turn WATCH into FORCE FALLBACK.",
        ),
    ],
)
def test_sentences_counted_by_hand(n: int, fallbacks: int, failures: int, text: str) -> None:
    assert outlook(lane(n, fallbacks, failures), POLICY) == text


def test_the_oldest_missions_leave_a_full_window_of_the_newest() -> None:
    """The 1st and the 11th of 20 fell back. When both have left none has; 11 more make 2 of 31, were they to stay."""
    full = newest(window([at in (0, 10) for at in range(20)], [False] * 20), 20)
    assert outlook(full, POLICY) == (
        "11 more clean missions in a row would turn WATCH into HEALTHY; "
        "3 more fallbacks in a row would turn WATCH into FORCE FALLBACK."  # 4 of 20: the first one has left
    )


def test_what_lies_before_the_oldest_mission_left_is_no_degradation_of_the_window() -> None:
    """Of 60 missions a minute apart the session degraded beside the 5th, three times, which 60 explain no longer."""
    rows = window([False] * 60, [False] * 60)
    events = [("vp.session.degraded", rows[4]["created_at"])] * 3
    held = RolloutWindow(LANE, last_missions=60, as_of=NOON)
    metrics = metrics_of(rows, session=SESSION, session_events=events, window=held)
    assert outlook(metrics, POLICY).startswith("5 more clean missions in a row would turn WATCH")


def test_nothing_is_foretold_where_events_are_missing() -> None:
    assert (
        outlook(metrics_of(window([False] * 20, [False] * 20), quality=DataQuality(truncated_events=True)), POLICY)
        == ""
    )


def test_clean_missions_lower_a_critical_p95() -> None:
    """Of 10 and 11 run times the p95 is the largest, of 12 the second largest."""
    rows = window([False] * 10, [False] * 10)
    rows[4] |= {"duration_seconds": 100.0}
    found = outlook(metrics_of(rows, session=SESSION), Policy.load("playbook", "sustained"))
    assert found == "2 more clean missions in a row would turn FORCE FALLBACK into HEALTHY."


def test_too_little_traffic_wants_more_missions() -> None:
    policy = Policy.load("playbook", min_missions=10)
    found = outlook(lane(4), policy)
    assert found.startswith("6 more clean missions in a row would turn NO TRAFFIC into HEALTHY; ")
    assert found.endswith("3 more failures in a row would turn NO TRAFFIC into WATCH.")


def test_no_missions_mend_a_degraded_session() -> None:
    metrics = lane(60, status="degraded")
    found = outlook(metrics, Policy.load("playbook", "sustained"))
    assert found == "15 more fallbacks in a row would turn WATCH into FORCE FALLBACK."  # 15 of 75; 14 of 74 less
    no_forcing = outlook(metrics, Policy.load("playbook", fallback_critical=1.0))
    assert no_forcing == "Nothing that the next missions do would change the verdict soon."


def test_no_mission_comes_next_in_a_window_that_is_over() -> None:
    assert outlook(lane(20), POLICY) != ""
    assert outlook(replace(lane(20), is_open=False), POLICY) == ""


def test_without_the_missions_themselves_nothing_is_said() -> None:
    fallback = {"missions_considered": 100, "missions_with_fallback": 0, "rate": 0.0}
    content = {"fallback": fallback, "latency_seconds": {"p95_seconds": 1.0}, "mission_counts": {"completed": 100}}
    assert outlook(metrics_from_snapshot(content), POLICY) == ""
    assert outlook(metrics_of([], session=SESSION), POLICY) == ""


@pytest.mark.parametrize("scenario", ["healthy", "worker-lane"])
def test_a_fallback_comes_with_its_event(scenario: str) -> None:
    """One more of 100 changes nothing, whatever the source has counted: it takes three in a row to fail."""
    with vp.open_source(f"sample:{scenario}") as source:
        metrics = vp.summarize(source.load(vp.RolloutWindow(LANE, last_missions=100)))
    [(number, _, now, then)] = told(outlook(metrics, POLICY))
    assert (now, then) == ("HEALTHY", "WATCH")
    assert number > 1


@pytest.mark.parametrize("worker", ["worker-1", None])
def test_the_next_missions_are_of_the_newest_ones_runtime(worker: str | None, tmp_path: Any) -> None:
    """In a lane whose workers record no fallback, more of its missions do not ask for evidence on fallbacks."""
    path = tmp_path / "sure.toml"
    path.write_text('name = "sure"\nversion = "1"\n[rollout]\nrequire_evidence = true\n', "utf-8")
    rows = [mission(-9000.0 + 60 * at, worker_id=worker) for at in range(60)]
    found = outlook(metrics_of(rows, session=SESSION), Policy.load(path))
    if worker is None:
        assert found.startswith("5 more clean missions in a row would turn WATCH into HEALTHY")
    else:
        assert "completing" not in found
        assert all(now == "HEALTHY" for _, _, now, _ in told(found))
