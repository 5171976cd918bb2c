"""The questions of the keeper to its supervisor, and the answers that come back over the other pipe."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from ..wire.control import Ask
from .messages import HostAnswer, HostRequest, Message, ProcessState, Snapshot, SnapshotRequest, send_message

__all__ = ["Questions"]

#: Seconds within which the supervisor answers.
ANSWER_TIMEOUT = 2.2


class Questions:
    """Asks the supervisor, which answers each question under its number.

    Args:
        reports: where messages to the supervisor are written.
    """

    def __init__(self, reports: int) -> None:
        self._reports = reports
        self._counter = itertools.count(1)
        self._open: dict[str, asyncio.Future[Any]] = {}

    async def snapshot(self) -> list[ProcessState]:
        """What every process of this host is doing.

        Raises:
            TimeoutError: the supervisor has not answered.
        """
        answer: Snapshot = await self._ask(SnapshotRequest)
        return answer.processes

    async def obey(self, ask: Ask) -> tuple[bool, str]:
        """Pass on what an operator asks of this host: whether the supervisor has done it, and a note."""
        asked = ask.id, ask.verb, ask.by, ask.at
        try:
            answer: HostAnswer = await self._ask(lambda number: HostRequest(number, *asked))
        except TimeoutError:
            return False, "Its supervisor does not answer; it may do it yet."
        return answer.done, answer.note

    async def _ask(self, question: Callable[[str], Message]) -> Any:
        number = str(next(self._counter))
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        send_message(self._reports, question(number))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await answer
        finally:
            del self._open[number]

    def answered(self, message: Snapshot | HostAnswer) -> None:
        """Hand an answer to the caller that waits for it; without such a caller, drop it."""
        answer = self._open.get(message.request)
        if answer is not None and not answer.done():
            answer.set_result(message)
