"""Which jobs the death of a worker process counts against: a pure function of what is known of it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..board import Started
from ..signals import HARMLESS

__all__ = ["TOLERATED", "Blame", "End", "blame", "is_from_outside"]

#: How many ends by a signal from outside a job may be caught in before they count against it. A worker process ignores
#: these signals, so whatever dies of one again and again has reset them and sends them to itself.
TOLERATED = 10


@dataclass(frozen=True, slots=True)
class End:
    """How a worker process ended."""

    #: The exit code of the process; negative: the number of the signal.
    code: int
    #: The supervisor killed the process, or the broker had declared it dead.
    killed: bool = False
    #: The process had been asked to end.
    draining: bool = False
    #: A suspect ran there, beside jobs that only waited for others.
    alone: bool = False
    #: The last stack of the process is that of a fault in the code of a job.
    in_job: bool = False

    @property
    def is_from_outside(self) -> bool:
        """Whether an operator or another program ended the process by a signal."""
        return not self.killed and is_from_outside(self.code)


@dataclass(frozen=True, slots=True)
class Blame:
    """Ids of jobs, what may hide more of them, and whether the process failed at all."""

    #: Jobs that ran as the process died by itself: each gets a strike.
    ran: tuple[str, ...] = ()
    #: Jobs that only waited for another one: they are to blame if no other job is.
    waited: tuple[str, ...] = ()
    #: Whether a job that had ended before may have damaged the process.
    recent: bool = False
    #: Whether the process died by itself or by what it ran, so that its end is logged and its successor counted.
    own_fault: bool = False


def is_from_outside(code: int) -> bool:
    """Whether an exit code is that of a signal which no fault of a process raises, KILL left aside: the kernel sends
    that for want of memory, too."""
    return -code in HARMLESS


def blame(end: End, started: Sequence[Started], signalled: Mapping[str, int] = MappingProxyType({})) -> Blame:
    """The jobs that a death counts against.

    Args:
        started: the jobs that ran, as the board of the process says.
        signalled: by job id, in how many ends by a signal from outside it was caught, this one included.
    """
    if end.killed:
        return Blame()
    own_fault = end.code != 0 or bool(started)
    if end.is_from_outside:
        started = [job for job in started if signalled.get(job.id, 0) > TOLERATED]
    ran = tuple(job.id for job in started if not (end.alone and job.away))
    waited = tuple(job.id for job in started if end.alone and job.away)
    return Blame(ran, waited, _may_be_recent(end, ran), own_fault)


def _may_be_recent(end: End, ran: Sequence[str]) -> bool:
    """Whether a job that had ended before may be the cause: nothing that is known names another one."""
    is_certain = end.in_job or (end.alone and bool(ran))
    return not (end.draining or end.is_from_outside or end.code == -signal.SIGKILL or is_certain)
