"""A sync job that runs an event loop of its own is interrupted at its limit like any other one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.errors import JobTimeout

from .acceptance.stage import Stage, staged
from .helpers import wait_until_async
from .workers import running_workers


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    directory: Path = tmp_path_factory.mktemp("nested-loops")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("invasive", workers, directory / "ledger") as stage,
    ):
        stage.start(1)
        yield stage


@pytest.mark.parametrize("kind", ["uvloop.run", "uvloop policy", "run_until_complete", "asyncio.run"])
async def test_what_runs_in_a_loop_of_the_job_is_cancelled_at_the_limit(
    stage: Stage, kind: str, worker_logs: None
) -> None:
    before = await stage.pid.apply_async()

    with pytest.raises(JobTimeout, match=r"ran longer than its limit of 0\.3 s"):
        await stage.runs_its_own_loop.options(timeout=0.3).apply_async(kind, kind)

    (run,) = stage.ledger.runs(kind)
    assert run.end is not None, "its finally did not run"
    assert await stage.pid.apply_async() == before


@pytest.mark.parametrize("kind", ["uvloop.run", "asyncio.run"])
async def test_a_cancel_reaches_what_runs_in_a_loop_of_the_job(stage: Stage, kind: str, worker_logs: None) -> None:
    before = await stage.pid.apply_async()
    label = f"cancelled in {kind}"
    sent = stage.runs_its_own_loop.apply_async(kind, label)
    await wait_until_async(lambda: stage.ledger.runs(label), description="it has started")

    await sent.cancel()

    await wait_until_async(lambda: stage.ledger.runs(label)[0].end, description="its finally has run")
    assert await stage.pid.apply_async() == before
