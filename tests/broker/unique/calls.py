"""Short words for calls of one task under a key."""

from __future__ import annotations

import itertools
from typing import Any

from aiotask.broker import Broker, JobState, Overflow, Push, Special
from aiotask.brokers.graphs import Graphs
from aiotask.values.unique import Rule, unique_id

from ...seam import Worker, a_push, finish

__all__ = ["call", "end", "name", "push", "state_of"]

_numbers = itertools.count(1)


def name(tail: str, key: str = "k") -> str:
    return unique_id("shop.tasks:render", key, tail)


def call(tail: str, policy: str = "unfinished", on_conflict: str = "existing", key: str = "k", **options: Any) -> Push:
    rule = Rule(
        policy, on_conflict, options.pop("seconds", 0.0), options.pop("max_wait", 0.0), options.pop("ttl", 3600.0)
    )
    return a_push(name(tail, key), special=Special(unique=rule), **options)


async def push(broker: Broker, *calls: Push, **options: Any) -> Overflow | None:
    return await broker.push(f"unique-{next(_numbers)}", 1, calls, **options)


async def end(broker: Broker, worker: Worker, **options: Any) -> str:
    """Run the one job that waits, and end it; its id."""
    [delivery] = (await worker.claim()).deliveries
    graphs: Graphs = broker  # type: ignore[assignment]
    await graphs.finish_special(worker.name, [finish(delivery, special=True, **options)])
    return delivery.id


async def state_of(broker: Broker, id: str) -> JobState:
    [state] = await broker.status([id])
    return state
