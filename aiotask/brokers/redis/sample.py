"""What waits in a queue, estimated from some of its jobs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...inspector import Sample
from ..bounds import SAMPLED
from .codec import text
from .connection import Wire
from .script import script

__all__ = ["QueueSample"]


class QueueSample:
    """The verb ``sample`` of ``RedisInspector``."""

    _wire: Wire
    _prefix: str

    async def sample(self, queue: str) -> Sample:
        lined, *lanes = await self._wire.run(script("sample_lanes"), self._prefix, queue)
        pending = lined + sum(count for _, count, *_ in lanes)
        found, looked = Counter[str](), 0
        for name, count, behind, first, last in lanes:
            share = max(1, SAMPLED * count // pending)
            # Where all are wanted, each is the one behind the last, whenever it came.
            until = int(first if share >= count else last)
            tasks = await self._in_lane(name, behind, int(first), until, min(share, count))
            looked += len(tasks)
            found.update(_weighed(tasks, count))
        if lined:
            share = max(1, SAMPLED * lined // pending)
            _, *tasks = await self._wire.run(script("sample"), self._prefix, "", queue, share)
            looked += len(tasks)
            found.update(_weighed(list(map(text, tasks)), lined))
        about = {task: round(number) for task, number in found.most_common() if task}
        return Sample(pending, looked, about)

    async def _in_lane(self, lane: bytes, behind: bytes, first: int, last: int, count: int) -> list[str]:
        """The tasks of some jobs of a lane, evenly spread over the times at which they came there."""
        times: list[Any] = [first + (last - first) * n // max(1, count - 1) for n in range(count)]
        found: list[str] = []
        # Jobs may be large: the script reads a bounded number of bytes.
        while len(found) < count:
            behind, *tasks = await self._wire.run(script("sample"), self._prefix, lane, behind, *times[len(found) :])
            if not tasks:
                break
            found += map(text, tasks)
        return found


def _weighed(tasks: list[str], count: int) -> Counter[str]:
    """How many of this number of jobs each task has, if these are some of them."""
    number = Counter(tasks)
    # Fractions are rounded where all lanes are summed up.
    return Counter({task: count * share / len(tasks) for task, share in number.items()})
