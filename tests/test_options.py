"""Options of tasks and calls: a contradiction or a foreign word is an error at once; outcomes can be forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiotask import App, Status
from aiotask.broker import Broker
from aiotask.errors import ConfigError, ResultExpired
from aiotask.job import keyed_id

from .seam import Worker, a_push, finish, send

app = App("options", url="memory://")


@app.task(name="options:one")
def one(number: int) -> int:
    return number


@app.task(name="options:pair")
def pair(numbers: tuple[int, ...]) -> int:
    return len(numbers)


@app.task(name="options:bare")
def bare(anything):  # type: ignore[no-untyped-def]
    return anything


# ---- values that contradict themselves


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": 1, "retry_on": ()}, "no exception would be retried"),
        ({"timeout": 0}, "None for no limit"),
        ({"eta": 5}, "delay=5"),
        ({"eta": 3600.5}, "delay=3600.5"),
    ],
)
def test_a_contradiction_is_an_error_at_the_task(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        app.task(**options)(lambda: None)


def test_a_contradiction_is_an_error_at_the_call() -> None:
    with pytest.raises(ConfigError, match="None for no limit"):
        one.options(timeout=0)
    with pytest.raises(ConfigError, match="delay=5"):
        one.options(eta=5)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("countdown", "delay="),
        ("bind", "current_job"),
        ("max_retries", "retries="),
        ("autoretry_for", "retry_on="),
        ("time_limit", "timeout="),
        ("soft_time_limit", "timeout="),
        ("rate_limit", "rate="),
        ("max_age", "expires=…, in seconds"),
        ("age_limit", "expires="),
        ("ttl", "expires="),
        ("task_id", "id="),
        ("link", ".on_success("),
        ("on_success", ".on_success("),
        ("link_error", ".on_error("),
        ("on_failure", ".on_error("),
        ("headers", "middleware"),
        ("serializer", "belongs to the app"),
        ("retires", 'Did you mean "retries"'),
    ],
)
def test_an_option_of_another_task_queue_is_answered_with_its_name_here(option: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f'Unknown option "{option}"') as at_the_task:
        app.task(**{option: 1})(lambda: None)
    with pytest.raises(ConfigError, match=f'Unknown option "{option}"') as at_the_call:
        one.options(**{option: 1})

    assert said in str(at_the_task.value) and said in str(at_the_call.value)


@pytest.mark.parametrize("option", ["retry_on", "backoff", "memory", "cpu", "acks", "name", "aliases"])
def test_an_option_of_the_task_is_named_as_such_at_a_call(option: str) -> None:
    with pytest.raises(ConfigError, match=f'"{option}" is an option of a task, not of a single call') as refused:
        one.options(**{option: None})

    assert "register_task" in str(refused.value)


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("send_task", "app.s("),
        ("conf", "settings.md"),
        ("autodiscover_tasks", "include="),
        ("add_periodic_task", "every="),
        ("on_startup", "lifespan="),
        ("control", "app.pause("),
    ],
)
def test_an_app_says_what_takes_the_place_of_what_it_lacks(attribute: str, said: str) -> None:
    with pytest.raises(AttributeError, match=f'no attribute "{attribute}"') as missing:
        getattr(app, attribute)

    assert said in str(missing.value)
    assert not hasattr(app, attribute)


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("si", "task.s("),
        ("retry", "raise Retry("),
        ("request", "current_job()"),
        ("update_state", ".progress("),
        ("chunks", "task.map("),
        ("starmap", "group("),
    ],
)
def test_a_task_says_what_takes_the_place_of_what_it_lacks(attribute: str, said: str) -> None:
    with pytest.raises(AttributeError, match=f'no attribute "{attribute}"') as missing:
        getattr(one, attribute)

    assert said in str(missing.value)
    assert not hasattr(one, attribute)


@pytest.mark.parametrize(
    ("attribute", "said"),
    [("ready", "result.status()"), ("state", "result.status()"), ("traceback", "as a note"), ("task_id", "result.id")],
)
def test_a_result_says_what_takes_the_place_of_what_it_lacks(attribute: str, said: str) -> None:
    result = app.result("never-sent")

    with pytest.raises(AttributeError, match=f'no attribute "{attribute}"') as missing:
        getattr(result, attribute)

    assert said in str(missing.value)
    assert not hasattr(result, attribute)


def test_a_tuple_around_the_arguments_is_refused_where_no_tuple_fits() -> None:
    with pytest.raises(TypeError, match=r"without the tuple") as refused:
        one.apply_async((1,))  # type: ignore[arg-type]

    assert 'argument "number" is a tuple, not int' in str(refused.value)


# ---- options of one call


async def test_a_call_may_ignore_its_result_or_keep_it_for_another_time() -> None:
    async with app, app.worker():
        ignored = one.options(ignore_result=True).apply_async(1)
        await ignored.sent()
        with pytest.raises(ResultExpired, match="has ignore_result=True"):
            await ignored
        kept, short = one.apply_async(2), one.options(result_ttl=0.01).apply_async(3)
        assert await asyncio.gather(kept, short) == [2, 3]
        assert await pair.apply_async((1, 2)) == 2
        assert await bare.apply_async((1, 2)) == (1, 2)

        async def is_gone(id: str) -> bool:
            try:
                return await app.result(id).status() is not Status.SUCCESS
            except ResultExpired:
                return True

        from .helpers import wait_until_async

        await wait_until_async(lambda: is_gone(short.id), description="the outcome with the short TTL is gone")
        assert await app.result(kept.id).status() is Status.SUCCESS


# ---- keys


def test_the_id_of_a_keyed_job_shows_the_key() -> None:
    assert keyed_id("shop:pay", "order-7.b_c").endswith("-order-7.b_c")
    assert keyed_id("shop:pay", "a b/ü").endswith("-a_b__")
    long = keyed_id("shop:pay", "x" * 150 + "tail")
    assert long.endswith("xtail") and len(long) < 100
    ids = {keyed_id(task, key) for task in ("a", "b") for key in ("k", "k ", "k_", "x" * 200, "x" * 199 + "_")}
    assert len(ids) == 10
    # No id of this kind falls into a bucket of the index with those that clients count.
    assert all(id.startswith("00key-") and id[17] != "-" for id in ids)


# ---- forgetting


async def test_a_forgotten_outcome_makes_its_id_a_new_job(broker: Broker) -> None:
    worker = await Worker(broker, "host.1").enlist()
    await send(broker, a_push("known", custom=True))
    assert await broker.forget(["known", "unknown"]) == [False, False], "an unfinished job was forgotten"
    [delivery] = (await worker.claim()).deliveries
    assert await broker.forget(["known"]) == [False], "a running job was forgotten"
    await worker.finish(delivery)
    await send(broker, a_push("known", custom=True))
    assert (await worker.claim()).deliveries == [], "a known id ran again"

    assert await broker.forget(["known"]) == [True]

    assert await broker.forget(["known"]) == [False]
    await send(broker, a_push("known", custom=True))
    [again] = (await worker.claim()).deliveries
    await broker.finish(worker.name, [finish(again)])


async def test_a_failed_keyed_job_runs_again_once_it_is_forgotten(app_name: str, broker_url: str) -> None:
    app = App(app_name, url=broker_url)
    runs: list[str] = []

    @app.task(name="test:load")
    async def load(path: str) -> str:
        runs.append(path)
        if len(runs) == 1:
            raise OSError("the disk is asleep")
        return path

    async with app, app.worker():
        keyed = load.options(key="a.txt")
        for _ in range(2):
            with pytest.raises(OSError, match="asleep"):
                await keyed.apply_async("a.txt")
        assert await keyed.apply_async("a.txt").forget()
        assert await keyed.apply_async("a.txt") == "a.txt"

    assert len(runs) == 2
