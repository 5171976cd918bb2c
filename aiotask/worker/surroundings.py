"""What a worker is given: the app that it serves, and the process around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..depends import Injection
from ..middleware import Hooks as Middlewares
from ..tasks import Registry
from ..wire.serializer import Serializer
from .run import Marks, Run
from .scope import Scope
from .seats import Seats
from .suspects import Solitude
from .sync_lane import SyncLane

__all__ = ["Hooks", "Served", "Surroundings"]


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker serves: the tasks and the queues of one app."""

    registry: Registry
    secrets: Sequence[str]
    serializer: Serializer
    queues: Sequence[str]
    #: What the middleware of the app does.
    middleware: Middlewares = field(default_factory=Middlewares)
    #: Providers that are open as long as the worker is; the process around it opens them into ``scope``.
    lifespan: Injection | None = None
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the process around a worker does for it."""

    #: It was declared dead, its jobs went to others. None: start anew under another name.
    dead: Callable[[], None] | None = None
    #: It has run as many jobs as it should.
    full: Callable[[], None] | None = None
    #: Stop this sync run now (a cancel): best effort.
    interrupt: Callable[[Run], None] | None = None
    #: A suspect runs with no other job beside it (True), or that is over (False).
    alone: Callable[[bool], None] | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the workers of one process share, and what the process does for them.

    Attributes:
        syncs: the row of sync jobs, which threads of the process serve.
        seats: how many async jobs run at a time.
    """

    syncs: SyncLane
    marks: Marks
    seats: Seats
    solitude: Solitude = field(default_factory=Solitude)
    hooks: Hooks = Hooks()
