"""The server, or the line to it, is there and says nothing: stopped, paused, half-open, slow, cut, reset."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from random import Random
from typing import Any

from aiotask.errors import AiotaskError, ConnectionLost
from aiotask.keeper.lease import LEASE

from ..arena import Arena
from ..checker import examine
from ..faults.proxy import Direction, Proxy
from ..hosts import Host
from ..lag import LoopLag
from ..producer import Producer, Sent
from ..report import Report
from ..trial import Tier, trial

#: Seconds: how long a call of a client waits for an answer, what a busy machine may add to that, and how long it may
#: take until everything works again.
_CALL_TIMEOUT = 5.0
_SLACK = 0.3
_BACK = 10.0
#: Seconds of lag that are too much, and how often the machine may surprise us with them.
_LAG = 0.05
_SURPRISES = 1

_SHORT: tuple[tuple[str, float], ...] = (("stopped server and dead lines", 5.2), ("replies cut", 0.4))
_FULL: tuple[tuple[str, float], ...] = (
    ("stopped server", 45.0),
    ("CLIENT PAUSE ALL", 6.0),
    ("CLIENT PAUSE WRITE", 6.0),
    ("clients' words and workers' answers swallowed", 6.0),
    ("clients' answers and workers' words swallowed", 6.0),
    ("all swallowed", 6.0),
    ("all held", 6.0),
    ("all slow", 3.0),
    ("replies cut", 3.0),
    ("resets", 3.0),
)

#: Seconds after which each frozen worker has been given a job of the stream.
_FROZEN = 0.3


@trial(
    4,
    summary="server stopped for longer than the lease, CLIENT PAUSE, lines that swallow, hold, delay, cut and reset, "
    "on the side of clients, workers and keepers; a host cut off until it counts as dead",
    passes=(
        "clean; a host that was cut off beyond its lease may run a job beside the next one, never end it",
        "clients fail within 5 s by a typed error, and their loop lags less than 50 ms",
        "old throughput within 10 s",
        "a stopped server makes no host dead; a dead host ends what runs before it is back",
    ),
    short={"faults": _SHORT, "cut_off": 0.0, "rate": 150, "window": 0.5},
    full={"faults": _FULL, "cut_off": LEASE + 4.0, "rate": 200, "window": 1.0},
    module="tests.chaos.apps.half_open",
    limits=(60.0, 420.0),
)
async def half_open(arena: Arena, tier: Tier, rng: Random) -> Report:
    async with _Stage(arena, tier, rng) as stage:
        for name, seconds in tier.faults:
            await stage.suffer(name, seconds)
        buried = sum(host.supervisor.log.count("declared dead") for host in arena.hosts)
        stage.check(not buried, f"{buried} times a host counted as dead that was none")
        if tier.cut_off:
            await stage.cut_off_keeper(tier.cut_off)
            await stage.cut_off_host(tier.cut_off)
        await stage.end()
        report = await examine(arena, settle=30.0)
    report.forgive("overlap", "its host was cut off beyond its lease and could not know", stage.may_overlap)
    report.failures += stage.failures
    report.facts |= stage.facts
    return report


class _Stage:
    """Two hosts and a client, each behind a proxy of its own, and jobs that stream all the time."""

    def __init__(self, arena: Arena, tier: Tier, rng: Random) -> None:
        self.arena, self.tier, self.rng = arena, tier, rng
        url = arena.server.url
        self.client, self.one, self.other, self.keeper = (Proxy(url, seed=rng.randrange(1000)) for _ in range(4))
        self.proxies = (self.client, self.one, self.other, self.keeper)
        self.facts: dict[str, Any] = {}
        self.failures: list[str] = []
        self.may_overlap: list[str] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> _Stage:
        for proxy in self.proxies:
            await asyncio.to_thread(self._stack.enter_context, proxy)
        arena = self.arena
        self.tasks = arena.load(self.client.url)
        self.producer = arena.producer(self.tasks)
        # The other host's keeper has a line of its own.
        self.first, self.second = await asyncio.gather(
            arena.start_host(1, url=self.one.url),
            arena.start_host(1, url=self.other.url, env={"CHAOS_KEEPER_URL": self.keeper.url}),
        )
        self.lag = await self._stack.enter_async_context(LoopLag(arena.directory / "lag"))
        self.stream = _Stream(self.producer, self.tasks, self.tier.rate, self.tier.window)
        self._streaming = asyncio.create_task(self.stream.run())
        self._stack.callback(self._streaming.cancel)
        await self._back("start", time.monotonic())
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)

    def check(self, condition: object, text: str) -> None:
        if not condition:
            self.failures.append(text)

    async def end(self) -> None:
        self._streaming.cancel()
        self.arena.tell("waiting for the last jobs")
        await self.producer.done(30.0)
        await self.stream.ask_again(self.tasks.app)

    # ---- one fault

    async def suffer(self, name: str, seconds: float) -> None:
        """One fault: clients fail in time, their loop goes on, and after it all is as it was."""
        self.arena.tell(name)
        gc.collect()
        gc.freeze()
        for task in (self.tasks.nap, self.tasks.sync_nap):
            self.producer.send(task, min(seconds + 1.0, 10.0))
        quiet = time.monotonic()
        await self.stream.look()
        self.arena.fault(name)
        began = time.monotonic()
        with self._fault(name, seconds):
            probes = asyncio.create_task(_Probes(self.tasks, self.producer).run())
            await self._go_on(name, began + seconds)
        ended = time.monotonic()
        failed = await probes
        failed["a send"] = max((sent.accepted_at - sent.at for sent in self.stream.since(began, ended)), default=0.0)
        back = await self._back(name, ended)
        self._judge_lag(name, quiet, began, ended)
        what, slowest = max(failed.items(), key=lambda item: item[1])
        self.facts[name] = (
            f"{seconds:g} s; a send failed within {failed['a send']:.2f} s, all within {slowest:.2f} s ({what}); "
            f"{self._lag_text}, back after {back:.1f} s"
        )
        allowed = _CALL_TIMEOUT + max(_SLACK, 2 * self.lag.worst(began, ended + _CALL_TIMEOUT))
        for what, took in failed.items():
            self.check(took <= allowed, f"{name}: {what} took {took:.2f} s to fail, not {_CALL_TIMEOUT:g} s")

    async def _go_on(self, name: str, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if name == "resets":
                for proxy in self.proxies:
                    proxy.reset()
            elif name == "replies cut":
                for proxy in self.proxies:
                    proxy.truncate(self.rng.randrange(1, 3000), direction="down")
            await asyncio.sleep(min(left, 0.25))
            if name == "stopped server and dead lines":
                # What was connected stays deaf.
                for proxy in self.proxies:
                    proxy.heal()

    @contextlib.contextmanager
    def _fault(self, name: str, seconds: float) -> Iterator[None]:
        server = self.arena.server
        workers = (self.one, self.other, self.keeper)
        try:
            if name.startswith("stopped server"):
                server.pause()
            elif name.startswith("CLIENT PAUSE"):
                # It ends by itself: under ALL the command that would end it waits too.
                server.call("CLIENT", "PAUSE", round(seconds * 1000), name.split()[-1])
            for proxy, how in _switches(name, self.client, workers):
                how(proxy)
            yield
        finally:
            if name.startswith("stopped server"):
                server.resume()
            for proxy in self.proxies:
                proxy.heal()

    async def _back(self, name: str, since: float) -> float:
        """Seconds until the stream flows as before."""
        back = await self.stream.flows(since, _BACK + 5.0)
        self.check(back <= _BACK, f"{name}: old throughput after {back:.1f} s, not {_BACK:g} s")
        return back

    def _judge_lag(self, name: str, quiet: float, began: float, ended: float) -> None:
        # In a long fault the machine has more occasions to surprise us.
        during = self.lag.worst(began, ended, leave_out=_SURPRISES + int((ended - began) / 5.0))
        noise = max(self.lag.of_machine(began, ended), self.lag.worst(quiet, began, leave_out=_SURPRISES))
        self._lag_text = f"lag {during * 1000:.0f} ms (machine {noise * 1000:.0f} ms)"
        self.check(during < _LAG + noise, f"{name}: the client's loop lagged {during:.3f} s, the machine {noise:.3f} s")

    # ---- a host that others take for dead

    async def cut_off_keeper(self, seconds: float) -> None:
        """Nobody renews the lease of a host whose workers are well: its jobs go to others, and it begins anew."""
        await self._cut_off("keeper cut off", (self.keeper,), seconds)

    async def cut_off_host(self, seconds: float) -> None:
        """It hears nothing for longer than its lease and goes on with what it has."""
        await self._cut_off("host cut off", (self.other, self.keeper), seconds)

    async def _cut_off(self, name: str, proxies: tuple[Proxy, ...], seconds: float) -> None:
        arena, host = self.arena, self.second
        arena.tell(name)
        workers = host.workers()
        running = await self._occupy(host, seconds + 5.0)
        deaths = host.supervisor.log.count("This host was declared dead")
        arena.fault(name)
        for proxy in proxies:
            proxy.swallow("both")
        await asyncio.sleep(seconds)
        for proxy in proxies:
            proxy.heal()
        healed = time.monotonic()
        ledger = arena.ledger()
        taken = [id for id in running if len({run.pid for run in ledger.by_job[id]}) > 1]
        self.check(len(taken) == len(running), f"{name}: {len(taken)} of {len(running)} jobs were taken over")
        self.may_overlap += running
        await self._wait(lambda: not set(workers) & set(host.processes()), 12.0)
        ended = time.monotonic() - healed
        left = set(workers) & set(host.processes())
        self.check(not left, f"{name}: its workers live {ended:.1f} s after the healing")
        said = host.supervisor.log.count("This host was declared dead") - deaths
        self.check(said >= 1, f"{name}: the host did not notice that it had been declared dead")
        back = await self._back(name, healed)
        # Both hosts are at it again.
        await self._wait(lambda: self._works(host, time.monotonic() - 2.0), 15.0)
        self.check(self._works(host, healed), f"{name}: the host runs nothing after the healing")
        self.facts[name] = (
            f"{seconds:g} s; {len(taken)} of {len(running)} jobs taken over, its old workers gone {ended:.1f} s after "
            f"the healing, back after {back:.1f} s"
        )

    def _where(self, id: str) -> int | None:
        """The process in which a job runs."""
        return next((run.pid for run in self.arena.ledger().running() if run.id == id), None)

    async def _occupy(self, host: Host, seconds: float) -> list[str]:
        """Ids of an async and a sync job that run on this host for so long. The other one has its threads free then."""
        others = self.first.workers()
        self.first.freeze(others)
        try:
            # A worker that waits as it is frozen is still given one job: one of the stream by now.
            await asyncio.sleep(_FROZEN)
            sent = [self.producer.send(task, seconds).id for task in (self.tasks.nap, self.tasks.sync_nap)]
            await self._wait(lambda: all(self._where(id) in host.workers() for id in sent), 5.0)
        finally:
            self.first.thaw(others)
        mine = [id for id in sent if self._where(id) in host.workers()]
        self.check(len(mine) == 2, "no long job came to the host that was to be cut off")
        return mine

    def _works(self, host: Host, since: float) -> bool:
        pids = set(host.workers())
        return any(run.pid in pids and run.start > since for run in self.arena.ledger().attempts.values())

    async def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition() and time.monotonic() < deadline:
            await asyncio.sleep(0.2)


Switch = Callable[[Proxy], AbstractContextManager[Any]]


def _swallow(direction: Direction) -> Switch:
    return lambda proxy: proxy.swallow(direction)


def _switches(name: str, client: Proxy, workers: tuple[Proxy, ...]) -> list[tuple[Proxy, Switch]]:
    """Which proxy does what."""
    everybody = (client, *workers)
    if name.endswith("answers swallowed"):
        return [(client, _swallow("up")), *((proxy, _swallow("down")) for proxy in workers)]
    if name.endswith("words swallowed"):
        return [(client, _swallow("down")), *((proxy, _swallow("up")) for proxy in workers)]
    chosen: dict[str, tuple[tuple[Proxy, ...], Switch]] = {
        "all swallowed": (everybody, _swallow("both")),
        "stopped server and dead lines": (everybody, _swallow("both")),
        "all held": (everybody, lambda proxy: proxy.hold("both")),
        "all slow": (everybody, lambda proxy: proxy.delay(0.1, jitter=0.2)),
    }
    proxies, how = chosen.get(name, ((), _swallow("both")))
    return [(proxy, how) for proxy in proxies]


class _Stream:
    """So many jobs per second, awaited."""

    def __init__(self, producer: Producer, tasks: Any, rate: float, window: float) -> None:
        self._producer, self._tasks, self._rate, self._window = producer, tasks, rate, window
        self.sent: list[Sent] = []
        #: Jobs in a window that have their outcome soon, when all is well.
        self.usual = 0.8 * rate * window

    async def run(self) -> None:
        began, count = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - began) * self._rate)
            # What a late loop has missed is not made up in one go.
            for _ in range(min(due - count, 50)):
                task = self._tasks.sync_noop if len(self.sent) % 4 == 0 else self._tasks.noop
                self.sent.append(self._producer.send(task))
            count = due
            await asyncio.sleep(0.02)

    def since(self, began: float, ended: float) -> list[Sent]:
        return [sent for sent in self.sent if began <= sent.at <= ended and sent.verdict]

    def well(self, start: float) -> int:
        """How many of those that were sent in this window had their outcome soon."""
        sent = [each for each in self.sent[-5000:] if start <= each.at < start + self._window]
        return sum(bool(each.outcome) and each.ended_at - each.at < self._window for each in sent)

    async def look(self) -> None:
        """What is usual now, on this machine."""
        start = time.monotonic()
        await asyncio.sleep(2 * self._window)
        self.usual = min(self.well(start), self._rate * self._window)

    async def flows(self, since: float, timeout: float) -> float:
        """Seconds from that moment to the first window in which nearly as many as usual have their outcome soon;
        infinite if there is none in time."""
        start, wanted = since, 0.8 * self.usual
        while start - since < timeout:
            await asyncio.sleep(max(0.0, start + 2 * self._window - time.monotonic()))
            if self.well(start) >= max(wanted, 1):
                return start - since
            start += self._window / 4
        return float("inf")

    async def ask_again(self, app: Any) -> None:
        """Whose await ended because the broker was silent for too long has a value all the same."""
        for sent in self._producer.sent.values():
            if sent.verdict == "accepted" and isinstance(sent.error, ConnectionLost):
                sent.value, sent.error = await app.result(sent.id).wait(timeout=10.0), None
                sent.ended_at = time.monotonic()


class _Probes:
    """What a client may ask for; how long each takes to fail while nobody answers."""

    def __init__(self, tasks: Any, producer: Producer) -> None:
        self._tasks, self._producer = tasks, producer

    async def run(self) -> dict[str, float]:
        tasks = self._tasks
        running = self._send(tasks.nap, 1.0)
        kinds: dict[str, Callable[[], Awaitable[Any]]] = {
            "wait()": lambda: running.wait(timeout=2.0),
            "get() in a thread": self._get,
            "status()": lambda: tasks.app.result(running.id).status(),
            "status() of a job just sent": lambda: self._send(tasks.noop).status(),
            "cancel() of a job just sent": lambda: self._send(tasks.noop).cancel(),
            "wait() for a job just sent": lambda: self._send(tasks.noop).wait(timeout=4.0),
        }
        took = await asyncio.gather(*(self._time(ask) for ask in kinds.values()))
        return dict(zip(kinds, took, strict=True))

    def _send(self, task: Any, *args: Any) -> Any:
        result = task.apply_async(*args)
        self._producer.know(result)
        return result

    async def _get(self) -> None:
        result = await asyncio.to_thread(self._tasks.noop.apply_async)
        self._producer.know(result)
        await asyncio.to_thread(result.get, 2.0)

    async def _time(self, ask: Callable[[], Awaitable[Any]]) -> float:
        began = time.monotonic()
        with contextlib.suppress(AiotaskError):
            await ask()
        return time.monotonic() - began
