"""What earlier runs of jobs have saved: the worker asks the broker for it before such a job runs again."""

from __future__ import annotations

from collections.abc import Sequence

from ..broker import Broker
from ..brokers import streams_of
from ..errors import SealError
from ..wire.checkpoints import open_checkpoint
from ..wire.seal import Sealer
from .asking import AskingRow
from .run import Run

__all__ = ["Checkpoints"]


class Checkpoints(AskingRow[bytes | None]):
    """A row of runs whose jobs have a checkpoint; other jobs never come here.

    Args:
        sealer: opens checkpoints.
    """

    def __init__(self, broker: Broker, sealer: Sealer) -> None:
        super().__init__("The broker refused to hand out the checkpoints of jobs; trying again: %s")
        self._broker = broker
        self._sealer = sealer

    async def _answers(self, ids: Sequence[str]) -> list[bytes | None]:
        return await streams_of(self._broker).checkpoints(ids)

    def _learn(self, run: Run, answer: bytes | None) -> None:
        # The end of the job removes it.
        run.has_reported = True
        if answer is None:
            return
        try:
            run.saved = open_checkpoint(self._sealer, run.job.id, run.job.task, answer)
        except SealError as error:
            # The task is told, if it asks for it.
            run.saved = error
