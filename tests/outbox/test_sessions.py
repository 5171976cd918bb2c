"""Jobs in the unit of work of a Session: sent if its transaction commits, whatever begins it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from aiotask.errors import ConfigError, NotSent

from .shop import ENGINES, Order, Shop


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, make_engine: Callable[[str, str], sa.Engine]) -> sa.Engine:
    """Every way in which a transaction begins."""
    url = request.getfixturevalue("postgres_url" if request.param == "postgresql" else "sqlite_url")
    return make_engine(request.param, url)


@pytest.fixture
def shop(engine: sa.Engine, app_name: str) -> Shop:
    return Shop(engine.url.render_as_string(hide_password=False), app_name)


def test_a_commit_leaves_rows_and_jobs_together(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.add(Order(id=1))
        with shop.app.in_transaction(session) as outbox:
            shop.note.apply_async(1)
            shop.note.apply_async(2)
        assert shop.waiting() == []
        session.commit()
    assert (shop.orders(), shop.waiting()) == ([1], [1, 2])
    assert [job.args for job in outbox.jobs] == [(1,), (2,)]


@pytest.mark.parametrize("ends", ["rollback", "flush, rollback", "close", "flush, close"])
def test_without_a_commit_nothing_is_left(shop: Shop, engine: sa.Engine, ends: str) -> None:
    with Session(engine) as session:
        session.add(Order(id=1))
        with shop.app.in_transaction(session) as outbox:
            result = shop.note.apply_async(1)
        if "flush" in ends:
            session.flush()
        if "rollback" in ends:
            session.rollback()
        else:
            session.close()
        assert outbox.jobs == []
        with pytest.raises(NotSent, match="rolled back"):
            result.get(5)
    assert (shop.orders(), shop.waiting()) == ([], [])


def test_a_savepoint_that_is_rolled_back_takes_its_own_jobs_along(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        with shop.app.in_transaction(session) as outbox:
            shop.note.apply_async(1)
            with pytest.raises(RuntimeError), session.begin_nested():
                shop.note.apply_async(2)
                raise RuntimeError
            with session.begin_nested():
                shop.note.apply_async(3)
        assert [job.args for job in outbox.jobs] == [(1,), (3,)]
        session.commit()
    assert shop.waiting() == [1, 3]


def test_a_constraint_broken_in_a_savepoint_takes_exactly_its_jobs_along(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.add(Order(id=1))
        session.commit()
        with shop.app.in_transaction(session):
            shop.note.apply_async(1)
            with pytest.raises(IntegrityError), session.begin_nested():
                session.add(Order(id=1))
                shop.note.apply_async(2)
                session.flush()
            shop.note.apply_async(3)
        session.commit()
    assert shop.waiting() == [1, 3]


def test_a_released_savepoint_is_rolled_back_with_its_transaction(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        with shop.app.in_transaction(session), session.begin_nested():
            session.add(Order(id=1))
            shop.note.apply_async(1)
        session.rollback()
    assert (shop.orders(), shop.waiting()) == ([], [])


def test_a_read_before_the_block_and_transactions_after_it_are_real_too(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.scalars(sa.select(Order)).all()
        with shop.app.in_transaction(session):
            with session.begin_nested():
                shop.note.apply_async(1)
            session.commit()
            with session.begin_nested():
                shop.note.apply_async(2)
            session.rollback()
            shop.note.apply_async(3)
        session.flush()
        session.rollback()
    assert shop.waiting() == [1]


def test_a_block_inside_of_a_savepoint(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.add(Order(id=1))
        session.flush()
        with shop.app.in_transaction(session):
            shop.note.apply_async(1)
        with session.begin_nested() as savepoint, shop.app.in_transaction(session):
            shop.note.apply_async(2)
            session.flush()
            savepoint.rollback()
        session.commit()
    assert shop.waiting() == [1]


def joined(connection: sa.Connection) -> Session:
    """A Session of a test: what it commits is a savepoint, and the test rolls back the rest."""
    return Session(connection, join_transaction_mode="create_savepoint")


def test_a_session_of_a_test_that_always_rolls_back(shop: Shop, engine: sa.Engine, request: Any) -> None:
    begins = request.node.callspec.params["engine"] in ("real", "app", "postgresql")
    with engine.connect() as connection:
        transaction = connection.begin()
        with joined(connection) as session:
            if not begins:
                with pytest.raises(ConfigError, match='"BEGIN"'), shop.app.in_transaction(session):
                    pass
                return
            with shop.app.in_transaction(session) as outbox:
                session.add(Order(id=1))
                result = shop.note.apply_async(1)
            session.commit()
            assert [job.args for job in outbox.jobs] == [(1,)]
            with pytest.raises(NotSent, match="still open"):
                result.get(5)
        transaction.rollback()
    assert (shop.orders(), shop.waiting()) == ([], [])
    with pytest.raises(NotSent):
        result.get(5)


def test_a_session_joined_to_a_transaction_without_a_savepoint(shop: Shop, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        transaction = connection.begin()
        with Session(connection) as session:
            with shop.app.in_transaction(session):
                shop.note.apply_async(1)
            session.commit()
        transaction.rollback()
    assert shop.waiting() == []


def test_an_error_that_ends_the_block_takes_its_jobs_along(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.add(Order(id=1))
        with pytest.raises(RuntimeError), shop.app.in_transaction(session) as outbox:
            shop.note.apply_async(1)
            session.flush()
            shop.note.apply_async(2)
            raise RuntimeError
        assert outbox.jobs == []
        session.commit()
    assert (shop.orders(), shop.waiting()) == ([1], [])


def test_a_scoped_session(shop: Shop, engine: sa.Engine) -> None:
    sessions = scoped_session(sessionmaker(engine))
    with shop.app.in_transaction(sessions):
        shop.note.apply_async(1)
    sessions.commit()
    with shop.app.in_transaction(sessions):
        shop.note.apply_async(2)
    sessions.remove()
    assert shop.waiting() == [1]


def test_one_session_sends_again_and_again(shop: Shop, engine: sa.Engine) -> None:
    with Session(engine) as session:
        kept = []
        for n in range(3):
            with shop.app.in_transaction(session) as outbox:
                shop.note.apply_async(n)
            session.commit()
            kept.append(outbox)
            # As the relay does, behind the back of the session.
            with shop.database.writing() as connection:
                assert connection.execute(sa.text("DELETE FROM aiotask_outbox")).rowcount == 1
        assert [job.args for outbox in kept for job in outbox.jobs] == [(0,), (1,), (2,)]


def test_without_transactions_it_is_refused(shop: Shop, engine: sa.Engine) -> None:
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(autocommit) as session, pytest.raises(ConfigError, match="AUTOCOMMIT"):
        shop.app.in_transaction(session).__enter__()
    with (
        Session(engine, autobegin=False) as session,
        pytest.raises(ConfigError, match=r"with session\.begin"),
        shop.app.in_transaction(session),
    ):
        shop.note.apply_async(1)
    with Session() as session, pytest.raises(ConfigError, match="no engine"):
        shop.app.in_transaction(session).__enter__()
    assert shop.waiting() == []


def test_a_session_of_the_app(shop: Shop) -> None:
    """On SQLite its transactions begin with the first write, so a savepoint may be the first statement."""
    with shop.app.session() as session, shop.app.in_transaction(session):
        assert session.scalars(sa.select(Order)).all() == []
        with session.begin_nested():
            session.add(Order(id=1))
            shop.note.apply_async(1)
    with pytest.raises(RuntimeError), shop.app.session() as session:
        with shop.app.in_transaction(session), session.begin_nested():
            session.add(Order(id=2))
            shop.note.apply_async(2)
        raise RuntimeError
    with pytest.raises(RuntimeError), shop.app.session() as session, session.begin_nested():
        with shop.app.in_transaction(session):
            shop.note.apply_async(3)
        session.flush()
        raise RuntimeError
    assert (shop.orders(), shop.waiting()) == ([1], [1])
