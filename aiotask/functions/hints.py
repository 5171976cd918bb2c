"""Hints for users of other task queues: options and attributes that have another name here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = [
    "APP_ELSEWHERE",
    "OPTIONS_ELSEWHERE",
    "RESULT_ELSEWHERE",
    "TASK_ELSEWHERE",
    "explain_absence",
    "refuse_boxed",
    "wrong_arguments",
]

_ON_SUCCESS = "To call a task with the value: task.s(…).on_success(other_task).apply_async()."
_ON_ERROR = "To call a task with the exception: task.s(…).on_error(other_task).apply_async()."
_MIDDLEWARE = "Code around calls and jobs is a middleware: App(…, middleware=[…])."
#: Options of other task queues, and what to write instead.
OPTIONS_ELSEWHERE = {
    "countdown": "To start a call later: delay=… (seconds or a timedelta).",
    "bind": "A task takes no self: current_job() has the id, the attempt and the job.",
    "base": "There are no task classes: a task is a function.",
    "max_retries": "It is called retries=….",
    "default_retry_delay": "It is called backoff=…: a function from the number of failed runs to seconds.",
    "autoretry_for": "It is called retry_on=(…,), beside retries=….",
    "dont_autoretry_for": "Name the exceptions that are retried: retry_on=(…,).",
    "retry_backoff": "It is called backoff=exponential(base=…).",
    "retry_backoff_max": "It is called backoff=exponential(limit=…).",
    "retry_jitter": "It is called backoff=exponential(jitter=…).",
    "retry_kwargs": "Use retries=… and backoff=….",
    "time_limit": "It is called timeout=….",
    "soft_time_limit": "It is called timeout=…: the task is interrupted at that limit, and killed a second later.",
    "acks_late": 'This is the default, acks="late". The opposite is acks="early".',
    "reject_on_worker_lost": "This is the default: a job whose worker dies runs again.",
    "rate_limit": 'It is called rate="10/m", and counts over all workers.',
    "task_id": "It is called id=….",
    "job_id": "It is called id=….",
    "routing_key": "It is called queue=….",
    "exchange": "It is called queue=….",
    "link": _ON_SUCCESS,
    "link_error": _ON_ERROR,
    "serializer": 'The serializer belongs to the app: App(…, serializer="json").',
    "track_started": "No option is needed: the status of a running job is RUNNING.",
    "result_expires": "It is called result_ttl=….",
    "result_ex": "It is called result_ttl=….",
    "queue_name": "It is called queue=….",
    "actor_name": "It is called name=….",
    "max_age": "It is called expires=…, in seconds.",
    "age_limit": "It is called expires=…, in seconds.",
    "ttl": "The time that a job may wait is called expires=…; that of its outcome, result_ttl=….",
    "on_success": _ON_SUCCESS,
    "on_error": _ON_ERROR,
    "on_failure": _ON_ERROR,
    "on_retry": _MIDDLEWARE,
    "shadow": _MIDDLEWARE,
    "headers": _MIDDLEWARE,
    "throws": "Name the exceptions that are retried: retry_on=(…,). Any other one is the outcome of the job.",
    "trail": "No option is needed: await result.children() has the jobs that a job sent.",
    "pydantic": 'The serializer belongs to the app: App(…, serializer="json") checks arguments by their annotations.',
}


_AT_START = "What a worker process opens once is a provider: App(…, lifespan=[…])."
#: Attributes of apps of other task queues, and what takes their place.
APP_ELSEWHERE = {
    "send_task": 'To send a call by the name of its task: app.s("module:function", …).apply_async().',
    "signature": 'A call as a value: task.s(…), or app.s("module:function", …) by name.',
    "conf": "Settings are arguments of App(…) or environment variables: see docs/settings.md.",
    "config_from_object": "Settings are arguments of App(…) or environment variables: see docs/settings.md.",
    "autodiscover_tasks": 'Name the modules: App(…, include=["shop.tasks", …]).',
    "start": "To start a worker: aiotask worker your.module.",
    "worker_main": "To start a worker: aiotask worker your.module.",
    "AsyncResult": "For a handle on a job: app.result(id).",
    "control": "To cancel a job: app.result(id).cancel(). To pause a queue or a task: app.pause(…). "
    "For the rest: aiotask --help.",
    "add_periodic_task": "To run a task by itself: @app.task(every=…) or cron=…; at run time: app.schedules.set(…).",
    "on_after_configure": _AT_START,
    "on_startup": _AT_START,
    "on_shutdown": _AT_START,
    "GroupResult": "For a handle on a group that was sent: app.result(id), or app.graph(id).",
    "backend": "Outcomes are on the broker's server: app.result(id). Finished jobs: ResultDB(path, app=app).",
    "tasks": 'To list the tasks of live workers: aiotask tasks. A task by its name: app.named("module:function").',
    "actor": "To make a task: @app.task.",
    "enqueue": 'To send a call: task.apply_async(…), or app.s("module:function", …).apply_async() by name.',
    "add_task": "To register a function: app.register_task(function).",
}


_SEND = "To send the call: .apply_async(…), and later: .options(delay=…).apply_async(…)."
#: Attributes of tasks of other task queues, and what takes their place.
TASK_ELSEWHERE = dict.fromkeys(
    ("apply", "delay", "enqueue", "kiq", "schedule", "send", "send_with_options", "submit"), _SEND
) | {
    "si": "It is called task.s(…): nothing is added to the arguments of a signature.",
    "signature": "It is called task.s(…).",
    "subtask": "It is called task.s(…).",
    "retry": 'To ask for another attempt: raise Retry("reason", delay=…).',
    "request": "The id, the attempt and the job: current_job().",
    "update_state": 'To say how far the job is: current_job().progress(3, 10, "resizing").',
    "replace": "To have the value of another call: return other.s(…).cast.",
    "chunks": "To send a call for each chunk of many items: task.map(items, chunk=…).",
    "starmap": "To send a call for each tuple of arguments: group(task.s(*each) for each in items).",
    "AsyncResult": "For a handle on a job: task.result(id).",
}
#: Attributes of results of other task queues, and those that asyncio expects of a future.
RESULT_ELSEWHERE = (
    dict.fromkeys(("collect", "join", "result", "value", "wait_result"), "To wait for it: await it, or result.get().")
    | dict.fromkeys(
        ("failed", "ready", "state", "successful"),
        "For its status: await result.status(), or result.blocking.status().",
    )
    | dict.fromkeys(("revoke", "abort"), "To cancel the job: await result.cancel(), or result.blocking.cancel().")
    | dict.fromkeys(
        ("add_done_callback", "cancelled", "done", "exception", "remove_done_callback"),
        "asyncio.wait() and other functions that take futures need a task: asyncio.ensure_future(result).",
    )
    | {
        "traceback": "The exception that the await raises has the remote traceback as a note. See also: aiotask job ID",
        "task_id": "It is called result.id.",
        "job_id": "It is called result.id.",
    }
)


class _Absent:
    """A missing attribute whose AttributeError has a hint. A ``__getattr__`` would slow down the access to every other
    attribute, by 40 ns each on Python 3.11, which adds up to a tenth of the time of a send."""

    def __init__(self, name: str, hint: str) -> None:
        self._name = name
        self._hint = hint

    def __get__(self, owner: object, kind: type) -> Any:
        raise AttributeError(f'"{kind.__name__}" has no attribute "{self._name}". {self._hint}')

    def __repr__(self) -> str:
        return f"(not there. {self._hint})"


def explain_absence(kind: type, hints: dict[str, str]) -> None:
    """Have the AttributeError for each of these names say what takes its place."""
    for name, hint in hints.items():
        setattr(kind, name, _Absent(name, hint))

    def names(self: object) -> list[str]:
        """The names without the missing ones, for completion at a prompt."""
        return [name for name in object.__dir__(self) if name not in hints]

    kind.__dir__ = names  # type: ignore[method-assign, assignment]


def wrong_arguments(task: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: TypeError) -> TypeError:
    """The error for arguments that a function does not take, with a hint if another task queue takes that form."""
    celery = {"args", "kwargs"} & set(kwargs) or {"countdown", "eta", "queue", "retries", "priority"} & set(kwargs)
    boxed = len(args) in (1, 2) and isinstance(args[0], tuple | list)
    hint = ""
    if celery or boxed:
        hint = (
            " Pass arguments as you would to the function itself: task.apply_async(1, 2, key=3); "
            "everything else about the call goes into options: task.options(queue=…, delay=…).apply_async(…)."
        )
    return TypeError(f'Task "{task}": {error}.{hint}')


#: Annotations that no tuple fits, also in the text form of ``from __future__ import annotations``.
_NO_TUPLES = (int, float, complex, str, bytes, bool, "int", "float", "complex", "str", "bytes", "bool")


def refuse_boxed(task: str, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """Refuse a tuple as the only argument of a task that takes a number or text: a call in another task queue's form.

    Raises:
        TypeError: the call has that form.
    """

    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return
    if parameters and parameters[0].annotation in _NO_TUPLES:
        shown = ", ".join("…" for _ in given) or ""
        raise TypeError(
            f'Task "{task}": the argument "{parameters[0].name}" is a tuple, not '
            f"{getattr(parameters[0].annotation, '__name__', parameters[0].annotation)}. Pass arguments as you would "
            f"to the function itself: task.apply_async({shown}), without the tuple around them."
        )
