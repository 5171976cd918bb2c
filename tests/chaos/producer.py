"""The sending side of a trial: what was accepted, what came of every job, and which awaits never ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiotask import App
from aiotask.errors import BrokerError, ConnectionLost
from aiotask.outcome import Outcome
from aiotask.results.result import AsyncResult

__all__ = ["ANYTHING", "TOKEN", "Producer", "Sent", "Within"]


class _Mark:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


#: The value has to be the token of a run of this job, or a tuple that begins with it.
TOKEN = _Mark("the token of its run")
#: Whatever it ends with is right, as long as it ends.
ANYTHING = _Mark("anything")


@dataclass(frozen=True)
class Within:
    """The job brings the token of a run that began within this time after its acceptance, or expires after it."""

    seconds: float


@dataclass(slots=True)
class Sent:
    """One job that was handed over. Times are monotonic."""

    id: str
    task: str
    #: TOKEN, ANYTHING, a ``Within``, a value, or the class of an error.
    expect: Any
    awaited: bool
    at: float
    #: ``accepted``, ``refused`` (it must not run), ``ambiguous`` (it may), or empty: still on its way.
    verdict: str = ""
    accepted_at: float = 0.0
    #: The await has ended, with a value or an error.
    ended: bool = False
    ended_at: float = 0.0
    #: The same moment by the wall clock.
    ended_wall: float = 0.0
    value: Any = None
    error: BaseException | None = None
    #: What the client got, if it got an outcome.
    outcome: Outcome | None = None
    #: The id of the job that it is, if that is another one with its key.
    other: str = ""

    @property
    def job(self) -> str:
        """The id under which it runs."""
        return self.other or self.id


class Producer:
    """Sends through one app and logs each accepted job to a file that no fault touches."""

    def __init__(self, app: App, path: Path) -> None:
        self.app = app
        self.sent: dict[str, Sent] = {}
        #: Awaits that had not ended when ``done`` gave up.
        self.stuck: list[Sent] = []
        self._open: dict[asyncio.Task[None], Sent] = {}
        self._ended = asyncio.Event()
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    # ---- sending

    def send(self, task: Any, *args: Any, expect: Any = TOKEN, awaited: bool = True, **kwargs: Any) -> Sent:
        """Hand one job over and look after it: its acceptance is logged, its value compared with ``expect``.

        Args:
            task: of ``arena.tasks``, perhaps with ``.options(…)``.
            expect: TOKEN, ANYTHING, a ``Within``, the very value, or the class of the error it ends with.
            awaited: False: nobody waits for its outcome.
        """
        return self.know(task.apply_async(*args, **kwargs), expect=expect, awaited=awaited)

    def know(self, result: AsyncResult[Any], *, expect: Any = ANYTHING, awaited: bool = False) -> Sent:
        """Look after a job that was just sent by other means."""
        sent = Sent(result.id, result.task, expect, awaited, time.monotonic())
        self.sent[sent.id] = sent
        following = asyncio.get_running_loop().create_task(self._follow(result, sent))
        self._open[following] = sent
        following.add_done_callback(self._close_one)
        return sent

    def send_graph(self, root: Any, others: Iterable[Any]) -> None:
        """Send the calls that a signature depends on with it; all of them are accepted, or none.

        Args:
            others: the signatures of the other calls.
        """
        result = root.apply_async()
        sent = self.know(result, awaited=True)
        self.look_after(asyncio.ensure_future(self._spread(result, sent, [(call.id, call.task) for call in others])))

    async def _spread(self, result: AsyncResult[Any], root: Sent, others: Sequence[tuple[str, str]]) -> None:
        """Give the jobs of a graph the verdict on its root."""
        with contextlib.suppress(BrokerError):
            await result.sent()
        while not root.verdict:
            await asyncio.sleep(0)
        for id, task in others:
            self.sent[id] = Sent(id, task, ANYTHING, False, root.at, root.verdict, root.accepted_at, ended=True)

    def look_after(self, task: asyncio.Task[None]) -> None:
        """Count a task that follows something sent by other means as one that is on its way."""
        self._open[task] = Sent("", "", ANYTHING, True, time.monotonic())
        self._ended.clear()
        task.add_done_callback(self._close_one)

    def _close_one(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        self._ended.set()
        if not task.cancelled():
            # A mistake of the trial's own must not pass in silence.
            task.result()

    async def _follow(self, result: AsyncResult[Any], sent: Sent) -> None:
        try:
            await result.sent()
        except ConnectionLost as error:
            self._judge(sent, "ambiguous", error)
        except BrokerError as error:
            self._judge(sent, "refused", error)
        else:
            self._judge(sent, "accepted", None)
        if not sent.awaited or sent.verdict != "accepted":
            sent.ended = True
            return
        try:
            sent.value = await result
        except asyncio.CancelledError:
            raise
        except Exception as error:
            sent.error = error
        sent.ended_at, sent.ended_wall = time.monotonic(), time.time()
        os.write(self._log, f"ended\t{sent.id}\t{sent.ended_at:.6f}\n".encode())
        sent.outcome = result.arrived
        # The handle may know an earlier one of the jobs that replaced each other.
        sent.other = result.arrived.id if result.arrived is not None else result.id
        sent.ended = True

    def _judge(self, sent: Sent, verdict: str, error: Exception | None) -> None:
        sent.verdict, sent.accepted_at, sent.error = verdict, time.monotonic(), error
        os.write(self._log, f"{verdict}\t{sent.id}\t{sent.accepted_at:.6f}\n".encode())

    async def pace(self, at_most: int) -> None:
        """Return once at most so many jobs are on their way."""
        while len(self._open) > at_most:
            self._ended.clear()
            await self._ended.wait()

    async def done(self, timeout: float = 60.0) -> bool:
        """Wait until every await has ended; those that have not by then are stuck."""
        deadline = time.monotonic() + timeout
        while self._open and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(list(self._open), timeout=left)
        self.stuck += self._open.values()
        for task in list(self._open):
            task.cancel()
        return not self.stuck

    async def close(self) -> None:
        """Hang up."""
        following = list(self._open)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await self.app.client.close()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    # ---- what is known

    @property
    def on_their_way(self) -> int:
        return len(self._open)

    def count(self, verdict: str) -> int:
        """How many were ``accepted``, ``refused``, ``ambiguous``."""
        return sum(sent.verdict == verdict for sent in self.sent.values())
