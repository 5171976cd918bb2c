"""queues, jobs, cancel and dead over rows: with every service down, and beside a service that runs them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.errors import ConfigError, ResultExpired
from aiotask.sql import RowJob, create_tables

from ..rows_service.stage import RowStage
from .asking import Asking, checks


@pytest.fixture
def asking(rows: RowStage) -> Asking:
    return Asking(rows.database)


def counts(queue: dict[str, Any]) -> tuple[int, ...]:
    return tuple(queue[name] for name in ("pending", "running", "scheduled", "dead", "consumers"))


# ---- with every service down


def test_rows_are_counted_and_listed_under_their_tables_while_no_service_runs(rows: RowStage, asking: Asking) -> None:
    rows.add(["ok"] * 3)
    rows.add(["ok"], due_at=datetime.now(UTC) + timedelta(hours=1))
    rows.set(1, status="FAILED", last_error="ValueError: no", claims=1, worker="gone.1")
    rows.add(["ok"], rows.shop.Async)

    (app,) = asking.ask("queues")
    assert app["app"] == "" and app["workers"] == []
    assert {queue["name"]: counts(queue) for queue in app["queues"]} == {
        "plain": (2, 0, 1, 1, 0),
        "async_rows": (1, 0, 0, 0, 0),
        "limited": (0, 0, 0, 0, 0),
    }
    said = asking.say("queues")
    assert "rows at" in said and "No worker is live: jobs wait" in said

    listed = {job["id"]: job for job in asking.ask("jobs")}
    assert set(listed) == {"plain/2", "plain/3", "plain/4", "async_rows/1"}
    assert listed["plain/4"]["status"] == "SCHEDULED" and "due_at" in listed["plain/4"]
    assert "due_at" not in listed["plain/2"] and "arguments" not in listed["plain/2"]
    assert [job["id"] for job in asking.ask("jobs", "--queue", "async_rows")] == ["async_rows/1"]
    assert [job["id"] for job in asking.ask("jobs", "--status", "scheduled")] == ["plain/4"]
    first = asking.ask("jobs", "--limit", "2")
    assert len(first) == 2
    rest = asking.ask("jobs", "--after", first[-1]["after"])
    assert sorted(job["id"] for job in [*first, *rest]) == sorted(listed)
    assert [job["id"] for job in asking.ask("jobs", "--status", "dead")] == ["plain/1"]
    assert "plain/2" in asking.say("jobs")


def test_one_row_is_shown_with_its_own_columns_and_failed_runs(rows: RowStage, asking: Asking) -> None:
    (id,) = rows.add(["fail"], value=7)
    failed = {"attempt": 1, "at": "2026-01-01T00:00:00+00:00", "worker": "gone.1", "error": "ValueError: first"}
    rows.set(id, status="FAILED", last_error="ValueError: no", attempt=2, failures=[failed], worker="gone.1")

    job = asking.ask("jobs", "plain/1")
    assert job["status"] == "FAILED" and job["error"] == "ValueError: no" and job["worker"] == "gone.1"
    assert job["failures"] == [failed] and job["columns"] == {"id": 1, "work": "fail", "value": 7}
    said = asking.say("jobs", "plain/1")
    assert "1: ValueError: first (gone.1, 2026-01-01" in said and "work='fail'" in said and "took" not in said

    letter = asking.ask("dead", "show", "plain/1")
    assert letter["failures"] == [failed] and letter["columns"] == job["columns"]
    assert "unknown: no row in the database has this id" in asking.say("cancel", "plain/99", code=1)
    error = asking.error("jobs", "plain/99")
    assert isinstance(error, ResultExpired) and "no row in the database has this id" in str(error)


def test_rows_are_cancelled_where_they_wait_and_once(rows: RowStage, asking: Asking) -> None:
    rows.add(["ok"] * 3)
    rows.set(2, status="SUCCESS")
    rows.set(3, status="RUNNING", worker="busy.1", claims=1)

    (done,) = asking.ask("cancel", "plain/1")
    assert (done["did"], done["status"], done["task"]) == ("cancelled", "CANCELLED", "plain")
    assert asking.ask("cancel", "plain/3")[0]["did"] == "asked"
    assert [rows.row(id).status for id in (1, 2, 3)] == ["CANCELLED", "SUCCESS", "CANCELLED"]
    again = asking.ask("cancel", "plain/2", "plain/9", "other/1", code=1)
    assert [each["status"] for each in again] == ["SUCCESS", "UNKNOWN", "UNKNOWN"]
    assert "had already ended: SUCCESS" in asking.say("cancel", "plain/2", code=1)
    assert "had already been cancelled" in asking.say("cancel", "plain/1")


def test_dead_rows_are_listed_run_again_and_set_aside(rows: RowStage, asking: Asking) -> None:
    rows.add(["ok"] * 4)
    for id in (1, 2, 3):
        rows.set(id, status="FAILED", last_error=f"ValueError: no {id}", attempt=2, deaths=1)

    assert {letter["id"] for letter in asking.ask("dead", "list")} == {"plain/1", "plain/2", "plain/3"}
    (one,) = asking.ask("dead", "list", "--error", "no 2")
    assert one["id"] == "plain/2" and one["queue"] == "plain"
    assert asking.ask("dead", "show", "plain/3")["error"] == "ValueError: no 3"
    assert asking.ask("dead", "replay", "plain/1") == {
        **{"replayed": ["plain/1"], "missing": [], "outdated": [], "of_graphs": {}}
    }
    again = rows.row(1)
    assert (again.status, again.attempt, again.deaths) == ("PENDING", 1, 0)
    assert asking.ask("dead", "delete", "plain/2")["deleted"] == ["plain/2"]
    assert rows.row(2).status == "CANCELLED"
    assert asking.ask("dead", "replay", "--all", "--yes")["replayed"] == ["plain/3"]
    assert asking.ask("dead", "replay", "plain/4", code=1)["outdated"] == ["plain/4"]
    assert asking.ask("dead", "list") == []


def test_counts_above_ten_thousand_are_estimates_where_the_database_has_statistics(
    rows: RowStage, asking: Asking
) -> None:
    with rows.shop.app.session() as session:
        many = [{"work": "ok"}] * 10_200
        session.execute(sa.insert(rows.shop.Plain.__table__), many)
    if "postgresql" in rows.database:
        with rows.shop.app.database.open().engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE plain")

    (app,) = asking.ask("queues")
    plain = next(queue for queue in app["queues"] if queue["name"] == "plain")
    if "sqlite" in rows.database:
        # It keeps no statistics, and counts its partial index quickly.
        assert plain["pending"] == 10_200 and "estimates" not in plain
        assert " 10,200" in asking.say("queues")
    else:
        assert plain["estimates"] == ["pending"] and 10_000 < plain["pending"] < 12_000
        assert f"~{plain['pending']:,}" in asking.say("queues")


def test_tables_are_found_by_their_columns_whatever_their_names_and_keys(database_url: str) -> None:
    class Base(DeclarativeBase):
        pass

    app = App("odd", database=database_url)

    @app.row(queue="odd")
    class Odd(RowJob, Base):
        __tablename__ = """100% "odd"; DROP TABLE x; --'"""
        id: Mapped[str] = mapped_column("the key", primary_key=True)

        def run(self) -> None: ...

    @app.row
    class Unique(RowJob, Base):
        __tablename__ = "unique_rows"
        id: Mapped[UUID] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    class NoJob(Base):
        __tablename__ = "no_jobs"
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    create_tables(app)
    Base.metadata.create_all(app.database.open().engine)
    key = uuid4()
    with app.session() as session:
        session.add_all([Odd(id="12e34"), Odd(id="000012"), Odd(id="a/b"), Unique(id=key)])
    app.database.open().dispose()

    asking = Asking(database_url)
    name = Odd.__tablename__
    assert {job["id"] for job in asking.ask("jobs")} == {
        *(f"{name}/{text}" for text in ("12e34", "000012", "a/b")),
        f"unique_rows/{key}",
    }
    assert asking.ask("jobs", f"{name}/000012")["columns"] == {"the key": "000012"}
    assert asking.status(f"unique_rows/{key}") == "PENDING"
    assert asking.ask("cancel", f"unique_rows/{key}", f"{name}/a/b")[1]["status"] == "CANCELLED"
    assert {queue["name"] for queue in asking.ask("queues")[0]["queues"]} == {name, "unique_rows"}


