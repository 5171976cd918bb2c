"""How far a job is."""

from __future__ import annotations

import math

import msgspec

from ..errors import ConfigError, SealError
from ..wire.messages import Messages
from ..wire.seal import Sealer

__all__ = ["Progress", "open_progress", "progress_of", "seal_progress"]

#: Characters of a message at most.
MESSAGE_LIMIT = 1000


class Progress(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a job has said with ``current_job().progress(current, total, message)``."""

    current: float
    #: None: it is not known.
    total: float | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """The part that is done, from 0 to 1; None: the total is not known."""
        return None if not self.total else min(1.0, max(0.0, self.current / self.total))


def progress_of(current: float, total: float | None, message: str) -> Progress:
    """The progress with these values.

    Raises:
        ConfigError: they are not numbers and a text.
    """
    for name, value in (("current", current), ("total", total)):
        if not _is_number(value) and not (name == "total" and value is None):
            raise ConfigError(f"progress({name}={value!r}): give a finite number.")
    if not isinstance(message, str):
        raise ConfigError(f"progress(message={message!r}): give text.")
    shown = message[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()
    return Progress(float(current), None if total is None else float(total), shown)


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        # A whole number that no float holds.
        return False


class _Sealed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    id: str
    progress: Progress


_messages = Messages(_Sealed, "progress of a job")


def seal_progress(sealer: Sealer, id: str, progress: Progress) -> bytes:
    """The progress of this job, sealed."""
    return _messages.seal(sealer, _Sealed(id, progress))


def open_progress(sealer: Sealer, id: str, sealed: bytes) -> Progress:
    """The progress of this job.

    Raises:
        SealError: it is not that of this job.
    """
    found = _messages.open(sealer, sealed)
    if found.id != id:
        raise SealError(f'The progress of job "{found.id}" arrived under the ID "{id}".')
    return found.progress
