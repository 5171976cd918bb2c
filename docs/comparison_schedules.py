"""Measure what becomes of a schedule: when clocks change, while nothing runs, with two services, and after a deploy.

Run it once per queue, in an environment where that queue is installed, with redis-server on the PATH::

    pip install 'aiotask[cron]' && python docs/comparison_schedules.py aiotask
    pip install 'celery[redis]' && python docs/comparison_schedules.py celery
    pip install pydocket && python docs/comparison_schedules.py docket
    npm install bullmq ioredis && NODE_PATH=$PWD/node_modules python docs/comparison_schedules.py bullmq

It takes about ten minutes, because it waits for whole minutes. The runs at a change of clocks are computed by the code
of each queue for a time that it is given; everything else runs in real time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import comparison_scene
from comparison import private_redis
from comparison_scene import Scene

#: In Europe/Berlin clocks go from 02:00 to 03:00 on the first night, and from 03:00 to 02:00 on the second one.
NIGHTS = ("2026-03-29", "2026-10-25")
EXPRESSIONS = ("30 2 * * *", "0 * * * *", "*/30 * * * *", "*/30 2 * * *")
#: Seconds that a service may take to stop.
PATIENCE = 20.0
#: Hours of a night that are looked at.
HOURS = 5

# Every run writes a line with the time.
COMMON = """
import os, sys, time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo
URL, PATH, HAS_SCHEDULE = os.environ["SHOP_URL"], os.environ["SHOP_PATH"], os.environ.get("SHOP_RELEASE") == "1"
ZONE = ZoneInfo("Europe/Berlin")
def say():
    with open(PATH, "a") as file:
        file.write(f"{time.time()} {os.getpid()}\\n")
"""

AIOTASK = """
from aiotask import App
app = App("shop", url=URL)
@app.task(**({"cron": "* * * * *"} if HAS_SCHEDULE else {}))
def tick():
    say()
def runs(expression, start, end):
    from aiotask.values.schedule import after, check_spec
    spec, moment = check_spec(expression, None, "Europe/Berlin"), start
    while (moment := after(spec, moment)) < end:
        yield moment
"""

CELERY = """
from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import crontab
app = Celery("shop", broker=URL)
@app.task
def tick():
    say()
if HAS_SCHEDULE:
    app.conf.beat_schedule = {"tick": {"task": "shop.tick", "schedule": crontab()}}
def runs(expression, start, end):
    # The loop of beat, with a clock of its own.
    app.conf.timezone = "Europe/Berlin"
    clock, now = [start], lambda: datetime.fromtimestamp(clock[0], ZONE)
    fields = dict(zip(("minute", "hour", "day_of_month", "month_of_year", "day_of_week"), expression.split()))
    schedule = crontab(**fields, nowfun=now, app=app)
    entry = ScheduleEntry(name="tick", task="shop.tick", schedule=schedule, app=app, last_run_at=now())
    while clock[0] < end:
        due, seconds = entry.is_due()
        if due:
            yield clock[0]
            entry = next(entry)
        clock[0] += max(0.1, min(seconds, 300))
"""

DOCKET = """
import asyncio
from docket import Cron, Docket, Worker
async def with_schedule(cron: Cron = Cron("* * * * *")): say()
async def without(): say()
tick = with_schedule if HAS_SCHEDULE else without
tick.__name__ = "tick"
async def serve():
    async with Docket(name="shop", url=URL) as docket:
        docket.register(tick)
        async with Worker(docket) as worker:
            await worker.run_forever()
def runs(expression, start, end):
    from cronsim import CronSim  # as Cron of docket calls it, when a run has ended
    moment = start
    while (moment := next(CronSim(expression, datetime.fromtimestamp(moment, ZONE))).timestamp()) < end:
        yield moment
