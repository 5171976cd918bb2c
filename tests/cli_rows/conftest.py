"""Fixtures for commands over a SQL database: a file of SQLite, and a real PostgreSQL."""

from __future__ import annotations

from ..cli.conftest import environment as environment
from ..postgres import database_url as database_url
from ..postgres import postgres_server as postgres_server
from ..postgres import postgres_url as postgres_url
from ..postgres import sqlite_url as sqlite_url
from ..rows_service.conftest import _no_open_connections as _no_open_connections
from ..rows_service.conftest import both as both
from ..rows_service.conftest import row_workers as row_workers
from ..rows_service.conftest import rows as rows
