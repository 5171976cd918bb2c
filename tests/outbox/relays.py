"""``python -m tests.outbox.relays DATABASE BROKER APP STEP``: a relay that dies by SIGKILL after a step.

Steps: ``taken`` (a batch has its name), ``pushed`` (the broker has it), ``deleted``; ``never``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial

from aiotask.brokers import connect
from aiotask.brokers.sql.address import open_database
from aiotask.brokers.sql.outbox import Batch, Outbox
from aiotask.keeper.relay import Relay


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


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
