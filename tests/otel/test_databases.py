"""Spans of rows, and of calls that are sent in a transaction."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.contrib.otel import Tracing
from aiotask.sql import RowJob, create_tables

from ..helpers import wait_until_async
from .spans import Memory, named


@pytest.fixture
def app(memory: Memory, app_name: str, sqlite_url: str, redis_url: str) -> App:
    tracing = Tracing(tracer_provider=memory.provider)
    return App(app_name, url=redis_url, database=sqlite_url, middleware=[tracing])


async def test_a_run_of_a_row_begins_a_trace(app: App, memory: Memory, sqlite_url: str) -> None:
    class Base(DeclarativeBase): ...

    @app.row
    class Thumbnail(RowJob, Base):
        __tablename__ = "thumbnails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            if self.id == 2:
                raise ValueError("no picture")

    engine = sa.create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    engine.dispose()
    with app.session() as session:
        session.add_all([Thumbnail(id=1), Thumbnail(id=2)])
    async with app, app.worker():
        await wait_until_async(lambda: len(memory.rows) == 2, description="both rows have run")

    good, bad = sorted(memory.rows, key=lambda row: row["status"], reverse=True)
    assert {row["name"] for row in memory.rows} == {good["name"]}
    assert good["name"].startswith("process ") and good["name"].endswith("Thumbnail")
    for row in (good, bad):
        assert (row["parent"], row["links"]) == (None, [])
        # The row is in no broker.
        assert "server.address" not in row["attributes"]
    assert (good["attributes"]["aiotask.outcome"], bad["attributes"]["aiotask.outcome"]) == ("SUCCESS", "FAILED")
    assert bad["attributes"]["error.type"] == "ValueError"


async def test_a_call_in_a_transaction_has_the_trace_of_the_code_that_makes_it(app: App, memory: Memory) -> None:
    @app.task(name="t:one")
    def one() -> int:
        return 1

    create_tables(app)
    sent: list[Any] = []
    with memory.tracer.start_as_current_span("request"), app.session() as session, app.in_transaction(session):
        sent.append(one.apply_async())
    async with app, app.worker():
        await wait_until_async(lambda: named(memory.rows, "process t:one"), description="the job has run")

    (request,), (send,), (process,) = (named(memory.rows, name) for name in ("request", "send t:one", "process t:one"))
    assert (send["parent"], process["parent"]) == (request["id"], send["id"])
    assert send["attributes"]["messaging.message.id"] == sent[0].id
