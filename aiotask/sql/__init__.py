"""Rows of one's own tables as jobs, over SQLAlchemy 2: ``pip install 'aiotask[sql]'``."""

from __future__ import annotations

from ..brokers.sql.tables import add_tables
from .rowjob import Row, RowData, RowJob, metadata
from .schema import create_tables, render_item

__all__ = ["Row", "RowData", "RowJob", "add_tables", "create_tables", "metadata", "render_item"]
