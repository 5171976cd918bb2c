"""``on_run_end`` of the middleware when a run has ended; ``on_retry`` and ``on_finish`` once the broker has taken what
became of the job."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from ..broker import Delivery, Settled
from ..context import JobContext, entered
from ..errors import JobError
from ..job import FINAL
from ..log.shown_error import without_ours
from ..loops.agent import agent
from ..middleware import Hooks
from ..wire.error_form import text_of
from .life import Life
from .run import Run
from .settler import Settler
from .verdict import Verdict, What

__all__ = ["Aftermath", "aftermath_of"]

logger = logging.getLogger("aiotask.worker")

#: Seconds that async hooks which still run have at the end of the worker.
END_TIMEOUT = 5.0


class Aftermath:
    """Runs the hooks of one worker's jobs in its loop, each at most once per run; their errors are logged.

    Args:
        worker: its name, as ``JobContext`` shows it.
    """

    def __init__(self, hooks: Hooks, worker: str, life: Life) -> None:
        self._hooks = hooks
        self._worker = worker
        self._life = life
        #: What became of jobs, until the broker has answered.
        self._expected: dict[tuple[str, str], tuple[Run, Verdict]] = {}
        self._running: set[asyncio.Task[None]] = set()

    @property
    def backlog(self) -> int:
        """How many async hooks run."""
        return len(self._running)

    def ended(self, run: Run, verdict: Verdict) -> None:
        """A run has ended, if it took place at all, and the broker does not know yet."""
        if self._hooks.on_run_end and run.started_at:
            job, error = self._job(run), _reported(verdict.error)
            for on_run_end in self._hooks.on_run_end:
                self._start(job, on_run_end, partial(on_run_end, job, str(verdict.what.status), error))

    def expect(self, run: Run, verdict: Verdict) -> None:
        """This is handed over to the broker next."""
        self.ended(run, verdict)
        if not self._hooks.on_retry and not self._hooks.on_finish:
            return
        if verdict.what is What.RETRY or verdict.what.status in FINAL:
            self._expected[run.delivery.lane, run.delivery.entry] = run, verdict

    def replace(self, delivery: Delivery, verdict: Verdict) -> None:
        """The broker has refused the outcome of a job, and is given another one."""
        key = delivery.lane, delivery.entry
        if key in self._expected:
            self._expected[key] = self._expected[key][0], verdict

    def settled(self, deliveries: Sequence[Delivery], answers: Sequence[Settled]) -> None:
        """The broker has answered."""
        for delivery, answer in zip(deliveries, answers, strict=True):
            run, verdict = self._expected.pop((delivery.lane, delivery.entry), (None, None))
            if run is not None and verdict is not None and answer is not Settled.NOT_YOURS:
                self._call(run, verdict)

    async def settle_all(self) -> None:
        """Return once no hook runs, or after 5 seconds: then those that do are cancelled."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=END_TIMEOUT)
            for task in late:
                task.cancel()
            if late:
                logger.error("%d hooks of the middleware were cancelled: they ran longer than the worker.", len(late))
                await asyncio.wait(late, timeout=1.0)

    def _call(self, run: Run, verdict: Verdict) -> None:
        job, error = self._job(run), _reported(verdict.error)
        if verdict.what is What.RETRY:
            assert error is not None
            for on_retry in self._hooks.on_retry:
                self._start(job, on_retry, partial(on_retry, job, error, verdict.delay))
        else:
            for on_finish in self._hooks.on_finish:
                self._start(job, on_finish, partial(on_finish, job, str(verdict.what.status), error))

    def _job(self, run: Run) -> JobContext:
        meta = run.delivery.meta
        return JobContext(run.job, meta.attempt, self._worker, is_item=run.task.batch is not None, deaths=meta.deaths)

    def _start(self, job: JobContext, hook: Callable[..., Any], call: Callable[[], Any]) -> None:
        """Run a sync hook, or begin an async one, in a context of its own."""
        context = copy_context()
        context.run(entered.set, job)
        try:
            waiting = context.run(call)
        except BaseException as error:
            _log(hook, job, error)
        else:
            if inspect.isawaitable(waiting):
                self._follow(context, self._await(waiting, hook, job))

    def _follow(self, context: Context, waiting: Any) -> None:
        task = context.run(agent, waiting)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def _await(self, waiting: Awaitable[Any], hook: Callable[..., Any], job: JobContext) -> None:
        try:
            await waiting
        except BaseException as error:
            _log(hook, job, error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._life.stir()


def aftermath_of(hooks: Hooks, worker: str, life: Life, settler: Settler) -> Aftermath | None:
    """The aftermath that a settler reports to; None: no middleware asks for it."""
    if not hooks.on_retry and not hooks.on_finish and not hooks.on_run_end:
        return None
    settler.aftermath = aftermath = Aftermath(hooks, worker, life)
    return aftermath


def _reported(error: BaseException | None) -> Exception | None:
    """An error as hooks take it: what ends processes, such as SystemExit, is wrapped."""
    if error is None or isinstance(error, Exception):
        return error
    wrapped = JobError(f"{type(error).__name__}: {text_of(error)}")
    wrapped.__cause__ = error
    return wrapped


def _log(hook: Callable[..., Any], job: JobContext, error: BaseException) -> None:
    name = getattr(hook, "__qualname__", repr(hook))
    logger.error(
        "%s failed after job %s (%s), which is not affected: %s: %s",
        name,
        job.id,
        job.job.task,
        type(error).__name__,
        text_of(error),
        exc_info=(type(error), error, without_ours(error.__traceback__)),
    )
