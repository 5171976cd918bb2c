"""Kill and recover: how soon interrupted jobs run again, and what is lost or done twice."""

from __future__ import annotations

import math
import os
import signal
import statistics
import time
from dataclasses import dataclass

from .ledger import Ledger, ends, read
from .service import Failed, Service, in_service
from .trial import Trial

__all__ = ["recover"]

PROCESSES = 2
#: The kill comes when this share of the jobs is done.
_SHARE = 0.4
_FEWEST, _MOST = 300, 10_000
#: Seconds for duplicates that come late.
_LATE = 2.0


def recover(trial: Trial, which: str) -> dict[str, float]:
    """Kill -9 ``one`` worker process or ``all`` processes while jobs run; what ended is started again at once."""
    jobs = max(_FEWEST, min(_MOST, round(trial.speed.drain * trial.sizes.rate)))
    patience = trial.sizes.patience(trial.env.peer.gives_back)
    limit = trial.sizes.limit + patience
    with in_service(trial.env, trial.server, mode="recovery", limit=limit) as service:
        service.send("nap", 0, jobs)
        service.start(PROCESSES)
        # Some look after dead workers only while jobs arrive.
        service.start_client("trickle")
        _wait_for_share(service, round(jobs * _SHARE))
        kill = _kill_one(service) if which == "one" else _kill_all(service)
        _wait_for_all(service, jobs, kill.at + patience)
        ledger = read(service.marks)
    return {f"{which}_{name}": value for name, value in _account(ledger, jobs, kill).items()}


@dataclass(frozen=True, slots=True)
class _Kill:
    """When it was, whom it hit, and which jobs they had begun."""

    at: float
    pids: set[int]
    interrupted: set[int]


def _wait_for_share(service: Service, done: int) -> None:
    give_up = time.monotonic() + service.left / 2
    while ends(service.marks) < done:
        if time.monotonic() > give_up:
            raise Failed(f"{ends(service.marks)} jobs had run when the time was up. {service.log()}")
        time.sleep(0.002)


def _busy(service: Service) -> int:
    """A process that is running jobs now."""
    while time.monotonic() < service.deadline:
        ledger = read(service.marks)
        for pid in ledger.pids():
            if ledger.open(pid):
                return pid
    raise Failed("no process was seen running a job")


def _kill_one(service: Service) -> _Kill:
    """Kill a process that is running jobs."""
    victim = _busy(service)
    killed = time.time()
    os.kill(victim, signal.SIGKILL)
    while victim in service.pids():
        time.sleep(0.001)
    return _Kill(killed, {victim}, read(service.marks).open(victim))


def _kill_all(service: Service) -> _Kill:
    _busy(service)
    killed = time.time()
    service.kill()
    ledger = read(service.marks)
    pids = set(ledger.pids())
    return _Kill(killed, pids, {job for pid in pids for job in ledger.open(pid)})


def _wait_for_all(service: Service, jobs: int, until: float) -> None:
    while time.time() < until:
        service.keep_up()
        if ends(service.marks) >= jobs and len({job for job, *_ in read(service.marks).ends}) >= jobs:
            break
        time.sleep(0.02)
    time.sleep(_LATE)


def _account(ledger: Ledger, jobs: int, kill: _Kill) -> dict[str, float]:
    again: dict[int, float] = {}
    for job, pid, at in ledger.starts:
        if job in kill.interrupted and pid not in kill.pids:
            again[job] = min(at - kill.at, again.get(job, math.inf))
    times: dict[int, list[float]] = {}
    for job, _, at, _ in ledger.ends:
        times.setdefault(job, []).append(at)
    figures = {
        "interrupted": float(len(kill.interrupted)),
        "lost": float(jobs - len(times)),
        "twice": float(sum(len(ended) > 1 for ended in times.values())),
        "done": max(min(ended) for ended in times.values()) - kill.at,
    }
    if again:
        figures |= {"p50": statistics.median(again.values()), "max": max(again.values())}
    return figures
