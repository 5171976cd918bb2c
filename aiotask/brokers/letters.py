"""What lists and searches need of a dead letter, so that they do not read its job and its outcome."""

from __future__ import annotations

import msgspec

from ..errors import SealError
from ..inspector import DeadLetter, JobInfo, LetterFacts, LetterPlace
from ..job import decode_job
from ..outcome import decode_outcome
from ..wire.seal import OVERHEAD

__all__ = ["error_of", "facts_in", "facts_of", "is_behind", "pack_facts"]

#: Characters that are kept of a name and of an error.
_NAME, _ERROR = 200, 300


class _Packed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The facts as they are kept beside the letter; a release adds fields at the end."""

    task: str = ""
    queue: str = ""
    error: str = ""
    graph: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack_facts(sealed: bytes, outcome: bytes) -> bytes:
    """The facts of a job that was given up and of its outcome, whose seals are not checked, as they are kept."""
    task = queue = error = graph = ""
    try:
        job = decode_job(sealed[OVERHEAD:])
        task, queue = job.task[:_NAME], job.queue[:_NAME]
        graph = job.more.flow.graph if job.more and job.more.flow else ""
    except SealError:
        pass
    try:
        ended = decode_outcome(outcome[OVERHEAD:])
        task = task or ended.task[:_NAME]
        if ended.error is not None:
            line = ended.error.message.partition("\n")[0]
            error = f"{ended.error.type.removeprefix('builtins.')}: {line}"[:_ERROR]
    except SealError:
        pass
    return _encode(_Packed(task, queue, error, graph))


def facts_in(id: str, at: float, packed: bytes | None) -> LetterFacts | None:
    """The facts that are kept of the letter of this job; None: there are none that can be read."""
    try:
        known = _decode(packed or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return LetterFacts(id, at, known.task, known.queue, known.error, known.graph)


def facts_of(letter: DeadLetter) -> LetterFacts:
    """The facts of a letter that was read whole."""
    found = facts_in(letter.id, letter.at, pack_facts(letter.job, letter.outcome))
    assert found is not None
    return found


def error_of(info: JobInfo) -> str:
    """The error of a dead letter that was listed as a job, as its facts have it."""
    found = facts_in(info.id, 0.0, pack_facts(info.sealed or b"", info.outcome or b""))
    return found.error if found is not None else ""


def is_behind(letter: DeadLetter, place: LetterPlace | None) -> bool:
    """Whether a letter comes behind this place in a list, the latest first."""
    return place is None or (letter.at, letter.id) < place
