"""Which of the async jobs that run in a loop do nothing but wait for the outcomes of other jobs.

A worker that drains asks this: such a job may go back to its queue at once. A job that waits for anything else (a
timer, a socket, a thread, a lock) has work under way here, so a job counts as waiting only where that is certain.
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
from ..results.result import AsyncResult
from .run import Run

__all__ = ["Waiting", "waiting"]

_AWAITS: tuple[tuple[str, str], ...] = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"))
#: Types of objects that the interpreter puts between a coroutine and what it awaits; they have no attribute for that.
_WRAPPERS = ("FutureIter", "coroutine_wrapper")
_OURS = __name__.partition(".")[0] + "."
_GATHERING: type[Any] = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]


class Waiting:
    """A run that only waits for other jobs.

    Args:
        ids: ids of those jobs.
        tasks: asyncio tasks that the job has made and that have not ended.
    """

    def __init__(self, run: Run, ids: set[str], tasks: Sequence[asyncio.Task[Any]]) -> None:
        self.run = run
        self.ids = ids
        self.tasks = tasks


def waiting(runs: Iterable[Run]) -> list[Waiting]:
    """The suspended runs, among these, that only wait for other jobs; to be called in their loop."""
    tasks: dict[int, list[asyncio.Task[Any]]] = {id(run): [] for run in runs}
    for task in asyncio.all_tasks():
        context = _context_of(task)
        if context is None:
            # The task is about to run, and may belong to any job: the next call of this function decides.
            return []
        seat = context[entered].seat if entered in context else None
        if id(seat) in tasks and not _is_service(task):
            tasks[id(seat)].append(task)
    found = (_waiting(run, tasks[id(run)]) for run in runs)
    return [each for each in found if each is not None]


def _context_of(task: asyncio.Task[Any]) -> Context | None:
    """The context in which the task runs; None: the context cannot be found now."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    # The callback that wakes the task up is called in the task's context.
    future = task._fut_waiter  # type: ignore[attr-defined]
    for callback, context in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__self__", None) is task:
            found: Context = context
            return found
    return None if task is not asyncio.current_task() else Context()


def _is_service(task: asyncio.Task[Any]) -> bool:
    """Whether this is a task of aiotask itself. Those of a session have the context of the job that first used it."""
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
            # From Python 3.12 on, the class of the wrapper is among the objects that it refers to.
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
            # Where all outcomes have arrived, the job is about to go on.
            return frames, missing or None
        awaiting = getattr(awaiting, names[1])
    return frames, awaiting


def _waits() -> dict[CodeType, str]:
    """The functions that await outcomes, each with the name of its variable for the awaited results."""
    from ..client.client import Client

    return {Client.outcome.__code__: "result", Client.outcomes.__code__: "results"}


def _is_one_of(awaited: Any, known: set[asyncio.Task[Any]]) -> bool:
    """Whether the awaited object waits for known tasks and for nothing else."""
    if isinstance(awaited, asyncio.Task):
        return awaited in known
    if isinstance(awaited, _GATHERING):
        children: list[Any] = awaited._children
        return all(child.done() or _is_one_of(child, known) for child in children)
    # ``asyncio.shield`` around a task.
    inner = _cells(awaited, "shield.<locals>._outer_done_callback").get("inner")
    return inner is not None and not awaited.done() and _is_one_of(inner, known)


def _waits_for(frames: list[FrameType], awaited: Any, known: set[asyncio.Task[Any]]) -> bool:
    """Whether the innermost frame is one of asyncio that waits for known tasks and for nothing else."""
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
    """The futures that ``asyncio.as_completed`` still waits for, by its queue; None: they cannot be found."""
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
    """The closure variables of a future's callback with this qualified name; empty: there is no such callback."""
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == name:
            values = (cell.cell_contents for cell in callback.__closure__ or ())
            return dict(zip(callback.__code__.co_freevars, values, strict=True))
    return {}
