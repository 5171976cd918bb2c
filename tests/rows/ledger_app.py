"""An app whose rows note each run in a file outside of the database; as a program, a process that works on them.

``python -m tests.rows.ledger_app``, with ``ROWS_DATABASE`` and ``ROWS_LEDGER`` in the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.sql import RowJob

from .driver import working

__all__ = ["Async", "Counted", "app"]

LEDGER = os.environ.get("ROWS_LEDGER", "/dev/null")
app = App("ledger", database=os.environ.get("ROWS_DATABASE") or "sqlite:////tmp/never-opened.db")


class Base(DeclarativeBase):
    pass


def note(row: str) -> None:
    """Append a line to the file of this process, with one write."""
    fd = os.open(f"{LEDGER}.{os.getpid()}", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(fd, f"{row}\n".encode())
    finally:
        os.close(fd)


@app.row
class Counted(RowJob, Base):
    __tablename__ = "counted"
    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=0, server_default="0")

    def run(self) -> None:
        note(f"counted/{self.id}")
        self.n += 1


@app.row
class Async(RowJob, Base):
    __tablename__ = "asynchronous"
    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=0, server_default="0")

    async def run(self) -> None:
        note(f"asynchronous/{self.id}")
        await asyncio.sleep(0)
        self.n += 1


def left() -> int:
    """How many rows have not ended."""
    with app.database.open().reading() as connection:
        return sum(
            connection.execute(
                sa.select(sa.func.count()).select_from(model).where(model.status.not_in(("SUCCESS", "FAILED")))
            ).scalar_one()
            for model in (Counted, Async)
        )


async def main() -> None:
    async with working(app, threads=2):
        while True:
            await asyncio.sleep(0.1)
            # The server may be restarting.
            with contextlib.suppress(Exception):
                if not await asyncio.to_thread(left):
                    return


if __name__ == "__main__":
    asyncio.run(main())
