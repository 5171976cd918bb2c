"""An app that sends and has no worker."""

from __future__ import annotations

import msgspec

from aiotask import App, Outcome, Status
from aiotask.broker import Finish
from aiotask.brokers import connect
from aiotask.job import WIRE_VERSION
from aiotask.outcome import ErrorInfo, encode_outcome
from aiotask.wire.seal import Sealer


class Shop:
    """An app that sends and has no worker."""

    def __init__(self, url: str, name: str) -> None:
        self.app = App(name, url=url)
        self.render = self.app.register_task(_render, name="shop:render", queue="tiles")


def _render(tile: int, *, text: str = "") -> str:
    return f"{tile}{text}"


async def give_up(shop: Shop, count: int) -> list[str]:
    """Claim jobs as a worker does, and finish them as dead letters."""
    broker = connect(shop.app.url, shop.app.name)
    await broker.enlist("host-1.1", "host-1", msgspec.msgpack.encode({"pid": 1}))
    claim = await broker.claim("host-1.1", ["tiles"], [], count)
    finishes = []
    for delivery in claim.deliveries:
        error = ErrorInfo("aiotask.errors.WorkerLost", "3 processes died", "File shop.py, line 7")
        outcome = Outcome(WIRE_VERSION, delivery.id, "shop:render", Status.FAILED, 3, "host-1.1", 1.0, 2.0, None, error)
        sealed = Sealer(shop.app.secrets, "outcome").seal(encode_outcome(outcome))
        finishes.append(Finish(delivery, sealed, Status.FAILED, 60.0, dead=True))
    await broker.finish("host-1.1", finishes)
    await broker.close()
    return [delivery.id for delivery in claim.deliveries]
