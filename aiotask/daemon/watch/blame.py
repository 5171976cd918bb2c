"""Which jobs the death of a worker process counts against: a pure function of what is known of it."""

from __future__ import annotations

import signal
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..board import Started
from ..signals import HARMLESS

__all__ = ["TOLERATED", "Blame", "End", "Signalled", "blame", "is_from_outside"]

#: How many ends by a signal from outside a job may be caught in before they count against it. A worker process ignores
#: these signals, so whatever dies of one again and again has reset them and sends them to itself.
TOLERATED = 10
#: Jobs that ``Signalled`` remembers.
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class End:
    """How a worker process ended."""

    #: Its exit code; negative: the number of the signal.
    code: int
    #: The supervisor killed it, or the broker had declared it dead.
    killed: bool = False
    #: It had been asked to end.
    draining: bool = False
    #: A suspect ran there, beside jobs that only wait for others.
    alone: bool = False
    #: Its last stack is that of a fault in the code of a job.
    in_job: bool = False


@dataclass(frozen=True, slots=True)
class Blame:
    """Ids of jobs, and what may hide more of them."""

    #: Jobs that ran as the process died by itself: each gets a strike.
    ran: tuple[str, ...] = ()
    #: Jobs that only waited for another one: they are to blame if no other job is.
    waited: tuple[str, ...] = ()
    #: Whether a job that had ended before may have damaged the process.
    recent: bool = False


def is_from_outside(code: int) -> bool:
    """Whether an exit code is that of a signal which no fault of a process raises, KILL left aside: the kernel sends
    that for want of memory, too."""
    return -code in HARMLESS


def blame(end: End, started: Sequence[Started], signalled: Mapping[str, int] = MappingProxyType({})) -> Blame:
    """The jobs that a death counts against.

    Args:
        started: the jobs that ran, as the page of the process says.
        signalled: by job id, in how many ends by a signal from outside it was caught, this one included.
    """
    if end.killed:
        return Blame()
    outside = is_from_outside(end.code)
    if outside:
        started = [job for job in started if signalled.get(job.id, 0) > TOLERATED]
    ran = tuple(job.id for job in started if not (end.alone and job.away))
    waited = tuple(job.id for job in started if end.alone and job.away)
    certain = end.in_job or (end.alone and bool(ran))
    recent = not end.draining and not outside and end.code != -signal.SIGKILL and not certain
    return Blame(ran, waited, recent)


class Signalled:
    """Counts, by job id, the ends by a signal from outside that a job was caught in."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, ids: Collection[str]) -> Mapping[str, int]:
        """One more end for each of these jobs; the counts of all."""
        for id in ids:
            self._counts[id] = self._counts.pop(id, 0) + 1
        while len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return self._counts
