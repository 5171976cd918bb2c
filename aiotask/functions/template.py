"""Text that is made from the arguments of a call: by a template such as ``"user-{user_id}"``, or by a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from ..errors import ConfigError
from .injected import callers_signature

__all__ = ["LONGEST", "Maker", "fill", "maker", "names_in", "text_of"]

#: Characters of such a text at most.
LONGEST = 200
#: Literal text, a doubled brace, a parameter in braces, or anything else that is in braces or is a brace.
_PART = re.compile(r"([^{}]+)|(\{\{|\}\})|\{([^{}]*)\}|(.)", re.DOTALL)
#: Types whose ``str()`` is their value, the same in every process.
_PLAIN = (str, int, float, Decimal, UUID, date, time, timedelta, Enum)

#: The text of a call, from its positional arguments and those by name; None: the function gave none.
Maker = Callable[[tuple[Any, ...], Mapping[str, Any]], str | None]


def names_in(template: str) -> list[str]:
    """The parameters that a template names, in their order.

    Raises:
        ConfigError: a brace has no partner, or holds something else than the name of a parameter.
    """
    names = []
    for match in _PART.finditer(template):
        _, _, name, stray = match.groups()
        if stray is not None:
            raise ConfigError(f'The template "{template}" has a "{stray}" without its partner. Write {{{{ for a brace.')
        if name is not None:
            if not name.isidentifier():
                raise ConfigError(
                    f'The template "{template}" has "{{{name}}}", and braces may hold only the name of a parameter, '
                    "as in {user_id}. For more, give a function of the call."
                )
            names.append(name)
    return names


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The template with its parameters replaced by the text of their values.

    Raises:
        ConfigError: a value has no text of its own, or the text is empty or longer than LONGEST.
    """

    def part(match: re.Match[str]) -> str:
        literal, brace, name, _ = match.groups()
        return str(literal or (brace and brace[0]) or text_of(values[name], f'"{name}" in "{template}"'))

    return _checked(_PART.sub(part, template), f'"{template}"')


def text_of(value: Any, what: str) -> str:
    """The text of a value that is the same in every process.

    Raises:
        ConfigError: the value is of a type whose text may be another one elsewhere, as the address of an object is.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is not None and not isinstance(value, _PLAIN):
        raise ConfigError(
            f"{what} is a value of type {type(value).__qualname__}, which has no text that is the same everywhere. "
            "Give a function of the call that returns text, a number or a UUID."
        )
    return str(value)


def _checked(text: str, what: str) -> str:
    if not 0 < len(text) <= LONGEST:
        raise ConfigError(f"{what} gives a text of {len(text)} characters for this call: 1 to {LONGEST} are possible.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{what} gives a text for this call that is not valid Unicode: {text!a}.") from None
    return text


def maker(function: Callable[..., Any], given: str | Callable[..., Any], what: str) -> Maker:
    """What makes the text of each call of a function.

    Args:
        given: a template over its parameters; or a function, which gets every argument of a call by the name of its
            parameter, defaults included, and returns the text, or None where the call has none.
        what: the option, for errors.

    Raises:
        ConfigError: the template is malformed, or names a parameter that the function does not have.
    """
    try:
        signature = callers_signature(function)
    except (TypeError, ValueError):
        raise ConfigError(f"{what}={given!r}: the parameters of {function!r} are not known to Python.") from None

    def values(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _by_name(signature, bound.arguments)

    if callable(given):
        return lambda args, kwargs: _returned(given, values(args, kwargs), what)
    template = given
    _refuse_unknown(names_in(template), signature, template, what)
    return lambda args, kwargs: fill(template, values(args, kwargs))


def _by_name(signature: inspect.Signature, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name; those that ``**kwargs`` has caught are among the others."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        else:
            found[name] = value
    return found


def _returned(given: Callable[..., Any], values: Mapping[str, Any], what: str) -> str | None:
    value = given(**values)
    if value is None:
        return None
    return _checked(text_of(value, f"What the function of {what}= returned"), f"The function of {what}=")


def _refuse_unknown(names: Iterable[str], signature: inspect.Signature, template: str, what: str) -> None:
    known = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    for name in names:
        if name not in known:
            raise ConfigError(
                f'{what}="{template}" names "{name}", which is no parameter of the function. '
                + (f"It has {', '.join(known)}." if known else "It has none.")
            )
