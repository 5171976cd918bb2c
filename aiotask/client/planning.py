"""A plan: the calls that can be reached from some signatures, serialized, as the nodes of a graph."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from ..broker import Push, special_of
from ..brokers.graphs import Condition, Node
from ..errors import ConfigError, Unresolved
from ..functions.chunks import of_items
from ..job import GRAPHS_RELEASE, Job, More, encode_job
from ..middleware import Call, Departures, leave
from ..ref import collecting
from ..tasks.by_name import function_of
from ..tasks.limits import Limited
from ..tasks.options import more_of
from ..values.flow import Flow, Kind, pack_ids
from ..values.limit import LimitSpec
from ..values.unique import Rule, rule_of
from ..wire.unserializable import blame_argument

if TYPE_CHECKING:
    from ..signature import Signature
    from ..tasks.task import Definition, Sender

__all__ = ["Plan"]


class Plan:
    """The calls behind some signatures, upstream before downstream, follow-ups included; nothing has been sent.

    Args:
        calls: the signatures: that of the root, the members of a group, or those behind the Refs that a run returned.
        graph: id of the graph that they become, or join. A call of another graph, or one that was sent alone, is
            refused: its value may be awaited and passed on.
        root: the one call that may have an id or a key of its own.
        middleware: left when the calls have been handed over. None: the middleware around each call is left at once.
        departed: the root as it has left the middleware, if it has passed it.

    Raises:
        ConfigError: calls depend on each other in a circle, one was sent already, one that is not the root has an id
            or a key of its own, or they belong to several apps.
        SerializationError: an argument cannot be serialized.
        Unresolved: a future value was used in a way that is not possible.
    """

    def __init__(
        self,
        calls: Iterable[Signature[Any]],
        graph: str,
        root: Signature[Any] | None = None,
        *,
        middleware: Departures | None = None,
        departed: Call | None = None,
    ) -> None:
        calls = list(calls)
        self.graph = graph
        self.app: Sender = calls[0]._send.app
        self._root = root
        #: Calls with everything upstream before them, by id.
        self._planned: dict[str, _Planned] = {}
        self._departed = departed
        if middleware is not None:
            self._walk(calls, middleware)
        else:
            with Departures() as middleware:
                self._walk(calls, middleware)

    def __len__(self) -> int:
        """The number of nodes."""
        return len(self._planned)

    @property
    def limits(self) -> list[LimitSpec]:
        """The limits of the calls."""
        limited = (planned.task.more["limit"] for planned in self._planned.values() if planned.limit)
        return list({each.spec.name: each.spec for each in limited}.values())

    def _walk(self, calls: list[Signature[Any]], middleware: Departures) -> None:
        """Plan these calls and what they depend on, without recursion: a chain may have 100,000 links."""
        stack = [(call, "", "") for call in reversed(calls)]
        # Calls that were read, and wait until those upstream of them are planned.
        reading: dict[str, _Planned] = {}
        while stack:
            call, condition, followed = stack[-1]
            if call.id in self._planned:
                stack.pop()
                continue
            planned = reading.pop(call.id, None)
            if planned is not None:
                stack.pop()
                self._planned[call.id] = planned
                stack += ((after, condition, call.id) for condition, after in reversed(call._follow_ups))
                continue
            planned = reading[call.id] = self._read(call, condition, followed, middleware)
            for upstream in planned.calls:
                if upstream.id in reading:
                    raise ConfigError(
                        f'The call of "{upstream.task}" depends on its own value: {" <- ".join(_names(reading))} <- '
                        f"{upstream.task}. Was a list that holds a .cast changed later?"
                    )
                if upstream.id not in self._planned:
                    stack.append((upstream, "", ""))

    def _read(self, call: Signature[Any], condition: str, followed: str, middleware: Departures) -> _Planned:
        """Serialize one call, and find what it depends on. Every call of a graph passes here once."""
        definition: Definition = call._send.definition
        self._check(call, definition)
        args, kwargs, headers = self._depart(call, definition, middleware)
        function = function_of(definition)
        if call.is_chunk and function is not None:
            function = of_items(function)
        try:
            with collecting() as found:
                body = self.app.serializer.dump_call((args, kwargs), function)
        except Unresolved:
            raise
        except Exception as error:
            with collecting():
                raise blame_argument(self.app.serializer, call.task, (args, kwargs), function, error) from error
        calls, upstream, settled = found.parts()
        if condition and upstream != [followed]:
            raise ConfigError(
                f'The follow-up "{call.task}" takes the value of another call. A follow-up takes only that of the '
                "call that it follows: use .then(), or pass the .cast of both to one call."
            )
        limited: Limited | None = definition.more.get("limit")
        limit = "" if limited is None else limited.text(args, kwargs, is_chunk=call.is_chunk)
        return _Planned(call, definition, body, calls, upstream, settled, condition, headers, limit)

    def _depart(
        self, call: Signature[Any], definition: Definition, middleware: Departures
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, str] | None]:
        """Send one call through the middleware; its arguments and headers."""
        hooks = self.app.hooks.send
        if not hooks:
            return call.args, call.kwargs, None
        if call is self._root and self._departed is not None:
            departed = self._departed
        else:
            departed = leave(middleware, hooks, Call(call.task, definition.queue, call.args, call.kwargs, call.id))
            if not call.is_chunk:
                definition.check_call(departed.args, departed.kwargs)
        return departed.args, departed.kwargs, departed.headers or None

    def _check(self, call: Signature[Any], definition: Definition) -> None:
        """Refuse a call that cannot be a node of this graph."""
        app = call._send.app
        if app is not self.app and app.name != self.app.name:
            raise ConfigError(
                f'Calls of app "{self.app.name}" and of app "{app.name}" ("{call.task}") cannot depend on each other: '
                "await the first result, and pass its value on."
            )
        if call._sent and call._sent != self.graph:
            raise ConfigError(
                f'The call {call.id} of "{call.task}" was sent already, so no other call can take its .cast any more: '
                "await its result and pass the value, or make a new call."
            )
        if call is not self._root and (definition.key is not None or definition.id is not None):
            option = "key" if definition.id is None else "id"
            raise ConfigError(
                f'The call of "{call.task}" is one of several that are sent together, and only the call that is sent '
                f"may have {option}=. Use .options({option}=None) for the others."
            )
        if definition.key is not None and (rule := rule_of(definition.more)) is not None:
            _check_rule(call.task, rule)
        if definition.homeless:
            app.refuse_homeless(definition)

    def nodes(self, first: int = 0, *, reply: str = "", awaited: Collection[str] = (), parent: str = "") -> list[Node]:
        """The nodes, numbered from ``first + 1``, sealed; from now on their signatures count as sent.

        Args:
            reply: address to which the outcomes of awaited calls are published; empty: none.
            awaited: ids of the calls that the sender is most likely to await.
            parent: id of the job that sends the graph; empty: none does.
        """
        now = time.time()
        numbers = {id: number for number, id in enumerate(self._planned, first + 1)}
        seal, result_ttl = self.app.jobs_sealer.seal, self.app.result_ttl
        nodes: list[Node] = []
        for id, planned in self._planned.items():
            call, task = planned.call, planned.task
            kind = Kind.CHUNK if call.is_chunk else Kind.PLAIN
            flow = Flow(self.graph, numbers[id], pack_ids(planned.upstream), planned.settled, kind)
            ttl = 0.0 if task.ignore_result else result_ttl if task.result_ttl is None else task.result_ttl
            explicit = task.explicit
            version, more = _more(planned, flow, parent, now)
            job = Job(
                version,
                id,
                call.task,
                task.queue,
                planned.body,
                task.priority,
                now,
                reply if id in awaited and not task.ignore_result else "",
                task.retries if "retries" in explicit else None,
                (task.timeout or 0.0) if "timeout" in explicit else None,
                ttl,
                now + task.delay if task.eta is None else max(now, task.eta),
                more,
            )
            special = special_of(more, ttl)
            sealed = seal(encode_job(job))
            push = Push(id, task.queue, task.priority, sealed, task.delay, task.eta, special=special)
            upstream = tuple([numbers[each.id] for each in planned.calls])
            nodes.append(Node(numbers[id], call.task, push, upstream, ttl, Condition(planned.condition)))
            call._sent, call._fresh = self.graph, False
        return nodes


class _Planned:
    """One call, serialized."""

    __slots__ = ("body", "call", "calls", "condition", "headers", "limit", "settled", "task", "upstream")

    def __init__(
        self,
        call: Signature[Any],
        task: Definition,
        body: bytes,
        calls: list[Any],
        upstream: list[str],
        settled: list[int],
        condition: str,
        headers: dict[str, str] | None,
        limit: str = "",
    ) -> None:
        self.call = call
        self.task = task
        self.body = body
        #: The calls upstream, each once; and the id behind each number of a Ref in the body.
        self.calls = calls
        self.upstream = upstream
        self.settled = settled
        self.condition = condition
        #: What the middleware attached to the call.
        self.headers = headers
        #: Limit and key of the call.
        self.limit = limit


def _check_rule(task: str, rule: Rule) -> None:
    """Refuse a rule that the call that is sent cannot have where others are sent with it."""
    if rule.policy not in ("kept", "unfinished") or rule.on_conflict == "replace":
        raise ConfigError(
            f'The call of "{task}" is sent together with others, so its key has unique="kept" or "unfinished", and '
            'on_conflict="existing" or "error": nothing takes the place of a graph. Use .options(unique=…, '
            "on_conflict=…), or .options(key=None)."
        )


def _names(reading: dict[str, _Planned]) -> list[str]:
    return [planned.call.task for planned in list(reading.values())[-5:]]


def _more(planned: _Planned, flow: Flow, parent: str, now: float) -> tuple[int, More]:
    """The lowest release that may run the node, and its ``Job.more``."""
    task, headers = planned.task, planned.headers
    if not task.more:
        return GRAPHS_RELEASE, More(parent=parent, headers=headers, flow=flow)
    version, more = more_of(task.more, now, planned.limit, is_keyed=task.key is not None)
    more = msgspec.structs.replace(more or More(), parent=parent, headers=headers, flow=flow)
    return max(GRAPHS_RELEASE, version), more
