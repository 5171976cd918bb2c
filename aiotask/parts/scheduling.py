"""The part of an app that has schedules. What makes and declares them is loaded with the first one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..brokers.address import Address
from ..errors import ConfigError
from ..middleware import Hooks
from ..tasks.options import SCHEDULE_OPTIONS
from ..tasks.task import Definition, Registry

if TYPE_CHECKING:
    from ..brokers.schedules import Declaration
    from ..client.client import Client
    from ..results.result import AsyncResult
    from ..values.schedule import Spec
    from ..wire.serializer import Serializer
    from .schedules import AppSchedules

__all__ = ["Scheduling", "taken_apart"]

#: Schedules that the code of one app may declare.
_MOST = 1_000


def taken_apart(options: dict[str, Any], name: str) -> tuple[dict[str, Any], Spec | None]:
    """The options of a task without those of a schedule, and the spec that these give; None: there are none.

    Raises:
        ConfigError: what they say is no spec.
    """
    if SCHEDULE_OPTIONS.isdisjoint(options):
        return options, None
    from .schedules import spec_of

    given = {option: value for option, value in options.items() if option in SCHEDULE_OPTIONS}
    rest = {option: value for option, value in options.items() if option not in given}
    return rest, spec_of(given, f'Task "{name}"')


class Scheduling:
    """The part of an app that has schedules."""

    name: str
    registry: Registry
    address: Address
    hooks: Hooks
    result_ttl: float
    #: When each task runs whose options say so, by its name; None: no task has any.
    scheduled: dict[str, Spec] | None = None

    if TYPE_CHECKING:

        @property
        def url(self) -> str: ...
        @property
        def client(self) -> Client: ...
        @property
        def secrets(self) -> tuple[str, ...]: ...
        @property
        def serializer(self) -> Serializer: ...
        def handle(self, id: str, task: Definition | None) -> AsyncResult[Any]: ...

    @property
    def schedules(self) -> AppSchedules:
        """The schedules of this app, to be set and steered at run time."""
        from .schedules import AppSchedules

        return AppSchedules(self)

    def _schedule(self, task: Definition, spec: Spec | None) -> None:
        """Note when a task that is registered runs; None: it does not run by itself."""
        if spec is None:
            if self.scheduled is not None:
                self.scheduled.pop(task.name, None)
            return
        from .schedules import refuse_unscheduled

        refuse_unscheduled(self, task)
        if self.scheduled is None:
            self.scheduled = {}
        self.scheduled[task.name] = spec
        if len(self.scheduled) > _MOST:
            raise ConfigError(
                f"More than {_MOST:,} tasks have cron= or every=. Set more at run time: app.schedules.set(…)."
            )

    def declarations(self, by: str, generation: float) -> Sequence[Declaration]:
        """The schedules that tasks of this app declare.

        Args:
            by, generation: see ``wire.scheduled.Declared``.
        """
        if not self.scheduled:
            return []
        from .schedules import declarations

        return declarations(self, self.scheduled, by, generation)

    @asynccontextmanager
    async def _declaring(self, enlisted: asyncio.Event) -> AsyncIterator[None]:
        """A block in which a worker in this event loop declares the schedules of tasks, again each time it enlists."""
        if not self.scheduled:
            yield
            return
        from .schedules import declaring

        async with declaring(self, enlisted):
            yield
