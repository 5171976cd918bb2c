"""A debounced task: of a burst of calls one runs, half a second after the last one, with its arguments.

Run its jobs::

    aiotask worker examples.debounce

Then, in the same directory::

    python -m examples.debounce
"""

import asyncio

from aiotask import App

app = App("debounce")


@app.task(key="document-{document}", unique="pending", on_conflict="replace", delay=0.5, max_wait=10)
async def index(document: str, text: str) -> str:
    """Bring the search index up to date, which takes long."""
    return f"indexed {document}: {text}"


async def main() -> None:
    async with app:
        # An editor sends a call for each key that is pressed.
        text = "Dear Ada,"
        results = [index.apply_async("letter", text[:length]) for length in range(1, len(text) + 1)]
        results.append(index.apply_async("diary", "Rain."))
        outcomes = [await result for result in results]
        print(f"{len(results)} calls, {len({result.id for result in results})} jobs")
        print(outcomes[0])
        print(outcomes[-1])


if __name__ == "__main__":
    asyncio.run(main())
