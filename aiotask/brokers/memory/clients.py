"""What the memory broker remembers of each client, so that a batch that arrives twice is accepted once."""

from __future__ import annotations

from collections.abc import Iterable

from ..bounds import CLIENT_TTL
from .clock import Clock

__all__ = ["Clients"]


class Clients:
    """The last batch of each client."""

    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        #: Per client, in the order of their last push: its sequence, its time (monotonic), ids that had no room in it.
        self.clients: dict[str, tuple[int, float, list[str]]] = {}

    def is_repeat(self, client: str, sequence: int) -> bool:
        """Whether a batch of this client was accepted before; clients without one for CLIENT_TTL are forgotten."""
        now = self.clock.monotonic()
        while self.clients and next(iter(self.clients.values()))[1] < now - CLIENT_TTL:
            del self.clients[next(iter(self.clients))]
        last, _, full = self.clients.pop(client, (-1, 0.0, []))
        self.clients[client] = last, now, full
        return sequence <= last

    def count_batch(self, client: str, sequence: int, full: Iterable[str] = ()) -> None:
        """Note that a batch was accepted, except for the jobs that had no room."""
        self.clients[client] = sequence, self.clock.monotonic(), list(full)
