"""What people and programs are told about jobs, queues, workers and servers, as data; no body is ever unpickled.

The command line prints what these modules return. They print nothing themselves and know no terminal.
"""
