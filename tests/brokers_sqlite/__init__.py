"""A broker on SQLite: the example of ``docs/brokers.md``, and the third that the conformance suite runs on.

It polls where other brokers are woken, and one file lock serves every process: it is for reading, not for load.
"""
