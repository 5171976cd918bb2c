"""Schedules of an app: how calls become schedules, and ``app.schedules``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from msgspec import structs

from ..brokers import connect, require, schedules_of
from ..brokers.schedules import Declaration
from ..brokers.technology import SCHEDULES
from ..client.schedules import Schedule, Timetable
from ..errors import ConfigError, Unresolved
from ..functions.hints import wrong_arguments
from ..job import WIRE_VERSION, More
from ..loops.agent import agent
from ..middleware import Call, depart
from ..results.result import AsyncResult
from ..signature import Signature
from ..tasks.by_name import function_of
from ..tasks.defining import id_of_runs
from ..tasks.limits import limit_text
from ..tasks.options import check_options, check_task_name, more_of
from ..tasks.task import Definition
from ..values.schedule import Spec, check_spec, digest
from ..wire.scheduled import Declared, ScheduledCall
from ..wire.scheduled import Schedules as Seals
from ..wire.unserializable import blame_argument
from ..worker.schedules import IN_LOOP, Declaring
from .pausing import this_user
from .scheduling import Scheduling

__all__ = ["AppSchedules", "declarations", "declaring", "refuse_unscheduled", "spec_of"]

logger = logging.getLogger("aiotask.worker")

Missed = Literal["skip", "once", "all"]


def spec_of(options: dict[str, Any], whose: str) -> Spec:
    """The spec that these options give.

    Raises:
        ConfigError: they give none; the message begins with ``whose``.
    """
    try:
        checked = check_options({name: value for name, value in options.items() if value is not None}, "")
    except ConfigError as error:
        raise ConfigError(str(error).replace('Task ""', whose, 1)) from None
    try:
        return check_spec(checked.pop("cron", None), checked.pop("every", None), **checked)
    except ConfigError as error:
        raise ConfigError(f"{whose}: {error}") from None


class _Call(NamedTuple):
    """A call that is to be made again and again."""

    task: Definition
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def refuse_unscheduled(app: Scheduling, task: Definition) -> None:
    """Raise ConfigError if a task of an app cannot run by itself."""
    if app.address.given:
        require(app.address.given, SCHEDULES, "A schedule (cron=, every=)")
    _refuse_contradictions(task, f'Task "{task.name}"')
    if app.hooks.send:
        return
    try:
        task.check()
    except TypeError as error:
        raise ConfigError(
            f'Task "{task.name}": a schedule calls it without arguments, but {error}. Give its parameters defaults, or '
            'set the schedule with a call: app.schedules.set("…", task.s(…), cron="…").'
        ) from None


def declarations(app: Scheduling, scheduled: Mapping[str, Spec], by: str, generation: float) -> list[Declaration]:
    """The schedules of tasks, by the name of each. One that cannot be made now is logged, and stays as it is."""
    found = []
    for name, spec in scheduled.items():
        task = app.registry.get(name)
        if task is None:
            continue
        try:
            found.append(declaration(app, name, spec, _Call(task, (), {}), by, generation))
        except Exception:
            # Middleware or a key function of the app has failed, or an argument cannot be serialized.
            logger.exception('The schedule "%s" could not be declared; trying again in a minute.', name)
            found.append(Declaration(name))
    return found


def declaration(
    app: Scheduling, name: str, spec: Spec, call: _Call, by: str = "", generation: float = 0.0
) -> Declaration:
    """One schedule, sealed. The middleware runs now, and not for each run."""
    declared = Declared(WIRE_VERSION, app.name, name, spec, _departed(app, call), by, generation)
    sealed = Seals(app.secrets, app.name).seal(declared)
    return Declaration(name, sealed, digest(spec), spec.horizon)


def _departed(app: Scheduling, call: _Call) -> ScheduledCall:
    task, args, kwargs = call
    if not app.hooks.send:
        return _written(app, task, args, kwargs, None)
    leaving = Call(task.name, task.queue, args, kwargs, is_scheduled=True)
    return depart(app.hooks.send, leaving, lambda a, k, h: _written(app, task, a, k, h or None))


def _written(
    app: Scheduling, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], headers: dict[str, str] | None
) -> ScheduledCall:
    function = function_of(task)
    if function is not None:
        try:
            task.check(*args, **kwargs)
        except TypeError as error:
            raise wrong_arguments(task.name, args, kwargs, error) from None
    try:
        body = app.serializer.dump_call((args, kwargs), function)
    except Unresolved:
        raise ConfigError(
            f'A schedule of "{task.name}" cannot send a graph: schedule a task that returns or sends it.'
        ) from None
    except Exception as error:
        raise blame_argument(app.serializer, task.name, (args, kwargs), function, error) from error
    # Where it expires after some seconds, they count from when the broker accepts the job of a run.
    id, is_keyed = id_of_runs(task, args, kwargs)
    version, more = more_of(task.more, 0.0, limit_text(task.more, args, kwargs), is_keyed=is_keyed)
    if headers:
        more = structs.replace(more or More(), headers=headers)
    ttl = 0.0 if task.ignore_result else app.result_ttl if task.result_ttl is None else task.result_ttl
    return ScheduledCall(
        version,
        task.name,
        task.queue,
        body,
        task.priority,
        task.retries if "retries" in task.explicit else None,
        (task.timeout or 0.0) if "timeout" in task.explicit else None,
        ttl,
        more,
        id,
    )


@asynccontextmanager
async def declaring(app: Scheduling, enlisted: asyncio.Event) -> AsyncIterator[None]:
    """A block in which the schedules of an app's tasks are declared, as by a worker in this event loop."""
    broker = connect(app.url, app.name)
    running = agent(Declaring(schedules_of(broker), IN_LOOP, lambda now: now, app.declarations, enlisted).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await broker.close()


def _refuse_contradictions(task: Definition, whose: str) -> None:
    """Raise ConfigError if a task has options that contradict a schedule, or is a generator whose items are kept."""
    if task.stream is not None and not task.ignore_result:
        raise ConfigError(
            f"{whose}: a generator waits for a reader of its items, and the runs of a schedule have none. Give it "
            "ignore_result=True, which drops the items, or schedule a task that reads the stream."
        )
    for option, is_given in (("delay", task.delay), ("eta", task.eta is not None), ("id", task.id is not None)):
        if is_given:
            raise ConfigError(
                f"{whose}: {option}= and a schedule contradict each other: the schedule says when the job runs, and "
                "each run is a job of its own. Leave one of them out."
            )
    if isinstance(task.more.get("expires"), datetime):
        raise ConfigError(
            f"{whose}: expires= is a moment, after which every run of a schedule would expire at once. Give the "
            "seconds that each run has."
        )


class AppSchedules:
    """The schedules of an app: ``app.schedules``."""

    def __init__(self, app: Scheduling) -> None:
        self._app = app

    def _timetable(self) -> Timetable:
        app = self._app
        return Timetable(schedules_of(app.client.session().broker), app.secrets, app.name)

    async def set(
        self,
        name: str,
        call: Signature[Any],
        *,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str | None = None,
        jitter: float | timedelta = 0.0,
        missed: Missed = "once",
    ) -> None:
        """Set a schedule, or change the one of this name. What is not changed keeps its next run.

        Args:
            call: what is sent each time, as in ``report.s(7)``.
            cron, every, timezone, jitter, missed: as the options of a task.

        Raises:
            ConfigError: the name is not printable text, the spec is wrong, the call cannot be scheduled, or the code of
                a worker declares a schedule of this name.
        """
        spec = spec_of(
            {"cron": cron, "every": every, "timezone": timezone, "jitter": jitter, "missed": missed},
            f'Schedule "{check_task_name(name, "a schedule")}"',
        )
        app = self._app
        broker = schedules_of(app.client.session().broker)
        if await broker.set_schedules([declaration(app, name, spec, _call_of(name, call))]):
            raise ConfigError(
                f'The schedule "{name}" is declared in the code of a worker. Change it there, or choose another name.'
            )

    async def pause(self, name: str, *, why: str = "", by: str | None = None) -> None:
        """Let a schedule run no more until it is resumed; what comes meanwhile counts as skipped.

        Args:
            why, by: shown to those who ask. Default for ``by``: the user of this process and its host.

        Raises:
            ConfigError: there is no such schedule.
        """
        await self._timetable().pause(name, this_user() if by is None else by, why)

    async def resume(self, name: str) -> None:
        """Let a paused schedule run again, from its next moment on.

        Raises:
            ConfigError: there is no such schedule.
        """
        await self._timetable().resume(name)

    async def remove(self, name: str) -> bool:
        """Remove a schedule; False: there is none. One that the code of a worker declares comes back within a minute:
        pause it instead."""
        return await self._timetable().remove(name)

    async def run_now(self, name: str) -> AsyncResult[Any]:
        """Send the job of a schedule now, besides its runs.

        Raises:
            ConfigError: there is no such schedule.
        """
        return self._app.handle(await self._timetable().run_now(name), None)

    def list(self, after: str = "", limit: int = 100) -> AsyncIterator[Schedule]:
        """Schedules behind the one of this name, ``limit`` at most: those that are due next first, paused ones last."""
        return self._timetable().list(after, limit)


def _call_of(name: str, call: Signature[Any]) -> _Call:
    # A group is a signature, too, but of no task.
    if not isinstance(call, Signature) or getattr(call._send, "definition", None) is None:
        raise ConfigError(
            f'Schedule "{name}": {call!r} is not a call that can be sent again and again. Give that of a task, '
            "as in report.s(7); for a group or a graph, a task that sends it."
        )
    if call._follow_ups:
        raise ConfigError(f'Schedule "{name}": a call with follow-ups is a graph. Schedule a task that sends it.')
    _refuse_contradictions(call._send.definition, f'Schedule "{name}"')
    return _Call(call._send.definition, call.args, call.kwargs)
