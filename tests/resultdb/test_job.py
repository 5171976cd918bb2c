"""One job of the history: all that is known of it, its value or its error."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiotask import App, ResultDB, Status
from aiotask.errors import RemoteError, ResultExpired
from aiotask.history.recorder import Recorder
from aiotask.outcome import ErrorInfo

from ..history import SECRET, START, TASK, finished, pickled, sqlite


async def test_a_finished_job_is_found_with_all_that_is_known_of_it(recorder: Recorder, db: ResultDB) -> None:
    row = finished("a", {"pixels": 9}, args=(7, "x"), attempt=3, queue="images")

    recorder.record([row])

    assert await db.fetch_result("a") == {"pixels": 9}
    assert await db.fetch_status("a") is Status.SUCCESS
    assert await db.exists("a") is True
    record = await db.fetch_record("a")
    assert record is not None
    assert (record.id, record.app, record.task, record.queue) == ("a", "shop", TASK, "images")
    assert (record.status, record.attempts, record.worker, record.deps) == (Status.SUCCESS, 3, "host-7-1", ())
    assert (record.arguments, record.result) == ('[[7,"x"],{}]', '{"pixels":9}')
    assert (record.error, record.traceback) == (None, None)
    assert (record.sent_at, record.started_at, record.finished_at) == (START - 2, START - 1, START)
    assert (record.job, record.outcome) == (row.job, row.outcome)


async def test_an_unknown_job_is_nothing_or_an_error_that_names_the_next_step(recorder: Recorder, db: ResultDB) -> None:
    recorder.record([finished("a")])

    assert await db.fetch_record("b") is None
    assert await db.fetch_status("b") is None
    assert await db.exists("b") is False
    with pytest.raises(ResultExpired, match=r'no job "b".*await app\.result\(id\)'):
        await db.fetch_result("b")


async def test_none_as_a_value_differs_from_no_result(recorder: Recorder, db: ResultDB) -> None:
    failure = ErrorInfo("builtins.ValueError", "no")
    recorder.record([finished("none", None), finished("failed", status=Status.FAILED, error=failure)])

    assert await db.fetch_result("none") is None
    with pytest.raises(RemoteError):
        await db.fetch_result("failed")
    with pytest.raises(ResultExpired):
        await db.fetch_result("never")
    records = [await db.fetch_record(id) for id in ("none", "failed")]
    assert [record and record.result for record in records] == ["null", None]


async def test_a_failed_job_raises_its_own_exception_with_the_remote_traceback(
    recorder: Recorder, db: ResultDB, path: Path
) -> None:
    error = ErrorInfo("builtins.KeyError", "'size'", "Traceback: in render", body=pickled(KeyError("size")))
    recorder.record([finished("a", status=Status.FAILED, error=error)])

    with pytest.raises(KeyError) as caught:
        await db.fetch_result("a")

    assert caught.value.args == ("size",)
    assert "in render" in "".join(caught.value.__notes__)
    assert sqlite(path, "SELECT error, traceback FROM jobs") == [("KeyError: 'size'", "Traceback: in render")]


async def test_results_come_back_as_the_declared_type(recorder: Recorder, path: Path) -> None:
    json_app = App("shop", url="memory://", secret=SECRET, serializer="json")

    @json_app.task(name=TASK)
    def delivery() -> datetime: ...

    recorder.record([finished("declared", result=b'J"2025-12-31T23:00:00Z"')])
    recorder.record([finished("unknown task", result=b'J"2025-12-31T23:00:00Z"', task="shop.tasks:gone")])

    async with ResultDB(path, app=json_app) as db:
        assert await db.fetch_result("declared") == datetime(2025, 12, 31, 23, tzinfo=UTC)
        assert await db.fetch_result("unknown task") == "2025-12-31T23:00:00Z"


async def test_what_is_not_recorded_is_asked_of_the_broker(db: ResultDB, app: App) -> None:
    @app.task
    async def waits() -> None: ...

    async with app:
        result = waits.apply_async()
        await result.sent()

        assert await db.fetch_status(result.id) is Status.PENDING
        assert await db.fetch_status("nobody-knows-it") is None
