"""Rows of one's own tables as jobs, over SQLAlchemy 2: ``pip install 'aiotask[sql]'``."""
