"""Chains: each call takes the value of the one before it."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, overload

from ..errors import ConfigError
from ..signature import Signature, no_task

__all__ = ["chain"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class _Step(Protocol[A_contra, R_co]):
    """A task that may be called with one argument."""

    def s(self, arg: A_contra, /) -> Signature[R_co]: ...


@overload
def chain(first: Signature[A], b: _Step[A, B], /) -> Signature[B]: ...
@overload
def chain(first: Signature[A], b: _Step[A, B], c: _Step[B, C], /) -> Signature[C]: ...
@overload
def chain(first: Signature[A], b: _Step[A, B], c: _Step[B, C], d: _Step[C, D], /) -> Signature[D]: ...
@overload
def chain(first: Signature[A], b: _Step[A, B], c: _Step[B, C], d: _Step[C, D], e: _Step[D, E], /) -> Signature[E]: ...
@overload
def chain(
    first: Signature[A], b: _Step[A, B], c: _Step[B, C], d: _Step[C, D], e: _Step[D, E], f: _Step[E, F], /
) -> Signature[F]: ...
@overload
def chain(
    first: Signature[A],
    b: _Step[A, B],
    c: _Step[B, C],
    d: _Step[C, D],
    e: _Step[D, E],
    f: _Step[E, F],
    g: _Step[F, G],
    /,
) -> Signature[G]: ...
@overload
def chain(
    first: Signature[A],
    b: _Step[A, B],
    c: _Step[B, C],
    d: _Step[C, D],
    e: _Step[D, E],
    f: _Step[E, F],
    g: _Step[F, G],
    h: _Step[G, H],
    /,
) -> Signature[H]: ...
def chain(first: Signature[Any], *steps: Any) -> Signature[Any]:
    """A call of the last task with the value of the one before it, and so on from ``first``.

    Types are checked for up to seven tasks; ``.then(task, …)`` adds any number, and further arguments.

    Raises:
        ConfigError: ``first`` is no call that has not been sent, or a step is no task.
    """
    if not isinstance(first, Signature):
        raise ConfigError(f"A chain starts with a call that has not been sent, as add.s(1, 2) makes it, not {first!r}.")
    call = first
    for step in steps:
        try:
            sign = step.s
        except AttributeError:
            raise no_task(step) from None
        call = sign(call.cast)
    return call
