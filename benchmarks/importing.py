"""``import aiotask`` over bare Python, each in a fresh interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from .bytecode import environment
from .figure import Figure
from .plan import Plan

__all__ = ["measure"]

_TRIES = 5


def _milliseconds(code: str) -> float:
    compiled = environment()
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=compiled, check=True)
    return 1000 * (time.perf_counter() - began)


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    values = []
    _milliseconds("import aiotask")
    for _ in plan.rounds():
        pairs = [(_milliseconds("import aiotask"), _milliseconds("pass")) for _ in range(_TRIES)]
        values.append(statistics.median(full - bare for full, bare in pairs))
    return [Figure("import", "aiotask over bare Python", "ms", values, 100, more=False)]
