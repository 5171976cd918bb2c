"""A database: opened once per worker process, a transaction per job, and a test with another one.

Run its jobs::

    aiotask worker examples.database

Then::

    python -m examples.database
"""

import asyncio
import contextlib
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator

from aiotask import App, Depends

FILE = os.environ.get("ORDERS_DATABASE", os.path.join(tempfile.gettempdir(), "orders.sqlite3"))


class Database:
    """A connection whose transactions are begun and ended by hand."""

    def __init__(self, path: str) -> None:
        # The event loop opens it, and the thread of a job uses it.
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self.connection.execute("CREATE TABLE IF NOT EXISTS orders (article TEXT, pieces INTEGER)")

    def count(self, article: str) -> int:
        return int(self.connection.execute("SELECT count(*) FROM orders WHERE article = ?", (article,)).fetchone()[0])


@contextlib.asynccontextmanager
async def open_database() -> AsyncIterator[Database]:
    """Of the lifespan: before the first job of a worker process, and after its last one."""
    database = Database(FILE)
    try:
        yield database
    finally:
        database.connection.close()


def transaction(database: Database = Depends(open_database)) -> Iterator[Database]:
    """Once per job: what a job that fails has written is not there."""
    database.connection.execute("BEGIN IMMEDIATE")
    try:
        yield database
    except BaseException:
        database.connection.execute("ROLLBACK")
        raise
    database.connection.execute("COMMIT")


app = App("database", lifespan=[open_database])


@app.task
def order(article: str, pieces: int, database: Database = Depends(transaction)) -> int:
    """Store an order, and return how many there are of this article."""
    database.connection.execute("INSERT INTO orders VALUES (?, ?)", (article, pieces))
    if pieces < 1:
        raise ValueError(f"an order of {pieces} pieces")
    return database.count(article)


async def test_an_order_that_is_refused_is_not_stored() -> None:
    """With another database and a worker of its own; the environment has AIOTASK_URL=memory://."""
    database = Database(":memory:")
    with app.override(open_database, database):
        async with app, app.worker():
            assert await order.apply_async("leek", 2).wait(timeout=10) == 1
            try:
                await order.apply_async("leek", 0).wait(timeout=10)
            except ValueError:
                pass
            else:
                raise AssertionError("it was not refused")
    assert database.count("leek") == 1


async def main() -> None:
    async with app:
        before = await order.apply_async("salt", 1)
        try:
            await order.apply_async("salt", 0)
        except ValueError as error:
            print(f"refused: {error}")
        print(f"{await order.apply_async('salt', 1) - before} more")


if __name__ == "__main__":
    asyncio.run(main())
