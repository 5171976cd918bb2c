"""How far a job is, for commands."""

from __future__ import annotations

from contextlib import suppress

from ..brokers import features, streams_of
from ..brokers.technology import STREAMS
from ..errors import SealError
from ..results.progress import Progress, open_progress
from ..wire.seal import Sealer
from .connection import Connection

__all__ = ["progress_of"]


async def progress_of(connection: Connection, id: str) -> Progress | None:
    """What a job that runs has reported last; None: nothing, or it cannot be read."""
    if STREAMS not in features(connection.broker.url):
        return None
    sealed = await streams_of(connection.broker).follow(id, "")
    with suppress(SealError):
        return None if sealed is None else open_progress(Sealer(connection.secrets, "progress"), id, sealed)
    return None
