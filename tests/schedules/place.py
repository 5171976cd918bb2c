"""An app with schedules in a file of its own, run by real services."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiotask.wire.scheduled import run_id

from ..commands import run_command
from ..workers import Workers

__all__ = ["TICKING", "Place"]

TICKING = """
import os
from pathlib import Path
from aiotask import App, current_job

app = App(os.environ["TEST_APP"])
LEDGER = Path(os.environ["TEST_LEDGER"])


def note() -> None:
    with LEDGER.open("a") as file:
        file.write(f"{current_job().id}\\n")


@app.task(every=0.5)
def tick() -> None:
    note()


@app.task(cron="* * * * *", timezone="Europe/Berlin", missed="all")
async def tock() -> None:
    note()
"""


class Place:
    """An app in a file of its own, with services on a server, and what its runs have written."""

    def __init__(self, workers: Workers, app_name: str, url: str, folder: Path) -> None:
        self._workers = workers
        self.folder = folder
        self.ledger = folder / "ledger"
        self.env = {"TEST_APP": app_name, "TEST_LEDGER": str(self.ledger), "AIOTASK_URL": url}
        self.name = app_name

    def write(self, source: str) -> None:
        (self.folder / "ticking.py").write_text(source)

    def start(self, **options: Any) -> Any:
        return self._workers.start("ticking", app_dir=self.folder, env=self.env, **options)

    def runs(self) -> list[str]:
        return self.ledger.read_text().split() if self.ledger.exists() else []

    def ask(self, *command: str) -> Any:
        done = run_command("schedules", *command, "--json", "--name", self.name, env={**os.environ, **self.env})
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def names(self) -> set[str]:
        return {schedule["name"] for schedule in self.ask()}

    def more(self, count: int) -> Callable[[], bool]:
        seen = len(self.runs())
        return lambda: len(self.runs()) >= seen + count

    def moments(self, name: str) -> list[float]:
        """The moments of the runs of a schedule that have begun, in that order."""
        prefix = run_id(name, 1.0).removesuffix("1")
        return [float(id.removeprefix(prefix)) for id in self.runs() if id.startswith(prefix)]
