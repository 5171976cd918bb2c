"""What a run does with its session, and what the database says to it: the row ends all the same."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_object_session
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.sql import RowJob, create_tables

from .driver import work
from .test_running import app as app
from .test_running import base as base
from .test_running import rows_of


class Note:
    id: Mapped[int] = mapped_column(primary_key=True)


def _close(row: Any, session: Any) -> None:
    session.commit()
    session.close()


def _expunge(row: Any, session: Any) -> None:
    session.flush()
    session.expunge(row)


def _expunge_all(row: Any, session: Any) -> None:
    session.commit()
    session.expunge_all()


def _load_again(row: Any, session: Any) -> None:
    session.flush()
    session.expunge(row)
    session.get(type(row), row.id)


def _commit(row: Any, session: Any) -> None:
    session.commit()


@pytest.mark.parametrize("act", [_close, _expunge, _expunge_all, _load_again, _commit])
async def test_a_run_may_close_its_session(app: App, base: type[DeclarativeBase], act: Any) -> None:
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)
        sent: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            self.sent = 5
            session = object_session(self)
            session.add(Copy(id=self.id))
            act(self, session)

    class Copy(Note, base):
        __tablename__ = "copies"

    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in (1, 2))
    await work(app)
    assert [(row.status, row.sent) for row in rows_of(app, Mail)] == [("SUCCESS", 5)] * 2
    assert [row.id for row in rows_of(app, Copy)] == [1, 2]


async def test_a_run_that_has_rolled_back_ends_with_what_it_does_then(app: App, base: type[DeclarativeBase]) -> None:
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)
        sent: Mapped[int] = mapped_column(default=0)
        facts: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=lambda: {"of": {}})

        def run(self) -> None:
            session = object_session(self)
            self.facts["of"]["lost"] = self.sent = 1
            session.flush()
            session.rollback()
            if self.id == 2:
                session.close()

    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in (1, 2))
    await work(app)
    assert [(row.status, row.sent, row.facts) for row in rows_of(app, Mail)] == [("SUCCESS", 0, {"of": {}})] * 2


@pytest.mark.parametrize("ends", ["flush", "commit", "nothing", "statement"])
async def test_a_run_may_delete_its_row(app: App, base: type[DeclarativeBase], ends: str) -> None:
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            session = object_session(self)
            session.add(Copy(id=self.id))
            if ends == "statement":
                session.execute(sa.delete(Mail).where(Mail.id == self.id))
                return
            session.delete(self)
            if ends != "nothing":
                getattr(session, ends)()

    class Copy(Note, base):
        __tablename__ = "copies"

    create_tables(app)
    with app.session() as session:
        session.add(Mail(id=1))
    await work(app)
    assert not rows_of(app, Mail)
    assert [row.id for row in rows_of(app, Copy)] == [1]


@pytest.mark.parametrize("statement", ["DELETE FROM mails WHERE id = 2", "UPDATE mails SET status = 'SUCCESS'"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_run_that_ends_its_row_with_a_statement_fails_and_the_worker_goes_on(
    app: App, base: type[DeclarativeBase], statement: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def act(self) -> None:
            if self.id == 2:
                session = object_session(self)
                session.add(Copy(id=self.id))
                session.execute(sa.text(statement))

        if is_async:

            async def run(self) -> None:
                await async_object_session(self).run_sync(lambda _: self.act())
        else:

            def run(self) -> None:
                self.act()

    class Copy(Note, base):
        __tablename__ = "copies"

    if is_async and app.database.open().is_sqlite:
        app.database.replace(app.database.given.replace("sqlite:", "sqlite+aiosqlite:"))
    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in (1, 2, 3))
    with caplog.at_level(logging.WARNING, "aiotask"):
        await work(app)
    rows = rows_of(app, Mail)
    assert [(row.id, row.status) for row in rows] == [(1, "SUCCESS"), (2, "FAILED"), (3, "SUCCESS")]
    assert "object_session(self).delete(self)" in rows[1].last_error
    assert 'The run of row "mails/2" has deleted this row' in caplog.text
    assert not rows_of(app, Copy)


@pytest.mark.parametrize("commits", ["session", "connection"])
async def test_a_run_may_delete_its_row_with_a_statement_that_it_commits(
    app: App, base: type[DeclarativeBase], commits: str, caplog: pytest.LogCaptureFixture
) -> None:
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            mine = sa.delete(Mail.__table__).where(Mail.__table__.c.id == self.id)
            if self.id != 2:
                return
            if commits == "session":
                object_session(self).execute(mine)
                object_session(self).commit()
            else:
                with app.session() as session:
                    session.connection().execute(mine)

    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in (1, 2, 3))
    with caplog.at_level(logging.WARNING, "aiotask"):
        await work(app)
    assert [(row.id, row.status) for row in rows_of(app, Mail)] == [(1, "SUCCESS"), (3, "SUCCESS")]
    assert "Job mails/2 no longer belonged to this worker" in caplog.text


async def test_a_table_that_a_run_misses_fails_the_run(app: App, base: type[DeclarativeBase]) -> None:
    runs: list[int] = []

    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            runs.append(self.attempt)
            if len(runs) < 10:
                object_session(self).add(Copy(id=self.id))

    class Copy(Note, base):
        __tablename__ = "copies"

    create_tables(app)
    with app.session() as session:
        session.execute(sa.text("DROP TABLE copies"))
        session.add(Mail(id=1))
    await work(app)
    [row] = rows_of(app, Mail)
    assert (row.status, runs) == ("FAILED", [1])
    assert "copies" in row.last_error


@pytest.mark.parametrize("uses_session", [False, True])
async def test_what_the_server_can_never_store_fails_its_row_alone(
    postgres_url: str, base: type[DeclarativeBase], uses_session: bool
) -> None:
    app = App("shop", database=postgres_url)

    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str] = mapped_column(default="", index=True)

        def run(self) -> None:
            if uses_session:
                object_session(self).execute(sa.text("SELECT 1"))
            # An entry of an index holds 8 kB at most: an OperationalError, though no waiting would help.
            self.text = "".join(map(chr, range(256, 30_000))) if self.id == 2 else "short"

    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in (1, 2, 3))
    await work(app)
    assert [row.status for row in rows_of(app, Mail)] == ["SUCCESS", "FAILED", "SUCCESS"]
    assert "index row" in rows_of(app, Mail)[1].last_error
