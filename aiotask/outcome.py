"""Outcomes of jobs, and errors in them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .errors import SealError
from .job import WIRE_VERSION, Attempt, Status

__all__ = ["ErrorInfo", "Outcome", "decode_outcome", "encode_outcome"]


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A serialized exception: its text can be read without loading anything, and it is recreated if possible."""

    #: Qualified name of the class, as in ``builtins.ValueError``.
    type: str
    message: str
    #: The remote traceback as text.
    traceback: str = ""
    #: The exception written by the app's serializer; None if it cannot be sent as itself.
    body: bytes | None = None
    #: Why the exception cannot be sent as itself, for the caller to read.
    why: str = ""
    #: ``__cause__``, ``__context__`` and ``__suppress_context__``. An older release reads over these and what follows.
    cause: ErrorInfo | None = None
    context: ErrorInfo | None = None
    suppressed: bool = False
    #: For a group: the causes of each of its exceptions, without type, message and body.
    members: tuple[ErrorInfo, ...] = ()
    #: The id of the job that an error of aiotask is about, if any.
    about: str = ""
    #: The task of that job, where the error is a DependencyFailed.
    task: str = ""
    #: The runs of the failed job before its last one.
    trail: tuple[Attempt, ...] = ()


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a job ended: with a value or an error. Times are Unix seconds; ``attempt`` counts from 1."""

    version: int
    id: str
    task: str
    status: Status
    attempt: int = 1
    worker: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    #: The return value written by the app's serializer.
    value: bytes | None = None
    error: ErrorInfo | None = None
    #: Microseconds of CPU and peak KiB of memory of the last run; 0: it was too short to be measured.
    cpu: int = 0
    memory: int = 0
    #: The graph of the job; empty: it was in none.
    graph: str = ""


#: Encodes an outcome, which is not yet sealed. No function around it: every job would pay for the call.
encode_outcome: Callable[[Outcome], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode


def decode_outcome(data: bytes) -> Outcome:
    """The outcome in opened bytes; SealError if this release cannot read it."""
    try:
        outcome = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SealError(f"This is not an outcome: {error}.") from error
    if outcome.version != WIRE_VERSION:
        raise SealError(
            f"The outcome has version {outcome.version}, but this release reads {WIRE_VERSION}. Upgrade this process."
        )
    return outcome
