"""The names of the library in pickles are those that every release has, wherever the code stands today."""

from __future__ import annotations

import io
import pickle
from typing import Any

import cloudpickle
import pytest

import aiotask
from aiotask import App

app = App("names")


@app.task
def add(a: int, b: int) -> int:
    return a + b


class Reader(pickle.Unpickler):
    """Notes the names of the library that a pickle refers to."""

    def __init__(self, body: bytes) -> None:
        super().__init__(io.BytesIO(body))
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("aiotask."):
            self.names.add(f"{module}.{name}")
        return super().find_class(module, name)


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize(
    ("value", "names"),
    [
        (add, {"aiotask.tasks._task_in"}),
        (add.options(delay=5), {"aiotask.tasks._task_named"}),
        (aiotask.exponential(2), {"aiotask.backoff.exponential"}),
        (add.s(1, 2), {"aiotask.signature.Signature", "aiotask.sending._sending", "aiotask.tasks._task_in"}),
        (aiotask.ResultTimeout("late"), {"aiotask.errors.ResultTimeout"}),
        (aiotask.Status.SUCCESS, {"aiotask.job.Status"}),
        (aiotask.Outcome(1, "id", "add", aiotask.Status.SUCCESS), {"aiotask.job.Status", "aiotask.outcome.Outcome"}),
    ],
    ids=["task", "task with options", "backoff", "signature", "error", "status", "outcome"],
)
def test_a_pickle_has_the_names_of_every_release(dumps: Any, value: Any, names: set[str]) -> None:
    reader = Reader(dumps(value, protocol=5))

    assert type(reader.load()) is type(value)
    assert reader.names == names
