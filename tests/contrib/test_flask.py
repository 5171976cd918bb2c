"""An app that is connected with a Flask application: what runs find, in a worker of this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, current_app, g
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.contrib.flask import init_app
from aiotask.errors import ConfigError
from aiotask.sql import RowJob


class Site:
    """A site with a table that is a queue, another table, and tasks; ``create_app`` is its factory."""

    def __init__(self, name: str) -> None:
        class Base(DeclarativeBase):
            pass

        self.db: Any = SQLAlchemy(model_class=Base)
        self.app = App(name, url="memory://", secret="x" * 40, database=lambda: self.db.engine)
        self.ended: list[str] = []
        model, db = self.db.Model, self.db

        class Note(model):  # type: ignore[misc]
            __tablename__ = "note"
            id: Mapped[int] = mapped_column(primary_key=True)
            text: Mapped[str]

        @self.app.row
        class Step(RowJob, model):  # type: ignore[misc]
            __tablename__ = "step"
            id: Mapped[int] = mapped_column(primary_key=True)
            said: Mapped[str | None]

            def run(self) -> None:
                own = object_session(self)
                assert own is not None
                assert own.get_bind().url.database == db.engine.url.database
                self.said = current_app.config["GREETING"]
                db.session.add(Note(text="run"))
                db.session.commit()
                if self.id == 2:
                    raise ValueError("the second one")

            def error(self, exc: Exception) -> None:
                self.said = f"{current_app.config['GREETING']}, {exc}"

        @self.app.task(name="site:greet")
        def greet(text: str) -> str:
            assert not hasattr(g, "text")
            g.text = text
            db.session.add(Note(text=text))  # never committed
            db.session.flush()
            return f"{current_app.config['GREETING']}, {g.text}"

        @self.app.task(name="site:agreet")
        async def agreet(text: str) -> str:
            g.text = text
            await asyncio.sleep(0)
            return f"{current_app.config['GREETING']}, {g.text}"

        self.Note, self.Step, self.greet, self.agreet = Note, Step, greet, agreet

    def create_app(self, url: str, greeting: str) -> Flask:
        flask_app = Flask("site")
        flask_app.config |= {"SQLALCHEMY_DATABASE_URI": url, "GREETING": greeting}
        self.db.init_app(flask_app)
        init_app(flask_app, self.app)
        # Of runs: the engine of the database is found in a context, too.
        flask_app.teardown_appcontext(lambda error: self.ended.append(g.text) if hasattr(g, "text") else None)
        with flask_app.app_context():
            self.db.create_all()
        return flask_app


@pytest.fixture
def site(app_name: str) -> Site:
    return Site(app_name)


def close(site: Site, flask_app: Flask) -> None:
    with flask_app.app_context():
        site.db.engine.dispose()


async def test_d9_each_task_has_an_application_context_of_its_own(site: Site, database_url: str) -> None:
    flask_app = site.create_app(database_url, "hello")
    async with site.app, site.app.worker(concurrency=2):
        results = [task.apply_async(f"{n}") for n in range(5) for task in (site.greet, site.agreet)]
        values = [await result.wait(30) for result in results]
    assert values == [f"hello, {n}" for n in range(5) for _ in range(2)]
    assert sorted(site.ended) == sorted(f"{n}" for n in range(5) for _ in range(2))
    with flask_app.app_context():
        assert site.db.session.scalar(sa.select(sa.func.count()).select_from(site.Note)) == 0
    close(site, flask_app)


def test_d9_rows_run_in_the_context_and_so_does_their_error(site: Site, database_url: str) -> None:
    flask_app = site.create_app(database_url, "hello")
    with flask_app.app_context():
        site.db.session.add_all([site.Step(id=1), site.Step(id=2)])
        site.db.session.commit()
    assert site.app.work(2, only=[site.Step]) == 2
    with flask_app.app_context():
        rows = site.db.session.execute(sa.select(site.Step.status, site.Step.said).order_by(site.Step.id)).all()
        assert [tuple(row) for row in rows] == [("SUCCESS", "hello"), ("FAILED", "hello, the second one")]
        # What is committed in a transaction of its own stays when the run fails.
        assert site.db.session.scalar(sa.select(sa.func.count()).select_from(site.Note)) == 2
    close(site, flask_app)


def test_d9_a_transaction_of_db_session_sends_what_it_commits(site: Site, database_url: str) -> None:
    flask_app = site.create_app(database_url, "hello")
    with flask_app.app_context():
        for commits in (True, False):
            site.db.session.add(site.Note(text="x"))
            with site.app.in_transaction(site.db.session):
                site.greet.apply_async("from the outbox")
            if commits:
                site.db.session.commit()
            else:
                site.db.session.rollback()
        waiting = site.db.session.execute(sa.text("SELECT count(*) FROM aiotask_outbox")).scalar_one()
    assert waiting == 1
    close(site, flask_app)


async def test_another_application_takes_the_place_of_the_one_before(
    site: Site, sqlite_url: str, app_name: str
) -> None:
    first = site.create_app(sqlite_url, "hello")
    assert await run_one(site) == "hello"
    second = site.create_app(sqlite_url.replace("rows.db", "other.db"), "good day")
    async with site.app, site.app.worker():
        assert await site.greet.apply_async("you").wait(30) == "good day, you"
    # One context for each run, not one for each application.
    assert site.ended == ["you"]
    assert await run_one(site) == "good day"
    with site.app.session() as session:
        assert str(session.get_bind().url).endswith("other.db")  # type: ignore[union-attr]
    assert second.extensions["aiotask"] == [site.app]
    close(site, first)
    close(site, second)


async def run_one(site: Site) -> str:
    """Insert a first row into the site's database, and run it; what it said."""
    with site.app.session() as session:
        session.add(site.Step(id=1))
    await asyncio.to_thread(site.app.work, 1, only=[site.Step])
    with site.app.session() as session:
        said: str = session.get_one(site.Step, 1).said
        return said


def test_arguments_in_the_wrong_order_are_refused(app_name: str) -> None:
    with pytest.raises(ConfigError, match=r"types App and Flask.*init_app\(flask_app, app\)"):
        init_app(App(app_name, url="memory://"), Flask("site"))  # type: ignore[arg-type]


def test_a_database_that_is_used_before_the_application_is_connected_names_both_steps(app_name: str) -> None:
    site = Site(app_name)

    with (
        pytest.raises(ConfigError, match=r"database=….*init_app\(flask_app, app\).*flask aiotask run"),
        site.app.session(),
    ):
        pass


def test_the_command_is_there_once_for_all_apps_of_an_application(app_name: str) -> None:
    flask_app = Flask("site")
    apps = [App(f"{app_name}-{n}", url="memory://") for n in range(2)]
    for app in (*apps, apps[0]):
        init_app(flask_app, app)
    assert flask_app.extensions["aiotask"] == apps
    assert list(flask_app.cli.commands) == ["aiotask"]
