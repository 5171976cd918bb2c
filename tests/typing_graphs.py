"""Calls that depend on calls, as type checkers see them. Never run; see ``typing_api.py``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, assert_type

from aiotask import App, AsyncResult, Graph, GraphNode, Group, GroupResult, Signature, Task, chain, group

app = App("shop")


@dataclass
class Page:
    url: str
    words: dict[str, int]


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task(queue="mul")
def mul(a: int, b: int = 2) -> int:
    return a * b


@app.task
def total(numbers: list[int], start: int = 0) -> int:
    return sum(numbers)


@app.task
def render(tile: int, size: int = 256) -> bytes:
    return b""


@app.task
async def fetch(url: str, *, tries: int = 3) -> bytes:
    return b""


@app.task
def store(data: bytes, name: str) -> None: ...
@app.task
def parse(data: bytes) -> Page:
    return Page("", {})


@app.task
def merge(pages: list[Page], extra: dict[str, int]) -> Page:
    return pages[0]


@app.task
def nothing() -> None: ...
@app.task
def after_nothing(x: None) -> str:
    return ""


@app.task
def alert(error: Exception, text: str = "") -> None: ...
@app.task
def report(values: list[int | Exception]) -> str:
    return ""


# A task whose value is a graph that it makes: its own type stays.
@app.task
def fib(n: int) -> int:
    return n if n < 2 else add.s(fib.s(n - 1).cast, fib.s(n - 2).cast).cast


@app.task
def crawl(url: str) -> dict[str, list[bytes]]:
    return {"pages": [fetch.s(url).cast, fetch.s(url).cast]}


async def graphs() -> None:
    root = mul.s(add.s(1, 2).cast, add.s(3, 4).cast)
    assert_type(root, Signature[int])
    assert_type(await root.apply_async(), int)
    shared = add.s(1, 2)
    assert_type(total.s([shared.cast, mul.s(shared.cast).cast, 3]), Signature[int])
    assert_type(merge.s([parse.s(fetch.s("u").cast).cast], {"a": shared.cast}), Signature[Page])
    assert_type(await mul.apply_async(add.s(1, 2).cast), int)
    assert_type(report.s([add.s(1, 2).settled, 3]), Signature[str])
    assert_type(add.s(1, 2).settled, int | Exception)
    assert_type(await fib.apply_async(10), int)
    assert_type(await crawl.apply_async("u"), dict[str, list[bytes]])
    add.s(fetch.s("u").cast, 2)  # type: ignore[arg-type]
    total.s([fetch.s("u").cast])  # type: ignore[list-item]
    total.s(add.s(1, 2).cast)  # type: ignore[arg-type]
    merge.s([parse.s(b"").cast], {"a": fetch.s("u").cast})  # type: ignore[dict-item]
    mul.s(add.s(1, 2), 3)  # type: ignore[arg-type]
    mul.s(add.s(1, 2).settled, 3)  # type: ignore[arg-type]
    await root  # type: ignore[misc]


async def groups() -> None:
    members = group(add.s(n, n) for n in range(10))
    assert_type(members, Group[int])
    assert_type(members.cast, list[int])
    assert_type(await members.apply_async(), list[int])
    assert_type(members.apply_async(), GroupResult[int])
    assert_type(members.apply_async().members[0], AsyncResult[int])
    assert_type(group(add.s(1, 2), mul.s(3)), Group[int])
    assert_type(total.s(members.cast), Signature[int])
    assert_type(members.then(total), Signature[int])
    assert_type(members.then(total, 5), Signature[int])
    assert_type(members.then(total).then(mul, b=3), Signature[int])
    assert_type(report.s([m.settled for m in members.members]), Signature[str])
    assert_type(group([members, members]), Group[list[int]])
    assert_type(await render.map([1, 2, 3], chunk=100), list[bytes])
    assert_type(render.map([1, 2, 3]), GroupResult[bytes])
    members.then(store, "x")  # type: ignore[arg-type]
    total.s(group(fetch.s("u")).cast)  # type: ignore[arg-type]
    fetch.map([1])  # type: ignore[list-item]
    store.map([b""])  # type: ignore[arg-type, misc]


async def chains() -> None:
    assert_type(add.s(1, 2).then(mul, 3), Signature[int])
    assert_type(fetch.s("u").then(store, "name"), Signature[None])
    assert_type(nothing.s().then(after_nothing), Signature[str])
    assert_type(chain(add.s(1, 2), mul), Signature[int])
    assert_type(chain(add.s(1, 2), mul, render), Signature[bytes])
    assert_type(chain(add.s(1, 2), mul, render, parse), Signature[Page])
    assert_type(chain(add.s(1, 2), mul, mul, mul, mul, mul, mul, render), Signature[bytes])
    assert_type(await chain(add.s(1, 2), mul, render).apply_async(), bytes)
    chain(add.s(1, 2), fetch)  # type: ignore[misc]
    chain(add.s(1, 2), mul, parse)  # type: ignore[misc]
    chain(fetch.s("u"), store)  # type: ignore[arg-type]
    add.s(1, 2).then(fetch)  # type: ignore[arg-type]
    add.s(1, 2).then(mul, "3")  # type: ignore[arg-type]
    fetch.s("u").then(store)  # type: ignore[call-arg]


async def follow_ups() -> None:
    assert_type(add.s(1, 2).on_error(alert, "sum"), Signature[int])
    assert_type(add.s(1, 2).on_success(mul, 3).on_error(alert), Signature[int])
    assert_type(group(add.s(1, 2)).on_error(alert).apply_async(), GroupResult[int])
    add.s(1, 2).on_success(fetch)  # type: ignore[arg-type]
    add.s(1, 2).on_error(mul)  # type: ignore[arg-type]
    add.s(1, 2).on_error(alert, 5)  # type: ignore[arg-type]
    add.options(on_success=mul)  # type: ignore[call-arg]
    add.options(on_error=alert)  # type: ignore[call-arg]
    add.options(on_failure=alert)  # type: ignore[call-arg]


async def looking(result: AsyncResult[int]) -> None:
    graph = await result.graph()
    assert_type(graph, Graph)
    assert_type([(n.id, n.task, n.status) for n in graph.nodes], list[tuple[str, str, str]])
    assert_type(graph.mermaid(), str)
    assert_type(graph.nodes[0], GraphNode)
    assert_type(graph.nodes[0].upstream, tuple[str, ...])
    assert_type(await result.children(), list[AsyncResult[Any]])
    assert_type(await app.graph("id"), Graph)
    assert_type(await app.replay_graph("id"), int)
    assert_type(app.named("shop:add", queue="math"), Task[..., Any])
    assert_type(await app.named("shop:add", queue="math").s(1).then(mul, 2).apply_async(), int)
    assert_type(await app.s("shop:add", 1).then(mul, 2).apply_async(), int)
    values = await asyncio.gather(*(m for m in group(add.s(1, 2)).apply_async().members))
    assert_type(values, list[int])
