"""The command line: help, options and their environment variables, errors, and what commands show of a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
import typer.main
from typer.testing import CliRunner

from aiotask import App, Outcome, Status
from aiotask.broker import Finish
from aiotask.brokers import connect
from aiotask.history.file import MAX_AGE, MAX_BYTES
from aiotask.job import WIRE_VERSION
from aiotask.ops import durability as durability_of_the_cli
from aiotask.outcome import ErrorInfo, encode_outcome
from aiotask.wire.seal import Sealer
from aiotask_cli import options
from aiotask_cli.demo_tasks import Measures, measure
from aiotask_cli.main import app

from .helpers import wait_until
from .server import PrivateServer

COMMANDS = ("worker", "demo", "jobs", "dead", "queues", "results", "doctor", "version", "server")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, and a state directory of this test alone."""
    for name in [name for name in os.environ if name.startswith("AIOTASK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIOTASK_HOME", str(tmp_path / "home"))
    # Wide enough that no word of a help text is cut.
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


def invoke(*arguments: str, env: Mapping[str, str] | None = None) -> Any:
    return CliRunner().invoke(app, list(arguments), env=env)


def run(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "aiotask_cli", *arguments], capture_output=True, text=True, timeout=100, **settings
    )


def parsed(command: str, *arguments: str) -> dict[str, Any]:
    """What the options of a command become."""
    group: Any = typer.main.get_command(app)
    context = group.commands[command].make_context(command, list(arguments))
    # An empty or a given list is a list or a tuple, as the version of typer likes it.
    return {
        name: (list(value) or None) if isinstance(value, (list, tuple)) else value
        for name, value in context.params.items()
    }


# ---- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_examples(command: str) -> None:
    said = invoke(command, "--help")

    assert said.exit_code == 0
    assert "Examples" in said.output or command == "server"
    assert f"aiotask {command}" in said.output


def test_no_argument_shows_every_command() -> None:
    said = invoke()

    for command in COMMANDS:
        assert command in said.output


#: Costly to import, and none of it is needed to answer. (What typer itself loads to parse options is its own choice.)
HEAVY = {"aiotask", "asyncio", "cloudpickle", "msgspec", "redis", "sqlite3", "uvloop"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], HEAVY | {"pydantic"}),
        (["version"], HEAVY | {"pydantic", "rich"}),
        (["--version"], HEAVY | {"pydantic", "rich"}),
        (["worker", "--help"], HEAVY - {"asyncio"}),
        (["results", "--help"], HEAVY - {"asyncio"}),
    ],
)
def test_help_and_version_import_nothing_heavy(arguments: list[str], heavy: set[str]) -> None:
    script = (
        "import sys\n"
        "from aiotask_cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"heavy = {heavy} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )

    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version_is_said_the_same_with_and_without_parsing(arguments: list[str]) -> None:
    assert run(*arguments).stdout == invoke(*arguments).output


def test_version_heeds_its_variables() -> None:
    assert "aiotask" in json.loads(run("version", env={**os.environ, "AIOTASK_JSON": "1"}).stdout)


def test_version_names_what_it_stands_on() -> None:
    versions = json.loads(invoke("version", "--json").output)

    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(versions) == {"aiotask", "python", "redis-py"}


# ---- options


def test_worker_defaults() -> None:
    assert parsed("worker", "shop.tasks") == {
        "apps": ["shop.tasks"],
        "app": None,
        "concurrency": None,
        "queues": None,
        "max_in_flight": 100,
        "threads": 1,
        "max_jobs_per_child": None,
        "max_memory_per_child": None,
        "grace": 30.0,
        "health_port": None,
        "health_host": "127.0.0.1",
        "burst": False,
        "reload": False,
        "preload": False,
        "result_db": None,
        "result_db_age": MAX_AGE,
        "result_db_size": MAX_BYTES,
        "blocked_loop": 1.0,
        "long_job": 60.0,
        "stopped_process": 30.0,
        "log_args": False,
        "log_tracebacks": True,
        "log_json": False,
        "log_level": options.Level.INFO,
        "app_dir": ".",
        "url": None,
    }


