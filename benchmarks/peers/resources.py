"""CPU efficiency, memory and import time of one peer."""

from __future__ import annotations

import statistics
import subprocess
import time

from .ledger import Ledger, ends, read
from .service import Failed, Service, in_service
from .trial import Trial

__all__ = ["cpu", "importing", "memory"]

PROCESSES = 2
_IMPORTS = 5


def _wall(ledger: Ledger) -> float:
    """From the first start to the last end."""
    return max(at for _, _, at, _ in ledger.ends) - min(at for job, _, at in ledger.starts if job >= 0)


def _wait_for_ends(service: Service, jobs: int) -> None:
    while ends(service.marks) < jobs:
        if time.monotonic() > service.deadline:
            raise Failed(f"{ends(service.marks)} of {jobs} jobs had run when the time was up. {service.log()}")
        time.sleep(0.02)


def _bare(service: Service, jobs: int, steps: int) -> float:
    """Seconds that two processes take for the same work without a queue, each with its fixed half."""
    for path in service.marks.iterdir():
        path.unlink()
    halves = [service.start_client("bare", half, PROCESSES, jobs, steps) for half in range(PROCESSES)]
    _wait_for_ends(service, PROCESSES)
    (service.marks / "go").touch()
    _wait_for_ends(service, PROCESSES + jobs)
    for process in halves:
        process.wait(service.left)
    return _wall(read(service.marks))


def cpu(trial: Trial) -> dict[str, float]:
    """Wall time of CPU-bound jobs on two worker processes over two ideals: bare processes, and half of the CPU time."""
    jobs, steps = trial.sizes.cpu_jobs, trial.speed.steps
    with in_service(trial.env, trial.server, mode="cpu", limit=trial.sizes.limit) as service:
        service.start(PROCESSES)
        service.warm()
        service.send("spin", 0, jobs, steps)
        _wait_for_ends(service, jobs)
        service.kill()
        ledger = read(service.marks)
        bare = _bare(service, jobs, steps)
    wall, spent = _wall(ledger), sum(cpu for _, _, _, cpu in ledger.ends)
    return {"cpu_bare": wall / bare, "cpu_ideal": wall / (spent / PROCESSES), "cpu_job": 1000 * spent / jobs}


def memory(trial: Trial) -> dict[str, float]:
    """Megabytes of all processes of two idle workers: what is shared is divided among the sharers on Linux."""
    import psutil

    total = 0
    with in_service(trial.env, trial.server, limit=trial.sizes.limit) as service:
        service.start(PROCESSES)
        service.warm()
        for pid in service.pids():
            info = psutil.Process(pid).memory_full_info()
            total += getattr(info, "pss", info.uss)
    return {"memory": total / 1e6}


def importing(trial: Trial) -> dict[str, float]:
    """Milliseconds of the import that a client needs, over bare Python."""

    def milliseconds(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([trial.env.python, "-c", code], check=True, timeout=trial.sizes.limit)
        return 1000 * (time.perf_counter() - began)

    statement = trial.env.peer.imports
    milliseconds(statement)
    pairs = [(milliseconds(statement), milliseconds("pass")) for _ in range(_IMPORTS)]
    return {"import": statistics.median(full - bare for full, bare in pairs)}
