"""The traceback of an error in user code, without the frames of aiotask from which that code was called."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from types import TracebackType

__all__ = ["shown_error", "without_ours"]

#: The folder of the package, with the separator behind it.
_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
#: Frames that are shown of one exception, the innermost ones.
_FRAMES = 50


def shown_error(error: BaseException, trace: TracebackType | None) -> str:
    """The traceback of an error, of its causes and of the members of a group, as Python prints it.

    Frames of aiotask are left out where they have called other code. Behind the last frame of other code they are
    shown, since that code has called aiotask there; not of aiotask's own errors, whose text says what happened.
    """
    shown = traceback.TracebackException(type(error), error, trace, limit=-_FRAMES)
    todo = [shown]
    while todo:
        each = todo.pop()
        _leave_out_ours(each)
        todo += _beside(each)
    return "".join(shown.format())


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from its first frame on that is not of aiotask; the whole one if there is none."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_OURS):
        inner = inner.tb_next
    return inner or trace


def _beside(shown: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    for linked in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if linked is not None:
            yield linked


def _leave_out_ours(shown: traceback.TracebackException) -> None:
    is_ours = [frame.filename.startswith(_OURS) for frame in shown.stack]
    last = max((at for at, ours in enumerate(is_ours) if not ours), default=-1)
    says_all = _is_our_error(shown)
    if last < 0 and not says_all:
        # An error of aiotask's own code, or a call with arguments that the function does not take.
        return
    kept = [frame for at, frame in enumerate(shown.stack) if not is_ours[at] or (at > last and not says_all)]
    shown.stack = traceback.StackSummary.from_list(kept)


def _is_our_error(shown: traceback.TracebackException) -> bool:
    # The class itself is deprecated from Python 3.13 on, and its name is new there.
    name = getattr(shown, "exc_type_str", "") or str(getattr(shown.exc_type, "__module__", ""))
    return name.partition(".")[0] == "aiotask"
