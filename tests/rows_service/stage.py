"""One app with rows: what the test inserts and reads, its workers, and what they have written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from aiotask.sql import create_tables

from ..helpers import wait_until
from ..workers import DATABASES, Supervisor, Workers
from .shop import Shop

__all__ = ["RowStage"]

FINAL = ("SUCCESS", "FAILED", "CANCELLED")


class RowStage:
    """The tables exist; workers have not been started.

    Args:
        url: of the broker; None: the app has rows alone, and the workers' AIOTASK_URL leads nowhere.
    """

    def __init__(self, database: str, workers: Workers, folder: Path, url: str | None = None) -> None:
        self.database = database
        self.workers = workers
        self.folder = folder
        folder.mkdir()
        self.url = url
        self.shop = Shop(f"test-{uuid4().hex[:12]}", database, folder, url, tasks=url is not None)
        create_tables(self.shop.app)

    def start(self, concurrency: int = 1, *options: str, wait: bool = True, **env: str) -> Supervisor:
        module = "rows_alone" if self.url is None else "both"
        return self.workers.start(
            f"tests.rows_service.apps.{module}",
            concurrency=concurrency,
            options=options,
            env={
                "TEST_APP": self.shop.app.name,
                "TEST_DATABASE": self.database,
                "TEST_FOLDER": str(self.folder),
                "AIOTASK_URL": self.url or "redis://127.0.0.1:1/0",
                **env,
            },
            wait=wait,
            loaded=DATABASES,
        )

    # ---- rows

    def add(self, works: Iterable[str], model: Any = None, **columns: Any) -> list[int]:
        """Insert a row for each of these works; their ids."""
        with self.shop.app.session() as session:
            rows = [(model or self.shop.Plain)(work=work, **columns) for work in works]
            session.add_all(rows)
            session.flush()
            return [row.id for row in rows]

    def rows(self, model: Any = None) -> dict[int, Any]:
        """All rows of a class by id, as the database has them now."""
        model = model or self.shop.Plain
        with self.shop.app.session() as session:
            return {row.id: row for row in session.scalars(sa.select(model))}

    def row(self, id: int, model: Any = None) -> Any:
        return self.rows(model)[id]

    def statuses(self, model: Any = None) -> Counter[str]:
        return Counter(row.status for row in self.rows(model).values())

    def set(self, id: int, model: Any = None, **values: Any) -> None:
        """Update one row, as any program may do."""
        with self.shop.app.session() as session:
            model = model or self.shop.Plain
            session.execute(sa.update(model).where(model.id == id).values(**values))

    def set_where(self, id: int, is_now: str, **values: Any) -> bool:
        """Update one row if this is its status; whether it was."""
        with self.shop.app.session() as session:
            model = self.shop.Plain
            changed = session.execute(sa.update(model).where(model.id == id, model.status == is_now).values(**values))
            return bool(changed.rowcount)

    def wait_for_end(self, model: Any = None, timeout: float = 60.0) -> dict[int, Any]:
        """The rows, once each has ended."""
        self.wait(lambda: set(self.statuses(model)) <= set(FINAL), "every row has ended", timeout)
        return self.rows(model)

    def wait(self, condition: Any, description: str, timeout: float = 60.0) -> None:
        wait_until(condition, description=f"{description}; {dict(self.statuses())}", timeout=timeout)

    def wait_for_log(self, supervisor: Supervisor, text: str) -> None:
        wait_until(lambda: text in supervisor.log, description=f'"{text}" is in the log')

    # ---- runs

    def runs(self, kind: str = "plain") -> list[int]:
        """The ids of rows that have run, an entry for each run."""
        found = [line.split() for path in self.folder.glob("*.log") for line in path.read_text().splitlines()]
        return [int(words[1]) for words in found if words[0] == kind]

    def errors(self) -> list[tuple[int, str]]:
        found = [line.split() for path in self.folder.glob("*.log") for line in path.read_text().splitlines()]
        return [(int(words[1]), words[2]) for words in found if words[0] == "error"]

    def running(self, ids: Collection[int], kind: str = "plain") -> None:
        """Return once these rows have begun to run."""
        self.wait(lambda: set(ids) <= set(self.runs(kind)), f"the rows {sorted(ids)} run")

    def open(self, name: str) -> None:
        """Let the rows end that wait for this file."""
        (self.folder / name).touch()
