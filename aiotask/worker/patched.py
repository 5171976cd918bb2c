"""Whether user code has replaced the threads of Python by something else."""

from __future__ import annotations

import _thread
import sys
from types import BuiltinFunctionType

from ..errors import ConfigError

__all__ = ["refuse_patched_threads"]

# The functions as they are before the app is imported. If a library has patched them even earlier, they are its own.
_START, _LOCK = _thread.start_new_thread, _thread.allocate_lock
_PATCHERS = ("gevent", "eventlet")


def refuse_patched_threads() -> None:
    """Check, after the app was imported, that ``threading`` still makes threads of the system.

    Raises:
        ConfigError: gevent or eventlet has replaced threads by greenlets, which run in the thread that has made them.
            The event loop of a worker and its sync jobs need a thread each.
    """
    if (
        isinstance(_START, BuiltinFunctionType)
        and _thread.start_new_thread is _START
        and _thread.allocate_lock is _LOCK
    ):
        return
    patcher = next((name for name in _PATCHERS if name in sys.modules), "")
    call = {"gevent": "monkey.patch_all(thread=False)", "eventlet": "eventlet.monkey_patch(thread=False)"}.get(patcher)
    who = patcher or getattr(_thread.start_new_thread, "__module__", "a library")
    advice = (
        f"Call `{call}`, or do not patch anything in the modules" if call else "Do not patch anything in the modules"
    )
    raise ConfigError(
        f"{who} has replaced the threads of Python (monkey patching): a worker cannot run, since its event loop and "
        f"its sync jobs would wait for each other in one thread. {advice} that a worker imports: jobs run "
        "concurrently in processes, threads (--threads) and the event loop."
    )
