"""Apps, options, tasks and arguments that are wrong are refused where they are written."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

import aiotask
from aiotask import App, ConfigError, SerializationError

from .jobs import NOWHERE, add


class Shop:
    def method(self) -> None: ...

    @classmethod
    def of_the_class(cls) -> None: ...

    @staticmethod
    def static() -> None: ...


def _app() -> App:
    return App("refused", url=NOWHERE)


APPS: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown option": (lambda: App("x", serialiser="json"), 'no option "serialiser". Did you mean "serializer"?'),  # type: ignore[arg-type]
    "far off option": (lambda: App("x", retires=3), 'no option "retires". Options: name, url'),  # type: ignore[arg-type]
    "name": (lambda: App("a b"), "'a b' cannot name an app: use"),
    "result_ttl": (lambda: App("x", result_ttl="1h"), "result_ttl='1h' is not a duration: give seconds"),  # type: ignore[arg-type]
    "serializer": (lambda: App("x", serializer="xml"), "serializer='xml' is not a serializer. Use"),
    "url": (lambda: App("x", url=3), "url=3 is not text. Use redis://"),  # type: ignore[arg-type]
    "secret": (lambda: App("x", url=NOWHERE, secret=b"key").secrets, "secret must be text, not of type bytes"),  # type: ignore[arg-type]
    "blank secret": (lambda: App("x", url=NOWHERE, secret=" , ").secrets, "only blanks and commas"),
    "include": (lambda: App("x", include=(3,)), "include=(3,): give a list of module names"),  # type: ignore[arg-type]
    "job id": (lambda: _app().result(""), "'' is not a job ID. Give the text of `result.id`."),
}


@pytest.mark.parametrize("case", APPS)
def test_a_wrong_setting_of_an_app_is_refused_with_the_value_and_the_next_step(case: str) -> None:
    make, message = APPS[case]
    with pytest.raises(ConfigError, match=re.escape(message)):
        make()


def test_one_module_to_include_may_be_named_without_a_tuple() -> None:
    assert App("x", include="shop.tasks").include == ("shop.tasks",)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"retires": 3}, 'Did you mean "retries"?'),
    ({"priority": 12}, f'Task "{add.__module__}:add": priority=12 is out of range: give a whole number from 0 to 9.'),
    ({"priority": "high"}, "priority='high' is out of range"),
    ({"retries": -1}, "retries=-1 is out of range"),
    ({"retries": 1.5}, "retries=1.5 is out of range"),
    ({"delay": -1}, "delay=-1 is not a duration: give seconds (0 to 100 years) or a timedelta"),
    ({"delay": timedelta(days=-1)}, "is not a duration"),
    ({"delay": 1e300}, "delay=1e+300 is not a duration"),
    ({"delay": 1_800_000_000}, "is a duration of more than 31 years. For a moment, give eta=…"),
    ({"timeout": "x"}, "timeout='x' is not a duration"),
    ({"timeout": float("nan")}, "timeout=nan is not a duration"),
    ({"eta": datetime(2030, 1, 1)}, "has no time zone. Use datetime.now(timezone.utc)"),
    ({"eta": "tomorrow"}, "eta='tomorrow' is not a moment: give an aware datetime or Unix seconds"),
    ({"eta": float("inf")}, "eta=inf is not a moment"),
    ({"queue": "a b"}, "'a b' cannot name a queue: use 1 to 100 of the characters"),
    ({"id": "a b"}, "id='a b': give text of 1 to 200 characters without spaces"),
    ({"id": "half\ud800"}, "id='half\\ud800': give text of"),
    ({"key": 3}, "key=3: give text of"),
]
AT_HOME: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name='' cannot name a task: give printable text"),
    ({"name": "a\nb"}, "name='a\\nb' cannot name a task"),
    ({"retry_on": "ValueError"}, "retry_on='ValueError': give exception classes"),
    ({"retry_on": KeyboardInterrupt}, "give exception classes"),
    ({"backoff": 3}, "backoff=3: give a function"),
    ({"aliases": 3}, "aliases=3: give a tuple of names"),
    ({"ignore_result": "yes"}, "ignore_result='yes': give True or False"),
    (
        {"memory": "512 potatoes"},
        "memory='512 potatoes' is not a size of at least 1 MB: give bytes, or a number with a unit",
    ),
    ({"memory": 512}, "memory=512 is not a size of at least 1 MB"),
    ({"cpu": 0}, "cpu=0 leaves the job no time. Give seconds, or None for no limit"),
    ({"cpu": "x"}, "cpu='x' is not a duration"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=lambda case: str(case)[:40])
def test_a_wrong_option_of_a_task_is_refused_wherever_it_is_given(options: dict[str, Any], message: str) -> None:
    app = _app()
    task = app.task(add)

    for give in (
        lambda: task.options(**options),
        lambda: app.task(**options)(add),
        lambda: app.register_task(add, **options),
        lambda: aiotask.task(**options)(add),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            give()
    assert len(app.registry) == 1


@pytest.mark.parametrize(("options", "message"), AT_HOME, ids=lambda case: str(case)[:40])
def test_a_wrong_option_at_registration_is_refused(options: dict[str, Any], message: str) -> None:
    app = _app()
    with pytest.raises(ConfigError, match=re.escape(message)):
        app.task(**options)(add)
    assert not len(app.registry)


NO_TASKS: dict[str, tuple[Any, str]] = {
    "method": (Shop.method, '"Shop.method" is a method, and a worker would have no object'),
    "bound method": (Shop().method, '"Shop.method" is a method'),
    "class method": (Shop.__dict__["of_the_class"], '"Shop.of_the_class" is a method'),
    "static method": (Shop.__dict__["static"], '"Shop.static" is defined inside a class, and a task is a'),
    "class": (Shop, '"Shop" is a class; a task is a function'),
    "text": ("mail", "'mail' is not callable. Write @app.task"),
    "partial": (functools.partial(add, 1), "has no name. Give it one"),
}


@pytest.mark.parametrize("case", NO_TASKS)
def test_what_cannot_be_a_task_is_refused_with_the_reason(case: str) -> None:
    thing, message = NO_TASKS[case]
    with pytest.raises(ConfigError, match=re.escape(message)):
        _app().task(thing)


def test_a_name_that_is_taken_names_both_places() -> None:
    app = _app()
    task = app.task(add)
    with pytest.raises(ConfigError, match=r'The name ".+:add" is taken by .+\.py:\d+; .+\.py:\d+ cannot have it too'):
        app.register_task(_deep, name=task.name)
    with pytest.raises(ConfigError, match=f'"{task.name}" is a task already'):
        app.task(task)


CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "too few": (lambda task: task.apply_async(), "missing 1 required positional argument: 'a'"),
    "too many": (lambda task: task.apply_async(1, 2, 3), "takes from 1 to 2 positional arguments but 3 were given"),
    "unknown": (lambda task: task.apply_async(1, c=3), "unexpected keyword argument 'c'"),
    "celery": (
        lambda task: task.apply_async(args=[1], kwargs={}),
        "Pass arguments as you would to the function itself",
    ),
    "celery option": (lambda task: task.apply_async(1, countdown=3), "goes into options: task.options("),
    "signature": (lambda task: task.s(1, 2, 3), "takes from 1 to 2 positional arguments"),
}


@pytest.mark.parametrize("case", CALLS)
def test_wrong_arguments_raise_before_anything_is_sent(case: str) -> None:
    call, message = CALLS[case]
    app = _app()
    with pytest.raises(TypeError, match=re.escape(message)) as raised:
        call(app.task(add))
    assert f'Task "{add.__module__}:add"' in str(raised.value)
    assert app._client is None, "nobody has even looked for the broker"


def test_arguments_in_a_tuple_get_the_hint_where_they_do_not_fit() -> None:
    def both(a: int, b: int) -> int:
        return a + b

    with pytest.raises(TypeError, match="Pass arguments as you would to the function itself"):
        _app().task(both).apply_async((1, 2))


@pytest.mark.parametrize("verb", ["delay", "send", "enqueue"])
def test_what_sending_is_called_elsewhere_gets_a_hint(verb: str) -> None:
    with pytest.raises(AttributeError, match=rf'no attribute "{verb}"\. To send the call: \.apply_async\('):
        getattr(_app().task(add), verb)


class NoReduce:
    def __reduce__(self) -> str:
        raise RuntimeError("not this one")


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize("value", [threading.Lock(), NoReduce(), [NoReduce()], _deep()], ids=lambda v: type(v).__name__)
def test_an_argument_that_cannot_travel_is_named_with_its_task(value: Any) -> None:
    app = _app()
    with pytest.raises(SerializationError) as raised:
        app.task(add).apply_async(1, b=value)
    text = str(raised.value)
    assert text.startswith(
        f'Task "{add.__module__}:add": argument "b" ({type(value).__name__}) cannot be serialized with'
    )
    assert ".." not in text and "Pass plain data" in text
    assert app._client is None
