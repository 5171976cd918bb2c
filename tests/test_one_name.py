"""Two functions of one name: a function that is loaded again takes its own place, another one is refused."""

from __future__ import annotations

import code
import functools
import importlib
import linecache
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, ConfigError

Make = Callable[[str, str], Any]


@pytest.fixture
def app() -> App:
    return App("one-name", url="memory://")


@pytest.fixture
def module(tmp_path: Path, app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Writes a module and imports it, or loads it again; it finds the app as ``app``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    shared = tmp_path / "shared_app.py"
    shared.write_text("")
    importlib.import_module("shared_app").app = app  # type: ignore[attr-defined]

    def load(name: str, text: str) -> Any:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"import functools\nfrom shared_app import app\n{text}")
        importlib.invalidate_caches()
        linecache.checkcache()
        loaded = sys.modules.get(name)
        return importlib.import_module(name) if loaded is None else importlib.reload(loaded)

    yield load
    for name in set(sys.modules) - known:
        del sys.modules[name]


LOGGED = "def logged(function):\n    def wrapper(*args):\n        return function(*args)\n    return wrapper\n"
TIMES = (
    "def times(n):\n    def decorate(function):\n        @functools.wraps(function)\n"
    "        def wrapper(*args):\n            return n * function(*args)\n        return wrapper\n    return decorate\n"
)
MAKE = "def make(n):\n    def inner(x):\n        return n * x\n    return inner\n"
FETCH = (
    "class Fetch:\n    def __init__(self, n):\n        self.n = n\n    def __call__(self, x):\n        return self.n\n"
)

TWO: dict[str, tuple[str, str]] = {
    "a decorator without wraps": (
        LOGGED + "@app.task\n@logged\ndef one(x): ...\n@app.task\n@logged\ndef two(x): ...\n",
        "the decorator `logged` calls whatever it decorates `wrapper`. Put @functools.wraps(function) above",
    ),
    "a factory": (MAKE + "app.task(make(2))\napp.task(make(3))\n", "`make` made it more than once, at "),
    "a factory with a function": (
        MAKE + "app.task(make(lambda: 2))\napp.task(make(lambda: 3))\n",
        "would stand for two functions",
    ),
    "a loop": (
        "for n in (2, 3):\n    @app.task\n    def f(x, n=n): return n * x\n",
        "it was defined more than once, for example in a loop",
    ),
    "a loop with a keyword": (
        "for n in (2, 3):\n    @app.task\n    def f(x, *, n=n): return n * x\n",
        "for example in a loop",
    ),
    "a loop under a decorator": (
        TIMES + "for n in (2, 3):\n    @app.task\n    @times(n)\n    def f(x): return x\n",
        "at ",
    ),
    "one function under two": (
        TIMES + "def f(x): return x\napp.task(times(2)(f))\napp.task(times(3)(f))\n",
        "would stand for two functions",
    ),
    "a definition further down": (
        "@app.task\ndef f(x): return 1\n@app.task\ndef f(x): return 2\n",
        "Rename one of them, or give it another name",
    ),
    "code made of text": (
        "for n in (2, 3):\n    exec(f'def f(x): return {n}')\n    app.task(f)\n",
        "would stand for two functions",
    ),
    "code made of text in namespaces": (
        "for n in (2, 3):\n    space = {'n': n, '__name__': 'shop'}\n    exec('def f(x): return n', space)\n"
        "    app.task(space['f'])\n",
        "would stand for two functions",
    ),
    "files that say one module": (
        "for n in (2, 3):\n    space = {'__name__': 'plugins'}\n"
        "    exec(compile(f'def f(x): return {n}', f'/srv/plugin_{n}.py', 'exec'), space)\n    app.task(space['f'])\n",
        "/srv/plugin_2.py:1 and again at /srv/plugin_3.py:1",
    ),
    "a decorator without wraps over lambdas": (
        LOGGED + "app.task(logged(lambda x: 2))\napp.task(logged(lambda x: 3))\n",
        "the decorator `logged` calls whatever it decorates `wrapper`",
    ),
    "lambdas": ("app.task(lambda x: 2)\napp.task(lambda x: 3)\n", "would stand for two functions"),
    "lambdas in one line": (
        "tasks = [app.task(each) for each in (lambda x: 2, lambda x: 3)]\n",
        "would stand for two functions",
    ),
    "lambdas with one name": (
        "app.register_task(lambda x: 2, name='f')\napp.register_task(lambda x: 3, name='f')\n",
        'The name "f" would stand for two functions',
    ),
    "partials": (
        "for n in (2, 3): app.register_task(functools.partial(max, n), name='f')\n",
        'The name "f" would stand for two functions',
    ),
    "objects": (FETCH + "for n in (2, 3): app.register_task(Fetch(n), name='f')\n", "would stand for two functions"),
    "an alias": (
        "@app.task(aliases=('f',))\ndef g(x): ...\n@app.task(name='f')\ndef h(x): ...\n",
        'The name "f" is taken by',
    ),
    "caches": (
        MAKE + "app.task(functools.lru_cache(make(2)))\napp.task(functools.lru_cache(make(3)))\n",
        "would stand for two functions",
    ),
}


