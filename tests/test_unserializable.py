"""What cannot be serialized is named, with what to pass instead: as an argument, at any depth, and as a value."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest

from aiotask import App, SerializationError, Signature, current_job, group
from aiotask.wire.unserializable import blame_value

NOWHERE = "redis://127.0.0.1:1/0"


class Proxy:
    """As the local proxies of web frameworks: it is of another class than it says."""

    def __init__(self, behind: object) -> None:
        object.__setattr__(self, "behind", behind)

    def _get_current_object(self) -> object:
        return object.__getattribute__(self, "behind")

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(object.__getattribute__(self, "behind"))


class User:
    def __init__(self) -> None:
        self.name = "ada"


@dataclass
class Holder:
    inner: Any


class SaysNothing(Exception):
    """Has a method that pydantic's errors have, and tells nothing there."""

    def errors(self) -> list[Any]:
        return []


class Wants:
    def __reduce__(self) -> str:
        raise SaysNothing("not this one")


async def coroutine() -> None: ...


def items() -> Any:
    yield 1


def app_of(serializer: str = "cloudpickle") -> App:
    return App("blamed", url=NOWHERE, serializer=serializer)


def echo(x: Any) -> Any:
    return x


app = app_of()
task = app.task(echo)
handle = app.result("id-1")

THINGS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "handle": (lambda: handle, "AsyncResult", "Pass result.id, or await it first."),
    "blocking": (lambda: handle.blocking, "Blocking", "Pass result.id, or await it first."),
    "app": (lambda: app, "App", "Import it in the module of the task."),
    "generator": (items, "generator", "Convert it to a list first."),
    "future": (Future, "Future", "Call its result() first."),
    "proxy": (
        lambda: Proxy(User()),
        "Proxy",
        "It is a proxy for another object. Pass the object behind it: proxy._get_current_object().",
    ),
}


@pytest.mark.parametrize("kind", THINGS)
def test_an_argument_is_named_with_what_to_pass_instead(kind: str) -> None:
    make, name, hint = THINGS[kind]
    thing = make()
    with pytest.raises(SerializationError) as caught:
        task.apply_async(thing)
    text = f'Task "{task.name}": argument "x" ({name}) cannot be serialized with cloudpickle. {hint}'
    assert str(caught.value) == text
    article = "an" if name[0] in "AEIOU" else "a"
    for wrapped in ([thing], {"a": (1, {"b": thing})}, Holder([thing]), lambda: thing):
        with pytest.raises(SerializationError) as caught:
            task.apply_async(wrapped)
        assert str(caught.value).endswith(f"cannot be serialized with cloudpickle: it holds {article} {name}. {hint}")


@pytest.mark.parametrize("kind", ["handle", "app"])
def test_json_names_it_too(kind: str) -> None:
    make, name, hint = THINGS[kind]
    with pytest.raises(SerializationError, match=re.escape(hint)) as caught:
        app_of("json").task(echo).apply_async([make()])
    assert f"it holds a{'n' if name[0] == 'A' else ''} {name}" in str(caught.value)


def test_json_cannot_carry_a_signature_that_pickle_can() -> None:
    with pytest.raises(
        SerializationError, match=r"Pass its \.cast for its value, or its arguments, or send it with apply_async"
    ):
        app_of("json").task(echo).apply_async(task.s(1))


