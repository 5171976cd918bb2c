"""What the server keeps of jobs, as values for inspectors."""

from __future__ import annotations

import struct

from ...errors import SealError
from ...inspector import DeadLetter, JobInfo
from ...job import Meta, Status
from ...outcome import decode_outcome
from ...wire.seal import OVERHEAD
from ..lanes import is_parked, need_of
from .codec import decode_meta, id_of, text

__all__ = ["job_in_lane", "job_of_letter", "letter_of", "scheduled_job", "status_in"]


def job_in_lane(lane: str, entry: bytes, worker: str, sealed: bytes, meta: bytes) -> JobInfo:
    """The job of an entry, which a worker has claimed (empty: none has)."""
    state = Status.RUNNING if worker else Status.PARKED if is_parked(lane) else Status.PENDING
    return JobInfo(
        id_of(sealed),
        state,
        f"{lane}|{entry.decode()}",
        decode_meta(meta),
        worker=worker,
        sealed=sealed,
        need=need_of(lane) if state is Status.PARKED else "",
    )


def scheduled_job(id: str, place: bytes, due_at: bytes, packed: bytes) -> JobInfo:
    """A job that is not due yet, from its place in the index, its time, and its value in ``held``."""
    lane, meta, sealed = _unpack_scheduled(packed)
    state = Status.RETRYING if place == b"due|R" else Status.SCHEDULED
    return JobInfo(id, state, lane, meta, due_at=float(due_at) if due_at else None, sealed=sealed)


def _unpack_scheduled(packed: bytes) -> tuple[str, Meta, bytes]:
    """Target lane, meta and envelope of a scheduled job."""
    size = int.from_bytes(packed[:2])
    lane = text(packed[2 : 2 + size])
    meta = int.from_bytes(packed[2 + size : 4 + size])
    at = 4 + size
    return lane, decode_meta(packed[at : at + meta]), packed[at + meta :]


def letter_of(id: str, at: bytes, packed: bytes) -> DeadLetter:
    """A dead letter, from its time and its value in ``dead:jobs``."""
    # A shorter value was not written by aiotask.
    (size,) = struct.unpack_from(">I", packed) if len(packed) > 3 else (0,)
    return DeadLetter(id, float(at), packed[4 : 4 + size], packed[4 + size :])


def job_of_letter(id: str, packed: bytes) -> JobInfo:
    """The job of a dead letter."""
    letter = letter_of(id, b"0", packed)
    return JobInfo(id, Status.FAILED, "dead letter", sealed=letter.job, outcome=letter.outcome)


def status_in(sealed: bytes) -> Status:
    """The status inside a stored outcome whose seal is not checked."""
    try:
        return decode_outcome(sealed[OVERHEAD:]).status
    except SealError:
        return Status.FAILED
