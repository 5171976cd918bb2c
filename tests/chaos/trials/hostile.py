"""Somebody who can reach the server but has no secret writes whatever he likes, wherever he likes."""

from __future__ import annotations

import asyncio
import logging
import re
import struct
import time
from contextlib import closing
from random import Random
from typing import Any

import pytest
import redis

from aiotask.brokers import connect, inspect

from ..arena import Arena
from ..checker import examine
from ..faults.forgery import Forger
from ..features import send_features
from ..hosts import Host
from ..producer import Producer, Sent
from ..report import Report
from ..trial import Tier, trial

_SECRET = "known to app and workers alone"
_ABOARD = 300
_GOOD_AT_ONCE = 50
#: Lines of a log that are not those of single jobs: at all, and per second.
_LINES, _LINES_A_SECOND = 40, 6
_OF_A_JOB = re.compile(r"^[\dT:.+-]+ worker-\d+ [^\w\s] ")

_HOLD = "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])"


@trial(
    14,
    summary="forged, damaged, moved, nested and oversized jobs, outcomes, cancels and control messages, and rubbish in "
    "every key, by somebody without the secret, among good jobs",
    passes=(
        "clean; nothing forged is run or loaded: a canary file never exists",
        "no process of the host ends",
        "every forged job or control message is counted once",
        "logs stay short; whoever lists queues, jobs, workers and dead letters gets an answer",
    ),
    short={"good": 400, "forged": 10, "large": (16_000_000,), "rubbish": 1},
    full={"good": 10_000, "forged": 10, "large": (100_000_000, 100_000_000), "rubbish": 20},
    limits=(60.0, 400.0),
)
async def hostile(arena: Arena, tier: Tier, rng: Random) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOTASK_SECRET", _SECRET)
        return await _Trial(arena, tier, rng).run()


