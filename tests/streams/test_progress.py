"""Progress: a caller sees how far a job is, while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from aiotask import ConfigError, Progress, current_job
from aiotask.errors import SealError
from aiotask.results.progress import open_progress, progress_of, seal_progress
from aiotask.wire.seal import Sealer

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize("name", ["steps", "steps_sync", "steps_thread"])
async def test_progress_grows_and_the_last_is_seen(task: Any, name: str) -> None:
    result = task(name).apply_async(300)
    seen = [each async for each in result.progress()]

    assert seen[-1].current == seen[-1].total == 300
    assert [each.current for each in seen] == sorted({each.current for each in seen})
    assert seen[-1].fraction == 1.0
    assert await result == 300


async def test_a_job_that_reports_nothing_has_no_progress(task: Any) -> None:
    result = task("quick").apply_async()
    assert [each async for each in result.progress()] == []
    assert [each async for each in result.progress()] == [], "it has ended"


def test_outside_a_job_nothing_is_reported() -> None:
    current_job().progress(1, 2, "nobody sees this")


@pytest.mark.parametrize("values", [("3", None, ""), (1, "2", ""), (1, 2, 3), (float("nan"), None, ""), (True, 1, "")])
def test_what_is_no_progress_is_refused(values: Any) -> None:
    with pytest.raises(ConfigError, match=r"progress\("):
        progress_of(*values)


def test_the_fraction_is_a_part() -> None:
    assert Progress(3, 10).fraction == 0.3
    assert Progress(12, 10).fraction == 1.0
    assert Progress(3).fraction is None
    assert len(progress_of(1, None, "x" * 5_000).message) == 1_000


def test_progress_belongs_to_its_job() -> None:
    sealer = Sealer(["test"], "progress")
    sealed = seal_progress(sealer, "job", Progress(1, 2))
    assert open_progress(sealer, "job", sealed) == Progress(1, 2)
    with pytest.raises(SealError, match="arrived under the ID"):
        open_progress(sealer, "another", sealed)
    with pytest.raises(SealError):
        open_progress(Sealer(["test"], "item"), "job", sealed)


def test_a_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="give a finite number"):
        progress_of(10**400, None, "")
