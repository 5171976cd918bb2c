"""Exceptions taken apart and put together again without running ``__init__`` of their class.

Pickle rebuilds an exception as ``cls(*args)``: an ``__init__`` that makes its text from its arguments makes it from
that text the second time, slots stay empty, and side effects happen again. Here an exception whose class leaves
``__reduce__`` to Python is ``cls.__new__`` of the built-in base, its ``args``, the built-in attributes (``filename``,
``value``…), its slots and its ``__dict__``, each set by ``object``'s own methods, so that no code of the class runs.

The bytes name nothing but functions of the standard library, so a process that does not have this module reads them.
A class with a ``__reduce__`` of its own keeps it; ``__getstate__`` and ``__setstate__`` of its own are called.
"""

from __future__ import annotations

import builtins
import copyreg
import operator
import re
from collections.abc import Callable
from types import BuiltinFunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, TypeGuard, TypeVar
from weakref import WeakKeyDictionary

from ..errors import RemoteError

__all__ = [
    "add_note",
    "attributes_of",
    "below",
    "copy_error",
    "is_a",
    "is_kept",
    "link",
    "links_of",
    "members_of",
    "reason_of",
    "reduce_error",
    "stand_in",
    "summary_of",
    "text_of",
    "unlike",
]

T = TypeVar("T")

_BASE = vars(BaseException)
_BUILTIN = frozenset(
    kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)
)
_REDUCES = frozenset(vars(kind)["__reduce__"] for kind in _BUILTIN if "__reduce__" in vars(kind))
_TEXTS = frozenset(vars(kind)["__str__"] for kind in _BUILTIN if "__str__" in vars(kind))
_STATES = frozenset(
    vars(kind)[name] for kind in (object, *_BUILTIN) for name in ("__getstate__", "__setstate__") if name in vars(kind)
)
#: Attributes that are not copied: those of a group are passed to its ``__new__``, and ``obj`` of an AttributeError may
#: be any object, so Python does not pickle it either.
_NOT_COPIED = frozenset({(BaseExceptionGroup, "message"), (BaseExceptionGroup, "exceptions"), (AttributeError, "obj")})
#: Types whose values are compared by value.
_PLAIN = frozenset({bool, bytes, float, int, str})
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


class _Call:
    """An object that is pickled as a call: reading the bytes calls the function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


# ---- what an exception consists of


class _Kind:
    """Facts about an exception class, looked up once."""

    def __init__(self, kind: type[BaseException]) -> None:
        owner: Any = kind
        while owner is not None and not isinstance(vars(owner).get("__new__"), BuiltinFunctionType):
            owner = owner.__base__
        #: The nearest base whose ``__new__`` is not written in Python, and makes the object.
        self.owner = owner
        self.is_kept = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ in _REDUCES and owner in _BUILTIN
        self.has_getstate = kind.__getstate__ not in _STATES
        self.has_setstate = kind.__setstate__ not in _STATES
        self.has_builtin_text = kind.__str__ in _TEXTS
        self.makes_itself = not isinstance(kind.__new__, BuiltinFunctionType)
        #: Descriptors of built-in attributes and slots, by name.
        self.fields: dict[str, Any] = {}
        for base in kind.__mro__:
            for name, field in vars(base).items():
                is_field = type(field) in (MemberDescriptorType, GetSetDescriptorType)
                if is_field and not (name.startswith("__") and name.endswith("__")) and (base, name) not in _NOT_COPIED:
                    self.fields.setdefault(name, field)


_kinds: WeakKeyDictionary[type[BaseException], _Kind] = WeakKeyDictionary()


def _kind_of(error: type[BaseException]) -> _Kind:
    kind = _kinds.get(error)
    if kind is None:
        kind = _kinds[error] = _Kind(error)
    return kind


def is_a(error: object, kinds: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """As ``isinstance``, without asking the object: its ``__class__`` may lie, and its ``__getattribute__`` raise."""
    return issubclass(type(error), kinds)


def is_kept(kind: type[BaseException]) -> bool:
    """Whether exceptions of this class are taken apart here; False if the class has its own ``__reduce__``."""
    try:
        return kind not in copyreg.dispatch_table and _kind_of(kind).is_kept
    except Exception:  # the metaclass of the class does not let it be hashed or compared
        return False


def _made(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException | None:
    try:
        made = _kind_of(kind).owner.__new__(kind, *args)
    except Exception:
        return None
    return made if type(made) is kind else None


def _fields(error: BaseException) -> dict[str, Any]:
    """The built-in attributes and slots of an exception that are set, by name."""
    found: dict[str, Any] = {}
    for name, field in _kind_of(type(error)).fields.items():
        try:
            found[name] = field.__get__(error)
        except AttributeError:
            continue
    return found


def _dict_of(error: BaseException) -> dict[str, Any]:
    attributes: dict[str, Any] = _BASE["__dict__"].__get__(error)
    return attributes


def attributes_of(error: BaseException) -> dict[str, Any]:
    """The attributes and slots of an exception by name, read without running code of its class."""
    return _fields(error) | _dict_of(error)


def _arguments(error: BaseException) -> tuple[Any, ...]:
    """The arguments for ``__new__`` of the built-in base."""
    args: tuple[Any, ...] = _BASE["args"].__get__(error)
    if is_a(error, BaseExceptionGroup):
        message = vars(BaseExceptionGroup)["message"].__get__(error)
        members = members_of(error)
        if len(args) == 2 and args[0] is message and _same_items(args[1], members):
            return args
        return message, list(members)
    if is_a(error, OSError):
        reduced: tuple[Any, ...] = OSError.__reduce__(error)[1]  # type: ignore[assignment]
        return reduced
    return args


def members_of(group: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group, read without running code of its class; TypeError: ``group`` is no group."""
    members: tuple[BaseException, ...] = vars(BaseExceptionGroup)["exceptions"].__get__(group)
    return members