"""

BULLMQ = '''
import json, subprocess
WORKER = """
const { Queue, Worker } = require("bullmq"), fs = require("fs"), connection = { url: process.env.SHOP_URL };
(async () => {
  if (process.env.SHOP_RELEASE === "1") {
    await new Queue("shop", { connection }).upsertJobScheduler("tick", { pattern: "* * * * *" }, { name: "tick" });
  }
  new Worker("shop", async () => {
    fs.appendFileSync(process.env.SHOP_PATH, `${Date.now() / 1000} ${process.pid}\\\\n`);
  }, { connection });
})();
"""
RUNS = """
const { getNextMillis } = require("bullmq"), [pattern, start, end] = process.argv.slice(1), found = [];
for (let at = +start; (at = getNextMillis(at, { pattern, tz: "Europe/Berlin" })) < +end;) found.push(at / 1000);
console.log(JSON.stringify(found));
"""
def runs(expression, start, end):
    arguments = [expression, str(int(1000 * start)), str(int(1000 * end))]
    return json.loads(subprocess.run(["node", "-e", RUNS, *arguments], check=True, capture_output=True).stdout)
'''

RUNS = """
import shop, sys
from datetime import datetime
for night in sys.argv[2:]:
    start = datetime.fromisoformat(night).replace(tzinfo=shop.ZONE).timestamp()
    found = [datetime.fromtimestamp(at, shop.ZONE) for at in shop.runs(sys.argv[1], start, start + HOURS * 3600)]
    print(f"{sys.argv[1]:14} {night}:", *(f"{at:%H:%M}{at.strftime('%z')[:3]}" for at in found))
""".replace("HOURS", str(HOURS))


@dataclass(frozen=True)
class Peer:
    """One queue: its app, and the command of a service, workers and scheduler."""

    app: str
    service: tuple[str, ...]


PEERS = {
    "aiotask": Peer(AIOTASK, comparison_scene.AIOTASK),
    "celery": Peer(CELERY, ("-m", "celery", "-A", "shop", "worker", "-B", "-s", "{}.db", "-c", "1", "-n", "{}@%h")),
    "docket": Peer(DOCKET, comparison_scene.DOCKET),
    "bullmq": Peer(BULLMQ, comparison_scene.BULLMQ),
}


class Shop(Scene):
    """The app of one queue, and its services."""

    def __init__(self, peer: Peer, place: Path, port: int) -> None:
        super().__init__(COMMON + peer.app, peer.service, place, port)

    def runs_at_a_change(self) -> None:
        for expression in EXPRESSIONS:
            self.run(RUNS, expression, *NIGHTS)

    def count(self, start: float, end: float) -> int:
        """Number of runs between two times; waits until the second one is there."""
        time.sleep(max(0.0, end - time.time()))
        return sum(start <= float(words[0]) < end for words in self.lines())


def measure(scene: Shop) -> None:
    # Not shortly before a minute, so that the services are there when it begins.
    time.sleep(max(0.0, 40 - time.time() % 60, 75 - time.time() % 60 if time.time() % 60 > 45 else 0.0))
    minute = (time.time() // 60 + 1) * 60
    scene.start(2, SHOP_RELEASE="1")
    print("two services, two moments, runs:", scene.count(minute - 5, minute + 90), flush=True)
    scene.stop(PATIENCE)
    back = minute + 4 * 60 + 20
    time.sleep(max(0.0, back - time.time()))
    scene.start(1, SHOP_RELEASE="1")
    print("down for three moments; runs that come later:", scene.count(minute + 100, back + 30), flush=True)
    scene.stop(PATIENCE)
    scene.start(1, SHOP_RELEASE="2")
    print("a release without the schedule, two moments, runs:", scene.count(back + 35, back + 35 + 120), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", choices=PEERS)
    parser.add_argument("--port", type=int, default=7964)
    parser.add_argument("--clocks-alone", action="store_true", help="compute the runs at a change of clocks, and end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, private_redis(Path(text), options.port):
        scene = Shop(PEERS[options.queue], Path(text), options.port)
        scene.runs_at_a_change()
        if options.clocks_alone:
            return
        try:
            measure(scene)
        finally:
            scene.stop(PATIENCE)


if __name__ == "__main__":
    main()
