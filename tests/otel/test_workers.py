"""Spans of real worker processes, which export them to a file: none is lost where a process ends by itself."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from signal import SIGHUP, SIGTERM
from typing import Any

import pytest

from aiotask import App
from aiotask.contrib.otel import Tracing

from ..helpers import wait_until, wait_until_async
from ..logged import objects
from ..workers import ROOT, Supervisor, Workers
from .spans import Memory, Row, in_file, named, tree_of

#: What a provider imports.
SDK = ("opentelemetry.sdk.trace.export", "aiotask.contrib.otel")
#: A provider whose batches go out when they are flushed, and at no other time.
PROVIDER = """\
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests.otel.spans import FileExporter

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(FileExporter(os.environ["SPANS"]), schedule_delay_millis=3_600_000))
trace.set_tracer_provider(provider)
"""
APP = """
import logging, os, signal, threading, time
from aiotask import App, chain, current_job
from aiotask.contrib.otel import Tracing

app = App(os.environ["TEST_APP"], middleware=[Tracing()])
log = logging.getLogger("shop")
"""
UNTRACED = APP.replace("from aiotask.contrib.otel import Tracing\n", "").replace(", middleware=[Tracing()]", "")
TASKS = """
@app.task
def price(grams):
    return grams * 2

@app.task
async def order(grams):
    total = await price.apply_async(grams)
    return chain(price.s(total), price)

@app.task
def grows():
    global ballast
    ballast = bytearray(os.urandom(1_000_000)) * 200

@app.task
def dies():
    if not current_job().deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return current_job().deaths

@app.task
def logs():
    log.info("in the job")
    with provider.get_tracer("shop").start_as_current_span("inner"):
        log.info("in its span")
        thread = threading.Thread(target=log.info, args=("in its thread",))
        thread.start()
        thread.join()

@app.task
def forks():
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return bool(pid)
"""


class Shop:
    """A module ``shop`` in a directory of its own, its workers, and a client that keeps its spans in memory."""

    def __init__(self, workers: Workers, folder: Path, name: str) -> None:
        self.workers = workers
        self.folder = folder
        self.name = name
        self.path = folder / "spans"
        self.memory = Memory()
        self.app = App(name, url=workers.url, middleware=[Tracing(tracer_provider=self.memory.provider)])

    def start(self, *options: str, code: str = "", env: dict[str, str] | None = None, **settings: Any) -> Supervisor:
        (self.folder / "shop.py").write_text(code or PROVIDER + APP + TASKS)
        variables = {"TEST_APP": self.name, "SPANS": str(self.path), "PYTHONPATH": str(ROOT), **(env or {})}
        return self.workers.start("shop", app_dir=self.folder, options=options, env=variables, loaded=SDK, **settings)

    def call(self, task: str, *args: Any) -> Any:
        return self.app.s(f"shop:{task}", *args).apply_async()

    @property
    def exported(self) -> list[Row]:
        return in_file(self.path)

    @property
    def all(self) -> list[Row]:
        return [*self.memory.rows, *self.exported]


@pytest.fixture
def shop(workers: Workers, tmp_path: Path, app_name: str) -> Shop:
    return Shop(workers, tmp_path, app_name)


async def run_all(shop: Shop, count: int) -> None:
    """Run so many jobs to their ends."""
    results = [shop.call("price", n) for n in range(count)]
    assert [await result.wait(60) for result in results] == [2 * n for n in range(count)]


async def run_in_several_processes(shop: Shop, count: int) -> None:
    """Run so many jobs twice, which is more than a process may run: those of the second time run in another process.

    One process may well run all jobs of a time: it claims them at once."""
    for replaced in (1, 2):
        await run_all(shop, count)
        wait_until(
            lambda: len({row["pid"] for row in shop.exported}) >= replaced,  # noqa: B023 - called in this round
            description=f"{replaced} processes have been replaced and have exported their spans",
        )


def assert_complete(shop: Shop, count: int) -> None:
    """Each job has its two spans, once."""
    sends = named(shop.all, "send shop:price")
    runs = named(shop.exported, "process shop:price")
    assert len(sends) == len(runs) == count
    assert {run["parent"] for run in runs} == {send["id"] for send in sends}
    assert all(run["attributes"]["aiotask.outcome"] == "SUCCESS" for run in runs)


# ---- trees


async def test_a_trace_goes_from_the_caller_over_jobs_to_their_jobs_and_graphs(shop: Shop) -> None:
    supervisor = shop.start(concurrency=2)
    with shop.memory.tracer.start_as_current_span("request"):
        result = shop.call("order", 1)
    assert await result.wait(30) == 8
    assert supervisor.stop() == 0

    price = ["send shop:price", ["process shop:price"]]
    assert tree_of(shop.all) == ["request", ["send shop:order", ["process shop:order", price, price, price]]]
    assert {row["kind"] for row in named(shop.all, "process shop:price")} == {"CONSUMER"}
    assert len({row["pid"] for row in shop.all}) >= 2  # this process, and a worker


# ---- no span is lost


async def test_a_worker_that_is_told_to_stop_exports_its_spans(shop: Shop) -> None:
    supervisor = shop.start(concurrency=2)
    await run_all(shop, 60)
    assert not shop.exported
    assert supervisor.stop() == 0

    assert_complete(shop, 60)


async def test_jobs_that_run_while_a_worker_drains_have_their_spans(shop: Shop, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"""
@app.task
def waits():
    open({str(tmp_path / "began")!r}, "w").close()
    while not os.path.exists({str(gate)!r}):
        time.sleep(0.01)
