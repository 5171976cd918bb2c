"""Performs a call of a batch task: the arguments of its items as one list, and a value or an error for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..context import entered
from ..errors import JobOutOfMemory, JobTimeout, SerializationError, Unresolved
from ..signature import Signature
from ..wire.serializer import Serializer
from ..wire.unserializable import blame_value
from .batch import Batch
from .executor import fail, load_arguments, seconds_to_next_run
from .expiry import expired, is_expired
from .provide import perform_async, perform_sync
from .run import Run

__all__ = ["perform_batch", "perform_batch_async"]


def perform_batch(batch: Batch, serializer: Serializer) -> None:
    """Call the function of a sync batch task, and give each item its value or error."""
    try:
        arguments = _begin(batch, serializer)
        if batch.called:
            function, around = _function_of(batch), batch.task.around
            values = function(arguments) if around is None else perform_sync(batch, around, function, (arguments,), {})
            _take(batch, values, serializer)
    finally:
        clear(batch)


async def perform_batch_async(batch: Batch, serializer: Serializer, started: Callable[[Run], None]) -> None:
    """The same for an async batch task; ``started`` is called with each item whose argument is known."""
    try:
        arguments = _begin(batch, serializer)
        if batch.called:
            for item in batch.called:
                started(item)
            function, around = _function_of(batch), batch.task.around
            if around is None:
                values = await function(arguments)
            else:
                values = await perform_async(batch, around, function, (arguments,), {})
            _take(batch, values, serializer)
    finally:
        clear(batch)


def clear(batch: Batch) -> None:
    """Record that the code of the items has ended; again at the end of the call, as an interrupt may come here."""
    for slot in batch.slots:
        batch.board.clear(slot)


def _function_of(batch: Batch) -> Callable[..., Any]:
    assert batch.task.batch is not None
    return batch.task.batch.function


# ---- before the call


def _begin(batch: Batch, serializer: Serializer) -> list[Any]:
    """Record that the items start, and read their arguments: those of the items in ``called``, in their order."""
    batch.items[0].slot = batch.slot
    started = [item for item in batch.items if _start(item, batch)]
    arguments = []
    for item in started:
        try:
            arguments.append(_argument(item, serializer))
        except (Exception, SystemExit) as error:
            fail(item, error)
        else:
            batch.called.append(item)
    entered.set(batch.context)
    return arguments


def _start(item: Run, batch: Batch) -> bool:
    """Record that an item starts; the start of the first one is that of the call.

    False: it has expired, was cancelled, or the keeper takes it back."""
    more = item.job.more
    if item.cancelled:
        return False
    if more is not None and more.expires and is_expired(item):
        item.error = expired(item)
        return False
    if item is not batch.items[0] and not _record(item, batch):
        return False
    item.started_at, item.started_mono = batch.started_at, batch.started_mono
    return True


def _record(item: Run, batch: Batch) -> bool:
    deadline, again, now = 0.0, -1.0, batch.started_mono
    if batch.timeout is not None:
        deadline, again = now + batch.timeout, seconds_to_next_run(item, JobTimeout())
    if not batch.board.start(item.slot, item.job.id, deadline, again, now, item.task.name):
        return False
    if batch.budget is not None:
        cpu_again, memory_again = seconds_to_next_run(item, JobTimeout()), seconds_to_next_run(item, JobOutOfMemory())
        budget = batch.budget._replace(cpu_again=cpu_again, memory_again=memory_again)
        batch.board.limit(item.slot, item.job.id, budget)
    return True


def _argument(item: Run, serializer: Serializer) -> Any:
    args, kwargs = load_arguments(item, serializer)
    item.task.check_call(args, kwargs)
    return args[0]


# ---- after the call


def _take(batch: Batch, values: Any, serializer: Serializer) -> None:
    """Give each item of the call its value, or its error.

    Raises:
        SerializationError: these are not the values of the items.
    """
    _check(batch, values)
    for item, value in zip(batch.called, values, strict=True):
        if isinstance(value, Exception):
            fail(item, value)
        else:
            try:
                item.value = _dump(item, value, serializer)
            except SerializationError as error:
                fail(item, error)


def _check(batch: Batch, values: Any) -> None:
    if inspect.iscoroutine(values):
        values.close()
    count = len(batch.called)
    is_list = isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray | memoryview)
    if not is_list or len(values) != count:
        what = f"a list of {len(values)}" if is_list else type(values).__qualname__
        raise SerializationError(
            f'Task "{batch.task.name}" was called with a batch of {count} items and returned {what}. A batch task '
            "returns a list with a value, or an exception, for each item in its place."
        )


def _dump(item: Run, value: Any, serializer: Serializer) -> bytes:
    name = item.task.name
    if isinstance(value, Signature):
        raise _no_calls(name)
    try:
        return serializer.dump_value(value, item.task.function)
    except Unresolved:
        raise _no_calls(name) from None
    except Exception as error:
        raise blame_value(serializer, name, value, error) from error


def _no_calls(name: str) -> SerializationError:
    return SerializationError(
        f'Task "{name}" returned a call as the value of an item, and an item of a batch cannot wait for other jobs. '
        "Return the value, or make the item a task of its own that returns the call."
    )
