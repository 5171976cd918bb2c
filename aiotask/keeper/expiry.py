"""What the keeper does with jobs that have expired before a worker had them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..brokers.expiry import BATCH_EXPIRED, Expired, Expiry
from ..brokers.graphs import Conclusion
from ..errors import JobExpired
from ..job import Status
from ..wire.ended import ended
from ..wire.expiry_text import expiry_text
from ..wire.seal import Sealer

__all__ = ["Expiries"]

logger = logging.getLogger("aiotask.keeper")


class Expiries:
    """Ends the jobs that ``promote`` has named; any number of keepers may do so at once."""

    def __init__(self, broker: Expiry, secrets: Sequence[str]) -> None:
        self._broker = broker
        self._sealer = Sealer(secrets, "outcome")

    async def end(self) -> bool:
        """End them; whether more are likely to have expired.

        Raises:
            BrokerError: the broker refuses it, or cannot be reached.
        """
        expired = self._broker.expired
        if not expired:
            return False
        is_over = await self._broker.conclude([self._conclusion(job) for job in expired])
        count = sum(is_over)
        if count:
            job = expired[is_over.index(True)]
            others = f" (and so did {count - 1:,} others)" if count > 1 else ""
            logger.info("Job %s (%s) expired before a worker took it%s.", job.id, job.task, others)
        return len(expired) == BATCH_EXPIRED and count > 0

    def _conclusion(self, job: Expired) -> Conclusion:
        message = expiry_text(job.id, job.task, job.attempt, job.at)
        outcome = ended(self._sealer, job.id, job.task, JobExpired, message, attempt=job.attempt)
        return Conclusion(job.id, outcome, Status.EXPIRED, job.result_ttl)
