"""Looking and steering under fire: many look at the dashboard and things are paused and resumed while processes die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx

from aiotask.ops.audit import read_audit
from aiotask.ops.connection import Place

from ...helpers import wait_until_async
from ...workers import ROOT
from ..arena import Arena
from ..checker import examine, forgive_the_unlucky
from ..faults.kills import keepers_die, supervisors_die, workers_die
from ..features import send_features
from ..report import Report
from ..trial import Tier, trial

_TICK = 0.05
#: Jobs that are on their way at most.
_ABOARD = 1_500
_NOOP, _SYNC, _LIMITED = (f"tests.chaos.app:{name}" for name in ("noop", "sync_noop", "limited"))
_PAGES = (
    *("/", "/jobs", "/jobs?status=pending", "/jobs?status=running", "/jobs?status=parked", "/running", "/queues"),
    *("/queues/default", "/dead", "/tasks", f"/tasks/{_NOOP}", "/workers", "/graphs", "/limits", "/limits/few"),
    *("/history", "/audit", "/series.json", "/metrics", "/bulk?verb=cancel&status=parked"),
)
#: What is paused in turn: the form, and the task whose runs it stops; "": all of them.
_TARGETS = (
    ({"on": "queue", "name": "default"}, ""),
    ({"on": "task", "name": _NOOP}, _NOOP),
    ({"on": "task", "name": _LIMITED}, _LIMITED),
    ({"on": "task", "name": _SYNC}, _SYNC),
    ({"on": "all", "name": ""}, ""),
)
#: What a browser sends with a form of the page.
_OWN = {"sec-fetch-site": "same-origin", "accept": "text/html"}


@trial(
    30,
    summary="20 browsers walk over every page of the dashboard and one of them pauses and resumes queues and tasks, "
    "while workers, keepers, hosts and the dashboard itself are killed",
    passes=(
        "clean; what was paused goes on when it is resumed, and no pause is left",
        "1 s after a pause no job of it starts, and until then each process starts one more at most",
        "no page fails, and each pause that was confirmed is in the audit",
    ),
    short={
        "jobs": 2_500,
        "seconds": 6.0,
        "workers": (0.5, 1.0),
        "keepers": (1.0, 2.0),
        "supervisors": (2.0, 3.0),
        "webs": (3.0, 4.0),
        "kinds": ("service",),
        "patience": 40.0,
        "slack": 5.0,
    },
    full={
        "jobs": 60_000,
        "seconds": 130.0,
        "workers": (0.3, 1.0),
        "keepers": (8.0, 15.0),
        "supervisors": (12.0, 16.0),
        "webs": (10.0, 15.0),
        "kinds": ("host", "supervisor", "service"),
        "patience": 90.0,
        "slack": 1.0,
    },
    limits=(120.0, 600.0),
)
async def lookers(arena: Arena, tier: Tier, rng: Random) -> Report:
    await asyncio.gather(arena.start_host(2), arena.start_host(2))
    producer = arena.producer()
    until = time.monotonic() + tier.seconds
    dashboard = _Dashboard(arena)
    async with dashboard:
        looking = [asyncio.create_task(dashboard.look(rng)) for _ in range(20)]
        await asyncio.gather(
            _stream(arena, tier, rng),
            dashboard.storm(rng, until),
            dashboard.dies(rng, tier.webs, until),
            workers_die(arena, rng, tier.workers, until),
            keepers_die(arena, rng, tier.keepers, until),
            supervisors_die(arena, rng, tier.supervisors, until, workers=2, kinds=tier.kinds),
        )
        await dashboard.resume_all()
        arena.tell("waiting for the last jobs")
        await producer.done(tier.patience)
        confirmed = await dashboard.audited()
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    report = await examine(arena, settle=tier.patience)
    forgive_the_unlucky(arena, report)
    _judge(arena, tier, dashboard, report)
    report.require(confirmed, "a pause that was confirmed is not in the audit")
    return report


async def _stream(arena: Arena, tier: Tier, rng: Random) -> None:
    """So many jobs, evenly, and those of every feature."""
    producer, tasks = arena.producers[0], arena.tasks
    began, count, featured = time.monotonic(), 0, 0
    while count < tier.jobs:
        due = min(tier.jobs, int((time.monotonic() - began) / tier.seconds * tier.jobs) + 1, count + 200)
        while count < due:
            count += 1
            producer.send(tasks.noop if rng.random() < 0.5 else tasks.sync_noop)
        while featured < (time.monotonic() - began) * 10:
            featured += 1
            producer.send(tasks.nap, rng.uniform(0.05, 0.2))
            send_features(producer, tasks, rng, saving=0.02)
        arena.tell(f"{len(arena.faults):,} faults, {count:,} jobs", count, tier.jobs)
        if time.monotonic() - began > tier.seconds:
            # Pauses have held the stream up: the rest would come without faults.
            return
        await asyncio.sleep(_TICK)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await producer.pace(_ABOARD)


@dataclass
class _Pause:
    """From the answer to a pause until the request that resumes it (monotonic)."""

    task: str
    began: float
    ended: float


@dataclass
class _Dashboard:
    """A dashboard as users start it, those who look at it, and what they saw."""

    arena: Arena
    port: int = 0
    pauses: list[_Pause] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    failed: set[str] = field(default_factory=set)

    async def __aenter__(self) -> _Dashboard:
        with socket.socket() as test:
            test.bind(("127.0.0.1", 0))
            self.port = test.getsockname()[1]
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=_OWN, timeout=30.0)
        self._process = await asyncio.to_thread(self._start)
        await self._there()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    def _start(self) -> subprocess.Popen[bytes]:
        place = ("--url", self.arena.url, "--name", self.arena.name)
        history = str(self.arena.directory / "history.db")
        with Path(self.arena.directory, "web.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "aiotask_cli", "web", "--port", str(self.port), *place, "--result-db", history],
                env={**os.environ, "NO_COLOR": "1"},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    async def _there(self) -> None:
        async def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return (await self._client.get("/healthz")).status_code == 200
            return False

        await wait_until_async(answers, description="the dashboard answers", timeout=60)

    async def dies(self, rng: Random, every: tuple[float, float], until: float) -> None:
        """SIGKILL to the dashboard; it is started again at once."""
        while (pause := rng.uniform(*every)) < until - time.monotonic():
            await asyncio.sleep(pause)
            self.arena.fault("dashboard", [self._process.pid])
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = await asyncio.to_thread(self._start)

    async def look(self, rng: Random) -> None:
        """Walk over the pages, until cancelled."""
        while True:
            page = rng.choice(_PAGES)
            part = {"x-part": "main"} if rng.random() < 0.7 else {}
            try:
                answer = await self._client.get(page, headers=part)
            except httpx.TransportError:
                await asyncio.sleep(0.2)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code not in (200, 304):
                self.failed.add(f"{page}: {answer.status_code}")
            await asyncio.sleep(rng.uniform(0.5, 1.5))

    # ---- steering

    async def storm(self, rng: Random, until: float) -> None:
        """Pause something, and resume it after a moment, again and again."""
        turn = 0
        while time.monotonic() < until:
            form, task = _TARGETS[turn % len(_TARGETS)]
            turn += 1
            sure = await self._act("pause", form)
            began = time.monotonic()
            await asyncio.sleep(rng.uniform(0.05, 2.0))
            ended = time.monotonic()
            while not await self._act("resume", form):
                pass
            if sure:
                self.pauses.append(_Pause(task, began, ended))
            await asyncio.sleep(rng.uniform(0.05, 0.5))

    async def _act(self, verb: str, form: dict[str, str]) -> bool:
        """Whether the dashboard has confirmed it; it may die before it does."""
        try:
            answer = await self._client.post(f"/do/{verb}", data={**form, "back": "/", "why": "a storm"})
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            return False
        if answer.status_code != 303:
            self.failed.add(f"{verb} {form}: {answer.status_code}")
        return True

    async def resume_all(self) -> None:
        """What a death of the dashboard has left paused goes on as well."""
        for form, _ in _TARGETS:
            while not await self._act("resume", form):
                pass

    async def audited(self) -> bool:
        """Whether the audit has every pause that was confirmed; it keeps the last 1,000 actions."""
        await self._there()
        found = await read_audit(Place(self.arena.name, self.arena.url), limit=1000)
        return len([line for line in found if line["verb"] == "pause"]) >= min(len(self.pauses), 400)


def _judge(arena: Arena, tier: Tier, dashboard: _Dashboard, report: Report) -> None:
    """Pauses held, nobody saw a page fail, and nothing stays paused."""
    runs = sorted(arena.ledger().attempts.values(), key=lambda run: run.start)
    late = more = 0
    for pause in dashboard.pauses:
        begun: defaultdict[int, int] = defaultdict(int)
        for run in runs:
            if pause.began < run.start < pause.ended and pause.task in ("", run.task):
                begun[run.pid] += 1
                late += run.start > pause.began + tier.slack
        more = max(more, *begun.values(), 0) if begun else more
    report.require(not late, f"{late} jobs started more than {tier.slack} s after they were paused")
    report.require(more <= 1, f"a process started {more} jobs after they were paused, and not one at most")
    report.require(not dashboard.failed, f"pages that failed: {sorted(dashboard.failed)[:5]}")
    report.require(bool(dashboard.pauses), "nothing was paused")
    report.facts["pauses"] = f"{len(dashboard.pauses):,}; jobs of one process that started in one: {more} at most"
    report.facts["answers of the dashboard"] = ", ".join(
        f"{status}: {count:,}" for status, count in sorted(dashboard.answers.items())
    )
