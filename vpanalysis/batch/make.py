"""One run of a batch: whether its report is there already and still true, and making it otherwise."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from vpanalysis.analysis.policy import Policy
from vpanalysis.batch.plan import Run
from vpanalysis.data.schema import STALE_SECONDS
from vpanalysis.data.source import open_source
from vpanalysis.data.tables import Tables
from vpanalysis.data.timestamps import parse_time
from vpanalysis.errors import InputError
from vpanalysis.report import locations, notebook, rollout
from vpanalysis.report.made import versions

State = Literal["made", "unchanged", "refused", "failed"]
#: What a runtime writes into the session's row all the time.
_EVER_CHANGING = ("last_heartbeat_at", "lease_expires_at", "updated_at")


@dataclass(frozen=True)
class Result:
    """What became of a run.

    Attributes:
        run: The run.
        state: ``made``, ``unchanged`` (its report is there and still true), ``refused`` (its source or parameters) or
            ``failed``.
        sentence: Why it was refused or failed; else the verdict's next step.
        decision: The verdict's code; ``""`` without one.
        lane_status: The verdict's status; ``""`` without one.
    """

    run: Run
    state: State
    sentence: str = ""
    decision: str = ""
    lane_status: str = ""


def make(run: Run, known: Mapping[str, Any] | None, out: Path) -> Result:
    """Makes a run's report in ``out``, unless the one whose JSON twin is ``known`` is still true."""
    try:
        key = key_of(run)
        if known is not None and still_true(run, known, key):
            return _result(run, "unchanged", known)
        made = notebook.run(
            run.notebook, run.parameters, out, name=run.name, batch={"run_key": key, "factory": run.source}
        )
        return _result(run, "made", made.content)
    except InputError as error:
        return Result(run, "refused", str(error))
    except notebook.NotebookFailedError as error:
        return Result(run, "failed", str(error))
    except Exception as error:  # one run's bug does not end the others
        return Result(run, "failed", f"{type(error).__name__}: {error}")


def known_twin(run: Run, out: Path) -> dict[str, Any] | None:
    """Returns what the JSON twin of a run's report says that `still_true` asks for; ``None`` without a whole report."""
    try:
        content = json.loads((out / f"{run.name}.json").read_text("utf-8"))
        if not (out / f"{run.name}.html").is_file():
            return None
        return {
            "run_key": content["run_key"],
            "as_of": content["provenance"]["parameters"].get("as_of", ""),
            "verdict": {
                name: content["verdict"][name] for name in ("decision", "lane_status", "next_step", "provisional")
            },
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def still_true(run: Run, known: Mapping[str, Any], key: str) -> bool:
    """Whether a report is of the same key, and of the same moment where a later one could say something else."""
    final = run.window.end is not None and run.window.as_of is not None and run.window.end <= run.window.as_of
    same_moment = known["as_of"] == run.parameters.get("as_of", "")
    return known["run_key"] == key and (same_moment or (final and not known["verdict"]["provisional"]))


def key_of(run: Run) -> str:
    """Returns SHA-256 of what a report is made of: notebook, parameters, policy, the data it shows, and versions.

    The moment of judgement is not in it: `still_true` asks for that.

    Raises:
        InputError: The source cannot be read.
    """
    shown, _ = locations.shown({name: value for name, value in run.parameters.items() if name != "as_of"})
    policy = Policy.load(run.parameters.get("policy", "playbook"), run.parameters.get("profile", "rollout"))
    with open_source(str(run.parameters["source"])) as source:
        tables = source.load(run.window)
        data = [_data_hash(tables)]
        before = tables.window.preceding(rollout.PRECEDING)
        if before is not None and tables.snapshot is None:
            data.append(_data_hash(source.load(before)))
    content = [hashlib.sha256(run.notebook.read_bytes()).hexdigest(), shown, policy.hash, data, versions()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _data_hash(tables: Tables) -> str:
    """Hashes a window's data; of a closed one without what the session's row tells of later moments."""
    end, session = tables.window.end, tables.session
    over = end is not None and tables.as_of is not None and tables.as_of - end > timedelta(seconds=STALE_SECONDS)
    if session is not None and over:
        written = parse_time(str(session.get("updated_at")))
        kept = {name: value for name, value in session.items() if name not in _EVER_CHANGING}
        session = kept | {"written before the end": written is not None and end is not None and written < end}
    return rollout.content_hash(replace(tables, session=session))


def _result(run: Run, state: State, content: Mapping[str, Any] | None) -> Result:
    verdict = (content or {}).get("verdict", {})
    return Result(run, state, verdict.get("next_step", ""), verdict.get("decision", ""), verdict.get("lane_status", ""))
