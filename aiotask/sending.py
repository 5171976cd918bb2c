"""How a signature is sent from any process: it finds its app in the process in which it was deserialized."""

from __future__ import annotations

from typing import Any

from .errors import SerializationError
from .result import AsyncResult
from .signature import Signature
from .tasks import Definition, Sender, Task, apps_here, task_of

__all__ = ["Sending", "SendingByName"]


class Sending:
    """Sends signatures of a task; serialized as the task is."""

    def __init__(self, task: Definition, app: Sender) -> None:
        self._task = task
        self._app = app

    def __call__(self, call: Signature[Any]) -> AsyncResult[Any]:
        return self._app.send(self._task, call.args, call.kwargs, call.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return _sending, (task_of(self._task, self._app),)


def _sending(task: Task[..., Any]) -> Sending:
    return Sending(task.definition, task._app)


class SendingByName:
    """Sends signatures of a task that its app knows by name only."""

    def __init__(self, task: str, app: Sender) -> None:
        self._task = task
        self._app = app

    def __call__(self, call: Signature[Any]) -> AsyncResult[Any]:
        return self._app.send_by_name(call)

    def __reduce__(self) -> tuple[Any, ...]:
        return _sending_by_name, (self._task, self._app.name)


def _sending_by_name(task: str, app: str) -> Sending | SendingByName:
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
            return Sending(known, sender)
    return SendingByName(task, senders[0])
