"""Fixtures for commands over a SQL database: a file of SQLite, and a real PostgreSQL."""

from __future__ import annotations

from ..cli.conftest import environment as environment
from ..rows_service.conftest import both as both
from ..rows_service.conftest import database_url as database_url
from ..rows_service.conftest import row_workers as row_workers
from ..rows_service.conftest import rows as rows
