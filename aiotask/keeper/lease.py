"""The agent that renews this host's lease and declares hosts with expired leases dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from ..broker import Broker, Liveness
from ..errors import AiotaskError, BrokerError, ConnectionLost
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter
from .presence import is_gone, is_near

__all__ = ["LEASE", "Lease"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds without a renewal after which a host is declared dead.
LEASE = 10.0
#: Seconds between two renewals of this host's lease.
RENEW_INTERVAL = 1.0
#: Checks of the processes of hosts on this machine, per renewal.
CHECKS = 4


class Lease:
    """Raises a counter on the server; a peer whose counter stands still for LEASE seconds is declared dead.

    The seconds are measured by this process, and only those between two successful reads count: a paused or stepping
    server clock kills no host, nor does a pause of this process. A host on this machine is declared dead as soon as all
    of its processes are gone, since none is left that could fork another.
    """

    def __init__(
        self,
        broker: Broker,
        host: str,
        revive: Callable[[], None] | None = None,
        declared: Callable[[], None] | None = None,
    ) -> None:
        self._broker = broker
        #: Called when a peer was declared dead.
        self._declared = declared
        #: Brings the embedded server back when it has crashed.
        self._revive = revive
        self._host = host
        self._counter = 0
        self._peers: dict[str, tuple[int, float]] = {}
        #: Peers that may be on this machine.
        self._near: list[str] = []
        self._last_read: float | None = None
        self._report_error = ErrorReporter(
            logger, "The broker refused to renew the lease of this host; trying again: %s", KEEPER_LOG_DELAY
        )
        #: When the server last renewed the lease (monotonic clock); before that, when this object was made.
        self.renewed_at = time.monotonic()
        #: Since when the server answers but refuses to renew (monotonic clock; 0: it does not refuse), and its reason.
        self.refused_since = 0.0
        self.refusal = ""
        #: Set when this host was declared dead.
        self.lost = asyncio.Event()

    def anew(self, broker: Broker) -> Lease:
        """A new lease of the same host, after the host was declared dead."""
        return Lease(broker, self._host, self._revive, self._declared)

    async def renew(self) -> None:
        """Renew this host's lease once."""
        self._counter += 1
        liveness = await self._broker.renew(self._host, self._counter)
        if liveness is Liveness.FORGOTTEN:
            liveness = await self._broker.renew(self._host, self._counter)
        if liveness is Liveness.DEAD:
            logger.error("Host %s was declared dead by another host; its jobs were requeued.", self._host)
            self.lost.set()
        self.renewed_at = time.monotonic()
        self.refused_since = 0.0

    async def watch(self) -> None:
        """Read the counters of all hosts once, and declare those dead that have not moved for LEASE seconds."""
        leases = await self._broker.leases()
        now = time.monotonic()
        passed = min(now - self._last_read, 2 * RENEW_INTERVAL) if self._last_read is not None else 0.0
        self._last_read = now
        peers: dict[str, tuple[int, float]] = {}
        for host, counter in leases.items():
            if host == self._host:
                continue
            known, still = self._peers.get(host, (counter, 0.0))
            still = still + passed if known == counter else 0.0
            peers[host] = (counter, still)
            gone = is_gone(host)
            if (gone or still >= LEASE) and await self._broker.declare_dead(host, counter):
                silent = f"Host {host} has shown no sign of life for {still:.0f} s"
                why = f"The processes of host {host} on this machine are gone" if gone else silent
                logger.warning("%s: its jobs are requeued.", why)
                peers.pop(host)
                if self._declared is not None:
                    self._declared()
        self._peers = peers
        self._near = [host for host in peers if is_near(host)]

    async def run(self) -> None:
        while not self.lost.is_set():
            try:
                await self.renew()
                await self.watch()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                    self.refused_since = self.refused_since or time.monotonic()
                    self.refusal = str(error)
                self._last_read = None
                self._near = []
                if self._revive is not None:
                    with contextlib.suppress(AiotaskError):
                        await asyncio.to_thread(self._revive)
            await self._pause()

    async def _pause(self) -> None:
        """Sleep until the next renewal, or until a host on this machine is to be declared dead."""
        for _ in range(CHECKS):
            await asyncio.sleep(RENEW_INTERVAL / CHECKS)
            if any(map(is_gone, self._near)):
                break

    async def drop(self) -> None:
        """Give up the lease as the keeper ends: this host and its incarnations are declared dead."""
        await self._broker.declare_dead(self._host)
