"""aiotask doctor over a database: what it finds, and the fix that it names."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from aiotask.sql import create_tables

from ..rows_service.shop import Shop
from ..rows_service.stage import RowStage
from .asking import Asking, checks


@pytest.fixture
def asking(rows: RowStage) -> Asking:
    return Asking(rows.database)


def make_tables(url: str, folder: Path) -> None:
    """The tables of an app, and no open connection."""
    app = Shop("shop", url, folder).app
    create_tables(app)
    app.database.open().dispose()


def engine_of(rows: RowStage) -> sa.Engine:
    return rows.shop.app.database.open().engine


def test_a_database_in_order_passes_without_any_server(rows: RowStage, asking: Asking) -> None:
    found = checks(asking)

    assert "server" not in found and "settings" not in found
    assert {check["state"] for check in found.values()} == {"ok"}, found
    assert ("SQLite" if "sqlite" in rows.database else "PostgreSQL") in found["database"]["detail"]
    expected = {"database privileges", "database transactions", "database tables", "outbox", "rows: workers"}
    assert expected <= set(found)
    if "sqlite" in rows.database:
        assert "WAL" in found["database journal"]["detail"]
    else:
        assert "LISTEN" in found["database notifications"]["detail"] and "database clock" in found


def test_workers_queues_and_dead_rows_are_checked_as_those_of_tasks(rows: RowStage, asking: Asking) -> None:
    ids = rows.add(["ok", "fail"])
    rows.set(ids[1], status="FAILED")
    found = checks(asking)
    assert found["rows: workers"]["state"] == "warn" and "1 job is not finished" in found["rows: workers"]["detail"]
    assert found["rows: dead letters"]["state"] == "warn"

    rows.start(1, "--queues", "async_rows")
    found = checks(asking)
    label = f"{rows.shop.app.name} (rows)"
    assert found[f"{label}: workers"] == {"name": f"{label}: workers", "state": "ok", "detail": "1 live", "fix": ""}
    assert "No live worker consumes queue plain" in found[f"{label}: queue"]["detail"]


def test_rows_that_a_migration_made_jobs_are_found_with_the_statement_that_ends_them(
    rows: RowStage, asking: Asking
) -> None:
    """The columns come with one moment for all rows, and each is PENDING."""
    with engine_of(rows).begin() as connection:
        connection.exec_driver_sql("INSERT INTO plain (work) VALUES ('old'), ('old'), ('old')")
    found = checks(asking)["plain: old rows"]
    assert found["state"] == "warn" and found["detail"].startswith("3 rows wait since one moment")

    statement = found["fix"].partition("UPDATE ")[2]
    with engine_of(rows).begin() as connection:
        connection.exec_driver_sql(f"UPDATE {statement}")
    assert rows.statuses() == {"SUCCESS": 3}
    assert "plain: old rows" not in checks(asking)


def test_rows_that_were_sent_are_not_taken_for_old_ones(rows: RowStage, asking: Asking) -> None:
    rows.add(["ok"] * 5)
    with engine_of(rows).begin() as connection:
        connection.exec_driver_sql("UPDATE plain SET claims = 1 WHERE id = 1")
    with engine_of(rows).begin() as connection:
        connection.exec_driver_sql("INSERT INTO plain (work) VALUES ('new')")

    assert "plain: old rows" not in checks(asking)


def test_missing_columns_fail_and_missing_indexes_warn(rows: RowStage, asking: Asking) -> None:
    with engine_of(rows).begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_plain_ready")
    found = checks(asking)["database tables"]
    assert found["state"] == "warn" and "index ix_plain_ready of plain" in found["detail"]

    with engine_of(rows).begin() as connection:
        connection.exec_driver_sql("DROP TABLE aiotask_hosts")
    found = checks(asking, code=1)["database tables"]
    assert found["state"] == "fail" and "table aiotask_hosts" in found["detail"] and "aiotask sql" in found["fix"]


def test_jobs_that_no_relay_carries_are_counted_with_their_age(
    rows: RowStage, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = rows.shop.app
    note = app.register_task(_note, name="shop:note")
    with monkeypatch.context() as patched:
        patched.setenv("AIOTASK_URL", "redis://127.0.0.1:1/0")
        with app.session() as session, app.in_transaction(session):
            note.apply_async()
            note.apply_async()
    found = checks(asking)[f"{app.name}: outbox"]
    assert found["state"] == "ok" and "2 jobs of transactions wait, the oldest for" in found["detail"]

    with app.session() as session:
        session.execute(sa.text("UPDATE aiotask_outbox SET created_at = '2026-01-01 00:00:00'"))
    found = checks(asking)[f"{app.name}: outbox"]
    assert found["state"] == "warn" and "Run a worker of the app" in found["fix"]


def _note() -> None: ...


def test_a_file_without_wal_is_told_of_and_not_changed_by_the_look(sqlite_url: str, tmp_path: Path) -> None:
    make_tables(sqlite_url, tmp_path)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")

    found = checks(Asking(sqlite_url))["database journal"]

    assert found["state"] == "warn" and "journal_mode is delete" in found["detail"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write every file")
def test_a_file_that_this_user_may_not_write_fails(sqlite_url: str, tmp_path: Path) -> None:
    make_tables(sqlite_url, tmp_path)
    os.chmod(sqlite_url.removeprefix("sqlite:///"), 0o400)

    assert "read-only" in checks(Asking(sqlite_url), code=1)["database privileges"]["detail"]


def test_a_server_that_only_reads_fails(postgres_url: str, tmp_path: Path) -> None:
    make_tables(postgres_url, tmp_path)
    asking = Asking(f"{postgres_url}&options=-c%20default_transaction_read_only%3Don")

    assert "read-only" in checks(asking, code=1)["database privileges"]["detail"]


def test_an_engine_that_begins_no_transaction_is_warned_of(
    rows: RowStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_engines.py").write_text(
        f"import sqlalchemy as sa\nengine = sa.create_engine({rows.database!r}, isolation_level='AUTOCOMMIT')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    found = checks(Asking("late_engines:engine"))["database transactions"]

    assert found["state"] == "warn" and "AUTOCOMMIT" in found["fix"]
    import late_engines  # type: ignore[import-not-found]

    late_engines.engine.dispose()
