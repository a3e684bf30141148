"""DuckDB is locked down: data cannot make it reach outside."""

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


def test_every_connection_of_the_package_is_made_there() -> None:
    package = Path(duck.__file__).parents[1]
    made = [path.name for path in package.rglob("*.py") if "duckdb.connect(" in path.read_text("utf-8")]
    assert made == ["duck.py"]
