"""aiotask sql: its statements make the tables, and --check finds what is missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ..cli.command import invoke
from .asking import Asking

MODULE = """
from sqlalchemy import Enum
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from aiotask import App
from aiotask.sql import RowJob

app = App("shop")

class Base(DeclarativeBase):
    pass

@app.row
class Thumbnail(RowJob, Base):
    __tablename__ = "thumb%nails"
    id: Mapped[int] = mapped_column(primary_key=True)
    colour: Mapped[str] = mapped_column(Enum("red", "blue", name="colours"))

    def run(self) -> None: ...

class NoJob(Base):
    __tablename__ = "no_jobs"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The folder of a module ``sql_models``."""
    (tmp_path / "sql_models.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    yield str(tmp_path)
    sys.modules.pop("sql_models", None)


def execute(url: str, text: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in text.split(";\n"):
            if statement.strip():
                # No parameters, as psql would send it.
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.execute(statement)
    engine.dispose()


def test_the_statements_make_all_that_a_check_asks_for(database_url: str, models: str) -> None:
    if "sqlite" in database_url:
        Path(database_url.removeprefix("sqlite:///")).touch()
    asking = Asking(database_url)
    lacking = asking.ask("sql", "sql_models", "--app-dir", models, "--check", code=1)
    assert not lacking["ok"]
    assert [each["table"] for each in lacking["missing"]] == [
        *("aiotask_workers", "aiotask_hosts", "aiotask_outbox", "thumb%nails"),
    ]

    text = asking.say("sql", "sql_models", "--app-dir", models)
    assert "no_jobs" not in text
    execute(database_url, text)

    assert asking.ask("sql", "sql_models", "--app-dir", models, "--check") == {"ok": True, "missing": []}
    assert asking.say("sql", "--check") == "Nothing is missing.\n"
    assert [queue["name"] for queue in asking.ask("queues")[0]["queues"]] == ["thumb%nails"]
    if "sqlite" in database_url:
        # A second time, since IF NOT EXISTS stands everywhere. PostgreSQL has no such words for CREATE TYPE.
        execute(database_url, text)


def test_a_missing_column_and_index_are_named(sqlite_url: str, models: str) -> None:
    asking = Asking(sqlite_url)
    execute(sqlite_url, asking.say("sql", "sql_models", "--app-dir", models))
    execute(sqlite_url, 'DROP INDEX "ix_thumb%nails_ready";\nALTER TABLE aiotask_workers RENAME COLUMN host TO hosts')

    found = asking.ask("sql", "sql_models", "--app-dir", models, "--check", code=1)["missing"]
    assert found == [
        {"kind": "column", "table": "aiotask_workers", "name": "host"},
        {"kind": "index", "table": "thumb%nails", "name": "ix_thumb%nails_ready"},
    ]
    said = asking.say("sql", "sql_models", "--app-dir", models, "--check", code=1)
    assert "missing index ix_thumb%nails_ready of thumb%nails" in said and "Run your migrations" in said


def test_the_dialect_is_that_of_the_flag_else_of_the_database() -> None:
    def said(*arguments: str) -> str:
        return str(invoke("sql", *arguments).output)

    assert "BIGSERIAL" in said("--dialect", "postgresql") and "AUTOINCREMENT" in said("--dialect", "sqlite")
    assert "AUTOINCREMENT" in said("--database", "sqlite:///shop.db")
    assert "BYTEA" in said("--database", "postgresql://db.internal/shop")
    assert said("--dialect", "postgresql").count("CREATE TABLE") == 3
    statements = Asking("sqlite:///shop.db").ask("sql")
    assert statements["dialect"] == "sqlite" and len(statements["statements"]) == 4


def test_without_a_dialect_or_a_database_both_ways_are_named() -> None:
    error = str(invoke("sql").exception)

    assert "--dialect" in error and "AIOTASK_DATABASE" in error
    assert "AIOTASK_DATABASE" in str(invoke("sql", "--check").exception)
