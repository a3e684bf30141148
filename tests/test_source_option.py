"""Which source, token and failing verdicts a command takes."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import LANE, RuntimeDatabase

from vpanalysis.cli.source_option import check_fail_on, refuse_sample, resolve_source, resolve_token
from vpanalysis.data.source import open_source
from vpanalysis.errors import InputError

VARIABLES = ("UA_CODER_VP_DB_PATH", "UA_VP_DB_PATH", "UA_RUNTIME_DB_PATH")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in (*VARIABLES, "UA_OPS_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


def test_the_option_comes_first_and_needs_no_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_of: Callable[..., Path]
) -> None:
    monkeypatch.setenv("UA_VP_DB_PATH", str(database_of("vp_state.db", mission=LANE)))
    assert resolve_source("given.db", LANE) == "given.db"
    assert capsys.readouterr() == ("", "")


def test_without_a_lane_the_first_set_variable_is_taken_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UA_RUNTIME_DB_PATH", "runtime.db")
    assert resolve_source(None) == "runtime.db"
    monkeypatch.setenv("UA_VP_DB_PATH", "vp.db")
    assert resolve_source(None) == "vp.db"
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", " ")
    assert resolve_source(None) == "vp.db"


def test_a_blank_lane_is_looked_for_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UA_VP_DB_PATH", "vp.db")
    with pytest.raises(InputError, match="vp_id is blank"):
        resolve_source(None, " ")


@pytest.fixture
def database_of(make_database: Callable[..., RuntimeDatabase]) -> Callable[..., Path]:
    """Returns a maker of closed databases with one row: ``mission``, ``event``, … is the row's lane."""

    def make(name: str, **rows: str) -> Path:
        database = make_database(name)
        for table, vp_id in rows.items():
            values = {"mission_id": "m"} if table in ("mission", "event") else {}
            database.insert(f"vp_{table}s", vp_id=vp_id, **values)
        database.connection.close()
        return database.path

    return make


@pytest.mark.parametrize("table", ["session", "mission", "event", "session_event"])
def test_one_row_in_any_table_makes_a_file_the_lanes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_of: Callable[..., Path], table: str
) -> None:
    dormant = database_of("coder_vp_state.db", **{table: LANE})
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", str(dormant))
    monkeypatch.setenv("UA_VP_DB_PATH", str(database_of("vp_state.db", mission=LANE)))
    assert resolve_source(None, LANE) == str(dormant)
    assert capsys.readouterr() == ("", "Source: coder_vp_state.db (UA_CODER_VP_DB_PATH).\n")


def test_files_without_the_lane_are_passed_over_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_of: Callable[..., Path]
) -> None:
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", "missing/coder_vp_state.db")
    monkeypatch.setenv("UA_VP_DB_PATH", str(database_of("vp_state.db", mission="vp.general.primary")))
    runtime = str(database_of("runtime_state.db", event=LANE))
    monkeypatch.setenv("UA_RUNTIME_DB_PATH", f" {runtime} ")
    assert resolve_source(None, LANE) == runtime
    assert capsys.readouterr().err == (
        "Source: runtime_state.db (UA_RUNTIME_DB_PATH); passed over: coder_vp_state.db (UA_CODER_VP_DB_PATH) does not "
        "exist, vp_state.db (UA_VP_DB_PATH) has nothing of the lane 'vp.coder.primary'.\n"
    )
    assert resolve_source(None, "vp.general.primary") == str(Path("vp_state.db").resolve())


def test_a_url_among_the_variables_is_passed_over_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UA_VP_DB_PATH", "http://user:pr0xyword@127.0.0.1:9")
    with pytest.raises(InputError, match=r"a URL \(UA_VP_DB_PATH\) is not a file") as caught:
        resolve_source(None, LANE)
    assert "pr0xyword" not in str(caught.value)


def test_a_quote_in_the_lanes_name_is_no_sql(monkeypatch: pytest.MonkeyPatch, database_of: Callable[..., Path]) -> None:
    monkeypatch.setenv("UA_VP_DB_PATH", str(database_of("vp_state.db", mission=LANE)))
    with pytest.raises(InputError, match="has nothing of the lane"):
        resolve_source(None, "x' OR '1'='1")


def without_events(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE vp_sessions (vp_id TEXT); CREATE TABLE vp_missions (vp_id TEXT)")
    connection.execute("INSERT INTO vp_missions VALUES (?)", [LANE])
    connection.commit()
    connection.close()


def another_programs(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE runs (id TEXT)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: None, "does not exist"),
        (Path.mkdir, "is not a file"),
        (Path.touch, "is empty"),
        (without_events, "lacks the table vp_events"),
        (another_programs, "lacks the tables vp_sessions, vp_missions, vp_events"),
        (lambda path: RuntimeDatabase(path).connection.close(), "has nothing of the lane 'vp.coder.primary'"),
    ],
)
def test_when_no_file_has_the_lane_the_sentence_says_what_is_wrong_with_each(
    monkeypatch: pytest.MonkeyPatch, database_of: Callable[..., Path], make: Callable[[Path], object], fault: str
) -> None:
    make(Path("vp_state.db"))
    monkeypatch.setenv("UA_VP_DB_PATH", "vp_state.db")
    monkeypatch.setenv("UA_RUNTIME_DB_PATH", "nowhere.db")
    with pytest.raises(InputError) as caught:
        resolve_source(None, LANE)
    assert str(caught.value) == (
        f"No source, no verdict: vp_state.db (UA_VP_DB_PATH) {fault}, nowhere.db (UA_RUNTIME_DB_PATH) does not exist. "
        "Check the variables and the lane, or give --source."
    )
    later = database_of("later.db", session=LANE)
    monkeypatch.setenv("UA_RUNTIME_DB_PATH", str(later))
    assert resolve_source(None, LANE) == str(later)


