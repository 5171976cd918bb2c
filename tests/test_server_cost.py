"""What a job costs the server in commands and bytes, which know no clock: a change that makes it dearer is seen."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from aiotask import App
from aiotask.brokers import connect

from .server import PrivateServer

#: Jobs that are sent and drained.
_JOBS = 10_000
#: Bytes of argument of a job that waits, and how many wait.
_ARGUMENT, _WAITING = 200, 10_000


@pytest.fixture(params=["redis", "valkey"])
def costly_server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    try:
        server = PrivateServer(kind=request.param)
    except LookupError as error:
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.remove()


def commands(server: PrivateServer) -> tuple[float, float]:
    """Scripts per job since the last look, and commands within them and beside."""
    stats = server.call("INFO", "commandstats")
    calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    scripts = sum(calls.pop(name, 0) for name in ("evalsha", "eval", "fcall"))
    server.call("CONFIG", "RESETSTAT")
    return scripts / _JOBS, sum(calls.values()) / _JOBS


async def test_what_a_job_costs_the_server_in_commands(costly_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=costly_server.url)

    @app.task(name="shop.tasks:noop")
    async def noop(n: int) -> None: ...

    async with app:
        await noop.apply_async(0).sent()
        commands(costly_server)
        for n in range(_JOBS):
            noop.apply_async(n)
        await app.flush()
        scripts, others = commands(costly_server)
        # 250 jobs in a batch: an entry each, and a hash of the index for sixteen.
        assert scripts <= 0.005, f"{scripts:.4f} scripts to send a job"
        assert others <= 1.3, f"{others:.3f} commands to send a job"

        async with app.worker(burst=True) as worker:
            await worker.finished()
        scripts, others = commands(costly_server)
        assert costly_server.call("HGET", f"aiotask1:{{{app_name}}}:counts", "default|SUCCESS") == b"%d" % (_JOBS + 1)
        assert scripts <= 0.1, f"{scripts:.4f} scripts to run a job"
        # An outcome each; the rest is shared by a batch.
        assert others <= 2.5, f"{others:.3f} commands to run a job"


async def test_what_it_costs_the_server_in_commands_to_record_a_job(
    costly_server: PrivateServer, app_name: str
) -> None:
    app = App(app_name, url=costly_server.url)

    @app.task(name="shop.tasks:noop")
    async def noop(n: int) -> None: ...

    recorder = connect(costly_server.url, app_name)
    async with app:
        await recorder.start_history()
        for n in range(_JOBS):
            noop.apply_async(n)
        await app.flush()
        commands(costly_server)

        async with app.worker(burst=True) as worker:
            await worker.finished()
        scripts, others = commands(costly_server)
        assert scripts <= 0.1, f"{scripts:.4f} scripts to run a job"
        # What stands in the lane is read for a batch, and written down for many.
        assert others <= 2.5, f"{others:.3f} commands to run a job that is to be recorded"

        recorded = 0
        while rows := await recorder.read_history("recorder", 500, 0.01):
            recorded += len(rows)
            await recorder.trim_history([row.entry for row in rows])
        _, others = commands(costly_server)
        assert recorded == _JOBS
        assert others <= 0.1, f"{others:.3f} commands to read a row and let the server forget it"
    await recorder.close()


async def test_what_a_job_that_waits_costs_the_server_in_bytes(costly_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=costly_server.url)

    @app.task(name="shop.tasks:keep")
    async def keep(data: bytes) -> None: ...

    async def send(count: int) -> int:
        """The memory that the server uses then."""
        for _ in range(count):
            keep.apply_async(os.urandom(_ARGUMENT))
        await app.flush()
        return int(costly_server.call("INFO", "memory")["used_memory"])

    async with app:
        # Connections, their buffers and scripts are there from here on.
        before = await send(_WAITING // 5)
        each = (await send(_WAITING) - before) / _WAITING
    assert each <= _ARGUMENT + 250, f"{each:.0f} bytes for a job that waits"
