"""How a function and its options become the definition of a task, and what tells calls of it apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .batch_task import batching_of, refuse_generator
from .depends import Injection
from .errors import ConfigError
from .functions.batches import of_one
from .functions.callables import checker, gives_coroutines, refuse_what_is_no_function
from .functions.main_module import home_of
from .middleware import Hooks, around_of
from .options import BatchOptions, check_options, check_task_name, fields_of, known_options
from .tasks import Definition, Task, consistent

__all__ = ["call_of", "define", "surrounded"]


def define(function: Callable[..., Any], options: BatchOptions, *, typed: bool = False) -> Definition:
    """The definition of a function with these options.

    Args:
        typed: the annotations are needed now.

    Raises:
        ConfigError: the function cannot be a task, or an option is wrong.
    """
    known_options(options, BatchOptions, f'task "{getattr(function, "__qualname__", function)}"')
    if isinstance(function, Task):
        raise ConfigError(f'"{function.name}" is a task already.')
    name = options.get("name")
    if "batch" in options and callable(function):
        refuse_generator(function, f"{name or getattr(function, '__qualname__', 'of a callable')}")
    refuse_what_is_no_function(function, is_named=name is not None)
    homeless = ""
    if name is not None:
        check_task_name(name)
    else:
        home = home_of(function)
        homeless = home.why_not
        name = f"{home.name or '__main__'}:{function.__qualname__}"
    checked = check_options({key: value for key, value in options.items() if key != "name"}, name)
    batching = batching_of(function, checked, name)
    called = function if batching is None else of_one(function, f'Task "{name}"', typed=typed)
    definition = Definition(
        name=name,
        function=called,
        is_async=gives_coroutines(function),
        check=checker(called),
        batch=batching,
        goes_apart=batching is not None or checked.get("acks") == "early",
        homeless=homeless,
        is_limited=bool(checked.get("memory") or checked.get("cpu")),
        **fields_of(checked, {}),
    )
    return consistent(definition)


def surrounded(task: Definition, hooks: Hooks, injection: Injection | None = None) -> Definition:
    """The definition with this middleware, and these providers or those it has, around its function.

    Raises:
        ConfigError: the task is sync, and a middleware is for async ones alone.
    """
    if injection is None and task.around is not None:
        injection = task.around.injection
    around = around_of(hooks, injection, task.name, is_async=task.is_async)
    return task if around is None else replace(task, around=around)


def call_of(task: Definition, app: str) -> tuple[str | float | bool | None, ...]:
    """What distinguishes a call from others with the same arguments: app, task and options."""
    explicit = task.explicit
    retries = task.retries if explicit and "retries" in explicit else None
    timeout = task.timeout if explicit and "timeout" in explicit else -1.0
    where = app, task.name, task.queue, task.priority, task.delay, task.eta
    # Nothing is added for a call without further options: a run may be repeated by another release.
    more = [f"{name}={task.more[name]}" for name in sorted(task.more) if task.more[name] is not None]
    return *where, retries, timeout, task.result_ttl, task.ignore_result, *more
