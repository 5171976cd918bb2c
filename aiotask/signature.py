"""Signature: a call that has not been sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .errors import ConfigError
from .result import AsyncResult

__all__ = ["Signature"]

R_co = TypeVar("R_co", covariant=True)


class Signature(Generic[R_co]):
    """A call with its arguments and its job id, to be sent later, for example by a task that takes it as an argument.

    The id is fixed when the call is created, so sending the call twice creates one job.
    """

    #: What to do instead of writing a Signature as JSON, for the error.
    INSTEAD_IN_JSON = "{verb} its arguments, or send it with apply_async() first"

    __slots__ = ("_send", "args", "id", "kwargs", "task")

    def __init__(
        self,
        task: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        id: str,
        send: Callable[[Signature[Any]], AsyncResult[Any]],
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.id = id
        self._send = send

    @property
    def cast(self) -> R_co:
        """The future value of the call, as an argument of another call. Reserved for a later release.

        Raises:
            ConfigError: always; calls that depend on calls are not supported in this release.
        """
        raise ConfigError(
            f"Calls that depend on calls (`{self.task}…cast`) are not supported in this release. "
            "Await the first result and pass its value on."
        )

    def apply_async(self) -> AsyncResult[R_co]:
        """Send the call, and return a handle on its job.

        Raises:
            SerializationError: an argument cannot be serialized; nothing was sent.
        """
        return self._send(self)

    def __repr__(self) -> str:
        return f"<Signature {self.task} {self.id}>"
