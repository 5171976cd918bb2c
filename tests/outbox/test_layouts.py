"""Sessions that let go of their objects, and tables in schemas: the outbox is found all the same."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from aiotask import App
from aiotask.brokers.sql.outbox import Outbox as Statements
from aiotask.sql import RowJob, create_tables

from .shop import Shop
from .test_sessions import engine as engine
from .test_sessions import shop as shop


def test_rows_in_a_schema_and_jobs_in_one_transaction(postgres_url: str, app_name: str) -> None:
    class Tables(DeclarativeBase):
        pass

    app = App(app_name, url="memory://", secret="x" * 40, database=postgres_url)

    @app.task(name="shop:note")
    async def note(n: int) -> None: ...

    @app.row
    class Mail(RowJob, Tables):
        __tablename__ = "mails"
        __table_args__ = {"schema": "store"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    with app.session() as session:
        session.execute(sa.text("CREATE SCHEMA store"))
    create_tables(app)
    with app.session() as session, app.in_transaction(session):
        session.add(Mail(id=1))
        note.apply_async(1)
    assert [(each.app, each.jobs) for each in Statements.unrelayed(app.database.open())] == [(app_name, 1)]


def test_a_session_that_lets_go_of_its_objects_before_the_commit(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        with shop.app.in_transaction(session) as outbox:
            shop.note.apply_async(1)
            session.flush()
            session.expunge_all()
        session.commit()
        assert [job.args for job in outbox.jobs] == [(1,)]
        with shop.app.in_transaction(session) as outbox:
            shop.note.apply_async(2)
            session.flush()
            session.expunge_all()
        session.rollback()
        assert not outbox.jobs
        with pytest.raises(ValueError), shop.app.in_transaction(session) as outbox:
            shop.note.apply_async(3)
            session.flush()
            session.expunge_all()
            raise ValueError
        session.commit()
        assert not outbox.jobs
    assert shop.waiting() == [1]
