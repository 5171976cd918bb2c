"""Middleware that an integration adds to an app whose tasks are registered already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from aiotask import App, Call, Depends, JobContext, Middleware, current_job
from aiotask.errors import ConfigError


class Noted(Middleware):
    """Notes when it is entered and left, in a list that all objects of a test share."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    @contextlib.contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        call.headers[self.name] = "sent"
        yield

    @contextlib.contextmanager
    def execute(self, job: JobContext, /) -> Iterator[None]:
        self.notes.append(f"{self.name} in")
        yield
        self.notes.append(f"{self.name} out")

    def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
        self.notes.append(f"{self.name} {status}")


async def test_it_is_outermost_around_tasks_from_before_and_after(app_name: str) -> None:
    notes: list[str] = []
    app = App(app_name, url="memory://", middleware=[Noted("own", notes)])

    def seven() -> int:
        return 7

    @app.task(name="it:before", retries=2)
    def before(number: int = Depends(seven)) -> dict[str, str]:
        assert number == 7
        return dict(current_job().headers)

    app.add_middleware(Noted("added", notes))

    @app.task(name="it:after")
    async def after() -> None: ...

    assert app.registry.get("it:before").retries == 2  # type: ignore[union-attr]
    async with app, app.worker():
        assert await before.apply_async().wait(30) == {"added": "sent", "own": "sent"}
        await after.apply_async().wait(30)
    runs = [note for note in notes if note.endswith((" in", " out"))]
    assert runs == ["added in", "own in", "own out", "added out"] * 2
    assert notes.count("added SUCCESS") == notes.count("own SUCCESS") == 2


async def test_tasks_without_any_middleware_get_one(app_name: str) -> None:
    notes: list[str] = []
    app = App(app_name, url="memory://")

    @app.task(name="it:plain")
    def plain() -> int:
        return 1

    assert app.registry.get("it:plain").around is None  # type: ignore[union-attr]
    app.add_middleware(Noted("added", notes))
    async with app, app.worker():
        assert await plain.apply_async().wait(30) == 1
    assert notes[:2] == ["added in", "added out"]


def test_an_async_one_is_refused_where_a_task_is_sync(app_name: str) -> None:
    class OfALoop(Middleware):
        @contextlib.asynccontextmanager
        async def execute(self, job: JobContext, /):  # type: ignore[no-untyped-def]
            yield

    app = App(app_name, url="memory://")

    @app.task(name="it:plain")
    def plain() -> None: ...

    with pytest.raises(ConfigError, match="sync"):
        app.add_middleware(OfALoop())
    with pytest.raises(ConfigError, match="Derive"):
        app.add_middleware(object())  # type: ignore[arg-type]
