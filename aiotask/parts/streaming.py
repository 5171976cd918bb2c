"""The part of an app that reads streams which other processes have begun."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..results.result import AsyncResult

if TYPE_CHECKING:
    from ..results.stream import Stream

__all__ = ["Streaming"]


class Streaming(ABC):
    """The part of an app that reads streams."""

    @abstractmethod
    def result(self, id: str) -> AsyncResult[Any]:
        """A handle on the job with this id."""

    def stream(self, id: str) -> Stream[Any]:
        """A handle on the job of a generator task with this id, whichever process sent it.

        ``app.stream(id).items(after=n)`` goes on after item n.
        Where the task is registered in this process, ``task.result(id)`` is better with ``serializer="json"``: it knows
        the classes of the items.

        Raises:
            ConfigError: the id is empty or not text.
        """
        from ..results.stream import Stream

        return Stream.of(self.result(id))
