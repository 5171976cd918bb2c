"""Measure how task queues behave with their default settings.

Run it once per queue, in an environment where that queue is installed, with redis-server on the PATH::

    pip install 'celery[redis]' && python docs/comparison.py celery

It starts a private Redis and one worker, runs four experiments, and prints the results as one row.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

#: Seconds that a killed job gets to run again.
RERUN_TIMEOUT = 600.0

COMMON = """
import os, sys, time
URL = os.environ["SHOP_URL"]
class OutOfStock(Exception):
    pass
def note(path):
    with open(path, "a") as file:
        file.write(f"{time.time()} {os.getpid()}\\n")
def slow(path):
    note(path)
    time.sleep(3 if os.path.getsize(path) > 40 else 60)
"""

AIOTASK = """
from aiotask import App
app = App("shop", url=URL)
@app.task
def work(path): slow(path)
@app.task
def fail(): raise OutOfStock("leek")
if "LATER" in os.environ:
    @app.task
    def later(path): note(path)
"""
CELERY = """
from celery import Celery
app = Celery("shop", broker=URL, backend=URL)
@app.task
def work(path): slow(path)
@app.task
def fail(): raise OutOfStock("leek")
if "LATER" in os.environ:
    @app.task(name="shop.later")
    def later(path): note(path)
"""
RQ = """
from redis import Redis
from rq import Queue
queue = Queue(connection=Redis.from_url(URL))
def work(path): slow(path)
def fail(): raise OutOfStock("leek")
if "LATER" in os.environ:
    def later(path): note(path)
"""
DRAMATIQ = """
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)
@dramatiq.actor(store_results=True)
def work(path): slow(path)
@dramatiq.actor(store_results=True, max_retries=0)
def fail(): raise OutOfStock("leek")
if "LATER" in os.environ:
    @dramatiq.actor
    def later(path): note(path)
"""
HUEY = """
from huey import RedisHuey
huey = RedisHuey("shop", url=URL)
@huey.task()
def work(path): slow(path)
@huey.task()
def fail(): raise OutOfStock("leek")
if "LATER" in os.environ:
    @huey.task()
    def later(path): note(path)
"""
ARQ = """
import asyncio
from arq import create_pool
from arq.connections import RedisSettings
async def work(ctx, path): slow(path)
async def fail(ctx): raise OutOfStock("leek")
async def later(ctx, path): note(path)
class WorkerSettings:
    functions = [work, fail] + ([later] if "LATER" in os.environ else [])
    redis_settings = RedisSettings.from_dsn(URL)
def send(name, *args, wait=False):
    async def main():
        pool = await create_pool(RedisSettings.from_dsn(URL))
        job = await pool.enqueue_job(name, *args)
        return await job.result(timeout=30) if wait else None
    return asyncio.run(main())
"""


@dataclass(frozen=True)
class Peer:
    """One queue: its app, the command of its worker, and one line of Python for each kind of call that is sent."""

    app: str
    worker: tuple[str, ...]
    work: str
    wrong: str
    fail: str
    later: str
    package: str = ""


PEERS = {
    "aiotask": Peer(
        AIOTASK,
        ("-m", "aiotask_cli", "worker", "shop"),
        "shop.work.apply_async(path)",
        "shop.work.apply_async(1, 2, 3)",
        "shop.fail.apply_async().get(timeout=30)",
        "shop.app.s('shop:later', path).apply_async()",
    ),
    "celery": Peer(
        CELERY,
        ("-m", "celery", "-A", "shop", "worker"),
        "shop.work.delay(path)",
        "shop.work.delay(1, 2, 3)",
        "shop.fail.delay().get(timeout=30)",
        "shop.app.send_task('shop.later', (path,))",
    ),
    "rq": Peer(
        RQ,
        ("-m", "rq.cli", "worker", "--url", "$SHOP_URL"),
        "shop.queue.enqueue(shop.work, path)",
        "shop.queue.enqueue(shop.work, 1, 2, 3)",
        "job = shop.queue.enqueue(shop.fail); until(lambda: job.is_failed); "
        "raise RuntimeError('text: ' + job.latest_result().exc_string.strip().splitlines()[-1])",
        "shop.queue.enqueue('shop.later', path)",
    ),
    "dramatiq": Peer(
        DRAMATIQ,
        ("-m", "dramatiq", "shop"),
        "shop.work.send(path)",
        "shop.work.send(1, 2, 3)",
        "shop.fail.send().get_result(block=True, timeout=30000)",
        "import dramatiq; shop.broker.enqueue(dramatiq.Message("
        "queue_name='default', actor_name='later', args=(path,), kwargs={}, options={}))",
    ),
    "huey": Peer(
        HUEY,
        ("-m", "huey.bin.huey_consumer", "shop.huey"),
        "shop.work(path)",
        "shop.work(1, 2, 3)",
        "shop.fail().get(blocking=True, timeout=30)",
        "os.environ['LATER'] = '1'; import importlib; importlib.reload(shop).later(path)",
    ),
    "arq": Peer(
        ARQ,
        ("-m", "arq", "shop.WorkerSettings"),
        "shop.send('work', path)",
        "shop.send('work', 1, 2, 3)",
        "shop.send('fail', wait=True)",
        "shop.send('later', path)",
    ),
}

SEND = """
import os, sys, time
def until(condition):
    end = time.time() + 30
    while not condition() and time.time() < end:
        time.sleep(0.05)
