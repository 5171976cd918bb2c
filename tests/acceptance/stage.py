"""One app of a test: its module freshly imported here under a name of its own, and what its workers are to be given."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from aiotask import App

from ..workers import Supervisor, Workers
from .ledger import Ledger

__all__ = ["Put", "Stage", "prepared", "staged"]


class Stage:
    """An app module, imported by this process as a web server would import it, and by workers as they do."""

    def __init__(self, module: ModuleType, env: dict[str, str], workers: Workers, ledger: Ledger, url: str) -> None:
        self.module = module
        self.name = module.__name__
        self.env = env
        self.workers = workers
        self.ledger = ledger
        self.url = url

    @property
    def app(self) -> App:
        app: App = self.module.app
        return app

    def __getattr__(self, name: str) -> Any:
        """A task, or whatever else the module defines."""
        return getattr(self.module, name)

    def start(self, concurrency: int | None = 1, *options: str, **settings: Any) -> Supervisor:
        """A supervisor that runs this app's tasks."""
        return self.workers.start(self.name, concurrency=concurrency, options=options, env=self.env, **settings)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """While the block lasts, this process sees this app where several stages have the same module."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AIOTASK_")]:
                patch.delenv(name)
            for name, value in {**self.env, "AIOTASK_URL": self.url}.items():
                patch.setenv(name, value)
            patch.setitem(sys.modules, self.name, self.module)
            yield


def prepared(module: str, workers: Workers, ledger: Path, url: str | None = None) -> Stage:
    """The module ``tests.acceptance.apps.{module}`` as an app of its own."""
    name = f"{__package__}.apps.{module}"
    env = {"TEST_APP": f"test-{uuid4().hex[:12]}", "TEST_LEDGER": str(ledger)}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in env.items():
            patch.setenv(variable, value)
        patch.delitem(sys.modules, name, raising=False)
        imported = importlib.import_module(name)
        sys.modules.pop(name)
    return Stage(imported, env, workers, Ledger(ledger), url or workers.url)


@contextlib.contextmanager
def staged(module: str, workers: Workers, ledger: Path, url: str | None = None) -> Iterator[Stage]:
    """The same, active while the block lasts."""
    stage = prepared(module, workers, ledger, url)
    with stage.active():
        yield stage


#: Puts an app module on stage for one test: ``stage("calls")``.
Put = Callable[[str], Stage]
