"""The messages of the pipes between the supervisor, its workers and its keeper, and how they are written and read.

A message is one line of JSON: an object whose ``type`` names its class. A reader ignores fields and messages that it
does not know, so processes of two releases understand what both of them know.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os

import msgspec
from msgspec import UNSET, UnsetType

from ..job import Obituary
from ..worker.stacks import Frame
from .app_facts import AppFacts

__all__ = [
    "Booted",
    "DeclaredDead",
    "Done",
    "Drain",
    "DumpStacks",
    "HostAnswer",
    "HostRequest",
    "InService",
    "JobState",
    "Keeping",
    "Leave",
    "LoadFailed",
    "LoopBroke",
    "LostApp",
    "Message",
    "OnlyKeeper",
    "Oversized",
    "ProcessState",
    "ReportSuspended",
    "Retire",
    "Snapshot",
    "SnapshotRequest",
    "Steered",
    "SuspendedJob",
    "SuspendedJobs",
    "ThreadState",
    "WantsReplacement",
    "WorkerDeath",
    "encode",
    "read_messages",
    "send_message",
]

# Supervisor, keeper and workers all read here, and none of them has a logger of its own for it.
logger = logging.getLogger("aiotask.supervisor")


class _Message(msgspec.Struct, frozen=True, tag=True):
    """A message whose tag, the field ``type``, is the name of its class."""


# ---- what messages consist of


class LostApp(msgspec.Struct, frozen=True):
    """A unit, the tasks of an app or its rows, that is no longer served."""

    #: What ``app_key`` makes of it.
    name: str
    url: str
    #: Whether the host is to be forgotten there: no unit with this lease is served any more.
    forget: bool


class SuspendedJob(msgspec.Struct, frozen=True):
    """Where an async job waits."""

    id: str
    #: Innermost frame first.
    frames: list[Frame]


class ThreadState(msgspec.Struct, frozen=True):
    """One thread of a process: ``loop``, ``sync`` or ``other``; its frames, innermost first."""

    kind: str
    frames: list[Frame]


class JobState(msgspec.Struct, frozen=True):
    """One job that a process runs."""

    id: str
    task: str
    #: Since its start.
    seconds: float
    #: Whether the job blocks the event loop.
    blocks: bool
    #: Where a suspended job waits, innermost frame first; empty: it is not suspended, or that is not known.
    awaits: list[Frame]


class ProcessState(msgspec.Struct, frozen=True):
    """What one process is doing, as ``aiotask stack`` shows it."""

    name: str
    pid: int
    #: Of a worker alone: the names under which it is known to the brokers.
    incarnations: list[str] | UnsetType = UNSET
    #: Of a worker alone: seconds since its event loop last turned; 0: it turns.
    still: float | UnsetType = UNSET
    threads: list[ThreadState] = []
    jobs: list[JobState] = []
    #: Why there are no threads, for people: what keeps the process from running, or what it waits for.
    silence: str | UnsetType = UNSET


# ---- from a worker to the supervisor


class Booted(_Message, frozen=True):
    """The worker has loaded its apps."""

    apps: list[AppFacts]


class LoadFailed(_Message, frozen=True):
    """The worker could not load its apps, and ends."""

    reason: str
    #: Whether a setting is wrong, and not the code of the app.
    misused: bool


class InService(_Message, frozen=True, kw_only=True):
    """The worker of one unit has begun to claim jobs, and has asked its broker a few things."""

    #: ``AppFacts.label`` of the unit.
    app: str
    #: Kind and version; empty: the broker did not answer.
    server: str = ""
    durability: str = ""
    #: Jobs that waited before this start.
    pending: int = 0
    warnings: list[str] = []


class Oversized(_Message, frozen=True):
    """The worker was past its memory limit before its first job."""

    #: Bytes.
    size: int


class WantsReplacement(_Message, frozen=True):
    """The worker has run or grown enough, and asks for a successor."""

    #: Bytes that it has grown to, and bytes before its first job; 0: it is not its size.
    size: int = 0
    size_at_first: int = 0


class Done(_Message, frozen=True):
    """The worker has ended its last job, and nothing is left to do there."""

    #: What jobs have left behind, for people.
    leftovers: list[str]


class LoopBroke(_Message, frozen=True):
    """The worker ends because of an error that left its event loop."""

    error: str


class SuspendedJobs(_Message, frozen=True):
    """The answer to ``ReportSuspended``."""

    jobs: list[SuspendedJob]


class DeclaredDead(_Message, frozen=True):
    """The broker had declared the worker dead; it ends."""


# ---- from the keeper to the supervisor


class Keeping(_Message, frozen=True):
    """The keeper is at work."""


class SnapshotRequest(_Message, frozen=True):
    """The keeper asks what every process is doing."""

    #: Chosen by the keeper; the answer repeats it.
    request: str


class HostRequest(_Message, frozen=True):
    """An operator asks something of the host."""

    #: Chosen by the keeper; the answer repeats it.
    request: str
    #: Id of the operator's message: what has been done once is not done again.
    id: str
    #: ``drain``, ``resume`` or ``recycle``.
    verb: str
    by: str
    #: Unix seconds, by the broker's clock.
    at: float


# ---- from the supervisor to a worker


class Drain(_Message, frozen=True):
    """Claim no more jobs, end those that run, and go."""


class Steered(_Message, frozen=True):
    """The supervisor's page says something new of whether the host takes jobs."""


