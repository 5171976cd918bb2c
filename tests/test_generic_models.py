"""Generic models of pydantic with their parameters given: the task gets the class that its own module gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import Program
from .workers import Workers

MODELS = """
import typing, pydantic

T = typing.TypeVar("T")
K = typing.TypeVar("K")

class Page(pydantic.BaseModel, typing.Generic[T]):
    items: list[T] = []

class Pair(pydantic.BaseModel, typing.Generic[K, T]):
    left: K
    right: T

class Item(pydantic.BaseModel):
    name: str

match 1:
    case 1:
        class Matched:
            pass
"""
TASKS = """
import json, os
from aiotask import App
{models}
app = App(os.environ["TEST_APP"])

@app.task
def look(kind, value):
    if kind == "int":
        return type(value) is Page[int] and isinstance(value, Page)
    if kind == "model":
        return type(value) is Page[Item] and type(value.items[0]) is Item
    if kind == "nested":
        return type(value["a"][0]) is Pair[str, Page[int]] and type(value["a"][0].right) is Page[int]
    if kind == "class":
        return value is Page[int]
    if kind == "matched":
        return type(value) is Matched
    return value() is Page[int]

@app.task
def page():
    return Page[Item](items=[Item(name="a")])
"""
ASKS = """
def ask():
    nested = {"a": [Pair[str, Page[int]](left="x", right=Page[int](items=[1]))]}
    values = {"int": Page[int](items=[1]), "model": Page[Item](items=[Item(name="a")]), "nested": nested,
              "class": Page[int], "matched": Matched(), "closure": lambda kind=Page[int]: kind}
    found = {kind: look.apply_async(kind, value).get(timeout=60) for kind, value in values.items()}
    back = page.apply_async().get(timeout=60)
    return {**found, "back": type(back) is Page[Item] and type(back.items[0]) is Item}

if __name__ == "__main__":
    print(json.dumps(ask()))
"""


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


LAYOUTS = {
    "in the script": {"shop.py": TASKS.format(models=MODELS) + ASKS},
    "in a module": {
        "models.py": MODELS,
        "shop.py": TASKS.format(models="from models import *"),
        "run.py": "import json\nfrom shop import *\n" + ASKS,
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_generic_model_is_of_the_same_class_on_both_sides(layout: str, workers: Workers, tmp_path: Path) -> None:
    program = Program(tmp_path / "shop", workers, LAYOUTS[layout])
    program.serve("shop")

    found = program.run("run.py" if "run.py" in LAYOUTS[layout] else "shop.py")

    assert len(found) == 7
    assert [kind for kind, same in found.items() if not same] == []
