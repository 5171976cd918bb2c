"""Rows and transactions as type checkers see them. Never run; see ``typing_api.py``."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from sqlalchemy import Connection, Engine, MetaData, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_object_session
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    mapped_column,
    object_session,
    scoped_session,
)

from aiotask import App, AsyncResult
from aiotask.sql import Row, RowData, RowJob, create_tables, metadata, render_item


def engine() -> Engine:
    return create_engine("sqlite:///shop.db")


app = App("shop", database="sqlite:///shop.db")
App("shop", database=engine)
App("shop", database=engine())


class Base(DeclarativeBase): ...


class DataBase(MappedAsDataclass, DeclarativeBase): ...


@app.task
def receipt(order: int) -> str:
    return str(order)


# ---- every way to register


@app.row
class Thumbnail(RowJob, Base):
    __tablename__ = "thumbnails"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    width: Mapped[int | None] = mapped_column(default=None)

    def run(self) -> None:
        self.width = len(self.path)
        session = object_session(self)
        assert_type(session, Session | None)
        if session is not None:
            session.add(Thumbnail(path="x"))

    def error(self, exc: Exception, /) -> None:
        if isinstance(exc, ValueError):
            self.path = "bad"


@app.row()
class Letter(RowJob, Base):
    __tablename__ = "letters"
    id: Mapped[int] = mapped_column(primary_key=True)

    # The error hook may have a parameter that can be named too.
    def error(self, exc: Exception) -> None: ...
    def run(self) -> int:
        return self.attempt


@app.row(
    queue="mail",
    name="shop:mail",
    retries=3,
    retry_on=(ConnectionError,),
    backoff=lambda failures: 2.0**failures,
    timeout=timedelta(seconds=30),
    delete_when_done=True,
    notify=False,
)
class Mail(RowJob, Base):
    __tablename__ = "mails"
    id: Mapped[str] = mapped_column(primary_key=True)

    async def run(self) -> None:
        session = async_object_session(self)
        assert_type(session, AsyncSession | None)


@app.row
class Order(RowData, DataBase):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    article: Mapped[str]
    pieces: Mapped[int] = mapped_column(default=1)

    def run(self) -> None: ...


@app.row(timeout=None)
class Photo(Row):
    __tablename__ = "photos"
    foo: Mapped[int]
    bar: Mapped[str]
    baz: Mapped[dict[str, Any]]
    note: Mapped[str | None] = mapped_column(default=None)

    def run(self) -> None:
        self.foo += 1


# A row class stays what it is.
assert_type(Thumbnail, type[Thumbnail])
assert_type(Mail, type[Mail])
assert_type(Photo(foo=1, bar="test", baz={"foo": "bar"}), Photo)
Photo(id="known", foo=1, bar="test", baz={}, priority=0)
Photo(foo="x", bar="test", baz={})  # type: ignore[arg-type]
Photo(fo=1)  # type: ignore[call-arg]
Order(article="leek", priority=3)
Order(article="leek", status="SUCCESS")  # type: ignore[call-arg]


# ---- what is no row class


class NotRun(RowJob, Base):
    __tablename__ = "not_run"
    id: Mapped[int] = mapped_column(primary_key=True)


class NoHook:
    def run(self) -> None: ...


class WithArguments(RowJob, Base):
    __tablename__ = "with_arguments"
    id: Mapped[int] = mapped_column(primary_key=True)

    def run(self, size: int) -> None: ...


app.row(NotRun)  # type: ignore[type-var]
app.row(NoHook)  # type: ignore[type-var]
app.row(WithArguments)  # type: ignore[type-var]
app.row(retrys=3)  # type: ignore[call-overload]
app.row(retries="three")  # type: ignore[call-overload]
app.row(key="x")  # type: ignore[call-overload]
app.row(retries=3)(NotRun)  # type: ignore[type-var]


# ---- columns


def columns(row: Thumbnail, data: Order, ready: Photo) -> None:
    assert_type(row.status, str)
    assert_type(row.created_at, datetime)
    assert_type(row.updated_at, datetime)
    assert_type(row.due_at, datetime)
    assert_type(row.priority, int)
    assert_type(row.attempt, int)
    assert_type(row.deaths, int)
    assert_type(row.claims, int)
    assert_type(row.worker, str | None)
    assert_type(row.last_error, str | None)
    assert_type(row.failures, list[dict[str, Any]] | None)
    assert_type(data.last_error, str | None)
    assert_type(data.priority, int)
    assert_type(ready.id, str)
    assert_type(ready.due_at, datetime)
    row.status = "PENDING"
    row.due_at = datetime.now(UTC)
    row.priority = "high"  # type: ignore[assignment]


# ---- sessions and searches


def sessions() -> None:
    assert_type(app.session(), AbstractContextManager[Session])
    with app.session() as session:
        assert_type(session, Session)
        session.add(Thumbnail(path="a.jpg"))
        found = session.scalars(select(Thumbnail).where(Thumbnail.status == "FAILED", Thumbnail.deaths > 0))
        assert_type(found.first(), Thumbnail | None)
        done = select(Photo).where(Photo.status == "SUCCESS", Photo.baz["foo"].as_string() == "bar")
        assert_type(session.scalars(done).all(), Sequence[Photo])


# ---- transactions


def transactions(session: Session, scoped: scoped_session[Session], on: Connection, plain: sqlite3.Connection) -> None:
    with app.in_transaction(session) as outbox:
        result = receipt.apply_async(7)
        assert_type(result, AsyncResult[str])
        job = outbox.jobs[0]
        assert_type(job.id, str)
        assert_type(job.task, str)
        assert_type(job.queue, str)
        assert_type(job.args, tuple[Any, ...])
        assert_type(job.result, AsyncResult[Any])
    with app.in_transaction(scoped), app.in_transaction(on), app.in_transaction(plain):
        ...
    with app.in_transaction("default"):
        ...
    app.in_transaction()  # type: ignore[call-arg]


async def async_transactions(session: AsyncSession) -> None:
    async with app.in_transaction(session) as outbox:
        result = receipt.apply_async(7)
    assert_type(len(outbox.jobs), int)
    assert_type(await result, str)


# ---- working, and tables


def working() -> None:
    assert_type(app.work(), int)
    assert_type(app.work(1), int)
    assert_type(app.work(limit=5, burst=True, only=(Thumbnail, "mail")), int)
    app.work("mail")  # type: ignore[arg-type]
    assert_type(metadata, MetaData)
    create_tables(app)
    create_tables(engine())  # type: ignore[arg-type]
    render_item("type", None, None)
