"""An app with two row classes, and short words for driving the brokers of its processes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.broker import Delivery, Finish, Settled
from aiotask.brokers.sql import connect
from aiotask.brokers.sql.broker import RowBroker
from aiotask.job import Status
from aiotask.sql import RowJob, create_tables

__all__ = ["Shop", "claim", "enlisted", "finish", "ids"]


class Shop:
    """An app with two row classes, and processes that work on them."""

    def __init__(self, url: str) -> None:
        class Base(DeclarativeBase):
            pass

        self.app = App("shop", database=url)

        @self.app.row
        class Thumbnail(RowJob, Base):
            __tablename__ = "thumbnails"
            id: Mapped[int] = mapped_column(primary_key=True)
            n: Mapped[int] = mapped_column(default=0)

            def run(self) -> None: ...

        @self.app.row
        class Mail(RowJob, Base):
            __tablename__ = "mails"
            id: Mapped[str] = mapped_column(primary_key=True)

            def run(self) -> None: ...

        create_tables(self.app)
        self.thumbnail, self.mail = Thumbnail, Mail
        self._made: list[RowBroker] = []

    def worker(self) -> RowBroker:
        """The broker of a process with the classes; each has rows in hand of its own."""
        rows = self.app.rows
        assert rows is not None
        rows._in_hand = {}
        self._made.append(rows.broker())
        return self._made[-1]

    def keeper(self) -> RowBroker:
        """The broker of a process that knows only what travels."""
        rows = self.app.rows
        assert rows is not None
        self._made.append(connect(rows.facts(), "shop"))
        return self._made[-1]

    def add(self, *rows: Any) -> None:
        with self.app.session() as session:
            session.add_all(rows)

    def fill(self, count: int) -> None:
        self.add(*(self.thumbnail(id=n) for n in range(1, count + 1)))

    def rows(self, model: Any = None) -> list[Any]:
        model = model or self.thumbnail
        with self.app.session() as session:
            return list(session.scalars(sa.select(model).order_by(model.id)))

    def row(self, id: int = 1) -> Any:
        with self.app.session() as session:
            return session.get(self.thumbnail, id)

    def set(self, id: int = 1, **values: Any) -> None:
        with self.app.session() as session:
            session.execute(sa.update(self.thumbnail).where(self.thumbnail.id == id).values(**values))

    async def close(self) -> None:
        for broker in self._made:
            await broker.close()


async def enlisted(shop: Shop, name: str) -> RowBroker:
    broker = shop.worker()
    await broker.open()
    await broker.enlist(name, name.rpartition(".")[0], b"\x81\xa6queues\x92\xaathumbnails\xa5mails")
    return broker


async def claim(broker: RowBroker, limit: int = 100, *, name: str = "host.1", alone: bool = False) -> list[Delivery]:
    return (await broker.claim(name, ["thumbnails", "mails"], (), limit, alone=alone)).deliveries


async def finish(broker: RowBroker, *deliveries: Delivery, repeat: bool = False) -> list[Settled]:
    batch = [Finish(delivery, b"", Status.SUCCESS, 0.0) for delivery in deliveries]
    return (await broker.finish("host.1", batch, repeat=repeat))[0]


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.id for delivery in deliveries]
