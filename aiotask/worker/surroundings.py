"""The app that a worker serves, and the process around the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..depends import Injection
from ..middleware import Hooks as Middlewares
from ..tasks.task import Registry
from ..values.queue_order import EQUAL_TURNS, QueueOrder
from ..wire.serializer import Serializer
from .declaring import Declarer
from .run import Board, Run
from .scope import Scope
from .seats import Seats
from .stop_condition import StopCondition
from .suspects import Solitude
from .sync_lane import SyncLane

__all__ = ["Hooks", "Served", "Surroundings"]


@dataclass(frozen=True, slots=True)
class Served:
    """The tasks and the queues of the app that a worker serves."""

    registry: Registry
    secrets: Sequence[str]
    serializer: Serializer
    queues: Sequence[str]
    order: QueueOrder = EQUAL_TURNS
    #: What the middleware of the app does.
    middleware: Middlewares = field(default_factory=Middlewares)
    #: Providers that are open as long as the worker is; the process around it opens them into ``scope``.
    lifespan: Injection | None = None
    scope: Scope = field(default_factory=Scope)

    @property
    def shown_queues(self) -> dict[str, object]:
        """What a worker registers of its queues: their names, and weights or strict order if they have any."""
        order = {"order": self.order.shown(self.queues)} if self.order.by_queue else {}
        return {"queues": list(self.queues), **order}


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks by which the process around a worker acts for it."""

    #: Called when the worker was declared dead and its jobs went to others. None: the worker goes on under a new name.
    dead: Callable[[], None] | None = None
    #: Called when the worker has run as many jobs as it should.
    full: Callable[[], None] | None = None
    #: Stops a sync run whose job was cancelled: best effort.
    interrupt: Callable[[Run], None] | None = None
    #: Called with True when suspects begin to run with no other job beside them, with False when that is over.
    alone: Callable[[bool], None] | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The objects that the workers of one process share, and what the process does for them.

    Attributes:
        syncs: the row of sync jobs, which threads of the process serve.
        board: records what the workers do.
        seats: limits how many async jobs run at a time.
        until: when the workers end by themselves.
        declarer: who declares the limits of the tasks.
        is_drained: whether the host takes no new jobs, by the wish of an operator.
    """

    syncs: SyncLane
    board: Board
    seats: Seats
    solitude: Solitude = field(default_factory=Solitude)
    hooks: Hooks = Hooks()
    until: StopCondition = field(default_factory=StopCondition)
    declarer: Declarer = field(default_factory=lambda: Declarer(""))
    is_drained: Callable[[], bool] = field(default=lambda: False)
