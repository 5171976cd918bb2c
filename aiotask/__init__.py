"""Run Python functions in worker processes and get their values back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .app import App, default_app, register_task, task
from .backoff import exponential
from .context import JobContext, current_job
from .depends import Depends
from .errors import (
    AiotaskError,
    BrokerError,
    ConfigError,
    ConnectionLost,
    DependencyFailed,
    ImportFailed,
    Interrupted,
    JobCancelled,
    JobError,
    JobExists,
    JobExpired,
    JobLost,
    JobOutOfMemory,
    JobTimeout,
    NotSent,
    QueueFull,
    RemoteError,
    ResultExpired,
    ResultTimeout,
    Retry,
    SealError,
    SerializationError,
    UnknownTask,
    Unresolved,
    WorkerLost,
)
from .history.resultdb import ResultDB
from .job import Job, Status
from .middleware import Call, Middleware
from .outcome import Outcome
from .results.result import AsyncResult, gather
from .signature import Signature
from .tasks.batch import BatchTask
from .tasks.limits import Limit
from .tasks.task import AsyncTask, SyncTask, Task

if TYPE_CHECKING:
    from typing import Any

    from .client.schedules import Schedule
    from .results.graph import Graph, GraphNode
    from .results.group import GroupResult
    from .results.progress import Progress
    from .results.stream import Stream
    from .tasks.stream import AsyncStreamTask, StreamTask, SyncStreamTask
    from .workflow.chain import chain
    from .workflow.group import Group, group

__all__ = [
    # apps and tasks
    "App",
    "AsyncStreamTask",
    "AsyncTask",
    "BatchTask",
    "Limit",
    "StreamTask",
    "SyncStreamTask",
    "SyncTask",
    "Task",
    "default_app",
    "exponential",
    "register_task",
    "task",
    # calls and results
    "AsyncResult",
    "Progress",
    "Schedule",
    "Signature",
    "Stream",
    "gather",
    # calls that depend on calls
    "Graph",
    "GraphNode",
    "Group",
    "GroupResult",
    "chain",
    "group",
    # around and inside a task
    "Call",
    "Depends",
    "Interrupted",
    "JobContext",
    "Middleware",
    "Retry",
    "current_job",
    # values and history
    "Job",
    "Outcome",
    "ResultDB",
    "Status",
    # errors
    "AiotaskError",
    "BrokerError",
    "ConfigError",
    "ConnectionLost",
    "DependencyFailed",
    "ImportFailed",
    "JobCancelled",
    "JobError",
    "JobExists",
    "JobExpired",
    "JobLost",
    "JobOutOfMemory",
    "JobTimeout",
    "NotSent",
    "QueueFull",
    "RemoteError",
    "ResultExpired",
    "ResultTimeout",
    "SealError",
    "SerializationError",
    "UnknownTask",
    "Unresolved",
    "WorkerLost",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    match name:
        case "__version__":
            # Reading the metadata of the installation takes longer than the rest of this import.
            from importlib.metadata import version

            return version("aiotask")
        # What programs without graphs, schedules and streams do not use is loaded at first use.
        case "Graph" | "GraphNode":
            home = "aiotask.results.graph"
        case "GroupResult":
            home = "aiotask.results.group"
        case "Progress":
            home = "aiotask.results.progress"
        case "Schedule":
            home = "aiotask.client.schedules"
        case "Stream":
            home = "aiotask.results.stream"
        case "AsyncStreamTask" | "StreamTask" | "SyncStreamTask":
            home = "aiotask.tasks.stream"
        case "chain":
            home = "aiotask.workflow.chain"
        case "Group" | "group":
            home = "aiotask.workflow.group"
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
