"""How a signature is sent from any process: it finds its app in the process in which it was deserialized."""

from __future__ import annotations

from typing import Any

from .errors import SerializationError
from .results.result import AsyncResult
from .signature import Signature
from .tasks.by_name import named_definition
from .tasks.options import CallOptions
from .tasks.task import Definition, Sender, Task, apps_here, task_of

__all__ = ["Sending", "SendingByName"]


class Sending:
    """Sends signatures of a task; serialized as the task is."""

    def __init__(self, definition: Definition, app: Sender) -> None:
        self.definition = definition
        self.app = app

    def __call__(self, call: Signature[Any]) -> AsyncResult[Any]:
        return self.app.send_signed(self.definition, call)

    def __reduce__(self) -> tuple[Any, ...]:
        return _sending, (task_of(self.definition, self.app),)


def _sending(task: Task[..., Any]) -> Sending:
    return Sending(task.definition, task._app)


class SendingByName(Sending):
    """Sends signatures of a task that its app knows by name only."""

    def __reduce__(self) -> tuple[Any, ...]:
        options = {name: self.definition.option(name) for name in sorted(self.definition.explicit)}
        return _sending_by_name, (self.definition.name, self.app.name, *((options,) if options else ()))


def _sending_by_name(task: str, app: str, options: CallOptions | None = None) -> Sending:
    """The sending of a task by the app of this name in this process, which may know the task.

    Raises:
        SerializationError: there is no such app.
    """
    senders = [sender for sender in list(apps_here) if sender.name == app]
    if not senders:
        raise SerializationError(f'There is no app "{app}" in this process. Import the module that defines it.')
    for sender in senders:
        known = sender.registry.get(task)
        if known is not None:
            return Sending(task_of(known, sender).options(**options).definition if options else known, sender)
    return SendingByName(named_definition(task, options or {}), senders[0])