WORKER_OPTIONS = [
    ("--concurrency", "3", 3),
    ("--queues", "mail,default", ["mail,default"]),
    ("--max-in-flight", "7", 7),
    ("--threads", "4", 4),
    ("--max-jobs-per-child", "1000", 1000),
    ("--max-memory-per-child", "512MB", 512 * 1024**2),
    ("--grace", "2m", 120.0),
    ("--health-port", "8080", 8080),
    ("--health-host", "0.0.0.0", "0.0.0.0"),
    ("--burst", "1", True),
    ("--reload", "1", True),
    ("--preload", "1", True),
    ("--result-db", "history.db", "history.db"),
    ("--result-db-age", "7d", 604_800.0),
    ("--result-db-size", "0", 0),
    ("--log-args", "1", True),
    ("--log-json", "1", True),
    ("--log-level", "WARNING", options.Level.WARNING),
    ("--app-dir", "/srv/app", "/srv/app"),
    ("--url", "redis://db:6379/3", "redis://db:6379/3"),
]


@pytest.mark.parametrize(("flag", "text", "value"), WORKER_OPTIONS)
def test_every_flag_of_worker_and_its_variable_mean_the_same(
    flag: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = flag.removeprefix("--").replace("-", "_")
    by_flag = parsed("worker", flag, *([] if value is True else [text]))
    monkeypatch.setenv(f"AIOTASK_{name.upper()}", text)
    by_variable = parsed("worker")

    assert by_flag[name] == value
    assert by_variable == by_flag


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOTASK_GRACE", "1h")

    assert parsed("worker", "--grace", "5s")["grace"] == 5.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0", 0), ("1.5", 1.5), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("2 d", 172800), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10x", "-5", "1h foo", "nan", "inf", "10 20"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="duration"):
        options.duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 2**20), ("512MB", 2**29), ("512 mb", 2**29), ("2GB", 2**31), ("1.5G", 3 * 2**29), ("64KiB", 2**16)],
)
def test_sizes(text: str, size: int) -> None:
    assert options.size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "12XB", "-1", "0", "1 MB 2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="size"):
        options.size(text)


def test_names_come_repeated_or_with_commas() -> None:
    assert options.names(["default, mail", "mail", "bulk,"]) == ("default", "mail", "bulk")


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["worker", "x", "--grace", "10x"], '"10x" is not a duration'),
        (["worker", "x", "--concurrency", "0"], '"0" is not a count'),
        (["worker", "x", "--max-memory-per-child", "lots"], '"lots" is not a size'),
        (["worker", "x", "--log-level", "loud"], "loud"),
        (["worker", "x", "--reload", "--preload"], "Leave one of them out"),
        (["jobs", "--status", "gone"], "pending"),
    ],
)
def test_a_wrong_option_is_refused_with_what_would_be_right(arguments: list[str], said: str) -> None:
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_a_worker_without_an_app_names_all_three_ways(tmp_path: Path) -> None:
    done = run("worker", cwd=tmp_path)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for way in ("aiotask worker", "AIOTASK_APP", "[tool.aiotask]"):
        assert way in done.stderr


@pytest.mark.parametrize("command", ["queues", "jobs"])
def test_no_server_is_one_line_with_the_next_step(command: str) -> None:
    done = run(command)

    assert done.returncode == 2
    assert done.stderr.startswith("error: No server is named")
    assert "aiotask server start" in done.stderr
    assert done.stderr.count("\n") == 1


def test_looking_starts_no_server(tmp_path: Path) -> None:
    run("queues")

    assert not (tmp_path / "home" / "server.sock").exists()


@pytest.mark.parametrize("command", ["queues", "jobs"])
def test_a_server_that_cannot_be_reached_is_one_line_without_a_traceback(command: str) -> None:
    done = run(command, "--url", "redis://:secret-word@127.0.0.1:1/0")

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "secret-word" not in done.stderr


def test_an_address_of_another_kind_is_refused() -> None:
    done = run("queues", "--url", "amqp://localhost")

    assert done.returncode == 2
    assert '"amqp://localhost" is not a broker URL' in done.stderr


# ---- what is on a server


