"""How long a job waits before it is run again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff", "exponential"]

#: Seconds to wait before a retry, given how many runs have failed (1 at first).
Backoff = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class exponential:
    """Exponential backoff with full jitter: a random part of ``base * 2 ** (failures - 1)`` seconds, at most ``limit``.

    Full jitter spreads many simultaneous retries best (M. Brooker, "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015).

    Args:
        base: seconds to wait at most before the first retry.
        limit: seconds to wait at most before any retry.
        jitter: False: always wait the full time, which makes runs predictable.
    """

    base: float = 1.0
    limit: float = 600.0
    jitter: bool = True

    def __call__(self, failures: int) -> float:
        full = min(self.limit, self.base * 2.0 ** min(failures - 1, 62))
        return random.uniform(0.0, full) if self.jitter else full
