"""A relay in a process of its own, which dies by SIGKILL after a step.

Steps: ``taken`` (a batch has its name), ``pushed`` (the broker has it), ``deleted``; ``never``.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
from functools import partial
from multiprocessing.context import ForkServerContext

from aiotask.brokers import connect
from aiotask.brokers.sql.address import open_database
from aiotask.brokers.sql.outbox import Batch, Outbox
from aiotask.keeper.relay import Relay

from ..helpers import WAIT


class Dying(Outbox):
    """The statements of a relay, of which one is the last."""

    step = "never"

    def take(self) -> Batch | None:
        batch = super().take()
        if batch is not None:
            self._end("taken")
        return batch

    def delete(self, batch: Batch) -> None:
        self._end("pushed")
        super().delete(batch)
        self._end("deleted")

    def _end(self, step: str) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(database: str, url: str, app: str, step: str) -> None:
    outbox = Dying(open_database(database), app)
    outbox.step = step
    relay = Relay(connect(url, app), app, partial(open_database, database))
    while await relay.tick(outbox):
        pass


def run_relay(database: str, url: str, app: str, step: str) -> int | None:
    """The exit code of a relay that sends what waits, negative for a signal."""
    process = _forks().Process(target=_run, args=(database, url, app, step))
    process.start()
    process.join(WAIT)
    code = process.exitcode
    process.kill()
    process.join()
    return code


def _run(*arguments: str) -> None:
    asyncio.run(main(*arguments))


@functools.cache
def _forks() -> ForkServerContext:
    """Forks of one process that has loaded this module, and has run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