sys.path.insert(0, os.getcwd())
import shop
path = sys.argv[1]
try:
    {line}
except Exception as error:
    print(f"{{type(error).__module__}}.{{type(error).__qualname__}}: {{error}}")
else:
    print("ok")
"""


class Scene:
    """A directory with the app of one queue, a private Redis, and the worker of that queue."""

    def __init__(self, peer: Peer, place: Path, port: int) -> None:
        self.peer, self.place = peer, place
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
        self.env |= {"SHOP_URL": f"redis://127.0.0.1:{port}/0", "PYTHONPATH": str(place)}
        (place / "shop.py").write_text(COMMON + peer.app)
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        command = [word.replace("$SHOP_URL", self.env["SHOP_URL"]) for word in self.peer.worker]
        with (self.place / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.place,
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Send SIGKILL to the whole process group; the experiment needs nothing from it any more."""
        if self.worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker.wait()

    def send(self, line: str, path: Path) -> str:
        """Run one line of Python in a process of its own, and return the last line that it prints."""
        sent = subprocess.run(
            [sys.executable, "-c", SEND.format(line=line), str(path)],
            cwd=self.place,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=90,
        )
        lines = sent.stdout.strip().splitlines()
        return lines[-1] if lines else f"crashed: {sent.stderr.strip().splitlines()[-1]}"


def until(condition: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wrong_arguments(scene: Scene) -> str:
    said = scene.send(scene.peer.wrong, scene.place / "none")
    return "accepted" if said == "ok" else f"refused ({said.split(':')[0].removeprefix('builtins.')})"


def own_exception(scene: Scene) -> str:
    said = scene.send(scene.peer.fail, scene.place / "none")
    if said.startswith("shop.OutOfStock"):
        return "the same class"
    return "its traceback as text" if ": text: " in said else said.split(": ")[0]


def killed(scene: Scene, timeout: float) -> str:
    """Kill the process that runs a job; if the worker command ends because of it, start it again at once."""
    path = scene.place / "killed.txt"
    scene.send(scene.peer.work, path)
    if not until(lambda: lines(path), 60):
        return "never ran"
    at = time.time()
    os.kill(int(lines(path)[0][1]), signal.SIGKILL)
    end = time.monotonic() + timeout
    while len(lines(path)) < 2 and time.monotonic() < end:
        assert scene.worker is not None
        if scene.worker.poll() is not None:
            scene.stop()
            scene.start()
        time.sleep(0.02)
    ran = lines(path)
    return f"{float(ran[1][0]) - at:.1f} s" if len(ran) > 1 else f"not within {timeout:.0f} s"


def deployed_later(scene: Scene) -> str:
    """Send a job before any worker knows its task."""
    path = scene.place / "later.txt"
    scene.stop()
    scene.start()
    time.sleep(5)
    said = scene.send(scene.peer.later, path)
    # Give the worker time to receive the job and to handle it in its way.
    time.sleep(5)
    scene.stop()
    scene.start(LATER="1")
    if until(lambda: lines(path), 60):
        return "runs once such a worker starts"
    # A job that is sent now shows whether the new worker does know the task.
    control = scene.place / "control.txt"
    scene.send(scene.peer.later, control)
    return "does not run" if until(lambda: lines(control), 60) else f"the measurement failed ({said})"


@contextlib.contextmanager
def private_redis(place: Path, port: int) -> Iterator[None]:
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(place))
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--port", type=int, default=16399, help="port of the private Redis")
    parser.add_argument(
        "--rerun-timeout", type=float, default=RERUN_TIMEOUT, help="seconds that a killed job gets to run again"
    )
    arguments = parser.parse_args()
    peer = PEERS[arguments.peer]
    with tempfile.TemporaryDirectory(prefix="shop-") as directory:
        place = Path(directory)
        with private_redis(place, arguments.port):
            scene = Scene(peer, place, arguments.port)
            scene.start()
            try:
                time.sleep(3)
                row = {
                    "wrong arguments": wrong_arguments(scene),
                    "own exception": own_exception(scene),
                    "killed": killed(scene, arguments.rerun_timeout),
                    "deployed later": deployed_later(scene),
                }
            finally:
                scene.stop()
        print(
            arguments.peer,
            metadata.version(arguments.peer),
            *(f"{what}: {saw}" for what, saw in row.items()),
            sep=" | ",
        )


if __name__ == "__main__":
    main()
