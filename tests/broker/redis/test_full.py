"""A server whose memory is full takes no new jobs and finishes the others."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker, Cancelled, JobState, Liveness, Settled
from aiotask.errors import QueueFull
from aiotask.job import Status

from ...helpers import wait_until_async
from ...seam import Worker, a_push, drain, ids, is_pending, sealed_outcome, send, take
from ...server import PrivateServer


@pytest.mark.trap("full memory")
async def test_only_sending_meets_a_full_server(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await broker.renew("host", 1)
    await broker.read_history("recorder", 10, 0.01)
    await send(broker, *(f"job-{n}" for n in range(6)))
    finished, released, retried, parked, recovered, rejected = (await worker.claim()).deliveries
    await send(broker, a_push("due", delay=0.01), a_push("cancelled", delay=3600.0), "unclaimed")
    own_server.call("CONFIG", "SET", "maxmemory", 1)

    with pytest.raises(QueueFull, match="out of memory"):
        await broker.push("client", 1, [a_push("refused")])

    assert await worker.finish(finished) is Settled.DONE
    assert await worker.requeue(released) is Settled.DONE
    assert await worker.requeue(retried, delay=3600.0) is Settled.DONE
    assert await worker.requeue(parked, need="task:x") is Settled.DONE
    await broker.reject(worker.name, [(rejected, "forged")])
    assert await broker.status([finished.id, retried.id, parked.id], "watcher") == [
        JobState(outcome=sealed_outcome(finished.id)),
        JobState(Status.RETRYING),
        JobState(Status.PARKED, need="task:x"),
    ]
    assert await broker.cancel(recovered.id, b"gone", 60.0) is Cancelled.ASKED
    assert await broker.cancel("cancelled", b"gone", 60.0) is Cancelled.DONE
    assert await broker.renew("host", 2) is Liveness.LIVE
    await wait_until_async(lambda: is_pending(broker, "due"), description="the due job is promoted")
    assert (await broker.recover(worker.name)).moved == 1
    assert await broker.status([recovered.id]) == [JobState(outcome=b"gone")]
    assert await drain(other) == [released.id, "unclaimed", "due"]
    rows = await broker.read_history("recorder", 10, 10.0)
    await broker.trim_history([row.entry for row in rows])
    assert len(rows) == 3

    own_server.call("CONFIG", "SET", "maxmemory", 0)
    await broker.push("client", 1, [a_push("refused")])
    assert await drain(other) == ["refused"]


@pytest.mark.trap("full memory")
async def test_a_new_worker_drains_a_full_server(own_server: PrivateServer, broker: Broker) -> None:
    await send(broker, "a", "b", a_push("c", "mail", 9))
    own_server.call("CONFIG", "SET", "maxmemory", 1)

    worker = await Worker(broker, "host.1", ["default", "mail", "empty"], ["task:x"]).enlist()
    assert await broker.renew("host", 1) is Liveness.LIVE

    assert (await worker.wait(0.01)).deliveries == [], "it has only made the lanes"
    claimed = [*(await worker.wait(30.0)).deliveries, *(await worker.claim()).deliveries]
    assert sorted(ids(claimed)) == ["a", "b", "c"]
    assert [await worker.finish(delivery) for delivery in claimed] == [Settled.DONE] * 3
    assert await broker.read_history("recorder", 10, 0.01) == []


@pytest.mark.trap("full memory")
async def test_a_suspect_is_run_alone_on_a_full_server(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await take(worker, "pill")
    await send(broker, "fine")
    own_server.call("CONFIG", "SET", "maxmemory", 1)

    assert (await broker.recover(worker.name, blame=["pill"], reason="killed by SIGSEGV")).moved == 1

    assert (await other.claim()).suspects
    assert ids(await other.claim(alone=True)) == ["pill"]
    assert ids(await other.claim()) == ["fine"]
