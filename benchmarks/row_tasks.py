"""The rows that are measured, and the task that a transaction sends; the apps that worker processes load."""

from __future__ import annotations

import os
import socket
import struct
import time

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.sql import RowJob

__all__ = ["DATABASE", "SOCKET", "Outbox", "Rows"]

ROWS, OUTBOX = "bench-rows", "bench-outbox"
#: The variables with the database, and with the socket to which a job tells when it starts.
DATABASE, SOCKET = "AIOTASK_BENCH_DATABASE", "AIOTASK_BENCH_SOCKET"
#: Seconds for which a run keeps its session.
_KEEP = 1.0


def tell_start() -> None:
    """Send the time of the monotonic clock, which is the same for all processes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(struct.pack("d", time.monotonic()), os.environ[SOCKET])


def start() -> None:
    tell_start()


class Rows:
    """The row classes on one app: that of a worker process, or one of the process that measures."""

    def __init__(self, database: str) -> None:
        self.app = App(ROWS, database=database)

        class Base(DeclarativeBase):
            pass

        class Sync(RowJob, Base):
            __tablename__ = "syncs"
            id: Mapped[int] = mapped_column(primary_key=True)

            def run(self) -> None: ...

        class Async(RowJob, Base):
            __tablename__ = "asyncs"
            id: Mapped[int] = mapped_column(primary_key=True)

            async def run(self) -> None: ...

        class Starting(RowJob, Base):
            __tablename__ = "starting"
            id: Mapped[int] = mapped_column(primary_key=True)

            def run(self) -> None:
                tell_start()

        class Keeping(RowJob, Base):
            __tablename__ = "keeping"
            id: Mapped[int] = mapped_column(primary_key=True)

            def run(self) -> None:
                session = object_session(self)
                assert session is not None
                session.execute(sa.select(sa.literal(1)))
                time.sleep(_KEEP)

        self.sync, self.asynchronous = self.app.row(Sync), self.app.row(Async)
        self.starting, self.keeping = self.app.row(Starting), self.app.row(Keeping)


class Outbox:
    """An app of one task, whose jobs are sent in transactions."""

    def __init__(self, database: str, url: str | None = None) -> None:
        self.app = App(OUTBOX, url=url, database=database)
        self.start = self.app.register_task(start)


if DATABASE in os.environ:
    rows = Rows(os.environ[DATABASE]).app
    outbox = Outbox(os.environ[DATABASE]).app
