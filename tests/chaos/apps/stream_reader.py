"""A program that reads a stream and appends each number to a file: ``python -m …stream_reader ID FILE``.

It goes on after the last number in the file, so that another one may be killed before it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from .streams import app


async def main() -> None:
    id, path = sys.argv[1], Path(sys.argv[2])
    after = len(path.read_bytes().splitlines()) if path.exists() else 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async for number, item in app.stream(id).items(after=after):
        os.write(file, b"%d %d\n" % (number, item))
    await app.client.close()


if __name__ == "__main__":
    asyncio.run(main())
