"""Apps of single trials: tasks of their own beside those of ``tests.chaos.app``."""
