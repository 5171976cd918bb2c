"""Signature: a call that has not been sent. Its ``.cast`` in the arguments of another call makes the two a graph."""

from __future__ import annotations

from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from .errors import ConfigError
from .ref import Ref
from .results.result import AsyncResult

__all__ = ["Sending", "Signature", "no_task"]

A = TypeVar("A")
T = TypeVar("T")
Q = ParamSpec("Q")
P_contra = ParamSpec("P_contra")
R_co = TypeVar("R_co", covariant=True)


class Sending(Protocol):
    """How a signature is sent: by its app, as a call of this task."""

    #: The app (a ``tasks.Sender``) and the definition of the task; both are defined on a floor above this one.
    app: Any
    definition: Any

    def __call__(self, call: Signature[Any], /) -> AsyncResult[Any]: ...


class _Callee(Protocol[P_contra, R_co]):
    """A task that may be called with these arguments."""

    def s(self, /, *args: P_contra.args, **kwargs: P_contra.kwargs) -> Signature[R_co]: ...


def no_task(given: object) -> ConfigError:
    """The error for a call, or anything else, in the place of the task that is to get the value."""
    return ConfigError(
        f"What gets the value of a call has to be a task, not {given!r}. The value is its first argument; give the "
        "others behind the task, as in add.s(1, 2).then(mul, 3)."
    )


class Signature(Generic[R_co]):
    """A call with its arguments and its job id, to be sent later, for example by a task that takes it as an argument.

    The id is fixed when the call is created, so sending the call twice creates one job. The future value of the call,
    ``.cast``, may be passed on as an argument of other calls: they are accepted together with it, and run after it.
    """

    #: What to do instead of writing a Signature as JSON, for the error.
    INSTEAD_IN_JSON = "{verb} its .cast for its value, or its arguments, or send it with apply_async() first"

    __slots__ = ("_follow_ups", "_fresh", "_send", "_sent", "args", "id", "is_chunk", "kwargs", "task")

    def __init__(self, task: str, args: tuple[Any, ...], kwargs: dict[str, Any], id: str, send: Sending) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.id = id
        self._send = send
        #: Whether the id was drawn for this very object and not used since: no broker can know it.
        self._fresh = False
        #: Id of the graph with which the call was sent, its own id for a plain job; empty: it was not sent.
        self._sent = ""
        #: Conditions (see ``brokers.graphs.Condition``) and calls that run after this one.
        self._follow_ups: list[tuple[str, Signature[Any]]] = []
        #: Whether the one argument is a list of items, for each of which the function is called.
        self.is_chunk = False

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        state: dict[str, Any] = {name: getattr(self, name) for name in ("_send", "args", "id", "kwargs", "task")}
        # The common signature is written as by the release before.
        if self._follow_ups:
            # Without their first argument, the future value of this very call.
            state["_follow_ups"] = [
                (condition, call.task, call.args[1:], call.kwargs, call.id, call._send)
                for condition, call in self._follow_ups
            ]
        if self.is_chunk:
            state["is_chunk"] = True
        return None, state

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        self._fresh, self._sent, self._follow_ups, self.is_chunk = False, "", [], False
        slots = dict(state[1])
        for condition, task, rest, kwargs, id, send in slots.pop("_follow_ups", ()):
            first = Ref(self, settled=condition == "e")
            self._follow_ups.append((condition, Signature(task, (first, *rest), kwargs, id, send)))
        for name, value in slots.items():
            setattr(self, name, value)

    # ---- the future value

    @property
    def cast(self) -> R_co:
        """The future value of the call, as an argument of another call, also inside lists, dicts and other objects.

        Any other use of it raises Unresolved, since the value is not there yet.
        """
        return cast("R_co", Ref(self))

    @property
    def settled(self) -> R_co | Exception:
        """The future value, or the error with which the call ends: the call that takes it runs in any case."""
        return cast("R_co | Exception", Ref(self, settled=True))

    def then(
        self: Signature[A], task: _Callee[Concatenate[A, Q], T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[T]:
        """A call of ``task`` with the value of this call as its first argument.

        Raises:
            ConfigError: ``task`` is no task.
        """
        try:
            sign = task.s
        except AttributeError:
            raise no_task(task) from None
        return sign(self.cast, *args, **kwargs)

    def on_success(
        self: Signature[A], task: _Callee[Concatenate[A, Q], Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[A]:
        """Run ``task`` with the value as its first argument if this call ends well; return this very signature.

        What the caller awaits does not change: the follow-up is a job of its own, sent with this call.

        Raises:
            ConfigError: this call was sent already, or ``task`` is no task.
        """
        try:
            sign = task.s
        except AttributeError:
            raise no_task(task) from None
        self._follow("s", sign(self.cast, *args, **kwargs))
        return self

    def on_error(self, task: _Callee[Concatenate[Exception, Q], Any], /, *args: Q.args, **kwargs: Q.kwargs) -> Self:
        """Run ``task`` with the exception as its first argument if this call fails or expires, after its last retry;
        not if it is cancelled. Return this very signature.

        Raises:
            ConfigError: this call was sent already, or ``task`` is no task.
        """
        try:
            sign = task.s
        except AttributeError:
            raise no_task(task) from None
        self._follow("e", sign(cast("Exception", self.settled), *args, **kwargs))
        return self

    def _follow(self, condition: str, call: Signature[Any]) -> None:
        if self._sent:
            raise ConfigError(
                f'The call {self.id} of "{self.task}" was sent already, so nothing can follow it any more. Add '
                "on_success() and on_error() before apply_async()."
            )
        self._follow_ups.append((condition, call))

    # ---- sending

    def apply_async(self) -> AsyncResult[R_co]:
        """Send the call and every call that it depends on, all of them or none; return a handle on its job.

        Raises:
            SerializationError: an argument cannot be serialized; nothing was sent.
            ConfigError: calls depend on each other in a circle, one of them was sent already, or an inner one has an
                id or a key of its own; nothing was sent.
        """
        return self._send(self)

    def __repr__(self) -> str:
        return f"<Signature {self.task} {self.id}>"
