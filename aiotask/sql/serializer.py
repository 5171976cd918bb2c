"""How deliveries of rows are read: the body is the id. The columns of a row are its result, so no value is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["RowSerializer"]

Function = Callable[..., Any] | None


class RowSerializer:
    """The Serializer of rows."""

    name = "rows"

    def prepare(self, task: str, function: Callable[..., Any], *, last_chance: bool = False) -> None:
        """Do nothing: rows have no arguments."""

    def dump_call(self, call: tuple[tuple[Any, ...], dict[str, Any]], function: Function) -> bytes:
        id: str = call[0][0]
        return id.encode()

    def load_call(
        self, body: bytes, function: Function, upstream: Sequence[bytes | BaseException] = ()
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (body.decode(),), {}

    def dump_value(self, value: Any, function: Function) -> bytes:
        return b""

    def load_value(self, body: bytes, function: Function, upstream: Sequence[bytes | BaseException] = ()) -> Any:
        return None

    def dump_error(self, error: BaseException) -> bytes | None:
        return None

    def load_error(self, body: bytes, function: Function = None) -> Any:
        return None
