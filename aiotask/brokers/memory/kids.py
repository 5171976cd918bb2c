"""The jobs that a job has sent, as the memory broker keeps them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..graphs import CHILDREN
from .clock import Clock

__all__ = ["Kids"]


class Kids:
    """The part of ``Store`` that keeps lists of children."""

    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        #: Ids by that of the parent, and when the list expires (monotonic).
        self._kids: dict[str, tuple[deque[str], float]] = {}

    def add_children(self, parent: str, ids: Sequence[str], ttl: float) -> None:
        self._expire()
        kids, _ = self._kids.setdefault(parent, (deque(maxlen=CHILDREN), self.clock.monotonic() + ttl))
        kids.extend(ids)

    def children(self, id: str) -> list[str]:
        self._expire()
        return list(dict.fromkeys(self._kids[id][0])) if id in self._kids else []

    def _expire(self) -> None:
        now = self.clock.monotonic()
        for id in [id for id, (_, until) in self._kids.items() if until <= now]:
            del self._kids[id]
