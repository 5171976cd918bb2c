"""Lanes, in which jobs wait: their grammar and their order, for every broker.

A lane is named ``q:QUEUE:KIND`` or ``parked:NEED``. A KIND is one of

- ``0`` to ``9``: fresh jobs of that priority;
- ``r``: returned jobs, which were recovered, released or retried;
- ``s``: suspects, jobs with which a process died. A worker runs one at a time, with no other job beside it;
- ``g``: limited jobs that were admitted. They come there as they are claimed, so no claim looks there.

A limited job waits in a line, ``l:QUEUE:PRIORITY:LIMIT:KEY``, by its number there.

A parked job waits for a worker that offers what it needs (``task:NAME``, ``python:3.11``, ``release:3``), or for the
end of a pause (``pause:ID@QUEUE``, on the server with ``:l`` behind it for limited jobs).

The names are on the server, so they outlive a release. Code above the brokers does not read them: a ``Delivery`` says
whether it is a suspect, and whether it is a returned job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from ..job import is_paused_need

__all__ = [
    "ADMITTED",
    "BELL",
    "KINDS",
    "LINED",
    "RETURNED",
    "SUSPECT",
    "admitted_lanes",
    "all_lanes",
    "claim_order",
    "flags_of",
    "is_lane",
    "is_line",
    "is_parked",
    "kind_of_requeue",
    "lane_of",
    "lane_order",
    "line_of",
    "need_of",
    "parked_lane",
    "queue_of",
    "suspect_lanes",
]

RETURNED, SUSPECT, ADMITTED = "r", "s", "g"
#: The kind of what wakes a worker when a limit may admit something; no lane.
BELL = "b"
#: Kinds in the order in which they are claimed; suspects stand apart.
KINDS = (RETURNED, *map(str, range(10)))

#: What the need of limited jobs of a paused task ends with.
LINED = ":l"

_PARKED = "parked:"


def lane_of(queue: str, kind: str | int) -> str:
    """The lane of a queue for jobs of one kind; the kind of a fresh job is its priority."""
    return f"q:{queue}:{kind}"


def line_of(queue: str, priority: int, limit: str) -> str:
    """The line of a queue and priority for the jobs of a limit and key (``NAME:KEY``)."""
    return f"l:{queue}:{priority}:{limit}"


def parked_lane(need: str) -> str:
    """The lane in which jobs wait for a worker that offers this need."""
    return _PARKED + need


def claim_order(queues: Sequence[str], needs: Iterable[str] = (), *, by_queue: bool = False) -> list[str]:
    """Lanes in the order in which they are claimed: returned jobs of every queue, parked ones, then by priority.

    Args:
        by_queue: parked jobs, then queue after queue, each with its returned jobs and by priority.
    """
    return list(_claim_order(tuple(queues), tuple(needs), by_queue))


# Asked at each claim; queues take turns, so there are about as many answers as queues.
@lru_cache(maxsize=256)
def _claim_order(queues: tuple[str, ...], needs: tuple[str, ...], by_queue: bool) -> list[str]:
    if by_queue:
        return [*map(parked_lane, needs), *(f"q:{queue}:{kind}" for queue in queues for kind in KINDS)]
    returned, *fresh = ([f"q:{queue}:{kind}" for queue in queues] for kind in KINDS)
    return [*returned, *map(parked_lane, needs), *(lane for lanes in fresh for lane in lanes)]


def suspect_lanes(queues: Iterable[str]) -> list[str]:
    """The lanes in which the suspects of these queues wait."""
    return [f"q:{queue}:{SUSPECT}" for queue in queues]


def admitted_lanes(queues: Iterable[str]) -> list[str]:
    """The lanes in which the limited jobs of these queues are that were admitted."""
    return [f"q:{queue}:{ADMITTED}" for queue in queues]


def all_lanes(queue: str) -> list[str]:
    """Every lane of a queue: suspects first, then in the order in which they are claimed, then admitted ones."""
    return [f"q:{queue}:{kind}" for kind in (SUSPECT, *KINDS, ADMITTED)]


def flags_of(lane: str) -> tuple[bool, bool]:
    """``Delivery.suspect`` and ``Delivery.returned`` of the jobs in a lane."""
    suspect = lane.startswith("q:") and lane.endswith(":s")
    return suspect, suspect or not lane.startswith("q:") or lane.endswith(":r")


def kind_of_requeue(*, suspect: bool, behind: int) -> str | int:
    """The kind of lane for a requeued delivery that is due at once; a suspect that did not run stays a suspect."""
    return SUSPECT if suspect else RETURNED if behind < 0 else behind


def is_lane(name: str) -> bool:
    """Whether this is the name of a lane."""
    return name.startswith(("q:", _PARKED))


def is_line(name: str) -> bool:
    """Whether this is the name of a line."""
    return name.startswith("l:")


def is_parked(lane: str) -> bool:
    """Whether this is a lane of parked jobs."""
    return lane.startswith(_PARKED)


def need_of(lane: str) -> str:
    """The need of the jobs in a lane of parked jobs; empty for other lanes."""
    if not lane.startswith(_PARKED):
        return ""
    need = lane.removeprefix(_PARKED)
    if not is_paused_need(need):
        return need
    pause, at, queue = need.rpartition("@")
    return pause + at + queue.removesuffix(LINED)


def queue_of(lane: str) -> str:
    """The queue to which a lane or a line belongs; not for lanes of parked jobs."""
    return lane.split(":", 2)[1] if is_line(lane) else lane.removeprefix("q:").rpartition(":")[0]


def lane_order(lane: str) -> tuple[int | str, ...]:
    """What lanes are sorted by in lists of jobs: those of suspects, then in the order in which jobs are claimed, then
    those of parked jobs; within these by queue, or by need. No two lanes are equal, whatever their names are."""
    if is_parked(lane):
        return (1, need_of(lane), lane)
    return (0, _LISTED.find(lane[-1:]), queue_of(lane), lane)


_LISTED = SUSPECT + "".join(KINDS) + ADMITTED
