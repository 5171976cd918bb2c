"""The end of a job frees its key, whichever end it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiotask.broker import Begin, Broker, Finish, Overflow, Replayed, Room
from aiotask.brokers.graphs import Conclusion
from aiotask.job import Status

from ...helpers import wait_until_async
from ...seam import GONE, Worker, a_push, drain, finish, is_pending, sealed_outcome
from .calls import call, end, name, push, state_of

How = Callable[[Broker, Worker], Awaitable[object]]


async def succeed(broker: Broker, worker: Worker) -> None:
    await end(broker, worker)


async def fail(broker: Broker, worker: Worker) -> None:
    await end(broker, worker, status=Status.FAILED, dead=True)


async def succeed_without_outcome(broker: Broker, worker: Worker) -> None:
    await end(broker, worker, result_ttl=0.0)


async def cancel(broker: Broker, worker: Worker) -> None:
    await broker.cancel(name("a"), GONE, 3600.0)


async def conclude(broker: Broker, worker: Worker) -> None:
    expired = Conclusion(name("a"), sealed_outcome(name("a"), Status.EXPIRED), Status.EXPIRED, 3600.0)
    assert await broker.conclude([expired]) == [True]  # type: ignore[attr-defined]


async def cancel_while_it_runs(broker: Broker, worker: Worker) -> None:
    [delivery] = (await worker.claim()).deliveries
    await broker.cancel(name("a"), GONE, 3600.0)
    await worker.requeue(delivery, delay=60.0)


async def lose(broker: Broker, worker: Worker) -> None:
    [delivery] = (await worker.claim()).deliveries
    await worker.broker.begin(worker.name, [Begin(delivery, GONE, 3600.0)])
    await broker.recover(worker.name, reason="died")


async def set_aside(broker: Broker, worker: Worker) -> None:
    [delivery] = (await worker.claim()).deliveries
    await worker.broker.reject(worker.name, [(delivery, "forged")])


async def make_room(broker: Broker, worker: Worker) -> None:
    room = Room({"": 1}, oldest=True)
    said = await push(broker, a_push("plain"), room=room)
    assert said is not None
    drops = [Finish(each, GONE, Status.CANCELLED, 3600.0) for each in said.oldest]
    assert await push(broker, a_push("plain"), room=room, drop=drops) is None
    await drain(worker)


@pytest.mark.parametrize(
    "how",
    [
        succeed,
        fail,
        succeed_without_outcome,
        cancel,
        conclude,
        cancel_while_it_runs,
        lose,
        set_aside,
        make_room,
    ],
)
async def test_the_key_is_free_after(how: How, broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    assert await push(broker, call("b")) == Overflow([], [], {name("b"): name("a")})

    await how(broker, worker)

    assert await push(broker, call("c")) is None
    assert await push(broker, call("d")) == Overflow([], [], {name("d"): name("c")})


async def test_a_job_that_is_recovered_keeps_its_key(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    await worker.claim()
    await broker.recover(worker.name, blame=[name("a")], reason="killed by SIGSEGV")

    assert await push(broker, call("b")) == Overflow([], [], {name("b"): name("a")})
    assert await push(broker, call("c", "pending")) == Overflow([], [], {name("c"): name("a")})


@pytest.mark.parametrize("how", [{"delay": 3600.0}, {}, {"need": "task:other"}, {"behind": 5}])
async def test_a_job_that_goes_back_keeps_its_key(how: dict[str, Any], broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    [delivery] = (await worker.claim()).deliveries
    await worker.requeue(delivery, **how)

    assert await push(broker, call("b")) == Overflow([], [], {name("b"): name("a")})
    assert await push(broker, call("c", "pending")) == Overflow([], [], {name("c"): name("a")})
    # It can be replaced there.
    assert await push(broker, call("d", on_conflict="replace")) is None
    assert (await state_of(broker, name("a"))).same == name("d")


async def test_a_retry_stands_in_no_way_of_a_newer_job_nor_that_in_its_way(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a", "pending"))
    [delivery] = (await worker.claim()).deliveries
    await push(broker, call("b", "pending"))
    await worker.requeue(delivery, delay=0.001)
    await wait_until_async(lambda: is_pending(broker, name("a")), description="its time has come")

    assert sorted(await drain(worker)) == [name("a"), name("b")]


async def test_the_late_end_of_a_job_frees_the_key_of_no_other(broker: Broker, worker: Worker, other: Worker) -> None:
    await push(broker, call("a"))
    [late] = (await worker.claim()).deliveries
    await broker.recover(worker.name, reason="seemed dead")
    await end(broker, other)
    await push(broker, call("b"))

    await broker.finish_special(worker.name, [finish(late, special=True)])  # type: ignore[attr-defined]

    assert await push(broker, call("c")) == Overflow([], [], {name("c"): name("b")})


async def test_a_dead_letter_takes_its_key_again(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    await fail(broker, worker)
    await push(broker, call("b"))
    assert await broker.replay([name("a")]) == [Replayed.OUTDATED]

    await end(broker, worker)
    assert await broker.replay([name("a")]) == [Replayed.DONE]
    assert await push(broker, call("c")) == Overflow([], [], {name("c"): name("a")})


async def test_nothing_but_the_outcome_is_left(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    await end(broker, worker)
    assert (await state_of(broker, name("a"))).outcome is not None
    assert await broker.forget([name("a")]) == [True]
    state = await state_of(broker, name("a"))
    assert state.outcome is None and not state.same
