"""What cannot be a batch task: every refusal comes at registration, and names the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from aiotask import App, ConfigError, Depends, JobContext, Limit
from aiotask.tasks.batch import BATCH_WAIT, batching_of


def many(items: list[int]) -> list[int]:
    return items


def generated(items: list[int]) -> Iterator[int]:
    yield from items


async def generated_in_a_loop(items: list[int]) -> AsyncIterator[int]:
    for item in items:
        yield item


def two(items: list[int], factor: int) -> list[int]:
    return [factor * item for item in items]


def none() -> list[int]:
    return []


def one(item: int) -> list[int]:
    return [item]


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (many, {"batch": 0}, "batch=0 is out of range: give a whole number from 1 to 1000"),
        (many, {"batch": 1_001}, "batch=1001 is out of range"),
        (many, {"batch": True}, "batch=True is out of range"),
        (many, {"batch": 2.5}, "batch=2.5 is out of range"),
        (many, {"batch": 8, "batch_wait": -1}, "batch_wait=-1"),
        (many, {"batch": 8, "batch_wait": 3_601}, "more than an hour"),
        (many, {"batch": 8, "batch_wait": "1s"}, "batch_wait='1s'"),
        (many, {"batch_wait": 0.1}, "batch_wait=0.1 needs batch="),
        (
            many,
            {"batch": 8, "acks": "early"},
            r"batch= and acks= contradict each other: with acks=\"early\" a job is lost",
        ),
        (generated, {"batch": 8}, "a generator yields"),
        (generated_in_a_loop, {"batch": 8}, "a generator yields"),
        (two, {"batch": 8}, "takes one argument, a list of items, and this one takes items, factor"),
        (none, {"batch": 8}, "and this one takes nothing"),
        (one, {"batch": 8}, r'"item" is annotated with int. Annotate it with list\[…\]'),
        (many, {"batchs": 8}, 'Did you mean "batch"'),
    ],
)
def test_a_batch_task_that_cannot_be_is_refused_at_registration(
    function: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    app = App("refusals", url="memory://")

    with pytest.raises(ConfigError, match=message):
        app.register_task(function, **options)
    with pytest.raises(ConfigError, match=message):
        app.task(**options)(function)
    assert len(app.registry) == 0


def test_a_call_cannot_change_how_jobs_are_gathered() -> None:
    task = App("refusals", url="memory://").register_task(many, batch=8)

    with pytest.raises(ConfigError, match='"batch" is an option of a task, not of a single call'):
        task.options(batch=2)
    with pytest.raises(
        ConfigError, match=r"chunk=2: jobs of the batch task .*:many. are gathered by the worker, 8 for"
    ):
        task.map([1, 2, 3], chunk=2)


def test_a_batch_is_not_limited_in_how_many_jobs_run() -> None:
    with pytest.raises(ConfigError, match=r"batch= and max_running= contradict each other: .* Use rate="):
        batching_of(many, {"batch": 8, "max_running": 1}, "many")


@pytest.mark.parametrize("call", [((), {}), ((1, 2), {}), ((), {"items": 1})], ids=["none", "two", "by name"])
def test_a_call_has_one_item(call: tuple[Any, dict[str, Any]]) -> None:
    task = App("refusals", url="memory://").register_task(many, batch=8)

    with pytest.raises(TypeError):
        task.apply_async(*call[0], **call[1])


def test_rows_come_one_by_one() -> None:
    pytest.importorskip("sqlalchemy")
    from aiotask.sql.checks import check_row_options

    for option in ("batch", "batch_wait"):
        with pytest.raises(ConfigError, match=f'rows have no option "{option}". Let the row send a task that has it'):
            check_row_options({option: 8}, "Order")


def test_the_item_is_what_the_list_holds_for_json() -> None:
    app = App("typed", url="memory://", serializer="json")

    def later(items: list[Later]) -> list[Later]:  # noqa: F821
        return items

    with pytest.raises(ConfigError, match='its annotations name "Later", which is not defined yet'):
        app.register_task(later, batch=8)
    # Pickle needs no annotations.
    App("untyped", url="memory://").register_task(later, batch=8)


def test_waits_are_durations() -> None:
    app = App("waits", url="memory://")

    def wait_of(**options: Any) -> float:
        task = app.register_task(many, name="many", batch=8, **options)
        assert task.definition.batch is not None
        return task.definition.batch.wait

    assert wait_of() == BATCH_WAIT == 0.05
    assert wait_of(batch_wait=0) == 0
    assert wait_of(batch_wait=timedelta(milliseconds=5)) == 0.005


def test_a_batch_task_can_be_called_in_this_process() -> None:
    app = App("called", url="memory://")

    def scale(items: list[int], factor: int = Depends(lambda: 10)) -> list[int]:
        return [factor * item for item in items]

    task = app.register_task(scale, batch=8)

    assert task([1, 2], factor=3) == task.func([1, 2], factor=3) == [3, 6]
    assert task.__wrapped__ is scale
    with pytest.raises(ConfigError, match='was called in this process without "factor"'):
        task([1, 2])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"limit": Limit(max_running=4)}, "max_running="),
        ({"limit": Limit(by="items", rate_each="10/s")}, "by="),
        ({"limit": Limit(by="items")}, "by="),
    ],
)
def test_of_limits_a_batch_takes_a_rate_alone(options: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=f"batch= and a limit with {named}"):
        App("shop", url="memory://").register_task(many, batch=4, **options)


def test_a_batch_has_a_rate_and_a_key_made_of_its_item() -> None:
    app = App("shop", url="memory://")
    task = app.register_task(many, batch=4, rate="10/s", key="item-{items}", unique="unfinished")
    assert task.definition.more["limit"].spec.rate == 10
    assert task.apply_async(7).id.endswith("-item-7")


def test_a_batch_reports_no_progress_and_saves_no_checkpoint() -> None:
    batch = JobContext(items=(JobContext(),))
    with pytest.raises(ConfigError, match="neither a batch nor an item of it has a progress report"):
        batch.progress(1)
    with pytest.raises(ConfigError, match="neither a batch nor an item of it has a checkpoint"):
        batch.checkpoint(1)
    with pytest.raises(ConfigError, match="neither a batch nor an item of it has a checkpoint"):
        batch.last_checkpoint()
