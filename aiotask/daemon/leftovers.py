"""What jobs leave behind in a worker process: tasks, threads and processes that keep it from ending."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from types import FrameType

from ..log.events import in_words
from ..loops.frames import current_frames
from .child import Child

__all__ = ["Leftovers", "find_leftovers"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds that a process has to end once its last job has ended and its brokers know.
END_TIMEOUT = 2.0
#: The same while no board is left for another process.
SHORT_END_TIMEOUT = 0.2
#: Seconds without a heartbeat after which a process without jobs, which was asked to end, counts as blocked.
HEARTBEAT_TIMEOUT = 5.0
#: Seconds before its end in which it writes down its stacks.
_DUMP_TIME = 0.5
#: What is named of each kind.
_MOST = 5


# ---- in the worker process


def find_leftovers() -> list[str]:
    """What is still there that is not the worker's, for people; called by the last task of its loop."""
    current = asyncio.current_task()
    tasks = Counter(_of_task(task) for task in asyncio.all_tasks() if task is not current)
    found = [f"the task {name}" if n == 1 else f"{n} tasks {name}" for name, n in tasks.most_common(_MOST)]
    frames = current_frames()
    # The worker's own ones are daemons, but for these two.
    threads = set(threading.enumerate()) - {threading.main_thread(), threading.current_thread()}
    for thread in [each for each in threads if not each.daemon and each.ident in frames][:_MOST]:
        frame = frames[thread.ident]  # type: ignore[index]  # one that runs has a number
        if not _is_idle(frame):
            found.append(f"the thread {thread.name} in {_location(frame)}")
    if (module := sys.modules.get("multiprocessing")) is not None:
        children = [each for each in module.active_children() if not each.daemon]
        found += [f"the process {child.name} (pid {child.pid})" for child in children[:_MOST]]
    return found


def _of_task(task: asyncio.Task[object]) -> str:
    name = getattr(task.get_coro(), "__qualname__", task.get_name())
    stack = task.get_stack(limit=1)
    return f"{name} ({_file(stack[0])})" if stack else str(name)


def _is_idle(frame: FrameType) -> bool:
    """Whether a thread of a pool waits for work."""
    return frame.f_code.co_filename.endswith("concurrent/futures/thread.py") and frame.f_code.co_name == "_worker"


def _location(frame: FrameType) -> str:
    return f"{frame.f_code.co_name} ({_file(frame)})"


def _file(frame: FrameType) -> str:
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])}:{frame.f_lineno}"


# ---- in the supervisor


class Leftovers:
    """Ends processes that have no job left and do not end: nothing of theirs can be lost."""

    def tick(self, children: Collection[Child], *, in_a_hurry: bool = False) -> None:
        """Look at all workers once.

        Args:
            in_a_hurry: no board is left for another process.
        """
        timeout = SHORT_END_TIMEOUT if in_a_hurry else END_TIMEOUT
        now = time.monotonic()
        for child in children:
            if child.killed:
                continue
            if child.done_since:
                self._check_done(child, now - child.done_since, timeout)
            elif _is_blocked(child, now):
                self._end(child, "no job left, but code that jobs left behind blocks its event loop")

    def _check_done(self, child: Child, waited: float, timeout: float) -> None:
        if waited > timeout:
            self._end(child, f"no job left, but did not end within {in_words(timeout)}")
        elif waited > timeout - _DUMP_TIME and not child.asked_for_stacks:
            child.ask_for_stacks()

    def _end(self, child: Child, why: str) -> None:
        if child.leftovers:
            left = f" Jobs left behind: {', '.join(child.leftovers)}."
        else:
            what = "an async generator that does not close, or an atexit function that does not return"
            left = f" The cause may be {what}." if child.done_since else ""
        logger.warning("%s has %s; it is killed.%s", child.title, why, left)
        if not child.leftovers and (stacks := child.take_stacks()):
            logger.warning("The stacks of %s:\n%s", child.title, stacks)
        child.kill("having no job left")


def _is_blocked(child: Child, now: float) -> bool:
    """Whether a process without jobs does not notice that it was asked to end."""
    silent = now - child.board.heartbeat > HEARTBEAT_TIMEOUT
    return silent and child.draining and child.is_up and not child.board.started()
