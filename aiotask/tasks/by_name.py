"""Tasks that this process knows by name only: it sends their calls, and the worker checks the arguments."""

from __future__ import annotations

from typing import Any

from ..errors import SerializationError
from ..results.result import AsyncResult
from .options import CallOptions, check_options, check_task_name, fields_of, known_options
from .task import Definition, Sender, Task, apps_here, task_of

__all__ = ["NamedTask", "function_of", "named_definition", "task_named"]


def _elsewhere(*args: Any, **kwargs: Any) -> None:
    """Stands for the function of a task that is known by name only."""


def named_definition(name: str, options: CallOptions) -> Definition:
    """The definition of a task that is known by name only.

    Raises:
        ConfigError: the name is not one of a task, an option does not exist, or its value is out of range.
    """
    known_options(dict(options), CallOptions, f'task "{name}"')
    checked = check_options(dict(options), check_task_name(name))
    explicit = frozenset(checked)
    return Definition(name, _elsewhere, False, _elsewhere, explicit=explicit, **fields_of(checked, {}))


def function_of(definition: Definition) -> Any:
    """The function of a task; None where the task is known by name only."""
    return None if definition.function is _elsewhere else definition.function


class NamedTask(Task[..., Any]):
    """A task of another program, as ``app.named`` gives it."""

    def __init__(self, definition: Definition, app: Sender) -> None:
        super().__init__(definition, app)
        self.__name__ = self.__qualname__ = definition.name.rpartition(":")[2]

    def apply_async(self, /, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        return self.s(*args, **kwargs).apply_async()

    def __reduce__(self) -> tuple[Any, ...]:
        options = {name: self.definition.option(name) for name in sorted(self.definition.explicit)}
        return _named, (self._app.name, self.name, options)


def task_named(name: str, app: Sender, options: CallOptions) -> Task[..., Any]:
    """The task of this name: the app's own, if it knows one, with these options of its calls.

    Raises:
        ConfigError: as ``named_definition``.
    """
    known = app.registry.get(name)
    if known is None:
        return NamedTask(named_definition(name, options), app)
    task = task_of(known, app)
    return task.options(**options) if options else task


def _named(app: str, name: str, options: CallOptions) -> Task[..., Any]:
    for sender in list(apps_here):
        if sender.name == app:
            return task_named(name, sender, options)
    raise SerializationError(f'There is no app "{app}" in this process. Import the module that defines it.')
