"""aiotask jobs --key: the jobs of a task under a key, on the command line and in the dashboard's list."""

from __future__ import annotations

import asyncio
import json

import pytest

from aiotask import App, ConfigError
from aiotask.ops.connection import Place
from aiotask.ops.jobs import read_keyed

from .command import invoke

KEPT, UNIQUE = "shop:invoice", "shop:reindex"


async def send_all(url: str, name: str) -> dict[str, str]:
    """Jobs of two tasks with keys; the ids by task and key."""
    async with App(name, url=url) as app:
        kept = app.register_task(len, name=KEPT, key="order-{obj}")
        unique = app.register_task(len, name=UNIQUE, key="order-{obj}", unique="unfinished")
        sent = {f"{task.name} {key}": task.apply_async(key) for task in (kept, unique) for key in ("7", "8")}
        sent["later"] = unique.options(delay=3600).apply_async("9")
        await app.flush()
        return {name: handle.id for name, handle in sent.items()}


@pytest.fixture
def ids(redis_url: str, app_name: str) -> dict[str, str]:
    return asyncio.run(send_all(redis_url, app_name))


def test_the_jobs_of_a_task_under_a_key_are_found(redis_url: str, app_name: str, ids: dict[str, str]) -> None:
    def found(task: str, key: str) -> list[str]:
        said = invoke("jobs", "--task", task, "--key", key, "--name", app_name, "--url", redis_url, "--json")
        assert said.exit_code == 0, said.output
        return [job["id"] for job in json.loads(said.output)]

    assert found(KEPT, "order-7") == [ids[f"{KEPT} 7"]]
    assert found(UNIQUE, "order-8") == [ids[f"{UNIQUE} 8"]]
    assert found(UNIQUE, "order-9") == [ids["later"]]
    assert found(UNIQUE, "order-") == found(KEPT, "order-9") == found("shop:other", "order-7") == []


def test_a_key_is_one_of_a_task_and_goes_with_no_other_filter(redis_url: str, app_name: str) -> None:
    where = ["--name", app_name, "--url", redis_url]
    alone = invoke("jobs", "--key", "order-7", *where)
    assert isinstance(alone.exception, ConfigError) and "--task" in str(alone.exception)
    other = invoke("jobs", "--key", "order-7", "--task", KEPT, "--queue", "mail", *where)
    assert isinstance(other.exception, ConfigError) and "leave out" in str(other.exception)


async def test_a_job_that_has_ended_is_found_while_its_outcome_stands_for_the_key(
    redis_url: str, app_name: str
) -> None:
    async with App(app_name, url=redis_url) as app:
        task = app.register_task(len, name=KEPT, key="order-{obj}")
        async with app.worker(burst=True) as worker:
            id = task.apply_async("7").id
            await worker.finished()

        [found] = await read_keyed(Place(app_name, redis_url), KEPT, "order-7", 10)

    assert (found["id"], found["status"], found["value"]) == (id, "SUCCESS", 1)
