"""Sends graphs: calls that depend on each other, groups, and the calls of ``Task.map``; loaded with the first one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..brokers import require
from ..brokers.technology import GRAPHS, UNIQUE
from ..client.limits import note_children
from ..client.planning import Plan
from ..client.staging import GraphPush
from ..context import sending_job
from ..errors import ConfigError
from ..functions.chunks import of_items
from ..middleware import Call, Departures
from ..results.group import GraphResult, GroupResult
from ..results.result import AsyncResult
from ..signature import Signature
from ..tasks.by_name import function_of
from ..tasks.task import Definition, Sender
from .group import Group

if TYPE_CHECKING:
    from ..client.client import Client

__all__ = ["Composer", "send_graph", "send_group", "send_map"]


class Composer(Sender, Protocol):
    """The app, as far as graphs need it."""

    @property
    def url(self) -> str: ...
    @property
    def client(self) -> Client: ...
    def _signed(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature[Any]: ...


def send_graph(app: Composer, root: Signature[Any], departed: Call | None) -> AsyncResult[Any]:
    """Send a call and everything that it depends on, for ``Composing.send_graph``."""
    require(app.url, GRAPHS, "A .cast in arguments, a group or a follow-up")
    with Departures() as middleware:
        plan = Plan([root], root.id, root, middleware=middleware, departed=departed)
        result = _handle_on(app, root, GraphResult)
        _hand_over(app, plan, result, [result], custom=not root._fresh)
        return result


def send_group(app: Composer, group: Group[Any], calls: Sequence[Signature[Any]], *, is_chunked: bool = False) -> Any:
    """Send all calls of a group, and everything that they depend on, for ``Composing.send_group``."""
    require(app.url, GRAPHS, "A .cast in arguments, a group or a follow-up")
    with Departures() as middleware:
        plan = Plan(calls, group.id, middleware=middleware)
        handles = {call.id: _handle_on(app, call) for call in calls}
        result = _group_result(app, group, handles, is_chunked=is_chunked)
        _hand_over(app, plan, result, [*handles.values()], custom=not group._fresh)
        group._sent, group._fresh = group.id, False
        return result


def _group_result(
    app: Composer, group: Group[Any], handles: dict[str, AsyncResult[Any]], *, is_chunked: bool = False
) -> GroupResult[Any]:
    members = [
        _group_result(app, member, handles) if isinstance(member, Group) else handles[member.id]
        for member in group.members
    ]
    return GroupResult(group.id, app.client, members, is_chunked=is_chunked)


def _handle_on(app: Composer, call: Signature[Any], kind: type[AsyncResult[Any]] = AsyncResult) -> AsyncResult[Any]:
    definition: Definition = call._send.definition
    function = function_of(definition)
    if call.is_chunk and function is not None:
        function = of_items(function)
    result = kind(call.id, app.client, call.task, function, definition.queue)
    result.ignored = definition.ignore_result
    return result


def _hand_over(
    app: Composer, plan: Plan, result: AsyncResult[Any], handles: Sequence[AsyncResult[Any]], *, custom: bool
) -> None:
    """Hand a graph over for sending.

    Args:
        result: the handle that is returned to the caller.
        handles: those on the jobs that the caller is most likely to await.
        custom: the broker may know the graph.
    """
    client = app.client
    session = client.session()
    parent = sending_job()
    awaited = {handle.id: handle for handle in handles}
    nodes = plan.nodes(reply=session.address, awaited=awaited, parent=parent.id if parent else "")
    root = next((node for node in reversed(nodes) if node.push.id == plan.graph), None)
    ttl = app.result_ttl if root is None else root.result_ttl
    rule = None if root is None or root.push.special is None else root.push.special.unique
    if rule is not None:
        require(app.url, UNIQUE, "unique= or on_conflict=")
    push = GraphPush.of(plan.graph, nodes, ttl, awaited=list(awaited), custom=custom, rule=rule)
    for handle in (result, *handles):
        handle.shared = custom
    for spec in (limits := plan.limits):
        session.limits.add(spec)
    if parent is not None:
        note_children(parent, nodes, limits)
        for id in awaited:
            client.list_child(session, parent, id)
    client.submit_graph(session, push, result, handles)


def send_map(app: Composer, task: Definition, items: Iterable[Any], chunk: int | None) -> GroupResult[Any]:
    """Send a call for each item, or for each chunk of items, for ``Composing.map``."""
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ConfigError(f"chunk={chunk!r}: give a whole number from 1, or None for a job for each item.")
    if chunk is not None and task.batch is not None:
        raise ConfigError(
            f'chunk={chunk!r}: jobs of the batch task "{task.name}" are gathered by the worker, {task.batch.size} for '
            "one call. Leave chunk out."
        )
    items = list(items)
    for item in items if not app.hooks.send else ():
        task.check(item)
    if chunk is None:
        calls = [app._signed(task, (item,), {}) for item in items]
    else:
        calls = [app._signed(task, (items[at : at + chunk],), {}) for at in range(0, len(items), chunk)]
        for call in calls:
            call.is_chunk = True
    group: Group[Any] = Group(calls)
    if not calls:
        return GroupResult(group.id, None, [])
    result: GroupResult[Any] = send_group(app, group, calls, is_chunked=chunk is not None)
    return result