class Shop:
    """An app that sends and has no worker."""

    def __init__(self, url: str, name: str) -> None:
        self.app = App(name, url=url)
        self.render = self.app.register_task(_render, name="shop:render", queue="tiles")


def _render(tile: int, *, text: str = "") -> str:
    return f"{tile}{text}"


@pytest.fixture
async def shop(own_server: PrivateServer, app_name: str) -> Shop:
    """Two pending jobs and one that is due in an hour."""
    made = Shop(own_server.url, app_name)
    async with made.app:
        sent = [made.render.apply_async(7), made.render.apply_async(8)]
        sent.append(made.render.options(delay=3600.0).apply_async(9, text="[bold]no markup[/bold]"))
        for result in sent:
            await result.sent()
    return made


def test_queues_counts_what_waits(own_server: PrivateServer, shop: Shop) -> None:
    (found,) = json.loads(invoke("queues", "--url", own_server.url, "--json").output)

    assert found["app"] == shop.app.name
    (tiles,) = [queue for queue in found["queues"] if queue["name"] == "tiles"]
    assert (tiles["pending"], tiles["running"]) == (2, 0)
    assert sum(queue["scheduled"] for queue in found["queues"]) == 1
    assert found["workers"] == []


def test_queues_for_people_says_what_to_do_without_workers(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("queues", env={"AIOTASK_URL": own_server.url})

    assert said.exit_code == 0
    assert "tiles" in said.output
    assert "No worker is live" in said.output


def test_an_empty_server_says_the_next_step(own_server: PrivateServer) -> None:
    said = invoke("queues", "--url", own_server.url)

    assert said.exit_code == 0
    assert "aiotask worker" in said.output


def test_jobs_lists_by_status_and_pages(own_server: PrivateServer, shop: Shop) -> None:
    def ids(*arguments: str) -> list[str]:
        listed = json.loads(invoke("jobs", "--url", own_server.url, "--json", *arguments).output)
        return [job["id"] for job in listed]

    pending = ids("--status", "pending")
    assert len(pending) == 2
    assert ids("--status", "pending", "--limit", "1") == pending[:1]
    assert ids("--status", "pending", "--limit", "1", "--offset", "1") == pending[1:]
    assert len(ids("--status", "scheduled")) == 1
    assert ids("--status", "running") == []
    assert len(ids()) == 3
    assert ids("--queue", "another") == []


def test_jobs_for_people_names_the_next_page(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("jobs", "--url", own_server.url, "--limit", "2")

    assert "shop:render" in said.output
    assert "--offset 2" in said.output


def test_one_job_is_shown_with_all_that_is_known(own_server: PrivateServer, shop: Shop) -> None:
    (scheduled,) = json.loads(invoke("jobs", "--url", own_server.url, "--json", "-s", "scheduled").output)

    job = json.loads(invoke("jobs", scheduled["id"], "--url", own_server.url, "--json").output)
    said = invoke("jobs", scheduled["id"], "--url", own_server.url).output

    assert (job["status"], job["task"], job["queue"], job["attempt"]) == ("SCHEDULED", "shop:render", "tiles", 1)
    assert job["due_at"] > job["sent_at"] + 3500
    assert "[bold]no markup[/bold]" in said
    assert "in 59 min" in said or "in 1 h" in said


async def give_up(shop: Shop, count: int) -> list[str]:
    """Claim jobs as a worker does, and finish them as dead letters."""
    broker = connect(shop.app.url, shop.app.name)
    await broker.enlist("host-1.1", "host-1", msgspec.msgpack.encode({"pid": 1}))
    claim = await broker.claim("host-1.1", ["tiles"], [], count)
    finishes = []
    for delivery in claim.deliveries:
        error = ErrorInfo("aiotask.errors.WorkerLost", "3 processes died", "File shop.py, line 7")
        outcome = Outcome(WIRE_VERSION, delivery.id, "shop:render", Status.FAILED, 3, "host-1.1", 1.0, 2.0, None, error)
        sealed = Sealer(shop.app.secrets, "outcome").seal(encode_outcome(outcome))
        finishes.append(Finish(delivery, sealed, Status.FAILED, 60.0, dead=True))
    await broker.finish("host-1.1", finishes)
    await broker.close()
    return [delivery.id for delivery in claim.deliveries]


async def test_dead_letters_are_listed_with_their_error(own_server: PrivateServer, shop: Shop) -> None:
    dead = await give_up(shop, 2)

    def listed(*arguments: str) -> list[dict[str, Any]]:
        output = run("jobs", "--url", own_server.url, "--json", "--status", "dead", *arguments).stdout
        found: list[dict[str, Any]] = json.loads(output)
        return found

    assert {job["id"] for job in listed()} == set(dead)
    assert listed()[0]["error"] == "aiotask.errors.WorkerLost: 3 processes died"
    assert listed()[0]["traceback"] == "File shop.py, line 7"
    assert [job["id"] for job in listed("--queue", "tiles", "--offset", "1")] == [listed()[1]["id"]]
    assert listed("--queue", "another") == []


async def test_doctor_points_at_dead_letters(own_server: PrivateServer, shop: Shop) -> None:
    await give_up(shop, 1)

    report = json.loads(run("doctor", "--url", own_server.url, "--json").stdout)

    (found,) = [check for check in report["checks"] if check["name"] == f"{shop.app.name}: dead letters"]
    assert found["state"] == "warn"
    assert "aiotask dead list" in found["fix"]


def test_dead_letters_are_found_and_shown_without_loading_them(own_server: PrivateServer, shop: Shop) -> None:
    dead = asyncio.run(give_up(shop, 2))

    def listed(*arguments: str) -> list[str]:
        found = invoke("dead", "list", "--url", own_server.url, "--json", *arguments)
        assert found.exit_code == 0, found.output
        return [letter["id"] for letter in json.loads(found.output)]

    assert sorted(listed()) == sorted(dead) and listed("--limit", "1", "--offset", "1") == listed()[1:]
    for fits in (["--task", "shop:render"], ["--queue", "tiles"], ["--error", "WORKERLOST"], ["--since", "1h"]):
        assert len(listed(*fits)) == 2, fits
    for fits in (["--task", "shop:sell"], ["--queue", "x"], ["--error", "KeyError"], ["--since", "0s"]):
        assert listed(*fits) == [], fits
    assert listed("--until", "1h") == [] and len(listed("--until", "0s", "--error", "3 processes")) == 2
    letter = json.loads(invoke("dead", "show", dead[0], "--url", own_server.url, "--json").output)
    assert (letter["task"], letter["queue"], letter["status"]) == ("shop:render", "tiles", "FAILED")
    assert (letter["arguments"], letter["traceback"]) == ([[7], {}], "File shop.py, line 7")
    said = invoke("dead", "show", dead[0], "--url", own_server.url).output
    assert "WorkerLost: 3 processes died" in said and "arguments    7" in said
    said = invoke("dead", "list", "--url", own_server.url).output
    assert dead[0] in said and "aiotask dead replay ID" in said
    done = run("dead", "show", "no-such-job", "--url", own_server.url)
    assert done.returncode == 1 and done.stderr.startswith('error: There is no dead letter "no-such-job" (any more)')


def test_dead_letters_are_replayed_and_deleted_once(own_server: PrivateServer, shop: Shop) -> None:
    one, two = asyncio.run(give_up(shop, 2))

    def did(verb: str, *arguments: str, code: int = 0) -> dict[str, list[str]]:
        done = invoke("dead", verb, "--url", own_server.url, "--json", *arguments)
        assert done.exit_code == code, done.output
        found: dict[str, list[str]] = json.loads(done.output)
        return found

    async def status(id: str) -> Status | None:
        return await shop.app.result(id).status()

    assert did("replay", one) == {"replayed": [one], "missing": [], "outdated": []}
    assert did("replay", one) == {"replayed": [], "missing": [one], "outdated": []}
    assert asyncio.run(status(one)) == "PENDING"
    said = invoke("dead", "replay", one, "--url", own_server.url)
    assert "Replayed 0 dead letters." in said.output and f"aiotask jobs {one}" in said.output
    assert did("replay", "no-such-job", code=1)["missing"] == ["no-such-job"]
    assert did("delete", one, two, two) == {"deleted": [two], "missing": [one]}
    assert did("delete", two) == {"deleted": [], "missing": [two]}
    assert asyncio.run(status(two)) == "FAILED"
    # The one that was replayed runs, and nothing else of them is left.
    jobs = json.loads(invoke("jobs", "--url", own_server.url, "--json", "--status", "pending").output)
    assert [(job["id"], job["attempt"]) for job in jobs] == [(one, 1)]
    assert json.loads(invoke("dead", "list", "--url", own_server.url, "--json").output) == []


def test_many_dead_letters_are_not_moved_without_asking(own_server: PrivateServer, shop: Shop) -> None:
    asyncio.run(give_up(shop, 2))
    here = ("--url", own_server.url)

    for arguments, reason in [
        ((), "no jobs were named"),
        (("an-id", "--all"), "IDs cannot be combined with --all or filters"),
        (("--all",), "this would replay 2 dead letters, and there is no terminal to ask for confirmation"),
        (("--task", "shop:render"), "then add --yes."),
    ]:
        done = run("dead", "replay", *arguments, *here, stdin=subprocess.DEVNULL)
        assert done.returncode == 2 and reason in done.stderr, done

    def asked(answer: bytes) -> subprocess.CompletedProcess[bytes]:
        ours, theirs = os.openpty()
        try:
            os.write(ours, answer)
            command = [sys.executable, "-m", "aiotask_cli", "dead", "delete", "--all", *here]
            return subprocess.run(command, stdin=theirs, capture_output=True, timeout=60)
        finally:
            os.close(ours)
            os.close(theirs)

    no = asked(b"n\n")
    assert no.returncode == 1 and b"Delete 2 dead letters? [y/N]" in no.stderr
    assert len(json.loads(invoke("dead", "list", *here, "--json").output)) == 2
    assert invoke("dead", "replay", "--task", "shop:sell", *here).output == "Replayed 0 dead letters.\n"
    assert asked(b"y\n").stdout == b"Deleted 2 dead letters.\n"
    assert invoke("dead", "delete", "--all", "--yes", *here).output == "Deleted 0 dead letters.\n"


def test_a_job_sealed_with_another_secret_is_listed_as_such(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("jobs", "--url", own_server.url, env={"AIOTASK_SECRET": "another"})

    assert said.exit_code == 0
    assert "sealed with another secret" in said.output
    assert "shop:render" not in said.output


def test_an_unknown_job_says_where_else_to_look(own_server: PrivateServer, shop: Shop) -> None:
    done = run("jobs", "no-such-job", "--url", own_server.url)

    assert done.returncode == 1
    assert done.stderr.startswith('error: No job "no-such-job"')
    assert "No history file was found" in done.stderr and "--db FILE" in done.stderr


# ---- doctor


def checks(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, dict[str, dict[str, str]]]:
    said = invoke("doctor", "--json", *arguments, env=env)
    report = json.loads(said.output)
    assert report["ok"] == (said.exit_code == 0)
    return said.exit_code, {check["name"]: check for check in report["checks"]}


def test_doctor_of_a_server_in_memory_warns_and_is_ready(own_server: PrivateServer, shop: Shop) -> None:
    code, found = checks("--url", own_server.url)

    assert code == 0
    assert found["server"]["state"] == "ok"
    assert found["version"]["state"] == "ok"
    assert found["eviction"]["state"] == "ok"
    assert found["clock"]["state"] == "ok"
    assert found["durability"]["state"] == "warn"
    assert "appendonly" in found["durability"]["fix"]
    assert found[f"{shop.app.name}: workers"]["state"] == "warn"


def test_doctor_names_the_row_of_the_durability_table_that_the_server_is_in(own_server: PrivateServer) -> None:
    own_server.call("ACL", "SETUSER", "limited", "on", ">word", "~*", "&*", "+@all", "-config")
    limited = own_server.url.replace("unix://", "unix://limited:word@")

    def found(url: str, *setting: str) -> tuple[str, str]:
        for name, value in zip(setting[::2], setting[1::2], strict=True):
            own_server.call("CONFIG", "SET", name, value)
        durability = checks("--url", url)[1]["durability"]
        assert bool(durability.get("fix")) == (durability["state"] == "warn")
        name, _, detail = durability["detail"].partition(": ")
        assert name in durability_of_the_cli.ROWS and detail
        return name, detail

    assert found(own_server.url)[0] == "memory"
    assert found(limited)[0] == "no appendonly"
    name, detail = found(own_server.url, "save", "3600 1")
    assert name == "snapshots" and "everything since the last snapshot is lost" in detail
    for fsync in ("always", "everysec", "no"):
        assert found(own_server.url, "appendonly", "yes", "appendfsync", fsync)[0] == f"appendonly {fsync}"
    name, detail = found(limited)
    assert name == "appendonly" and "unknown" in detail
    memory = checks("--url", own_server.url)[1]["memory"]
    assert memory["state"] == "ok" and "outcomes kept until their TTL: 0" in memory["detail"]


def test_doctor_fails_a_server_that_would_evict_jobs(own_server: PrivateServer) -> None:
    own_server.call("CONFIG", "SET", "maxmemory", "100mb")
    own_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    code, found = checks("--url", own_server.url)

    assert code == 1
    assert found["eviction"]["state"] == "fail"
    assert "noeviction" in found["eviction"]["fix"]


def test_doctor_fails_without_a_server_and_says_how_to_get_one() -> None:
    code, found = checks()

    assert code == 1
    assert "aiotask server start" in found["settings"]["detail"]


def test_doctor_fails_when_the_server_does_not_answer(own_server: PrivateServer) -> None:
    own_server.stop()

    code, found = checks("--url", own_server.url)

    assert code == 1
    assert found["server"]["state"] == "fail"


def test_doctor_wants_a_secret_for_a_server_on_the_network() -> None:
    code, found = checks("--url", "redis://192.0.2.1:6379", "--name", "shop")

    assert code == 1
    assert "AIOTASK_SECRET" in found["settings"]["detail"]


def test_doctor_finds_a_state_directory_that_others_can_read(own_server: PrivateServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)

    code, found = checks("--url", own_server.url)

    assert code == 1
    assert found["state directory"]["fix"] == f"chmod 700 {home}"
    home.chmod(0o700)
    assert checks("--url", own_server.url)[0] == 0


def test_doctor_reads_the_history(own_server: PrivateServer, tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.db", tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)

    assert checks("--url", own_server.url, "--result-db", str(missing))[1]["result db"]["state"] == "warn"
    code, found = checks("--url", own_server.url, "--result-db", str(broken))

    assert code == 1
    assert found["result db"]["state"] == "fail"


def test_doctor_for_people_shows_the_fix_below(own_server: PrivateServer) -> None:
    said = invoke("doctor", "--url", own_server.url)

    assert said.exit_code == 0
    assert "CONFIG SET appendonly yes" in said.output
    assert "0 failed" in said.output


# ---- worker

TASKS = """
import sys
from aiotask import App, Outcome, Status
from aiotask.broker import Finish
from aiotask.brokers import connect
from aiotask.history.file import MAX_AGE, MAX_BYTES
from aiotask.job import WIRE_VERSION
from aiotask.outcome import ErrorInfo, encode_outcome
from aiotask.wire.seal import Sealer

app = App({name!r})

@app.task
def loaded(names: list[str]) -> list[str]:
    return [name for name in names if name in sys.modules]
"""


@pytest.fixture
def tasks(tmp_path: Path, app_name: str) -> App:
    """A module ``shop_tasks`` in ``tmp_path``, and its app as a sender has it."""
    (tmp_path / "shop_tasks.py").write_text(TASKS.format(name=app_name))
    return App(app_name)


async def test_a_worker_runs_jobs_without_carrying_the_command_line(
    own_server: PrivateServer, tasks: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTASK_URL", own_server.url)
    async with tasks:
        result = tasks.s("shop_tasks:loaded", ["aiotask", "typer", "rich", "pydantic", "click"]).apply_async()
        await result.sent()

        done = await asyncio.to_thread(
            run, "worker", "shop_tasks", "--burst", "-c", "1", "--app-dir", str(tmp_path), "--log-json"
        )

        assert done.returncode == 0, done.stderr
        assert await result.wait(10) == ["aiotask"]
    said = [json.loads(line) for line in done.stderr.splitlines()]
    banner = next(line for line in said if line.get("event") == "banner")
    assert banner["processes"] == 1
    assert banner["apps"][0]["tasks"] == ["shop_tasks:loaded"]
    assert [line["task"] for line in said if line.get("event") == "succeeded"] == ["shop_tasks:loaded"]


@pytest.mark.parametrize(
    ("spec", "reason"), [("no_such_module", "no_such_module"), ("shop_tasks:ap", 'Did you mean "app"?')]
)
def test_a_wrong_app_ends_the_worker_with_the_reason(
    spec: str, reason: str, own_server: PrivateServer, tasks: App, tmp_path: Path
) -> None:
    done = run("worker", spec, "--app-dir", str(tmp_path), "--url", own_server.url)

    assert done.returncode not in (0, None)
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_leaves_in_good_order(
    number: signal.Signals, own_server: PrivateServer, tasks: App, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "aiotask_cli", "worker", "shop_tasks", "-c", "1", "--app-dir", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--url", own_server.url], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        arguments = ("queues", "--name", tasks.name, "--url", own_server.url, "--json")
        wait_until(
            lambda: json.loads(invoke(*arguments).output)[0]["workers"], description="the worker is live", timeout=60
        )
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0, errors
    assert json.loads(invoke(*arguments).output)[0]["workers"] == []


# ---- demo


def test_the_demo_task_measures_what_is_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text(
        "class Shop:\n"
        "    def open(self, key):\n"
        "        if key and key != 1:\n"
        "            return [x for x in key if x]\n"
        "        elif key:\n"
        "            pass\n"
        "        return lambda: None\n"
    )

    # if, and, comprehension with its if, elif
    assert measure(str(file)) == Measures(lines=7, functions=2, classes=1, branches=5, nesting=3, error="")


@pytest.mark.parametrize("source", [b"def (", b"\xff\xfe nonsense", b"x = 1\x00"])
def test_a_file_that_does_not_parse_is_a_result(source: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_bytes(source)

    found = measure(str(file))

    assert found["error"].partition(":")[0] in ("SyntaxError", "ValueError")
    assert found == Measures(lines=1, functions=0, classes=0, branches=0, nesting=0, error=found["error"])


def test_the_demo_does_its_work_and_every_number_agrees(own_server: PrivateServer) -> None:
    done = run("demo", "--limit", "60", "--concurrency", "2", "--url", own_server.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 60 files agree with the direct run" in done.stdout
    assert "2 worker processes" in done.stdout
    assert "\x1b" not in done.stdout, "no colour and no cursor tricks in a pipe"
    line = next(line.strip() for line in done.stdout.splitlines() if "aiotask results" in line)
    history = run(*line.split()[1:], "--json", "--limit", "100")
    assert len(json.loads(history.stdout)) == 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_broken_off_leaves_no_child(number: signal.Signals, own_server: PrivateServer) -> None:
    def of_demo(key: str) -> Any:
        (found,) = json.loads(invoke("queues", "--name", "demo", "--url", own_server.url, "--json").output)
        return found[key]

    process = subprocess.Popen(
        [sys.executable, "-m", "aiotask_cli", "demo", "--concurrency", "2", "--url", own_server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(
            lambda: any(queue["running"] for queue in of_demo("queues")), description="the demo is at work", timeout=60
        )
        assert sys.platform != "linux" or len(_mentioning(own_server.url)) >= 4
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)

        assert process.returncode == 128 + number
        assert "Traceback" not in output
        assert of_demo("workers") == []
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not _mentioning(own_server.url), description="no process of the demo is left")


def _mentioning(url: str) -> list[int]:
    """Processes that have this server's address in their environment: children of the demo."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if f"AIOTASK_URL={url}".encode() in (directory / "environ").read_bytes():
                found.append(int(directory.name))
        except OSError:
            continue
    return found
