"""Rows in the process of their user: ``app.worker()`` in its event loop, ``app.work()`` in its thread."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import aiotask
from aiotask import ConfigError

from ..helpers import wait_until_async
from ..workers import Workers
from .stage import RowStage


@pytest.fixture(autouse=True)
def _no_embedded_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows alone contact no broker: an attempt to reach the one at this address would fail."""
    monkeypatch.setenv("AIOTASK_URL", "redis://127.0.0.1:1/0")


def test_work_runs_one_row_then_some_then_what_is_there(rows: RowStage) -> None:
    rows.add(["ok"] * 20)
    app = rows.shop.app
    assert app.work(1) == 1 and rows.statuses() == {"SUCCESS": 1, "PENDING": 19}
    assert app.work(5) == 5 and rows.statuses() == {"SUCCESS": 6, "PENDING": 14}
    assert {row.claims for row in rows.rows().values()} == {0, 1}
    assert app.work(burst=True) == 14 and rows.statuses() == {"SUCCESS": 20}
    assert rows.runs() == list(rows.rows()) and app.work(burst=True) == 0


def test_work_runs_the_rows_that_rows_add(rows: RowStage) -> None:
    rows.add(["more more more ok"])
    assert rows.shop.app.work(burst=True) == 4
    assert rows.statuses() == {"SUCCESS": 4}


def test_work_of_one_row_class(rows: RowStage) -> None:
    rows.add(["ok"] * 2)
    rows.add(["ok"] * 3, rows.shop.Async)
    app = rows.shop.app
    assert app.work(burst=True, only=[rows.shop.Async]) == 3
    assert rows.statuses() == {"PENDING": 2}
    assert app.work(burst=True, only=["plain"]) == 2
    with pytest.raises(ConfigError, match="none of its tables is a queue named mail"):
        app.work(burst=True, only=["mail"])
    with pytest.raises(ConfigError, match="is not a row class of this app"):
        app.work(burst=True, only=[rows.shop.Base])


def test_work_goes_on_after_a_row_that_fails(rows: RowStage) -> None:
    failing, ok = rows.add(["fail"]), rows.add(["ok"] * 3)
    assert rows.shop.app.work(5) == 5
    ended = rows.rows()
    assert (ended[failing[0]].status, len(ended[failing[0]].failures)) == ("FAILED", 2)
    assert [ended[id].status for id in ok] == ["SUCCESS"] * 3


@pytest.mark.parametrize("kind", ["Plain", "Async"])
def test_work_shows_the_frames_of_the_row_alone(rows: RowStage, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    rows.add(["fail"], getattr(rows.shop, kind))
    rows.shop.app.work(1)
    (text,) = {record.exc_text for record in caplog.records if record.exc_info}
    assert text is not None and "in run\n" in text and "during handling" not in text.lower()
    assert str(Path(aiotask.__file__).parent) not in text


def test_work_in_a_thread_while_another_one_inserts(rows: RowStage) -> None:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(rows.shop.app.work(30)))
    thread.start()
    for _ in range(3):
        rows.add(["ok"] * 10)
    thread.join(60)
    assert counts == [30] and rows.statuses() == {"SUCCESS": 30}


async def test_a_worker_in_an_event_loop_runs_rows(rows: RowStage) -> None:
    async with rows.shop.app.worker(concurrency=2) as worker:
        ids = rows.add(["ok", "fail", "more ok"])
        await wait_until_async(lambda: len(rows.rows()) == 4 and _all_ended(rows), description="all have ended")
        assert worker.name.endswith(".in-loop")
    assert rows.row(ids[1]).status == "FAILED"
    assert _workers(rows) == 0


async def test_rows_and_tasks_in_one_event_loop(
    sqlite_url: str, row_workers: Workers, tmp_path: Path, redis_url: str
) -> None:
    both = RowStage(sqlite_url, row_workers, tmp_path / "runs", redis_url)
    await both.shop.insert.apply_async(5).sent()
    async with both.shop.app.worker(burst=True) as worker:
        await worker.finished()
    assert both.statuses() == {"SUCCESS": 5} and sorted(both.runs("task")) == list(both.rows())
    await both.shop.app.client.close()


async def test_work_of_rows_and_tasks_counts_both(
    sqlite_url: str, row_workers: Workers, tmp_path: Path, redis_url: str
) -> None:
    both = RowStage(sqlite_url, row_workers, tmp_path / "runs", redis_url)
    both.shop.insert.apply_async(3)
    assert await asyncio.to_thread(both.shop.app.work, burst=True) == 7
    both.add(["ok"] * 10)
    for n in range(10):
        both.shop.note.apply_async(-n)
    assert await asyncio.to_thread(both.shop.app.work, 12) == 12
    assert await asyncio.to_thread(both.shop.app.work, burst=True) == 8
    await both.shop.app.client.close()


def _all_ended(stage: RowStage) -> bool:
    return set(stage.statuses()) <= {"SUCCESS", "FAILED"}


def _workers(stage: RowStage) -> int:
    rows = stage.shop.app.rows
    assert rows is not None
    with stage.shop.app.session() as session:
        return len(session.execute(rows.own.workers.select()).all())
