"""open, close and url: a broker object, its address, and the apps that share the address."""

from __future__ import annotations

from aiotask.broker import Broker, Liveness
from aiotask.brokers import connect

from ..seam import MakeBroker, Worker, drain, ids, is_unknown, send


async def test_an_open_broker_says_where_it_is(broker: Broker, broker_url: str) -> None:
    await broker.open()

    assert broker.url == broker_url


async def test_a_broker_that_was_never_used_closes(another_broker: MakeBroker) -> None:
    await another_broker().close()


async def test_what_was_accepted_is_there_after_the_sender_closed(another_broker: MakeBroker, worker: Worker) -> None:
    sender = another_broker()
    await send(sender, "a")
    await sender.close()

    assert ids(await worker.claim()) == ["a"]


async def test_apps_at_one_place_do_not_meet(broker: Broker, worker: Worker, broker_url: str, app_name: str) -> None:
    neighbour = connect(broker_url, f"{app_name}-neighbour")
    try:
        await send(neighbour, "theirs")
        await send(broker, "mine")

        assert await drain(worker) == ["mine"]
        assert await is_unknown(broker, "theirs")
        assert (await Worker(neighbour, worker.name).claim()).liveness is Liveness.FORGOTTEN
    finally:
        await neighbour.close()
