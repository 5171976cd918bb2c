"""The rows of one app: its row classes, and what worker, keeper and commands need of them."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import threading
import weakref
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..brokers.sql.address import DatabaseAddress
from ..brokers.sql.broker import RowBroker
from ..brokers.sql.claimed import ClaimedRow
from ..brokers.sql.database import Database
from ..brokers.sql.facts import RowFacts, TableFacts
from ..brokers.sql.job_table import JobTable
from ..brokers.sql.tables import Tables, add_tables
from ..errors import ConfigError
from ..functions.main_module import home_of
from ..middleware import Hooks
from ..tasks.defining import surrounded
from ..tasks.options import fields_of
from ..tasks.task import Definition, Registry
from ..wire.serializer import Serializer
from .checks import check_class, check_row_options, kind_of, queue_of
from .notices import notify_of_inserts
from .rowjob import Row
from .running import Running
from .schema import add_indexes
from .serializer import RowSerializer
from .sessions import JobSession

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

__all__ = ["Rows"]


class Rows:
    """The row classes of one app, as a process that imports them has them.

    Attributes:
        registry: a Definition for each row class; its function takes the id of a row that the broker of this process
            has claimed.
        serializer, secrets: of the deliveries and outcomes of rows, which never leave a process.
    """

    def __init__(self, app: str, address: DatabaseAddress, hooks: Hooks) -> None:
        self._app = app
        self._address = address
        self._hooks = hooks
        self.registry = Registry()
        self.serializer: Serializer = RowSerializer()
        self.secrets: tuple[str, ...] = (secrets.token_hex(32),)
        self._models: dict[str, type[Any]] = {}
        self._facts: dict[str, TableFacts] = {}
        self._in_hand: dict[str, ClaimedRow] = {}
        self._tables: list[JobTable] | None = None
        self._own: Tables | None = None
        self._lock = threading.RLock()
        #: The database in which the tables of classes derived from ``Row`` are there.
        self._prepared: Database | None = None
        #: Whether the database has no async driver.
        self._lacks_async = False
        self._engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = weakref.WeakKeyDictionary()

    # ---- registering

    def add(self, model: type[Any], options: dict[str, Any]) -> None:
        """Register a mapped class.

        Raises:
            ConfigError: the class cannot be a row class, its table or name is taken, or an option is wrong.
        """
        what = getattr(model, "__qualname__", repr(model))
        checked = check_row_options(options, what)
        mapper = check_class(model)
        table: Any = mapper.local_table
        name = options.get("name") or f"{home_of(model.run).name or '__main__'}:{model.__qualname__}"
        facts = TableFacts(
            str(table.name),
            None if table.schema is None else str(table.schema),
            name,
            options.get("queue") or queue_of(str(table.name)),
            str(mapper.primary_key[0].name),
            kind_of(mapper.primary_key[0], what),
            options.get("delete_when_done", False),
        )
        self._refuse_taken(facts, model)
        self.registry.add(self._definition(facts, model, {**checked, "queue": facts.queue}))
        add_indexes(table, mapper.primary_key[0])
        # In one MetaData alone: Alembic refuses two that hold the same table.
        self._own = self._own or add_tables(table.metadata, self.schema_of(facts))
        if options.get("notify", True):
            notify_of_inserts(table, facts.name)
        self._models[facts.prefix], self._facts[facts.prefix] = model, facts
        self._tables = self._prepared = None

    def _refuse_taken(self, facts: TableFacts, model: type[Any]) -> None:
        known = self._models.get(facts.prefix)
        if known is not None and (known.__module__, known.__qualname__) != (model.__module__, model.__qualname__):
            raise ConfigError(
                f'The table "{facts.name}" belongs to the row class {known.__qualname__} already. One table has one '
                "row class."
            )

    def schema_of(self, facts: TableFacts) -> str | None:
        """The schema of aiotask's own tables: that of the first row class."""
        first = next(iter(self._facts.values()), facts)
        return first.schema

    def _definition(self, facts: TableFacts, model: type[Any], options: dict[str, Any]) -> Definition:
        is_async = inspect.iscoroutinefunction(model.run)
        timeout = options.get("timeout")

        @lru_cache(maxsize=1)
        def running_on(database: Database) -> Running:
            return Running(database, self._in_hand, timeout, self._async_session)

        # Looked up for each run: an integration may have put another database in place.
        def run(id: str) -> None:
            running_on(self.database).run(id)

        async def run_async(id: str) -> None:
            await running_on(self.database).run_async(id)

        function = run_async if is_async else run
        function.__module__, function.__qualname__ = model.__module__, model.__qualname__
        function.__name__ = model.__name__
        definition = Definition(facts.task, function, is_async, _anything, **fields_of(options, {}))
        return surrounded(definition, self._hooks)

    def surround(self, hooks: Hooks) -> None:
        """Have other middleware around the runs of all rows."""
        self._hooks = hooks
        self.registry.replace(lambda row: surrounded(row, hooks))

    # ---- parts

    @property
    def database(self) -> Database:
        return self._address.open()

    @property
    def queues(self) -> list[str]:
        """The queue of every row class; there is no other one."""
        return sorted({facts.queue for facts in self._facts.values()})

    @property
    def metadata(self) -> list[sa.MetaData]:
        """The MetaData of the row classes, each once."""
        found = {id(model.metadata): model.metadata for model in self._models.values()}
        return list(found.values())

    @property
    def mapped(self) -> list[sa.Table]:
        """The tables of the row classes; an app without a database has them, too."""
        return [model.__table__ for model in self._models.values()]

    @property
    def own(self) -> Tables:
        """aiotask's own tables."""
        assert self._own is not None
        return self._own

    @property
    def tables(self) -> list[JobTable]:
        if self._tables is None:
            self._tables = [
                JobTable(facts, model.__table__, self.own, model, is_sqlite=self.database.is_sqlite)
                for facts, model in zip(self._facts.values(), self._models.values(), strict=True)
            ]
        return self._tables

    def facts(self) -> RowFacts:
        """What keeper and commands need of these rows; it holds the password of the database.

        Raises:
            ConfigError: the app has no database, or it cannot be found.
        """
        tables = list(self._facts.values())
        return RowFacts(self._address.travels, self.schema_of(tables[0]), tables, self.secrets[0])

    def broker(self) -> RowBroker:
        """A broker for the running event loop in the process that runs the rows. One worker of a process has it.

        Raises:
            ConfigError: the app has no database, or it cannot be found.
        """
        rows, secret = self._in_hand, self.secrets[0]
        return RowBroker(
            self._app,
            self.database,
            self.tables,
            self.own,
            secret,
            in_hand=rows,
            prepare=self.prepare,
            closed=self._close,
        )

    def prepare(self) -> None:
        """Make the tables of classes derived from ``Row`` where they are missing, once a process; on SQLite alone."""
        with self._lock:
            if self._prepared is self.database:
                return
            ready = [model for model in self._models.values() if issubclass(model, Row)]
            if ready and self.database.is_sqlite:
                with self.database.writing() as connection:
                    for metadata in {id(model.metadata): model.metadata for model in ready}.values():
                        metadata.create_all(connection)
            self._prepared = self.database

    # ---- async sessions

    async def _close(self) -> None:
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    def _async_session(self) -> AbstractAsyncContextManager[AsyncSession] | None:
        if self._lacks_async:
            return None
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None:
            engine = self.database.async_engine()
            if engine is None:
                self._lacks_async = True
                return None
            self._engines[loop] = engine
        from sqlalchemy.ext.asyncio import AsyncSession

        return AsyncSession(engine, sync_session_class=JobSession, expire_on_commit=False)


def _anything(*args: Any, **kwargs: Any) -> None:
    """Accept any call: workers alone call rows."""
