"""Send, drain, round trips and idle latency of one peer."""

from __future__ import annotations

from ..figure import percentile
from .install import Environment
from .order import IN_FLIGHT
from .server import Server
from .service import Failed, in_service
from .trial import Sizes, Speed, Trial

__all__ = ["calibrate", "drain", "idle", "send", "trips"]

_FIRST, _MOST = 200, 200_000
#: CPU seconds of one job of the CPU-bound workload.
_JOB = 0.0175


def _jobs(rate: float, seconds: float) -> int:
    return max(_FIRST, min(_MOST, round(rate * seconds)))


def calibrate(env: Environment, server: Server, sizes: Sizes) -> Speed:
    """Find out how many jobs fill the time, with drains that grow; the first of them shows that the peer works.

    Raises:
        Failed: it does not.
    """
    jobs = _FIRST
    while True:
        with in_service(env, server, limit=sizes.limit) as service:
            sent = jobs / service.send("noop", 0, jobs)
            service.start(1)
            drained = service.until(jobs)
            if drained.last - drained.first > 0.15 or jobs >= _MOST:
                steps = float(service.client("speed")["steps"])
                return Speed(sent, drained.rate, round(steps * _JOB))
        jobs *= 10


def send(trial: Trial) -> dict[str, float]:
    """Jobs per second that one client sends until they are accepted; no worker runs."""
    jobs = _jobs(trial.speed.send, trial.sizes.rate)
    with in_service(trial.env, trial.server, limit=trial.sizes.limit) as service:
        trial.speed.send = rate = jobs / service.send("noop", 0, jobs)
    return {"send": rate}


def drain(trial: Trial, kind: str, processes: int) -> dict[str, float]:
    """No-ops per second that were sent before, from the first run to the last."""
    jobs = _jobs(trial.speed.drain * (1.0 if processes == 1 else 1.4), trial.sizes.rate)
    with in_service(trial.env, trial.server, kind=kind, limit=trial.sizes.limit) as service:
        service.send("noop", 0, jobs)
        service.start(processes)
        counted = service.until(jobs)
    if counted.processes > processes:
        raise Failed(f"{counted.processes} processes ran jobs where {processes} should")
    if processes == 1 and kind == trial.env.peer.kinds[0]:
        trial.speed.drain = counted.rate
    return {f"drain_{kind}_{processes}": counted.rate}


def trips(trial: Trial) -> dict[str, float]:
    """Calls that are awaited, 100 in flight, one worker process."""
    with in_service(trial.env, trial.server, limit=trial.sizes.limit) as service:
        service.start(1)
        service.warm()
        done = service.client("call", _MOST, IN_FLIGHT, trial.sizes.rate)
    took = done["took"]
    return {
        "trips": len(took) / done["seconds"],
        "trips_p50": 1000 * percentile(took, 0.5),
        "trips_p99": 1000 * percentile(took, 0.99),
    }


def idle(trial: Trial) -> dict[str, float]:
    """Calls one after the other, one worker process that has nothing else to do."""
    with in_service(trial.env, trial.server, limit=trial.sizes.limit) as service:
        service.start(1)
        service.warm()
        took = service.client("call", trial.sizes.idle_calls, 1, trial.sizes.idle)["took"]
    return {"idle_p50": 1000 * percentile(took, 0.5), "idle_p99": 1000 * percentile(took, 0.99)}
