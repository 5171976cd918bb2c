"""aiotask in a Django project: the database of its settings, fresh connections around runs, ``manage.py aiotask run``.

As an entry of ``INSTALLED_APPS`` it adds that command, and a migration with aiotask's own tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any
from urllib.parse import quote, urlencode

import django
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connections
from django.utils.module_loading import autodiscover_modules

from ...app import App
from ...context import JobContext
from ...errors import ConfigError, ImportFailed
from ...middleware import Middleware
from ...tasks.task import apps_here

__all__ = ["FreshConnections", "database_of", "load_apps"]


class FreshConnections(Middleware):
    """Closes connections of Django that are broken or older than ``CONN_MAX_AGE`` around each run, as Django does
    around a request: ``App(middleware=[FreshConnections()])``."""

    def execute(self, job: JobContext, /) -> AbstractContextManager[None] | AbstractAsyncContextManager[None]:
        return _fresh() if asyncio._get_running_loop() is None else _fresh_async()


@contextlib.contextmanager
def _fresh() -> Iterator[None]:
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@contextlib.asynccontextmanager
async def _fresh_async() -> AsyncIterator[None]:
    # In the thread in which the async methods of the ORM run.
    await sync_to_async(close_old_connections)()
    try:
        yield
    finally:
        await sync_to_async(close_old_connections)()


# ---- the database


def database_of(alias: str = "default") -> Callable[[], str]:
    """A database of Django's settings for ``App(database=…)``, looked up at first use.

    Args:
        alias: its key in ``DATABASES``.
    """
    return lambda: _url_of(alias)


def _url_of(alias: str) -> str:
    """The URL of a database of Django's settings.

    Raises:
        ConfigError: there are no settings or no such database, or it is neither SQLite nor PostgreSQL.
    """
    try:
        if alias not in connections:
            known = ", ".join(f'"{name}"' for name in connections)
            raise ConfigError(f'The settings of Django have no database "{alias}", but {known}.')
        vendor, settings = connections[alias].vendor, connections[alias].settings_dict
    except ImproperlyConfigured as error:
        text = f'database_of("{alias}"): {str(error).splitlines()[0].rstrip(".")}. Call django.setup() before.'
        raise ConfigError(text) from error
    if vendor == "sqlite":
        return _sqlite(alias, str(settings["NAME"]))
    if vendor == "postgresql":
        return _postgresql(settings)
    raise ConfigError(f'The database "{alias}" of Django is {vendor}. aiotask needs SQLite or PostgreSQL.')


def _sqlite(alias: str, name: str) -> str:
    if ":memory:" in name or "mode=memory" in name:
        raise ConfigError(
            f'The database "{alias}" of Django is in memory, as in a test run: no worker process sees it. Give the '
            'test database a file: "TEST": {"NAME": "test.sqlite3"}.'
        )
    return f"sqlite:///{name if name.startswith('file:') else os.path.abspath(name)}"


#: Entries of ``OPTIONS`` that are Django's or psycopg's: a URL holds those of the server's own library.
_NOT_IN_URLS = {"assume_role", "isolation_level", "pool", "server_side_binding", "cursor_factory", "context"}
_NOT_IN_URLS |= {"prepare_threshold", "row_factory"}


def _postgresql(settings: Mapping[str, Any]) -> str:
    options = {name: value for name, value in settings["OPTIONS"].items() if name not in _NOT_IN_URLS}
    user, password = (quote(str(settings[part] or ""), safe="") for part in ("USER", "PASSWORD"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    host, port = str(settings["HOST"] or ""), str(settings["PORT"] or "")
    if host.startswith(("/", "@")) or "," in host:
        # The folder of a socket, or several hosts.
        options |= {"host": host, **({"port": port} if port else {})}
        host = port = ""
    place = f"[{host}]" if ":" in host else host
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    return f"postgresql://{login}{place}{':' + port if port else ''}/{quote(settings['NAME'] or '', safe='')}{query}"


# ---- in a worker


def load_apps() -> Sequence[App]:
    """Set Django up, import the module ``tasks`` of every installed application, and return the apps of aiotask that
    have tasks: what ``aiotask worker aiotask.contrib.django`` serves.

    Raises:
        ImportFailed: Django has no settings, or no application has tasks.
    """
    try:
        django.setup()
    except ImproperlyConfigured as error:
        text = f"{str(error).splitlines()[0].rstrip('.')}. Set DJANGO_SETTINGS_MODULE, or use `manage.py aiotask run`."
        raise ImportFailed(text) from error
    autodiscover_modules("tasks")
    apps = [app for app in list(apps_here) if isinstance(app, App) and (len(app.registry) or app.rows is not None)]
    if not apps:
        raise ImportFailed(
            "No application of INSTALLED_APPS has a module `tasks` with tasks of aiotask. Put them there, or import "
            "their modules there."
        )
    return sorted(apps, key=lambda app: app.name)
