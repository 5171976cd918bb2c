"""The supervisor as its operator meets it: signals, stops, replacements, code that does not load."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from aiotask import App
from aiotask.brokers.redis.keys import prefix

from .acceptance.stage import Stage, staged
from .helpers import wait_until, wait_until_async
from .workers import Supervisor, Workers

#: Beyond any doubt: nothing here sleeps so long to its end.
NEVER = 100.0


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        yield stage


async def started(stage: Stage, label: object, times: int = 1) -> int:
    """The pid of the latest run, once the job has started this number of times."""
    runs = await wait_until_async(
        lambda: (runs := stage.ledger.runs(label))[times - 1 :] and runs,
        description=f"{label} has started {times} times",
    )
    return runs[-1].pid


async def live(app: App) -> set[int]:
    """Pids of the workers that the broker knows."""
    async with app.inspector() as inspector:
        return {int(str(worker.facts["pid"])) for worker in await inspector.workers()}


async def live_workers(app: App, count: int, *, without: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
    """Pids, once there are so many, and none of those."""

    async def there() -> set[int]:
        pids = await live(app)
        return pids if len(pids) == count and not pids & without else set()

    return await wait_until_async(there, description=f"{count} workers are live")


async def places_of(stage: Stage, *ids: str) -> dict[str, tuple[str, int]]:
    """Status and attempt of unfinished jobs."""
    async with stage.app.inspector() as inspector:
        jobs = [await inspector.job(id) for id in ids]
    return {job.id: (job.status.value, job.meta.attempt) for job in jobs if job is not None}


# ---- stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_stop_lets_run_what_runs_and_gives_back_the_rest(stage: Stage, number: signal.Signals) -> None:
    supervisor = stage.start(1)
    sync = stage.nap.apply_async(0.5, "sync")
    coroutine = stage.anap.apply_async(0.5, "async")
    await started(stage, "sync")
    await started(stage, "async")
    waiting = [stage.echo.apply_async(n).id for n in range(10)]
    await stage.app.flush()
    assert supervisor.stop(number) == 0
    assert supervisor.session() == []
    assert await asyncio.gather(sync, coroutine) == [1, 1]
    places = await places_of(stage, *waiting)
    assert places == dict.fromkeys(waiting, ("PENDING", 1))
    assert await live(stage.app) == set()
    assert supervisor.log.count("Stopping: no more jobs are claimed; running jobs have 30 s to end.") == 1
    assert supervisor.log.rstrip().endswith("Stopped.")


async def test_what_has_not_ended_within_the_grace_time_is_back_in_the_queue_when_the_supervisor_ends(
    stage: Stage,
) -> None:
    supervisor = stage.start(2, "--grace", "0.5")
    jobs = [stage.nap.apply_async(NEVER, "sync"), stage.anap.apply_async(NEVER, "async"), stage.swallow.apply_async()]
    await started(stage, "sync")
    await started(stage, "async")
    await started(stage, "swallow")
    assert supervisor.stop() == 0
    assert supervisor.session() == []
    # An operator's stop is no strike and no attempt.
    assert await places_of(stage, *[job.id for job in jobs]) == {job.id: ("PENDING", 1) for job in jobs}
    assert await live(stage.app) == set()
    assert "did not end within 0.5 s; " in supervisor.log
    for job in jobs:
        await job.cancel()


async def test_a_second_stop_ends_at_once(stage: Stage) -> None:
    supervisor = stage.start(1)
    job = stage.start_program.apply_async(NEVER)
    await started(stage, "start_program")
    (program,) = await wait_until_async(
        lambda: [run.label for run in stage.ledger.runs() if isinstance(run.label, int)], description="it runs"
    )
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Signal again to stop at once." in supervisor.log, description="it has understood")
    assert psutil.pid_exists(program)
    assert supervisor.stop() == 0
    assert supervisor.session() == [] and not psutil.pid_exists(program)
    assert await places_of(stage, job.id) == {job.id: ("PENDING", 1)}
    await job.cancel()


async def test_a_worker_that_is_asked_itself_drains_and_is_followed(stage: Stage) -> None:
    supervisor = stage.start(1)
    job = stage.nap.apply_async(0.5)
    pid = await started(stage, "nap")
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await job == 1
    assert await stage.pid.apply_async() != pid
    assert len(stage.ledger.runs("nap")) == 1
    assert supervisor.stop() == 0


# ---- how many, and which


async def test_one_more_and_one_less(stage: Stage) -> None:
    supervisor = stage.start(1)
    (first,) = await live_workers(stage.app, 1)
    supervisor.signal(signal.SIGTTIN)
    assert first in await live_workers(stage.app, 2)
    supervisor.signal(signal.SIGTTOU)
    assert await live_workers(stage.app, 1) == {first}
    supervisor.signal(signal.SIGTTOU)
    wait_until(lambda: supervisor.log.count("1 worker process from now on.") == 2, description="it was heard")
    assert await stage.pid.apply_async() == first
    if sys.platform == "linux":
        score, own = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (first, supervisor.pid))
        assert score > own or own == 1000, "short of memory, the kernel ends a worker before its supervisor"


async def test_stacks_of_all_processes_whatever_they_do(stage: Stage) -> None:
    supervisor = stage.start(2)
    job = stage.hold_the_gil.apply_async()
    await started(stage, "hold_the_gil")
    supervisor.signal(signal.SIGUSR1)
    wait_until(lambda: "The stacks of the keeper" in supervisor.log, description="all have been asked")
    assert len(re.findall(r"The stacks of worker-[12] \(pid \d+\):\n", supervisor.log)) == 2
    assert re.search(r'File ".*hazards\.py", line \d+ in hold_the_gil\n', supervisor.log)
    assert "no answer" not in supervisor.log
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Signal again to stop at once." in supervisor.log, description="it has understood")
    assert supervisor.stop() == 0
    assert await places_of(stage, job.id) == {job.id: ("PENDING", 1)}


# ---- replacements


class Source:
    """A module of one test that says which version of it is loaded."""

    def __init__(self, directory: Path, app: str) -> None:
        self.directory = directory
        self._app = app
        directory.mkdir()
        self.write("1")

    def write(self, version: str, more: str = "") -> None:
        path = self.directory / "versioned.py"
        path.with_suffix(".new").write_text(
            f"import os, time, asyncio\nfrom aiotask import App\napp = App({self._app!r})\n{more}\n"
            f"@app.task\ndef version():\n    return {version!r}, os.getpid()\n"
            "@app.task\ndef nap(seconds):\n    time.sleep(seconds)\n    return version()\n"
        )
        path.with_suffix(".new").replace(path)

    def start(self, workers: Workers, concurrency: int = 1, *options: str, wait: bool = True) -> Supervisor:
        # No compiled files: two versions may have the same size and second.
        return workers.start(
            "versioned",
            concurrency=concurrency,
            options=options,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            app_dir=self.directory,
            wait=wait,
        )


@pytest.fixture
def source(tmp_path: Path, app_name: str) -> Source:
    return Source(tmp_path / "source", app_name)


@pytest.fixture
def app(app_name: str, redis_url: str) -> App:
    return App(app_name, url=redis_url)


async def all_run(app: App, version: str) -> None:
    """Return once that is what answers, whoever is asked."""

    async def they_do() -> bool:
        answers = await asyncio.gather(*[app.s("versioned:version").apply_async() for _ in range(20)])
        return {answer for answer, _ in answers} == {version}

    await wait_until_async(they_do, description=f"all workers run version {version}")


async def test_fresh_code_replaces_processes_one_by_one(source: Source, app: App, workers: Workers) -> None:
    supervisor = source.start(workers, 2)
    old = await live_workers(app, 2)
    running = app.s("versioned:nap", 1.0).apply_async()
    await all_run(app, "1")
    source.write("2")
    supervisor.signal(signal.SIGHUP)
    least = 2

    async def replaced() -> bool:
        nonlocal least
        pids = await live(app)
        least = min(least, len(pids))
        return not pids & old

    await wait_until_async(replaced, description="the old ones are gone")
    # Each new one was in service before an old one went.
    assert least == 2
    await all_run(app, "2")
    # What ran has ended where it began.
    version, pid = await running
    assert version == "1" and pid in old
    assert len(supervisor.children()) == 3


async def test_code_that_does_not_load_leaves_the_old_processes_in_service(
    source: Source, app: App, workers: Workers
) -> None:
    supervisor = source.start(workers, 2)
    old = await live_workers(app, 2)
    source.write("2", more="raise RuntimeError('half a deployment')")
    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: "The new code does not load" in supervisor.log, description="it was tried")
    assert "so the old processes keep running." in supervisor.log and "half a deployment" in supervisor.log
    await all_run(app, "1")
    assert await live(app) == old
    source.write("3")
    supervisor.signal(signal.SIGHUP)
    await live_workers(app, 2, without=old)
    await all_run(app, "3")
    # One reason: the error, and the line of code in its traceback.
    assert supervisor.log.count("half a deployment") == 2


async def test_files_that_change_are_loaded(source: Source, app: App, workers: Workers) -> None:
    pytest.importorskip("watchfiles")
    supervisor = source.start(workers, 1, "--reload")
    old = await live_workers(app, 1)

    async def reloaded() -> bool:
        # Again and again: the watcher may have begun to watch after the first change.
        source.write("2")
        version, _ = await app.s("versioned:version").apply_async()
        return bool(version == "2")

    await wait_until_async(reloaded, description="the new code is loaded")
    await live_workers(app, 1, without=old)
    assert supervisor.stop() == 0


async def test_a_process_is_replaced_after_its_number_of_jobs(stage: Stage) -> None:
    stage.start(1, "--max-jobs-per-child", "20")
    pids = []
    for _ in range(30):
        pids += await asyncio.gather(*[stage.pid.apply_async() for _ in range(10)])
        if len(set(pids)) > 3:
            break
        await stage.nap.apply_async(0.05)
    assert len(set(pids)) > 3
    assert min(pids.count(pid) for pid in set(pids[:-10])) >= 10


async def test_a_process_that_grows_is_replaced_and_loses_nothing(stage: Stage) -> None:
    supervisor = stage.start(1, "--max-memory-per-child", "200M")
    small = await stage.grow.apply_async(1000)
    sent = [stage.aecho.apply_async(n) for n in range(500)]
    assert await stage.grow.apply_async(200_000_000) == small
    sent += [stage.aecho.apply_async(n) for n in range(500)]
    assert await asyncio.gather(*sent) == [*range(500), *range(500)]

    async def other() -> bool:
        return bool(await stage.pid.apply_async() != small)

    await wait_until_async(other, description="another process serves")
    assert re.search(r"This process is being replaced: it grew to 2\d\d MB\.", supervisor.log)


# ---- code that does not load


BROKEN = {
    "it raises": ("raise RuntimeError('no such luck')", r'Module "versioned" raised RuntimeError .*no such luck'),
    "it ends": ("raise SystemExit(0)", r'Module "versioned" raised SystemExit'),
    "it dies": ("os._exit(0)", "it ended by exit code 0 while it was imported"),
    "it crashes": ("os.abort()", r"it ended by signal 6 \(SIGABRT\)"),
}


@pytest.mark.parametrize(("code", "reason"), BROKEN.values(), ids=BROKEN)
def test_code_that_never_loaded_stops_everything_with_one_reason(
    source: Source, workers: Workers, code: str, reason: str
) -> None:
    source.write("1", more=code)
    supervisor = source.start(workers, 4, wait=False)
    assert supervisor.wait() == 3
    assert supervisor.log.count("The app could not be loaded.") == 1
    assert re.search(reason, supervisor.log)
    assert supervisor.session() == []


def test_a_stop_does_not_wait_for_code_that_is_being_loaded(source: Source, workers: Workers) -> None:
    loading = source.directory / "loading"
    source.write("1", more=f"open({str(loading)!r}, 'w').close()\ntime.sleep(600)")
    supervisor = source.start(workers, 2, "--grace", "600", wait=False)
    wait_until(loading.exists, description="it is being loaded")
    assert supervisor.stop() == 0
    assert supervisor.session() == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no such luck')", "no such luck"),
        (
            "import threading\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
            "The app started a thread while it was imported",
        ),
    ],
    ids=["it raises", "it starts a thread"],
)
def test_an_app_that_cannot_be_preloaded(source: Source, workers: Workers, code: str, reason: str) -> None:
    source.write("1", more=code)
    supervisor = source.start(workers, 2, "--preload", wait=False)
    assert supervisor.wait() == 3
    assert reason in supervisor.log


async def test_a_preloaded_app_is_loaded_once(source: Source, app: App, workers: Workers, tmp_path: Path) -> None:
    seen = tmp_path / "loaded"
    source.write("1", more=f"open({str(seen)!r}, 'a').write(f'{{os.getpid()}}\\n')")
    supervisor = source.start(workers, 2, "--preload")
    await live_workers(app, 2)
    await all_run(app, "1")
    assert seen.read_text() == f"{supervisor.pid}\n"
    supervisor.signal(signal.SIGHUP)
    said = "with the same code, since the app was preloaded"
    wait_until(lambda: said in supervisor.log, description="it says what that means")
    assert supervisor.stop() == 0


async def test_a_module_that_breaks_later_is_tried_again_until_it_loads(
    source: Source, app: App, workers: Workers
) -> None:
    supervisor = source.start(workers, 1)
    (old,) = await live_workers(app, 1)
    source.write("2", more="raise RuntimeError('for a while')")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: supervisor.log.count("could not load the app; trying again") >= 2, description="it tries")
    source.write("3")
    await all_run(app, "3")


# ---- burst


async def test_a_burst_empties_the_queues_and_ends(stage: Stage) -> None:
    sent = [stage.aecho.apply_async(n) for n in range(300)] + [stage.echo.apply_async(n) for n in range(100)]
    await stage.app.flush()
    supervisor = stage.start(2, "--burst", wait=False)
    assert supervisor.wait() == 0
    assert await asyncio.gather(*sent) == [*range(300), *range(100)]
    assert await live(stage.app) == set() and supervisor.session() == []


@pytest.mark.parametrize("others", [0, 1_500])
async def test_a_burst_goes_on_after_the_death_of_a_worker(stage: Stage, others: int) -> None:
    """With many queues on the server the first one dies before it has counted them and said that it is up."""
    pills = [stage.crash.apply_async("segfault"), stage.acrash.apply_async("0")]
    sent = [stage.aecho.apply_async(n) for n in range(100)]
    await stage.app.flush()
    if others:
        with redis.Redis.from_url(stage.app.broker_url) as server:
            server.sadd(f"{prefix(stage.app.name)}queues", *(f"other-{n}" for n in range(others)))
    supervisor = stage.start(1, "--burst", wait=False)
    assert supervisor.wait() == 0
    assert await asyncio.gather(*(result.wait(30) for result in sent)) == list(range(100))
    ends = await asyncio.gather(*(pill.wait(30) for pill in pills), return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["WorkerLost", "WorkerLost"]


# ---- what tasks do to processes


async def test_a_task_may_use_multiprocessing_and_programs(stage: Stage) -> None:
    supervisor = stage.start(1)
    before = await stage.pid.apply_async()
    for method in ("fork", "spawn"):
        assert await stage.multiprocess.apply_async(method) == [1, 2, 3]
    assert await stage.interrupts_a_program.apply_async() == -signal.SIGINT
    assert await stage.read_the_terminal.apply_async() == ""
    assert await stage.forget_to_exit.apply_async() == "parent"
    # The signals that ended those were not the worker's.
    assert await stage.pid.apply_async() == before
    assert len(stage.ledger.runs()) == 0
    assert supervisor.stop() == 0


async def test_orphans_of_tasks_are_reaped(stage: Stage) -> None:
    supervisor = stage.start(1)
    worker = await stage.pid.apply_async()
    orphans = await stage.start_orphans.apply_async(10)
    assert len(set(orphans)) == 10
    await wait_until_async(
        lambda: not any(psutil.pid_exists(pid) for pid in orphans), description="all have ended and none is a zombie"
    )
    assert await stage.pid.apply_async() == worker
    assert supervisor.stop() == 0


async def test_a_worker_that_finds_its_host_dead_ends_the_others_too(stage: Stage) -> None:
    """They may have no room to ask for more, and would hear of it only when jobs end that run elsewhere by then."""
    supervisor = stage.start(1, "--max-in-flight", "1")
    stage.anap.apply_async(NEVER, "async")
    stage.nap.apply_async(NEVER, "sync")
    full = await started(stage, "async")
    assert await started(stage, "sync") == full
    supervisor.signal(signal.SIGTTIN)
    both = await live_workers(stage.app, 2)
    with redis.Redis.from_url(stage.app.url) as server:
        key = f"aiotask1:{{{stage.app.name}}}:live"
        dead = [name for name in server.hgetall(key) if name]
        server.hdel(key, *dead)

    # The read in which the other one blocked may still have brought it that job, which then went with it.
    await wait_until_async(
        lambda: {run.pid for run in stage.ledger.runs("async")} - both, description="async has started in a new process"
    )
    assert not any(psutil.pid_exists(pid) for pid in both)
    assert not await live_workers(stage.app, 2, without=both) & both
    assert "This host was declared dead" in supervisor.log
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in supervisor.log, description="the first one is heard")
    assert supervisor.stop() == 0


async def test_fifty_deaths_leave_nothing_behind_in_the_supervisor(stage: Stage) -> None:
    supervisor = stage.start(4)
    process = psutil.Process(supervisor.pid)
    pids = await live_workers(stage.app, 4)
    descriptors, memory = process.num_fds(), process.memory_info().rss
    for _ in range(13):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        pids = await live_workers(stage.app, 4, without=pids)
    assert process.num_fds() == descriptors
    assert process.memory_info().rss < memory + 4_000_000
    assert supervisor.stop() == 0


def test_a_worker_whose_terminal_is_closed_drains_and_stops(tmp_path: Path, redis_url: str, app_name: str) -> None:
    log = tmp_path / "log"
    ours, theirs = pty.openpty()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", "worker", "tests.acceptance.apps.life", "-c", "1"],
            stdin=theirs,
            stdout=theirs,
            stderr=errors,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
            env={**os.environ, "AIOTASK_URL": redis_url, "TEST_APP": app_name, "TEST_LEDGER": str(tmp_path)},
        )
    os.close(theirs)
    try:
        wait_until(lambda: "worker process" in log.read_text(), description="the worker is up")

        os.close(ours)

        assert process.wait(30) == 0, log.read_text()
        assert "The terminal was closed." in log.read_text()
    finally:
        process.kill()
        process.wait()
