"""Limits on the sending side: they are declared to the broker, and a job does not wait for a job that it keeps out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..brokers import require
from ..brokers.limits import Limits
from ..brokers.technology import LIMITS
from ..context import JobContext
from ..errors import AiotaskError, ConfigError, ConnectionLost
from ..values.limit import LimitSpec

if TYPE_CHECKING:
    from ..broker import Broker
    from ..brokers.graphs import Node
    from ..results.result import AsyncResult

__all__ = ["LimitsToDeclare", "declarer", "note_child", "note_children", "refuse_own_limit"]

logger = logging.getLogger("aiotask.client")

#: Where a run notes those of its children that its own limit holds back, among its calls.
_NOTES = "own limit"


def declarer(app: str) -> str:
    """What the broker is told of who has declared the limits of an app, where that is no ``aiotask worker``."""
    return f"{app} (in a program)"


class LimitsToDeclare:
    """The limits of the jobs that one session sends: each is declared once, before the first job of it if possible.

    A job that is there before its limit is declared waits: what no program has declared admits nothing.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        #: Those that the broker does not know yet, by name.
        self.waiting: dict[str, LimitSpec] = {}
        self._declared: dict[str, LimitSpec] = {}

    def add(self, spec: LimitSpec) -> None:
        """The session sends a job of this limit."""
        if self._declared.get(spec.name) != spec:
            self.waiting[spec.name] = spec

    async def declare(self, broker: Broker) -> dict[str, Exception]:
        """Declare what is new.

        Returns:
            the error of each limit that was refused, since a worker of a release that knows no limits is live, say. It
            is declared again with the next job of it.
        """
        specs = list(self.waiting.values())
        try:
            require(broker.url, LIMITS, "A task with a limit")
            await cast("Limits", broker).declare_limits(0.0, declarer(self._app), specs)
        except ConnectionLost:
            # The jobs are sent again until they arrive; workers declare the limit, too.
            return {}
        except AiotaskError as error:
            refused: dict[str, Exception] = dict.fromkeys((spec.name for spec in specs), error)
        else:
            refused = {}
            self._declared |= {spec.name: spec for spec in specs}
        for spec in specs:
            if self.waiting.get(spec.name) == spec:
                del self.waiting[spec.name]
        return refused


# ---- a job of a limit that waits for a job of the same limit


def note_child(parent: JobContext, id: str, spec: LimitSpec, limit: str) -> None:
    """A job sends a job of this limit and key: note it if the parent's own slot is one that the child needs."""
    found = _own(parent, spec, limit)
    if found and parent.calls is not None:
        parent.calls.setdefault(_NOTES, {})[id] = found


def note_children(parent: JobContext, nodes: Sequence[Node], specs: Iterable[LimitSpec]) -> None:
    """A job sends the nodes of a graph: also those are noted that wait for one of its own limit."""
    by_name = {spec.name: spec for spec in specs}
    found: dict[int, str] = {}
    for node in nodes:
        limit = node.push.special.limit if node.push.special is not None else ""
        own = _own(parent, by_name[limit.partition(":")[0]], limit) if limit else ""
        # "one" before "some".
        if worst := min(filter(None, (own, *(found.get(number, "") for number in node.upstream))), default=""):
            found[node.number] = worst
            if parent.calls is not None:
                parent.calls.setdefault(_NOTES, {})[node.push.id] = worst


def _own(parent: JobContext, spec: LimitSpec, limit: str) -> str:
    """``one``: the parent's slot is the only one that the child could have; ``some``: there are others."""
    own = parent.job.more.limit if parent.job.more is not None else ""
    name, _, key = own.partition(":")
    if not own or name != limit.partition(":")[0]:
        return ""
    same_key = key == limit.partition(":")[2]
    if spec.max_running == 1 or (same_key and spec.max_running_each == 1):
        return "one"
    return "some" if spec.max_running or (same_key and spec.max_running_each) else ""


def refuse_own_limit(here: JobContext, results: Iterable[AsyncResult[Any]]) -> None:
    """Refuse to wait for a job that does not start before this one has ended.

    Raises:
        ConfigError: this job holds the only slot of the limit and key of one that it is about to await.
    """
    notes: dict[str, str] = (here.calls or {}).get(_NOTES, {})
    for result in results:
        if (found := notes.get(result.id)) == "one":
            raise ConfigError(
                f'Job "{here.id}" ({here.task}) would wait for itself: it holds the only slot of the limit that job '
                f'"{result.id}" ({result.task}) needs to start. Return the call instead of awaiting it '
                "(`return task.s(…)`): then the slot is free; or give the tasks different limits."
            )
        if found:
            logger.warning(
                'Job "%s" (%s) waits for job "%s" of its own limit, and keeps a slot of it meanwhile: where all slots '
                "are held by jobs that wait, none of them ends. Return the call instead of awaiting it.",
                here.id,
                here.task,
                result.id,
            )
