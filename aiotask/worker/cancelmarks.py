"""The marks that cancels leave at the broker. Anybody who can reach that can write one, so each has to be sealed."""

from __future__ import annotations

from collections.abc import Sequence

from ..broker import Broker
from ..errors import SealError
from ..job import Status
from ..outcome import decode_outcome
from ..seal import Sealer

__all__ = ["CancelMarks"]


class CancelMarks:
    """Those of one app.

    Args:
        sealer: of its outcomes.
    """

    def __init__(self, broker: Broker, sealer: Sealer) -> None:
        self._broker = broker
        self._sealer = sealer

    async def among(self, incarnation: str, ids: Sequence[str]) -> list[str]:
        """Which of these jobs, that this incarnation runs, somebody has asked to cancel."""
        marks = await self._broker.cancels(incarnation, ids)
        return [id for id, mark in zip(ids, marks, strict=True) if mark is not None and self._is_genuine(id, mark)]

    def _is_genuine(self, id: str, sealed: bytes) -> bool:
        try:
            outcome = decode_outcome(self._sealer.open(sealed))
        except SealError:
            return False
        return outcome.id == id and outcome.status is Status.CANCELLED
