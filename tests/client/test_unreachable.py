"""No server, and outcomes that are forged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aiotask
from aiotask import App, BrokerError, Status
from aiotask.broker import Notice
from aiotask.brokers.redis.codec import frame

from ..helpers import wait_until_async
from ..server import PrivateServer
from .sums import make_app


async def test_no_server_fails_a_send_and_its_await_within_seconds_and_hides_the_password(app_name: str) -> None:
    app = make_app("redis://user:secret@127.0.0.1:1/0", app_name)
    app_result = app.tasks["add"].apply_async(1)

    async with asyncio.timeout(20):
        with pytest.raises(BrokerError) as raised:
            await app_result
        with pytest.raises(BrokerError):
            await app_result.sent()

    assert "127.0.0.1:1" in str(raised.value)
    assert "secret" not in str(raised.value)
    await app.client.close()


async def test_a_forged_outcome_reaches_nobody_as_a_value(app: App, own_server: PrivateServer, app_name: str) -> None:
    app = make_app(own_server.url, app_name)
    result = app.tasks["add"].apply_async(1)
    await result.sent()
    key = f"aiotask1:{{{app_name}}}:"
    own_server.call("SET", f"{key}r:{result.id}", b"cos\nsystem\n(S'touch pwned'\ntR.")
    assert await result.status() is Status.PENDING, "what waits has no outcome yet"
    own_server.call("DEL", f"{key}q:default:5", f"{key}index")

    with pytest.raises(aiotask.SealError):
        await result
    await app.client.close()


async def test_forged_messages_end_no_await_and_are_said_once_a_second(
    own_server: PrivateServer, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app: Any = make_app(own_server.url, app_name)
    result = app.tasks["add"].apply_async(1)
    waiting = asyncio.create_task(result.wait())
    channels = f"aiotask1:{{{app_name}}}:to:*"
    await wait_until_async(lambda: own_server.call("PUBSUB", "CHANNELS", channels), description="it listens")
    (channel,) = own_server.call("PUBSUB", "CHANNELS", channels)
    for forged in (b"cos\nsystem\n(S'touch pwned'\ntR.", app.client.outcomes_sealer.seal(b"\x91" * 20_000)):
        for _ in range(100):
            own_server.call("PUBLISH", channel, frame(Notice(result.id, forged)))
    await wait_until_async(lambda: "An outcome was set aside" in caplog.text, description="that is said")

    async with app.worker():
        assert await waiting == 3

    assert caplog.text.count("An outcome was set aside") < 50
    await app.client.close()