class _Trial:
    def __init__(self, arena: Arena, tier: Tier, rng: Random) -> None:
        self.arena, self.tier = arena, tier
        # What good jobs are sent, and how long some of them take. What is forged has a source of its own: how often the
        # second one is asked depends on the machine.
        self.good_jobs, self.times = Random(rng.random()), Random(rng.random())
        self.canary = arena.directory / "canary"
        self.database = arena.directory / "results.db"
        self.forger = Forger(rng.getrandbits(64), _SECRET, arena.name, arena.tasks.echo.name, self.canary)
        self.client = redis.Redis(unix_socket_path=str(arena.server.socket), protocol=2)
        self.complaints = _Counter()
        #: Forged ones that are to be counted, and that need not be.
        self.expected = self.others = self.begun = 0
        self.naps: list[Sent] = []
        self.failures: list[str] = []

    async def run(self) -> Report:
        environment = {"AIOTASK_SECRET": _SECRET}
        host = await self.arena.start_host(2, "--result-db", str(self.database), env=environment)
        processes, producer = set(host.processes()), self.arena.producer()
        logger, began = logging.getLogger("aiotask"), time.monotonic()
        logger.addHandler(self.complaints)
        try:
            await self._storm(producer)
            await producer.done(60.0)
            counted = await self._counted()
        finally:
            logger.removeHandler(self.complaints)
        seconds = time.monotonic() - began
        await self._read(producer)
        self._tidy_up()
        # In a burst the recorder gives way; what it has not come to is no outcome yet.
        while self.client.xlen(self._key("history")) and time.monotonic() - began < seconds + 60.0:
            await asyncio.sleep(0.05)
        gone = processes - set(host.processes())
        report = await examine(self.arena, settle=10.0, keys=(r"refused:.+", "aside", r"parked:task:.+"), undue=True)
        report.faults["forged"] = self.expected + self.others
        report.require(not self.canary.exists(), "something forged was loaded or run: the canary file is there")
        report.require(not gone, f"processes of the host ended: {gone}")
        report.require(counted == self.expected, f"{counted:,} were counted as rejected, not {self.expected:,}")
        self._judge_logs(report, host, seconds)
        self._judge_history(report, producer)
        report.failures += self.failures
        self.client.close()
        return report

    # ---- the storm

    async def _storm(self, producer: Producer) -> None:
        tasks, tier, good = self.arena.tasks, self.tier, 0
        sizes = list(tier.large)
        while good < tier.good:
            for n in range(_GOOD_AT_ONCE):
                good += 1
                task = (tasks.noop, tasks.sync_noop)[n % 2]
                producer.send(task)
            producer.send(tasks.echo, "ü" * 50)
            send_features(producer, tasks, self.good_jobs)
            # They run while others say that they are cancelled, or have ended.
            self.naps = [nap for nap in self.naps if not nap.ended]
            if len(self.naps) < 6:
                self.naps.append(producer.send(tasks.nap, self.times.uniform(0.3, 1.0)))
            ids = [nap.id for nap in self.naps]
            await asyncio.to_thread(self._strike, _GOOD_AT_ONCE * tier.forged, ids)
            self.forger.begin(f"turn {good}")
            if self.forger.rng.random() < tier.rubbish * _GOOD_AT_ONCE / tier.good or good == _GOOD_AT_ONCE:
                await asyncio.to_thread(self._rubbish, ids)
            if sizes and good >= tier.good / 2:
                await asyncio.to_thread(self._large, sizes.pop())
            self.arena.tell(f"{self.expected + self.others:,} forged, {good:,} good", good, tier.good)
            await producer.pace(_ABOARD)

    def _strike(self, count: int, ids: list[str]) -> None:
        """So many messages: most of them jobs, the others outcomes, cancels and questions."""
        forger, rng, key = self.forger, self.forger.rng, self._key
        channels = [name for name in self.client.pubsub_channels(key("to:*")) if isinstance(name, bytes)]
        hosts = [name for name in channels if self._is_host(name)]
        pipe = self.client.pipeline(transaction=False)
        for _ in range(count):
            self.begun += 1
            forger.begin(f"{self.begun:x}")
            how = rng.random()
            if how < 0.6:
                self.expected += 1
                lane = rng.choice("0123456789r")
                pipe.xadd(key(f"q:default:{lane}"), forger.entry(forger.one_of(ids)))
            elif how < 0.65:
                self.expected += 1
                id, held = forger.held()
                at = rng.choice([0.0, 1.0, time.time() + 1.0, float("-inf")])
                # At once, as our own scripts do it: half of it would be cleared away, and not be counted.
                pipe.eval(_HOLD, 2, key("held"), key("due"), id, held, at)
            elif how < 0.75:
                question = forger.ask()
                # A keeper whose connection was just cut hears nothing.
                if hosts:
                    self.expected += 1
                    pipe.publish(rng.choice(hosts), question)
            else:
                self.others += 1
                self._outcome_or_cancel(pipe, ids, channels)
        pipe.execute()

    def _outcome_or_cancel(self, pipe: Any, ids: list[str], channels: list[bytes]) -> None:
        forger, rng, id = self.forger, self.forger.rng, self.forger.one_of(ids)
        how = rng.random()
        if how < 0.4:
            for n, name in enumerate(channels):
                if not self._is_host(name):
                    forger.begin(f"{self.begun:x}-{n}")
                    pipe.publish(name, forger.message(ids))
        elif how < 0.6:
            # Of one that runs (what has ended could only be destroyed), and of one that nobody has sent.
            pipe.set(self._key(f"r:{id}"), forger.outcome(id), ex=60, nx=True)
            pipe.set(self._key(f"r:{forger.id()}"), forger.outcome(id), ex=60)
        elif how < 0.8:
            for n, name in enumerate(channels):
                forger.begin(f"{self.begun:x}-{n}")
                pipe.publish(name, forger.cancel(ids))
        else:
            pipe.hset(self._key("marks"), rng.choice([id, forger.id()]), forger.mark(id))

    def _large(self, size: int) -> None:
        self.expected += 1
        self.client.xadd(self._key("q:default:5"), self.forger.large(size))
        # More than a subscriber may lag behind: the server hangs up on it.
        for name in self.client.pubsub_channels(self._key("to:*")):
            if not self._is_host(name):
                self.client.publish(name, bytes(min(size, 40_000_000)))

    def _rubbish(self, ids: list[str]) -> None:
        """Something of the right type in every other key there is."""
        rng, key, client, forger = self.forger.rng, self._key, self.client, self.forger
        odd = [b"ghost", b"\xff\xfe", b"a" * 3_000, b"x.1", b"|", b"1"]
        for _ in range(20):
            one, other = rng.choice(odd) + rng.randbytes(2), rng.choice([*odd, rng.randbytes(30), b""])
            client.sadd(key("queues"), one)
            client.sadd(key("parked"), one)
            client.hset(key("live"), one, rng.choice([other, forger.meta(), b"\x91" * 9_000]))
            client.hset(key("leases"), one, rng.choice([other, b"17", b"-1", b"1e9", b"9" * 5_000]))
            bucket = rng.choice(["", "00aaaaaaaaaaaaaaa-", ids[0][:-1]])
            client.sadd(key("index"), one, bucket)
            client.hset(
                key(f"index:{bucket}"), one, rng.choice([other, b"due|S", b"q:default:5|x", b"live|1-1", b"q:no:5|1-1"])
            )
            client.hset(key("watch"), rng.choice([one, ids[0].encode()]), other)
            client.hset(key("begun"), one, other)
            client.hset(key("marks"), one, other)
            client.zadd(key("due"), {one: 0.0})
            client.zadd(key("due"), {forger.one_of(ids): 0.0})
            client.zadd(key("dead"), {one: rng.choice([0.0, float("inf")])})
            client.hset(key("dead:jobs"), one, other)
            row = struct.pack(">IIH", 0, len(forger.bomb), 0) + forger.bomb
            client.xadd(
                key("history"),
                rng.choice([{b"n": 9, b"r": row}, {one: other}, {b"n": b"1e9", b"r": other}, {b"n": 1, b"r": row}]),
            )
            client.xadd(key("aside"), {one: other})
        client.hset(key("counts"), mapping={"SUCCESS": b"many", one: other})
        client.set(key("clock"), rng.choice([b"late", b"", b"nan", b"\xff"]))
        client.set(key("volunteer"), rng.choice(odd), ex=30)
        client.set(key(f"refused:{ids[0]}"), odd[1], ex=60)
        for name in client.scan_iter(key("client:*")):
            if rng.random() < 0.2:
                client.set(name, rng.choice([b"", b"none", b"\xff"]), ex=60)
        self.begun += 1
        forger.begin(f"{self.begun:x}")
        need = f"task:{self.arena.tasks.noop.name}"
        client.sadd(key("parked"), need)
        for lane in (f"parked:{need}", "q:default:s"):
            self.expected += 1
            client.xadd(key(lane), forger.entry())

    # ---- afterwards

    async def _counted(self) -> int:
        """How many were rejected, once that does not change any more."""
        deadline, before = time.monotonic() + 60.0, -1
        while True:
            counted = int(self.client.hget(self._key("counts"), "rejected") or 0)
            if (counted >= self.expected and counted == before) or time.monotonic() > deadline:
                return counted
            before = counted
            await asyncio.sleep(0.5)

    async def _read(self, producer: Producer) -> None:
        """Whoever looks at all that gets an answer."""
        broker = connect(self.arena.url, self.arena.name)
        inspector = inspect(broker)
        try:
            looks = (inspector.facts, inspector.queues, inspector.workers, inspector.jobs, inspector.dead)
            for look in (*looks, inspector.rejected, inspector.unrecorded, broker.leases):
                try:
                    await look()
                except Exception as error:
                    self.failures.append(f"{look.__qualname__} failed: {type(error).__name__}: {error}")
            ids = [letter.id for letter in await inspector.dead(limit=20)]
            await broker.replay(ids)
        except Exception as error:
            self.failures.append(f"dead letters cannot be replayed: {type(error).__name__}: {error}")
        finally:
            await broker.close()

    def _tidy_up(self) -> None:
        """What nobody but its author removes."""
        for name in ("dead", "dead:jobs", "volunteer", "aside", "marks", "begun", "watch"):
            self.client.delete(self._key(name))
        for name in ("live", "leases"):
            for field in self.client.hkeys(self._key(name)):
                if not re.fullmatch(rb"[\w.-]+-\w+(\.\w+)*", field) and field:
                    self.client.hdel(self._key(name), field)

    def _judge_logs(self, report: Report, host: Host, seconds: float) -> None:
        log = host.supervisor.log
        lines = [line for line in log.splitlines() if not _OF_A_JOB.match(line)]
        most = _LINES + _LINES_A_SECOND * seconds
        report.require(len(lines) <= most, f"{len(lines):,} lines in the log of the host, not {most:.0f}")
        report.require("Traceback" not in log, "the log of the host has a traceback")
        said = self.complaints.count
        report.require(said <= most, f"{said:,} lines in the log of the client, not {most:.0f}")
        report.facts["log"] = f"{len(log.splitlines()):,} lines, {len(log):,} bytes; the client's {said:,} lines"
        report.facts["forged"] = f"{self.expected:,} jobs and questions, all counted; {self.others:,} others"

    def _judge_history(self, report: Report, producer: Producer) -> None:
        """The history has a row of each good job, and no other."""
        import sqlite3

        with closing(sqlite3.connect(self.database)) as file:
            rows = {id for (id,) in file.execute("SELECT id FROM jobs")}
        jobs = {sent.job for sent in producer.sent.values()}
        report.require(rows == jobs, f"{len(rows ^ jobs)} rows of the history are amiss")

    def _key(self, name: str) -> str:
        return self.arena.prefix + name

    def _is_host(self, channel: bytes) -> bool:
        """Of a keeper: it answers questions."""
        address = channel.decode().removeprefix(self._key("to:"))
        return address.encode() in self.client.hkeys(self._key("leases"))


class _Counter(logging.Handler):
    """Counts what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
