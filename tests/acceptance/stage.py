"""One app of a test: its module freshly imported here under a name of its own, and what its workers are to be given."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from aiotask import App

from ..workers import Supervisor, Workers
from .ledger import Ledger

__all__ = ["Stage", "staged"]


class Stage:
    """An app module, imported by this process as a web server would import it, and by workers as they do."""

    def __init__(self, module: ModuleType, env: dict[str, str], workers: Workers, ledger: Ledger) -> None:
        self.module = module
        self.env = env
        self.workers = workers
        self.ledger = ledger

    @property
    def name(self) -> str:
        """Of the module."""
        return self.module.__name__

    @property
    def app(self) -> App:
        app: App = self.module.app
        return app

    def __getattr__(self, name: str) -> Any:
        """A task, or whatever else the module defines."""
        return getattr(self.module, name)

    def start(self, concurrency: int | None = 1, *options: str, **settings: Any) -> Supervisor:
        """A supervisor that runs this app's tasks."""
        return self.workers.start(
            self.module.__name__, concurrency=concurrency, options=options, env=self.env, **settings
        )


@contextlib.contextmanager
def staged(module: str, workers: Workers, ledger: Path, url: str | None = None) -> Iterator[Stage]:
    """The module ``tests.acceptance.apps.{module}`` as an app of its own, while the block lasts."""
    name = f"{__package__}.apps.{module}"
    env = {"TEST_APP": f"test-{uuid4().hex[:12]}", "TEST_LEDGER": str(ledger)}
    with pytest.MonkeyPatch.context() as patch:
        for variable in [variable for variable in os.environ if variable.startswith("AIOTASK_")]:
            patch.delenv(variable)
        for variable, value in {**env, "AIOTASK_URL": url or workers.url}.items():
            patch.setenv(variable, value)
        patch.delitem(sys.modules, name, raising=False)
        yield Stage(importlib.import_module(name), env, workers, Ledger(ledger))
        sys.modules.pop(name, None)
