"""Measure what becomes of limits: from job to job, a rate over two workers, and keys and slots when a worker dies.

Run it once per queue, in an environment where that queue is installed, with redis-server on the PATH::

    pip install 'celery[redis]' celery-singleton celery-once && python docs/comparison_limits.py celery
    pip install pydocket && python docs/comparison_limits.py docket
    npm install bullmq ioredis && NODE_PATH=$PWD/node_modules python docs/comparison_limits.py bullmq

It starts a private Redis and two workers with the defaults of that queue, and prints what it saw.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import comparison_scene
from comparison import RERUN_TIMEOUT, private_redis, until
from comparison_scene import Scene

#: Jobs between which the gaps are measured, and jobs of a task of which five may start in a second.
JOBS, SPACED = 40, 60
#: Seconds between two calls that have the key of a job whose worker was killed.
AGAIN = 5.0

# Every run writes a line when it begins, and one when it ends: the time, its process, and its name.
COMMON = """
import os, sys, time, asyncio
URL, PATH = os.environ["SHOP_URL"], os.environ["SHOP_PATH"]
def say(what):
    with open(PATH, "a") as file:
        file.write(f"{time.time()} {os.getpid()} {what}\\n")
def seconds_of(what):
    return 3600 if what.startswith("held") and not any(line.split()[2] == what for line in open(PATH)) else 0
"""

AIOTASK = """
from aiotask import App
app = App("shop", url=URL)
@app.task(max_running=1)
async def work(what):
    seconds = seconds_of(what)
    say(what)
    await asyncio.sleep(seconds)
    say(what + "-end")
@app.task(rate="5/s")
async def spaced(what):
    say(what)
@app.task(key="{what}", unique="unfinished")
async def single(what):
    seconds = seconds_of(what)
    say(what)
    await asyncio.sleep(seconds)
def send(task, names):
    for name in names:
        globals()[task].apply_async(name)
    app.client.block(app.flush())
"""

DOCKET = """
from datetime import timedelta
from docket import ConcurrencyLimit, Docket, RateLimit
async def work(what: str, limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)):
    seconds = seconds_of(what)
    say(what)
    await asyncio.sleep(seconds)
    say(what + "-end")
async def spaced(what: str, limit: RateLimit = RateLimit(5, per=timedelta(seconds=1))):
    say(what)
async def single(what: str):
    seconds = seconds_of(what)
    say(what)
    await asyncio.sleep(seconds)
TASKS = {"work": work, "spaced": spaced, "single": single}
async def send_all(task, names):
    async with Docket(name="shop", url=URL) as docket:
        for name in names:
            await docket.add(TASKS[task], key=name if task == "single" else None)(name)
def send(task, names): asyncio.run(send_all(task, names))
async def serve():
    from docket import Worker
    async with Docket(name="shop", url=URL) as docket:
        for task in TASKS.values():
            docket.register(task)
        async with Worker(docket) as worker:
            await worker.run_forever()
"""

CELERY = """
from celery import Celery
from celery_once import AlreadyQueued, QueueOnce
from celery_singleton import Singleton
app = Celery("shop", broker=URL)
app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {"url": URL}}
@app.task(rate_limit="5/s")
def spaced(what):
    say(what)
def run(what):
    seconds = seconds_of(what)
    say(what)
    time.sleep(seconds)
@app.task(base=Singleton)
def single(what): run(what)
@app.task(base=QueueOnce)
def once(what): run(what)
def send(task, names):
    for name in names:
        try:
            globals()[task].delay(name)
        except AlreadyQueued:
            pass
