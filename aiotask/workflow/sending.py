"""How an app sends graphs: signatures that depend on each other, groups, and the calls of ``Task.map``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Unpack, cast

from ..brokers import require
from ..brokers.technology import GRAPHS
from ..by_name import function_of, task_named
from ..client.staging import GraphPush
from ..context import sending_job
from ..defining import call_of
from ..errors import ConfigError
from ..functions.chunks import of_items
from ..group_result import GraphResult, GroupResult
from ..job import ids, keyed_id
from ..middleware import Call, Departures, Hooks
from ..options import CallOptions
from ..planning import Plan
from ..ref import collecting
from ..result import AsyncResult
from ..sending import Sending, SendingByName
from ..signature import Signature
from ..tasks import Definition, Task
from .group import Group

if TYPE_CHECKING:
    from ..client.client import Client
    from ..graph import Graph
    from ..tasks import Registry, Sender
    from ..wire.serializer import Serializer

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
        if task.key is not None:
            return keyed_id(task.name, task.key)
        parent = sending_job()
        if parent is not None:
            # A call that cannot be serialized is refused when it is sent.
            with contextlib.suppress(Exception), collecting() as found:
                body = self.serializer.dump_call((args, kwargs), function_of(task))
                _, upstream, settled = found.parts()
                call = call_of(task, self.name)
                return parent.child_id((*call, *upstream, *settled), body)
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
        require(self.url, GRAPHS, "A .cast in arguments, a group or a follow-up")
        with Departures() as middleware:
            plan = Plan([root], root.id, root, middleware=middleware, departed=departed)
            result = self._handle_on(root, GraphResult)
            self._hand_over(plan, result, [result], custom=not root._fresh)
            return result

    def send_group(self, group: Group[Any], calls: Sequence[Signature[Any]], *, is_chunked: bool = False) -> Any:
        """Send the members of a group, given as all calls in it, and everything that they depend on."""
        require(self.url, GRAPHS, "A .cast in arguments, a group or a follow-up")
        with Departures() as middleware:
            plan = Plan(calls, group.id, middleware=middleware)
            handles = {call.id: self._handle_on(call) for call in calls}
            result = self._group_result(group, handles, is_chunked=is_chunked)
            self._hand_over(plan, result, [*handles.values()], custom=not group._fresh)
            group._sent, group._fresh = group.id, False
            return result

    def _group_result(
        self, group: Group[Any], handles: dict[str, AsyncResult[Any]], *, is_chunked: bool = False
    ) -> GroupResult[Any]:
        members = [
            self._group_result(member, handles) if isinstance(member, Group) else handles[member.id]
            for member in group.members
        ]
        return GroupResult(group.id, self.client, members, is_chunked=is_chunked)

    def _handle_on(self, call: Signature[Any], kind: type[AsyncResult[Any]] = AsyncResult) -> AsyncResult[Any]:
        definition: Definition = call._send.definition
        function = function_of(definition)
        if call.is_chunk and function is not None:
            function = of_items(function)
        result = kind(call.id, self.client, call.task, function, definition.queue)
        result.ignored = definition.ignore_result
        return result

    def _hand_over(
        self, plan: Plan, result: AsyncResult[Any], handles: Sequence[AsyncResult[Any]], *, custom: bool
    ) -> None:
        """Hand a graph over for sending.

        Args:
            result: the handle that is returned to the caller.
            handles: those on the jobs that the caller is most likely to await.
            custom: the broker may know the graph.
        """
        client = self.client
        session = client.session()
        parent = sending_job()
        awaited = {handle.id: handle for handle in handles}
        nodes = plan.nodes(reply=session.address, awaited=awaited, parent=parent.id if parent else "")
        root = next((node for node in reversed(nodes) if node.push.id == plan.graph), None)
        ttl = self.result_ttl if root is None else root.result_ttl
        push = GraphPush.of(plan.graph, nodes, ttl, awaited=list(awaited), custom=custom)
        for handle in (result, *handles):
            handle.shared = custom
        if parent is not None:
            for id in awaited:
                client.list_child(session, parent, id)
        client.submit_graph(session, push, result, handles)

    def map(self, task: Definition, items: Iterable[Any], chunk: int | None) -> GroupResult[Any]:
        """Send a call for each item, for ``Task.map``."""
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
            raise ConfigError(f"chunk={chunk!r}: give a whole number from 1, or None for a job for each item.")
        items = list(items)
        for item in items if not self.hooks.send else ():
            task.check(item)
        if chunk is None:
            calls = [self._signed(task, (item,), {}) for item in items]
        else:
            calls = [self._signed(task, (items[at : at + chunk],), {}) for at in range(0, len(items), chunk)]
            for call in calls:
                call.is_chunk = True
        group: Group[Any] = Group(calls)
        if not calls:
            return GroupResult(group.id, None, [])
        result: GroupResult[Any] = self.send_group(group, calls, is_chunked=chunk is not None)
        return result

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
