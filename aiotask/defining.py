"""How a function and its options become the definition of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import ConfigError
from .functions.callables import checker, gives_coroutines, refuse_what_is_no_function
from .functions.main_module import home_of
from .options import TaskOptions, check_options, check_task_name, fields_of, known_options, refuse_retries
from .tasks import Definition, Task

__all__ = ["define"]


def define(function: Callable[..., Any], options: TaskOptions) -> Definition:
    """The definition of a function with these options.

    Raises:
        ConfigError: the function cannot be a task, or an option is wrong.
    """
    known_options(options, TaskOptions, f'task "{getattr(function, "__qualname__", function)}"')
    if isinstance(function, Task):
        raise ConfigError(f'"{function.name}" is a task already.')
    name = options.get("name")
    refuse_what_is_no_function(function, is_named=name is not None)
    homeless = ""
    if name is not None:
        check_task_name(name)
    else:
        home = home_of(function)
        homeless = home.why_not
        name = f"{home.name or '__main__'}:{function.__qualname__}"
    checked = check_options({key: value for key, value in options.items() if key != "name"}, name)
    refuse_retries(name, checked.get("acks", "late"), checked.get("retries", 0))
    return Definition(
        name=name,
        function=function,
        is_async=gives_coroutines(function),
        check=checker(function),
        homeless=homeless,
        is_limited=bool(checked.get("memory") or checked.get("cpu")),
        **fields_of(checked, {}),
    )
