"""Measure what becomes of calls that depend on calls, where something fails, dies, or is cancelled.

Run it once per queue, in an environment where that queue is installed, with redis-server on the PATH::

    pip install 'celery[redis]' && python docs/comparison_graphs.py celery
    npm install bullmq ioredis && NODE_PATH=$PWD/node_modules python docs/comparison_graphs.py bullmq

It starts a private Redis and one worker with the defaults of that queue, runs four experiments, and prints what it saw.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from comparison import RERUN_TIMEOUT, Peer, Scene, lines, private_redis, until

#: Seconds after which what has not run is said not to run.
ANSWER_TIMEOUT = 20.0

# Every task writes a line: the time, its process, and its name.
COMMON = """
def say(path, what):
    with open(path, "a") as file:
        file.write(f"{time.time()} {os.getpid()} {what}\\n")
def said(path, what):
    return os.path.exists(path) and any(line.split()[2] == what for line in open(path))
def step(path, what, seconds):
    again = said(path, what)
    say(path, what)
    time.sleep(0 if again else seconds)
    say(path, what + "-end")
    return 1
def broken(path):
    say(path, "broken")
    if not os.path.exists(path + ".mended"):
        raise OutOfStock("leek")
    return 1
"""

AIOTASK = """
from aiotask import App, chain, group
app = App("shop", url=URL)
@app.task
def one(path, what, seconds=0): return step(path, what, seconds)
@app.task
def after(value, path, what): return step(path, what, 0)
@app.task
def fail(path): return broken(path)
@app.task
def fail_after(value, path): return broken(path)
@app.task
def failed(error, path): say(path, "failed")
"""

CELERY = """
from celery import Celery, chain, chord
app = Celery("shop", broker=URL, backend=URL)
@app.task
def one(path, what, seconds=0): return step(path, what, seconds)
@app.task
def after(value, path, what): return step(path, what, 0)
@app.task
def fail(path): return broken(path)
@app.task
def failed(request, error, traceback, path): say(path, "failed")
"""

DRAMATIQ = """
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as Limits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
broker.add_middleware(GroupCallbacks(Limits(url=URL)))
dramatiq.set_broker(broker)
@dramatiq.actor(store_results=True)
def one(path, what, seconds=0): return step(path, what, seconds)
@dramatiq.actor(store_results=True)
def after(value, path, what): return step(path, what, 0)
@dramatiq.actor(store_results=True)
def join(path, what): return step(path, what, 0)
@dramatiq.actor(store_results=True, max_retries=0)
def fail(path): return broken(path)
@dramatiq.actor
def failed(message, error): say(message["args"][0], "failed")
"""

BULLMQ = '''
import subprocess
WORKER = """
const { Worker } = require("bullmq"), fs = require("fs");
const say = (path, what) => fs.appendFileSync(path, `${Date.now() / 1000} ${process.pid} ${what}\\\\n`);
const said = (path, what) => fs.existsSync(path) && fs.readFileSync(path, "utf8").includes(` ${what}\\\\n`);
new Worker("shop", async (job) => {
  const { path, what, seconds } = job.data, again = said(path, what);
  say(path, what);
  if (what === "broken" && !fs.existsSync(path + ".mended")) throw new Error("leek");
  await new Promise((done) => setTimeout(done, again ? 0 : (seconds || 0) * 1000));
  say(path, what + "-end");
}, { connection: { url: process.env.SHOP_URL }, concurrency: 4 });
"""
SEND = """
const { FlowProducer, Queue, QueueEvents } = require("bullmq");
const connection = { url: process.env.SHOP_URL }, path = process.argv[1];
const call = (what, seconds, children, opts) =>
  ({ name: what, queueName: "shop", data: { path, what, seconds }, children, opts });
const said = (what) => require("fs").existsSync(path) &&
  require("fs").readFileSync(path, "utf8").includes(` ${what}\\\\n`);
