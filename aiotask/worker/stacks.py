"""Stacks as data: frames from the innermost one outwards, and which of them are the user's."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from . import batch_call, executor, provide, sync_lane
from .run import Run

__all__ = [
    "Frame",
    "Thread",
    "awaits",
    "frames_of",
    "is_executor",
    "place",
    "shown_file",
    "text",
    "threads_in",
    "users",
]


class Frame(NamedTuple):
    """One line of a stack."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Thread(NamedTuple):
    """One thread of a process: ``loop``, ``sync`` (it runs a job or waits for one) or ``other``; its frames."""

    kind: str
    frames: list[Frame]

    @property
    def job_frames(self) -> list[Frame] | None:
        """Frames of the job that the thread runs. None: the thread runs no job."""
        for n, frame in enumerate(self.frames):
            if is_executor(frame.file) and frame.function in _CALLS:
                return self.frames[:n]
        return None


_THREAD = re.compile(r"^(?=(?:Current )?[Tt]hread 0x)", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_OURS = str(Path(__file__).resolve().parent.parent)


def shown_file(file: str) -> str:
    """The path of a file of aiotask from the package's folder on: the same wherever another process has the package."""
    return file[len(os.path.dirname(_PACKAGE)) :]


_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_EXECUTORS = shown_file(executor.__file__), shown_file(provide.__file__), shown_file(batch_call.__file__)
_SYNC_LANE = shown_file(sync_lane.__file__)
#: Functions of the executor that call a task.
_CALLS = (
    *("_perform_sync", "_call_special", "call_sync", "call_async"),
    *("perform_sync", "perform_async", "perform_batch", "perform_batch_async"),
)
_INSTALLED = ("/site-packages/", "/dist-packages/")


@cache
def _foreign() -> tuple[str, ...]:
    """Folders with code that is not the user's: those of Python, of installed packages and of aiotask."""
    import sysconfig

    paths = sysconfig.get_paths()
    return (*{paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}, _OURS, "<frozen")


def is_executor(file: str) -> bool:
    """Whether this file is the executor's, whose frames call jobs."""
    return file.endswith(_EXECUTORS)


def threads_in(dump: str, loop: tuple[str, str]) -> list[Thread]:
    """The threads of a process in the text that ``faulthandler`` wrote.

    Args:
        loop: file, as ``shown_file`` has it, and name of the function that runs the event loop of a worker process.
    """
    found: list[Thread] = []
    for block in _THREAD.split(dump):
        frames = [Frame(file, int(line), function) for file, line, function in _FRAME.findall(block)]
        if frames:
            found.append(Thread(_kind(frames, loop), frames))
    return found


def _kind(frames: Sequence[Frame], loop: tuple[str, str]) -> str:
    if any(frame.function == loop[1] and frame.file.endswith(loop[0]) for frame in frames):
        return "loop"
    return "sync" if any(frame.file.endswith(_SYNC_LANE) for frame in frames) else "other"


def frames_of(frame: FrameType | None) -> list[Frame]:
    """The frames of a live stack of this process."""
    found: list[Frame] = []
    while frame is not None and len(found) < 100:
        found.append(Frame(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return found


def users(frames: Sequence[Frame]) -> Frame | None:
    """The innermost frame that is neither of Python itself, nor of an installed package, nor of aiotask."""
    for frame in frames:
        if not frame.file.startswith(_foreign()) and not any(part in frame.file for part in _INSTALLED):
            return frame
    return None


def place(frames: Sequence[Frame]) -> str:
    """The position of a stack in one line: the innermost frame of user code, and the innermost frame if another."""
    if not frames:
        return "an unknown place"
    user = users(frames) or frames[0]
    return str(user) if user is frames[0] else f"{user} (at {frames[0]})"


def text(frames: Sequence[Frame]) -> str:
    """The frames as lines of text, innermost first."""
    return "\n".join(f'  File "{frame.file}", line {frame.line} in {frame.function}' for frame in frames)


#: Greatest number of jobs in an answer, and of frames of each job.
_JOBS, _DEPTH = 200, 20


def awaits(runs: Sequence[Run]) -> dict[str, Any]:
    """The jobs of suspended runs and the frames in which each waits, innermost first; to be called in their loop."""
    jobs = [{"id": run.job.id, "frames": _chain(run.coroutine)} for run in runs[:_JOBS]]
    return {"jobs": jobs}


def _chain(awaited: Any) -> list[Frame]:
    chain: list[Frame] = []
    while awaited is not None and len(chain) < 100:
        frame, following = _step(awaited)
        if frame is None:
            break
        chain.append(Frame(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        awaited = following
    chain.reverse()
    inner = next(
        (n for n, frame in enumerate(chain) if is_executor(frame.file) and frame.function in _CALLS), len(chain)
    )
    return chain[:inner][:_DEPTH]


_KINDS: tuple[tuple[str, str], ...] = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def _step(awaited: Any) -> tuple[FrameType | None, Any]:
    """The frame of an awaited coroutine or generator, and the object that this awaits."""
    for frame, following in _KINDS:
        if hasattr(awaited, frame):
            return getattr(awaited, frame), getattr(awaited, following)
    return None, None
