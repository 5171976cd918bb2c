"""The bell of a queue, as workers on Redis hear it."""

from __future__ import annotations

import asyncio
from typing import cast

from aiotask.broker import Broker
from aiotask.brokers.limits import Limits
from aiotask.values.limit import LimitSpec

from ...seam import Worker, ids, send
from ...server import PrivateServer, is_blocked
from ..limits.words import limited


async def test_a_worker_that_blocks_as_it_declares_its_limits_hears_the_bell_from_then_on(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    await worker.wait(0.01)  # makes the lanes
    waiting = asyncio.create_task(worker.wait(3600.0))
    await is_blocked(own_server)

    await cast(Limits, worker.broker).declare_limits(1.0, "shop:app", [LimitSpec("api")])

    assert ids(await waiting) == []
    await worker.wait(0.01)  # makes the lane of the bell
    waiting = asyncio.create_task(worker.wait(3600.0))
    await is_blocked(own_server)
    await send(broker, limited("job"))
    assert ids(await waiting) == ["job"]