const until = async (what) => { while (!said(what)) await new Promise((done) => setTimeout(done, 50)); };
(async () => {
  const flows = new FlowProducer({ connection }), events = new QueueEvents("shop", { connection });
  await events.waitUntilReady();
  const wait = (tree) => tree.job.waitUntilFinished(events, 20000);
  try { BODY; console.log("ok"); } catch (error) { console.log(`${error.name}: ${error.message}`); }
  process.exit(0);
})();
"""
def node(body, path):
    done = subprocess.run(["node", "-e", SEND.replace("BODY", body), path], capture_output=True, text=True)
    answer = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1]
    if answer != "ok":
        raise RuntimeError(answer)
'''
_BULL_WORKER = "import os, shop; os.execvp('node', ['node', '-e', shop.WORKER])"


@dataclass(frozen=True)
class Calls:
    """How a queue is asked for each experiment: a line of Python in the process that sends; empty: it has no way."""

    peer: Peer
    #: A group of a call that fails at once and one that takes 3 s; a join; a callback for the error; wait for the end.
    failing: str
    #: A group with a call that takes 5 s, and a join.
    killed: str
    #: Three calls one after the other; the first takes 3 s and is cancelled, with the others, once it runs.
    cancelled: str
    #: Three calls one after the other, of which the second fails; once it has, what failed is run again.
    again: str


def _peer(app: str, *worker: str) -> Peer:
    return Peer(COMMON + app, worker, "", "", "", "")


_STARTED = "until(lambda: shop.said(path, 'first'))"
_BROKEN = "until(lambda: shop.said(path, 'broken')); time.sleep(3); open(path + '.mended', 'w').close()"
_TREE = "await flows.add(call('third', 0, [call('second', 0, [call('first', 3)])]))"

QUEUES = {
    "aiotask": Calls(
        _peer(AIOTASK, "-m", "aiotask_cli", "worker", "shop", "-c", "2"),
        "shop.group(shop.fail.s(path), shop.one.s(path, 'slow', 3)).then(shop.after, path, 'join')"
        ".on_error(shop.failed, path).apply_async().get(timeout=20)",
        "shop.group(shop.one.s(path, 'quick'), shop.one.s(path, 'slow', 5)).then(shop.after, path, 'join')"
        ".apply_async().blocking.sent()",
        "r = shop.one.s(path, 'first', 3).then(shop.after, path, 'second').then(shop.after, path, 'third')"
        f".apply_async(); {_STARTED}; r.blocking.cancel()",
        "r = shop.one.s(path, 'first').then(shop.fail_after, path).then(shop.after, path, 'third').apply_async(); "
        f"{_BROKEN}; import asyncio; asyncio.run(shop.app.replay_graph(r.id))",
    ),
    "celery": Calls(
        _peer(CELERY, "-m", "celery", "-A", "shop", "worker", "-c", "2"),
        "shop.chord([shop.fail.s(path), shop.one.s(path, 'slow', 3)])"
        "(shop.after.s(path, 'join').on_error(shop.failed.s(path))).get(timeout=20)",
        "shop.chord([shop.one.s(path, 'quick'), shop.one.s(path, 'slow', 5)])(shop.after.s(path, 'join'))",
        "r = shop.chain(shop.one.s(path, 'first', 3), shop.after.s(path, 'second'), shop.after.s(path, 'third'))(); "
        f"{_STARTED}; r.revoke(terminate=True)",
        "",
    ),
    "dramatiq": Calls(
        _peer(DRAMATIQ, "-m", "dramatiq", "shop"),
        "import dramatiq; g = dramatiq.group([shop.fail.message_with_options(args=(path,), on_failure=shop.failed), "
        "shop.one.message(path, 'slow', 3)]); g.add_completion_callback(shop.join.message(path, 'join')); "
        "list(g.run().get_results(block=True, timeout=20000))",
        "import dramatiq; g = dramatiq.group([shop.one.message(path, 'quick'), shop.one.message(path, 'slow', 5)]); "
        "g.add_completion_callback(shop.join.message(path, 'join')); g.run()",
        "",
        "",
    ),
    "bullmq": Calls(
        _peer(BULLMQ, "-c", _BULL_WORKER),
        "shop.node(\"await wait(await flows.add(call('join', 0, [call('broken'), call('slow', 3)])))\", path)",
        "shop.node(\"await flows.add(call('join', 0, [call('quick'), call('slow', 5)]))\", path)",
        f"shop.node(\"const tree = {_TREE}; await until('first'); await tree.job.remove()\", path)",
        "shop.node(\"const tree = await flows.add(call('third', 0, [call('broken', 0, [call('first')])])); "
        "await until('broken'); await new Promise((done) => setTimeout(done, 3000)); "
        "require('fs').writeFileSync(path + '.mended', ''); "
        "const failed = await new Queue('shop', { connection }).getFailed(); "
        'await failed.find((job) => job.data.path === path).retry()", path)',
    ),
}


class Log:
    """What the tasks of one experiment have said."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[str]:
        return [what for _, _, what in lines(self.path)]

    def has(self, what: str) -> bool:
        return what in self.all()

    def time(self, what: str) -> float:
        return next(float(at) for at, _, said in lines(self.path) if said == what)


