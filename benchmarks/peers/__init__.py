"""aiotask beside other task queues, all on one server: ``python -m benchmarks --peers all``."""
