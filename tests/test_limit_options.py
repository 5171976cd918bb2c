"""Limits as they are written: values, short forms, keys of calls, and the errors."""

from __future__ import annotations

from typing import Any

import pytest

from aiotask import App, ConfigError, Limit, Retry, current_job
from aiotask.brokers import technology
from aiotask.tasks.limits import Limited, check_rate, in_words, rate_text, specs_of

from .brokers_sqlite.technology import SQLITE


@pytest.fixture
def app(app_name: str) -> App:
    return App(app_name, url="memory://")


def limited(task: Any) -> Limited:
    found: Limited = task.definition.more["limit"]
    return found


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/s", 100.0), ("60/m", 1.0), ("1/10s", 0.1), ("7200/h", 2.0), (" 86400 / d ", 1.0), ("0.5/s", 0.5)],
)
def test_a_rate_is_read(text: str, rate: float) -> None:
    assert check_rate(text, "rate") == pytest.approx(rate)
    assert check_rate(rate_text(rate), "rate") == pytest.approx(rate)


@pytest.mark.parametrize("text", ["100/m", "2.5/s", "500/h", "1/h", "3/d", "20/s", "1/7d"])
def test_a_rate_is_shown_as_it_was_written(text: str) -> None:
    assert rate_text(check_rate(text, "rate")) == text


@pytest.mark.parametrize("text", ["", "100", "100/", "100/x", "0/s", "-1/s", "1/0s", "2000000/s", 5, True, "1/year"])
def test_what_is_no_rate_is_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"rate=.* is not a rate: give text such as \"100/s\""):
        Limit(rate=text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "allows everything"),
        ({"max_running": 0}, "max_running=0 is out of range"),
        ({"max_running": True}, "out of range"),
        ({"max_running": 1.5}, "out of range"),
        ({"max_running_each": 2}, "by=… is missing"),
        ({"rate_each": "1/s", "rate": "1/s"}, "by=… is missing"),
        ({"burst": 3, "max_running": 1}, "rate=… is missing"),
        ({"by": "n", "burst_each": 3}, "rate_each=… is missing"),
        ({"by": 7}, "by=7: give the name of a parameter"),
        ({"by": ""}, "give the name of a parameter"),
        ({"name": "a b", "max_running": 1}, "cannot name a limit"),
        ({"name": "a:b", "max_running": 1}, "cannot name a limit"),
        ({"name": "t-0123456789ab", "max_running": 1}, "Give another one"),
    ],
)
def test_a_limit_that_says_nothing_clear_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Limit(**options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"limit": 5}, "limit=5: give a Limit"),
        ({"limit": Limit(max_running=1), "rate": "1/s"}, r"rate= beside limit=…: write them in Limit\(…\)"),
        ({"max_running": 0}, "max_running=0 is out of range"),
        ({"rate": "often"}, "rate='often' is not a rate"),
        ({"limit": Limit(by="tennant")}, 'names "tennant", which is no parameter of the function. It has tenant, n.'),
        ({"limit": Limit(by="{tenant.id}")}, "braces may hold only the name of a parameter"),
    ],
)
def test_an_option_that_is_wrong_is_refused_with_the_task(app: App, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=rf'Task "shop:render": .*{text}'):

        @app.task(name="shop:render", **options)
        def render(tenant: str, n: int = 0) -> None: ...


def test_a_limit_is_no_option_of_a_call(app: App) -> None:
    @app.task
    def render() -> None: ...

    for options in ({"limit": Limit(max_running=1)}, {"max_running": 1}, {"rate": "1/s"}):
        with pytest.raises(ConfigError, match="is an option of a task, not of a single call"):
            render.options(**options)


def test_the_short_forms_are_a_limit_of_the_task(app: App) -> None:
    @app.task(name="shop:render", max_running=3, rate="10/s")
    def render() -> None: ...

    @app.task(name="shop:other", limit=Limit(max_running=3, rate="10/s"))
    def other() -> None: ...

    spec = limited(render).spec
    assert (spec.max_running, spec.rate, spec.task) == (3, 10.0, "shop:render")
    assert spec.name.startswith("t-") and len(spec.name) == 14
    assert limited(other).spec.name != spec.name
    assert limited(render).text((), {}) == f"{spec.name}:"
    # A copy with other options of its calls has the same limit.
    assert limited(render.options(priority=1)) is limited(render)


