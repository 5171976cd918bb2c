"""What users do wrong, and what the world does to them: each ends with one clear error, and nothing else breaks."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import aiotask
from aiotask import (
    App,
    BrokerError,
    ConfigError,
    JobCancelled,
    JobLost,
    RemoteError,
    ResultExpired,
    SealError,
    SerializationError,
    UnknownTask,
    WorkerLost,
)
from aiotask.broker import Push
from aiotask.brokers.shown import hide_password
from aiotask.embedded.server import status, stop
from aiotask.job import WIRE_VERSION, Job, encode_job, ids
from aiotask.result import AsyncResult
from aiotask.wire.seal import Sealer
from aiotask_cli.main import app as command_line

from .acceptance.stage import Stage, prepared
from .helpers import wait_until, wait_until_async
from .server import PrivateServer
from .workers import ROOT, Supervisor, Workers, running_workers

#: Nobody listens there, and only this machine could.
NOWHERE = "redis://127.0.0.1:1"
#: An address for documentation, which nobody has: nothing may ever be sent to it.
AFAR = "redis://user:hunter2@192.0.2.1:6379/0"


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


# ---- apps, options, tasks, arguments: refused where they are written


def add(a: int, b: int = 1) -> int:
    return a + b


class Shop:
    def method(self) -> None: ...

    @classmethod
    def of_the_class(cls) -> None: ...

    @staticmethod
    def static() -> None: ...


def generate() -> Iterator[int]:
    yield 1


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
    ({"priority": 12}, f'Task "{__name__}:add": priority=12 is out of range: give a whole number from 0 to 9.'),
    ({"priority": "high"}, "priority='high' is out of range"),
    ({"retries": -1}, "retries=-1 is out of range"),
    ({"retries": 1.5}, "retries=1.5 is out of range"),
    ({"delay": -1}, "delay=-1 is not a duration: give seconds (0 to 100 years) or a timedelta"),
    ({"delay": timedelta(days=-1)}, "is not a duration"),
    ({"delay": 1e300}, "delay=1e+300 is not a duration"),
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
    "generator": (generate, '"generate" is a generator; streamed results'),
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
    assert f'Task "{__name__}:add"' in str(raised.value)
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
    assert text.startswith(f'Task "{__name__}:add": argument "b" ({type(value).__name__}) cannot be serialized with')
    assert ".." not in text and "Pass plain data" in text
    assert app._client is None


# ---- addresses


URLS = {
    "http://user:hunter2@localhost:80": "it does not begin with one of redis://",
    "localhost:6379": "it does not begin with one of redis://",
    "redis+sentinel://localhost": "it does not begin with",
    "redis://localhost:abc": "its port is not a number",
    "redis://localhost:99999": "its port is not a number",
    "redis://localhost:6379/shop": "a database number",
    "redis://[::1": "its host cannot be parsed",
    "redis://user:hunter2#x@localhost": "write %23 for #",
    "redis://user:hunter2/x@localhost": "write %23 for #, %2F for /",
    "unix://": "the path of a socket is absolute",
    "unix://relative/path": "the path of a socket is absolute",
    "redis://localhost?no_such_option=1&password=hunter2": 'there is no option "no_such_option"',
    "redis://localhost?socket_timeout=abc": "Invalid value for 'socket_timeout'",
}


@pytest.mark.parametrize("url", URLS)
async def test_what_is_no_broker_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(URLS[url])) as raised:
        await App("refused", url=url).task(add).apply_async(1)
    assert "hunter2" not in str(raised.value)
    assert f'"{hide_password(url)}"' in str(raised.value)


async def test_options_of_a_url_that_other_clients_read_do_no_harm(redis_url: str, app_name: str) -> None:
    app = App(app_name, url=f"{redis_url}?decode_responses=True&protocol=3&socket_timeout=0.001")
    task = app.task(add)
    async with app, app.worker():
        assert await task.apply_async(1) == 2


@pytest.mark.parametrize("url", [AFAR, "rediss://192.0.2.1", "redis://?host=192.0.2.1", "redis://example.invalid"])
async def test_an_address_of_the_network_needs_a_secret(url: str) -> None:
    app = App("refused", url=url)
    with pytest.raises(ConfigError, match=r"can be reached from other machines.+AIOTASK_SECRET=") as raised:
        await app.task(add).apply_async(1)
    assert "hunter2" not in str(raised.value)


@contextmanager
def a_tcp_server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens and is no Redis."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                behave(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://user:hunter2@127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def speaks_http(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def hangs_up(connection: socket.socket) -> None:
    return


async def test_every_wait_for_what_is_no_server_ends_with_the_address_and_without_the_password() -> None:
    with ExitStack() as stack:
        urls = [
            ("redis://user:hunter2@127.0.0.1:1", "No answer from the broker"),
            (
                stack.enter_context(a_tcp_server(speaks_http)),
                "is not a Redis or Valkey server. Check the host and the port",
            ),
            (stack.enter_context(a_tcp_server(says_nothing)), "No answer from the broker"),
            (stack.enter_context(a_tcp_server(hangs_up)), "No answer from the broker"),
        ]
        async with asyncio.timeout(30):
            await asyncio.gather(*(_every_verb_fails(url, message) for url, message in urls))


async def _every_verb_fails(url: str, message: str) -> None:
    app = App("nobody", url=url)
    task = app.task(add)

    async def opened() -> None:
        async with app:
            raise AssertionError("there is nothing to open")

    async def in_a_row() -> None:
        with pytest.raises(BrokerError) as raised:
            await task.apply_async(1)
        if "silence" in str(raised.value):
            raise raised.value
        # This one is handed over in the very tick in which the first was refused.
        await task.apply_async(1).sent()

    verbs: list[Coroutine[Any, Any, Any]] = [
        in_a_row(),
        opened(),
        app.result("any").wait(),
        app.result("any").status(),
        app.result("any").cancel(),
    ]
    for error in await asyncio.gather(*verbs, return_exceptions=True):
        assert isinstance(error, BrokerError), error
        assert message in str(error) and hide_password(url) in str(error) and "hunter2" not in str(error)


# ---- how a worker and the commands refuse: real processes, all at once


@dataclass
class Attempt:
    """A command that cannot work: what it is to say, and with which exit code."""

    command: list[str]
    message: str
    code: int
    env: dict[str, str] = field(default_factory=dict)
    #: A traceback of the user's own code is part of the message.
    traceback: bool = False


SOURCES = {
    "plain.py": "x = 1\n",
    "empty.py": "from aiotask import App\napp = App('empty')\n",
    "raises.py": "def helper():\n    raise KeyError('boom')\nhelper()\n",
    "syntax.py": "def f(:\n",
    "leaves.py": "import sys\nsys.exit('no configuration')\n",
    "needs.py": "import a_package_that_nobody_has\n",
    "good.py": "from aiotask import App\napp = App('good')\nother = 3\n@app.task\ndef f() -> None: ...\n",
    "junk.db": "this is text and no database, however long it goes on " * 30,
    "sitecustomize.py": (
        "import os, sys\n"
        "def hook(event, arguments):\n"
        # Workers of one user ask the doors of each other whether somebody is still behind them.
        "    if event == 'socket.connect' and '/worker.' not in str(arguments[1]):\n"
        "        open(os.environ['CONNECTED'], 'a').write(f'{arguments}\\n')\n"
        "sys.addaudithook(hook)\n"
    ),
}
SECRET_NEEDED = "redis://user:***@192.0.2.1:6379/0"
ATTEMPTS = {
    "no app": Attempt(
        ["worker"], "Which app? Name its module, as in `aiotask worker shop.tasks`, or set AIOTASK_APP", 2
    ),
    "blank app": Attempt(["worker"], 'write into pyproject.toml: [tool.aiotask] app = "shop', 2, {"AIOTASK_APP": ","}),
    "wrong module": Attempt(["worker", "nope.tasks"], 'There is no module "nope" (looked in "', 3),
    "no tasks": Attempt(["worker", "plain"], 'Module "plain" defines no tasks. Put `@aiotask.task`', 3),
    "empty app": Attempt(["worker", "empty"], 'Module "empty" defines no tasks.', 3),
    "raises": Attempt(["worker", "raises"], "Module \"raises\" raised KeyError while it was imported: 'boom'", 3),
    "syntax": Attempt(["worker", "syntax"], "    def f(:", 3),
    "exits": Attempt(["worker", "leaves"], 'Module "leaves" raised SystemExit while it was imported: no config', 3),
    "needs": Attempt(["worker", "needs"], 'needs "a_package_that_nobody_has", which is not installed here', 3),
    "file": Attempt(["worker", "good.py"], '"good.py" is a file; name the module instead: `good`', 3),
    "no such app": Attempt(["worker", "good:ap"], 'Module "good" has no "ap". Did you mean "app"?', 3),
    "not an app": Attempt(["worker", "good:other"], '"good:other" is of type int, not an App. Its apps: app.', 3),
    "memory": Attempt(["worker", "good"], "keeps its jobs in memory", 2, {"AIOTASK_URL": "memory://"}),
    "result ttl": Attempt(["worker", "good"], 'AIOTASK_RESULT_TTL="x" is not a number', 2, {"AIOTASK_RESULT_TTL": "x"}),
    "serializer": Attempt(["queues"], "serializer='xml' is not a serializer", 2, {"AIOTASK_SERIALIZER": "xml"}),
    "app name": Attempt(["queues"], "cannot name an app (AIOTASK_NAME)", 2, {"AIOTASK_NAME": "a b"}),
    "scheme": Attempt(
        ["worker", "good"], '"http://u:***@localhost" is not a broker', 2, {"AIOTASK_URL": "http://u:p@localhost"}
    ),
    "db directory": Attempt(["worker", "good", "--result-db", "."], "is a directory. Name a file in it:", 2),
    "db no database": Attempt(
        ["worker", "good", "--result-db", "junk.db"], "is damaged, or not a SQLite database. Move", 2
    ),
    "db no directory": Attempt(["worker", "good", "--result-db", "good.py/x.db"], "cannot be opened or written", 2),
    "network worker": Attempt(["worker", "good"], SECRET_NEEDED, 2, {"AIOTASK_URL": AFAR}),
    "network queues": Attempt(["queues"], SECRET_NEEDED, 2, {"AIOTASK_URL": AFAR}),
    "network jobs": Attempt(["jobs", "--name", "x", "--url", AFAR], SECRET_NEEDED, 2),
    "network doctor": Attempt(["doctor"], SECRET_NEEDED, 1, {"AIOTASK_URL": AFAR}),
}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """Every attempt, two at a time."""
    folder = tmp_path_factory.mktemp("attempts")
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    clean |= {"AIOTASK_URL": NOWHERE, "AIOTASK_HOME": str(folder / "home"), "PYTHONPATH": str(folder)}
    clean |= {"COLUMNS": "200", "NO_COLOR": "1", "CONNECTED": str(folder / "connected")}

    def attempt(each: Attempt) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "aiotask_cli", *each.command]
        if each.command[0] == "worker":
            command += ["-c", "1"]
        return subprocess.run(
            command, cwd=folder, env=clean | each.env, capture_output=True, text=True, timeout=60, check=False
        )

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(ATTEMPTS, pool.map(attempt, ATTEMPTS.values()), strict=True))
    assert not (folder / "connected").exists(), (folder / "connected").read_text()
    return done


@pytest.mark.parametrize("case", ATTEMPTS)
def test_a_command_that_cannot_work_says_why_and_ends(
    case: str, attempts: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    """Nobody opened a connection either: the fixture has looked."""
    done, expected = attempts[case], ATTEMPTS[case]
    said = done.stdout + done.stderr
    assert (expected.message in said, done.returncode) == (True, expected.code), said
    assert said.count(expected.message) == 1
    assert "Traceback" not in said and "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONCURRENCY", "abc", '"abc" is not a count. Write a whole number from 1.'),
        ("CONCURRENCY", "1000000", "at most 1,000"),
        ("THREADS", "0", '"0" is not a count'),
        ("MAX_IN_FLIGHT", "-1", '"-1" is not a count'),
        ("MAX_JOBS_PER_CHILD", "x", '"x" is not a count'),
        ("MAX_MEMORY_PER_CHILD", "x", '"x" is not a size. Write bytes or a number with a unit'),
        ("GRACE", "ten", '"ten" is not a duration. Write seconds or a number with a unit'),
        ("GRACE", "-1", "must be 0 or more"),
        ("LOG_LEVEL", "loud", "'loud' is not one of"),
        ("BURST", "maybe", "boolean"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_value(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIOTASK_{name}", value)
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(command_line, ["worker", "any"], prog_name="aiotask")
    assert (message in done.output, done.exit_code) == (True, 2), done.output


# ---- what tasks do


@pytest.fixture(scope="module")
def hostile_worker(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Supervisor]]:
    """The hostile tasks, with one worker process that all these tests share and none may end."""
    directory = tmp_path_factory.mktemp("hostile")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("hostile", workers, directory / "ledger")
        # The traceback of a job is none of the worker itself.
        yield stage, stage.start(1, "--no-log-tracebacks")


@pytest.fixture
def hostile(hostile_worker: tuple[Stage, Supervisor]) -> Iterator[Stage]:
    """The same process has to be there in the end, and must not have been surprised."""
    stage, supervisor = hostile_worker
    seen = len(supervisor.log)
    before = {child.pid for child in supervisor.children()}
    with stage.active():
        yield stage
    assert {child.pid for child in supervisor.children()} == before
    assert "Traceback" not in supervisor.log[seen:], supervisor.log[seen:]


ENDS: dict[str, tuple[type[BaseException], str]] = {
    "surrogate": (ValueError, "half a pair: \ud800"),
    "no_reduce": (RemoteError, "NoReduce: a reason"),
    "two_arguments": (RemoteError, "TwoArguments: 1 and 2"),
    "holds_a_lock": (RemoteError, "HoldsALock: a reason"),
    "leaves_on_loading": (RemoteError, "LeavesOnLoading: a reason"),
    "exit": (RemoteError, "builtins.SystemExit: 3"),
    "interrupt": (RemoteError, "builtins.KeyboardInterrupt: "),
    "generator_exit": (RemoteError, "builtins.GeneratorExit: "),
    "stop_iteration": (RemoteError, "builtins.StopIteration: 3"),
    "stop_async_iteration": (RemoteError, "builtins.StopAsyncIteration: "),
    "cancelled": (JobCancelled, "cancelled itself: it raised CancelledError"),
    "group": (ExceptionGroup, "several (2 sub-exceptions)"),
}


@pytest.mark.parametrize("kind", ENDS)
async def test_whatever_a_task_raises_ends_the_wait_and_not_the_worker(kind: str, hostile: Stage) -> None:
    async with hostile.app:
        for task in (hostile.fail, hostile.afail):
            # Python itself makes another error of this one when it leaves a coroutine.
            is_changed = kind == "stop_iteration" and task is hostile.afail
            error, message = (RuntimeError, "coroutine raised StopIteration") if is_changed else ENDS[kind]
            with pytest.raises(error) as raised:
                await task.apply_async(kind).wait(30)
            assert message in str(raised.value)
            assert "Remote traceback" in "".join(raised.value.__notes__)


async def test_an_exception_that_has_no_text_arrives_all_the_same(hostile: Stage) -> None:
    assert set(hostile.KINDS) == {*ENDS, "no_text"}
    async with hostile.app:
        for task in (hostile.fail, hostile.afail):
            with pytest.raises(hostile.NoText):
                await task.apply_async("no_text").wait(30)


@pytest.mark.parametrize(("name", "error"), [("fail_in_a_strange_file", KeyError), ("recurse", RecursionError)])
async def test_an_odd_failure_arrives_as_what_it_is(name: str, error: type[Exception], hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(error):
            await getattr(hostile, name).apply_async().wait(30)
        assert await hostile.echo.apply_async("goes on").wait(30) == "goes on"


@pytest.mark.parametrize("what", ["lock", "deep", "frame"])
async def test_a_result_that_cannot_travel_names_its_task(what: str, hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(
            SerializationError, match=rf'Task ".+:give" returned a {"list" if what == "deep" else what}'
        ):
            await hostile.give.apply_async(what).wait(30)


async def test_odd_results_arrive(hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(SerializationError, match=r'Task ".+:agive" returned a lock that cannot be serialized'):
            await hostile.agive.apply_async("lock").wait(30)
        assert await hostile.agive.apply_async("none").wait(30) is None
        assert await hostile.give.apply_async("half").wait(30) == "\ud800"
        assert (await hostile.give.apply_async("itself").wait(30)).name == hostile.give.name
        assert await hostile.echo.apply_async([{1}, {2: [set()]}]).wait(30) == [{1}, {2: [set()]}]


async def test_there_is_nobody_to_ask_in_a_worker(hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(EOFError):
            await hostile.ask.apply_async().wait(30)
        assert await hostile.read_all.apply_async().wait(30) == ""


async def test_a_backoff_and_a_retry_that_are_wrong_do_not_leave_anybody_waiting(hostile: Stage) -> None:
    async with hostile.app:
        again, past = hostile.fail_once.apply_async(), hostile.retry_in_the_past.apply_async()
        assert await again.wait(30) == 2
        with pytest.raises(ConfigError, match=re.escape("Retry(delay=-1): give seconds (0 or more)")):
            await past.wait(30)


async def test_a_task_that_ends_its_process_is_given_up_and_the_next_one_runs(
    hostile_worker: tuple[Stage, Supervisor],
) -> None:
    stage, supervisor = hostile_worker
    with stage.active():
        async with stage.app:
            with pytest.raises(ValueError, match="closed file"):
                await stage.close_stdout.apply_async().wait(30)
            assert await stage.echo.apply_async(1).wait(30) == 1
            with pytest.raises(RuntimeError, match=r"cannot call stop\(\) on the event loop in which it runs"):
                await stage.stop_the_loop.apply_async().wait(30)
            with pytest.raises(WorkerLost, match="3 processes died while they ran it, the last one by exit code 7"):
                await stage.die.apply_async(7).wait(60)
            assert await stage.echo.apply_async(1).wait(30) == 1
    await wait_until_async(lambda: len(supervisor.children()) == 2, description="a worker and the keeper are there")
    # Errors go to stderr, which is read by the supervisor first: they may stand behind what was said later.
    await wait_until_async(lambda: supervisor.log.count(" † ") == 1, description="the dead letter is in the log")


# ---- bodies and seals


async def _push(app: App, body: bytes, *, task: str, seal: Any = None, version: int = WIRE_VERSION) -> AsyncResult[Any]:
    """A handle on a job that no client of aiotask would send."""
    session = app.client.session()
    job = Job(version, ids.next(), task, "default", body, 5, time.time(), session.address)
    sealed = (seal or Sealer(app.secrets, "job").seal)(encode_job(job))
    await session.broker.push(f"by-hand-{job.id}", 1, [Push(job.id, "default", 5, sealed)])
    return app.result(job.id)


OTHER_MINOR = bytes((3, sys.version_info.minor + 1))
BODIES: dict[str, tuple[bytes, str]] = {
    "a class that is gone": (b"P\x80\x04\x8c\x05posix\x8c\x07Missing\x93)R.", "AttributeError: Can't get attribute"),
    "a module that is gone": (
        b"P\x80\x04\x8c\x07nowhere\x8c\x01X\x93)R.",
        "No module named 'nowhere'. Check that this worker",
    ),
    "garbage": (b"Pgarbage", "cannot be read here: UnpicklingError"),
    "nothing": (b"", "The body is of format b'', but this app reads pickle"),
    "JSON": (b"J[[1],{}]", "The body is of format b'J', but this app reads pickle. Give App(serializer=…) the same"),
    "no call": (b"P" + pickle.dumps(3), "cannot be read here: TypeError"),
    "half a call": (b"P" + pickle.dumps((1, 2)), "holds no arguments"),
    "cut off": (b"C", "cannot be read here: IndexError"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_that_cannot_be_read_fails_its_job_and_no_other(case: str, hostile: Stage) -> None:
    body, message = BODIES[case]
    async with hostile.app:
        with pytest.raises(SerializationError, match=re.escape(message)):
            await (await _push(hostile.app, body, task=hostile.size.name)).wait(30)
        assert await hostile.size.apply_async(b"12").wait(30) == 2


@pytest.mark.trap("other Python")
async def test_a_body_by_value_of_another_python_is_parked_and_both_versions_are_named(hostile: Stage) -> None:
    async with hostile.app:
        body = b"C" + OTHER_MINOR + pickle.dumps(((b"12",), {}))
        result = await _push(hostile.app, body, task=hostile.size.name)
        here, there = f"{sys.version_info[0]}.{sys.version_info[1]}", f"3.{OTHER_MINOR[1]}"
        with pytest.raises(SerializationError, match=rf"Python {there} wrote, and no worker.+this process: {here}"):
            await result.wait(30)
        assert await result.status() == "PARKED"
        await result.cancel()


async def test_a_job_of_a_later_release_is_parked_and_said(hostile: Stage) -> None:
    async with hostile.app, hostile.app.inspector() as inspector:
        before = await inspector.rejected()
        result = await _push(hostile.app, b"P" + pickle.dumps(((b"12",), {})), task=hostile.size.name, version=99)
        with pytest.raises(UnknownTask, match=r"needs a newer release of aiotask.+envelope version 99"):
            await result.wait(30)
        assert await result.status() == "PARKED"
        info = await inspector.job(result.id)
        assert info is not None and info.place.startswith("parked:release:99")
        assert await inspector.rejected() == before
        await result.cancel()


async def test_a_task_that_no_worker_knows_is_parked_and_said(hostile: Stage) -> None:
    async with hostile.app:
        result = hostile.app.s("shop.tasks:nowhere", 1).apply_async()
        with pytest.raises(UnknownTask, match=r'No running worker knows the task "shop.tasks:nowhere"'):
            await result.wait(30)
        assert await result.status() == "PARKED"
        await result.cancel()


async def test_who_sends_with_another_secret_is_told_and_counted(hostile: Stage, redis_url: str) -> None:
    stranger = App(hostile.app.name, url=redis_url, secret="another secret")
    async with hostile.app, hostile.app.inspector() as inspector, stranger:
        before = await inspector.rejected()
        result = stranger.s(hostile.size.name, b"12").apply_async()
        with pytest.raises(
            SealError, match=r"set it aside\. This job was sealed with another secret\. Give both sides"
        ):
            await result.wait(30)
        with pytest.raises(SealError):
            await result.status()
        body = b"P" + pickle.dumps(((b"12",), {}))
        with pytest.raises(SealError, match="envelope version 0"):
            await (await _push(hostile.app, body, task=hostile.size.name, version=0)).wait(30)
        # The id of what was never sealed cannot be read.
        with pytest.raises(ResultExpired):
            await (await _push(hostile.app, body, task=hostile.size.name, seal=bytes)).wait(30)
        assert await inspector.rejected() == before + 3
        assert await hostile.size.apply_async(b"12").wait(30) == 2

    queues, doctor = [
        await asyncio.to_thread(_run, command, "--name", hostile.app.name, "--url", redis_url)
        for command in ("queues", "doctor")
    ]
    assert "messages without a valid seal of this app were set aside" in queues
    assert "set aside" in doctor and "Give every sender and worker the same AIOTASK_SECRET" in doctor


def _run(*arguments: str) -> str:
    return CliRunner().invoke(command_line, arguments, prog_name="aiotask").output


async def test_an_outcome_sealed_with_another_secret_ends_the_wait(redis_url: str, app_name: str) -> None:
    """A worker that has the new secret already, and a client that has only the old one."""
    worker = App(app_name, url=redis_url, secret="new,old")
    worker.register_task(add, name="add")
    client = App(app_name, url=redis_url, secret="old")
    async with client, worker, worker.worker():
        with pytest.raises(SealError, match="This outcome was sealed with another secret"):
            await client.s("add", 1).apply_async().wait(30)


# ---- JSON


JSON_CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "wrong type": (lambda h: h.add.apply_async("x"), 'argument "a" of add() (str) does not fit its annotation: `int`'),
    "no plain data": (
        lambda h: h.anything.apply_async(object()),
        'argument "value" of anything() (object) cannot be serialized',
    ),
    "half a pair": (
        lambda h: h.anything.apply_async("\ud800"),
        'argument "value" of anything() (str) cannot be serialized with json',
    ),
}


@pytest.mark.parametrize("case", JSON_CALLS)
async def test_an_argument_that_json_cannot_carry_is_refused_where_it_is_sent(case: str, hostile: Stage) -> None:
    call, message = JSON_CALLS[case]
    with pytest.raises(SerializationError, match=re.escape(message)):
        call(hostile)


async def test_what_json_does_not_carry_to_the_worker_or_back_is_said(hostile: Stage) -> None:
    by_name = App(hostile.json_app.name, url=hostile.url, serializer="json")
    pickles = App(hostile.json_app.name, url=hostile.url)
    async with hostile.json_app, by_name, pickles:
        for call, message in (
            (by_name.s(hostile.add.name, "x"), "does not fit its annotation: Input should be a valid integer"),
            (hostile.wrong_return.s(1), r"wrong_return\(\) \(str\) does not fit its annotation: `int` expected"),
            (pickles.s(hostile.add.name, 1), "of format b'P', but this app reads only JSON. Give App"),
        ):
            with pytest.raises(SerializationError, match=message):
                await call.apply_async().wait(30)
        with pytest.raises(RemoteError, match="NoReduce: a reason"):
            await hostile.raise_own.apply_async().wait(30)
        assert await hostile.add.apply_async(1, 2).wait(30) == 3


# ---- servers that are not there, not open, full of themselves, or gone


@pytest.fixture
def no_server_yet() -> Iterator[PrivateServer]:
    server = PrivateServer()
    try:
        yield server
    finally:
        server.remove()


async def test_a_worker_waits_for_its_server_says_so_once_and_works(
    no_server_yet: PrivateServer, tmp_path: Path
) -> None:
    with running_workers(tmp_path, no_server_yet.url) as workers:
        stage = prepared("hostile", workers, tmp_path / "ledger")
        supervisor = stage.start(1)
        assert "not reachable yet" in supervisor.log

        no_server_yet.start()
        with stage.active():
            async with stage.app:
                assert await stage.echo.apply_async("there").wait(30) == "there"
        wait_until(lambda: "The broker is back; consuming again." in supervisor.log, description="it says so")
        # Once for each of the two apps.
        assert supervisor.log.count("Trying again until the broker answers") == 2
        assert supervisor.log.count("No answer from the broker") == 2


@pytest.fixture
def locked_server() -> Iterator[PrivateServer]:
    """A server with users: bob may do all, eve only read."""
    server = PrivateServer()
    server.start()
    try:
        server.call("ACL", "SETUSER", "bob", "on", ">bobs", "~*", "&*", "+@all")
        server.call("ACL", "SETUSER", "eve", "on", ">eves", "~*", "&*", "+@read", "+@connection", "+info")
        server.call("ACL", "SETUSER", "aiotask", "on", ">ours", "~aiotask1:*", "&aiotask1:*", "+@all", "-@dangerous")
        server.call("ACL", "SETUSER", "aiotask", "+info", "+client")
        server.call("CONFIG", "SET", "requirepass", "secret")
        yield server
    finally:
        server.remove()


async def test_a_password_that_is_missing_or_wrong_is_said_and_a_worker_waits_for_the_right_one(
    locked_server: PrivateServer, tmp_path: Path
) -> None:
    socket_path = locked_server.url.removeprefix("unix://")
    refused = "rejected the user or password"
    for login, message in (
        ("", refused),
        (":hunter2@", refused),
        ("bob:hunter2@", refused),
        ("nobody:hunter2@", refused),
        ("eve:eves@", "does not permit this user a command or key that aiotask needs.+ACL SETUSER"),
    ):
        app = App("locked", url=f"unix://{login}{socket_path}")
        with pytest.raises(BrokerError, match=message) as raised:
            await app.task(add).apply_async(1).wait(30)
        assert "hunter2" not in str(raised.value) and "eves" not in str(raised.value)

    ours = f"unix://aiotask:ours@{socket_path}"
    with running_workers(tmp_path, f"unix://late:later@{socket_path}") as workers:
        stage = prepared("hostile", workers, tmp_path / "ledger", ours)
        supervisor = stage.start(1)
        wait_until(lambda: refused in supervisor.log, description="the worker says that it is not let in")
        locked_server.call("ACL", "SETUSER", "late", "on", ">later", "~*", "&*", "+@all")
        with stage.active():
            async with stage.app:
                assert await stage.echo.apply_async("let in").wait(30) == "let in"
        assert supervisor.log.count(refused) == 2 and "later" not in supervisor.log


async def test_an_emptied_server_costs_what_it_held_and_the_worker_goes_on(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    with running_workers(tmp_path, own_server.url) as workers:
        stage = prepared("hostile", workers, tmp_path / "ledger")
        supervisors = [stage.start(1, wait=False) for _ in range(2)]
        for supervisor in supervisors:
            supervisor.wait_for_banner()
        with stage.active():
            async with stage.app:
                running, later = stage.nap.apply_async(1.0), stage.echo.options(delay=3600).apply_async(1)
                waiting = [asyncio.create_task(result.wait(30)) for result in (running, later)]
                await later.sent()
                await wait_until_async(lambda: _is(running, "RUNNING"), description="a worker has it")
                own_server.call("FLUSHALL")
                for wait in waiting:
                    with pytest.raises(JobLost, match="the broker no longer has the job or its outcome"):
                        await wait
                assert await asyncio.gather(*(stage.echo.apply_async(n).wait(30) for n in range(20))) == [*range(20)]
        for supervisor in supervisors:
            assert "declared dead" not in supervisor.log and "ended by" not in supervisor.log


async def _is(result: AsyncResult[Any], status: str) -> bool:
    return await result.status() == status


async def test_a_server_that_is_killed_and_comes_back_costs_no_job(tmp_path: Path) -> None:
    server = PrivateServer("--appendonly", "yes", "--appendfsync", "always")
    try:
        server.start()
        with running_workers(tmp_path, server.url) as workers:
            stage = prepared("hostile", workers, tmp_path / "ledger")
            supervisor = stage.start(1)
            with stage.active():
                async with stage.app:
                    results = [stage.nap.apply_async(0.02) for _ in range(50)]
                    waits = [asyncio.create_task(result.wait(60)) for result in results]
                    await wait_until_async(lambda: any(wait.done() for wait in waits), description="the first is done")
                    server.kill()
                    server.start()
                    assert await asyncio.gather(*waits) == [0.02] * 50
            assert "ended by" not in supervisor.log
    finally:
        server.remove()


async def test_an_embedded_server_that_is_killed_comes_back_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "h"
    env = {"AIOTASK_HOME": str(home), "AIOTASK_URL": "", "AIOTASK_EMBEDDED": "1"}
    with running_workers(tmp_path, "") as workers, pytest.MonkeyPatch.context() as patch:
        stage = prepared("hostile", workers, tmp_path / "ledger", "")
        stage.env.update(env)
        try:
            supervisor = stage.start(1)
            with stage.active():
                patch.setenv("AIOTASK_HOME", str(home))
                async with stage.app:
                    assert await stage.echo.apply_async("before").wait(30) == "before"
                    server = status(home)
                    assert server is not None
                    os.kill(server.pid, signal.SIGKILL)
                    wait_until(lambda: "consuming again" in supervisor.log, description="the worker is back")
                    assert await stage.echo.apply_async("after").wait(30) == "after"
        finally:
            supervisor.stop()
            stop(home)


async def test_large_arguments_and_results_travel_and_too_large_ones_are_refused(
    own_server: PrivateServer, app_name: str
) -> None:
    app = App(app_name, url=own_server.url)

    @app.task
    def size(data: bytes) -> int:
        return len(data)

    @app.task
    async def zeros(count: int) -> bytes:
        return bytes(count)

    async with app, app.worker():
        assert await size.apply_async(bytes(20_000_000)).wait(60) == 20_000_000
        assert len(await zeros.apply_async(20_000_000).wait(60)) == 20_000_000

        own_server.call("CONFIG", "SET", "proto-max-bulk-len", 1024 * 1024)
        limit = r"bytes are more than the server at .+ takes in one value \(1,048,576: proto-max-bulk-len\)"
        for _ in range(2):
            with pytest.raises(BrokerError, match=limit):
                await size.apply_async(bytes(2_000_000)).wait(60)
        small, large = zeros.apply_async(10), zeros.apply_async(2_000_000)
        assert await small.wait(60) == bytes(10)
        with pytest.raises(SerializationError, match=f"The outcome of job .+ has 2,000,.+{limit}"):
            await large.wait(60)
        assert await size.apply_async(b"goes on").wait(60) == 7


# ---- Ctrl-C


def _press(supervisor: Supervisor) -> None:
    """What a terminal does: the whole foreground group gets the signal."""
    os.killpg(supervisor.pid, signal.SIGINT)


def _leaves_nobody(supervisor: Supervisor, *codes: int) -> None:
    assert supervisor.wait(30) in codes, supervisor.log
    wait_until(lambda: not supervisor.session(), description="nobody is left of its session")
    assert "Traceback" not in supervisor.log


def test_ctrl_c_while_the_app_is_being_imported(workers: Workers, tmp_path: Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "slow_app.py").write_text(f"open({str(started)!r}, 'w').close()\nimport time\ntime.sleep(60)\n")
    supervisor = workers.start("slow_app", app_dir=tmp_path, wait=False)
    wait_until(started.exists, description="the import has begun")

    _press(supervisor)
    _press(supervisor)

    _leaves_nobody(supervisor, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_signals_until_the_supervisor_is_gone(workers: Workers, number: signal.Signals) -> None:
    env = {"TEST_APP": "gone", "TEST_LEDGER": "/dev/null"}
    supervisor = workers.start("tests.acceptance.apps.calls", concurrency=1, env=env)

    while supervisor.exit_code is None:
        os.kill(supervisor.pid, number)

    _leaves_nobody(supervisor, 0)


def test_ctrl_c_just_as_the_supervisor_begins(workers: Workers) -> None:
    supervisor = workers.start(
        "tests.acceptance.apps.calls", env={"TEST_APP": "never", "TEST_LEDGER": "/dev/null"}, wait=False
    )
    # By its program, or by the title that it gives itself.
    became = re.compile(r"aiotask_cli\.supervise|aiotask worker .*\[supervisor\]")
    wait_until(lambda: became.search(_command(supervisor.pid)), description="it is the supervisor now")

    _press(supervisor)

    _leaves_nobody(supervisor, 0)


def _command(pid: int) -> str:
    return subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


async def test_ctrl_c_drains_and_the_second_one_ends_at_once(workers: Workers, tmp_path: Path) -> None:
    stage = prepared("hostile", workers, tmp_path / "ledger")
    supervisor = stage.start(2)
    with stage.active():
        async with stage.app:
            result = stage.nap.apply_async(60.0)
            await wait_until_async(lambda: _is(result, "RUNNING"), description="it runs")
            _press(supervisor)
            wait_until(lambda: "Stopping: no more jobs are claimed" in supervisor.log, description="it drains")
            assert supervisor.exit_code is None
            _press(supervisor)
            _leaves_nobody(supervisor, 0)
            assert await result.status() == "PENDING", "it is back in the queue"


def test_a_worker_with_all_streams_closed_works(workers: Workers, tmp_path: Path) -> None:
    stage = prepared("hostile", workers, tmp_path / "ledger")
    log = tmp_path / "log"
    command = [sys.executable, "-m", "aiotask_cli", "worker", stage.name, "-c", "1", "--app-dir", str(ROOT)]
    env = {**os.environ, **stage.env, "AIOTASK_URL": workers.url, "AIOTASK_HOME": str(tmp_path / "home")}
    shell = f"exec {' '.join(command)} <&- >&- 2>&-"
    supervisor = Supervisor(["bash", "-c", shell], log, env, ROOT)
    workers.all.append(supervisor)
    with stage.active():
        assert stage.echo.apply_async("heard").get(30) == "heard"
    assert supervisor.stop() == 0
