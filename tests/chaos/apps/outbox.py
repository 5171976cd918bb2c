"""The app of the trials with a database, whose tables stand beside the outbox: ``CHAOS_DATABASE``."""

from __future__ import annotations

import os

import sqlalchemy as sa

from aiotask.brokers.sql.tables import add_tables

from ..app import app as app
from ..app import noop as noop
from ..app import sync_noop as sync_noop

metadata = sa.MetaData()
tables = add_tables(metadata)
#: What the user's own transactions write beside each job: the jobs that are to run.
promised = sa.Table(
    "promised", metadata, sa.Column("job", sa.String(100), primary_key=True), sa.Column("task", sa.Text)
)

if "CHAOS_DATABASE" in os.environ:
    app.database.replace(os.environ["CHAOS_DATABASE"])
