"""Parameters whose value a worker provides: their defaults are what ``Depends`` returns."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError

__all__ = ["Injected", "Provider", "callers_signature", "injected_into", "name_of", "refuse_annotated"]

Provider = Callable[..., Any]


class Injected:
    """The default of a parameter that a worker fills in with the value of a provider."""

    __slots__ = ("provider",)

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def __reduce__(self) -> tuple[Any, ...]:
        return Injected, (self.provider,)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f'{self!r} has no attribute "{name}": the function was called without its worker, which provides the '
            "value. Pass one.",
            name=name,
            obj=self,
        )

    def __repr__(self) -> str:
        return f"Depends({name_of(self.provider)})"


def name_of(provider: Provider) -> str:
    """The name of a provider, for people."""
    return getattr(provider, "__qualname__", None) or repr(provider)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return []


def injected_into(function: Callable[..., Any]) -> dict[str, Provider]:
    """The providers of the parameters that a worker fills in, by the names of the parameters."""
    return {each.name: each.default.provider for each in _parameters(function) if isinstance(each.default, Injected)}


def callers_signature(function: Callable[..., Any], *, follow_wrapped: bool = True) -> inspect.Signature:
    """The signature for callers, who leave out what a worker fills in; what stands behind that is given by name.

    Raises:
        TypeError, ValueError: the callable has no signature.
    """
    signature = inspect.signature(function, follow_wrapped=follow_wrapped)
    kept: list[inspect.Parameter] = []
    behind = False
    for each in signature.parameters.values():
        if isinstance(each.default, Injected):
            behind = behind or each.kind is not each.KEYWORD_ONLY
        elif not behind:
            kept.append(each)
        elif each.kind is not each.VAR_POSITIONAL:
            kept.append(each.replace(kind=each.KEYWORD_ONLY) if each.kind is each.POSITIONAL_OR_KEYWORD else each)
    return signature.replace(parameters=kept) if len(kept) < len(signature.parameters) else signature


def refuse_annotated(function: Callable[..., Any], what: str) -> None:
    """Refuse ``Depends`` within ``Annotated``, the form of other frameworks: a caller could not leave the argument out.

    Raises:
        ConfigError: a parameter has that form.
    """
    annotations = getattr(inspect.unwrap(function), "__annotations__", {})
    if not any(isinstance(each, str) and "Depends(" in each for each in annotations.values()):
        hints = annotations
    else:
        try:
            hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
        except Exception:  # a name in an annotation is not defined
            return
    for name, hint in hints.items():
        if any(isinstance(each, Injected) for each in getattr(hint, "__metadata__", ())):
            raise ConfigError(
                f'{what}: "{name}" has Depends in its annotation. Make it the default value: {name}: … = Depends(…).'
            )