"""

BULLMQ = '''
import subprocess
WORKER = """
const { Worker } = require("bullmq"), fs = require("fs"), path = process.env.SHOP_PATH;
const connection = { url: process.env.SHOP_URL };
const say = (what) => fs.appendFileSync(path, `${Date.now() / 1000} ${process.pid} ${what}\\\\n`);
const work = async (job) => {
  const what = job.data.what, again = fs.readFileSync(path, "utf8").includes(` ${what}\\\\n`);
  say(what);
  await new Promise((done) => setTimeout(done, what.startsWith("held") && !again ? 3600000 : 0));
  say(what + "-end");
};
new Worker("work", work, { connection });
new Worker("single", work, { connection });
new Worker("spaced", async (job) => say(job.data.what), { connection, limiter: { max: 5, duration: 1000 } });
"""
SEND = """
const { Queue } = require("bullmq"), [name, ...all] = process.argv.slice(1);
const queue = new Queue(name, { connection: { url: process.env.SHOP_URL } });
(async () => {
  if (name === "work") await queue.setGlobalConcurrency(1);
  for (const what of all) await queue.add(name, { what }, name === "single" ? { deduplication: { id: what } } : {});
  process.exit(0);
})();
"""
def send(task, names): subprocess.run(["node", "-e", SEND, task, *names], check=True)
'''


@dataclass(frozen=True)
class Peer:
    """One queue: its app, the command of its worker, and the tasks of which calls with one key are one job."""

    app: str
    worker: tuple[str, ...]
    keyed: tuple[str, ...] = ("single",)
    #: Whether it can limit how many jobs run at once, over all workers.
    has_max_running: bool = True


PEERS = {
    "aiotask": Peer(AIOTASK, comparison_scene.AIOTASK),
    "celery": Peer(
        CELERY,
        ("-m", "celery", "-A", "shop", "worker", "-c", "2", "-n", "{}@%h"),
        keyed=("single", "once"),
        has_max_running=False,
    ),
    "docket": Peer(DOCKET, comparison_scene.DOCKET),
    "bullmq": Peer(BULLMQ, comparison_scene.BULLMQ),
}


class Shop(Scene):
    """The app of one queue, and two of its workers."""

    def __init__(self, peer: Peer, place: Path, port: int) -> None:
        super().__init__(COMMON + peer.app, peer.worker, place, port)
        self.start(2)

    def send(self, task: str, *names: str) -> None:
        self.run("import shop, sys; shop.send(sys.argv[1], sys.argv[2:])", task, *names)

    def seen(self, what: str) -> list[tuple[float, int]]:
        """Times and processes of the lines with this name."""
        return [(float(time), int(process)) for time, process, name in self.lines() if name == what]

    def kill(self, process: int) -> None:
        """Kill the worker, with all of its processes, one of which is this one."""
        os.killpg(os.getsid(process), signal.SIGKILL)


def gap(scene: Shop) -> str:
    """Between the end of one job and the start of the next one."""
    names = [f"job{n}" for n in range(JOBS)]
    scene.send("work", *names)
    if not until(lambda: all(scene.seen(f"{name}-end") for name in names), 120):
        return "not all ran within 120 s"
    starts = sorted(scene.seen(name)[0][0] for name in names)
    ends = sorted(scene.seen(f"{name}-end")[0][0] for name in names)
    gaps = [start - end for start, end in zip(starts[1:], ends, strict=False)]
    return f"median {1000 * statistics.median(gaps):.1f} ms, longest {1000 * max(gaps):.1f} ms"


def death(scene: Shop) -> tuple[str, str]:
    """After a kill of the worker that runs the only job: when that job runs again, and when the next one starts."""
    scene.send("work", "held")
    assert until(lambda: scene.seen("held"), 60), "the job did not start"
    scene.send("work", "next")
    killed = time.time()
    scene.kill(scene.seen("held")[0][1])
    until(lambda: len(scene.seen("held")) > 1 and scene.seen("next"), RERUN_TIMEOUT)
    again, after = scene.seen("held")[1:], scene.seen("next")
    return tuple(f"{times[0][0] - killed:.1f} s" if times else "not" for times in (again, after))  # type: ignore[return-value]


def rate(scene: Shop) -> str:
    """Of a task with five starts a second: the most jobs that start within a second, and the time that all take."""
    names = [f"spaced{n}" for n in range(SPACED)]
    scene.send("spaced", *names)
    if not until(lambda: all(scene.seen(name) for name in names), 120):
        return "not all ran within 120 s"
    starts = sorted(scene.seen(name)[0][0] for name in names)
    most = max(sum(start <= other < start + 1 for other in starts) for start in starts)
    return f"{most} in the worst second, {len(names)} within {starts[-1] - starts[0]:.1f} s"


def key(scene: Shop, task: str) -> str:
    """After a kill of the worker that runs a job with a key: when a job with this key runs, called again and again."""
    held = f"held-{task}"
    scene.send(task, held)
    assert until(lambda: scene.seen(held), 60), "the job did not start"
    killed = time.time()
    scene.kill(scene.seen(held)[0][1])
    while len(scene.seen(held)) == 1 and time.time() < killed + RERUN_TIMEOUT:
        scene.send(task, held)
        until(lambda: len(scene.seen(held)) > 1, AGAIN)
    again = scene.seen(held)[1:]
    return f"{again[0][0] - killed:.1f} s" if again else f"not within {RERUN_TIMEOUT:.0f} s"


def measure(queue: str, scenario: str, port: int) -> None:
    with tempfile.TemporaryDirectory() as text, private_redis(Path(text), port):
        scene = Shop(PEERS[queue], Path(text), port)
        try:
            if scenario == "running":
                print("from one job to the next:", gap(scene), flush=True)
                again, after = death(scene)
                print(f"kill -9 of the holder's worker: its job runs again after {again}, the next one after {after}")
            elif scenario == "rate":
                print("a rate of 5/s with two workers:", rate(scene), flush=True)
            else:
                print(f"kill -9 of the worker of a key ({scenario}): the key runs again after", key(scene, scenario))
        finally:
            scene.stop(0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", choices=PEERS)
    parser.add_argument("--port", type=int, default=7963)
    options = parser.parse_args()
    peer = PEERS[options.queue]
    # Each in a Redis and with workers of its own, since a worker is killed in most of them.
    for scenario in ("rate", *(("running",) if peer.has_max_running else ()), *peer.keyed):
        measure(options.queue, scenario, options.port)


if __name__ == "__main__":
    main()
