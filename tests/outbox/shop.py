"""The app of these tests, its tables, and engines that begin transactions in different ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.brokers.sql.database import Database
from aiotask.brokers.sql.outbox import unpacked
from aiotask.brokers.sql.tables import add_tables
from aiotask.job import decode_job
from aiotask.wire.seal import Sealer

__all__ = ["ENGINES", "Base", "Order", "Shop"]


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


TABLES = add_tables(Base.metadata)


class Shop:
    """An app whose jobs note a number."""

    def __init__(self, database: str, name: str, url: str = "memory://", **options: Any) -> None:
        self.url = database
        self.app = App(name, url=url, secret="x" * 40, database=database, **options)
        self.ran: list[int] = []

        @self.app.task(name="shop:note")
        async def note(n: int) -> int:
            self.ran.append(n)
            return 10 * n

        self.note = note
        Base.metadata.create_all(self.database.engine)

    @property
    def database(self) -> Database:
        return self.app.database.open()

    @property
    def driver_url(self) -> str:
        """What the drivers themselves connect with: a path, or a DSN."""
        url = self.database.engine.url
        return (
            str(url.database) if self.database.is_sqlite else str(url.set(drivername="postgresql")).replace("***", "")
        )

    def waiting(self) -> list[int]:
        """The numbers of the jobs that were committed and wait for the relay, in their order."""
        sealer = Sealer(self.app.secrets, "job")
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(TABLES.outbox.c.push).order_by(TABLES.outbox.c.seq)).scalars().all()
        found = []
        for row in rows:
            job = decode_job(sealer.open(unpacked(row).sealed))
            args, _ = self.app.serializer.load_call(job.body, None)
            found.append(args[0])
        return found

    def orders(self) -> list[int]:
        """The orders that were committed."""
        with self.database.reading() as connection:
            return list(connection.execute(sa.select(Order.__table__.c.id).order_by(Order.__table__.c.id)).scalars())


def _as_made(url: str) -> sa.Engine:
    """Of SQLite: pysqlite begins before the first write."""
    return sa.create_engine(url)


def _never(url: str) -> sa.Engine:
    """The driver is in autocommit, and nothing begins."""
    engine = sa.create_engine(url)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    return engine


def _real(url: str) -> sa.Engine:
    """As SQLAlchemy's documentation shows it."""
    engine = _never(url)

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _of_the_app(url: str) -> sa.Engine:
    return Database(url).engine


ENGINES: dict[str, Callable[[str], sa.Engine]] = {
    "late": _as_made,
    "never": _never,
    "real": _real,
    "app": _of_the_app,
    "postgresql": _as_made,
}
