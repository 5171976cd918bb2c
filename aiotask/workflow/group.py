"""Groups: calls that are sent together, and whose values are a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast, overload

from ..context import entered
from ..errors import ConfigError
from ..job import ids
from ..results.group import GroupResult
from ..signature import Signature

__all__ = ["Group", "group"]

T = TypeVar("T")
Q = ParamSpec("Q")
P_contra = ParamSpec("P_contra")
R_co = TypeVar("R_co", covariant=True)


class _Callee(Protocol[P_contra, R_co]):
    def s(self, /, *args: P_contra.args, **kwargs: P_contra.kwargs) -> Signature[R_co]: ...


class Group(Signature[list[T]]):
    """Calls that are sent together: all of them are accepted, or none. Its value is the list of theirs, in order.

    A group is no job: it has an id of its own, that of the graph. ``.cast`` is a list of the members' future values,
    so ``total.s(group(…).cast)`` and ``group(…).then(total)`` call a task with all of them.
    """

    __slots__ = ("members",)

    def __init__(self, members: Iterable[Signature[T]], id: str = "") -> None:
        self.members: Sequence[Signature[T]] = tuple(members)
        for member in self.members:
            if not isinstance(member, Signature):
                raise ConfigError(
                    f"A group takes calls that have not been sent, as add.s(1, 2) makes them, not {member!r}."
                )
        fresh = "" if id else _child_id(self.members)
        super().__init__("group", (), {}, id or fresh or ids.next(), cast("Any", _send_group))
        self._fresh = not id and not fresh

    def __reduce__(self) -> tuple[Any, ...]:
        return Group, (self.members, self.id)

    @property
    def cast(self) -> list[T]:
        """The future values of the members, in a list: it has a length and can be indexed, its items can only be
        passed on."""
        return [member.cast for member in self.members]

    @property
    def settled(self) -> list[T] | Exception:
        """The future values or errors of the members, in a list."""
        return cast("list[T]", [member.settled for member in self.members])

    def on_success(  # type: ignore[override]
        self, task: _Callee[Concatenate[T, Q], Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Self:
        """Run ``task`` for each member that ends well, with its value as the first argument; return this group."""
        for member in self.members:
            member.on_success(cast("Any", task), *args, **kwargs)
        return self

    def on_error(self, task: _Callee[Concatenate[Exception, Q], Any], /, *args: Q.args, **kwargs: Q.kwargs) -> Self:
        """Run ``task`` for each member that fails or expires, with the exception as the first argument; return this
        group."""
        for member in self.members:
            member.on_error(task, *args, **kwargs)
        return self

    def apply_async(self) -> GroupResult[T]:
        """Send the calls and what they depend on, all of them or none; return the handle on their jobs.

        Raises:
            SerializationError: an argument cannot be serialized; nothing was sent.
            ConfigError: as ``Signature.apply_async``.
        """
        return _send_group(self)

    def __repr__(self) -> str:
        return f"<Group {self.id} of {len(self.members):,}>"


@overload
def group(calls: Iterable[Signature[T]], /) -> Group[T]: ...
@overload
def group(*calls: Signature[T]) -> Group[T]: ...
def group(*calls: Any) -> Group[Any]:
    """Calls that are sent together and run side by side: ``group(add.s(1, 2), add.s(3, 4))``, or of an iterable.

    ``await group(…).apply_async()`` returns the list of their values.

    Raises:
        ConfigError: a member is no call that has not been sent.
    """
    if len(calls) == 1 and not isinstance(calls[0], Signature):
        if not isinstance(calls[0], Iterable):
            raise ConfigError(
                f"group() takes calls, as add.s(1, 2) makes them, or an iterable of calls, not {calls[0]!r}."
            )
        return Group(calls[0])
    return Group(calls)


def leaves(members: Iterable[Signature[Any]]) -> list[Signature[Any]]:
    """The calls of a group, those of groups in it among them."""
    found: list[Signature[Any]] = []
    for member in members:
        found += leaves(member.members) if isinstance(member, Group) else [member]
    return found


def _child_id(members: Sequence[Signature[Any]]) -> str:
    """The id of a group that a job makes, the same each time that attempt of the job runs; empty outside a job."""
    parent = entered.get()
    if not parent.is_sending:
        return ""
    return parent.child_id(("group",), "\0".join(member.id for member in members).encode())


def _send_group(group: Group[T]) -> GroupResult[T]:
    calls = leaves(group.members)
    if not calls:
        return GroupResult(group.id, None, [])
    result: GroupResult[T] = calls[0]._send.app.send_group(group, calls)
    return result