def test_an_older_database_without_session_events_is_looked_into(
    monkeypatch: pytest.MonkeyPatch, make_database: Callable[..., RuntimeDatabase]
) -> None:
    database = make_database("old.db")
    database.connection.execute("DROP TABLE vp_session_events")
    monkeypatch.setenv("UA_VP_DB_PATH", str(database.path))
    with pytest.raises(InputError, match="nothing of the lane"):
        resolve_source(None, LANE)
    database.event("m", "vp.mission.fallback", "2026-02-16")
    assert resolve_source(None, LANE) == str(database.path)


@pytest.mark.parametrize(
    "damage", [b"no database at all, but a file of that name", b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_file_that_cannot_be_read_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, database_of: Callable[..., Path], damage: bytes
) -> None:
    """It may be the lane's own, damaged: a verdict on an older file would be one on something else."""
    Path("damaged.db").write_bytes(damage)
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", "damaged.db")
    monkeypatch.setenv("UA_VP_DB_PATH", str(database_of("vp_state.db", mission=LANE)))
    assert resolve_source(None, LANE) == "damaged.db"
    with pytest.raises(InputError, match=r"damaged\.db"), open_source("damaged.db") as source:
        source.gateway_snapshot(LANE)


def test_looking_leaves_no_file_behind(monkeypatch: pytest.MonkeyPatch, database_of: Callable[..., Path]) -> None:
    path = database_of("vp_state.db", mission=LANE)
    before = sorted(path.parent.iterdir())
    monkeypatch.setenv("UA_VP_DB_PATH", str(path))
    resolve_source(None, LANE)
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_an_empty_option_is_an_error_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("UA_VP_DB_PATH", "vp.db")
    with pytest.raises(InputError, match="--source is empty"):
        resolve_source(blank, LANE)


def test_no_source_no_verdict() -> None:
    for vp_id in (None, LANE):
        with pytest.raises(InputError, match=", ".join(VARIABLES)):
            resolve_source(None, vp_id)


def test_token_option_then_variable_then_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_token(None) is None
    Path(".env").write_text("UA_OPS_TOKEN=of-file\n")
    assert resolve_token(None) == "of-file"
    monkeypatch.setenv("UA_OPS_TOKEN", " \n")
    assert resolve_token("") == "of-file"
    monkeypatch.setenv("UA_OPS_TOKEN", "of-environment\n")
    assert resolve_token("") == "of-environment"
    assert resolve_token("of-option") == "of-option"


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (b"A=1\nexport UA_OPS_TOKEN = 'a b # c' # note\n", "a b # c"),
        (b'\xef\xbb\xbfUA_OPS_TOKEN="x=y"\r\nB=2\r\n', "x=y"),
        (b"UA_OPS_TOKEN=plain # note\n", "plain"),
        (b"UA_OPS_TOKEN=first\nUA_OPS_TOKEN=second\n", "second"),
        (b"UA_OPS_TOKEN=\xff\n", InputError),
        (b"# UA_OPS_TOKEN=x\nMY_UA_OPS_TOKEN=y\nUA_OPS_TOKEN\n", None),
        (b"UA_OPS_TOKEN=\n", None),
        (b"UA_OPS_TOKEN='open\n", "'open"),
    ],
)
def test_dotenv_lines(content: bytes, token: Any) -> None:
    Path(".env").write_bytes(content)
    if token is InputError:
        with pytest.raises(InputError, match="no HTTP header"):
            resolve_token(None)
    else:
        assert resolve_token(None) == token


@pytest.mark.parametrize("token", ["a\nX-Evil: 1", "tökén", "a\x00b"])
def test_a_token_that_no_header_can_carry_is_not_shown(token: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_token(token)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "fail_on", "exits"),
    [
        ("WATCH", ["watch"], True),
        ("FORCE_FALLBACK", ["watch"], True),
        ("FORCE_FALLBACK", ["critical"], True),
        ("WATCH", ["critical"], False),
        ("NO_TRAFFIC", ["no-traffic"], True),
        ("NO_TRAFFIC", ["watch", "critical"], False),
        ("HEALTHY", ["watch", "critical", "no-traffic"], False),
        ("FORCE_FALLBACK", [], False),
    ],
)
def test_fail_on_exits_with_3(status: str, fail_on: list[str], exits: bool) -> None:
    if exits:
        with pytest.raises(click.exceptions.Exit) as ended:
            check_fail_on(status, fail_on, "sqlite")
        assert ended.value.exit_code == 3
    else:
        check_fail_on(status, fail_on, "sqlite")


@pytest.mark.parametrize("location", ["sample", "sample:failing"])
def test_the_sample_is_no_evidence(location: str) -> None:
    refuse_sample(location, fail_on=(), append_log=None)
    refuse_sample("./sample", fail_on=("watch",), append_log=Path("log.md"))
    with pytest.raises(InputError, match="--append-log"):
        refuse_sample(location, fail_on=(), append_log=Path("log.md"))
    with pytest.raises(InputError, match="--fail-on"):
        refuse_sample(location, fail_on=("watch",))
