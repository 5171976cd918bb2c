"""The context variables with which every job of a worker process begins."""

from __future__ import annotations

import sys
from contextvars import Context, copy_context

__all__ = ["initial_context"]


def initial_context() -> Context:
    """What the modules of the app set while they were imported, for the jobs of all threads and of the event loop.

    Each job runs in a copy. A copy would share the decimal context, which is changed in place
    (``getcontext().prec = 5``): so the app's becomes the one from which Python makes a new one for each job.
    """
    context = Context()
    for variable, value in copy_context().items():
        decimal = sys.modules.get("decimal")
        if decimal is not None and isinstance(value, decimal.Context):
            for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
                setattr(decimal.DefaultContext, name, getattr(value, name))
            decimal.DefaultContext.traps.update(value.traps)
        else:
            context.run(variable.set, value)
    return context
