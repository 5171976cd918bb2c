"""Tasks, signatures and job contexts as arguments, as values and as copies."""

from __future__ import annotations

import copy
import functools
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, JobContext, SerializationError, Signature, current_job
from aiotask.tasks.task import Task

from .programs import Program
from .workers import Workers

app = App("travels", url="memory://")


@app.task(queue="usual", retries=1)
def add(a: int, b: int = 1) -> int:
    return a + b


def bare(a: int) -> int:
    return a


registered = app.register_task(bare, name="registered")
anonymous = app.register_task(lambda a: 2 * a, name="anonymous")
partial = app.register_task(functools.partial(bare, 7), name="partial")


@app.task
async def context() -> JobContext:
    return current_job()


def _copies(thing: Any) -> list[Any]:
    protocols = [pickle.loads(pickle.dumps(thing, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    return [
        *protocols,
        copy.copy(thing),
        copy.deepcopy({"in": [thing]})["in"][0],
        app.serializer.load_value(app.serializer.dump_value(thing, None), None),
    ]


@pytest.mark.parametrize("task", [add, registered, anonymous, partial], ids=lambda task: task.name)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "fast", "retries": 4},
        {"timeout": None, "priority": 0},
        {"delay": timedelta(seconds=2), "key": "k"},
        {"result_ttl": 5.0, "ignore_result": True},
        {"eta": datetime(2100, 1, 1, tzinfo=UTC), "id": "one"},
    ],
    ids=str,
)
def test_a_copy_of_a_task_is_sent_as_the_task_is(task: Task[..., Any], options: Any) -> None:
    sent = task.options(**options) if options else task

    for found in _copies(sent):
        assert type(found) is type(task)
        assert found.definition == sent.definition
        assert found.options(priority=9).definition.explicit == sent.definition.explicit | {"priority"}


def test_a_task_that_its_module_holds_is_itself() -> None:
    assert pickle.loads(pickle.dumps(add)) is add


def test_a_task_without_options_is_written_as_the_release_before_reads_it() -> None:
    assert add.__reduce__()[1] == (__name__, "add")
    assert add.__reduce__()[0].__qualname__ == "_task_in"


def test_a_task_that_nothing_here_registers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = App("gone", url="memory://")
    travels = pickle.dumps(gone.register_task(bare, name="nowhere"))
    del gone

    with pytest.raises(
        SerializationError, match=r'task "nowhere" of app "gone" is not registered in this process. Import the module'
    ):
        pickle.loads(travels)


def test_signatures_keep_their_id_their_arguments_and_the_options_of_their_task() -> None:
    signature = add.options(queue="fast").s(1, b=2)

    for found in _copies(signature):
        assert (found.id, found.task, found.args, found.kwargs) == (signature.id, add.name, (1,), {"b": 2})


async def test_a_signature_that_travelled_is_the_same_job() -> None:
    async with app.worker(queues=["fast"]):
        signature = add.options(queue="fast").s(1, b=2)
        results = [each.apply_async() for each in (signature, *_copies(signature))]
        assert {result.id for result in results} == {signature.id}
        assert [await result.wait(30) for result in results] == [3] * len(results)


async def test_a_signature_by_name_finds_an_app_of_that_name() -> None:
    async with app.worker(queues=["usual"]):
        signature: Signature[Any] = pickle.loads(pickle.dumps(app.s(add.name, 1)))
        assert await signature.apply_async().wait(30) == 2


async def test_the_context_of_a_job_may_be_kept_and_returned() -> None:
    async with app.worker():
        result = context.apply_async()
        kept = await result.wait(30)
    assert (kept.id, kept.attempt, kept.job.task, kept.seat) == (result.id, 1, context.name, None)
    assert bool(kept.worker)
    for found in _copies(kept):
        assert found == kept


SHOP = """
import functools, json, os
from aiotask import App, Signature, current_job
app = App(os.environ["TEST_APP"])

@app.task
def echo(x):
    return x

def bare(x):
    return x

registered = app.register_task(bare, name="registered")
doubled = app.register_task(lambda x: 2 * x, name="doubled")
seven = app.register_task(functools.partial(bare, 7), name="seven")

@app.task
async def relay(task, *args):
    handle = task.options(queue="default").apply_async(*args)
    return [type(task).__name__, task.definition.queue, task.definition.retries, await handle]

@app.task
async def run(signature: Signature):
    return await signature.apply_async()

@app.task
async def where():
    return current_job()

if __name__ == "__main__":
    fast = {"queue": "fast", "retries": 4}
    print(json.dumps({
        "options": relay.apply_async(echo.options(**fast), 1).get(timeout=60),
        "registered": relay.apply_async(registered, 1).get(timeout=60),
        "lambda": relay.apply_async(doubled.options(**fast), 1).get(timeout=60),
        "partial": relay.apply_async(seven).get(timeout=60),
        "returned": echo.apply_async(doubled.options(**fast)).get(timeout=60).definition.queue,
        "mine": echo.apply_async([echo]).get(timeout=60)[0] is echo,
        "signature": run.apply_async(doubled.s(4)).get(timeout=60),
        "context": where.apply_async().get(timeout=60).job.task,
    }))
"""


def test_they_travel_between_a_script_and_its_workers(workers: Workers, tmp_path: Path) -> None:
    program = Program(tmp_path, workers, {"shop.py": SHOP})
    program.serve("shop")

    assert program.run("shop.py") == {
        "options": ["SyncTask", "fast", 4, 1],
        "registered": ["SyncTask", "default", 0, 1],
        "lambda": ["SyncTask", "fast", 4, 2],
        "partial": ["SyncTask", "default", 0, 7],
        "returned": "fast",
        "mine": True,
        "signature": 8,
        "context": "shop:where",
    }
