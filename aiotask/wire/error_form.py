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
    "said",
    "stand_in",
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
#: Attributes that are not copied: those of a group are given to its ``__new__``, and what an AttributeError tells of
#: may be anything, so that Python does not pickle it either.
_NOT_COPIED = frozenset({(BaseExceptionGroup, "message"), (BaseExceptionGroup, "exceptions"), (AttributeError, "obj")})
#: Types whose values are compared by value.
_PLAIN = frozenset({bool, bytes, float, int, str})
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


class _Call:
    """Pickled as the call that it is: reading the bytes calls the function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


# ---- what an exception consists of


class _Kind:
    """What has to be known of a class of exceptions, looked up once."""

    def __init__(self, kind: type[BaseException]) -> None:
        owner: Any = kind
        while owner is not None and not isinstance(vars(owner).get("__new__"), BuiltinFunctionType):
            owner = owner.__base__
        #: The base whose ``__new__`` makes the object, leaving out those that are written in Python.
        self.owner = owner
        self.is_kept = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ in _REDUCES and owner in _BUILTIN
        self.has_getstate = kind.__getstate__ not in _STATES
        self.has_setstate = kind.__setstate__ not in _STATES
        self.says_its_args = kind.__str__ in _TEXTS
        self.makes_itself = not isinstance(kind.__new__, BuiltinFunctionType)
        #: Built-in attributes and slots.
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
    """Whether exceptions of this class are put together here; False where the class has a way of its own."""
    try:
        return kind not in copyreg.dispatch_table and _kind_of(kind).is_kept
    except Exception:  # its metaclass lets it not be hashed, or compared
        return False


def _made(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException | None:
    try:
        made = _kind_of(kind).owner.__new__(kind, *args)
    except Exception:
        return None
    return made if type(made) is kind else None


def _fields(error: BaseException) -> dict[str, Any]:
    """Built-in attributes and slots that are set, by name."""
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
    """Its attributes and slots by name, read without code of its class."""
    return _fields(error) | _dict_of(error)


def _arguments(error: BaseException) -> tuple[Any, ...]:
    """What ``__new__`` of the built-in base gets."""
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
    """The exceptions of a group, read without code of its class; TypeError: it is no group."""
    members: tuple[BaseException, ...] = vars(BaseExceptionGroup)["exceptions"].__get__(group)
    return members


def _same_items(one: Any, other: tuple[Any, ...]) -> bool:
    if not isinstance(one, list | tuple) or len(one) != len(other):
        return False
    return all(mine is yours for mine, yours in zip(one, other, strict=True))


def _is_set(name: str, value: Any, before: dict[str, Any]) -> bool:
    """Whether an object that was just made has this attribute already."""
    if name not in before:
        return False
    had = before[name]
    if name == "args":
        return _same_items(value, had)
    return had is value or (type(had) is type(value) and type(value) in _PLAIN and bool(had == value))


def _parts(error: BaseException) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any], Any]:
    """Arguments of ``__new__``, fields to set after it, the ``__dict__``, and what its own ``__setstate__`` gets."""
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
    """What a pickler's ``reducer_override`` answers for an exception; NotImplemented: it has a way of its own."""
    kind = type(error)
    if not is_kept(kind):
        return NotImplemented
    args, fields, attributes, state = _parts(error)
    # Each is called when the bytes are read, after the object was made, which is why they may refer to it.
    calls = [_Call(object.__setattr__, error, name, value) for name, value in fields.items()]
    if attributes:
        calls.append(_Call(dict.update, _Call(object.__getattribute__, error, "__dict__"), attributes))
    if state is not None:
        calls.append(_Call(operator.methodcaller("__setstate__", state), error))
    made: tuple[Any, ...] = (copyreg.__newobj__, (kind, *args))  # type: ignore[attr-defined]
    if _kind_of(kind).makes_itself:
        made = (_kind_of(kind).owner.__new__, (kind, *args))
    # The last one is called with the object and the calls, and has nothing to do.
    return (*made, calls, None, None, operator.is_) if calls else made


def copy_error(error: Exception) -> Exception:
    """Another object with the same state and the same causes, and without a traceback: an exception that is raised
    twice grows its traceback. Where the class does not let itself be copied, the exception itself."""
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
    """``__cause__``, ``__context__`` and ``__suppress_context__``."""
    return tuple(_BASE[name].__get__(error) for name in ("__cause__", "__context__", "__suppress_context__"))


def link(error: BaseException, cause: BaseException | None, context: BaseException | None, suppressed: bool) -> None:
    """Set ``__cause__``, ``__context__`` and ``__suppress_context__``."""
    _BASE["__cause__"].__set__(error, cause)
    _BASE["__context__"].__set__(error, context)
    _BASE["__suppress_context__"].__set__(error, suppressed)


def add_note(error: BaseException, note: str) -> None:
    """``error.add_note(note)`` for any exception: a frozen one, too, and whatever methods its class has."""
    attributes = _dict_of(error)
    notes = attributes.get("__notes__")
    attributes["__notes__"] = [*notes, note] if isinstance(notes, list | tuple) else [note]


# ---- text


def text_of(error: BaseException) -> str:
    """What an error says, in at most 10,000 characters that can be sent and written anywhere."""
    try:
        # The exact type: __str__ may return an object of a subclass, whose methods are the user's.
        text = str.__str__(str(error))[:10_000]
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a SystemExit, too: it says nothing of the process
        return f"(its __str__ raised {type(broken).__name__})"
    # Half a surrogate pair, as in the name of a file that is not UTF-8, is no character: it becomes its escape.
    return text.encode("utf-8", "backslashreplace").decode()


def said(error: BaseException) -> str:
    """What an error says, without its full stop; of pydantic's pages the one line that matters."""
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
    """As ``unlike``, of one exception."""
    kind, other = type(error), type(came)
    # Of a class that is made while the program runs, its __reduce__ may choose a base that can be imported: who catches
    # that one catches both. A built-in base says less than RemoteError.
    is_base = other is kind or (other in kind.__mro__ and other not in _BUILTIN)
    if not is_base and not (by_value and (other.__module__, other.__qualname__) == _name(kind)):
        return f"it comes back as {other.__module__}.{other.__qualname__}"
    if other is kind and is_kept(kind) and _kind_of(kind).says_its_args:
        return ""
    said, says = text_of(error), text_of(came)
    if _letters(said) != _letters(says) and said == text_of(error):
        return f'its text "{_short(said)}" comes back as "{_short(says)}"'
    return ""


def _name(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _letters(text: str) -> list[str]:
    """Sets have no order, and addresses of objects are different each time."""
    return sorted(_ADDRESS.sub("0x", text))


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"


# ---- what comes in place of others


def below(group: BaseException) -> dict[int, tuple[BaseException, int]]:
    """The members of a group and of the groups in it by their ids, each once and before its own members.

    With each the largest number of groups that are around it.
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
        by_value: a class may have been serialized with it, and is another object then.
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
    """What comes in place of a member of a group that cannot be sent as itself; ``reason`` is a sentence."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return RemoteError(f"{kind}: {text_of(error)}\n{reason}", type=kind)


def reason_of(why: str) -> str:
    """The sentences that tell the caller why an exception came as RemoteError, and how to mend it."""
    return (
        f"(It came as RemoteError because {why}. To send it as itself, give its class a __reduce__ that returns a "
        "function and serializable arguments that recreate it.)"
    )