def failing(scene: Scene, calls: Calls) -> str:
    """What the caller gets and when; whether the join is run; when the callback for the error is called."""
    log = Log(scene.place / "failing.txt")
    answer = scene.send(calls.failing, log.path)
    waited = time.time() - log.time("broken")
    until(lambda: log.has("slow-end"), ANSWER_TIMEOUT)
    until(lambda: log.has("join") or log.has("failed"), ANSWER_TIMEOUT)
    callback = "no callback"
    if log.has("failed"):
        when = "before" if log.time("failed") < log.time("slow-end") else "after"
        callback = f"callback {when} the other member ended"
    return f"caller: {answer[:160]} after {waited:.0f} s; join {'run' if log.has('join') else 'not run'}; {callback}"


def killed(scene: Scene, calls: Calls, timeout: float) -> str:
    """Kill all processes of the worker while a member of the group runs, and start the worker again at once."""
    log = Log(scene.place / "killed.txt")
    answer = scene.send(calls.killed, log.path)
    if not until(lambda: log.has("slow"), ANSWER_TIMEOUT):
        return f"never ran ({answer})"
    at = time.time()
    scene.stop()
    scene.start()
    until(lambda: log.has("join"), timeout)
    starts = [float(when) for when, _, what in lines(log.path) if what == "slow"]
    again = f"run again after {starts[1] - at:.1f} s" if len(starts) > 1 else f"not run again within {timeout:.0f} s"
    join = f"after {log.time('join') - at:.1f} s" if log.has("join") else "not run"
    return f"the member: {again}; the join: {join}"


def cancelled(scene: Scene, calls: Calls) -> str:
    """Which of three calls ran although all were cancelled while the first one ran."""
    return _ran(scene, "cancelled", calls.cancelled)


def again(scene: Scene, calls: Calls) -> str:
    """Which calls run when what has failed is run again."""
    return _ran(scene, "again", calls.again)


def _ran(scene: Scene, name: str, call: str) -> str:
    """Which of three calls ran, until the third one has or the time is over."""
    if not call:
        return "no such call"
    log = Log(scene.place / f"{name}.txt")
    answer = scene.send(call, log.path)
    until(lambda: log.has("third"), ANSWER_TIMEOUT)
    return f"{answer[:160]}: ran: {' '.join(log.all())}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", choices=QUEUES)
    parser.add_argument("--port", type=int, default=16398, help="port of the private Redis")
    parser.add_argument("--rerun-timeout", type=float, default=RERUN_TIMEOUT, help="seconds a killed job gets")
    arguments = parser.parse_args()
    # A terminal that goes away ends this process alone; the worker has a session of its own.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    calls = QUEUES[arguments.queue]
    with tempfile.TemporaryDirectory(prefix="shop-") as directory:
        place = Path(directory)
        with private_redis(place, arguments.port):
            scene = Scene(calls.peer, place, arguments.port)
            scene.start()
            try:
                time.sleep(3)
                print(arguments.queue, "a member fails:", failing(scene, calls), sep=" | ", flush=True)
                print(arguments.queue, "cancelled:", cancelled(scene, calls), sep=" | ", flush=True)
                print(arguments.queue, "run again:", again(scene, calls), sep=" | ", flush=True)
                print(arguments.queue, "killed:", killed(scene, calls, arguments.rerun_timeout), sep=" | ", flush=True)
            finally:
                scene.stop()
                if os.environ.get("SHOW_LOG"):
                    print((place / "worker.log").read_text()[-3000:])


if __name__ == "__main__":
    main()
