"""DuckDB is locked down: data cannot make it reach outside, and no reading sees another's."""

import os
import re
import time
from pathlib import Path

import duckdb
import pytest

from vpanalysis.data import duck


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize(
    "statement",
    [
        "INSTALL sqlite",
        "LOAD sqlite",
        "SET threads = 1",
        "SET temp_directory = 'x'",
        "SET enable_external_access = true",
    ],
)
def test_extensions_and_settings_are_locked(statement: str, files: bool) -> None:
    with duck.connect(files=files) as connection, pytest.raises(duckdb.Error):
        connection.execute(statement)


@pytest.mark.parametrize("statement", ["FROM read_csv('{}')", "COPY (SELECT 1) TO '{}'", "ATTACH '{}'"])
def test_files_are_out_of_reach(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    with duck.connect() as connection, pytest.raises(duckdb.Error):
        connection.execute(statement.format(path))
    assert path.read_text() == "a\n1\n"


def test_nothing_is_spilled_into_the_working_folder() -> None:
    with duck.connect() as connection:
        assert connection.sql("SELECT current_setting('temp_directory')").fetchall() == [("",)]


def test_files_are_in_reach_where_they_are_the_task(tmp_path: Path) -> None:
    with duck.connect(files=True) as connection:
        connection.execute(f"COPY (SELECT 42 AS a) TO '{tmp_path / 'x.parquet'}' (FORMAT parquet)")
        assert connection.sql(f"FROM read_parquet('{tmp_path / 'x.parquet'}')").fetchall() == [(42,)]


def test_nobody_sees_what_another_connection_makes() -> None:
    with duck.connect() as one, duck.connect() as other:
        one.execute("CREATE TEMP TABLE numbers AS SELECT 1 AS n")
        other.execute("CREATE TEMP TABLE numbers AS SELECT 2 AS n")
        assert [made.sql("FROM numbers").fetchall() for made in (one, other)] == [[(1,)], [(2,)]]
    with duck.connect() as later, pytest.raises(duckdb.CatalogException):
        later.execute("FROM numbers")


def test_the_package_makes_nothing_that_stays() -> None:
    package, lasting = Path(duck.__file__).parents[1], re.compile("CREATE (OR REPLACE )?(TABLE|VIEW|MACRO) ")
    made = [path.name for path in package.rglob("*.py") if lasting.search(path.read_text("utf-8"))]
    assert made == ["sample.py"]  # in SQLite


def test_times_are_shown_in_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    monkeypatch.setattr(duck, "_databases", {})
    try:
        with duck.connect() as connection:
            assert connection.sql("SELECT TIMESTAMPTZ '2026-02-16 12:00:00+00'::TEXT").fetchall() == [
                ("2026-02-16 12:00:00+00",)
            ]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_database_that_cannot_be_used_any_more_is_replaced() -> None:
    with duck.connect():
        pass
    duck._databases[False, False].close()
    with duck.connect() as connection:
        assert connection.sql("SELECT 42").fetchall() == [(42,)]


def test_a_forked_process_has_a_database_of_its_own() -> None:
    with duck.connect() as connection:
        assert connection.sql("SELECT 1").fetchall() == [(1,)]
    if (child := os.fork()) == 0:
        with duck.connect() as connection:  # a sum over this many rows needs threads that run
            [(total,)] = connection.sql("SELECT sum(range) FROM range(1_000_000)").fetchall()
        os._exit(0 if total == 499_999_500_000 else 1)
    assert os.waitpid(child, 0)[1] == 0
    with duck.connect() as connection:
        assert connection.sql("SELECT 2").fetchall() == [(2,)]


def test_every_connection_of_the_package_is_made_there() -> None:
    package = Path(duck.__file__).parents[1]
    made = [path.name for path in package.rglob("*.py") if "duckdb.connect(" in path.read_text("utf-8")]
    assert made == ["duck.py"]
