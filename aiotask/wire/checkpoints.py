"""Checkpoints: the state of a long job, sealed with the job and its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_origin

import msgspec

from ..errors import SealError, SerializationError
from .error_form import summary_of
from .messages import Messages
from .seal import Sealer
from .serializer import Serializer
from .unserializable import blame_state

__all__ = [
    "CHECKPOINT_BYTES",
    "Checkpoint",
    "checkpoint_of",
    "dump_state",
    "load_state",
    "open_checkpoint",
    "seal_checkpoint",
]

#: Bytes of a state at most.
CHECKPOINT_BYTES = 256_000


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The state that a job has saved; ``body`` is written by the app's serializer."""

    id: str
    task: str
    body: bytes
    #: When it was sent, by the clock of the worker (Unix seconds); 0: by an earlier release, which did not say it.
    at: float = 0.0


_checkpoints = Messages(Checkpoint, "a checkpoint of a job")


def seal_checkpoint(sealer: Sealer, id: str, task: str, body: bytes, at: float = 0.0) -> bytes:
    return _checkpoints.seal(sealer, Checkpoint(id, task, body, at))


def checkpoint_of(sealer: Sealer, id: str, sealed: bytes) -> Checkpoint:
    """A checkpoint of this job.

    Raises:
        SealError: it is none.
    """
    found = _checkpoints.open(sealer, sealed)
    if found.id != id:
        raise SealError(f'The checkpoint of job "{found.id}" ({found.task}) arrived for job "{id}".')
    return found


def open_checkpoint(sealer: Sealer, id: str, task: str, sealed: bytes) -> bytes:
    """The body of a checkpoint of this job of this task.

    Raises:
        SealError: it is none.
    """
    found = checkpoint_of(sealer, id, sealed)
    if found.task != task:
        raise SealError(f'The checkpoint of job "{id}" ({found.task}) arrived for job "{id}" ({task}).')
    return found.body


def dump_state(serializer: Serializer, task: str, function: Callable[..., Any], state: object) -> bytes:
    """The state of a job as a body.

    Raises:
        SerializationError: it cannot be serialized, or is too large.
    """
    try:
        # JSON goes by annotations, and those of the function are not about its state.
        body = serializer.dump_value(state, None if serializer.name == "json" else function)
    except Exception as error:
        raise blame_state(serializer, task, state, error) from error
    if len(body) > CHECKPOINT_BYTES:
        raise SerializationError(
            f'Task "{task}": its checkpoint has {len(body):,} bytes, and {CHECKPOINT_BYTES:,} at most are kept. Save a '
            "position, and write the data itself to a file or a database."
        )
    return body


def load_state(serializer: Serializer, task: str, function: Callable[..., Any], body: bytes, kind: Any) -> Any:
    """The state in a body, of this type; None: of any.

    Raises:
        SerializationError: it is of another type, or cannot be read.
    """
    try:
        state = serializer.load_value(body, _returning(kind) if serializer.name == "json" else function)
    except Exception as error:
        raise SerializationError(
            f'Task "{task}": its last checkpoint cannot be read{_as(kind)}: {summary_of(error)}.{_ADVICE}'
        ) from error
    if kind is not None and not _is_of(state, kind):
        raise SerializationError(
            f'Task "{task}": its last checkpoint is {type(state).__qualname__}, not {_name_of(kind)}.{_ADVICE}'
        )
    return state


_ADVICE = " Another release of the task may have written it: read what both write, or rename the task."


def _returning(kind: Any) -> Callable[[], Any] | None:
    """A function that is annotated to return this type, for a serializer that reads values by it."""
    if kind is None:
        return None

    def typed() -> None: ...

    typed.__annotations__ = {"return": kind}
    return typed


def _is_of(state: object, kind: Any) -> bool:
    wanted = get_origin(kind) or kind
    try:
        return isinstance(state, (int, float) if wanted is float else wanted)
    except TypeError:
        # A TypedDict, a Literal, a Protocol: no check at run time.
        return True


def _as(kind: Any) -> str:
    return "" if kind is None else f" as {_name_of(kind)}"


def _name_of(kind: Any) -> str:
    return str(getattr(kind, "__qualname__", kind) if get_origin(kind) is None else kind)
