"""What a sync job sets in its context ends with the job, in each thread; what the app set at import is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .acceptance.stage import Stage, staged
from .workers import running_workers


@pytest.fixture(scope="module", params=["1", "3"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    directory: Path = tmp_path_factory.mktemp("isolation")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("invasive", workers, directory / "ledger") as stage,
    ):
        stage.start(1, "--threads", request.param)
        yield stage


async def test_a_context_variable_and_the_decimal_precision_of_a_job_are_not_those_of_the_next(
    stage: Stage, worker_logs: None
) -> None:
    set_there = [stage.sets_context.apply_async("acme") for _ in range(20)]
    assert [await each for each in set_there] == ["acme"] * 20

    seen = [stage.sees_context.apply_async() for _ in range(20)]

    assert [await each for each in seen] == [("none", "set at import", 7)] * 20


async def test_an_async_job_begins_with_what_the_app_has_set(stage: Stage, worker_logs: None) -> None:
    assert await stage.asees_context.apply_async() == ("none", "set at import", 7)
