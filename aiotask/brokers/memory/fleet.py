"""The workers and hosts of an app, as the memory broker keeps them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ...broker import Liveness
from ..bounds import VOLUNTEER_TTL
from ..lanes import suspect_lanes
from .clock import Clock
from .pauses import Pausing
from .record import Lane

__all__ = ["Fleet"]


class Fleet(Pausing):
    """The part of ``Store`` that keeps who lives, and who makes itself idle for a suspect."""

    clock: Clock
    lanes: defaultdict[str, Lane]

    def __init__(self) -> None:
        super().__init__()
        #: Host and facts of each incarnation.
        self.live: dict[str, tuple[str, bytes]] = {}
        self.leases: dict[str, int] = {}
        self.dead_incarnations: set[str] = set()
        self.dead_hosts: set[str] = set()
        self.renewed_hosts: set[str] = set()  # whose keeper has renewed the lease
        #: The incarnation that makes itself idle for a suspect, and until when (monotonic).
        self.volunteer = ("", 0.0)

    def has_waiting(self, lane: str) -> bool:
        return lane in self.lanes and bool(self.lanes[lane].waiting)

    def liveness(self, incarnation: str) -> Liveness:
        if incarnation in self.live:
            return Liveness.LIVE
        return Liveness.DEAD if incarnation in self.dead_incarnations else Liveness.FORGOTTEN

    def declare_dead(self, incarnation: str) -> None:
        self.obeyed.pop(incarnation, None)
        if self.live.pop(incarnation, None):
            self.dead_incarnations.add(incarnation)

    def declare_host_dead(self, host: str) -> None:
        if self.leases.pop(host, None) is not None and host in self.renewed_hosts:
            self.dead_hosts.add(host)
        for incarnation in [name for name, (home, _) in self.live.items() if home == host]:
            self.declare_dead(incarnation)

    def volunteers(self, incarnation: str, queues: Iterable[str]) -> bool:
        """Whether suspects wait and this incarnation is the one that makes itself idle for them."""
        if not any(map(self.has_waiting, self.open_lanes(suspect_lanes(queues)))):
            return False
        name, until = self.volunteer
        now = self.clock.monotonic()
        if name in self.live and until > now:
            return name == incarnation
        self.volunteer = incarnation, now + VOLUNTEER_TTL
        return True
