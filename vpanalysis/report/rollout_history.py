"""Reads a lane's past, judges its windows and returns their report: the first call of ``rollout_history``."""

from itertools import groupby, pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vpanalysis.analysis.chance import most_by_chance
from vpanalysis.analysis.decision import Judgement, classify, judge
from vpanalysis.analysis.gates.rolling_fallback import considered
from vpanalysis.analysis.history import frame_of, row_of, timedelta_of
from vpanalysis.analysis.intervals import compare_shares
from vpanalysis.analysis.metrics import summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.replay import past_windows
from vpanalysis.analysis.signatures import group_signatures
from vpanalysis.analysis.verdict import Profile
from vpanalysis.data.schema import DEFAULT_VP_ID
from vpanalysis.data.source import open_source
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError
from vpanalysis.report import locations
from vpanalysis.report.history_document import LoggedRow
from vpanalysis.report.history_report import ROLLING, STEPS, HistoryReport, Incident, Story
from vpanalysis.report.made import command
from vpanalysis.report.parameters import check_types
from vpanalysis.report.row import evidence_row

#: An error's kind, its signature, and how many events have it.
_Error = tuple[str, str, int]
#: A p95 must rise by so much from the oldest third to the newest to be a decay.
_LEAST_RATIO = 1.25
#: So many incidents are no recovery when more windows lie in them than such a share explains in 1 % of histories: on a
#: lane to which nothing happens 3 % of windows of 60 missions trip a gate, more of shorter ones (``docs/gates.md``).
_RECURRING, _BY_CHANCE, _CHANCE = 3, 0.05, 0.01


def history_report(
    *,
    source: str = "sample",
    vp_id: str = DEFAULT_VP_ID,
    every: str = "",
    last_missions: int = 0,
    window_start: str = "",
    window_end: str = "",
    log: str = "",
    profile: Profile = "rollout",
    policy: str = "playbook",
) -> HistoryReport:
    """Reads a lane's past, and the evidence log beside it; a read-only operation.

    Args:
        source: A runtime database, an archive, or ``sample``.
        vp_id: The lane.
        every: The length of each window, such as ``12h``; ``""``: a day.
        last_missions: Missions per window instead; 0: not given.
        window_start: First moment of the first window (ISO 8601, UTC); ``""``: the first mission's day.
        window_end: First moment after the last one; ``""``: up to the newest mission.
        log: The path of an evidence log; ``""``: none.
        profile: ``rollout`` or ``sustained``.
        policy: ``playbook``, ``capture``, or the path of a TOML file.

    Raises:
        InputError: A parameter is ill-typed, or names nothing that exists; the sentence says which.
    """
    given = dict(locals())
    check_types(given)
    if every and last_missions:
        raise InputError("Give either every or last_missions, not both.")
    rules, step = Policy.load(locations.real(policy), profile=profile), timedelta_of(every or None)
    logged, missed = _log(locations.real(log), rules) if log else (_no_log(), ())

    def judged(tables: Tables) -> tuple[dict[str, Any], "pd.Series[bool]", list[_Error], bool]:
        metrics = summarize(tables)
        judgement = judge(metrics, rules)
        errors: list[_Error] = [(found.kind, found.signature, found.count) for found in group_signatures(tables.events)]
        fell_back = considered(metrics)["fell_back"]
        return row_of(metrics, judgement, rules), fell_back, errors, _only_session_unknown(judgement)

    with open_source(locations.real(source)) as opened:
        found = past_windows(
            opened, vp_id, judged, every=step, last_missions=last_missions or None,
            start=window_start or None, end=window_end or None,
        )  # fmt: skip
        rows, missions, errors, unknown = map(list, zip(*found, strict=True)) if found else ([], [], [], [])
        windows = frame_of(rows)
        verdict = None
        if found:
            newest = windows.iloc[-1]
            first, last = newest["window_start"].to_pydatetime(), newest["window_end"].to_pydatetime()
            alone = RolloutWindow(vp_id, start=first, end=None if newest["provisional"] else last, as_of=last)
            verdict = classify(summarize(opened.load(alone)), rules)
        name, kind = opened.name, opened.kind
    incidents = _incidents(windows, unknown)
    return HistoryReport(
        windows=windows,
        rolling_fallback=_rolling(missions),
        incidents=incidents,
        signatures=_first_seen(windows, errors),
        log=logged,
        missed_looks=missed,
        session_unknown=sum(unknown),
        story=_story(windows, incidents),
        verdict=verdict,
        evidence_row=evidence_row(verdict, window_label="Newest window", scope=vp_id, ref=f"{name}: vp.history")
        if verdict
        else "",
        policy=rules,
        vp_id=vp_id,
        source=name,
        kind=kind,
        parameters=given,
        command=command("rollout_history", given),
    )


def _no_log() -> pd.DataFrame:
    return pd.DataFrame(columns=list(LoggedRow.model_fields))


