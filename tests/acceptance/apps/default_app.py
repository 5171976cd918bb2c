"""A module with nothing but registered functions: they belong to the default app."""

from __future__ import annotations

import aiotask


def double(number: int) -> int:
    return 2 * number


async def halve(number: int) -> float:
    return number / 2


aiotask.register_task(double)
aiotask.register_task(halve)
