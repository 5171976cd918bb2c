"""Rows that run: their changes, failures, retries, sessions, ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, object_session

from aiotask import App
from aiotask.errors import ConnectionLost, Retry
from aiotask.sql import RowJob, create_tables

from ..helpers import wait_until_async
from .driver import work, working


def rows_of(app: App, model: Any) -> list[Any]:
    with app.session() as session:
        return list(session.scalars(sa.select(model).order_by(*model.__mapper__.primary_key)))


@pytest.fixture
def app(database_url: str) -> App:
    return App("shop", database=database_url)


@pytest.fixture
def base() -> type[DeclarativeBase]:
    class Base(DeclarativeBase):
        pass

    return Base


async def test_what_run_changes_is_saved_with_its_success(app, base):
    @app.row
    class Thumbnail(RowJob, base):
        __tablename__ = "thumbnails"
        id: Mapped[int] = mapped_column(primary_key=True)
        path: Mapped[str]
        width: Mapped[int | None]

        def run(self) -> None:
            assert self.status == "RUNNING"
            self.width = len(self.path)

    create_tables(app)
    with app.session() as session:
        session.add_all(Thumbnail(path="x" * n) for n in range(30))
    await work(app)
    rows = rows_of(app, Thumbnail)
    assert [(row.status, row.width) for row in rows] == [("SUCCESS", n) for n in range(30)]
    assert {row.attempt for row in rows} == {row.claims for row in rows} == {1}
    assert all(row.updated_at >= row.created_at for row in rows)


async def test_a_plain_insert_is_a_job(app, base):
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        async def run(self) -> None:
            pass

    create_tables(app)
    with app.session() as session:
        session.execute(sa.text("INSERT INTO mails (id) VALUES (7)"))
    assert [row.status for row in rows_of(app, Mail)] == ["PENDING"]
    await work(app)
    assert [row.status for row in rows_of(app, Mail)] == ["SUCCESS"]


async def test_a_failed_run_leaves_nothing_but_what_error_has_changed(app, base):
    raised: list[Exception] = []

    @app.row(retries=1, backoff=lambda failures: 0.01)
    class Fails(RowJob, base):
        __tablename__ = "fails"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str] = mapped_column(default="")
        errors: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            self.text = "changed by a run that failed"
            raised.append(ValueError(f"attempt {self.attempt}"))
            raise raised[-1]

        def error(self, exc: Exception) -> None:
            assert exc is raised[-1]
            assert self.text == ""
            self.errors += 1
            session = object_session(self)
            assert session is not None
            session.add(Note(text=str(exc)))

    class Note(base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    create_tables(app)
    with app.session() as session:
        session.add(Fails())
    async with working(app):
        await wait_until_async(lambda: ended(app, Fails), description="the row has ended")
    [row] = rows_of(app, Fails)
    assert (row.status, row.text, row.errors, row.attempt) == ("FAILED", "", 2, 2)
    assert row.last_error == "ValueError: attempt 2"
    assert [(entry["attempt"], entry["error"]) for entry in row.failures] == [
        (1, "ValueError: attempt 1"),
        (2, "ValueError: attempt 2"),
    ]
    assert [note.text for note in rows_of(app, Note)] == ["attempt 1", "attempt 2"]


async def ended(app: App, model: Any) -> bool:
    """Whether all rows have ended; a broken connection of this process is made anew for the next look."""
    await asyncio.sleep(0)
    with contextlib.suppress(ConnectionLost):
        return all(row.status in ("SUCCESS", "FAILED", "CANCELLED") for row in rows_of(app, model))
    return False


async def test_what_a_run_does_with_its_session_ends_with_its_row(app, base):
    class Child(base):
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(primary_key=True)
        of: Mapped[int]

    @app.row(retries=2, backoff=lambda failures: 0.01)
    class Parent(RowJob, base):
        __tablename__ = "parents"
        id: Mapped[int] = mapped_column(primary_key=True)
        seen: Mapped[int] = mapped_column(default=-1)

        def run(self) -> None:
            session = object_session(self)
            assert session is not None
            count = sa.select(sa.func.count()).select_from(Child).where(Child.of == self.id)
            self.seen = session.scalar(count) or 0
            session.add(Child(of=self.id))
            if self.id % 2:
                session.flush()
            if self.attempt == 1:
                raise Retry("once more", delay=0.01)

    create_tables(app)
    with app.session() as session:
        session.add_all(Parent() for _ in range(10))
    async with working(app, threads=4):
        await wait_until_async(lambda: ended(app, Parent), description="the rows have ended")
    assert [(row.status, row.seen, row.attempt) for row in rows_of(app, Parent)] == [("SUCCESS", 0, 2)] * 10
    assert sorted(child.of for child in rows_of(app, Child)) == list(range(1, 11))


async def test_a_constraint_that_one_row_breaks_fails_that_row_alone(app, base):
    @app.row
    class Named(RowJob, base):
        __tablename__ = "named"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None] = mapped_column(unique=True)
        n: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            self.n = self.id
            self.name = "taken" if self.id in (7, 9) else f"free {self.id}"

    create_tables(app)
    with app.session() as session:
        session.add_all(Named() for _ in range(20))
    await work(app, threads=4)
    rows = rows_of(app, Named)
    assert [row.status for row in rows].count("SUCCESS") == 19
    [broken] = [row for row in rows if row.status != "SUCCESS"]
    assert broken.status == "FAILED"
    assert broken.id in (7, 9)
    assert "unique" in broken.last_error.lower()
    assert broken.n == 0


async def test_a_change_deep_inside_json_is_saved(app, base):
    @app.row
    class Document(RowJob, base):
        __tablename__ = "documents"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[dict[str, Any]] = mapped_column(sa.JSON)

        def run(self) -> None:
            self.body["a"]["b"].append(self.id)

    create_tables(app)
    with app.session() as session:
        session.add_all(Document(body={"a": {"b": []}}) for _ in range(2))
    await work(app)
    assert [row.body for row in rows_of(app, Document)] == [{"a": {"b": [1]}}, {"a": {"b": [2]}}]


async def test_a_row_may_be_deleted_when_it_is_done(app, base):
    @app.row(delete_when_done=True)
    class Once(RowJob, base):
        __tablename__ = "once"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            if self.id == 2:
                raise ValueError("stays")

    create_tables(app)
    with app.session() as session:
        session.add_all(Once() for _ in range(3))
    await work(app)
    assert [(row.id, row.status) for row in rows_of(app, Once)] == [(2, "FAILED")]


async def test_async_runs_have_an_async_session_where_the_url_has_a_driver(database_url, base):
    from sqlalchemy.ext.asyncio import async_object_session

    url = database_url.replace("sqlite:", "sqlite+aiosqlite:").replace("+psycopg", "+asyncpg")
    app = App("shop", database=url)

    class Child(base):
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(primary_key=True)
        of: Mapped[int]

    @app.row(retries=1, backoff=lambda failures: 0.01)
    class Parent(RowJob, base):
        __tablename__ = "parents"
        id: Mapped[int] = mapped_column(primary_key=True)
        errors: Mapped[int] = mapped_column(default=0)

        async def run(self) -> None:
            session = async_object_session(self)
            assert session is not None
            session.add(Child(of=self.id))
            await session.flush()
            if self.attempt == 1 and self.id % 2:
                raise ValueError("first time")

        def error(self, exc: Exception) -> None:
            self.errors += 1

    create_tables(app)
    with app.session() as session:
        session.add_all(Parent() for _ in range(10))
    async with working(app):
        await wait_until_async(lambda: ended(app, Parent), description="the rows have ended")
    assert [(row.status, row.errors) for row in rows_of(app, Parent)] == [("SUCCESS", n % 2) for n in range(1, 11)]
    assert sorted(child.of for child in rows_of(app, Child)) == list(range(1, 11))


def test_a_session_of_the_app_rolls_back_on_an_error(app, base):
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    create_tables(app)
    with pytest.raises(RuntimeError), app.session() as session:
        assert isinstance(session, Session)
        session.add(Mail())
        session.flush()
        raise RuntimeError
    assert rows_of(app, Mail) == []
