"""Measure what becomes of a limit of one job at a time: between two jobs, and when the worker dies that runs one.

Run it once per queue, in an environment where that queue is installed, with redis-server on the PATH::

    pip install pydocket && python docs/comparison_limits.py docket
    npm install bullmq ioredis && NODE_PATH=$PWD/node_modules python docs/comparison_limits.py bullmq

It starts a private Redis and two workers with the defaults of that queue, and prints what it saw.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from comparison import RERUN_TIMEOUT, private_redis, until

#: Jobs between which the gaps are measured.
JOBS = 40

# Every run writes a line when it begins, and one when it ends: the time, its process, and its name.
COMMON = """
import os, sys, time, asyncio
URL, PATH = os.environ["SHOP_URL"], os.environ["SHOP_PATH"]
def say(what):
    with open(PATH, "a") as file:
        file.write(f"{time.time()} {os.getpid()} {what}\\n")
def seconds_of(what):
    return 3600 if what == "held" and not any(line.split()[2] == what for line in open(PATH)) else 0
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
def send(names):
    for name in names:
        work.apply_async(name)
    app.client.block(app.flush())
"""

DOCKET = """
from docket import ConcurrencyLimit, Docket
async def work(what: str, limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)):
    seconds = seconds_of(what)
    say(what)
    await asyncio.sleep(seconds)
    say(what + "-end")
async def send_all(names):
    async with Docket(name="shop", url=URL) as docket:
        docket.register(work)
        for name in names:
            await docket.add(work)(name)
def send(names): asyncio.run(send_all(names))
async def serve():
    from docket import Worker
    async with Docket(name="shop", url=URL) as docket:
        docket.register(work)
        async with Worker(docket) as worker:
            await worker.run_forever()
"""

BULLMQ = '''
import subprocess
WORKER = """
const { Worker } = require("bullmq"), fs = require("fs"), path = process.env.SHOP_PATH;
const say = (what) => fs.appendFileSync(path, `${Date.now() / 1000} ${process.pid} ${what}\\\\n`);
new Worker("shop", async (job) => {
  const what = job.data.what, again = fs.readFileSync(path, "utf8").includes(` ${what}\\\\n`);
  say(what);
  await new Promise((done) => setTimeout(done, what === "held" && !again ? 3600000 : 0));
  say(what + "-end");
}, { connection: { url: process.env.SHOP_URL } });
"""
SEND = """
const { Queue } = require("bullmq"), queue = new Queue("shop", { connection: { url: process.env.SHOP_URL } });
(async () => {
  await queue.setGlobalConcurrency(1);
  for (const what of process.argv.slice(1)) await queue.add("work", { what });
  process.exit(0);
})();
"""
def send(names): subprocess.run(["node", "-e", SEND, *names], check=True)
'''


@dataclass(frozen=True)
class Peer:
    """One queue: its app, and the command of its worker."""

    app: str
    worker: tuple[str, ...]


PEERS = {
    "aiotask": Peer(AIOTASK, ("-m", "aiotask_cli", "worker", "shop", "-c", "1")),
    "docket": Peer(DOCKET, ("-c", "import asyncio, shop; asyncio.run(shop.serve())")),
    "bullmq": Peer(BULLMQ, ("-c", "import os, shop; os.execvp('node', ['node', '-e', shop.WORKER])")),
}


class Scene:
    """A directory with the app of one queue, and two of its workers."""

    def __init__(self, peer: Peer, place: Path, port: int) -> None:
        self._peer = peer
        self._place = place
        self._path = place / "runs"
        self._path.touch()
        env = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
        self._env = env | {
            "SHOP_URL": f"redis://127.0.0.1:{port}/0",
            "SHOP_PATH": str(self._path),
            "PYTHONPATH": str(place),
        }
        (place / "shop.py").write_text(COMMON + peer.app)
        self.workers = [self._start() for _ in range(2)]

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._place / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *self._peer.worker],
                cwd=self._place,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, *names: str) -> None:
        subprocess.run(
            [sys.executable, "-c", "import shop, sys; shop.send(sys.argv[1:])", *names],
            cwd=self._place,
            env=self._env,
            check=True,
        )

    def seen(self, what: str) -> list[tuple[float, int]]:
        """Times and processes of the lines with this name."""
        lines = [line.split() for line in self._path.read_text().splitlines()]
        return [(float(time), int(process)) for time, process, name in lines if name == what]

    def kill(self, process: int) -> None:
        """Kill the worker, with all of its processes, one of which is this one."""
        os.killpg(os.getsid(process), signal.SIGKILL)

    def stop(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def gap(scene: Scene) -> str:
    """Between the end of one job and the start of the next one."""
    names = [f"job{n}" for n in range(JOBS)]
    scene.send(*names)
    if not until(lambda: all(scene.seen(f"{name}-end") for name in names), 120):
        return "not all ran within 120 s"
    starts = sorted(scene.seen(name)[0][0] for name in names)
    ends = sorted(scene.seen(f"{name}-end")[0][0] for name in names)
    gaps = [start - end for start, end in zip(starts[1:], ends, strict=False)]
    return f"median {1000 * statistics.median(gaps):.1f} ms, longest {1000 * max(gaps):.1f} ms"


def death(scene: Scene) -> tuple[str, str]:
    """After a kill of the worker that runs the only job: when that job runs again, and when the next one starts."""
    scene.send("held")
    assert until(lambda: scene.seen("held"), 60), "the job did not start"
    scene.send("next")
    killed = time.time()
    scene.kill(scene.seen("held")[0][1])
    until(lambda: len(scene.seen("held")) > 1 and scene.seen("next"), RERUN_TIMEOUT)
    again, after = scene.seen("held")[1:], scene.seen("next")
    return tuple(f"{times[0][0] - killed:.1f} s" if times else "not" for times in (again, after))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", choices=PEERS)
    parser.add_argument("--port", type=int, default=7963)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, private_redis(Path(text), options.port):
        scene = Scene(PEERS[options.queue], Path(text), options.port)
        try:
            print("from one job to the next:", gap(scene), flush=True)
            again, after = death(scene)
            print(f"kill -9 of the holder's worker: its job runs again after {again}, the next one after {after}")
        finally:
            scene.stop()


if __name__ == "__main__":
    main()
