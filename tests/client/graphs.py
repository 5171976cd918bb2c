"""The app whose calls these tests make depend on each other."""

from __future__ import annotations

import asyncio
from typing import Any

from aiotask import App


class Graphs:
    """An app with tasks, and what their runs have left behind."""

    def __init__(self, url: str, name: str, **settings: Any) -> None:
        self.app = app = App(name, url=url, **settings)
        self.runs: list[Any] = []
        self.gate = asyncio.Event()
        runs, gate = self.runs, self.gate

        @app.task(name="g:add")
        async def add(a: int, b: int = 0) -> int:
            runs.append(("add", a, b))
            return a + b

        @app.task(name="g:total")
        def total(numbers: list[int], start: int = 0) -> int:
            return sum(numbers) + start

        @app.task(name="g:bad")
        async def bad(n: int = 0) -> int:
            raise ValueError(f"bad {n}")

        @app.task(name="g:note")
        async def note(what: Any, label: str = "") -> None:
            runs.append((label, what))

        @app.task(name="g:shown")
        def shown(values: list[Any]) -> list[str]:
            return [repr(value) for value in values]

        @app.task(name="g:gated")
        async def gated(n: int) -> int:
            runs.append("gated")
            await gate.wait()
            return n

        @app.task(name="g:fib")
        async def fib(n: int) -> int:
            return n if n < 2 else add.s(fib.s(n - 1).cast, fib.s(n - 2).cast).cast

        @app.task(name="g:waits")
        async def waits(n: int) -> int:
            return total.s([gated.s(k).cast for k in range(n)]).cast

        self.waits = waits
        self.add, self.total, self.bad, self.note = add, total, bad, note
        self.shown, self.gated, self.fib = shown, gated, fib
