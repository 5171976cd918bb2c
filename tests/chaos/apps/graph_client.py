"""A process that sends graphs of 2,000 nodes until it is killed; what it does it writes down before and after."""

from __future__ import annotations

import asyncio
import os
import sys

from ..garden import layered, written
from . import graphs


async def main(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        plant = layered(graphs, 10, 200)
        os.write(log, f"graph\t{written(plant)}\n".encode())
        await plant.root.apply_async().sent()
        os.write(log, f"accepted\t{plant.id}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
