"""Commands over rows: queues, jobs, cancel, dead, sql and doctor, on SQLite and PostgreSQL."""
