"""What a caller asks of the broker about one job, and has done with it: where it stands, and its cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ..brokers.shown import hide_password
from ..errors import ConnectionLost, JobCancelled, JobLost, ResultExpired, about
from ..job import Status
from ..outcome import Outcome, decode_outcome
from ..result import AsyncResult
from ..wire.ended import ended
from .no_outcome import is_parents, lost_in_fork, refused_job
from .sessions import Sessions

if TYPE_CHECKING:
    from ..broker import Cancelled, JobState

__all__ = ["Inquiry"]

T = TypeVar("T")

#: Seconds for an answer about one job, with the sending of what is left before.
PATIENCE = 4.8
#: Looks at a job that the parent of this forked process has to send, and seconds between them.
_FORK_LOOKS, _FORK_PAUSE = 8, 0.5


class Inquiry:
    """Questions about single jobs, asked in the running loop."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._sealer = sessions.outcomes_sealer

    async def outcome(self, result: AsyncResult[Any]) -> Outcome | None:
        """The stored outcome, by one look; None: there is none yet."""
        state = await self._in_time(self._look(result))
        return (
            decode_outcome(self._sealer.open(state.outcome))
            if state is not None and state.outcome is not None
            else None
        )

    async def status(self, result: AsyncResult[Any]) -> Status:
        state = await self._in_time(self._look(result))
        if state is None:
            return Status.PENDING
        if state.outcome is not None:
            return decode_outcome(self._sealer.open(state.outcome)).status
        if state.refused:
            raise refused_job(result.id, state.refused)
        if state.status is None:
            raise _unknown(result)
        return state.status

    async def cancel(self, result: AsyncResult[Any]) -> Cancelled:
        return await self._in_time(self._cancel(result))

    async def forget(self, result: AsyncResult[Any]) -> bool:
        """Remove the stored outcome; whether there was one."""
        (was_there,) = await self._in_time(self._sessions.session().broker.forget([result.id]))
        return was_there

    async def sent_by_parent(self, result: AsyncResult[Any]) -> None:
        """Return once the broker knows a job that the parent of this forked process has to send."""
        for _ in range(_FORK_LOOKS):
            state = await self._in_time(self._look(result))
            if (
                state is None
                or state.outcome is not None
                or state.status is not None
                or state.refused
                or state.doubtful
            ):
                return
            await asyncio.sleep(_FORK_PAUSE)
        raise JobLost(lost_in_fork(result.id))

    async def _look(self, result: AsyncResult[Any]) -> JobState | None:
        """What the broker knows of a job; None: it waits for room in its queue."""
        session = self._sessions.session()
        await session.drain(held=False)
        await self._sessions.hand_on(result)
        if _is_held(result):
            return None
        (state,) = await session.broker.status([result.id])
        return state

    async def _cancel(self, result: AsyncResult[Any]) -> Cancelled:
        from ..broker import Cancelled

        session = self._sessions.session()
        of_task = f" ({result.task})" if result.task else ""
        message = f'Job "{result.id}"{of_task} was cancelled.'
        await session.drain(held=False)
        await self._sessions.hand_on(result)
        while _is_held(result):
            if result.outbox.withdraw(result.ticket, JobCancelled(message)):
                return Cancelled.DONE
            await asyncio.sleep(0.01)
        sealed = ended(self._sealer, result.id, result.task, JobCancelled, message)
        done = await session.broker.cancel(result.id, sealed, self._sessions.result_ttl)
        if done is Cancelled.UNKNOWN:
            raise _unknown(result)
        return done

    async def _in_time(self, answer: Coroutine[Any, Any, T]) -> T:
        """What it brings, or ConnectionLost where sending what is left and asking take too long together."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            raise ConnectionLost(
                f'No answer from the broker at "{hide_password(self._sessions.url)}" (silence for {PATIENCE:g} s). '
                "Is the server running, and is the URL right? `aiotask doctor` checks both."
            ) from None


def _is_held(result: AsyncResult[Any]) -> bool:
    """Whether it waits for room in its queue, here."""
    return result.outbox is not None and not result.outbox.is_copy and result.ticket in result.outbox.held


def _unknown(result: AsyncResult[Any]) -> Exception:
    """Why the broker knows nothing of this job."""
    if is_parents(result):
        return about(ResultExpired(lost_in_fork(result.id)), result.id)
    refused: Exception | None = result.outbox.error_of(result.ticket) if result.outbox is not None else None
    text = f'Job "{result.id}" is not known: it was never sent, or it is older than its result TTL.'
    return about(ResultExpired(text), result.id) if refused is None else refused