@pytest.mark.parametrize("case", TWO)
def test_two_different_functions_of_one_name_are_refused_with_the_reason(case: str, module: Make) -> None:
    text, reason = TWO[case]

    with pytest.raises(ConfigError) as caught:
        module("shop", text)

    assert reason in str(caught.value)
    assert "name" in str(caught.value)


AGAIN: dict[str, str] = {
    "a function": "@app.task\ndef f(x): return {n} * x\n",
    "further down": "{lines}\n@app.task\ndef f(x): return {n} * x\n",
    "a decorator": TIMES + "@app.task\n@times({n})\ndef f(x): return x\n",
    "a decorator without wraps": LOGGED + "@app.task\n@logged\ndef f(x): return {n} * x\n",
    "a factory": MAKE + "f = app.task(make({n}))\n",
    "a factory of another module": "from tools import make\nf = app.task(make({n}))\n",
    "a decorator of another module": "from tools import logged\n@app.task\n@logged\ndef f(x): return {n} * x\n",
    "a lambda": "f = app.register_task(lambda x: {n} * x, name='f')\n",
    "a partial": "def g(n, x): return n * x\nf = app.register_task(functools.partial(g, {n}), name='f')\n",
    "an object": "class F:\n    def __call__(self, x): return {n} * x\nf = app.register_task(F(), name='f')\n",
    "a cache": "@app.task\n@functools.lru_cache\ndef f(x): return {n} * x\n",
    "a single dispatch": "@app.task\n@functools.singledispatch\ndef f(x): return {n} * x\n",
}


@pytest.mark.parametrize("case", AGAIN)
def test_a_module_that_is_loaded_again_replaces_its_tasks(case: str, app: App, module: Make) -> None:
    module("tools", MAKE + LOGGED)
    for n in (2, 3):
        loaded = module("shop", AGAIN[case].format(n=n, lines="\n" * n))
        assert loaded.f(10) == 10 * n
        (task,) = app.registry
        assert task.function(10) == 10 * n


@pytest.mark.parametrize("case", AGAIN)
def test_a_module_that_is_imported_anew_replaces_its_tasks(case: str, app: App, module: Make) -> None:
    module("tools", MAKE + LOGGED)
    for n in (2, 3):
        sys.modules.pop("shop", None)
        module("shop", AGAIN[case].format(n=n, lines="\n" * n))
        (task,) = app.registry
        assert task.function(10) == 10 * n


@pytest.mark.parametrize("case", AGAIN)
def test_a_script_that_is_run_again_replaces_its_tasks(case: str, app: App, module: Make, tmp_path: Path) -> None:
    module("tools", MAKE + LOGGED)
    for n in (2, 3):
        (tmp_path / "shop.py").write_text(
            "import functools\nfrom shared_app import app\n" + AGAIN[case].format(n=n, lines="\n" * n)
        )
        runpy.run_path(str(tmp_path / "shop.py"))
        (task,) = app.registry
        assert task.function(10) == 10 * n


@pytest.mark.parametrize("case", AGAIN)
def test_a_redefinition_at_a_prompt_replaces_the_task(case: str, app: App, module: Make) -> None:
    module("tools", MAKE + LOGGED)
    console = code.InteractiveConsole({"__name__": "__main__", "app": app, "functools": functools})
    for n in (2, 3):
        console.runsource(AGAIN[case].format(n=n, lines="\n" * n), symbol="exec")
        (task,) = app.registry
        assert task.function(10) == 10 * n


@pytest.mark.parametrize("case", AGAIN)
def test_a_cell_that_is_run_again_replaces_its_task(case: str, app: App, module: Make) -> None:
    module("tools", MAKE + LOGGED)
    namespace = {"__name__": "__main__", "app": app, "functools": functools}
    for n in (2, 3):
        source = AGAIN[case].format(n=n, lines="\n" * n)
        exec(compile(source, f"/tmp/ipykernel_{n}/{hash(source)}.py", "exec"), namespace)
        (task,) = app.registry
        assert task.function(10) == 10 * n


def test_a_prompt_does_not_take_two_of_one_statement_for_a_redefinition(app: App) -> None:
    console = code.InteractiveConsole({"__name__": "__main__", "app": app})

    with pytest.raises(ConfigError, match="would stand for two functions"):
        exec(
            code.compile_command("for n in (2, 3):\n    app.task(lambda x: n)\n    x = 1\n\n", "<stdin>"),
            console.locals,
        )
        exec(compile("for n in (2, 3):\n    @app.task\n    def f(x, n=n): ...\n", "<stdin>", "exec"), console.locals)


def test_a_function_may_be_registered_twice_and_by_several_names(app: App) -> None:
    def add(x: int) -> int:
        return x

    first, again = app.task(add), app.register_task(add, queue="other")
    other = app.register_task(add, name="add")

    assert first.name == again.name
    assert len(app.registry) == 2
    assert other.name == "add"


def test_what_a_factory_makes_twice_alike_is_one_task(app: App, module: Make) -> None:
    module("shop", MAKE + "app.task(make(2))\napp.task(make(2))\n")

    assert len(app.registry) == 1


def test_one_file_that_is_imported_under_two_names_is_named_with_both(
    module: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module("lib.jobs", "@app.task(name='mail')\ndef mail(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))

    with pytest.raises(ConfigError, match=r'jobs\.py" was imported twice, as "lib\.jobs" and as "jobs", and each'):
        importlib.import_module("jobs")