@pytest.mark.parametrize("wrap", [lambda call: [call], lambda call: {"a": (1, {"b": call})}], ids=["list", "deep"])
def test_json_names_a_signature_at_any_depth(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(SerializationError, match=r"\(it holds a Signature\)\. Pass its \.cast for its value"):
        app_of("json").task(echo).apply_async(wrap(task.s(1)))


def test_json_names_a_signature_in_a_value() -> None:
    serializer = app_of("json").serializer
    with pytest.raises(Exception, match="Signature") as caught:
        serializer.dump_value([task.s(1)], echo)
    text = str(blame_value(serializer, "shop:list", [task.s(1)], caught.value))
    assert text.startswith('Task "shop:list" returned a list that') and "it holds a Signature. Return its .cast" in text


BARE: dict[str, Callable[[Any], Any]] = {
    "alone": lambda call: call,
    "in a list": lambda call: [1, call],
    "in a tuple": lambda call: (1, call, 2),
    "in a dict": lambda call: {"a": [{"b": call}]},
    "as a key": lambda call: {call: 1},
    "in a set": lambda call: {call},
    "in a dataclass": lambda call: [Holder(call)],
    "a group": lambda call: group([call, call]),
    "beside a future value": lambda call: [task.s(2).cast, call],
}


@pytest.mark.parametrize("kind", BARE)
def test_a_call_without_cast_is_refused_where_it_is_sent(kind: str) -> None:
    call = task.s(1)
    wrapped = BARE[kind](call)
    for of in (task, app.named("else:where")):
        with pytest.raises(SerializationError, match=r"Pass its \.cast for the value"):
            of.apply_async(wrapped)
        with pytest.raises(SerializationError, match=r"Pass its \.cast for the value"):
            of.s(wrapped).apply_async()


def test_the_error_for_a_call_without_cast_names_the_argument_and_the_call() -> None:
    call = task.s(1)
    with pytest.raises(SerializationError) as caught:
        task.apply_async([call])
    assert str(caught.value) == (
        f'Task "{task.name}": argument "x" (list) holds the call {call.id} of "{task.name}", which has not run. Pass '
        "its .cast for the value that it will have. A task that is to send the call itself says so: its parameter is "
        "annotated as Signature."
    )
    with pytest.raises(SerializationError, match=r'argument "x" is the call'):
        task.map([1, call])
    with pytest.raises(SerializationError, match=r'argument "x" is the call'):
        task.s(task.s(2).cast).then(task).on_success(app.task(name="late")(takes_two), call).apply_async()


def takes_two(first: Any, x: Any) -> None: ...


@dataclass
class Plan:
    call: Signature[int]


def calls(*plans: Plan, call: Signature[int] | None = None, several: list[Signature[Any]] | None = None) -> None: ...


def test_a_task_may_say_that_it_takes_a_call() -> None:
    serializer, call = app.serializer, task.s(1)
    for args, kwargs in (((Plan(call),), {}), ((), {"call": call}), ((), {"several": [call]})):
        read_args, read_kwargs = serializer.load_call(serializer.dump_call((args, kwargs), calls), calls)
        (found,) = [*read_args, *read_kwargs.values()]
        found = found.call if isinstance(found, Plan) else found[0] if isinstance(found, list) else found
        assert (type(found), found.id) == (Signature, call.id)
    assert serializer.load_value(serializer.dump_value([call], None), None)[0].id == call.id
    # What a user's object, or a function, does with it is the user's business.
    assert serializer.dump_call(((lambda: call,), {}), echo)
    assert serializer.dump_call((("aiotask.signature", Holder), {}), echo)


async def test_a_coroutine_and_a_future_are_to_be_awaited() -> None:
    waiting = coroutine()
    future = asyncio.get_running_loop().create_future()
    for thing in (waiting, future, [waiting], {"a": future}):
        with pytest.raises(SerializationError, match=r"Await it first\.$"):
            task.apply_async(thing)
    waiting.close()


def test_objects_of_aiotask_that_can_be_sent_are_sent() -> None:
    serializer = app.serializer
    assert serializer.load_value(serializer.dump_value(current_job(), None), None).id == ""


def test_a_function_without_a_signature_has_numbered_arguments() -> None:
    largest = app_of().register_task(max, name="largest")
    with pytest.raises(SerializationError, match=r'Task "largest": argument "#2" \(lock\) cannot be serialized'):
        largest.apply_async(1, threading.Lock())


@pytest.mark.parametrize("serializer", ["cloudpickle", "json"])
def test_an_error_that_only_looks_like_one_of_pydantic_is_shown_as_it_is(serializer: str) -> None:
    with pytest.raises(SerializationError) as caught:
        app_of(serializer).task(echo).apply_async(Wants())
    assert "not this one" in str(caught.value) or "Wants" in str(caught.value)


def test_a_key_may_be_switched_off() -> None:
    keyed = app_of().task(key="k1")(echo)
    assert keyed.options(key=None).options(key="k2").options(key=None).definition.key is None
