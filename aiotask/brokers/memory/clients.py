"""What the memory broker remembers of each client, so that a batch that arrives twice is accepted once."""

from __future__ import annotations

from collections.abc import Iterable

from ..bounds import CLIENT_TTL, OUTBOX_CLIENT, OUTBOX_TTL
from .clock import Clock

__all__ = ["Clients"]


_Batch = tuple[int, float, list[str], dict[str, str]]


class Clients:
    """The last batch of each client."""

    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        #: Per client, in the order of their last push: its sequence, its time (monotonic), ids that had no room in it,
        #: and unique jobs of it that are others. Batches of outboxes are remembered for longer, so they are kept apart.
        self._senders: dict[str, _Batch] = {}
        self._outboxes: dict[str, _Batch] = {}

    def is_repeat(self, client: str, sequence: int) -> bool:
        """Whether a batch of this client was accepted before; clients without one for their TTL are forgotten."""
        now = self.clock.monotonic()
        clients, ttl = self._those_with(client)
        while clients and next(iter(clients.values()))[1] < now - ttl:
            del clients[next(iter(clients))]
        last, _, full, known = clients.pop(client, (-1, 0.0, [], {}))
        clients[client] = last, now, full, known
        return sequence <= last

    def last_batch(self, client: str) -> tuple[int, list[str], dict[str, str]]:
        """The sequence of the last batch of a client that ``is_repeat`` knows, the jobs that had no room in it, and
        those that are others."""
        last, _, full, known = self._those_with(client)[0][client]
        return last, full, known

    def count_batch(
        self, client: str, sequence: int, full: Iterable[str] = (), known: dict[str, str] | None = None
    ) -> None:
        """Note that a batch was accepted, except for the jobs that had no room, and those that are others."""
        if sequence > 1:
            # The batch of an outbox is deleted there.
            self._outboxes.pop(client, None)
        clients = self._senders if sequence > 1 else self._those_with(client)[0]
        clients[client] = sequence, self.clock.monotonic(), list(full), known or {}

    def _those_with(self, client: str) -> tuple[dict[str, _Batch], float]:
        is_outbox = client.startswith(OUTBOX_CLIENT) and client not in self._senders
        return (self._outboxes, OUTBOX_TTL) if is_outbox else (self._senders, CLIENT_TTL)
