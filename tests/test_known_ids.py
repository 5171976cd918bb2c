"""Ids that a sender chose: what is known is the same job, in batches of any kind, and what tells of a replay stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from aiotask.broker import Broker
from aiotask.brokers.redis.codec import decode_meta
from aiotask.job import Meta, Obituary, Status

from .seam import Worker, a_push, ids, sealed_outcome, send, without_trail


@pytest.fixture
async def worker(broker: Broker) -> Worker:
    return await Worker(broker, "host.1").enlist()


def chosen(*names: str) -> list[object]:
    return [a_push(name, custom=True) for name in names]


#: As a job's own jobs are called, as a client's are, and as a user might call them.
SHAPES = ("00child-{:022x}", "00{:015x}-1", "invoice-{}")


@pytest.mark.parametrize("shape", SHAPES)
async def test_of_a_batch_only_what_is_unknown_is_taken(broker: Broker, worker: Worker, shape: str) -> None:
    names = [shape.format(n) for n in range(8)]
    await send(broker, *chosen(*names[:4]))
    first = (await worker.claim(2)).deliveries
    await worker.finish(first[0])
    # One has ended, one runs, two wait; one comes twice.
    await send(broker, *chosen(*names[2:], names[0], names[1], names[7]))

    assert ids(await worker.claim()) == names[2:]
    states = await broker.status(names)
    assert states[0].outcome is not None and [state.status for state in states[1:]] == [Status.RUNNING] * 7


async def test_an_id_whose_job_is_gone_is_free(broker: Broker, worker: Worker) -> None:
    await send(broker, *chosen("00child-a", "00child-b"))
    for delivery in (await worker.claim()).deliveries:
        await worker.finish(delivery, result_ttl=0.0)
    await send(broker, *chosen("00child-a", "00child-b"))
    assert ids(await worker.claim()) == ["00child-a", "00child-b"]


async def test_chosen_ids_and_others_come_in_one_batch(broker: Broker, worker: Worker) -> None:
    await send(broker, *chosen("mine"))
    await send(broker, a_push("one"), *chosen("mine", "other"), a_push("two"), a_push("three", delay=600.0))
    assert sorted(ids(await worker.claim())) == ["mine", "one", "other", "two"]


async def test_what_tells_of_a_replay_outlives_deaths_and_retries(
    broker: Broker, worker: Worker, another_broker: Callable[[], Broker]
) -> None:
    await send(broker, "pill")
    [delivery] = (await worker.claim()).deliveries
    assert delivery.meta.series == 0
    await worker.finish(delivery, outcome=sealed_outcome("pill", Status.FAILED), status=Status.FAILED, dead=True)
    await broker.replay(["pill"])
    [delivery] = (await worker.claim()).deliveries
    series = delivery.meta.series
    assert delivery.meta == Meta(series=series) and series > 1_700_000_000_000

    await worker.requeue(delivery, meta=msgspec.structs.replace(delivery.meta, attempt=2))
    assert ids(await worker.claim()) == ["pill"]
    obituary = Obituary(signal=9, stderr="no more")
    await broker.recover("host.1", blame=["pill"], reason="killed", obituary=obituary)
    second = await dataclasses.replace(worker, broker=another_broker(), name="host.2").enlist()
    [delivery] = (await second.claim(alone=True)).deliveries
    assert without_trail(delivery) == Meta(2, 1, "killed", obituary, series)


class FormerMeta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As the release before reads it."""

    attempt: int = 1
    deaths: int = 0
    reason: str = ""
    obituary: Obituary | None = None


def test_counters_are_read_by_the_release_before_and_the_other_way_round() -> None:
    packed = msgspec.msgpack.encode(Meta(3, 1, "killed", None, 17))
    assert msgspec.msgpack.decode(packed, type=FormerMeta) == FormerMeta(3, 1, "killed")
    assert decode_meta(msgspec.msgpack.encode(FormerMeta(3, 1, "killed"))) == Meta(3, 1, "killed")
