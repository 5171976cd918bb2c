"""Which worker makes itself idle for the suspects of a table."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from typing import Any

__all__ = ["Turns"]

#: Seconds for which the same worker is asked first; then it is another one's turn.
TURN = 30.0
#: Seconds that a suspect waits for each worker that was asked before another one is asked too: the first may have died
#: just now with its host, which is found out some seconds later.
STEP = 0.5
#: Workers that are asked at most: each takes no other jobs until it is idle.
MOST = 3


class Turns:
    """Says whether one worker is asked to run the suspects that wait in one table."""

    def __init__(self) -> None:
        #: The suspect that waits longest, and since when this worker has seen it wait.
        self._waiting: Any = None
        self._since = 0.0

    def asks(self, me: str, able: Collection[str], suspect: Any, *, at: float, now: float) -> bool:
        """Whether it is this worker's turn.

        Args:
            able: the incarnations that serve the table, those of hosts that have died just now among them.
            suspect: what tells the suspect that waits longest from another one, and from its next claim.
            at: Unix time in seconds, by which all workers take turns.
            now: monotonic time in seconds.
        """
        if suspect != self._waiting:
            self._waiting, self._since = suspect, now
        # By their digests, so that the workers of one host do not follow each other.
        order = sorted({me, *able}, key=_digest)
        rank = (order.index(me) - int(at // TURN)) % len(order)
        return rank < MOST and now - self._since >= rank * STEP


def _digest(incarnation: str) -> bytes:
    return blake2b(incarnation.encode(), digest_size=8).digest()