"""
    supervisor = shop.start(code=PROVIDER + APP + TASKS + waits)
    result = shop.call("waits")
    await wait_until_async((tmp_path / "began").exists, description="the job runs")
    supervisor.signal(SIGTERM)
    wait_until(lambda: "Stopping: no more jobs" in supervisor.log, description="it drains")
    gate.touch()
    await result.wait(30)
    assert supervisor.wait() == 0

    (run,) = named(shop.exported, "process shop:waits")
    assert run["attributes"]["aiotask.outcome"] == "SUCCESS"


@pytest.mark.parametrize("each", [1, 7])
async def test_processes_that_are_replaced_after_some_jobs_export_their_spans(
    shop: Shop, each: int, is_full: bool
) -> None:
    supervisor = shop.start("--max-jobs-per-child", str(each), concurrency=2)
    count = 500 if is_full and each == 1 else 16
    await run_in_several_processes(shop, count)
    assert supervisor.stop() == 0

    assert_complete(shop, 2 * count)


async def test_a_process_that_has_grown_too_large_exports_its_spans(shop: Shop) -> None:
    supervisor = shop.start("--max-memory-per-child", "200MB")
    await shop.call("grows").wait(30)
    wait_until(lambda: named(shop.exported, "process shop:grows"), description="the spans of the old process are there")
    assert "This process is being replaced: it grew to" in supervisor.log
    assert supervisor.stop() == 0


async def test_processes_that_an_operator_replaces_export_their_spans(shop: Shop) -> None:
    supervisor = shop.start()
    await run_all(shop, 5)
    assert not shop.exported
    supervisor.signal(SIGHUP)
    wait_until(lambda: len(shop.exported) == 5, description="the spans of the old process are there")
    assert supervisor.stop() == 0

    assert_complete(shop, 5)


async def test_an_error_at_the_end_of_a_process_is_logged(shop: Shop) -> None:
    fails = """
from aiotask import Middleware

class Fails(Middleware):
    def on_exit(self):
        raise LookupError("at the end")

app.add_middleware(Fails())
"""
    supervisor = shop.start(code=PROVIDER + APP + fails + TASKS)
    await run_all(shop, 3)
    assert supervisor.stop() == 0

    assert "Fails.on_exit failed: LookupError: at the end" in supervisor.log
    assert_complete(shop, 3)


async def test_a_burst_exports_its_spans(shop: Shop) -> None:
    results = [shop.call("price", n) for n in range(5)]
    await shop.app.flush()
    supervisor = shop.start("--burst", wait=False)
    assert supervisor.wait() == 0

    assert [await result.wait(30) for result in results] == [0, 2, 4, 6, 8]
    assert_complete(shop, 5)


async def test_a_death_is_in_the_span_of_the_next_run(shop: Shop) -> None:
    supervisor = shop.start()
    assert await shop.call("dies").wait(30) == 1
    assert supervisor.stop() == 0

    (run,) = named(shop.exported, "process shop:dies")
    assert run["attributes"]["aiotask.deaths"] == 1
    assert run["attributes"]["aiotask.attempt"] == 1


async def test_an_exporter_that_hangs_delays_the_end_by_two_seconds_at_most(shop: Shop, tmp_path: Path) -> None:
    hangs = """
class Hangs(FileExporter):
    def export(self, spans):
        threading.Event().wait()

