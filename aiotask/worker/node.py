"""What a node of a graph may be beside one call: a chunk of calls, and a value that other jobs have to complete."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ..functions.chunks import of_items
from ..ref import collecting
from ..values.flow import Kind
from ..wire.error_form import add_note
from ..wire.serializer import Serializer
from ..wire.unserializable import blame_value
from .run import Returned, Run
from .streams import stream_async, stream_sync

__all__ = ["call_each", "call_each_async", "called_async", "called_sync", "function_of", "refs_in", "written_by"]

# An attribute of an enum class costs ten of a module.
_CHUNKS = frozenset({Kind.CHUNK, Kind.RETURNED_CHUNK})


def call_each(run: Run) -> Callable[..., list[Any]]:
    """A function that runs a chunk of calls of a sync task in order and returns their values; the first error ends it.

    What the worker provides to the function is given to every call.
    """

    def call(items: list[Any], **provided: Any) -> list[Any]:
        function, values = run.task.function, list[Any]()
        try:
            for run.item, item in enumerate(items):
                values.append(function(item, **provided))
        except Exception as error:
            _blame(run, error, len(items))
            raise
        run.item = -1
        return values

    return call


def call_each_async(run: Run) -> Callable[..., Coroutine[Any, Any, list[Any]]]:
    """``call_each`` for an async task: each call begins when the one before it has ended."""

    async def call(items: list[Any], **provided: Any) -> list[Any]:
        function, values = run.task.function, list[Any]()
        try:
            for run.item, item in enumerate(items):
                values.append(await function(item, **provided))
        except Exception as error:
            _blame(run, error, len(items))
            raise
        run.item = -1
        return values

    return call


def called_sync(run: Run) -> Callable[..., Any]:
    """What a run of a sync task calls with the arguments of the job."""
    if run.task.stream is not None:
        return stream_sync(run)
    return call_each(run) if is_chunk(run) else run.task.function


def called_async(run: Run) -> Callable[..., Any]:
    """What a run of an async task calls with the arguments of the job, and awaits."""
    if run.task.stream is not None:
        return stream_async(run)
    return call_each_async(run) if is_chunk(run) else run.task.function


def _blame(run: Run, error: Exception, count: int) -> None:
    add_note(error, f"This was item {run.item} of the {count:,} in the chunk (job {run.job.id}), counted from 0.")


def refs_in(run: Run, value: Any, serializer: Serializer) -> Returned:
    """A value that a run has returned, with the calls behind the Refs in it.

    Raises:
        ConfigError: these calls cannot be sent.
        SerializationError: the value cannot be serialized, or an argument of these calls.
    """
    # Most workers never run a task that returns calls.
    from ..client.planning import Plan

    try:
        with collecting() as found:
            body = serializer.dump_value(value, function_of(run))
    except Exception as error:
        with collecting():
            raise blame_value(serializer, run.task.name, value, error) from error
    graph = run.job.id if run.flow is None else run.flow.graph
    return Returned(body, found, Plan(found.calls, graph))


def function_of(run: Run) -> Callable[..., Any] | None:
    """What the serializer takes for the function of a run: that of a chunk takes and returns lists. None: the value of
    the run is not that of a function."""
    if run.performs is not None:
        return None
    return of_items(run.task.function) if is_chunk(run) else run.task.function


def written_by(run: Run) -> Callable[..., Any] | None:
    """What the serializer takes for the function when it writes the value: that of a generator is a number of items."""
    return function_of(run) if run.task.stream is None else None


def is_chunk(run: Run) -> bool:
    """Whether the job is a chunk of calls, or the values that a chunk has returned."""
    return run.flow is not None and run.flow.kind in _CHUNKS
