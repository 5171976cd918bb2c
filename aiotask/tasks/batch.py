"""Batch tasks: they are sent item by item, and a worker runs them with a list of items."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from ..errors import ConfigError
from ..functions.batches import Batching
from ..functions.callables import what_runs
from .limits import Limited
from .task import Definition, Sender, Task

__all__ = ["BATCH_WAIT", "BatchTask", "batching_of", "refuse_generator", "refuse_limits"]

A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)

#: Seconds that the first item of a batch waits for others, unless the task says otherwise.
BATCH_WAIT = 0.05
#: Options that exclude ``batch``, each with the reason.
_EXCLUDED: dict[str, str] = {
    "acks": 'with acks="early" a job is lost if its process dies, and the items of a batch share one process and one '
    'call: the death of one would end them all. Leave it at "late"',
    "max_running": "a batch takes what has arrived, and would wait for items that the limit holds back. Use rate=, or "
    "run fewer worker processes for its queue",
}


class BatchTask(Task[[A], R_co]):
    """A task that is sent item by item, and whose function takes a list of items.

    ``task.apply_async(item)`` sends one item. ``task(items)`` calls the function in this process; so does ``func``.
    """

    def __init__(self, definition: Definition, app: Sender) -> None:
        super().__init__(definition, app)
        functools.update_wrapper(cast("Callable[..., Any]", self), self.func, updated=())

    @property
    def func(self) -> Callable[..., Any]:
        assert self.definition.batch is not None
        return self.definition.batch.function

    def __call__(self, items: list[A], /, **provided: Any) -> Any:
        injection = self.definition.around and self.definition.around.injection
        if injection:
            injection.refuse_gaps(self.name, self.func, (items,), provided)
        return self.func(items, **provided)


def batching_of(function: Callable[..., Any], checked: dict[str, Any], name: str) -> Batching | None:
    """How calls of a task with these checked options are gathered; None: each job is a call of its own.

    ``batch`` and ``batch_wait`` are taken out of the options.

    Raises:
        ConfigError: another option, or the function, cannot go with ``batch``.
    """
    size, wait = checked.pop("batch", None), checked.pop("batch_wait", None)
    if size is None:
        if wait is not None:
            raise ConfigError(f'Task "{name}": batch_wait={wait:g} needs batch=…, the greatest number of items.')
        return None
    _refuse_others(checked, name)
    return Batching(size, BATCH_WAIT if wait is None else wait, function, BatchTask)


def _refuse_others(checked: Mapping[str, Any], name: str) -> None:
    for option, reason in _EXCLUDED.items():
        if checked.get(option) not in (None, "late"):
            raise ConfigError(f'Task "{name}": batch= and {option}= contradict each other: {reason}.')


def refuse_limits(limited: Limited, name: str) -> None:
    """Refuse a limit of a batch task that is more than a rate in all.

    Raises:
        ConfigError: it limits how many jobs run, or has keys.
    """
    spec = limited.spec
    if spec.max_running or limited.key is not None:
        what = "max_running=" if spec.max_running else "by="
        raise ConfigError(
            f'Task "{name}": batch= and a limit with {what} contradict each other: a batch takes what has arrived, and '
            "would wait for items that the limit holds back. Of limits, a batch takes rate= and burst= alone."
        )


def refuse_generator(function: Callable[..., Any], name: str) -> None:
    """Refuse a batch whose function yields.

    Raises:
        ConfigError: the function is a generator.
    """
    called = what_runs(function)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise ConfigError(
            f'Task "{name}": with batch= the function returns a list, one value for each item, and a generator yields '
            "the items of one job. Return a list, or leave batch out."
        )
