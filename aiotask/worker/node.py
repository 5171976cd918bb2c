"""What a node of a graph may be beside one call: a chunk of calls, and a value that other jobs have to complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import Unresolved
from ..ref import collecting
from ..signature import Signature
from ..wire.error_form import add_note
from ..wire.serializer import Serializer
from .run import Returned, Run

__all__ = ["call_each", "call_each_async", "holds_refs", "refs_in"]


def call_each(run: Run, items: list[Any]) -> list[Any]:
    """The values of a chunk of calls, in order; the first error ends it."""
    function, values = run.task.function, list[Any]()
    try:
        for run.item, item in enumerate(items):
            values.append(function(item))
    except Exception as error:
        _blame(run, error, len(items))
        raise
    return values


async def call_each_async(run: Run, items: list[Any]) -> list[Any]:
    """The same for an async task: each call begins when the one before it has ended."""
    function, values = run.task.function, list[Any]()
    try:
        for run.item, item in enumerate(items):
            values.append(await function(item))
    except Exception as error:
        _blame(run, error, len(items))
        raise
    return values


def _blame(run: Run, error: Exception, count: int) -> None:
    add_note(error, f"This was item {run.item} of the {count:,} in the chunk (job {run.job.id}), counted from 0.")


def refs_in(value: Any, function: Callable[..., Any], serializer: Serializer) -> Returned:
    """A value that a task has returned, with the Refs in it; a signature stands for its ``.cast``.

    Raises:
        Exception: the value cannot be serialized.
    """
    if isinstance(value, Signature):
        value = value.cast
    with collecting() as found:
        body = serializer.dump_value(value, function)
    return Returned(body, found.refs)


def holds_refs(value: Any, error: Exception) -> bool:
    """Whether a value could not be serialized because it takes values of calls that have not been sent."""
    return isinstance(error, Unresolved) or isinstance(value, Signature)
