"""The errors for jobs that will have no outcome."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import AiotaskError, JobLost, ResultExpired, SealError, SerializationError, UnknownTask
from .near_miss import near_misses

if TYPE_CHECKING:
    from ..broker import JobState
    from ..results.result import AsyncResult

__all__ = ["is_parents", "lost_in_fork", "refused_job", "why_there_is_none"]


def why_there_is_none(
    result: AsyncResult[Any], state: JobState, *, foreign: bool, known_tasks: Iterable[str] = ()
) -> AiotaskError:
    """The error for a job that the broker set aside, parked or does not know.

    Args:
        foreign: the job was not sent from here, or has an id that another sender may use too.
        known_tasks: names of the tasks that live workers know.
    """
    id = result.id
    if state.refused:
        return refused_job(id, state.refused)
    kind, _, what = state.need.partition(":")
    if kind == "task":
        return UnknownTask(
            f'No running worker knows the task "{what}".{near_misses(what, known_tasks)} '
            f'The job "{id}" is parked and runs as soon as a worker knows the task. '
            "Did you start a worker with the module that defines it?"
        )
    if kind == "python":
        return SerializationError(
            f'Job "{id}" carries code by value that Python {what} wrote, and no worker runs that version '
            f"(this process: {sys.version_info[0]}.{sys.version_info[1]}). It is parked. Run both sides on the "
            "same minor version, or define the function in a module that both import."
        )
    if kind == "release":
        return UnknownTask(
            f'Job "{id}" ({result.task}) needs a newer release of aiotask than that of any running worker (envelope '
            f"version {what}). The job is parked and runs as soon as such a worker is up: upgrade the workers first."
        )
    if is_parents(result):
        return JobLost(lost_in_fork(id))
    if foreign:
        return ResultExpired(f'Job "{id}" is not known: it was never sent, or it is older than its result TTL.')
    return JobLost(
        f'Job "{id}" was accepted, but the broker no longer has the job or its outcome. '
        "Was the server emptied, or is the result TTL over?"
    )


def refused_job(id: str, reason: str) -> SealError:
    """The error for a job that a worker set aside."""
    return SealError(f'Job "{id}" did not run: the worker that received it set it aside. {reason}')


def is_parents(result: AsyncResult[Any]) -> bool:
    """Whether the parent of this forked process still had to send the job at the fork."""
    return result.send_buffer is not None and bool(result.send_buffer.is_parents(result.ticket))


def lost_in_fork(id: str) -> str:
    """The error text for a job that the parent process had to send and that the broker does not know."""
    return (
        f'Job "{id}" was handed over before this process was forked, and the broker does not know it: either the '
        "parent process has not sent it yet, or its result TTL is over. Await it in the parent, or send it "
        "in the child."
    )
