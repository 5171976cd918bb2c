"""Functions that are made in unusual places: cells of other front ends, comprehensions, factories given look-alikes."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

from aiotask import App, ConfigError


@pytest.fixture
def app() -> App:
    return App("one-name-places", url="memory://")


CELLS = {
    "plain": "@app.task\ndef work(x):\n    return {n} * x\n",
    "in a condition": "if True:\n    @app.task\n    def work(x):\n        return {n} * x\n",
    "awaits at its top": "await ready()\n@app.task\ndef work(x):\n    return {n} * x\n",
}


@pytest.mark.parametrize("case", CELLS)
@pytest.mark.parametrize("name", ["<module>", "<cell line: {n}>"])
def test_a_cell_replaces_its_task_by_whatever_name_its_code_goes(case: str, name: str, app: App) -> None:
    async def ready() -> None: ...

    namespace: dict[str, Any] = {"__name__": "__main__", "app": app, "ready": ready}
    for n in (2, 3):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        cell = compile(CELLS[case].format(n=n), f"<ipython-input-{n}-0a1b2c>", "exec", flags)
        running = eval(cell.replace(co_name=name.format(n=n)), namespace)
        if inspect.iscoroutine(running):
            with pytest.raises(StopIteration):
                running.send(None)
        (task,) = app.registry
        assert task.function(10) == 10 * n


def test_a_cell_may_not_give_one_name_to_two_functions(app: App) -> None:
    source = "for n in (2, 3):\n    app.task(lambda x, n=n: n * x)\n"
    cell = compile(source, "<ipython-input-1-0a1b2c>", "exec").replace(co_name="<cell line: 1>")

    with pytest.raises(ConfigError, match="would stand for two functions"):
        exec(cell, {"__name__": "__main__", "app": app})


def test_functions_made_in_a_comprehension_are_tasks(app: App) -> None:
    tasks = [app.register_task(lambda x, n=n: n * x, name=f"times_{n}") for n in (2, 3)]
    by_name = {n: app.register_task(lambda x, n=n: n * x, name=f"also_{n}") for n in (4, 5)}

    assert [task(10) for task in tasks] == [20, 30]
    assert [task(10) for task in by_name.values()] == [40, 50]
    with pytest.raises(ConfigError, match="would stand for two functions"):
        [app.task(lambda x, n=n: n * x) for n in (6, 7)]


class Rate:
    """Equal to any other by its own account."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate)

    __hash__ = None  # type: ignore[assignment]


def test_values_that_only_say_they_are_equal_make_different_functions(app: App) -> None:
    def make(rate: Rate) -> Any:
        def convert(x: int) -> int:
            return rate.value * x

        return convert

    first = app.task(make(Rate(2)))
    assert app.task(make(Rate(2))).name == first.name
    with pytest.raises(ConfigError, match="would stand for two functions"):
        app.task(make(Rate(3)))
