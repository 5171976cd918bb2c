"""The quick start of the README: a picture of the Mandelbrot set, with one job per row."""

import asyncio

from aiotask import App

app = App("readme")


@app.task
def row(y: int, width: int = 78, height: int = 24) -> str:
    """A plain function: it runs in the main thread of a worker process, so it can use a full CPU core."""
    if not 0 <= y < height:
        raise ValueError(f"row {y} is not in a picture of {height} rows")
    return "".join(shade(complex(3.2 * x / width - 2.3, 2.4 * (y + 0.5) / height - 1.2)) for x in range(width))


@app.task(retries=3, timeout=60)
async def picture(height: int = 24) -> str:
    """A coroutine function: it runs in the event loop of a worker process, and can send and await other jobs."""
    return "\n".join(await asyncio.gather(*(row.apply_async(y, height=height) for y in range(height))))


def shade(point: complex) -> str:
    z, steps = 0j, 0
    while abs(z) <= 2 and steps < 5000:
        z, steps = z * z + point, steps + 1
    return " .:-=+*#%@"[min(steps, 45) // 5]


async def main() -> None:
    print(await picture.apply_async())

    try:
        await row.apply_async(99)
    except ValueError as error:
        print(f"ValueError: {error}")


if __name__ == "__main__":
    asyncio.run(main())
