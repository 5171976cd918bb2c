"""The memory broker: one process, many loops and threads; and it does what Redis does, step by step."""
