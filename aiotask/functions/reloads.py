"""Whether a function registered under a taken name is the known function, loaded again, or another one."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

from .callables import what_runs
from .main_module import home_of

__all__ = ["Run", "current_run", "is_reload", "why_refused"]

Function = Callable[..., Any]


class Run(NamedTuple):
    """The execution of a module, or of one entry at a prompt, during which a task was registered."""

    code: CodeType | None = None
    #: The ``__dict__`` of the module.
    namespace: dict[str, Any] | None = None


def current_run() -> Run:
    """The innermost module that is being executed by this thread."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_module(frame):
            return Run(frame.f_code, frame.f_globals)
        frame = frame.f_back
    return Run()


def _is_module(frame: FrameType) -> bool:
    """Whether a frame runs a module's own code, which IPython 8 names "<cell line: 3>" for a cell."""
    if frame.f_code.co_name == "<module>":
        return True
    return not frame.f_code.co_flags & inspect.CO_OPTIMIZED and frame.f_locals is frame.f_globals


def is_reload(known: Function, new: Function, before: Run, now: Run) -> bool:
    """Whether the new function may take the known one's place under a name.

    It may if its module was loaded again (``importlib.reload``, a cell that was run again, a redefinition at a prompt,
    the main script imported by its own name), or if it does the same. Functions that were made differently in one
    place (by a factory, a loop, a decorator without ``functools.wraps``) are different functions.
    """
    if known is new:
        return True
    if _identity(known) != _identity(new):
        return False
    return _ran_again(before, now) or _compiled_again(known, new) or _equal(known, new)


def _identity(function: Function) -> tuple[object, ...]:
    """The module and the name of a function, of the function in a partial, or of a callable object's class."""
    while isinstance(function, functools.partial):
        function = function.func
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return home_of(named).name, named.__qualname__


def _ran_again(before: Run, now: Run) -> bool:
    if before.code is None or now.code is None or before.code is now.code:
        return False
    one, other = before.code.co_filename, now.code.co_filename
    if os.path.isfile(one) or os.path.isfile(other):
        return os.path.realpath(one) == os.path.realpath(other)
    # Entries at a prompt and cells of a notebook, but not code that a program compiles from text, named "<string>".
    return before.namespace is now.namespace and "<string>" not in (one, other)


def _compiled_again(known: Function, new: Function) -> bool:
    """Whether both functions come from one place in one file, which was compiled twice."""
    one, other = (getattr(inspect.unwrap(function), "__code__", None) for function in (known, new))
    return (
        one is not None
        and other is not None
        and one is not other
        and (one.co_filename, one.co_firstlineno, _column(one))
        == (other.co_filename, other.co_firstlineno, _column(other))
        and os.path.isfile(one.co_filename)
    )


def _column(code: CodeType) -> int | None:
    """The column in which the body of a lambda begins: one line may contain several. None for other functions."""
    if code.co_name != "<lambda>":
        return None
    return next((column for *_, column, _ in code.co_positions() if column), None)


def _equal(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two functions, or two values that they were made with, are interchangeable."""
    if one is other:
        return True
    if type(one) is not type(other) or depth > 8:
        return False
    deeper = functools.partial(_equal, depth=depth + 1)
    if isinstance(one, FunctionType):
        same = one.__code__ == other.__code__ and one.__globals__ is other.__globals__
        return same and all(map(deeper, _made_of(one), _made_of(other)))
    if isinstance(one, functools.partial):
        return all(map(deeper, (one.func, one.args, one.keywords), (other.func, other.args, other.keywords)))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(deeper, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(deeper(value, other[key]) for key, value in one.items())
    if hasattr(one, "__wrapped__") or (callable(one) and hasattr(one, "__dict__") and not isinstance(one, type)):
        return deeper(getattr(one, "__wrapped__", None), getattr(other, "__wrapped__", None)) and deeper(
            getattr(one, "__dict__", None), getattr(other, "__dict__", None)
        )
    try:
        # A user-defined __eq__ may ignore a part in which the functions differ.
        return bool(one == other) and _equal_inside(one, other, depth)
    except Exception:
        return False


def _equal_inside(one: Any, other: Any, depth: int) -> bool:
    """Whether two values that compare equal also have equal attributes."""
    attributes = getattr(one, "__dict__", None)
    return not isinstance(attributes, dict) or _equal(attributes, getattr(other, "__dict__", None), depth + 1)


def _made_of(function: FunctionType) -> tuple[Any, ...]:
    """The parts in which functions with the same code may differ."""
    return (_cells(function), function.__defaults__, function.__kwdefaults__, function.__dict__)


def _cells(function: FunctionType) -> list[Any]:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # the cell has no value yet
            cells.append(cell)
    # The closure of a recursive function contains the function itself.
    return [None if value is function else value for value in cells]


# ---- the reason


def why_refused(name: str, known: Function, new: Function) -> str:
    """The error text for two different functions of one name."""
    here, there = _place(new), _place(known)
    if _identity(known) == _identity(new):
        return f'The name "{name}" {_why_one_name(known, new)}'
    modules = [function.__module__ for function in (known, new) if hasattr(function, "__module__")]
    if here == there and ":" in here and len(set(modules)) == 2:
        file = here.rpartition(":")[0]
        return (
            f'The name "{name}" is taken: the file "{file}" was imported twice, as "{modules[0]}" and as '
            f'"{modules[1]}", and each import registers the task. Import it by the same name everywhere.'
        )
    return (
        f'The name "{name}" is taken by {there}; {here} cannot have it too. '
        "Give one of them another name: @app.task(name='…')."
    )


def _why_one_name(known: Function, new: Function) -> str:
    qualname = _identity(new)[1]
    assert isinstance(qualname, str)
    maker, _, inner = qualname.rpartition(".<locals>.")
    maker = maker.rpartition(".")[2]
    here, there = _place(new), _place(known)
    wrapped = [next(filter(callable, _cells(each)), None) for each in (known, new) if isinstance(each, FunctionType)]
    if maker and len(wrapped) == 2 and all(wrapped) and wrapped[0] is not wrapped[1]:
        return (
            f"would stand for two functions: the decorator `{maker}` calls whatever it decorates `{inner}`. "
            f"Put @functools.wraps(function) above `def {inner}` in it ({here}), "
            "or give each task a name of its own: @app.task(name='…')."
        )
    if here == there:
        by = f"`{maker}` made it more than once" if maker else "it was defined more than once, for example in a loop"
        return (
            f"would stand for two functions: {by}, at {here}, with different contents. "
            "Give each task a name of its own: @app.task(name='…')."
        )
    return (
        f"would stand for two functions: it is defined at {there} and again at {here}. "
        "Rename one of them, or give it another name: @app.task(name='…')."
    )


def _place(function: Any) -> str:
    code = getattr(inspect.unwrap(what_runs(function)), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
