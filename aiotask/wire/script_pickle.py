"""Pickle for a program whose file is both run as ``__main__`` and imported by its workers.

Objects that the script defines are written as references to that module, and read as those of the script here.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import pickle
import sys
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter, getitem
from types import FunctionType
from typing import Any

from ..functions.main_module import MAINS, Script, is_imported, reference_to, script_named, scripts
from .pickler import CLASS_MAKERS, Pickler, by_value, copy_by_value, pickled

__all__ = ["dump_by_reference", "dump_by_value", "load", "load_renamed"]

Function = Callable[..., Any] | None

#: The key of the place in what ``place`` says of a class.
_PLACE = "aiotask:place"
_CLOUDPICKLE = "cloudpickle.cloudpickle"


class _NotThere(Exception):
    """The main script defines an object where no worker finds it."""


def _reference(thing: Any, known: bool) -> Any:
    """The reduction of an object for pickle; NotImplemented for pickle's usual way.

    Raises:
        _NotThere: the object belongs to the main script, and a worker cannot import it.
    """
    kind = type(thing)
    if issubclass(kind, type | FunctionType):
        if "__pydantic_generic_metadata__" in thing.__dict__ and (made := _parametrized(thing)) is not None:
            return made
        if thing.__module__ not in MAINS:
            return NotImplemented
        name = None
    elif kind in copyreg.dispatch_table:
        return NotImplemented
    elif kind.__module__ in MAINS or getattr(thing, "__module__", None) in MAINS:
        # Some objects reduce to their name: singletons, and objects of the typing module.
        name = thing.__reduce_ex__(5)
        if not isinstance(name, str):
            return name
    else:
        return NotImplemented
    found = reference_to(thing, name) if known else None
    if found is None:
        raise _NotThere(thing)
    return attrgetter(found[1]), (_Reduced(importlib.import_module, found[0]),)


def _parametrized(model: Any) -> Any:
    """The reduction of ``Page[int]`` of a generic pydantic model to ``Page``, since no module has it by name.

    None for another model, and if that would make another class.
    """
    made_of = model.__dict__["__pydantic_generic_metadata__"]
    try:
        origin, args = made_of["origin"], made_of["args"]
        return (getitem, (origin, args)) if origin is not None and origin[args] is model else None
    except Exception:
        return None


class _Reduced:
    """An object that is pickled as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def dump_by_reference(value: Any, function: Function, instead: dict[int, BaseException] | None = None) -> bytes | None:
    """Plain pickle that a worker can read; None if part of the value has to be sent by value.

    Args:
        function: the function of the task, where it is known.
        instead: other exceptions for some of those in the value, by the ids of these.
    """
    known = _script_is_there(function)
    try:
        return pickled(value, Pickler, instead, lambda thing: _reference(thing, known))
    except Exception:
        return None


def dump_by_value(value: Any, function: Function, instead: dict[int, BaseException] | None = None) -> bytes:
    """The pickle of cloudpickle, with references to the script where a worker can follow them."""
    if (spawned := sys.modules.get("__mp_main__")) is not None:
        # By value, as cloudpickle writes "__main__": a worker has no module of that name.
        copy_by_value(spawned)
    known = _script_is_there(function)

    def refer(thing: Any) -> Any:
        try:
            return _reference(thing, known)
        except _NotThere:
            return NotImplemented

    return pickled(value, by_value(), instead, refer, _place if known else None)


def _place(kind: type) -> dict[str, tuple[str, str]] | None:
    """Where the script has this class, which its source does not bind by a statement: a process that has imported the
    script, and finds a class there, uses that one."""
    for script in scripts():
        if script.find(kind.__qualname__) is kind:
            return {_PLACE: (script.name, kind.__qualname__)}
    return None


def _script_is_there(function: Function) -> bool:
    """Whether a worker that runs this function can import the main script.

    A worker can if the function is the script's own, and should be able to if a module here has imported the script.
    """
    if getattr(function, "__module__", None) in MAINS:
        return True
    return any(map(is_imported, scripts()))


class _Unpickler(pickle.Unpickler):
    """Finds objects of the script that runs here in ``__main__``, not in a second copy of its file.

    Args:
        function: the function of the handle, for ``script_named``.
        renamed: names of modules that are missing here, with the names to use instead.
    """

    def __init__(self, file: Any, function: Function, renamed: Mapping[str, str] | None = None) -> None:
        super().__init__(file)
        self._function = function
        self._renamed = renamed or {}
        #: Classes of this process that stand for some that were written by value.
        self._own: set[type] = set()

    def find_class(self, module: str, name: str) -> Any:
        if module == _CLOUDPICKLE and (name in CLASS_MAKERS or name == "_class_setstate"):
            found = super().find_class(module, name)
            return partial(self._fill if name == "_class_setstate" else self._make, found)
        if (module, name) == ("importlib", "import_module"):
            return self._module
        if (module, name) == ("aiotask.tasks", "_task_in"):
            return lambda holder, qualname: attrgetter(qualname)(self._module(holder))
        if (module, name) == ("aiotask.tasks", "_task_named"):
            return self._task_named
        module = self._renamed.get(module, module)
        script = script_named(module, self._function)
        found = script.find(name) if script is not None else None
        return super().find_class(module, name) if found is None else found

    def _make(self, make: Callable[..., type], *args: Any) -> type:
        """A class that was written by value, or the one that this process has in its place."""
        place = args[-1].get(_PLACE) if isinstance(args[-1], dict) else None
        own = self._class_at(*place) if place is not None else None
        if own is None:
            return make(*args)
        self._own.add(own)
        return own

    def _fill(self, fill: Callable[[type, Any], type], kind: type, state: Any) -> type:
        return kind if kind in self._own else fill(kind, state)

    def _class_at(self, module: str, qualname: str) -> type | None:
        """The class that a module defines under this name, if it is imported here."""
        module = self._renamed.get(module, module)
        script = script_named(module, self._function)
        found: Any = sys.modules.get(module) if script is None else _Members(script)
        for part in qualname.split("."):
            found = getattr(found, part, None)
        is_its_own = getattr(found, "__module__", None) in (module, *MAINS)
        return found if isinstance(found, type) and is_its_own and found.__qualname__ == qualname else None

    def _task_named(self, app: str, name: str, module: str, options: Any) -> Any:
        look_up = super().find_class("aiotask.tasks", "_task_named")
        return look_up(app, name, module, options, script_named(module, self._function) is not None)

    def _module(self, name: str) -> Any:
        name = self._renamed.get(name, name)
        script = script_named(name, self._function)
        return importlib.import_module(name) if script is None else _Members(script)


class _Members:
    """A script as a module: its own attributes, else those of its file imported by its name."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __getattr__(self, name: str) -> Any:
        found = self._script.find(name)
        return getattr(importlib.import_module(self._script.name), name) if found is None else found


def load(body: memoryview, function: Function) -> Any:
    """The value of a body, with the classes of ``__main__`` or of the imported script, as the function decides."""
    try:
        return _Unpickler(io.BytesIO(body), function).load()
    except ModuleNotFoundError as error:
        return load_renamed(body, function, error)


def load_renamed(body: memoryview, function: Function, error: ModuleNotFoundError) -> Any:
    """The value of a body that refers to the file of this function by a shorter or longer name.

    The sender has started that file from another directory.

    Raises:
        ModuleNotFoundError: the module that is missing is another one.
    """
    here, there = getattr(function, "__module__", None), error.name
    if here is None or there is None or not (f".{here}".endswith(f".{there}") or f".{there}".endswith(f".{here}")):
        raise error
    return _Unpickler(io.BytesIO(body), function, {there: here}).load()
