"""What a worker process reports when one of its workers is at work."""

from __future__ import annotations

from ..app import App
from ..brokers import connect, inspect
from ..errors import BrokerError
from .messages import InService

__all__ = ["in_service"]


async def in_service(app: App) -> InService:
    """The message about the worker of this app, with what its broker says of itself."""
    broker = connect(app.url, app.name)
    try:
        inspector = inspect(broker)
        server = await inspector.facts()
        queues = await inspector.queues()
        return InService(
            app=app.name,
            server=f"{server.kind} {server.version}",
            durability=server.durability.words,
            pending=sum(queue.pending + queue.scheduled + queue.parked for queue in queues),
            warnings=server.warnings,
        )
    except BrokerError:
        return InService(app=app.name)
    finally:
        await broker.close()
