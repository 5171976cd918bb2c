"""Schedules as they travel: what is called when, sealed, and the job of each of their runs.

A keeper, which has the secret and no code of the app, makes the job of a run from the declaration.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from ..errors import SealError
from ..job import WIRE_VERSION, Job, More
from ..values.schedule import Spec
from ..values.unique import is_unique
from .messages import Messages
from .seal import Sealer

__all__ = ["Declared", "ScheduledCall", "Schedules", "job_of", "run_id"]


class ScheduledCall(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call that is sent again and again; the fields are those of ``Job``, which has their meanings."""

    version: int
    task: str
    queue: str
    body: bytes
    priority: int = 5
    retries: int | None = None
    timeout: float | None = None
    result_ttl: float = 0.0
    more: More | None = None
    #: The id of each job; empty: each run has an id of its own. That of a unique job has ``--`` where the id of the run
    #: belongs.
    id: str = ""

    @property
    def has_same_id(self) -> bool:
        """Whether all runs have one id, under which the broker may know a job."""
        return bool(self.id) and not is_unique(self.id)


class Declared(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One schedule of an app."""

    version: int
    app: str
    name: str
    spec: Spec
    call: ScheduledCall
    #: What declares it in its code, an app path; empty: it was set at run time.
    by: str = ""
    #: When the code that declares it was started: Unix seconds of the broker's clock.
    generation: float = 0.0


_declared = Messages(Declared, "a schedule")


class Schedules:
    """Seals and opens the schedules of one app."""

    def __init__(self, secrets: Sequence[str], app: str) -> None:
        self._sealer = Sealer(secrets, "schedule")
        self._app = app

    def seal(self, declared: Declared) -> bytes:
        return _declared.seal(self._sealer, declared)

    def open(self, name: str, sealed: bytes) -> Declared:
        """The schedule of this name; SealError if it is forged, damaged, another one, or of another app or release."""
        declared = _declared.open(self._sealer, sealed)
        if (declared.app, declared.name) != (self._app, name) or declared.version != WIRE_VERSION:
            raise SealError("This schedule is another one, or of another app or release.")
        return declared


def run_id(name: str, moment: float, repeat: int = 0) -> str:
    """The id of the run of a schedule at a moment.

    Args:
        repeat: distinguishes runs at one moment, which comes again where the broker's clock was set back.
    """
    digest = blake2b(name.encode(), digest_size=8).hexdigest()
    seconds = f"{moment:.3f}".rstrip("0").rstrip(".")
    return f"run-{digest}-{seconds}" + (f"-{repeat}" if repeat else "")


def _id_of(call: ScheduledCall, run: str) -> str:
    """The id of the job of a run: its own, the one that all runs have, or under a key one of them."""
    if not is_unique(call.id):
        return call.id or run
    return call.id.replace("--", f"-{run}-", 1)


def job_of(declared: Declared, id: str, at: float) -> Job:
    """The job of a run that is sent at a time (Unix seconds)."""
    call = declared.call
    return Job(
        call.version,
        _id_of(call, id),
        call.task,
        call.queue,
        call.body,
        call.priority,
        at,
        "",
        call.retries,
        call.timeout,
        call.result_ttl,
        at,
        call.more,
    )