def test_tables_in_a_schema_are_named_with_it(postgres_url: str) -> None:
    class Base(DeclarativeBase):
        pass

    app = App("shop", database=postgres_url)

    @app.row
    class Thumbnail(RowJob, Base):
        __tablename__ = "thumbnails"
        __table_args__ = ({"schema": "shop"},)
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    with app.database.open().engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA shop")
    create_tables(app)
    with app.session() as session:
        session.add(Thumbnail())
    app.database.open().dispose()

    asking = Asking(postgres_url)
    assert [job["id"] for job in asking.ask("jobs")] == ["shop.thumbnails/1"]
    assert asking.ask("cancel", "shop.thumbnails/1")[0]["status"] == "CANCELLED"
    assert checks(asking)["database tables"]["state"] == "ok"


# ---- beside a service


def test_live_workers_name_the_app_the_tasks_and_the_queues_of_their_tables(rows: RowStage, asking: Asking) -> None:
    rows.start(1)
    (waiting,) = rows.add(["wait it"])
    rows.running([waiting])

    (app,) = asking.ask("queues")
    assert app["app"] == rows.shop.app.name
    plain = next(queue for queue in app["queues"] if queue["name"] == "plain")
    assert counts(plain) == (0, 1, 0, 0, 1)
    (worker,) = app["workers"]
    assert worker["facts"]["tasks"] == ["shop:Async", "shop:Limited", "shop:Plain"]
    assert [table["name"] for table in worker["facts"]["tables"]] == ["plain", "async_rows", "limited"]
    (job,) = asking.ask("jobs")
    assert (job["id"], job["task"], job["status"]) == ("plain/1", "shop:Plain", "RUNNING")
    assert job["worker"] == worker["incarnation"]
    assert asking.ask("queues", "--name", "another") == []
    assert asking.ask("jobs", "--name", rows.shop.app.name)[0]["id"] == "plain/1"

    assert asking.ask("cancel", "plain/1")[0]["did"] == "asked"
    rows.add(["fail"])
    rows.wait(lambda: rows.row(2).status == "FAILED", "the second row has failed")
    assert [letter["task"] for letter in asking.ask("dead", "list")] == ["shop:Plain"]
    with rows.shop.app.session() as session:
        session.execute(sa.update(rows.shop.Plain).where(rows.shop.Plain.id == 2).values(work="ok"))
    assert asking.ask("dead", "replay", "plain/2")["replayed"] == ["plain/2"]
    rows.wait(lambda: rows.row(2).status == "SUCCESS", "the second row has run again")
    assert rows.row(1).status == "CANCELLED"