def _same_items(one: Any, other: tuple[Any, ...]) -> bool:
    if not isinstance(one, list | tuple) or len(one) != len(other):
        return False
    return all(mine is yours for mine, yours in zip(one, other, strict=True))


def _is_set(name: str, value: Any, before: dict[str, Any]) -> bool:
    """Whether a newly made object already has this attribute with this value."""
    if name not in before:
        return False
    had = before[name]
    if name == "args":
        return _same_items(value, had)
    return had is value or (type(had) is type(value) and type(value) in _PLAIN and bool(had == value))


def _parts(error: BaseException) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any], Any]:
    """Arguments of ``__new__``, fields to set after it, the ``__dict__``, and the state for a ``__setstate__``."""
    kind, args = _kind_of(type(error)), _arguments(error)
    fields: dict[str, Any] = {}
    if len(kind.fields) > 1 or is_a(error, BaseExceptionGroup):
        made = _made(type(error), args)
        if made is None:
            args = ()
            made = _made(type(error), args)
        before = {} if made is None else _fields(made)
        fields = {name: value for name, value in _fields(error).items() if not _is_set(name, value, before)}
    attributes = dict(_dict_of(error))
    if kind.has_setstate:
        return args, fields, {}, error.__getstate__() if kind.has_getstate else attributes or None
    if kind.has_getstate and isinstance(state := error.__getstate__(), dict):
        attributes = state
    return args, fields, attributes, None


def reduce_error(error: BaseException) -> Any:
    """The answer of a pickler's ``reducer_override`` for an exception; NotImplemented if its class reduces itself."""
    kind = type(error)
    if not is_kept(kind):
        return NotImplemented
    args, fields, attributes, state = _parts(error)
    # These calls run when the bytes are read, after the object was made, so they may refer to the object.
    calls = [_Call(object.__setattr__, error, name, value) for name, value in fields.items()]
    if attributes:
        calls.append(_Call(dict.update, _Call(object.__getattribute__, error, "__dict__"), attributes))
    if state is not None:
        calls.append(_Call(operator.methodcaller("__setstate__", state), error))
    made: tuple[Any, ...] = (copyreg.__newobj__, (kind, *args))  # type: ignore[attr-defined]
    if _kind_of(kind).makes_itself:
        made = (_kind_of(kind).owner.__new__, (kind, *args))
    # The last item is called with the object and the calls; ``is_`` does nothing with them.
    return (*made, calls, None, None, operator.is_) if calls else made


def copy_error(error: Exception) -> Exception:
    """A copy with the same state and the same causes, and without a traceback: an exception that is raised twice grows
    its traceback. If the class cannot be copied, this is the exception itself."""
    kind = type(error)
    try:
        if is_kept(kind):
            args, fields, attributes, state = _parts(error)
            made = _made(kind, args)
            if made is None:
                return error
            for name, value in fields.items():
                object.__setattr__(made, name, value)
            _dict_of(made).update(attributes)
            if state is not None:
                made.__setstate__(state)
        else:
            import copy

            made = copy.copy(error)
            if type(made) is not kind:
                return error
    except Exception:
        return error
    assert isinstance(made, Exception)
    link(made, *links_of(error))
    return made


# ---- causes and notes, read and set without code of the class


def links_of(error: BaseException) -> tuple[BaseException | None, BaseException | None, bool]:
    """The ``__cause__``, ``__context__`` and ``__suppress_context__`` of an exception."""
    return tuple(_BASE[name].__get__(error) for name in ("__cause__", "__context__", "__suppress_context__"))


def link(error: BaseException, cause: BaseException | None, context: BaseException | None, suppressed: bool) -> None:
    """Set the ``__cause__``, ``__context__`` and ``__suppress_context__`` of an exception."""
    _BASE["__cause__"].__set__(error, cause)
    _BASE["__context__"].__set__(error, context)
    _BASE["__suppress_context__"].__set__(error, suppressed)


