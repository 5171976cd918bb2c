"""Spans of calls and runs, in workers of this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aiotask import (
    App,
    Call,
    Middleware,
    chain,
    current_job,
    group,
)
from aiotask.contrib.otel import Tracing
from aiotask.errors import ConfigError

from .spans import Memory, Row, ended, named, tree_of

# ---- one call


async def test_a_call_has_two_spans_with_the_attributes_of_the_conventions(app: App, memory: Memory) -> None:
    @app.task(name="shop:add", queue="sums")
    def add(a: int, b: int) -> int:
        return a + b

    async with app, app.worker(queues=["sums"]):
        with memory.tracer.start_as_current_span("request"):
            result = add.apply_async(2, 3)
        assert await result.wait(30) == 5
        (process,) = await ended(memory, "process shop:add")

    (send,) = named(memory.rows, "send shop:add")
    (request,) = named(memory.rows, "request")
    assert (send["kind"], process["kind"]) == ("PRODUCER", "CONSUMER")
    assert (send["parent"], process["parent"]) == (request["id"], send["id"])
    assert process["links"] == [[send["id"], {}]]
    assert send["trace"] == process["trace"] == request["trace"]
    assert send["status"] == process["status"] == "UNSET"

    common = {
        "messaging.system": "aiotask",
        "messaging.destination.name": "sums",
        "messaging.message.id": result.id,
        "aiotask.task": "shop:add",
    }
    sent, run = send["attributes"], process["attributes"]
    assert sent.items() >= {**common, "messaging.operation.type": "send", "messaging.operation.name": "send"}.items()
    assert (
        run.items() >= {**common, "messaging.operation.type": "process", "messaging.operation.name": "process"}.items()
    )
    assert run.items() >= {"aiotask.attempt": 1, "aiotask.deaths": 0, "aiotask.outcome": "SUCCESS"}.items()
    assert run["aiotask.wait"] >= 0
    assert run["messaging.client.id"] and sent["messaging.client.id"] and "error.type" not in run
    if app.broker_url.startswith("unix"):
        assert (
            sent["server.address"] == run["server.address"] == app.broker_url.removeprefix("unix://").partition("?")[0]
        )
    else:
        assert "server.address" not in {**sent, **run}


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://user:secret@cache.shop:6380/2", {"server.address": "cache.shop", "server.port": 6380}),
        ("rediss://cache.shop", {"server.address": "cache.shop", "server.port": 6379}),
        ("unix:///run/valkey.sock", {"server.address": "/run/valkey.sock"}),
        ("memory://", {}),
    ],
)
def test_the_server_is_named_without_its_password(memory: Memory, app_name: str, url: str, server: Row) -> None:
    app = App(app_name, url=url, secret="a", middleware=[tracing := Tracing(tracer_provider=memory.provider)])

    with tracing.send(Call("shop:add", "default", (), {})):
        pass

    (send,) = memory.rows
    assert {name: value for name, value in send["attributes"].items() if name.startswith("server.")} == server
    assert app.name == app_name


async def test_without_a_current_span_the_call_begins_the_trace(app: App, memory: Memory) -> None:
    @app.task(name="shop:add")
    async def add() -> None: ...

    async with app, app.worker():
        await add.apply_async().wait(30)
        await ended(memory, "process shop:add")

    assert tree_of(memory.rows) == ["send shop:add", ["process shop:add"]]


async def test_parent_false_links_a_run_to_its_call_and_begins_a_trace(
    memory: Memory, app_name: str, broker_url: str
) -> None:
    app = App(app_name, url=broker_url, middleware=[Tracing(parent=False, tracer_provider=memory.provider)])

    @app.task(name="shop:inner")
    async def inner() -> None: ...

    @app.task(name="shop:outer")
    async def outer() -> None:
        await inner.apply_async()

    async with app, app.worker():
        await outer.apply_async().wait(30)
        (process,) = await ended(memory, "process shop:outer")
        await ended(memory, "process shop:inner")

    (send,) = named(memory.rows, "send shop:outer")
    assert process["parent"] is None
    assert process["trace"] != send["trace"]
    assert process["links"] == [[send["id"], {}]]
    # What the job sends is the job's all the same.
    assert named(memory.rows, "send shop:inner")[0]["parent"] == process["id"]


async def test_the_trace_of_the_place_where_a_worker_was_started_is_not_that_of_its_jobs(
    app: App, memory: Memory
) -> None:
    @app.task(name="shop:add")
    async def add() -> None: ...

    with memory.tracer.start_as_current_span("startup"):
        worker = app.worker()
        await worker.__aenter__()
    try:
        await add.apply_async().wait(30)
        (process,) = await ended(memory, "process shop:add")
    finally:
        await worker.__aexit__(None, None, None)

    assert process["trace"] == named(memory.rows, "send shop:add")[0]["trace"]
    assert process["trace"] != named(memory.rows, "startup")[0]["trace"]


# ---- many calls


async def test_calls_within_jobs_graphs_and_returned_calls_are_one_tree(app: App, memory: Memory) -> None:
    @app.task(name="t:one")
    def one(n: int) -> int:
        return n + 1

    @app.task(name="t:outer")
    async def outer(n: int) -> int:
        return await one.apply_async(n) + await group(one.s(1), one.s(2)).then(total).apply_async()

    @app.task(name="t:total")
    async def total(values: list[int]) -> int:
        return sum(values)

    @app.task(name="t:grows")
    def grows(n: int) -> Any:
        return chain(one.s(n), one)

    async with app, app.worker():
        with memory.tracer.start_as_current_span("request"):
            assert await outer.apply_async(1).wait(30) == 7
            assert await grows.apply_async(1).wait(30) == 3
        await ended(memory, "process t:one", 5)
        await ended(memory, "process t:grows")
        await ended(memory, "process t:total")

    one_of = ["send t:one", ["process t:one"]]
    assert tree_of(memory.rows) == [
        "request",
        ["send t:grows", ["process t:grows", one_of, one_of]],
        ["send t:outer", ["process t:outer", one_of, one_of, one_of, ["send t:total", ["process t:total"]]]],
    ]
    (grown,) = named(memory.rows, "process t:grows")
    assert grown["attributes"]["aiotask.outcome"] == "WAITING"


async def test_a_call_of_map_has_its_spans_and_a_chunk_has_one_run(app: App, memory: Memory) -> None:
    @app.task(name="t:one")
    def one(n: int) -> int:
        return n + 1

    async with app, app.worker():
        with memory.tracer.start_as_current_span("request"):
            assert await one.map([1, 2, 3]).wait(30) == [2, 3, 4]
            assert await one.map([1, 2, 3], chunk=2).wait(30) == [2, 3, 4]
        await ended(memory, "process t:one", 5)

    assert tree_of(memory.rows) == ["request", *[["send t:one", ["process t:one"]]] * 5]


async def test_a_batch_is_one_run_with_a_link_for_each_item(app: App, memory: Memory) -> None:
    @app.task(name="t:double", batch=3, batch_wait=10, retries=1, backoff=lambda failures: 0.0)
    def double(numbers: list[int]) -> list[Any]:
        return [ValueError("no twelve") if n == 12 else 2 * n for n in numbers]

    async with app, app.worker():
        with memory.tracer.start_as_current_span("request"):
            results = [double.options(retries=0).apply_async(n) for n in (3, 4, 12)]
        assert await results[0].wait(30) == 6
        with pytest.raises(ValueError, match="no twelve"):
            await results[2].wait(30)
        (process,) = await ended(memory, "process t:double")

    sends = {row["attributes"]["messaging.message.id"]: row["id"] for row in named(memory.rows, "send t:double")}
    assert process["parent"] is None
    assert process["links"] == [
        [sends[result.id], {"messaging.message.id": result.id, "aiotask.attempt": 1}] for result in results
    ]
    assert process["attributes"]["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in process["attributes"]
    # Two succeeded, so that there is no outcome of all; the error names its item.
    assert "aiotask.outcome" not in process["attributes"]
    assert process["status"] == "ERROR"
    ((name, event),) = process["events"]
    assert (name, event["exception.type"], event["messaging.message.id"]) == ("exception", "ValueError", results[2].id)


async def test_a_batch_that_fails_has_one_outcome(app: App, memory: Memory) -> None:
    @app.task(name="t:double", batch=2, batch_wait=10)
    async def double(numbers: list[int]) -> list[int]:
        raise OSError("no numbers today")

    async with app, app.worker():
        results = [double.apply_async(n) for n in (3, 4)]
        for result in results:
            with pytest.raises(OSError):
                await result.wait(30)
        (process,) = await ended(memory, "process t:double")

    assert process["attributes"]["aiotask.outcome"] == "FAILED"
    assert process["attributes"]["error.type"] == "OSError"
    assert [event["messaging.message.id"] for _, event in process["events"]] == [result.id for result in results]


async def test_a_stream_is_one_run(app: App, memory: Memory) -> None:
    @app.task(name="t:count")
    async def count(n: int) -> Any:
        for i in range(n):
            yield i

    async with app, app.worker():
        assert [item async for item in count.apply_async(3)] == [0, 1, 2]
        (process,) = await ended(memory, "process t:count")

    assert process["attributes"]["aiotask.outcome"] == "SUCCESS"


def test_calls_without_an_event_loop_have_spans(memory: Memory, app_name: str, redis_url: str) -> None:
    app = App(app_name, url=redis_url, middleware=[Tracing(tracer_provider=memory.provider)])

    @app.task(name="t:one")
    def one(n: int) -> int:
        return n + 1

    with memory.tracer.start_as_current_span("request"):
        one.apply_async(1)
        # A plain call is a call of the function.
        assert one(1) == 2

    assert tree_of(memory.rows) == ["request", ["send t:one"]]


# ---- schedules


async def test_each_run_of_a_schedule_begins_a_trace(app: App, memory: Memory) -> None:
    @app.task(name="t:tick", every=0.2)
    def tick() -> str:
        return current_job().headers.get("traceparent", "none")

    async with app, app.worker():
        runs = await ended(memory, "process t:tick", 2)

    assert [run["parent"] for run in runs] == [None] * len(runs)
    assert len({run["trace"] for run in runs}) == len(runs)
    assert not named(memory.rows, "send t:tick")


# ---- together with others


async def test_a_header_that_other_middleware_has_set_is_kept_and_linked(
    memory: Memory, app_name: str, broker_url: str
) -> None:
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    class Theirs(Middleware):
        @contextmanager
        def send(self, call: Call, /) -> Iterator[None]:
            call.headers["traceparent"] = theirs
            yield

    app = App(app_name, url=broker_url, middleware=[Theirs(), Tracing(tracer_provider=memory.provider)])

    @app.task(name="t:one")
    def one() -> dict[str, str]:
        return dict(current_job().headers)

    async with app, app.worker():
        assert await one.apply_async().wait(30) == {"traceparent": theirs}
        (process,) = await ended(memory, "process t:one")

    (send,) = named(memory.rows, "send t:one")
    assert process["parent"] == 0xB7AD6B7169203331
    assert [link for link, _ in send["links"]] == [0xB7AD6B7169203331]


def test_the_middleware_is_one_even_if_the_environment_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, app_name: str
) -> None:
    monkeypatch.setenv("AIOTASK_OTEL", "1")

    assert len(App(app_name, url="memory://").hooks.send) == 1
    assert len(App(app_name, url="memory://", middleware=[Tracing()]).hooks.send) == 1
    monkeypatch.setenv("AIOTASK_OTEL", "0")
    assert not App(app_name, url="memory://").hooks.send
    monkeypatch.setenv("AIOTASK_OTEL", "perhaps")
    with pytest.raises(ConfigError, match='AIOTASK_OTEL="perhaps" is neither on nor off'):
        App(app_name)


async def test_a_missing_provider_is_said_once(
    app_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiotask.contrib.otel._warned", False)
    app = App(app_name, url="memory://", middleware=[Tracing()])

    @app.task(name="t:one")
    def one() -> None: ...

    with caplog.at_level(logging.WARNING):
        async with app, app.worker():
            for _ in range(3):
                await one.apply_async().wait(30)

    assert caplog.text.count("this process has no TracerProvider") == 1
