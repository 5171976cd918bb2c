"""Batch tasks as type checkers see them. Checked by mypy and pyright, never run; see ``typing_api.py``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_type

from aiotask import App, BatchTask, Depends, Signature, Task, chain, current_job

app = App("models")

Vector = list[float]


class Model:
    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        return [[1.0] for _ in texts]


def load() -> Model:
    return Model()


@app.task(batch=64, batch_wait=0.05)
async def embed(texts: list[str], model: Model = Depends(load)) -> list[Vector]:
    return model.vectors(texts)


@app.task(batch=8, batch_wait=timedelta(milliseconds=5), retries=3, queue="gpu", timeout=5)
def check(rows: list[int]) -> list[bool | ValueError]:
    return [True if row else ValueError(row) for row in rows]


@app.task(batch=8)
def label(rows: list[tuple[int, str]]) -> Sequence[str | Exception]:
    return [text for _, text in rows]


@app.task
def words(text: str) -> str:
    return text


@app.task(batch=8)  # type: ignore[arg-type]
def one_by_one(text: str) -> str:
    return text


@app.task(batch=8)  # type: ignore[arg-type]
async def no_list(texts: list[str]) -> int:
    return len(texts)


@app.task(batch_wait=0.1)  # type: ignore[call-overload, untyped-decorator]
def without_a_size(texts: list[str]) -> list[str]:
    return texts


def many(items: list[int]) -> list[float]:
    return [item / 2 for item in items]


halves = app.register_task(many, batch=8, name="halves")


async def calls() -> None:
    assert_type(embed, BatchTask[str, Vector])
    assert_type(label, BatchTask[tuple[int, str], str])
    assert_type(halves, BatchTask[int, float])
    assert_type(await embed.apply_async("a"), Vector)
    assert_type(await label.apply_async((1, "a")), str)
    assert_type(await halves.apply_async(3), float)
    assert_type(await embed.map(["a", "b"]), list[Vector])
    assert_type(embed.s("a"), Signature[Vector])
    assert_type(await embed.options(priority=3, key="a").apply_async("a"), Vector)
    assert_type(await chain(words.s("a"), embed).apply_async(), Vector)
    assert_type(await words.s("a").then(embed).apply_async(), Vector)
    as_a_task: Task[[str], Vector] = embed
    as_a_task.apply_async("a")
    assert_type([job.id for job in current_job().items], list[str])
    embed(["a", "b"])

    embed.apply_async(["a"])  # type: ignore[arg-type]
    embed.apply_async()  # type: ignore[call-arg]
    embed.map([1])  # type: ignore[list-item]
    embed.options(batch=3)  # type: ignore[call-arg]
    embed("a")  # type: ignore[arg-type]


async def checked() -> bool | ValueError:
    return await check.apply_async(1)
