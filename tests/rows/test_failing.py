"""Rows whose runs fail, take too long, are cancelled, or whose error() fails."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App, current_job
from aiotask.errors import JobTimeout
from aiotask.sql import RowJob, create_tables

from ..helpers import wait_until_async
from .driver import work, working
from .test_running import ended, rows_of


@pytest.fixture
def app(database_url: str) -> App:
    return App("shop", database=database_url)


@pytest.fixture
def base() -> type[DeclarativeBase]:
    class Base(DeclarativeBase):
        pass

    return Base


def add(app: App, *rows: Any) -> None:
    create_tables(app)
    with app.session() as session:
        session.add_all(rows)


async def test_an_error_that_raises_fails_no_more_than_its_row(app, base):
    @app.row
    class Bad(RowJob, base):
        __tablename__ = "bad"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            if self.id == 1:
                raise ValueError("of run")
            self.n = 1

        def error(self, exc: Exception) -> None:
            self.n = 99
            raise KeyError("of error")

    add(app, Bad(), Bad())
    await work(app)
    bad, good = rows_of(app, Bad)
    assert (bad.status, bad.n) == ("FAILED", 0)
    assert bad.last_error.startswith("ValueError: of run\n(error() raised KeyError")
    assert (good.status, good.n) == ("SUCCESS", 1)


async def test_only_the_errors_of_retry_on_are_retried(app, base):
    @app.row(retries=5, retry_on=(OSError,), backoff=lambda failures: 0.01)
    class Picky(RowJob, base):
        __tablename__ = "picky"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            if self.attempt < 3:
                raise OSError("again")
            raise ValueError("not again")

    add(app, Picky())
    async with working(app):
        await wait_until_async(lambda: ended(app, Picky), description="the row has ended")
    [row] = rows_of(app, Picky)
    assert (row.status, row.attempt, row.claims) == ("FAILED", 3, 3)
    assert [entry["error"] for entry in row.failures] == ["OSError: again", "OSError: again", "ValueError: not again"]


async def test_a_time_limit_fails_the_row_and_calls_error(app, base):
    seen: list[Exception] = []

    @app.row(timeout=0.05)
    class Slow(RowJob, base):
        __tablename__ = "slow"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

        async def run(self) -> None:
            self.n = 1
            await asyncio.Event().wait()

        def error(self, exc: Exception) -> None:
            seen.append(exc)
            self.n += 10

    add(app, Slow())
    await work(app)
    [row] = rows_of(app, Slow)
    assert (row.status, row.n) == ("FAILED", 10)
    assert row.last_error.startswith("JobTimeout: ")
    assert [type(error) for error in seen] == [JobTimeout]


async def test_a_run_in_a_thread_that_is_late_changes_nothing(app, base):
    @app.row(timeout=0.01)
    class Late(RowJob, base):
        __tablename__ = "late"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            threading.Event().wait(0.1)
            self.n = 1
            if self.id == 2:
                session = object_session(self)
                assert session is not None
                session.flush()

    add(app, Late(), Late())
    await work(app)
    assert [(row.status, row.n) for row in rows_of(app, Late)] == [("FAILED", 0)] * 2
    assert all("JobTimeout" in row.last_error for row in rows_of(app, Late))


async def test_a_row_that_is_cancelled_while_it_runs_stops_and_changes_nothing(app, base):
    started = asyncio.Event()

    @app.row
    class Endless(RowJob, base):
        __tablename__ = "endless"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

        async def run(self) -> None:
            self.n = 1
            started.set()
            await asyncio.Event().wait()

    add(app, Endless())
    async with working(app) as running:
        await started.wait()
        with app.session() as session:
            session.execute(sa.update(Endless).values(status="CANCELLED"))
        rows = app.rows
        assert rows is not None
        await wait_until_async(lambda: is_empty(rows), description="the run has ended")
        assert not running.done()
    [row] = rows_of(app, Endless)
    assert (row.status, row.n) == ("CANCELLED", 0)


async def is_empty(rows: Any) -> bool:
    return not rows._in_hand


async def test_a_worker_that_stops_gives_back_what_has_not_started(app, base):
    started, release = threading.Event(), threading.Event()

    @app.row
    class Blocks(RowJob, base):
        __tablename__ = "blocks"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            started.set()
            assert release.wait(60)

    add(app, *(Blocks() for _ in range(20)))

    async with working(app):
        assert await asyncio.to_thread(started.wait, 60)
        asyncio.get_running_loop().call_later(0.2, release.set)
    statuses = [row.status for row in rows_of(app, Blocks)]
    assert "RUNNING" not in statuses
    assert statuses.count("SUCCESS") >= 1
    assert {row.attempt for row in rows_of(app, Blocks)} == {1}


async def test_a_value_that_the_database_refuses_fails_its_row_alone(app, base):
    @app.row
    class Typed(RowJob, base):
        __tablename__ = "typed"
        id: Mapped[int] = mapped_column(primary_key=True)
        at: Mapped[Any] = mapped_column(sa.DateTime, nullable=True)

        def run(self) -> None:
            self.at = "no moment" if self.id == 3 else None

    add(app, *(Typed() for _ in range(6)))
    await work(app, threads=3)
    assert [row.status for row in rows_of(app, Typed)] == ["SUCCESS"] * 2 + ["FAILED"] + ["SUCCESS"] * 3


async def test_a_relationship_may_be_loaded_and_extended_in_a_run(app, base):
    from sqlalchemy.orm import relationship

    class Owner(base):
        __tablename__ = "owners"
        id: Mapped[int] = mapped_column(primary_key=True)
        count: Mapped[int] = mapped_column(default=0)

    class Page(base):
        __tablename__ = "pages"
        id: Mapped[int] = mapped_column(primary_key=True)
        of: Mapped[int] = mapped_column(sa.ForeignKey("books.id"))

    @app.row
    class Book(RowJob, base):
        __tablename__ = "books"
        id: Mapped[int] = mapped_column(primary_key=True)
        owner_id: Mapped[int] = mapped_column(sa.ForeignKey("owners.id"))
        owner: Mapped[Any] = relationship(Owner, lazy="joined")
        pages: Mapped[list[Any]] = relationship(Page)

        def run(self) -> None:
            assert self.owner.id == self.owner_id
            self.pages.append(Page())

    create_tables(app)
    with app.session() as session:
        owner = Owner(id=1)
        session.add_all(Book(owner=owner) for _ in range(10))
    await work(app, threads=4)
    assert {row.status for row in rows_of(app, Book)} == {"SUCCESS"}
    assert sorted(page.of for page in rows_of(app, Page)) == list(range(1, 11))


async def test_a_row_reports_no_progress_and_saves_no_checkpoint(app, base):
    @app.row
    class Long(RowJob, base):
        __tablename__ = "long"
        id: Mapped[int] = mapped_column(primary_key=True)
        call: Mapped[str]

        def run(self) -> None:
            job = current_job()
            {"progress": lambda: job.progress(1), "checkpoint": lambda: job.checkpoint(1)}.get(
                self.call, job.last_checkpoint
            )()

    calls = ["progress", "checkpoint", "last_checkpoint"]
    add(app, *(Long(call=call) for call in calls))
    await work(app)
    for row in rows_of(app, Long):
        assert row.status == "FAILED"
        assert "ConfigError" in row.last_error
        assert f"current_job().{row.call}()" in row.last_error
