"""Jobs that wait for other jobs while their worker drains: they go back to the queue at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping

from ..errors import AiotaskError
from .run import Run
from .waiting import waiting

__all__ = ["Parents"]

logger = logging.getLogger("aiotask.worker")

#: Seconds that the outcome of a job which has ended here may take to come to the job that waits for it.
ON_ITS_WAY = 2.0
#: The same for a job that did not run here at the first look: it may have ended just before. Shorter, since most such
#: jobs run elsewhere, and a drain does not wait for those.
MAY_BE_ON_ITS_WAY = 0.5


class Parents:
    """Cancels each run that does nothing but wait for jobs that this worker is not running.

    The next run of such a job takes over the jobs that this one has sent (see ``JobContext.child_id``), so only the
    code of the waiting job itself runs twice.
    """

    def __init__(self) -> None:
        #: Until when (monotonic) the outcome of each job may be on its way from this worker.
        self._until: dict[str, float] = {}
        #: Asyncio tasks that the runs cancelled here have made, by the ``id()`` of the run.
        self._tasks: dict[int, list[asyncio.Task[object]]] = {}
        #: Tasks that cancel results; referenced here, since the loop has only weak references to its tasks.
        self._cancelling: set[asyncio.Task[None]] = set()

    def give_back(self, suspended: Mapping[asyncio.Task[object], Run], running: Collection[str]) -> None:
        """Cancel the runs that only wait for other jobs; to be called again until no job runs any more.

        Args:
            suspended: the async runs of this worker that have begun, by their asyncio tasks.
            running: ids of the jobs that run in this worker. A run that waits for these alone gets their outcomes.
        """
        now = time.monotonic()
        self._until.update(dict.fromkeys(running, now + ON_ITS_WAY))
        runs = {run: task for task, run in suspended.items()}
        # A job that runs once at most would be lost.
        candidates = [run for run in runs if not (run.stopped or run.cancelled or run.begun)]
        back = [each for each in waiting(candidates) if not self._are_near(each.ids, now)]
        for each in back:
            self._tasks[id(each.run)] = list(each.tasks)
            each.run.stopped = True
            runs[each.run].cancel()
        if back:
            one = len(back) == 1
            logger.info(
                "%s requeued: %s for other jobs, which the next run adopts.",
                "1 job is" if one else f"{len(back)} jobs are",
                "it only waits" if one else "they only wait",
            )

    def _are_near(self, ids: Collection[str], now: float) -> bool:
        """Whether these jobs run here, or may have ended here so lately that their outcomes are still on their way."""
        return now < min(self._until.setdefault(id, now + MAY_BE_ON_ITS_WAY) for id in ids)

    def ended(self, run: Run, *, goes_back: bool) -> None:
        """Clean up after a run that was stopped, here or elsewhere, and is over."""
        tasks = self._tasks.pop(id(run), [])
        if goes_back:
            self._until[run.job.id] = 0.0
            for task in tasks:
                # No task of this run goes on beside the next run. Most were cancelled with it.
                if not task.done() and not task.cancelling():
                    task.cancel()
        elif run.deferred_cancels:
            cancelling = asyncio.get_running_loop().create_task(_cancel(run))
            self._cancelling.add(cancelling)
            cancelling.add_done_callback(self._cancelling.discard)


async def _cancel(run: Run) -> None:
    """Cancel the results whose cancel was put off while the run was to go back, since it ended after all."""
    for result in run.deferred_cancels or ():
        try:
            await result.cancel()
        except AiotaskError as error:
            logger.warning('Job "%s" could not cancel job "%s": %s', run.job.id, result.id, error)
