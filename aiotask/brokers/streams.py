"""The verbs of streams, progress and checkpoints, of brokers that have the feature ``streams``.

The items of a job are numbered from 1. A broker takes each number once, so that a run which begins anew may emit its
items again. One reader paces the run: what it has read counts as taken, and the run waits while too much is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from ..broker import BATCH_BYTES, Broker, Delivery

__all__ = [
    "BATCH_REPORTS",
    "FLUSH_BYTES",
    "FLUSH_ITEMS",
    "KEPT_ITEMS",
    "READER_TTL",
    "WINDOW_BYTES",
    "WINDOW_ITEMS",
    "Emit",
    "Emitted",
    "Reader",
    "Report",
    "Streams",
]

#: Items and bytes that may be unread before the run waits; and those of one call of ``emit``.
WINDOW_ITEMS, WINDOW_BYTES = 256, 1024 * 1024
FLUSH_ITEMS, FLUSH_BYTES = WINDOW_ITEMS // 4, BATCH_BYTES
#: Items that are kept of those that were read.
KEPT_ITEMS = 1000
#: Reports in one call at most.
BATCH_REPORTS = 250
#: Seconds for which the broker remembers the reader of a job that has emitted nothing.
READER_TTL = 60.0


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Items of a run on their way to the broker."""

    delivery: Delivery
    #: Number of the first item.
    first: int
    #: Sealed. None at all: the run asks how far its reader is.
    items: Sequence[bytes]
    #: Seconds for which the items are kept after the last call.
    ttl: float
    #: Whether the run waits: a notice tells its incarnation that the reader has read on.
    waits: bool = False


class Reader(IntEnum):
    """Who reads the items of a job."""

    #: No reader ever came.
    NEVER = 0
    #: The reader has left, or does not listen.
    GONE = 1
    HERE = 2


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """The broker's answer to a run."""

    #: Number of the last item that the broker has, and of the last one that the reader has taken.
    last: int
    taken: int
    reader: Reader
    #: Whether the delivery is this worker's; if it is not, nothing was done.
    yours: bool = True


class Report(msgspec.Struct, frozen=True, gc=False):
    """The progress of a run, its checkpoint, or both."""

    delivery: Delivery
    #: Sealed; empty: it stays as it is.
    progress: bytes = b""
    checkpoint: bytes = b""


class Streams(Broker, Protocol):
    """A broker that keeps what jobs emit while they run.

    The end of a job removes its progress and its checkpoint; its items stay for as long as ``Emit.ttl`` says."""

    async def emit(self, incarnation: str, item: Emit) -> Emitted:
        """Keep the items that the broker does not have yet, and tell them to the reader."""
        ...

    async def read_items(self, id: str, after: int, address: str, limit: int) -> list[tuple[int, bytes]]:
        """Number and item of those that follow ``after``, at most ``limit`` of them, and no more than BATCH_BYTES.

        Items up to ``after`` are taken, and all of them but the last KEPT_ITEMS go. The caller becomes the reader, to
        whose address further items are told; without an address it only looks."""
        ...

    async def leave_stream(self, id: str, address: str) -> None:
        """The reader at this address reads no further, unless another one has come since."""
        ...

    async def report(self, batch: Sequence[Report]) -> list[bool]:
        """Keep progress and checkpoints of jobs, and tell progress to those that follow them. False: the job is not
        this worker's.

        A recovery sets ``Meta.saved`` of a job that has a checkpoint; a requeue has it in the Meta that it brings."""
        ...

    async def checkpoints(self, ids: Sequence[str]) -> list[bytes | None]:
        """The checkpoint of each of these jobs; None: it has none."""
        ...

    async def follow(self, id: str, address: str) -> bytes | None:
        """The progress of a job; None: it has none. The address is told of it from now on; an empty one is not."""
        ...

    async def unfollow(self, id: str, address: str) -> None:
        """Tell this address no more of the progress of a job."""
        ...
