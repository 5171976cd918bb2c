"""A job closes the file descriptors of stdin, stdout and stderr: the numbers do not go to files of other jobs."""

from __future__ import annotations

from pathlib import Path

from .helpers import wait_until_async
from .logged import Shop
from .workers import Workers

TASKS = """
    @app.task
    async def closes():
        for fd in (0, 1, 2):
            os.close(fd)

    @app.task
    async def are_open():
        try:
            return [bool(os.fstat(fd)) for fd in (0, 1, 2)]
        except OSError:
            return []

    @app.task
    async def runs_a_program():
        program = await asyncio.create_subprocess_exec("sh", "-c", "cat; exit 3", stdin=-1, stdout=-1)
        said, _ = await program.communicate(b"said")
        return said.decode(), program.returncode
"""


async def test_descriptors_that_a_job_closes_are_opened_again(workers: Workers, tmp_path: Path, app_name: str) -> None:
    shop = Shop(workers, tmp_path, app_name, TASKS)
    worker = shop.start()
    await shop.call("closes").wait(30)

    async def are_open() -> bool:
        return bool(await shop.call("are_open").wait(30) == [True, True, True])

    await wait_until_async(are_open, description="stdin, stdout and stderr are open again")
    assert await shop.call("runs_a_program").wait(30) == ("said", 3)

    await shop.call("closes").wait(30)
    assert worker.stop() == 0
