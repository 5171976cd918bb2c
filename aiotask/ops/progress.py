"""How far a job is, and what it has saved, for commands."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..brokers import features, streams_of
from ..brokers.technology import STREAMS
from ..errors import SealError
from ..results.progress import Progress, open_progress
from ..wire import checkpoints
from ..wire.seal import Sealer
from .connection import Connection

__all__ = ["checkpoint_of", "progress_of"]


async def progress_of(connection: Connection, id: str) -> Progress | None:
    """What a job that runs has reported last; None: nothing, or it cannot be read."""
    if STREAMS not in features(connection.broker.url):
        return None
    sealed = await streams_of(connection.broker).follow(id, "")
    with suppress(SealError):
        return None if sealed is None else open_progress(Sealer(connection.secrets, "progress"), id, sealed)
    return None


async def checkpoint_of(connection: Connection, id: str) -> dict[str, Any] | None:
    """When a job has saved its checkpoint (Unix seconds; None: it does not say so), and the bytes of its state. None:
    it has none, or it cannot be read."""
    if STREAMS not in features(connection.broker.url):
        return None
    [sealed] = await streams_of(connection.broker).checkpoints([id])
    with suppress(SealError):
        if sealed is not None:
            found = checkpoints.checkpoint_of(Sealer(connection.secrets, "checkpoint"), id, sealed)
            return {"at": found.at or None, "bytes": len(found.body)}
    return None