async def test_rows_stand_beside_the_tasks_of_their_app(both: RowStage) -> None:
    app = both.shop.app
    assert both.url
    both.add(["ok"])
    sent = both.shop.note.apply_async(1)
    await sent.sent()
    await app.client.close()
    asking = Asking(both.database, "--url", both.url, "--name", app.name)

    found = await asyncio.to_thread(asking.ask, "queues")
    assert [(each["app"], "sqlite" in each["url"] or "postgres" in each["url"]) for each in found] == [
        (app.name, False),
        (app.name, True),
    ]
    listed = await asyncio.to_thread(asking.ask, "jobs")
    assert {job["id"] for job in listed} == {sent.id, "plain/1"}
    done = await asyncio.to_thread(asking.ask, "cancel", sent.id, "plain/1")
    assert [each["status"] for each in done] == ["CANCELLED", "CANCELLED"]


def test_a_name_without_tasks_shows_the_rows_alone(rows: RowStage, redis_url: str) -> None:
    rows.add(["ok"])
    asking = Asking(rows.database, "--url", redis_url, "--name", rows.shop.app.name)

    (app,) = asking.ask("queues")
    assert app["app"] == rows.shop.app.name and counts(app["queues"][2])[0] == 1


def test_stacks_of_workers_of_rows_alone_cannot_be_asked_for(rows: RowStage, asking: Asking) -> None:
    error = asking.error("stack")

    assert isinstance(error, ConfigError) and "cannot pass the request on" in str(error) and "kill -USR1" in str(error)
