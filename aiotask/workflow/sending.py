"""How an app makes signatures and sends graphs. What sends graphs is loaded with the first of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Unpack, cast

from ..context import sending_job
from ..job import ids
from ..middleware import Call, Hooks
from ..ref import collecting
from ..results.result import AsyncResult
from ..sending import Sending, SendingByName
from ..signature import Signature
from ..tasks.by_name import function_of, task_named
from ..tasks.defining import call_of, id_by_key
from ..tasks.options import CallOptions
from ..tasks.task import Definition, Task

if TYPE_CHECKING:
    from ..client.client import Client
    from ..results.graph import Graph
    from ..results.group import GroupResult
    from ..tasks.task import Registry, Sender
    from ..wire.serializer import Serializer
    from .group import Group
    from .outgoing import Composer

__all__ = ["Composing"]


class Composing:
    """The part of an app that makes signatures, and sends those that depend on each other."""

    if TYPE_CHECKING:
        name: str
        registry: Registry
        result_ttl: float
        hooks: Hooks

        @property
        def url(self) -> str: ...
        @property
        def client(self) -> Client: ...
        @property
        def serializer(self) -> Serializer: ...

    # ---- signatures

    def sign(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature[Any]:
        """Create a call of a task, for ``Task.s``."""
        # Middleware may add arguments when the call is sent; then they are checked.
        if not self.hooks.send:
            task.check_call(args, kwargs)
        return self._signed(task, args, kwargs)

    def _signed(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature[Any]:
        app = cast("Sender", self)
        send = SendingByName(task, app) if function_of(task) is None else Sending(task, app)
        id = self._known_id(task, args, kwargs)
        call: Signature[Any] = Signature(task.name, args, kwargs, id or ids.next(), send)
        call._fresh = not id
        return call

    def _known_id(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The id of a call that will be sent later, if another call may have it; empty: a new one is drawn."""
        if task.id is not None:
            return task.id
        parent = sending_job()

        def child() -> str:
            assert parent is not None
            with collecting() as found:
                body = self.serializer.dump_call((args, kwargs), function_of(task))
                _, upstream, settled = found.parts()
                return parent.child_id((*call_of(task, self.name), *upstream, *settled), body)

        if task.key is not None and (id := id_by_key(task, args, kwargs, child if parent is not None else None)):
            return id
        if parent is not None:
            # A call that cannot be serialized is refused when it is sent.
            with contextlib.suppress(Exception):
                return child()
        return ""

    def named(self, task: str, /, **options: Unpack[CallOptions]) -> Task[..., Any]:
        """A task by its name, which this process need not import: ``app.named("shop:add", queue="math")``.

        The worker checks the arguments. The options are those of ``Task.options``; without ``queue=`` the calls of a
        task that is not known here go to the queue ``default``.

        Raises:
            ConfigError: the name is not printable text of 1 to 300 characters, or an option is wrong.
        """
        return task_named(task, cast("Sender", self), options)

    def s(self, task: str, /, *args: Any, **kwargs: Any) -> Signature[Any]:
        """Create a call by the name of the task: the short form of ``app.named(task).s(…)``.

        Raises:
            ConfigError: the name is not printable text of 1 to 300 characters.
        """
        return self.named(task).s(*args, **kwargs)

    # ---- sending

    def send_graph(self, root: Signature[Any], departed: Call | None = None) -> AsyncResult[Any]:
        """Send a call and everything that it depends on; return the handle on its job.

        Args:
            departed: the call as it has left the middleware, if it has passed it.
        """
        from .outgoing import send_graph

        return send_graph(cast("Composer", self), root, departed)

    def send_group(self, group: Group[Any], calls: Sequence[Signature[Any]]) -> Any:
        """Send the members of a group, given as all calls in it, and everything that they depend on."""
        from .outgoing import send_group

        return send_group(cast("Composer", self), group, calls)

    def map(self, task: Definition, items: Iterable[Any], chunk: int | None) -> GroupResult[Any]:
        """Send a call for each item, for ``Task.map``."""
        from .outgoing import send_map

        return send_map(cast("Composer", self), task, items, chunk)

    # ---- seeing

    async def graph(self, id: str) -> Graph:
        """The graph with this id, or of the job with this id; of a job that is in none, a graph of it alone.

        Raises:
            ResultExpired: the broker knows neither a graph nor a job of this id.
        """
        return await self.client.graph_named(id)

    async def replay_graph(self, id: str) -> int:
        """Run again what did not end well in a graph at rest, and what is downstream of it, under the same ids; what
        ended well is not repeated.

        Returns:
            The number of jobs that run again.

        Raises:
            ConfigError: jobs of the graph have not ended, or a value that is needed is gone.
            ResultExpired: the broker does not know the graph.
        """
        return await self.client.replay_graph(id)
