"""Data about jobs, queues, workers and servers, for people and programs; no body is ever unpickled.

The command line prints what these modules return. They print nothing themselves and know no terminal.
"""
