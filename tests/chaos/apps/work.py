"""Row classes of trials, which ``serve`` registers with an app."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from sqlalchemy.ext.asyncio import async_object_session
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.sql import RowJob

from ..ledger import PlannedError, attempt
from ..pills import end_process

#: By what a host in a hurry divides the time that its jobs take.
HURRY = float(os.environ.get("CHAOS_HURRY", "1"))


class Base(DeclarativeBase):
    pass


class Left(Base):
    """What a run has left in the session of its row: it is committed with the end of the row, or not at all."""

    __tablename__ = "left_behind"
    token: Mapped[str] = mapped_column(primary_key=True)
    row: Mapped[str]


class Work(RowJob):
    """What a row does: it takes so many seconds, and then ``work``: nothing, ``leave``, ``fail``, or the name of a way
    to end its process."""

    id: Mapped[int] = mapped_column(primary_key=True)
    work: Mapped[str] = mapped_column(default="")
    seconds: Mapped[float] = mapped_column(default=0.0)
    #: How many runs were saved, and how many calls of ``error``.
    counter: Mapped[int] = mapped_column(default=0)
    errors: Mapped[int] = mapped_column(default=0)

    def error(self, exc: Exception, /) -> None:
        self.errors += 1


class Plain(Work, Base):
    __tablename__ = "plain"

    def run(self) -> None:
        with attempt() as token:
            if self.seconds:
                time.sleep(self.seconds / HURRY)
            end(self, object_session(self), token)


class Async(Work, Base):
    __tablename__ = "async_rows"

    async def run(self) -> None:
        with attempt() as token:
            if self.seconds:
                await asyncio.sleep(self.seconds / HURRY)
            end(self, async_object_session(self), token)


def serve(app: App) -> None:
    """Make both classes rows of this app."""
    for model in (Plain, Async):
        app.row(name=f"chaos:{model.__name__}", retries=1, backoff=_soon)(model)


def _soon(failed: int) -> float:
    return 0.02


def end(row: Any, session: Any, token: str) -> None:
    """The last step of a run."""
    row.counter += 1
    if row.work == "leave":
        session.add(Left(token=token, row=f"{row.__tablename__}/{row.id}"))
    elif row.work == "fail":
        if row.attempt == 1:
            raise PlannedError(token, "planned")
    elif row.work:
        end_process(row.work)
