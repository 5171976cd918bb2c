"""The end of a process that the code of a job forks: it ends with that code, and never does the worker's work."""

from __future__ import annotations

import asyncio
import contextlib
import dis
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn

from ..context import entered
from ..log.shown_error import shown_error, without_ours
from .executor import call_async, call_sync
from .run import Run

__all__ = ["LoopThreads", "end_copy", "end_with_caller"]

_RETURNS = {"RETURN_VALUE", "RETURN_CONST"}


class LoopThreads:
    """The threads of this process in which event loops of workers run."""

    def __init__(self) -> None:
        #: By the ident of a thread: the code from which its loop calls callbacks and takes the steps of tasks.
        self._callers: dict[int, CodeType] = {}

    async def add(self) -> None:
        """Remember the running event loop."""
        loop = asyncio.get_running_loop()
        known = loop.create_future()
        # Whatever the loop is made of: a callback is called from where all are.
        loop.call_soon(self._note, known)
        await known

    def _note(self, known: asyncio.Future[None]) -> None:
        self._callers[threading.get_ident()] = sys._getframe(1).f_code
        known.set_result(None)

    def remove(self) -> None:
        """Forget the running event loop, whose worker has ended."""
        self._callers.pop(threading.get_ident(), None)

    @property
    def caller(self) -> CodeType | None:
        """The code that calls all other code in this thread; None: no worker has its event loop here."""
        return self._callers.get(threading.get_ident())


def end_with_caller(loops: LoopThreads) -> None:
    """In a hook of a process that was forked just now: let it end where the code that has forked would return to the
    event loop of a worker, or to a thread that waits for more work.

    Nothing may run there any more. What the loop has to do is done in the parent, on the same sockets; and no work
    would ever come to the thread.
    """
    if loops.caller is not None:
        _close_pollers()
        # A signal to this process must not wake the event loop of the parent.
        signal.set_wakeup_fd(-1)
    calls = [frame for frame in _frames(sys._getframe(1)) if frame.f_code is call_async.__code__]
    outermost = _outermost(sys._getframe(1), loops.caller)
    if outermost is sys._getframe(1):
        # Nothing but the hook: the loop or the thread has called fork itself.
        _exit(0)
    if calls or outermost is not None:
        _End().wait_for([*calls, outermost] if outermost is not None else calls)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """This frame and those of its callers, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _outermost(hook: FrameType, caller: CodeType | None) -> FrameType | None:
    """The frame of the code that has forked which would return to ``caller``, or to the thread. None: a sync job has
    forked in the thread that runs it, or the main thread of a program has."""
    pool = sys.modules.get("concurrent.futures.thread")
    callers = (caller, pool._WorkItem.run.__code__ if pool is not None else None)
    thread = threading.Thread._bootstrap_inner.__code__  # type: ignore[attr-defined]
    inner = outer = None
    for frame in _frames(hook):
        if frame.f_code in callers:
            return outer
        if frame.f_code is thread:
            # ``outer`` is the method ``run`` of the thread.
            return inner
        if frame.f_code is call_sync.__code__:
            return None
        inner, outer = outer, frame
    return None


class _End:
    """Ends this process as soon as one of some frames returns, raises or awaits."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._place: TracebackType | None = None

    def wait_for(self, frames: list[FrameType]) -> None:
        # Frames that begin from now on are not traced.
        sys.settrace(lambda *_: None)
        for frame in frames:
            frame.f_trace, frame.f_trace_lines = self._see, False
        # A process of multiprocessing never returns to its caller, and is not to be slowed down.
        if (util := sys.modules.get("multiprocessing.util")) is not None:
            util.register_after_fork(self, lambda _: sys.settrace(None))

    def _see(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "exception":
            _, self._error, self._place = argument
        elif event == "return":
            self._end(frame)
        return self._see

    def _end(self, frame: FrameType) -> NoReturn:
        sys.settrace(None)
        run = frame.f_locals.get("run") if frame.f_code is call_async.__code__ else None
        if run is not None and run.finished_at:
            end_copy(run)
        last = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        if last in _RETURNS:
            _exit(0)
        if last != "YIELD_VALUE" and self._error is not None:
            _end_by(self._error, shown_error(self._error, without_ours(self._place)))
        job = entered.get().job
        _end_by(
            None,
            f'A process that job "{job.id}" ({job.task}) has forked ends here: it awaits something, but '
            "the event loop belongs to its parent process.",
        )


def end_copy(run: Run) -> NoReturn:
    """The code of a job has ended in a process that it has forked: the process ends as any other one would."""
    if run.error is None:
        _exit(0)
    _end_by(run.error, run.traceback)


def _end_by(error: BaseException | None, text: str) -> NoReturn:
    code: object = 1
    if isinstance(error, SystemExit):
        code = error.code
        text = "" if code is None or isinstance(code, int) else str(code)
    with contextlib.suppress(Exception):
        if text:
            print(text, file=sys.stderr)
    _exit(code if isinstance(code, int) else int(code is not None))


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _close_pollers() -> None:
    """Both processes share each poller: an event that the copy took would never reach the parent."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                    os.close(int(name))
