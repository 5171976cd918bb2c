"""What a worker process reports when one of its workers is at work."""

from __future__ import annotations

from ..brokers import inspect
from ..errors import BrokerError
from ..worker.unit import Unit
from .messages import InService

__all__ = ["in_service"]


async def in_service(label: str, unit: Unit) -> InService:
    """The message about the worker of this unit, with what its broker says of itself."""
    broker = unit.connect_keeper()
    try:
        inspector = inspect(broker)
        server = await inspector.facts()
        stats = await inspector.stats()
        return InService(
            app=label,
            server=f"{server.kind} {server.version}",
            durability=server.durability.words,
            pending=stats.pending + stats.scheduled + stats.parked,
            warnings=server.warnings,
        )
    except BrokerError:
        return InService(app=label)
    finally:
        await broker.close()