def add_note(error: BaseException, note: str) -> None:
    """Add a note to any exception, also to a frozen one, without running methods of its class."""
    attributes = _dict_of(error)
    notes = attributes.get("__notes__")
    attributes["__notes__"] = [*notes, note] if isinstance(notes, list | tuple) else [note]


# ---- text


def text_of(error: BaseException) -> str:
    """The text of an error, in at most 10,000 characters, all of which can be encoded."""
    try:
        # Made an exact str: __str__ may return an object of a subclass with methods of the user.
        text = str.__str__(str(error))[:10_000]
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a SystemExit, too: here it does not mean that the process ends
        return f"(its __str__ raised {type(broken).__name__})"
    # Half a surrogate pair (from a file name that is not UTF-8, say) cannot be encoded, so it becomes its escape.
    return text.encode("utf-8", "backslashreplace").decode()


def summary_of(error: BaseException) -> str:
    """The text of an error without its full stop; of a pydantic error only the line that names the cause."""
    text = text_of(error).rstrip(".")
    if type(error).__module__.split(".")[0] in ("pydantic", "pydantic_core"):
        details: Any = getattr(error, "errors", list)()
        if details:
            where = ".".join(map(str, details[0]["loc"]))
            return f"{where + ': ' if where else ''}{details[0]['msg']}"
        expected = re.search(r"Expected (.+?) - serialized", text)
        return f"{expected[1]} expected" if expected else text
    return text or type(error).__name__


def _differs(error: BaseException, came: Any, *, by_value: bool) -> str:
    """How one exception that was read again differs from what was written, without its members; empty: it does not."""
    kind, other = type(error), type(came)
    # A class that is made at run time may reduce itself to a base that can be imported, and ``except`` of that base
    # catches both. A built-in base says less than RemoteError.
    is_base = other is kind or (other in kind.__mro__ and other not in _BUILTIN)
    if not is_base and not (by_value and (other.__module__, other.__qualname__) == _name(kind)):
        return f"it comes back as {other.__module__}.{other.__qualname__}"
    if other is kind and is_kept(kind) and _kind_of(kind).has_builtin_text:
        return ""
    sent, read = text_of(error), text_of(came)
    if _letters(sent) != _letters(read) and sent == text_of(error):
        return f'its text "{_short(sent)}" comes back as "{_short(read)}"'
    return ""


def _name(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _letters(text: str) -> list[str]:
    """A text in a form that does not depend on the order of sets, nor on addresses of objects."""
    return sorted(_ADDRESS.sub("0x", text))


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"


# ---- what comes in place of others


def below(group: BaseException) -> dict[int, tuple[BaseException, int]]:
    """The members of a group and of the groups in it by their ids, each once and before its own members.

    Each comes with the largest number of groups around it.
    """
    ended: dict[int, BaseException] = {}
    path = [(group, iter(members_of(group)))]
    while path:
        each, members = path[-1]
        member = next(members, None)
        if member is None:
            ended[id(each)] = each
            path.pop()
        elif id(member) not in ended:
            path.append((member, iter(members_of(member) if is_a(member, BaseExceptionGroup) else ())))
    depths = dict.fromkeys(ended, 0)
    for each in reversed(ended.values()):
        if is_a(each, BaseExceptionGroup):
            for member in members_of(each):
                depths[id(member)] = max(depths[id(member)], depths[id(each)] + 1)
    del depths[id(group)]
    return {key: (ended[key], depths[key]) for key in reversed(ended) if key in depths}


def unlike(error: BaseException, came: Any, instead: dict[int, BaseException], *, by_value: bool) -> str:
    """How an exception that was read again, or one of its members, differs from what was written; empty: it does not.

    Args:
        instead: other exceptions for some of the members, by the ids of these.
        by_value: its class may have been serialized with it, and is a different object then.
    """
    pairs: list[tuple[BaseException, Any]] = [(error, came)]
    seen: set[tuple[int, int]] = set()
    for one, other in pairs:
        if id(one) in instead or (id(one), id(other)) in seen:
            continue
        seen.add((id(one), id(other)))
        why = _differs(one, other, by_value=by_value)
        if why:
            return why
        if is_a(one, BaseExceptionGroup):
            pairs += zip(members_of(one), members_of(other), strict=True)
    return ""


def stand_in(error: BaseException, reason: str) -> RemoteError:
    """The RemoteError for a member of a group that cannot be sent as itself; ``reason`` is a sentence."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return RemoteError(f"{kind}: {text_of(error)}\n{reason}", type=kind)


def reason_of(why: str) -> str:
    """The sentences for the caller on why an exception arrived as RemoteError, and how to change that."""
    return (
        f"(It came as RemoteError because {why}. To send it as itself, give its class a __reduce__ that returns a "
        "function and serializable arguments that recreate it.)"
    )
