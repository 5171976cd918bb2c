"""Rows of the user's own tables as jobs: the broker over a SQL database, SQLite or PostgreSQL.

This module, ``address`` and ``facts`` import no SQLAlchemy, so that every process may import them.
"""
