"""Load pictures, scale each, and join them into one sheet: a group whose value is the argument of another call.

Run its jobs, and send some::

    aiotask worker examples.thumbnails --concurrency 2
    python -m examples.thumbnails

A picture is a list of rows of grey values here, so that the example needs no other package.
"""

from __future__ import annotations

import asyncio

from aiotask import App, group

app = App("thumbnails")

Picture = list[list[int]]


# Between the steps a picture is kept only until the next step has read it.
@app.task(result_ttl=0, retries=2)
def load(seed: int, size: int) -> Picture:
    """A picture with a pattern of its own."""
    return [[(x * seed ^ y) % 256 for x in range(size)] for y in range(size)]


@app.task(result_ttl=0)
def scale(picture: Picture, factor: int) -> Picture:
    """The picture, smaller by this factor: each grey value is the mean of a square."""
    size = len(picture) // factor
    return [[_mean(picture, x * factor, y * factor, factor) for x in range(size)] for y in range(size)]


def _mean(picture: Picture, left: int, top: int, size: int) -> int:
    return sum(sum(row[left : left + size]) for row in picture[top : top + size]) // (size * size)


@app.task
def sheet(pictures: list[Picture]) -> Picture:
    """All pictures beside each other."""
    return [[value for picture in pictures for value in picture[row]] for row in range(len(pictures[0]))]


async def main() -> None:
    thumbnails = group(load.s(seed, 64).then(scale, 8) for seed in range(1, 7))
    contact_sheet = await thumbnails.then(sheet).apply_async()
    print(f"{len(contact_sheet[0])} x {len(contact_sheet)}")


if __name__ == "__main__":
    asyncio.run(main())
