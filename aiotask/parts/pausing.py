"""The part of an app that pauses and resumes queues and tasks."""

from __future__ import annotations

import os
import pwd
import time
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from ..tasks.options import check_name, check_task_name

if TYPE_CHECKING:
    from ..brokers.pauses import Pause, Pauses
    from ..client.client import Client

__all__ = ["Pausing", "pause_named", "this_user"]


class Pausing:
    """The part of an app that stops the start of jobs."""

    if TYPE_CHECKING:

        @property
        def url(self) -> str: ...
        @property
        def client(self) -> Client: ...

    async def pause(
        self,
        *,
        queue: str = "",
        task: Any = "",
        where: str = "",
        everything: bool = False,
        why: str = "",
        by: str | None = None,
    ) -> Pause:
        """Let no further job of a queue or a task start, until ``resume``; jobs that run go on.

        Jobs of a queue wait in it, and jobs of a task are parked. It holds over deploys and restarts. What is paused
        already stays as it is, with who paused it and when; ``why`` replaces its reason.

        When this returns, the live workers have said that they start no further job of it. It waits 2 s for them at
        most: a process whose event loop is blocked starts nothing meanwhile, and obeys when it goes on.

        Args:
            queue: name of the queue.
            task: the task, or its name.
            where: only calls for which this is true: ``ARGUMENT OPERATOR VALUE``, as in ``tenant == "acme"``, with
                ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` or ``in``.
            everything: every queue and every task.
            why, by: shown to those who ask. Default for ``by``: the user of this process and its host.

        Raises:
            ConfigError: not exactly one of these is named, the condition is none, or the broker keeps no pauses.
        """
        pause = pause_named(queue=queue, task=task, where=where, everything=everything, why=why, by=by)
        from ..brokers.pauses import begin_pause, renewed

        broker = self._pauses("app.pause")
        pause, _ = renewed(pause, (await broker.pauses()).pauses)
        await begin_pause(broker, pause)
        return pause

    async def resume(self, *, queue: str = "", task: Any = "", where: str = "", everything: bool = False) -> bool:
        """End the pause that ``pause`` began with the same arguments. False: there was none.

        Raises:
            ConfigError: as ``pause``.
        """
        pause = pause_named(queue=queue, task=task, where=where, everything=everything)
        return await self._pauses("app.resume").resume(pause.id)

    async def pauses(self) -> list[Pause]:
        """What is paused now, the oldest first.

        Raises:
            ConfigError: the broker keeps no pauses.
        """
        return (await self._pauses("app.pauses").pauses()).pauses

    def _pauses(self, verb: str) -> Pauses:
        from ..brokers import require
        from ..brokers.technology import PAUSES

        require(self.url, PAUSES, f"{verb}()")
        return cast("Pauses", self.client.session().broker)


def pause_named(
    *,
    queue: str = "",
    task: Any = "",
    where: str = "",
    everything: bool = False,
    why: str = "",
    by: str | None = None,
) -> Pause:
    """The pause of what is named, as of now.

    Args:
        by: who pauses it. Default: the user of this process and its host.

    Raises:
        ConfigError: not exactly one thing is named, or the condition is none.
    """
    from ..brokers.pauses import Pause, condition_of, pause_id

    name = task if isinstance(task, str) else task.name
    if (bool(queue), bool(name), everything).count(True) != 1:
        raise ConfigError("Name one thing to pause or resume: a queue, a task (and a condition for it), or everything.")
    if where:
        if not name:
            raise ConfigError(f"where={where!r} is about the arguments of a task: name the task, too.")
        condition_of(where)
    if queue:
        check_name(queue, "a queue")
    if name:
        check_task_name(name)
    who = this_user() if by is None else by
    return Pause(pause_id(queue, name, where), queue, name, where, by=who[:100], why=why[:1000], at=time.time())


def this_user() -> str:
    """Who runs this process, and where."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename.split('.')[0]}"
