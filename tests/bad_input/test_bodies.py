"""Bodies that cannot be read, seals of another secret, and values that JSON does not carry."""

from __future__ import annotations

import asyncio
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from aiotask import App, RemoteError, ResultExpired, SealError, SerializationError, UnknownTask

from ..acceptance.stage import Stage
from .jobs import add, output_of, push_by_hand

# ---- bodies and seals

OTHER_MINOR = bytes((3, sys.version_info.minor + 1))
BODIES: dict[str, tuple[bytes, str]] = {
    "a class that is gone": (b"P\x80\x04\x8c\x05posix\x8c\x07Missing\x93)R.", "AttributeError: Can't get attribute"),
    "a module that is gone": (
        b"P\x80\x04\x8c\x07nowhere\x8c\x01X\x93)R.",
        "No module named 'nowhere'. Check that this worker",
    ),
    "garbage": (b"Pgarbage", "cannot be read here: UnpicklingError"),
    "nothing": (b"", "The body is of format b'', but this app reads pickle"),
    "JSON": (b"J[[1],{}]", "The body is of format b'J', but this app reads pickle. Give App(serializer=…) the same"),
    "no call": (b"P" + pickle.dumps(3), "cannot be read here: TypeError"),
    "half a call": (b"P" + pickle.dumps((1, 2)), "holds no arguments"),
    "cut off": (b"C", "cannot be read here: IndexError"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_that_cannot_be_read_fails_its_job_and_no_other(case: str, hostile: Stage) -> None:
    body, message = BODIES[case]
    async with hostile.app:
        with pytest.raises(SerializationError, match=re.escape(message)):
            await (await push_by_hand(hostile.app, body, task=hostile.size.name)).wait(30)
        assert await hostile.size.apply_async(b"12").wait(30) == 2


@pytest.mark.trap("other Python")
async def test_a_body_by_value_of_another_python_is_parked_and_both_versions_are_named(hostile: Stage) -> None:
    async with hostile.app:
        body = b"C" + OTHER_MINOR + pickle.dumps(((b"12",), {}))
        result = await push_by_hand(hostile.app, body, task=hostile.size.name)
        here, there = f"{sys.version_info[0]}.{sys.version_info[1]}", f"3.{OTHER_MINOR[1]}"
        with pytest.raises(SerializationError, match=rf"Python {there} wrote, and no worker.+this process: {here}"):
            await result.wait(30)
        assert await result.status() == "PARKED"
        await result.cancel()


async def test_a_job_of_a_later_release_is_parked_and_said(hostile: Stage) -> None:
    async with hostile.app, hostile.app.inspector() as inspector:
        before = await inspector.rejected()
        body = b"P" + pickle.dumps(((b"12",), {}))
        result = await push_by_hand(hostile.app, body, task=hostile.size.name, version=99)
        with pytest.raises(UnknownTask, match=r"needs a newer release of aiotask.+envelope version 99"):
            await result.wait(30)
        assert await result.status() == "PARKED"
        info = await inspector.job(result.id)
        assert info is not None and info.need == "release:99"
        assert await inspector.rejected() == before
        await result.cancel()


async def test_a_task_that_no_worker_knows_is_parked_and_said(hostile: Stage) -> None:
    async with hostile.app:
        result = hostile.app.s("shop.tasks:nowhere", 1).apply_async()
        with pytest.raises(UnknownTask, match=r'No running worker knows the task "shop.tasks:nowhere"'):
            await result.wait(30)
        assert await result.status() == "PARKED"
        await result.cancel()


async def test_who_sends_with_another_secret_is_told_and_counted(hostile: Stage, redis_url: str) -> None:
    stranger = App(hostile.app.name, url=redis_url, secret="another secret")
    async with hostile.app, hostile.app.inspector() as inspector, stranger:
        before = await inspector.rejected()
        result = stranger.s(hostile.size.name, b"12").apply_async()
        with pytest.raises(
            SealError, match=r"set it aside\. This job was sealed with another secret\. Give both sides"
        ):
            await result.wait(30)
        with pytest.raises(SealError):
            await result.status()
        body = b"P" + pickle.dumps(((b"12",), {}))
        with pytest.raises(SealError, match="envelope version 0"):
            await (await push_by_hand(hostile.app, body, task=hostile.size.name, version=0)).wait(30)
        # The id of what was never sealed cannot be read.
        with pytest.raises(ResultExpired):
            await (await push_by_hand(hostile.app, body, task=hostile.size.name, seal=bytes)).wait(30)
        assert await inspector.rejected() == before + 3
        assert await hostile.size.apply_async(b"12").wait(30) == 2

    queues, doctor = [
        await asyncio.to_thread(output_of, command, "--name", hostile.app.name, "--url", redis_url)
        for command in ("queues", "doctor")
    ]
    assert "messages without a valid seal of this app were set aside" in queues
    assert "set aside" in doctor and "Give every sender and worker the same AIOTASK_SECRET" in doctor


async def test_an_outcome_sealed_with_another_secret_ends_the_wait(redis_url: str, app_name: str) -> None:
    """A worker that has the new secret already, and a client that has only the old one."""
    worker = App(app_name, url=redis_url, secret="new,old")
    worker.register_task(add, name="add")
    client = App(app_name, url=redis_url, secret="old")
    async with client, worker, worker.worker():
        with pytest.raises(SealError, match="This outcome was sealed with another secret"):
            await client.s("add", 1).apply_async().wait(30)


# ---- JSON

JSON_CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "wrong type": (lambda h: h.add.apply_async("x"), 'argument "a" of add() (str) does not fit its annotation: `int`'),
    "no plain data": (
        lambda h: h.anything.apply_async(object()),
        'argument "value" of anything() (object) cannot be serialized',
    ),
    "half a pair": (
        lambda h: h.anything.apply_async("\ud800"),
        'argument "value" of anything() (str) cannot be serialized with json',
    ),
}


@pytest.mark.parametrize("case", JSON_CALLS)
async def test_an_argument_that_json_cannot_carry_is_refused_where_it_is_sent(case: str, hostile: Stage) -> None:
    call, message = JSON_CALLS[case]
    with pytest.raises(SerializationError, match=re.escape(message)):
        call(hostile)


async def test_what_json_does_not_carry_to_the_worker_or_back_is_said(hostile: Stage) -> None:
    by_name = App(hostile.json_app.name, url=hostile.url, serializer="json")
    pickles = App(hostile.json_app.name, url=hostile.url)
    async with hostile.json_app, by_name, pickles:
        for call, message in (
            (by_name.s(hostile.add.name, "x"), "does not fit its annotation: Input should be a valid integer"),
            (hostile.wrong_return.s(1), r"wrong_return\(\) \(str\) does not fit its annotation: `int` expected"),
            (pickles.s(hostile.add.name, 1), "of format b'P', but this app reads only JSON. Give App"),
        ):
            with pytest.raises(SerializationError, match=message):
                await call.apply_async().wait(30)
        with pytest.raises(RemoteError, match="NoReduce: a reason"):
            await hostile.raise_own.apply_async().wait(30)
        assert await hostile.add.apply_async(1, 2).wait(30) == 3
