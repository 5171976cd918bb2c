"""Cancels from wherever they come: one outcome, no further run, and no slot that stays taken."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aiotask import App, JobCancelled, Status
from aiotask_cli.main import app as command_line

from .acceptance.stage import Stage, staged
from .helpers import wait_until_async
from .workers import Workers


async def started(stage: Stage, label: str) -> None:
    await wait_until_async(lambda: stage.ledger.runs(label), description=f"{label} has started")


async def test_whatever_a_job_is_doing_it_ends_and_is_not_run_again(workers: Workers, tmp_path: Path) -> None:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        supervisor = stage.start(1, "--max-in-flight", "2")
        # In its function, off its seat, and claimed but not started.
        running = stage.nap.options(retries=3).apply_async(600, "running")
        parent = stage.wait_for_child.options(retries=3).apply_async("parent")
        await started(stage, "running")
        await started(stage, "parent")
        behind = stage.nap.apply_async(0, "behind")
        before = {process.pid for process in supervisor.children()}
        for result in (behind, parent, running):
            assert await result.cancel() in ("cancelled", "asked")
            with pytest.raises(JobCancelled):
                await result
            assert await result.cancel() == "finished"
        assert await stage.aecho.apply_async(1) + await stage.echo.apply_async(2) == 3
        assert {process.pid for process in supervisor.children()} == before, "nothing had to be killed"
        # By another process, in a coroutine that holds up the loop which would hear of it.
        stuck = stage.block_the_loop.options(retries=3).apply_async(600)
        await started(stage, "block_the_loop")
        said = await asyncio.to_thread(
            CliRunner().invoke, command_line, ["cancel", stuck.id, behind.id, "--url", stage.url, "--json"]
        )
        assert said.exit_code == 0, said.output
        assert [(each["id"], each["did"], each["status"]) for each in json.loads(said.output)] == [
            (stuck.id, "asked", "CANCELLED"),
            (behind.id, "finished", "CANCELLED"),
        ]
        with pytest.raises(JobCancelled):
            await stuck
        # The worker dies after the mark was left, and before it could do anything about it.
        doomed = stage.swallow.options(retries=3).apply_async()
        await started(stage, "swallow")
        (run,) = stage.ledger.runs("swallow")
        (victim,) = [process for process in supervisor.children() if process.pid == run.pid]
        victim.suspend()
        assert await stage.app.result(doomed.id).cancel() == "asked"
        victim.send_signal(signal.SIGKILL)
        with pytest.raises(JobCancelled):
            await doomed
        assert await stage.echo.apply_async(3) == 3
        labels = [run.label for run in stage.ledger.runs()]
        assert sorted(labels) == sorted(["running", "parent", "block_the_loop", "swallow"])


async def test_where_nothing_can_be_killed_who_waits_is_told(
    app_name: str, broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker inside a process that is not its own."""
    caplog.set_level(logging.WARNING, "aiotask")
    app = App(app_name, url=broker_url)
    go_on, runs = threading.Event(), []

    @app.task(retries=3)
    def stubborn() -> str:
        runs.append("sync")
        go_on.wait(60)
        return "dropped"

    @app.task(retries=3)
    async def astubborn() -> str:
        runs.append("async")
        while not go_on.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                runs.append("told")
        return "dropped"

    @app.task
    async def quick() -> int:
        return 1

    async with app.worker():
        results = [stubborn.apply_async(), astubborn.apply_async()]
        await wait_until_async(lambda: len(runs) == 2, description="both run")
        for result in results:
            assert await result.cancel() == "asked"
        for result in results:
            with pytest.raises(JobCancelled, match="did not react"):
                await result
        assert await quick.apply_async() == 1
        go_on.set()
    assert sorted(runs) == ["async", "sync", "told"]
    assert caplog.text.count("Its return value will be discarded") == 2
    assert [await result.status() for result in results] == [Status.CANCELLED] * 2
    await app.client.close()


def test_the_command_says_what_it_did_to_each_job(redis_url: str, app_name: str) -> None:
    app = App(app_name, url=redis_url)

    @app.task
    async def seven() -> int:
        return 7

    ended, waiting = seven.apply_async(), seven.options(delay=60, queue="later").apply_async()

    async def work() -> None:
        await app.flush()
        async with app.worker(queues=["default"]):
            await ended

    asyncio.run(work())
    arguments = ["cancel", waiting.id, ended.id, "no-such-job", "--name", app_name, "--url", redis_url]
    said = CliRunner().invoke(command_line, arguments)
    assert said.exit_code == 1
    first, second, third = said.output.splitlines()
    assert waiting.id in first and first.endswith("seven cancelled; it was SCHEDULED")
    assert ended.id in second and second.endswith("had already ended: SUCCESS")
    assert "no-such-job unknown: it was never sent" in third
    again = CliRunner().invoke(command_line, [arguments[0], waiting.id, *arguments[4:]])
    assert again.exit_code == 0 and "had already been cancelled" in again.output
