"""enlist, renew, leases and declare_dead: which workers and hosts are live."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker, Liveness
from aiotask.errors import BrokerError

from ..seam import MakeBroker, Worker, send


async def test_an_incarnation_is_live_once_in_its_life(broker: Broker, worker: Worker) -> None:
    with pytest.raises(BrokerError, match="used only once"):
        await worker.enlist()

    await broker.recover(worker.name)

    with pytest.raises(BrokerError, match="used only once"):
        await worker.enlist()
    assert (await worker.claim()).liveness is Liveness.DEAD


async def test_an_incarnation_is_named_after_its_host(broker: Broker) -> None:
    with pytest.raises(BrokerError, match=r'"elsewhere\.1" cannot be enlisted on "host"'):
        await broker.enlist("elsewhere.1", "host", b"\x80")


async def test_a_host_is_live_from_its_first_beat(broker: Broker, another_broker: MakeBroker) -> None:
    assert await broker.leases() == {}

    assert await broker.renew("host", 1) is Liveness.LIVE
    assert await another_broker().renew("elsewhere", 7) is Liveness.LIVE
    assert await broker.renew("host", 2) is Liveness.LIVE

    assert await another_broker().leases() == {"host": 2, "elsewhere": 7}


async def test_a_host_whose_keeper_never_renewed_is_watched_from_its_first_worker_on(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    await send(broker, "a")
    await worker.claim()
    assert await another_broker().leases() == {worker.host: 0}

    assert await another_broker().declare_dead(worker.host, 0) is True

    assert (await another_broker().recover()).moved == 1
    assert (await worker.claim()).liveness is Liveness.DEAD


async def test_a_host_that_moved_on_is_not_declared_dead(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    await broker.renew(worker.host, 1)
    await broker.renew(worker.host, 2)

    assert await another_broker().declare_dead(worker.host, 1) is False

    assert await broker.renew(worker.host, 3) is Liveness.LIVE
    assert (await worker.claim()).liveness is Liveness.LIVE


async def test_a_host_that_stands_still_is_declared_dead_with_its_incarnations(
    broker: Broker, worker: Worker, other: Worker, another_broker: MakeBroker
) -> None:
    await broker.renew(worker.host, 5)
    await other.broker.renew(other.host, 5)

    assert await another_broker().declare_dead(worker.host, 5) is True

    assert await broker.leases() == {other.host: 5}
    assert (await worker.claim()).liveness is Liveness.DEAD
    assert (await other.claim()).liveness is Liveness.LIVE
    assert await broker.renew(worker.host, 6) is Liveness.DEAD
    assert await other.broker.renew(other.host, 6) is Liveness.LIVE
    assert await broker.leases() == {other.host: 6}


async def test_a_host_is_declared_dead_in_any_case_when_no_counter_is_named(broker: Broker, worker: Worker) -> None:
    await broker.renew(worker.host, 1)

    assert await broker.declare_dead(worker.host) is True

    assert await broker.leases() == {}
    assert (await worker.claim()).liveness is Liveness.DEAD


async def test_a_host_that_is_declared_dead_twice_is_dead_once(broker: Broker, worker: Worker) -> None:
    await broker.renew(worker.host, 1)

    assert await broker.declare_dead(worker.host, 1) is True
    assert await broker.declare_dead(worker.host, 1) is False


async def test_a_dead_host_stays_dead_however_often_it_renews(broker: Broker, worker: Worker) -> None:
    await broker.renew(worker.host, 1)
    await broker.declare_dead(worker.host, 1)

    assert [await broker.renew(worker.host, counter) for counter in (2, 3, 1)] == [Liveness.DEAD] * 3
    assert await broker.leases() == {}


async def test_hosts_with_similar_names_are_different_hosts(broker: Broker) -> None:
    names = ["h.1", "h.1.1", "h1.1", "h.x.1", "[h].1", "h%d.1"]
    workers = [await Worker(broker, name).enlist() for name in names]

    await broker.declare_dead("h")

    liveness = [(await worker.claim()).liveness for worker in workers]
    assert liveness == [Liveness.DEAD] + [Liveness.LIVE] * 5
