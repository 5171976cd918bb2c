"""Servers that are not there, not open, full of themselves, or gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import App, BrokerError, JobLost, SerializationError
from aiotask.embedded.server import status, stop

from ..acceptance.stage import prepared
from ..helpers import wait_until, wait_until_async
from ..server import PrivateServer
from ..workers import running_workers
from .jobs import add, has_status


@pytest.fixture
def no_server_yet() -> Iterator[PrivateServer]:
    server = PrivateServer()
    try:
        yield server
    finally:
        server.remove()


async def test_a_worker_waits_for_its_server_says_so_once_and_works(
    no_server_yet: PrivateServer, tmp_path: Path
) -> None:
    with running_workers(tmp_path, no_server_yet.url) as workers:
        stage = prepared("hostile", workers, tmp_path / "ledger")
        supervisor = stage.start(1)
        assert "not connected yet" in supervisor.log

        no_server_yet.start()
        with stage.active():
            async with stage.app:
                assert await stage.echo.apply_async("there").wait(30) == "there"
        wait_until(lambda: "The broker is back; consuming again." in supervisor.log, description="it says so")
        # Once for each of the two apps.
        assert supervisor.log.count("Trying again until the broker answers") == 2
        assert supervisor.log.count("No answer from the broker") == 2


@pytest.fixture
def locked_server() -> Iterator[PrivateServer]:
    """A server with users: bob may do all, eve only read."""
    server = PrivateServer()
    server.start()
    try:
        server.call("ACL", "SETUSER", "bob", "on", ">bobs", "~*", "&*", "+@all")
        server.call("ACL", "SETUSER", "eve", "on", ">eves", "~*", "&*", "+@read", "+@connection", "+info")
        server.call("ACL", "SETUSER", "aiotask", "on", ">ours", "~aiotask1:*", "&aiotask1:*", "+@all", "-@dangerous")
        server.call("ACL", "SETUSER", "aiotask", "+info", "+client")
        server.call("CONFIG", "SET", "requirepass", "secret")
        yield server
    finally:
        server.remove()


async def test_a_password_that_is_missing_or_wrong_is_said_and_a_worker_waits_for_the_right_one(
    locked_server: PrivateServer, tmp_path: Path
) -> None:
    socket_path = locked_server.url.removeprefix("unix://")
    refused = "rejected the user or password"
    for login, message in (
        ("", refused),
        (":hunter2@", refused),
        ("bob:hunter2@", refused),
        ("nobody:hunter2@", refused),
        ("eve:eves@", "does not permit this user a command or key that aiotask needs.+ACL SETUSER"),
    ):
        app = App("locked", url=f"unix://{login}{socket_path}")
        with pytest.raises(BrokerError, match=message) as raised:
            await app.task(add).apply_async(1).wait(30)
        assert "hunter2" not in str(raised.value) and "eves" not in str(raised.value)

    ours = f"unix://aiotask:ours@{socket_path}"
    with running_workers(tmp_path, f"unix://late:later@{socket_path}") as workers:
        stage = prepared("hostile", workers, tmp_path / "ledger", ours)
        supervisor = stage.start(1)
        wait_until(lambda: refused in supervisor.log, description="the worker says that it is not let in")
        locked_server.call("ACL", "SETUSER", "late", "on", ">later", "~*", "&*", "+@all")
        with stage.active():
            async with stage.app:
                assert await stage.echo.apply_async("let in").wait(30) == "let in"
        assert supervisor.log.count(refused) == 2 and "later" not in supervisor.log


async def test_an_emptied_server_costs_what_it_held_and_the_worker_goes_on(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    with running_workers(tmp_path, own_server.url) as workers:
        stage = prepared("hostile", workers, tmp_path / "ledger")
        supervisors = [stage.start(1, wait=False) for _ in range(2)]
        for supervisor in supervisors:
            supervisor.wait_for_banner()
        with stage.active():
            async with stage.app:
                running, later = stage.nap.apply_async(1.0), stage.echo.options(delay=3600).apply_async(1)
                waiting = [asyncio.create_task(result.wait(30)) for result in (running, later)]
                await later.sent()
                await wait_until_async(lambda: has_status(running, "RUNNING"), description="a worker has it")
                own_server.call("FLUSHALL")
                for wait in waiting:
                    with pytest.raises(JobLost, match="the broker no longer has the job or its outcome"):
                        await wait
                assert await asyncio.gather(*(stage.echo.apply_async(n).wait(30) for n in range(20))) == [*range(20)]
        for supervisor in supervisors:
            assert "declared dead" not in supervisor.log and "ended by" not in supervisor.log


async def test_a_server_that_is_killed_and_comes_back_costs_no_job(tmp_path: Path) -> None:
    server = PrivateServer("--appendonly", "yes", "--appendfsync", "always")
    try:
        server.start()
        with running_workers(tmp_path, server.url) as workers:
            stage = prepared("hostile", workers, tmp_path / "ledger")
            supervisor = stage.start(1)
            with stage.active():
                async with stage.app:
                    results = [stage.nap.apply_async(0.02) for _ in range(50)]
                    waits = [asyncio.create_task(result.wait(60)) for result in results]
                    await wait_until_async(lambda: any(wait.done() for wait in waits), description="the first is done")
                    server.kill()
                    server.start()
                    assert await asyncio.gather(*waits) == [0.02] * 50
            assert "ended by" not in supervisor.log
    finally:
        server.remove()


async def test_an_embedded_server_that_is_killed_comes_back_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "h"
    env = {"AIOTASK_HOME": str(home), "AIOTASK_URL": "", "AIOTASK_EMBEDDED": "1"}
    with running_workers(tmp_path, "") as workers, pytest.MonkeyPatch.context() as patch:
        stage = prepared("hostile", workers, tmp_path / "ledger", "")
        stage.env.update(env)
        try:
            supervisor = stage.start(1)
            with stage.active():
                patch.setenv("AIOTASK_HOME", str(home))
                async with stage.app:
                    assert await stage.echo.apply_async("before").wait(30) == "before"
                    server = status(home)
                    assert server is not None
                    os.kill(server.pid, signal.SIGKILL)
                    wait_until(lambda: "consuming again" in supervisor.log, description="the worker is back")
                    assert await stage.echo.apply_async("after").wait(30) == "after"
        finally:
            supervisor.stop()
            stop(home)


async def test_large_arguments_and_results_travel_and_too_large_ones_are_refused(
    own_server: PrivateServer, app_name: str
) -> None:
    app = App(app_name, url=own_server.url)

    @app.task
    def size(data: bytes) -> int:
        return len(data)

    @app.task
    async def zeros(count: int) -> bytes:
        return bytes(count)

    async with app, app.worker():
        assert await size.apply_async(bytes(20_000_000)).wait(60) == 20_000_000
        assert len(await zeros.apply_async(20_000_000).wait(60)) == 20_000_000

        own_server.call("CONFIG", "SET", "proto-max-bulk-len", 1024 * 1024)
        limit = r"bytes are more than the server at .+ takes in one value \(1,048,576: proto-max-bulk-len\)"
        for _ in range(2):
            with pytest.raises(BrokerError, match=limit):
                await size.apply_async(bytes(2_000_000)).wait(60)
        small, large = zeros.apply_async(10), zeros.apply_async(2_000_000)
        assert await small.wait(60) == bytes(10)
        with pytest.raises(SerializationError, match=f"The outcome of job .+ has 2,000,.+{limit}"):
            await large.wait(60)
        assert await size.apply_async(b"goes on").wait(60) == 7
