"""What the memory broker remembers of each client, so that a batch that arrives twice is accepted once."""

from __future__ import annotations

from collections.abc import Iterable

from ..bounds import CLIENT_TTL, OUTBOX_CLIENT, OUTBOX_TTL
from .clock import Clock

__all__ = ["Clients"]


class Clients:
    """The last batch of each client."""

    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        #: Per client, in the order of their last push: its sequence, its time (monotonic), ids that had no room in it.
        #: Batches of outboxes are remembered for longer, so they are kept apart.
        self._senders: dict[str, tuple[int, float, list[str]]] = {}
        self._outboxes: dict[str, tuple[int, float, list[str]]] = {}

    def is_repeat(self, client: str, sequence: int) -> bool:
        """Whether a batch of this client was accepted before; clients without one for their TTL are forgotten."""
        now = self.clock.monotonic()
        clients, ttl = self._those_with(client)
        while clients and next(iter(clients.values()))[1] < now - ttl:
            del clients[next(iter(clients))]
        last, _, full = clients.pop(client, (-1, 0.0, []))
        clients[client] = last, now, full
        return sequence <= last

    def last_batch(self, client: str) -> tuple[int, list[str]]:
        """The sequence of the last batch of a client that ``is_repeat`` knows, and the jobs that had no room in it."""
        last, _, full = self._those_with(client)[0][client]
        return last, full

    def count_batch(self, client: str, sequence: int, full: Iterable[str] = ()) -> None:
        """Note that a batch was accepted, except for the jobs that had no room."""
        self._those_with(client)[0][client] = sequence, self.clock.monotonic(), list(full)

    def _those_with(self, client: str) -> tuple[dict[str, tuple[int, float, list[str]]], float]:
        return (self._outboxes, OUTBOX_TTL) if client.startswith(OUTBOX_CLIENT) else (self._senders, CLIENT_TTL)