# The SDK itself would wait for 30 seconds at exit.
hanging = TracerProvider(shutdown_on_exit=True)
hanging.add_span_processor(BatchSpanProcessor(Hangs("")))
app = App(os.environ["TEST_APP"], middleware=[Tracing(tracer_provider=hanging)])
"""
    supervisor = shop.start(code=PROVIDER + APP + hangs + TASKS)
    await run_all(shop, 3)
    assert supervisor.stop() == 0

    assert "The process ends before its middleware is done (Tracing.on_exit), which took 2 s." in supervisor.log
    assert "did not end" not in supervisor.log and "killed" not in supervisor.log


# ---- forks


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["loaded after the fork", "preloaded"])
async def test_a_provider_from_before_the_fork_exports_the_spans_of_every_process(
    shop: Shop, tmp_path: Path, options: Sequence[str]
) -> None:
    """As ``opentelemetry-instrument aiotask worker`` does it, with an app that knows nothing of traces."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(PROVIDER)
    env = {"AIOTASK_OTEL": "1", "PYTHONPATH": f"{site}:{ROOT}"}
    supervisor = shop.start(*options, "--max-jobs-per-child", "5", code=UNTRACED + TASKS, env=env, concurrency=2)
    await run_in_several_processes(shop, 16)
    assert supervisor.stop() == 0

    assert_complete(shop, 32)
    assert supervisor.pid not in {row["pid"] for row in shop.exported}


async def test_an_app_that_makes_its_provider_can_be_preloaded(shop: Shop) -> None:
    supervisor = shop.start("--preload", concurrency=2)
    await run_all(shop, 10)
    assert supervisor.stop() == 0

    assert_complete(shop, 10)


async def test_spans_that_go_out_by_time_do_so_in_a_forked_process(shop: Shop) -> None:
    # The thread of the processor did not survive the fork, and its successor works.
    supervisor = shop.start("--preload", code=PROVIDER.replace("3_600_000", "20") + APP + TASKS)
    await run_all(shop, 3)
    wait_until(
        lambda: len(named(shop.exported, "process shop:price")) == 3, description="the spans are there while it runs"
    )
    assert supervisor.stop() == 0
    assert_complete(shop, 3)


async def test_a_job_that_forks_has_one_span(shop: Shop) -> None:
    supervisor = shop.start()
    assert await shop.call("forks").wait(30) is True
    assert supervisor.stop() == 0

    (run,) = named(shop.exported, "process shop:forks")
    assert run["attributes"]["aiotask.outcome"] == "SUCCESS"


# ---- logs


async def test_log_records_of_a_job_have_its_trace(shop: Shop) -> None:
    supervisor = shop.start("--log-json")
    await shop.call("logs").wait(30)
    assert supervisor.stop() == 0

    (run,), (inner,) = named(shop.exported, "process shop:logs"), named(shop.exported, "inner")
    lines = {line["message"]: line for line in objects(supervisor.log) if line.get("logger") == "shop"}
    trace = f"{run['trace']:032x}"
    for message, span in (("in the job", run), ("in its span", inner), ("in its thread", inner)):
        assert lines[message]["trace_id"] == trace
        assert lines[message]["span_id"] == f"{span['id']:016x}"
        assert "extra" not in lines[message]
    others = [line for line in objects(supervisor.log) if "job_id" not in line]
    assert others and not any("trace_id" in line for line in others)


@pytest.mark.parametrize("code", [PROVIDER + APP, UNTRACED], ids=["traced", "untraced"])
async def test_formats_and_extras_of_user_code_may_name_the_trace(shop: Shop, code: str) -> None:
    own = textwrap.dedent("""
        import sys
        shown = logging.StreamHandler(sys.stdout)
        shown.setFormatter(logging.Formatter("shown <%(trace_id)s> %(message)s"))
        own = logging.getLogger("own")
        own.addHandler(shown)
        own.setLevel("INFO")
        own.propagate = False

        @app.task
        def extra():
            log.info("with an extra", extra={"trace_id": "mine"})
            own.info("formatted", extra={} if "Tracing" in globals() else {"trace_id": ""})
        """)
    supervisor = shop.start("--log-json", code=code + own + TASKS)
    await shop.call("extra").wait(30)
    assert supervisor.stop() == 0

    (line,) = [json.loads(line) for line in supervisor.log.splitlines() if '"with an extra"' in line]
    if code == UNTRACED:
        assert line["trace_id"] == "mine"
        assert "shown <> formatted" in supervisor.log
    else:
        (run,) = named(shop.exported, "process shop:extra")
        assert line["trace_id"] == f"{run['trace']:032x}"
        assert line["extra"] == {"trace_id": "mine"}
        assert f"shown <{run['trace']:032x}> formatted" in supervisor.log
