"""The same in an event loop: AsyncSession and AsyncConnection over each driver."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)

from aiotask.errors import ConfigError, NotSent

from .shop import Order, Shop

DRIVERS = {"aiosqlite": "sqlite_url", "psycopg": "postgres_url", "asyncpg": "postgres_url"}


@pytest.fixture(params=DRIVERS)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    url = request.getfixturevalue(DRIVERS[request.param])
    scheme = "sqlite+aiosqlite" if request.param == "aiosqlite" else f"postgresql+{request.param}"
    engine = create_async_engine(f"{scheme}:{url.partition(':')[2]}")
    yield engine
    await engine.dispose()


@pytest.fixture
def shop(engine: AsyncEngine, app_name: str) -> Shop:
    return Shop(engine.url.render_as_string(hide_password=False), app_name)


async def test_commit_rollback_and_close(shop: Shop, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(Order(id=1))
        async with shop.app.in_transaction(session):
            shop.note.apply_async(1)
        await session.commit()
        async with shop.app.in_transaction(session) as outbox:
            result = shop.note.apply_async(2)
        await session.flush()
        assert [job.args for job in outbox.jobs] == [(2,)]
        with pytest.raises(NotSent, match="still open"):
            await result
        await session.rollback()
        with pytest.raises(NotSent, match="rolled back"):
            await result
    async with AsyncSession(engine) as session, shop.app.in_transaction(session):
        shop.note.apply_async(3)
    async with AsyncSession(engine) as session, session.begin(), shop.app.in_transaction(session):
        shop.note.apply_async(4)
    assert (shop.orders(), shop.waiting()) == ([1], [1, 4])


async def test_savepoints_and_a_broken_constraint(shop: Shop, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async with shop.app.in_transaction(session):
            async with session.begin_nested():
                session.add(Order(id=1))
                shop.note.apply_async(1)
            with pytest.raises(IntegrityError):
                async with session.begin_nested():
                    session.add(Order(id=1))
                    shop.note.apply_async(2)
        await session.commit()
        async with shop.app.in_transaction(session), session.begin_nested():
            shop.note.apply_async(3)
        await session.rollback()
    assert (shop.orders(), shop.waiting()) == ([1], [1])


async def test_an_async_scoped_session(shop: Shop, engine: AsyncEngine) -> None:
    sessions = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
    async with shop.app.in_transaction(sessions):
        shop.note.apply_async(1)
    await sessions.commit()
    await sessions.remove()
    assert shop.waiting() == [1]


async def test_a_connection(shop: Shop, engine: AsyncEngine) -> None:
    async with engine.begin() as connection, shop.app.in_transaction(connection):
        for n in range(1200):
            shop.note.apply_async(n)
    async with engine.connect() as connection:
        async with shop.app.in_transaction(connection):
            result = shop.note.apply_async(-1)
        with pytest.raises(NotSent):
            await result
        await connection.rollback()
        with pytest.raises(NotSent):
            await result
    assert shop.waiting() == list(range(1200))


async def test_a_plain_with_is_refused(shop: Shop, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        with pytest.raises(ConfigError, match="async with"), shop.app.in_transaction(session):
            pass
    with pytest.raises(ConfigError, match="was not opened"):
        shop.app.in_transaction(engine.connect())