def test_a_named_limit_is_one_for_several_tasks(app: App) -> None:
    stripe = Limit("stripe", rate="100/s")

    @app.task(limit=stripe)
    def charge() -> None: ...

    @app.task(limit=stripe)
    def refund() -> None: ...

    assert [spec.name for spec in specs_of(app.registry)] == ["stripe"]

    @app.task(limit=Limit("stripe", rate="50/s"))
    def check() -> None: ...

    with pytest.raises(ConfigError, match=r'limit "stripe" has other numbers in task .*50/s.* than in task .*100/s'):
        specs_of(app.registry)


@pytest.mark.parametrize(
    ("by", "args", "kwargs", "key"),
    [
        ("tenant", ("acme",), {}, "acme"),
        ("tenant", (), {"tenant": "acme"}, "acme"),
        ("tenant", ("a:b|c",), {}, "a:b|c"),
        ("{tenant}-{n}", ("acme",), {}, "acme-1"),
        (lambda tenant, n: f"{n}{tenant}", ("acme", 5), {}, "5acme"),
        (lambda tenant, **_: tenant.upper(), ("acme", 5), {}, "ACME"),
        (lambda tenant, n: None, ("acme", 5), {}, ""),
        ("n", ("acme", 7), {}, "7"),
    ],
)
def test_the_key_of_a_call(app: App, by: Any, args: Any, kwargs: Any, key: str) -> None:
    @app.task(limit=Limit("api", by=by))
    def render(tenant: str, n: int = 1) -> None: ...

    assert limited(render).text(args, kwargs) == f"api:{key}"


@pytest.mark.parametrize(
    ("tenant", "text"),
    [("x" * 201, "201 characters"), (object(), "no text that is the same everywhere"), ("\ud800", "valid Unicode")],
)
def test_a_key_that_cannot_be_one_is_refused_at_the_call(app: App, tenant: Any, text: str) -> None:
    @app.task(limit=Limit(by="tenant"))
    def render(tenant: Any) -> None: ...

    with pytest.raises(ConfigError, match=text):
        render.apply_async(tenant)


def test_the_key_of_a_call_cannot_be_a_value_that_is_not_there_yet(app: App) -> None:
    @app.task
    def name() -> str:
        return "acme"

    @app.task(limit=Limit(by="tenant"))
    def render(tenant: str, n: str) -> None: ...

    with pytest.raises(ConfigError, match=r"one of them is the \.cast of another call"):
        render.s(name.s().cast, "x").apply_async()


def test_a_chunk_has_one_key(app: App) -> None:
    @app.task(limit=Limit("api", by="{tenant}"))
    def render(tenant: str) -> None: ...

    assert limited(render).text((["a", "a"],), {}, is_chunk=True) == "api:a"
    with pytest.raises(ConfigError, match="2 keys of its limit"):
        render.map(["a", "b"], chunk=2)


def test_a_limit_in_words() -> None:
    limit = Limit("api", by="tenant", max_running=50, max_running_each=2, rate_each="10/s", burst_each=20)
    assert in_words(limit.spec) == "50 at once, 2 at once for each key, 10/s for each key, burst 20"
    assert repr(limit) == f"<Limit api: {in_words(limit.spec)}>"
    assert repr(Limit(by="tenant")) == "<Limit of a task: keys take turns>"
    assert limit == Limit("api", by="tenant", max_running=50, max_running_each=2, rate_each="10/s", burst_each=20)
    assert limit != Limit("api", max_running=50) and len({limit, Limit("api", max_running=50)}) == 2


def test_a_retry_may_hold_the_limit() -> None:
    assert Retry("429", delay=30, limit=True).limit
    assert not Retry().limit
    assert current_job().id == ""


def test_a_broker_without_limits_refuses_the_task(app_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(technology._by_scheme, "unlimited", SQLITE)
    app = App(app_name, url="unlimited:///tmp/never-opened.db", secret="x" * 32)
    with pytest.raises(ConfigError, match=r'The limit of task .*render" needs a broker with the feature "limits"'):

        @app.task(max_running=1)
        def render() -> None: ...
