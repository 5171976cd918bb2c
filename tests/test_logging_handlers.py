"""Log handlers of the app that end the process, as a handler of an SDK does: they end neither a job nor the worker."""

from __future__ import annotations

from pathlib import Path

from .logged import Shop
from .workers import Workers

TASKS = """
    class Exits(logging.Handler):
        def emit(self, record):
            raise SystemExit(f"not {record.levelname}")

    for name in ("aiotask", "aiotask.worker"):
        logging.getLogger(name).addHandler(Exits())

    @app.task
    def adds(x, y):
        return x + y

    @app.task
    async def fails():
        raise ValueError("of its own")
"""


async def test_a_handler_that_exits_ends_neither_a_job_nor_the_worker(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    shop = Shop(workers, tmp_path, app_name, TASKS)
    worker = shop.start()

    assert await shop.call("adds", 1, 2).wait(30) == 3
    try:
        await shop.call("fails").wait(30)
    except ValueError as error:
        assert str(error) == "of its own"
    assert await shop.call("adds", 1, 3).wait(30) == 4

    assert worker.stop() == 0
    assert worker.log.count("A log handler of the app fails (this is logged only once): SystemExit('not ") >= 1
