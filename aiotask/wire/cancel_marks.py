"""The marks that cancels leave at the broker. Every client of the broker can write one, so each has to be sealed."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SealError
from ..job import Status
from ..outcome import decode_outcome
from .seal import Sealer

__all__ = ["genuine_cancels"]


def genuine_cancels(sealer: Sealer, ids: Sequence[str], marks: Sequence[bytes | None]) -> list[str]:
    """Which of these jobs an app has asked to cancel.

    Args:
        sealer: the app's sealer of outcomes.
        ids: ids of running jobs.
        marks: what the broker holds for each of them: a sealed outcome, or None.
    """
    return [id for id, mark in zip(ids, marks, strict=True) if mark is not None and _is_genuine(sealer, id, mark)]


def _is_genuine(sealer: Sealer, id: str, mark: bytes) -> bool:
    try:
        outcome = decode_outcome(sealer.open(mark))
    except SealError:
        return False
    return outcome.id == id and outcome.status is Status.CANCELLED
