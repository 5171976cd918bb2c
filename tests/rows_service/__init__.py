"""Rows in worker processes: real supervisors, forked workers and keepers, on SQLite and PostgreSQL."""
