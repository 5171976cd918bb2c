"""When the code was started that worker processes load, by the clock of each broker."""

from __future__ import annotations

import mmap
import struct
import time
from hashlib import blake2b

__all__ = ["Release"]

_SLOT = struct.Struct("=8sd")
_SLOTS = 64


class Release:
    """One per start of the supervisor, and per HUP. All processes that are forked meanwhile share its page.

    The first of them that reads the clock of a broker computes the generation for all others, so that a step of that
    clock makes no process, which may have old code, younger than it is.
    """

    def __init__(self) -> None:
        #: When this was, by the monotonic clock.
        self.began = time.monotonic()
        self._page = mmap.mmap(-1, _SLOT.size * _SLOTS)

    def generation(self, broker: str, now: float) -> float:
        """Unix seconds of the clock of this broker, which shows ``now``."""
        digest = blake2b(broker.encode(), digest_size=8).digest()
        for at in range(0, len(self._page), _SLOT.size):
            known, generation = _SLOT.unpack_from(self._page, at)
            if known == digest:
                return float(generation)
            if known == bytes(8):
                generation = now - (time.monotonic() - self.began)
                _SLOT.pack_into(self._page, at, digest, generation)
                return float(generation)
        return now - (time.monotonic() - self.began)
