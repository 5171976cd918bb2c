"""Requests about one job that a caller makes of the broker: its status and outcome, cancel and forget."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..broker import Cancelled
from ..brokers import features, inspect
from ..brokers.shown import NO_ANSWER, hide_password
from ..brokers.technology import GRAPHS
from ..errors import AiotaskError, ConfigError, ConnectionLost, JobCancelled, JobLost, ResultExpired, about
from ..job import Status
from ..outcome import Outcome, decode_outcome
from ..results.result import AsyncResult
from ..values.unique import is_same_key, is_unique
from ..wire.ended import ended
from .following import exists, stranger
from .no_outcome import is_parents, lost_in_fork, refused_job
from .sessions import Sessions

if TYPE_CHECKING:
    from ..broker import JobState
    from ..inspector import GraphInspector
    from ..results.graph import Graph
    from .graphs import GraphInquiry

__all__ = ["Inquiry"]

T = TypeVar("T")

#: Seconds that a request about one job may take, with the sending of unsent jobs before it.
ANSWER_TIMEOUT = 4.8
#: Polls for a job that the parent of this forked process has to send, and seconds between them.
_FORK_POLLS, _FORK_POLL_EVERY = 8, 0.5


class Inquiry:
    """Requests about single jobs, made in the running loop."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._sealer = sessions.outcomes_sealer

    async def outcome(self, result: AsyncResult[Any]) -> Outcome | None:
        """The stored outcome, asked for once; None: the job has none yet."""
        state = await self._in_time(self._state(result))
        return (
            decode_outcome(self._sealer.open(state.outcome))
            if state is not None and state.outcome is not None
            else None
        )

    async def status(self, result: AsyncResult[Any]) -> Status:
        state = await self._in_time(self._state(result))
        if state is None:
            return Status.PENDING
        if state.outcome is not None:
            return decode_outcome(self._sealer.open(state.outcome)).status
        if state.refused:
            raise refused_job(result.id, state.refused)
        if state.exists:
            raise exists(result.id, state.exists)
        if state.status is None:
            raise _unknown(result)
        return state.status

    async def cancel(self, result: AsyncResult[Any]) -> Cancelled:
        is_plain = type(result) is AsyncResult and result.send_buffer is not None and not result.shared
        has_graphs = GRAPHS in features(self._sessions.url)
        if not is_plain and has_graphs:
            # A large graph takes longer than one request may.
            done = await self._cancel_graph(result.id)
            if done is not Cancelled.UNKNOWN:
                return done
        done = await self._in_time(self._cancel(result))
        if has_graphs and await self.graphs.cancel(result.id, self._sessions.result_ttl) is Cancelled.ASKED:
            # Its run has returned Refs, and jobs for which it waited run now. None can be added after its cancel.
            done = Cancelled.ASKED
        return done

    async def _cancel_graph(self, id: str) -> Cancelled:
        """Cancel a graph; UNKNOWN: the id is none of a graph."""
        await self._in_time(self._settled(None))
        return await self.graphs.cancel(id, self._sessions.result_ttl)

    async def graph(self, id: str, result: AsyncResult[Any] | None = None) -> Graph:
        await self._in_time(self._settled(result))
        return await self.graphs.graph(id)

    async def replay(self, graph: str) -> int:
        return await self._in_time(self.graphs.replay(graph))

    async def refuse_group(self, result: AsyncResult[Any]) -> None:
        """Raise ConfigError if the id, which is of no job, is that of a group."""
        if result.send_buffer is None and GRAPHS in features(self._sessions.url):
            graph = None
            with contextlib.suppress(AiotaskError):
                graph = await self._in_time(self.graphs.graph(result.id))
            if graph is not None and all(node.id != result.id for node in graph.nodes):
                raise ConfigError(
                    f'"{result.id}" is the id of a group, which is no job and has no outcome of its own. See its jobs '
                    "with `await app.graph(id)`, or send the group with .then(task) and await that."
                )

    async def children(self, id: str) -> list[str]:
        """Ids of the jobs that a job has sent."""
        if GRAPHS not in features(self._sessions.url):
            return []
        view = cast("GraphInspector", inspect(self._sessions.session().broker))
        return await self._in_time(view.children(id))

    @property
    def graphs(self) -> GraphInquiry:
        from .graphs import GraphInquiry

        sessions = self._sessions
        return GraphInquiry(sessions.session().broker, sessions.outcomes_sealer, sessions.jobs_sealer)

    async def _settled(self, result: AsyncResult[Any] | None) -> None:
        """Return once what was handed over here is with the broker."""
        await self._sessions.session().drain(for_room=False)
        if result is not None:
            await self._sessions.hand_on(result)

    async def forget(self, result: AsyncResult[Any]) -> bool:
        """Remove the stored outcome of the job; return whether it had one."""
        await self._in_time(self._follow(result))
        (was_there,) = await self._in_time(self._sessions.session().broker.forget([result.id]))
        return was_there

    async def sent_by_parent(self, result: AsyncResult[Any]) -> None:
        """Return once the broker knows a job that the parent of this forked process has to send."""
        for _ in range(_FORK_POLLS):
            state = await self._in_time(self._state(result))
            if (
                state is None
                or state.outcome is not None
                or state.status is not None
                or state.refused
                or state.doubtful
            ):
                return
            await asyncio.sleep(_FORK_POLL_EVERY)
        raise JobLost(lost_in_fork(result.id))

    async def _state(self, result: AsyncResult[Any]) -> JobState | None:
        """What the broker knows of a job; None: the job still waits here for room in its queue."""
        session = self._sessions.session()
        await session.drain(for_room=False)
        await self._sessions.hand_on(result)
        if _waits_for_room(result):
            return None
        while True:
            (state,) = await session.broker.status([result.id])
            if not state.same:
                return state
            if not is_same_key(result.id, state.same):
                raise stranger(result.id, state.same)
            session.mailbox.follow(result.id, state.same)
            result.id = state.same

    async def _follow(self, result: AsyncResult[Any]) -> None:
        """Have a handle on a unique job follow it to the one that it is."""
        if is_unique(result.id):
            state = await self._state(result)
            if state is not None and state.exists:
                raise exists(result.id, state.exists)

    async def _cancel(self, result: AsyncResult[Any]) -> Cancelled:
        session = self._sessions.session()
        of_task = f" ({result.task})" if result.task else ""
        message = f'Job "{result.id}"{of_task} was cancelled.'
        await session.drain(for_room=False)
        await self._sessions.hand_on(result)
        await self._follow(result)
        while _waits_for_room(result):
            if result.send_buffer.withdraw(result.ticket, JobCancelled(message)):
                return Cancelled.DONE
            await asyncio.sleep(0.01)
        sealed = ended(self._sealer, result.id, result.task, JobCancelled, message)
        done = await session.broker.cancel(result.id, sealed, self._sessions.result_ttl)
        if done is Cancelled.UNKNOWN:
            raise _unknown(result)
        return done

    async def _in_time(self, answer: Coroutine[Any, Any, T]) -> T:
        """The answer, or ConnectionLost if sending unsent jobs and the request together take ANSWER_TIMEOUT seconds."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await answer
        except TimeoutError:
            raise ConnectionLost(
                f'No answer from the broker at "{hide_password(self._sessions.url)}" '
                f"(silence for {ANSWER_TIMEOUT:g} s). {NO_ANSWER}"
            ) from None


def _waits_for_room(result: AsyncResult[Any]) -> bool:
    """Whether the job waits in this process for room in its queue."""
    return (
        result.send_buffer is not None
        and not result.send_buffer.is_copy
        and result.ticket in result.send_buffer.waiting_for_room
    )


def _unknown(result: AsyncResult[Any]) -> Exception:
    """The error for a job of which the broker knows nothing."""
    if is_parents(result):
        return about(ResultExpired(lost_in_fork(result.id)), result.id)
    refused: Exception | None = result.send_buffer.error_of(result.ticket) if result.send_buffer is not None else None
    text = f'Job "{result.id}" is not known: it was never sent, or it is older than its result TTL.'
    return about(ResultExpired(text), result.id) if refused is None else refused
