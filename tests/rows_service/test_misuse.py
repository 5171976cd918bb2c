"""Databases that a worker service cannot use: refused at the start with the cause and the next step, or waited for."""

from __future__ import annotations

from pathlib import Path

from aiotask.sql import create_tables

from ..postgres import PostgresServer
from ..workers import Workers
from .stage import RowStage


def started(workers: Workers, database: str, folder: Path) -> tuple[int, str]:
    """Exit code and log of a service over this database, which has no tables."""
    folder.mkdir(exist_ok=True)
    env = {"TEST_APP": "shop", "TEST_DATABASE": database, "TEST_FOLDER": str(folder)}
    supervisor = workers.start("tests.rows_service.apps.rows_alone", env=env, wait=False)
    return supervisor.wait(), supervisor.log


def test_a_folder_that_is_not_there_is_refused(row_workers: Workers, tmp_path: Path) -> None:
    code, log = started(row_workers, f"sqlite:///{tmp_path}/missing/rows.db", tmp_path / "runs")
    assert code == 2 and f'mkdir -p "{tmp_path}/missing"' in log


def test_a_file_that_is_no_database_is_refused(row_workers: Workers, tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    path.write_bytes(b"This is no database.\n" * 200)
    code, log = started(row_workers, f"sqlite:///{path}", tmp_path / "runs")
    assert code == 2 and str(path) in log and "file is not a database" in log


def test_a_folder_in_place_of_the_file_is_refused(row_workers: Workers, tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    path.mkdir()
    code, log = started(row_workers, f"sqlite:///{path}", tmp_path / "runs")
    assert code == 2 and str(path) in log and "unable to open database file" in log


def test_a_driver_that_is_not_installed_is_refused(row_workers: Workers, tmp_path: Path) -> None:
    code, log = started(row_workers, "postgresql+pg8000://user@localhost/shop", tmp_path / "runs")
    assert code == 2 and "pip install 'aiotask[postgres]'" in log


def test_tables_that_are_missing_are_waited_for(rows: RowStage) -> None:
    """A migration may run after the service was started."""
    metadata = rows.shop.Base.metadata
    with rows.shop.app.database.open().writing() as connection:
        metadata.drop_all(connection)
    supervisor = rows.start(1, wait=False)
    rows.wait_for_log(supervisor, "Run your migrations, or aiotask.sql.create_tables(app)")
    create_tables(rows.shop.app)
    rows.add(["ok"])
    assert rows.wait_for_end()
    assert "The database is back; consuming again." in supervisor.log
    assert supervisor.stop() == 0


def test_a_server_that_is_not_there_yet_is_waited_for(
    own_postgres: PostgresServer, row_workers: Workers, tmp_path: Path
) -> None:
    server = own_postgres
    rows = RowStage(server.create(), row_workers, tmp_path / "runs")
    server.stop()
    supervisor = rows.start(1, wait=False)
    rows.wait_for_log(supervisor, "Trying again until the database answers.")
    server.start()
    rows.shop.app.database.open().dispose()
    rows.add(["ok"])
    assert rows.wait_for_end()
    assert supervisor.stop() == 0