def _log(path: str, policy: Policy) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns a log's dated rows with the rollout's step of each, and the looks that are missing."""
    from vpanalysis.report.log import evidence_log, read_log
    from vpanalysis.report.log_check import check

    rows = evidence_log(path).dropna(subset=["date"]).sort_values("date", kind="stable")
    texts = (rows["window"] + " " + rows["scope"] + " " + rows["decision"]).str.lower()
    steps = [next((step for step, words in STEPS.items() if any(word in text for word in words)), "") for text in texts]
    missed = [found for found in check(read_log(Path(path)), [policy]) if found.code == "cadence-missed"]
    return rows.assign(step=steps), tuple(f"Line {found.line}: {found.sentence}" for found in missed)


def _rolling(missions: list["pd.Series[bool]"]) -> "pd.Series[float]":
    if not missions:
        return pd.Series(dtype="float64")
    number = np.repeat(np.arange(len(missions)), [len(some) for some in missions])
    fell_back = pd.concat(missions).astype(float).reset_index(drop=True)
    highest = fell_back.rolling(ROLLING).mean().groupby(number).max()
    return highest.reindex(range(len(missions)))


def _first_seen(windows: pd.DataFrame, errors: list[list[_Error]]) -> pd.DataFrame:
    found: dict[tuple[str, str], list[Any]] = {}
    for start, some in zip(windows["window_start"], errors, strict=True):
        for kind, signature, count in some:
            found.setdefault((kind, signature), [start, 0])[1] += count
    rows = [(start, kind, signature, count) for (kind, signature), (start, count) in found.items()]
    return pd.DataFrame(rows, columns=["first_seen", "kind", "signature", "count"])


def _only_session_unknown(judgement: Judgement) -> bool:
    """Whether nothing keeps a window from being healthy but that its session's state is unknown."""
    return [(reason.gate, reason.value) for reason in judgement.reasons] == [("session", "unknown")]


def _incidents(windows: pd.DataFrame, session_unknown: list[bool]) -> tuple[Incident, ...]:
    status = windows["lane_status"].mask(pd.Series(session_unknown, windows.index, dtype=bool), "HEALTHY")
    live = windows.assign(lane_status=status)[status != "NO_TRAFFIC"].to_dict("records")
    found = []
    spells = [list(rows) for _, rows in groupby(live, key=lambda row: row["lane_status"] == "HEALTHY")]
    for spell, after in zip_longest(spells, spells[1:]):
        first = spell[0]
        if first["lane_status"] != "HEALTHY":
            worst = any(row["lane_status"] == "FORCE_FALLBACK" for row in spell)
            times = (first["window_start"].to_pydatetime(), first["window_end"].to_pydatetime())
            recovered = after[0]["window_end"].to_pydatetime() if after else None
            found.append(Incident(*times, recovered, len(spell), worst, first["gate"], first["reason"]))
    return tuple(found)


def _story(windows: pd.DataFrame, incidents: tuple[Incident, ...]) -> Story:
    """Names the history: a decay or an improvement goes one way over its thirds, and beyond chance."""
    live = windows[windows["missions"] > 0]
    if live.empty:
        return "NO_TRAFFIC"
    worse, better = _moved(live, 1), _moved(live, -1)
    going_on = bool(incidents) and incidents[-1].recovered is None
    abrupt = going_on and live.set_index("window_start")["lane_status"][incidents[-1].start] == "FORCE_FALLBACK"
    if worse and not abrupt:
        return "GETTING_WORSE"
    if going_on:
        return "IN_INCIDENT"
    if better and not incidents:
        return "GETTING_BETTER"
    hit = sum(one.windows for one in incidents)
    if len(incidents) >= _RECURRING and hit >= most_by_chance(len(live), _BY_CHANCE, _CHANCE):
        return "RECURRING"
    return "RECOVERED" if incidents else "STEADY"


def _moved(live: pd.DataFrame, sign: int) -> bool:
    """Whether the fallback rate, the failed share or p95 moved one way over the thirds of the windows."""
    if len(live) < 6:
        return False
    thirds = [live.iloc[places] for places in np.array_split(np.arange(len(live)), 3)]
    totals = [third[["missions", "fallbacks", "failures"]].sum() for third in thirds]
    for name in ("fallbacks", "failures"):
        counts = [(int(total[name]), int(total["missions"])) for total in totals]
        change = compare_shares(*counts[0], *counts[2])
        apart = change is not None and (change.interval.low if sign > 0 else change.interval.high)
        one_way = all(sign * (k2 / n2 - k1 / n1) > 0 for (k1, n1), (k2, n2) in pairwise(counts))
        if one_way and apart and sign * apart > 0:
            return True
    p95s = [third["p95_seconds"].median() for third in thirds]
    old, new = (p95s[0], p95s[2]) if sign > 0 else (p95s[2], p95s[0])
    return bool(sorted(p95s)[::sign] == p95s and new >= _LEAST_RATIO * old)
