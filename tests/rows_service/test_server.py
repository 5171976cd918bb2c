"""PostgreSQL ends in the middle of the work and comes back, and single connections are ended."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from ..postgres import PostgresServer
from ..workers import Workers
from .stage import RowStage


def test_a_server_that_is_restarted_in_the_middle_loses_no_row(
    own_postgres: PostgresServer, row_workers: Workers, tmp_path: Path
) -> None:
    rows = RowStage(own_postgres.create(), row_workers, tmp_path / "runs")
    ids = [*rows.add(["ok"] * 1_500), *rows.add(["sleep 0.05"] * 100)]
    supervisor = rows.start(3)
    pids = {process.pid for process in supervisor.children()}
    rows.wait(lambda: rows.statuses()["SUCCESS"] > 100, "rows have ended")
    rows.shop.app.database.open().dispose()
    own_postgres.stop(signal.SIGQUIT)
    own_postgres.start()
    more = rows.add(["ok"] * 50)
    ended = rows.wait_for_end()
    assert {(row.status, row.value) for row in ended.values()} == {("SUCCESS", 1)}
    assert set(rows.runs()) == {*ids, *more}
    assert {process.pid for process in supervisor.children()} == pids, "no process has died"
    assert supervisor.stop() == 0


def test_connections_that_the_server_ends_lose_no_row(
    own_postgres: PostgresServer, row_workers: Workers, tmp_path: Path
) -> None:
    rows = RowStage(own_postgres.create(), row_workers, tmp_path / "runs")
    ids = rows.add(["sleep 0.01"] * 400)
    supervisor = rows.start(2)
    database = rows.shop.app.database.open()
    for count in (50, 150, 250):
        rows.wait(lambda: rows.statuses()["SUCCESS"] > count, "rows end")  # noqa: B023
        with database.reading() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            connection.execute(sa.text(others + "AND pid <> pg_backend_pid()"))
    ended = rows.wait_for_end()
    assert {(row.status, row.value) for row in ended.values()} == {("SUCCESS", 1)}
    assert set(Counter(rows.runs())) == set(ids)
    assert supervisor.stop() == 0
