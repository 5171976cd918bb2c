"""Which of the async jobs that run in a loop do nothing but wait for the outcomes of other jobs.

Asked when a worker drains: such a job may go back to its queue at once. Anything else that a job waits for (a timer, a
socket, a thread, a lock) is in flight here, so the answer is no wherever it is not certain.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterable, Sequence
from contextvars import Context
from types import CodeType, FrameType
from typing import Any

from ..context import entered
from ..result import AsyncResult
from .run import Run

__all__ = ["Waiting", "waiting"]

_AWAITS: tuple[tuple[str, str], ...] = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"))
#: What the interpreter puts between a coroutine and what it awaits; neither says in Python what that is.
_WRAPPERS = ("FutureIter", "coroutine_wrapper")
_OURS = __name__.partition(".")[0] + "."
_GATHERING: type[Any] = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]


class Waiting:
    """A run that waits for other jobs alone.

    Args:
        ids: those jobs.
        tasks: asyncio tasks that the job has made and that have not ended.
    """

    def __init__(self, run: Run, ids: set[str], tasks: Sequence[asyncio.Task[Any]]) -> None:
        self.run = run
        self.ids = ids
        self.tasks = tasks


def waiting(runs: Iterable[Run]) -> list[Waiting]:
    """Those of these suspended runs that wait for other jobs alone; call it in their loop."""
    tasks: dict[int, list[asyncio.Task[Any]]] = {id(run): [] for run in runs}
    for task in asyncio.all_tasks():
        context = _context_of(task)
        if context is None:
            # It is about to run, and may belong to any job. The next call of this function will see.
            return []
        seat = context[entered].seat if entered in context else None
        if id(seat) in tasks and not _is_service(task):
            tasks[id(seat)].append(task)
    found = (_waiting(run, tasks[id(run)]) for run in runs)
    return [each for each in found if each is not None]


def _context_of(task: asyncio.Task[Any]) -> Context | None:
    """The context in which the task runs; None: that cannot be known just now."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    # What wakes the task up is called in its context.
    future = task._fut_waiter  # type: ignore[attr-defined]
    for callback, context in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__self__", None) is task:
            found: Context = context
            return found
    return None if task is not asyncio.current_task() else Context()


def _is_service(task: asyncio.Task[Any]) -> bool:
    """Whether this is one of aiotask's own tasks: a session that a job was the first to use has its context."""
    coroutine = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None)
    is_ours = frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS)
    return is_ours and not isinstance(_awaited(coroutine)[1], set)


def _waiting(run: Run, tasks: list[asyncio.Task[Any]]) -> Waiting | None:
    known = set(tasks)
    ids: set[str] = set()
    for awaiting in (run.coroutine, *(task.get_coro() for task in tasks)):
        frames, end = _awaited(awaiting)
        if isinstance(end, set):
            ids |= end
        elif not _is_one_of(end, known) and not _waits_for(frames, end, known):
            return None
    return Waiting(run, ids, tasks) if ids else None


def _awaited(awaiting: Any) -> tuple[list[FrameType], Any]:
    """The frames of a suspended coroutine, and what the innermost one awaits: ids of jobs, or an object."""
    waits = _waits()
    frames: list[FrameType] = []
    while awaiting is not None and len(frames) < 1_000:
        if type(awaiting).__name__ in _WRAPPERS:
            # From Python 3.12 on, its class is among what it refers to.
            awaiting = next((each for each in gc.get_referents(awaiting) if not isinstance(each, type)), None)
            continue
        names = next((names for names in _AWAITS if hasattr(awaiting, names[0])), None)
        frame = getattr(awaiting, names[0]) if names else None
        if names is None or frame is None:
            break
        frames.append(frame)
        if (name := waits.get(frame.f_code)) is not None:
            results = frame.f_locals[name]
            results = [results] if isinstance(results, AsyncResult) else results
            missing = {result.id for result in results if result.arrived is None}
            # Where all are here, the job is about to go on.
            return frames, missing or None
        awaiting = getattr(awaiting, names[1])
    return frames, awaiting


def _waits() -> dict[CodeType, str]:
    """Where outcomes are awaited, and what the awaited results are called there."""
    from ..client.client import Client

    return {Client.outcome.__code__: "result", Client.outcomes.__code__: "results"}


def _is_one_of(awaited: Any, known: set[asyncio.Task[Any]]) -> bool:
    """Whether this ends with tasks that are known, and with nothing else."""
    if isinstance(awaited, asyncio.Task):
        return awaited in known
    if isinstance(awaited, _GATHERING):
        children: list[Any] = awaited._children
        return all(child.done() or _is_one_of(child, known) for child in children)
    # A shield in front of a task.
    inner = _cells(awaited, "shield.<locals>._outer_done_callback").get("inner")
    return inner is not None and not awaited.done() and _is_one_of(inner, known)


def _waits_for(frames: list[FrameType], awaited: Any, known: set[asyncio.Task[Any]]) -> bool:
    """Whether the innermost frame is one of asyncio's own that wait for tasks which are known."""
    if not frames or not asyncio.isfuture(awaited) or awaited.done():
        return False
    frame = frames[-1]
    module, name, names = frame.f_globals.get("__name__"), frame.f_code.co_name, frame.f_locals
    tasks: Iterable[Any] | None = None
    if module == "asyncio.tasks" and name in ("_wait", "wait_for"):
        tasks = names["fs"] if name == "_wait" else (names["fut"],)
    elif module == "asyncio.taskgroups":
        tasks = names["self"]._tasks
    elif module == "asyncio.queues" and len(frames) > 1 and frames[-2].f_code.co_name == "_wait_for_one":
        tasks = _to_complete(frames[-2], names["self"], known)
    return tasks is not None and all(task.done() or _is_one_of(task, known) for task in tasks)


def _to_complete(frame: FrameType, queue: Any, known: set[asyncio.Task[Any]]) -> Iterable[Any] | None:
    """What ``asyncio.as_completed`` still waits for, which puts into this queue; None: that cannot be found."""
    if "self" in frame.f_locals:
        todo: Iterable[Any] = frame.f_locals["self"]._todo
        return todo
    for task in known:
        cells = _cells(task, "as_completed.<locals>._on_completion")
        if cells.get("done") is queue:
            todo = cells["todo"]
            return todo
    return None


def _cells(future: Any, name: str) -> dict[str, Any]:
    """What the callback of this name that a future has was made with."""
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == name:
            values = (cell.cell_contents for cell in callback.__closure__ or ())
            return dict(zip(callback.__code__.co_freevars, values, strict=True))
    return {}
