"""A worker service that runs rows: alone, beside tasks, restricted to queues, in a burst, and after a new release."""

from __future__ import annotations

import asyncio
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from aiotask.sql import create_tables

from ..helpers import wait_until_async
from ..workers import Workers
from .shop import Shop
from .stage import RowStage


def test_rows_alone_run_without_any_broker(rows: RowStage) -> None:
    ids = rows.add(["ok"] * 50)
    supervisor = rows.start(2)
    assert all(row.status == "SUCCESS" and row.value == 1 for row in rows.wait_for_end().values())
    later = rows.add(["ok", "fail", "more ok"])
    ended = rows.wait_for_end()
    assert ended[later[1]].status == "FAILED" and ended[later[1]].attempt == 2
    assert len(ended[later[1]].failures) == 2 and ended[later[1]].value == 0
    assert rows.errors() == [(later[1], "ValueError")] * 2
    assert sorted(set(rows.runs())) == sorted(ended) and set(ids) < set(ended)
    assert supervisor.stop() == 0
    log = supervisor.log
    assert "\n  database " in log and "shop:Plain" in log and "\n  history  the tables of the rows" in log
    assert "broker" not in log and not list((rows.workers.directory / "home").rglob("server.*"))


async def test_rows_and_tasks_of_an_app_run_in_one_service(both: RowStage) -> None:
    app = both.shop.app
    supervisor = both.start(2)
    both.add(["ok"] * 20)
    results = [both.shop.note.apply_async(-n) for n in range(1, 21)]
    assert await asyncio.gather(*results) == [-n for n in range(1, 21)]
    both.wait_for_end()
    await both.shop.insert.apply_async(5)
    both.wait(lambda: len([n for n in both.runs("task") if n > 0]) == 5, "each row has sent its job")
    assert {row.status for row in both.wait_for_end().values()} == {"SUCCESS"} and len(both.rows()) == 25
    async with app.inspector() as inspector:

        async def are_the_same() -> bool:
            there = {worker.incarnation for worker in await inspector.workers()}
            return len(there) == 2 and there == set(_workers(both))

        # The second process may still be starting when the first one has done everything.
        await wait_until_async(are_the_same, description="both are live on the server and in the database")
    assert supervisor.stop() == 0
    assert f"\n  app      {app.name}\n  broker" in supervisor.log and "\n  database" in supervisor.log
    await app.client.close()


def _workers(stage: RowStage) -> list[str]:
    """Names of the workers that are live in the database."""
    rows = stage.shop.app.rows
    assert rows is not None
    with stage.shop.app.session() as session:
        return [row.incarnation for row in session.execute(rows.own.workers.select())]


async def test_a_burst_ends_once_neither_tasks_nor_rows_are_left(both: RowStage) -> None:
    """The tasks insert rows, and these send jobs, whose queue was empty before."""
    for _ in range(5):
        both.shop.insert.apply_async(4)
    await both.shop.app.flush()
    supervisor = both.start(2, "--burst", wait=False)
    assert supervisor.wait() == 0
    assert both.statuses() == {"SUCCESS": 20}
    assert sorted(both.runs("task")) == sorted(both.rows())
    assert _workers(both) == []
    await both.shop.app.client.close()


def test_a_burst_of_rows_ends_when_the_tables_are_empty(rows: RowStage) -> None:
    rows.add(["ok"] * 300 + ["fail"] * 3 + ["more more ok"])
    supervisor = rows.start(3, "--burst", wait=False)
    assert supervisor.wait() == 0
    statuses = rows.statuses()
    # A retry is due later: a burst does not wait for it.
    assert statuses["SUCCESS"] == 303 and statuses.keys() <= {"SUCCESS", "FAILED", "RETRYING", "PENDING"}


async def test_queues_restrict_rows_and_tasks(both: RowStage) -> None:
    kept = both.add(["ok"], both.shop.Async)
    both.add(["ok"] * 3)
    note = both.shop.note.apply_async(1)
    supervisor = both.start(1, "--queues", "plain")
    both.wait_for_end()
    assert supervisor.stop() == 0 and "broker" not in supervisor.log
    assert both.row(kept[0], both.shop.Async).status == "PENDING"
    supervisor = both.start(1, "--queues", "default,async_rows")
    assert await note == 1
    both.wait_for_end(both.shop.Async)
    assert supervisor.stop() == 0
    await both.shop.app.client.close()


