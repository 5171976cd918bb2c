"""Scale: does a job cost more when many wait, are scheduled or are awaited, or where there are many workers?

Minutes, so only on demand: ``python -m benchmarks --scale``.
"""

from __future__ import annotations

from ..figure import Figure
from ..plan import Plan
from . import awaited, pending, scheduled, workers

__all__ = ["measure"]


async def measure(plan: Plan) -> list[Figure]:
    figures = []
    for part in (pending, scheduled, awaited, workers):
        figures += await part.measure(plan)
        plan.server.clear()
    return figures
