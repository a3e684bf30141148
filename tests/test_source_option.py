"""Which source, token and failing verdicts a command takes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from vpanalysis.cli.source_option import check_fail_on, refuse_sample, resolve_source, resolve_token
from vpanalysis.errors import InputError

VARIABLES = ("UA_CODER_VP_DB_PATH", "UA_VP_DB_PATH", "UA_RUNTIME_DB_PATH")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in (*VARIABLES, "UA_OPS_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


def test_the_option_comes_first_then_the_first_variable_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UA_RUNTIME_DB_PATH", "runtime.db")
    assert resolve_source(None) == "runtime.db"
    monkeypatch.setenv("UA_VP_DB_PATH", "vp.db")
    assert resolve_source(None) == "vp.db"
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", "")
    assert resolve_source(None) == "vp.db"
    monkeypatch.setenv("UA_CODER_VP_DB_PATH", "coder.db")
    assert resolve_source(None) == "coder.db"
    assert resolve_source("given.db") == "given.db"


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_an_empty_option_is_an_error_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("UA_VP_DB_PATH", "vp.db")
    with pytest.raises(InputError, match="--source is empty"):
        resolve_source(blank)


def test_no_source_no_verdict() -> None:
    with pytest.raises(InputError, match=", ".join(VARIABLES)):
        resolve_source(None)


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
    verdict: Any = SimpleNamespace(lane_status=status)
    if exits:
        with pytest.raises(click.exceptions.Exit) as ended:
            check_fail_on(verdict, fail_on, "sqlite")
        assert ended.value.exit_code == 3
    else:
        check_fail_on(verdict, fail_on, "sqlite")


@pytest.mark.parametrize("location", ["sample", "sample:failing"])
def test_the_sample_is_no_evidence(location: str) -> None:
    refuse_sample(location, fail_on=(), append_log=None)
    refuse_sample("./sample", fail_on=("watch",), append_log=Path("log.md"))
    with pytest.raises(InputError, match="--append-log"):
        refuse_sample(location, fail_on=(), append_log=Path("log.md"))
    with pytest.raises(InputError, match="--fail-on"):
        refuse_sample(location, fail_on=("watch",))
