"""Embed texts with a model that is fast for many texts at once and slow for one: a batch task.

Run its jobs, and send some::

    aiotask worker examples.embeddings --concurrency 1
    python -m examples.embeddings

The model counts letters here, so that the example needs neither a GPU nor another package. A real one takes its place
in ``load_model``: ``SentenceTransformer(…)``, say, whose ``encode`` takes a list of texts.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiotask import App, Depends, current_job

Vector = list[float]

TEXTS = (
    *("the leek is green", "the leeks are green", "peas are green, too"),
    *("a server stores jobs", "the servers store a job", "jobs are stored"),
)


class Model:
    """Turns texts into vectors. Each call of a GPU costs time of its own, however many texts it is given."""

    def encode(self, texts: list[str]) -> list[Vector]:
        time.sleep(0.02)
        return [_unit([text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]) for text in texts]


def _unit(counts: list[int]) -> Vector:
    length = math.hypot(*counts) or 1.0
    return [count / length for count in counts]


@contextmanager
def load_model() -> Iterator[Model]:
    """Opened once in each worker process: loading a model takes longer than using it."""
    yield Model()


app = App("embeddings", lifespan=[load_model])


# A queue of its own: its workers take nothing else, so that lists fill. 64 is what the memory of the GPU holds.
@app.task(batch=64, batch_wait=0.05, queue="gpu", retries=2, retry_on=(ConnectionError,))
def embed(texts: list[str], model: Model = Depends(load_model)) -> list[tuple[Vector, int] | Exception]:
    """The vector of each text, and how many texts were in the same call."""
    vectors = model.encode(texts)
    together = len(current_job().items)
    return [
        (vector, together) if text.strip() else ValueError("a text without words")
        for text, vector in zip(texts, vectors, strict=True)
    ]


def nearest(vectors: list[Vector]) -> list[int]:
    """For each vector the number of the one that is most like it."""
    found = []
    for number, one in enumerate(vectors):
        alike = [(sum(map(float.__mul__, one, other)), -n) for n, other in enumerate(vectors) if n != number]
        found.append(-max(alike)[1])
    return found


async def main() -> None:
    # Any number of programs send single texts; the worker makes lists of what arrives.
    embedded = await asyncio.gather(*(embed.apply_async(text) for text in TEXTS * 50))
    print(f"{len(embedded)} texts, up to {max(together for _, together in embedded)} in one call")

    vectors = [vector for vector, _ in embedded[: len(TEXTS)]]
    for text, other in zip(TEXTS, nearest(vectors), strict=True):
        print(f"{text!r} is most like {TEXTS[other]!r}")

    try:
        await embed.apply_async(" ")
    except ValueError as error:
        print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main())
