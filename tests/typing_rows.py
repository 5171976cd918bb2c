"""What type checkers see of row classes; never run."""

from __future__ import annotations

from typing import Any, assert_type

from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, object_session

from aiotask import App
from aiotask.sql import Row, RowJob, create_tables

app = App("shop", database="sqlite:///shop.db")


class Base(DeclarativeBase): ...


@app.row
class Thumbnail(RowJob, Base):
    __tablename__ = "thumbnails"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    width: Mapped[int | None]

    def run(self) -> None:
        self.width = len(self.path)
        session = object_session(self)
        assert session is not None
        session.add(Thumbnail(path="x"))

    def error(self, exc: Exception) -> None:
        if isinstance(exc, ValueError):
            self.path = "bad"


@app.row(retries=3, retry_on=(ConnectionError,), timeout=30, delete_when_done=True)
class Mail(RowJob, Base):
    __tablename__ = "mails"
    id: Mapped[str] = mapped_column(primary_key=True)

    async def run(self) -> None: ...


class WithoutRun(RowJob, Base):
    __tablename__ = "without"
    id: Mapped[int] = mapped_column(primary_key=True)


app.row(retrys=3)  # type: ignore[call-overload]
app.row(WithoutRun)  # type: ignore[type-var]


@app.row
class Photo(Row):
    __tablename__ = "photos"
    foo: Mapped[int]
    bar: Mapped[str]
    baz: Mapped[dict[str, Any]]

    def run(self) -> None:
        self.foo += 1


def use() -> None:
    create_tables(app)
    with app.session() as session:
        assert_type(session, Session)
        thumbnail = session.scalars(select(Thumbnail).where(Thumbnail.status == "FAILED")).first()
        assert_type(thumbnail, Thumbnail | None)
        if thumbnail is not None:
            assert_type(thumbnail.attempt, int)
            assert_type(thumbnail.last_error, str | None)
            assert_type(thumbnail.failures, list[dict[str, Any]] | None)
            thumbnail.status = "PENDING"
    Photo(foo=1, bar="test", baz={"foo": "bar"}, priority=3)
    Photo(foo="x", bar="test", baz={})  # type: ignore[arg-type]
    Photo(fo=1)  # type: ignore[call-arg]
