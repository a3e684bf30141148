"""Fixtures shared by the tests: runtime databases named by their state."""

import gc
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

LANE = "vp.coder.primary"
NOON = datetime(2026, 2, 16, 12, 0, tzinfo=UTC)

SCHEMA = """
CREATE TABLE vp_sessions (vp_id TEXT PRIMARY KEY, runtime_id TEXT, session_id TEXT, workspace_dir TEXT,
  status TEXT, lease_owner TEXT, lease_expires_at TEXT, last_heartbeat_at TEXT, last_error TEXT,
  metadata_json TEXT, created_at TEXT, updated_at TEXT);
CREATE TABLE vp_missions (mission_id TEXT PRIMARY KEY, vp_id TEXT, run_id TEXT, status TEXT, mission_type TEXT,
  objective TEXT, budget_json TEXT, payload_json TEXT, result_ref TEXT, priority INTEGER, priority_tier TEXT,
  worker_id TEXT, claim_expires_at TEXT, cancel_requested INTEGER, created_at TEXT, started_at TEXT,
  completed_at TEXT, updated_at TEXT, source TEXT, result_published INTEGER);
CREATE TABLE vp_events (event_id TEXT PRIMARY KEY, mission_id TEXT, vp_id TEXT, event_type TEXT,
  payload_json TEXT, created_at TEXT);
CREATE TABLE vp_session_events (event_id TEXT PRIMARY KEY, vp_id TEXT, event_type TEXT, payload_json TEXT,
  created_at TEXT);
CREATE INDEX idx_missions ON vp_missions (vp_id, status, created_at);
CREATE INDEX idx_events ON vp_events (vp_id, created_at);
CREATE INDEX idx_mission_events ON vp_events (mission_id, created_at);
CREATE INDEX idx_session_events ON vp_session_events (vp_id, created_at);
"""


#: The environment variable that names the folder of what the workers of one test run share.
MADE = "VPANALYSIS_TESTS_MADE"


#: Modules whose tests start kernels, browsers, servers and processes, or simulate at length.
SLOW = (
    "test_archive", "test_bad_lanes", "test_batch", "test_broken_runs", "test_browser", "test_ci", "test_cluster",
    "test_engine", "test_false_alarms", "test_fleet", "test_gateway_answer", "test_history", "test_html",
    "test_incident", "test_index", "test_install", "test_integrity", "test_key_figures", "test_lane_overview",
    "test_notebook", "test_ops_token", "test_outlook", "test_plots", "test_score", "test_sections", "test_secrets",
    "test_serve", "test_serve_reuse", "test_source", "test_sqlite_file", "test_window_report",
)  # fmt: skip
#: Modules whose tests read and judge windows by the dozen.
LONG = (
    "test_account", "test_candidates", "test_capture", "test_chance", "test_contributors", "test_decision",
    "test_docs", "test_events", "test_evidence_command", "test_evidence_strength", "test_extract", "test_front_door",
    "test_gateway", "test_intervals", "test_metrics", "test_project", "test_reasons", "test_recovery_checklist",
    "test_replay", "test_rollout_history", "test_row", "test_run_times", "test_sample", "test_schemas",
    "test_snapshot_command", "test_snapshot_source", "test_terminal", "test_trends",
)  # fmt: skip
#: Which modules' tests have which mark.
MARKED = {"slow": SLOW, "long": LONG}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out modules of which no test is wanted: importing them takes longer than many a test."""
    wanted = config.option.markexpr
    unwanted = [mark for mark, modules in MARKED.items() if collection_path.stem in modules and f"not {mark}" in wanted]
    return True if unwanted else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in SLOW)  # so that no worker waits at the end for a long file
    for item in items:
        for mark, modules in MARKED.items():
            if item.path.stem in modules:
                item.add_marker(mark)


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # of what collecting tests makes nothing becomes garbage: nor is it looked through later
    if MADE not in os.environ:  # a worker inherits it
        os.environ[MADE] = tempfile.mkdtemp(prefix="vpanalysis-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(MADE)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # extension modules complain at the end about what was not freed


def some_of(cases: Iterable[Any], every: int) -> list[ParameterSet]:
    """Returns cases (several values in a tuple) as parameters: one of `every` here, the others for `make thorough`."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else [case]), marks=[pytest.mark.thorough] if at % every else [])
        for at, case in enumerate(cases)
    ]


