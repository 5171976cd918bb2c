"""GroupResult: the handle on jobs that were sent together."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

from ..errors import ResultTimeout, about
from ..job import FINAL, Status
from ..settings import seconds
from .result import AsyncResult, Home, gather

__all__ = ["GraphResult", "GroupResult"]

T = TypeVar("T")


class GraphResult(AsyncResult[T]):
    """A handle on the job for which a graph was sent; ``cancel`` is about the whole graph."""

    __slots__ = ()


class GroupResult(AsyncResult[list[T]]):
    """A handle on the jobs of a group or of ``Task.map``. Awaiting it returns their values in order, or raises the
    first error; the other jobs go on.

    Args:
        id: id of the graph that the jobs are.
        home: the client; None: there are no jobs.
        members: the handles of the jobs.
        is_chunked: each job has a list of values, of several items.
    """

    __slots__ = ("_is_chunked", "_members")

    def __init__(
        self, id: str, home: Home | None, members: Sequence[AsyncResult[Any]], *, is_chunked: bool = False
    ) -> None:
        super().__init__(id, cast("Home", home), "group")
        self._members = tuple(members)
        self._is_chunked = is_chunked

    @property
    def members(self) -> Sequence[AsyncResult[T]]:
        """The handles of the jobs, in order; of ``map`` with ``chunk=`` there is one for each chunk."""
        return self._members

    @property
    def _leaves(self) -> list[AsyncResult[Any]]:
        """The jobs below this handle, those of groups in groups among them."""
        leaves: list[AsyncResult[Any]] = []
        for member in self._members:
            leaves += member._leaves if isinstance(member, GroupResult) else [member]
        return leaves

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self._values().__await__()

    async def _values(self) -> list[T]:
        values = iter(await gather(self._leaves)) if self._members else iter(())
        return self._shaped(values)

    def _shaped(self, values: Iterable[Any]) -> list[T]:
        """The values of the leaves, in lists as the members are."""
        values = iter(values)
        shaped: list[Any] = []
        for member in self._members:
            value = member._shaped(values) if isinstance(member, GroupResult) else next(values)
            shaped += value if self._is_chunked else [value]
        return shaped

    async def wait(self, timeout: float | timedelta | None = None) -> list[T]:
        limit = None if timeout is None else seconds(timeout, "timeout")
        try:
            async with asyncio.timeout(limit):
                return await self._values()
        except TimeoutError as error:
            if isinstance(error, ResultTimeout) or limit is None:
                raise
            text = f"The {len(self._leaves):,} jobs of group {self.id} have not all ended after {limit:g} s. They go on"
            raise about(ResultTimeout(f"{text}: await the group again, or cancel() it."), self.id) from None

    def get(self, timeout: float | timedelta | None = None) -> list[T]:
        return super().get(timeout) if self._members else []

    async def sent(self) -> None:
        """Wait until the broker has accepted all of the jobs.

        Raises:
            BrokerError: the broker did not accept them, and none of them will run.
        """
        if self._members:
            await super().sent()

    async def status(self) -> Status:
        """SUCCESS: every job ended well; FAILED: a job did not; else PENDING or RUNNING."""
        statuses = [await leaf.status() for leaf in self._leaves]
        if any(status in FINAL and status is not Status.SUCCESS for status in statuses):
            return Status.FAILED
        if all(status is Status.SUCCESS for status in statuses):
            return Status.SUCCESS
        return Status.PENDING if set(statuses) == {Status.PENDING} else Status.RUNNING

    async def forget(self) -> bool:
        """Remove the outcomes of the jobs from the broker; return whether there was one."""
        return any([await leaf.forget() for leaf in self._leaves])

    def __repr__(self) -> str:
        return f"<GroupResult {self.id} of {len(self._members):,}>"
