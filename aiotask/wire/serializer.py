"""Serializers: arguments and values to bytes and back.

A body begins with one byte that names its format: ``P`` plain pickle, ``C`` cloudpickle (then two
bytes: the Python major and minor that wrote it), ``J`` JSON.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ..errors import ConfigError, SerializationError, Unresolved
from ..functions.main_module import names_a_script
from ..ref import resolving
from .bare_calls import MARK, refuse_bare_calls
from .error_form import attributes_of, below, is_a, is_kept, reason_of, stand_in, text_of, unlike
from .pickler import Pickler, may_hold_errors, pickled
from .script_pickle import dump_by_reference, dump_by_value, load, load_renamed

__all__ = ["OtherPython", "Serializer", "check_annotations", "check_serializer", "serializer_named"]

Call = tuple[tuple[Any, ...], dict[str, Any]]
Function = Callable[..., Any] | None

_HERE = bytes(sys.version_info[:2])
#: The end of both names of a main script (``__main__``, ``__mp_main__``).
_MAIN = b"_main__"
#: The number of groups around an exception from which on it does not travel as itself: a pickle that is nested deeper
#: than the stack of another process allows could not be read there, and what it costs to find which member cannot be
#: sent grows with the square of the depth.
_GROUPS_AROUND = 50
_TOO_DEEP = f"(It came as RemoteError because it is in {_GROUPS_AROUND} groups, each in the next.)"


class OtherPython(SerializationError):
    """A body contains code by value that another Python minor version wrote; loading it could crash the process."""

    def __init__(self, wrote: tuple[int, int]) -> None:
        self.need = f"python:{wrote[0]}.{wrote[1]}"
        super().__init__(
            f"This body carries code by value that Python {wrote[0]}.{wrote[1]} wrote; this process runs Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Run both sides on the same minor version, or define the "
            "function in a module that both import."
        )


class Serializer(Protocol):
    """How bodies are written and read. ``function`` is the task's function, or None if it is not known here.

    Bodies with Refs are written inside ``ref.collecting()``; elsewhere a Ref raises Unresolved. They are read with
    ``upstream``: for each number of a Ref, the bytes of the value in its place, or an exception.
    """

    name: str

    def prepare(self, task: str, function: Callable[..., Any], *, last_chance: bool = False) -> None: ...
    def dump_call(self, call: Call, function: Function) -> bytes: ...
    def load_call(self, body: bytes, function: Function, upstream: Sequence[bytes | BaseException] = ()) -> Call: ...
    def dump_value(self, value: Any, function: Function) -> bytes: ...
    def load_value(self, body: bytes, function: Function, upstream: Sequence[bytes | BaseException] = ()) -> Any: ...

    def dump_error(self, error: BaseException) -> bytes | None:
        """The bytes of an exception that is read as itself.

        Raises:
            SerializationError: it would not be; the message names the reason. None is returned if there is no reason.
        """

    def load_error(self, body: bytes, function: Function = None) -> Any: ...


class PickleSerializer:
    """Plain pickle where that is faithful; cloudpickle for lambdas, closures and objects that no worker can import.

    Pickle stores a class or function of ``__main__`` as a reference to that name, and the worker's ``__main__`` is
    another program. The name stands in the bytes then, so looking for it there is a sure and cheap test. Such a value
    is written once more, with references to the name under which workers import the script. So is one that may hold
    exceptions, which pickle rebuilds by ``__init__``: only bytes that look up a class and call it can hold one.
    """

    name = "cloudpickle"

    def prepare(self, task: str, function: Callable[..., Any], *, last_chance: bool = False) -> None:
        """Do nothing: pickle does not depend on the function."""

    def dump_call(self, call: Call, function: Function) -> bytes:
        # As ``_dump``, of which most calls need the first half.
        try:
            plain = pickle.dumps(call, 5)
        except Unresolved:
            raise
        except Exception:
            plain = b"\x93" + _MAIN
        if plain.find(b"\x93") < 0:
            return b"P" + plain
        if plain.find(MARK) >= 0:
            refuse_bare_calls(call, function)
        return self._dump_named(plain, call, function)

    def _dump(self, value: Any, function: Function = None) -> bytes:
        try:
            plain = pickle.dumps(value, 5)
        except Unresolved:
            # The caller looks for it; no other pickler can write the value.
            raise
        except Exception:
            plain = b"\x93" + _MAIN
        # Not "in", which first tries its operand as a number, and raises and catches an error.
        if plain.find(b"\x93") < 0:
            return b"P" + plain
        return self._dump_named(plain, value, function)

    def _dump_named(self, plain: bytes, value: Any, function: Function) -> bytes:
        """The body of a value whose plain pickle looks something up by name."""
        if plain.find(_MAIN) >= 0:
            referring = dump_by_reference(value, function)
            return b"C" + _HERE + dump_by_value(value, function) if referring is None else b"P" + referring
        if plain.find(b"R\x94") >= 0 and may_hold_errors(plain, value):
            plain = pickled(value)
        return b"P" + plain

    def _load(self, body: bytes, function: Function = None, upstream: Sequence[bytes | BaseException] = ()) -> Any:
        if upstream:
            with resolving(_Values(self, upstream, function)):
                return self._load(body, function)
        kind = body[:1]
        if kind == b"P":
            if len(body) >= 4096:
                return load(memoryview(body)[1:], function)
            if body.find(b"\x93") < 0:
                # The pickle looks up nothing by name, as that of any plain value.
                return pickle.loads(body[1:])
            if names_a_script(body):
                return load(memoryview(body)[1:], function)
            try:
                return pickle.loads(body[1:])
            except ModuleNotFoundError as error:
                return load_renamed(memoryview(body)[1:], function, error)
        if kind == b"C":
            if body[1:3] != _HERE:
                raise OtherPython((body[1], body[2]))
            return load(memoryview(body)[3:], function)
        raise SerializationError(
            f"The body is of format {body[:1]!r}, but this app reads pickle. "
            "Give App(serializer=…) the same value on both sides."
        )

    # One method under several names: a call in between would cost as much as a small pickle.
    dump_value = _dump
    load_call = load_value = _load

    def dump_error(self, error: BaseException) -> bytes | None:
        instead: dict[int, BaseException] = {}
        members: dict[int, tuple[BaseException, int]] = {}
        if is_a(error, BaseExceptionGroup):
            members = below(error)
            for member, depth in members.values():
                if depth >= _GROUPS_AROUND:
                    instead[id(member)] = stand_in(member, _TOO_DEEP)
        body, why = self._tried(error, instead)
        if why and members:
            # From the innermost, so that a group is tried without members that cannot be sent.
            for member, depth in reversed(members.values()):
                if depth < _GROUPS_AROUND:
                    fault = self._tried(member, instead)[1]
                    if fault:
                        instead[id(member)] = stand_in(member, reason_of(fault))
            body, why = self._tried(error, instead)
        if why:
            raise SerializationError(why)
        return body

    def _tried(self, error: BaseException, instead: dict[int, BaseException]) -> tuple[bytes, str]:
        """The bytes of an exception, and the reason if they must not be sent, since they are read as something else."""
        try:
            try:
                plain = pickled(error, Pickler, instead)
            except Exception:
                plain = _MAIN
            body = b"P" + plain
            if plain.find(_MAIN) >= 0:
                referring = dump_by_reference(error, None, instead)
                by_value = b"C" + _HERE + dump_by_value(error, None, instead) if referring is None else b""
                body = by_value or b"P" + (referring or b"")
        except BaseException as fault:  # even a SystemExit of a __reduce__ must not end the process
            return b"", f"{self._blamed(error)}{type(fault).__name__}: {text_of(fault).rstrip('.')}"
        try:
            return body, unlike(error, self._load(body), instead, by_value=body[:1] == b"C")
        except BaseException as fault:
            return b"", f"it cannot be recreated from its pickle: {type(fault).__name__}: {text_of(fault).rstrip('.')}"

    def _blamed(self, error: BaseException) -> str:
        """The attribute of an exception that cannot be pickled."""
        if is_kept(type(error)):
            for name, value in attributes_of(error).items():
                try:
                    self._dump(value)
                except BaseException:
                    return f'its attribute "{name}" ({type(value).__qualname__}) cannot be serialized: '
        return "it cannot be pickled: "

    def load_error(self, body: bytes, function: Function = None) -> Any:
        return self._load(body, function)


class _Values(Sequence[Any]):
    """The values upstream of a job, each read when its first Ref is met."""

    def __init__(
        self, serializer: PickleSerializer, upstream: Sequence[bytes | BaseException], function: Function
    ) -> None:
        self._serializer = serializer
        self._upstream: list[Any] = list(upstream)
        self._function = function
        self._read = [isinstance(each, BaseException) for each in upstream]

    def __len__(self) -> int:
        return len(self._upstream)

    def __getitem__(self, number: Any) -> Any:
        if not self._read[number]:
            self._upstream[number] = self._serializer.load_value(self._upstream[number], self._function)
            self._read[number] = True
        return self._upstream[number]


_named: dict[str, Serializer] = {}


def check_serializer(name: object) -> str:
    """The name, if there is such a serializer.

    Raises:
        ConfigError: there is no such serializer.
    """
    if not isinstance(name, str) or name not in ("cloudpickle", "json"):
        raise ConfigError(f'serializer={name!r} is not a serializer. Use "cloudpickle" or "json".')
    return name


def serializer_named(name: str) -> Serializer:
    """The serializer of this name: ``cloudpickle`` or ``json``.

    Raises:
        ConfigError: there is no such serializer, or a package that it needs is not installed.
    """
    if name not in _named:
        _named[name] = _json() if check_serializer(name) == "json" else PickleSerializer()
    return _named[name]


def _json() -> Serializer:
    try:
        # Imported here: pydantic takes longer to import than the rest of aiotask.
        from .pydantic_json import JsonSerializer
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("pydantic", "pydantic_core"):
            raise
        raise ConfigError("serializer=\"json\" needs pydantic 2.11 or newer: pip install 'aiotask[json]'.") from error
    return JsonSerializer()


def check_annotations(serializer: Serializer, tasks: Iterable[Any]) -> None:
    """Check the annotations of these task definitions again, once their modules are imported.

    Raises:
        ConfigError: the serializer cannot use those of a task.
    """
    for task in tasks:
        serializer.prepare(task.name, task.function, last_chance=True)