class ReportSuspended(_Message, frozen=True):
    """Answer with ``SuspendedJobs``."""


class DumpStacks(_Message, frozen=True):
    """Do what SIGUSR1 does, where user code has taken that signal."""


# ---- from the supervisor to the keeper


class WorkerDeath(_Message, frozen=True, kw_only=True):
    """A worker process has ended; one message for each name under which it is known to a broker."""

    incarnation: str
    #: How it ended, for people.
    reason: str
    #: Ids of jobs that ran as the process died by itself.
    blame: tuple[str, ...] = ()
    #: Ids of jobs to blame if there is no other.
    waited: tuple[str, ...] = ()
    #: ``SharedBoard.ring`` of the process, if a job that had ended before may be to blame; else empty.
    recent: bytes = b""
    #: By id of a job for whose limit the process was killed: seconds until the next run, -1: the job fails.
    overdue: dict[str, float] = {}
    #: Where that was not a time limit: ``cpu`` or ``memory``, and what is said of it.
    exceeded: dict[str, tuple[str, str]] = {}
    obituary: Obituary


class OnlyKeeper(_Message, frozen=True):
    """No other keeper of this host is at work."""


class Leave(_Message, frozen=True):
    """The supervisor ends: give back what is left, and go."""

    deaths: list[WorkerDeath]


class Retire(_Message, frozen=True):
    """A successor is at work: give back what is left of apps that it does not serve, and go."""

    apps: list[LostApp]
    deaths: list[WorkerDeath]


class Snapshot(_Message, frozen=True):
    """The answer to ``SnapshotRequest``."""

    request: str
    processes: list[ProcessState]


class HostAnswer(_Message, frozen=True):
    """The answer to ``HostRequest``."""

    request: str
    done: bool
    #: For the operator.
    note: str


Message = (
    Booted
    | LoadFailed
    | InService
    | Oversized
    | WantsReplacement
    | Done
    | LoopBroke
    | SuspendedJobs
    | DeclaredDead
    | Keeping
    | SnapshotRequest
    | HostRequest
    | Steered
    | Drain
    | ReportSuspended
    | DumpStacks
    | WorkerDeath
    | OnlyKeeper
    | Leave
    | Retire
    | Snapshot
    | HostAnswer
)


# ---- writing and reading


def encode(message: Message) -> bytes:
    """One line. By ``json``, since the names of files and the texts of errors may hold lone surrogates, which
    ``msgspec.json`` refuses."""
    return json.dumps(msgspec.to_builtins(message)).encode() + b"\n"


def send_message(fd: int, message: Message) -> None:
    """Write all of it, however long that takes; a reader that is gone is no error."""
    data = encode(message)
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(fd, data) :]


def read_messages(buffer: bytearray, data: bytes) -> list[Message]:
    """The whole messages in what has been read so far; the rest stays in the buffer.

    A line that is none, which user code has written into the pipe by mistake, and a message of another release are
    left out. The log does not show the line: it may hold secrets of an app.
    """
    buffer += data
    *lines, rest = bytes(buffer).split(b"\n")
    buffer[:] = rest
    messages: list[Message] = []
    for line in lines:
        try:
            messages.append(msgspec.convert(json.loads(line), Message))
        except (ValueError, RecursionError) as error:
            logger.debug("A message between processes (%d bytes) was ignored: %s", len(line), error)
    return messages
