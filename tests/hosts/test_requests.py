"""What a host obeys: sealed requests to itself, within 30 s, and each once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from aiotask.broker import Notice
from aiotask.errors import ConfigError
from aiotask.job import WIRE_VERSION
from aiotask.ops.visitors import Verb
from aiotask.wire.control import FRESH, Control
from aiotask.wire.seal import Sealer

from ..helpers import wait_until_async
from ..workers import Supervisor
from .operator import Operated, kill_keeper


async def recycled(operated: Operated, supervisor: Supervisor, host: str) -> int:
    """How often the supervisor was recycled, once all that was published before this call has been looked at."""
    [answered] = await operated.steer(Verb.RESUME, host)
    assert answered["said"] == "It was not drained."
    return supervisor.log.count("Recycled by")


async def test_a_recorded_request_does_nothing_when_it_is_sent_again(operated: Operated) -> None:
    supervisor, host = await operated.start(1)
    async with operated.recording(host) as recorded:
        await operated.told(Verb.RECYCLE, host)
    assert await recycled(operated, supervisor, host) == 1

    await operated.replay(recorded)
    assert await recycled(operated, supervisor, host) == 1
    # A keeper that has not heard the first one passes it on, and the supervisor knows it.
    kill_keeper(supervisor)
    await wait_until_async(lambda: _answers(operated, host), description="the new keeper listens")
    await operated.replay(recorded)
    assert await recycled(operated, supervisor, host) == 1
    assert await operated.told(Verb.RECYCLE, host)
    assert await recycled(operated, supervisor, host) == 2


async def _answers(operated: Operated, host: str) -> bool:
    [answered] = await operated.steer(Verb.RESUME, host)
    return str(answered["said"]) == "It was not drained."


async def test_a_request_that_is_forged_or_old_or_for_another_host_does_nothing(operated: Operated) -> None:
    supervisor, host = await operated.start(1)
    now = await operated.now()
    forger, other = Control(["another"], operated.stage.app.name), Control(operated.stage.app.secrets, "another-app")

    def asked(control: Control, id: str, meant: str, at: float) -> bytes:
        return control.ask_for("recycle", id, "operator-x", host=meant, by="eve", at=at)

    genuine = asked(operated.control, "6", "elsewhere", now)
    forged: Sequence[bytes] = [
        asked(forger, "1", host, now),
        asked(other, "2", host, now),
        asked(operated.control, "3", host, now - FRESH - 1.0),
        asked(operated.control, "4", host, now + FRESH + 30.0),
        asked(operated.control, "5", host, 0.0),
        genuine,
        genuine.replace(b"elsewhere", host.encode()),
        Sealer(operated.stage.app.secrets, "job").seal(genuine),
    ]
    for each in forged:
        await operated.publish(host, each)
    assert await recycled(operated, supervisor, host) == 0
    assert "A control message was ignored" in supervisor.log
    await operated.publish(host, asked(operated.control, "9", host, await operated.now()))
    assert await recycled(operated, supervisor, host) == 1


class EarlierAsk(msgspec.Struct, frozen=True, array_like=True):
    """The request as a keeper of an earlier release reads it."""

    version: int
    app: str
    id: str
    reply: str


async def test_a_host_of_an_earlier_release_answers_with_stacks_and_people_are_told(operated: Operated) -> None:
    sealer = Sealer(operated.stage.app.secrets, "control")
    name = operated.stage.app.name
    async with operated.broker() as broker, operated.broker() as listener:
        await broker.renew("old-host-1", 1)

        def answer(notices: Sequence[Notice]) -> None:
            for notice in notices:
                ask = msgspec.msgpack.decode(sealer.open(notice.outcome or b""), type=EarlierAsk)
                sealed = sealer.seal(msgspec.msgpack.encode((WIRE_VERSION, name, ask.id, "old-host-1", [], "")))
                answers.add(asyncio.create_task(broker.publish(ask.reply, Notice("old-host-1", sealed))))

        answers, listening = set[asyncio.Task[bool]](), asyncio.Event()
        task = asyncio.create_task(listener.listen("old-host-1", answer, listening.set))
        await listening.wait()
        [drained] = await operated.steer(Verb.DRAIN, "old-host")
        [recycled] = await operated.steer(Verb.RECYCLE, "old-host-1")
        task.cancel()
        await asyncio.gather(task, *answers, return_exceptions=True)
        [silent] = await operated.steer(Verb.DRAIN, "old-host-1")
    assert (drained["did"], drained["host"]) == ("nothing", "old-host-1")
    assert drained["said"].startswith("Its release of aiotask does not know drain, so nothing was done there.")
    assert recycled["said"].endswith("send its supervisor HUP.")
    assert silent["did"] == "nothing" and "did not answer within 5 s" in silent["said"]


async def test_a_host_has_to_be_named_clearly(operated: Operated) -> None:
    async with operated.broker() as broker:
        for host in ("web-1-aaa", "web-1-bbb"):
            await broker.renew(host, 1)
    with pytest.raises(ConfigError, match="beginning of several hosts: web-1-aaa, web-1-bbb"):
        await operated.steer(Verb.DRAIN, "web-1")
    with pytest.raises(ConfigError, match="no live host is called"):
        await operated.steer(Verb.DRAIN, "web-2")
