"""What is registered, and how it is called: tasks, their options and their limits."""

from .task import _task_in, _task_named

# Pickles of tasks name the two by this module, and those of every release are read.
_task_in.__module__ = _task_named.__module__ = __name__
