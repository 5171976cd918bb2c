"""How a function and its options become the definition of a task, and what tells calls of it apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..context import JobContext, sending_job
from ..depends import Injection
from ..errors import ConfigError
from ..functions.batches import of_one
from ..functions.callables import (
    checker,
    gives_coroutines,
    gives_items,
    is_async_generator,
    refuse_what_is_no_function,
)
from ..functions.main_module import home_of
from ..functions.template import maker, names_in
from ..job import ids, keyed_id
from ..middleware import Hooks, around_of
from ..values.unique import is_unique, rule_of, unique_id, without_rule
from .batch import batching_of, refuse_generator, refuse_limits
from .limits import Limit, Limited, limited_by
from .options import BatchOptions, check_options, check_task_name, fields_of, known_options
from .task import Definition, Task, consistent

__all__ = ["call_of", "define", "id_by_key", "id_of_runs", "keyed_call", "surrounded", "without_key"]


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
    key = checked.get("key")
    if callable(key) or (isinstance(key, str) and names_in(key)):
        checked["key"] = maker(called, key, "key")
    limited = _limited(checked, name, called)
    if batching is not None and limited is not None:
        refuse_limits(limited, name)
    fields = fields_of(checked, {} if limited is None else {"limit": limited})
    if stream := _stream_of(function):
        fields["more"] = {**fields.get("more", {}), "streams": True}
    definition = Definition(
        name=name,
        function=called,
        is_async=gives_coroutines(function) or is_async_generator(function),
        stream=stream,
        check=checker(called),
        batch=batching,
        goes_apart=batching is not None or checked.get("acks") == "early",
        homeless=homeless,
        is_limited=bool(checked.get("memory") or checked.get("cpu")),
        **fields,
    )
    return consistent(definition)


def _stream_of(function: Callable[..., Any]) -> type[Any] | None:
    """The class of the task of a generator; None: the function is none."""
    if not gives_items(function):
        return None
    # Most programs have no such task.
    from .stream import AsyncStreamTask, SyncStreamTask

    return AsyncStreamTask if is_async_generator(function) else SyncStreamTask


def _limited(checked: dict[str, Any], task: str, function: Callable[..., Any]) -> Limited | None:
    """What the options ``limit``, ``max_running`` and ``rate`` say, which are taken out of the checked ones.

    Raises:
        ConfigError: there is a limit beside the short forms, or its key cannot be made of the parameters.
    """
    limit: Limit | None = checked.pop("limit", None)
    short = {name: checked.pop(name) for name in ("max_running", "rate") if name in checked}
    try:
        if limit is not None and short:
            raise ConfigError(f"{' and '.join(f'{name}=' for name in short)} beside limit=…: write them in Limit(…).")
        if short:
            limit = Limit(**short)
        return None if limit is None else limited_by(limit, task, function)
    except ConfigError as error:
        raise ConfigError(f'Task "{task}": {error}') from None


def surrounded(task: Definition, hooks: Hooks, injection: Injection | None = None) -> Definition:
    """The definition with this middleware, and these providers or those it has, around its function.

    Raises:
        ConfigError: the task is sync, and a middleware is for async ones alone.
    """
    if injection is None and task.around is not None:
        injection = task.around.injection
    around = around_of(hooks, injection, task.name, is_async=task.is_async)
    return task if around is None else replace(task, around=around)


def key_of(task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """The key of a call; None: it has none.

    Raises:
        ConfigError: an argument has no text that can be part of a key.
    """
    return task.key(args, kwargs) if callable(task.key) else task.key


def id_by_key(
    task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], child: Callable[[], str] | None = None
) -> str:
    """The id of a call by its key; empty: it has none.

    Args:
        child: makes the id that a repeated run of the job that sends the call makes again. None: no job sends it.
    """
    key = key_of(task, args, kwargs)
    if key is None:
        return ""
    rule = rule_of(task.more)
    if rule is None or rule.policy == "kept":
        return keyed_id(task.name, key)
    return unique_id(task.name, key, ids.next() if child is None else child().rpartition("-")[2])


def id_of_runs(task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, bool]:
    """The id in a schedule of a call, and whether the call has a key. The id is that of each run, or of a unique job
    without what tells one run from another (see ``scheduled.job_of``); empty: each run has an id of its own."""
    key = key_of(task, args, kwargs)
    if key is None:
        return "", False
    rule = rule_of(task.more)
    if rule is None or rule.policy == "kept":
        return keyed_id(task.name, key), True
    return unique_id(task.name, key, ""), True


def keyed_call(
    task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], body: bytes, app: str
) -> tuple[Definition, str, bool, bool, JobContext | None]:
    """A call of a task with a key: the definition for it, its id, whether the broker may know the id, whether another
    client may have sent the job, and the job that sends it, if that is noted."""
    parent = sending_job()
    child = partial(parent.child_id, call_of(task, app), body) if parent is not None else None
    id = id_by_key(task, args, kwargs, child)
    if is_unique(id):
        return task, id, parent is not None, parent is not None, parent
    if id:
        return task, id, True, True, None
    task = without_key(task)
    if parent is None or child is None:
        return task, ids.next(), False, False, None
    return task, child(), True, parent.may_repeat, parent


def without_key(task: Definition) -> Definition:
    """The definition for a call that has no key."""
    return replace(task, key=None, more=without_rule(task.more))


def call_of(task: Definition, app: str) -> tuple[str | float | bool | None, ...]:
    """What distinguishes a call from others with the same arguments: app, task and options."""
    explicit = task.explicit
    retries = task.retries if explicit and "retries" in explicit else None
    timeout = task.timeout if explicit and "timeout" in explicit else -1.0
    where = app, task.name, task.queue, task.priority, task.delay, task.eta
    # Nothing is added for a call without further options: a run may be repeated by another release.
    more = [
        f"{name}={task.more[name]}" for name in sorted(task.more) if task.more[name] is not None and name != "limit"
    ]
    return *where, retries, timeout, task.result_ttl, task.ignore_result, *more