def test_queues_that_no_table_has_are_refused(rows: RowStage) -> None:
    supervisor = rows.start(1, "--queues", "mail", wait=False)
    assert supervisor.wait() == 2
    assert (
        "none of its tables is a queue named mail" in supervisor.log and "async_rows, limited, plain" in supervisor.log
    )


def test_threads_run_that_many_rows_at_a_time(rows: RowStage) -> None:
    ids = rows.add(["wait all"] * 4)
    rows.start(1, "--threads", "4")
    rows.running(ids)
    rows.open("all")
    assert {row.status for row in rows.wait_for_end().values()} == {"SUCCESS"}


def test_async_rows_run_at_a_time_and_have_a_session(
    request: pytest.FixtureRequest, database_url: str, row_workers: Workers, tmp_path: Path
) -> None:
    url = database_url.replace("sqlite:", "sqlite+aiosqlite:")
    rows = RowStage(url, row_workers, tmp_path / "runs")
    model = rows.shop.Async
    ids = rows.add(["wait all"] * 20, model)
    parents = rows.add(["more ok"] * 10, model)
    rows.start(1)
    rows.running(ids, "async")
    rows.open("all")
    rows.wait(lambda: len(rows.rows(model)) == 40, "each parent has added a row")
    ended = rows.wait_for_end(model)
    assert {row.status for row in ended.values()} == {"SUCCESS"} and {row.value for row in ended.values()} == {1}
    assert sorted(rows.runs("async")) == sorted(ended) and set(parents) < set(ended)


def test_a_process_is_replaced_after_its_number_of_rows(rows: RowStage) -> None:
    rows.add(["ok"] * 60)
    supervisor = rows.start(1, "--max-jobs-per-child", "10")
    assert {row.status for row in rows.wait_for_end().values()} == {"SUCCESS"}
    rows.wait(lambda: "This process is being replaced" in supervisor.log, "a process was replaced")
    assert sorted(rows.runs()) == sorted(rows.rows())


def test_a_preloaded_app_whose_engine_was_used_before_the_fork_works(rows: RowStage) -> None:
    rows.add(["ok"] * 50)
    rows.start(3, "--preload", TEST_CONNECTS="1")
    assert {row.status for row in rows.wait_for_end().values()} == {"SUCCESS"}
    assert sorted(rows.runs()) == sorted(rows.rows())


def test_a_stop_lets_running_rows_end_and_gives_back_the_others(rows: RowStage) -> None:
    first = rows.add(["wait go"])
    others = rows.add(["ok"] * 20)
    supervisor = rows.start(1)
    rows.running(first)
    supervisor.signal(Signals.SIGTERM)
    rows.wait(lambda: rows.statuses() == {"RUNNING": 1, "PENDING": 20}, "the others were given back")
    rows.open("go")
    assert supervisor.wait() == 0
    ended = rows.rows()
    assert ended[first[0]].status == "SUCCESS" and rows.runs() == first
    assert {(ended[id].status, ended[id].attempt, ended[id].deaths) for id in others} == {("PENDING", 1, 0)}


def test_a_new_release_brings_a_table_and_the_next_one_removes_one(rows: RowStage) -> None:
    supervisor = rows.start(1)
    model = _added(rows)
    supervisor.signal(Signals.SIGHUP)
    rows.wait(lambda: 'queue "added" was added' in supervisor.log, "the new table is served")
    rows.add(["ok"] * 3, model)
    rows.wait(lambda: len(rows.runs("added")) == 3, "its rows run")
    rows.open("third release")
    supervisor.signal(Signals.SIGHUP)
    rows.wait(lambda: 'queue "async_rows" was removed' in supervisor.log, "the old table is not served")
    kept = rows.add(["ok"], rows.shop.Async)
    rows.add(["ok"] * 3)
    rows.wait_for_end()
    assert rows.row(kept[0], rows.shop.Async).status == "PENDING"
    assert supervisor.stop() == 0


def _added(stage: RowStage) -> Any:
    """The row class of the second release, whose table is there from now on."""
    stage.open("second release")
    shop = Shop(stage.shop.app.name, stage.database, stage.folder)
    create_tables(shop.app)
    return shop.Added