def need(program: str) -> str:
    """Returns the path of ``program``; skips the test without it, or fails it when VPANALYSIS_REQUIRE_ALL=1."""
    path = shutil.which(program)
    if path is None:
        _skip_or_fail(f"{program} is not installed")
    assert path is not None
    return path


def need_root() -> None:
    """Skips a test that becomes other users unless it is run as root, or fails it when VPANALYSIS_REQUIRE_ALL=1."""
    if os.geteuid() != 0:
        _skip_or_fail("only root can become two other users")


def _skip_or_fail(message: str) -> None:
    if os.environ.get("VPANALYSIS_REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)


class RuntimeDatabase:
    """A runtime database that a test fills row by row; it commits after every call."""

    def __init__(self, path: Path, schema: str = SCHEMA) -> None:
        self.path = path
        self.connection = sqlite3.connect(path)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = OFF")  # nobody needs these rows after a power cut
        self.connection.executescript(schema)
        self._events = 0

    def insert(self, table: str, **values: Any) -> None:
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        self.connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values()))
        self.connection.commit()

    def session(self, vp_id: str = LANE, status: str = "active", **values: Any) -> None:
        stamp = values.pop("at", NOON).isoformat()
        row = {"created_at": stamp, "updated_at": stamp, "last_heartbeat_at": stamp} | values
        self.insert("vp_sessions", vp_id=vp_id, status=status, **row)

    def mission(
        self,
        mission_id: str,
        created: datetime | str = NOON,
        *,
        status: str = "completed",
        wait: float | None = 1.0,
        run: float | None = 10.0,
        events: Sequence[str] = (),
        vp_id: str = LANE,
        **values: Any,
    ) -> None:
        """Inserts a mission (``wait`` and ``run`` in seconds, None for a missing stamp) and events a second apart."""
        base = created if isinstance(created, datetime) else NOON
        started = None if wait is None else base + timedelta(seconds=wait)
        completed = None if started is None or run is None else started + timedelta(seconds=run)
        row = {
            "created_at": created.isoformat() if isinstance(created, datetime) else created,
            "started_at": started and started.isoformat(),
            "completed_at": completed and completed.isoformat(),
            "updated_at": (completed or started or base).isoformat(),
        }
        self.insert("vp_missions", mission_id=mission_id, vp_id=vp_id, status=status, **(row | values))
        for second, event_type in enumerate(events):
            self.event(mission_id, event_type, base + timedelta(seconds=second), vp_id=vp_id)

    def event(self, mission_id: str | None, event_type: str | None, at: datetime | str, **values: Any) -> None:
        self._events += 1
        row = {"event_id": f"event-{self._events}", "vp_id": LANE, "payload_json": "{}"} | values
        stamp = at.isoformat() if isinstance(at, datetime) else at
        self.insert("vp_events", mission_id=mission_id, event_type=event_type, created_at=stamp, **row)

    def session_event(self, event_type: str, at: datetime | str, **values: Any) -> None:
        self._events += 1
        row = {"event_id": f"session-event-{self._events}", "vp_id": LANE, "payload_json": "{}"} | values
        stamp = at.isoformat() if isinstance(at, datetime) else at
        self.insert("vp_session_events", event_type=event_type, created_at=stamp, **row)


@pytest.fixture
def make_database(tmp_path: Path) -> Callable[..., RuntimeDatabase]:
    """Returns a maker of empty runtime databases in the field's schema, WAL mode, open for more rows."""
    return lambda name="vp_state.db", schema=SCHEMA: RuntimeDatabase(tmp_path / name, schema)


@pytest.fixture
def fresh_database(make_database: Callable[..., RuntimeDatabase]) -> RuntimeDatabase:
    """An empty runtime database."""
    return make_database()
