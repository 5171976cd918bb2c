"""What ``aiotask doctor`` says of the outbox."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from aiotask.brokers.sql.outbox import UNREADABLE
from aiotask.ops.check import Check, State
from aiotask.ops.database_checks import about_database

from ..commands import run_command
from .shop import TABLES, Shop


def outbox_checks(url: str, app: str | None = None) -> list[Check]:
    return [check for check in asyncio.run(about_database(url, app)) if check.name.endswith("outbox")]


def test_number_and_age_of_what_waits(shop: Shop) -> None:
    assert [(check.name, check.state) for check in outbox_checks(shop.url)] == [("outbox", State.OK)]
    with shop.database.engine.begin() as connection, shop.app.in_transaction(connection):
        shop.note.apply_async(1)
        shop.note.apply_async(2)
    (check,) = outbox_checks(shop.url, shop.app.name)
    assert (check.name, check.state) == (f"{shop.app.name}: outbox", State.OK)
    assert "2 jobs" in check.detail
    with shop.database.writing() as connection:
        connection.execute(sa.update(TABLES.outbox).values(created_at=datetime.now(UTC) - timedelta(hours=2)))
    (check,) = outbox_checks(shop.url)
    assert check.state is State.WARN
    assert "72" in check.detail
    assert "worker" in check.fix
    with shop.database.writing() as connection:
        connection.execute(sa.update(TABLES.outbox).values(batch=UNREADABLE))
    assert "2 cannot be read" in outbox_checks(shop.url)[0].detail
    assert outbox_checks(shop.url, "another")[0].detail == "no job of a transaction waits"


def test_a_database_without_the_table_fails_with_the_fix(sqlite_url: str) -> None:
    Path(sqlite_url.removeprefix("sqlite:///")).touch()
    (check,) = asyncio.run(about_database(sqlite_url, None))
    assert check.state is State.FAIL
    assert "lacks the table" in check.detail and "aiotask sql" in check.detail


def test_the_command_shows_it(sqlite_shop: Shop, redis_url: str, tmp_path: Path) -> None:
    env = {**os.environ, "AIOTASK_DATABASE": sqlite_shop.url, "AIOTASK_URL": redis_url, "AIOTASK_HOME": str(tmp_path)}
    done = run_command("doctor", env=env)
    assert "no job of a transaction waits" in done.stdout
