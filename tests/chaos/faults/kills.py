"""Deaths at random: of workers, keepers, supervisors and whole hosts, each followed by what a machine would do."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from random import Random

from ..arena import Arena
from ..hosts import Host

__all__ = ["keepers_die", "supervisors_die", "workers_die"]

#: A range of seconds.
Span = tuple[float, float]


async def workers_die(arena: Arena, rng: Random, every: Span, until: float, number: int = signal.SIGKILL) -> None:
    """A signal to a random worker of a random host, until that moment (monotonic)."""
    while await _pause(rng, every, until):
        hosts = [host for host in arena.living() if host.workers()]
        if hosts:
            rng.choice(hosts).kill_worker(rng, number)


async def keepers_die(arena: Arena, rng: Random, every: Span, until: float) -> None:
    """SIGKILL to a random keeper."""
    while await _pause(rng, every, until):
        hosts = [host for host in _victims(arena) if host.keeper() is not None]
        if hosts:
            rng.choice(hosts).kill_keeper()


async def supervisors_die(
    arena: Arena,
    rng: Random,
    every: Span,
    until: float,
    *,
    workers: int,
    kinds: Sequence[str],
    options: Sequence[str] = (),
    watch: float = 13.0,
) -> None:
    """A random supervisor dies, alone or with its host, and another host comes into service.

    Args:
        kinds: in turn: ``supervisor``: it alone; ``host``: all on its machine; ``service``: all processes of its host,
            while another one is in service on the same machine.
        options: of `aiotask worker` for the hosts that come into service.
        watch: seconds for which one of the hosts left keeps supervisor and keeper after the death of a host. Whoever
            notices that death begins to count anew when it dies itself, so there would be no limit to measure.
    """
    number = 0
    while await _pause(rng, every, until):
        victims = _victims(arena)
        # Somebody has to be left to notice.
        if not victims or len(arena.living()) < 2:
            continue
        host = rng.choice(victims)
        kind = kinds[number % len(kinds)]
        number += 1
        if kind == "service":
            await _replaced(arena, host, workers, options, watch)
            continue
        if kind == "host":
            host.kill_all()
            witness = rng.choice([other for other in arena.living() if other is not host])
            witness.spared_until = time.monotonic() + watch
        else:
            host.kill_supervisor()
        await arena.start_host(workers, *options)


async def _replaced(arena: Arena, host: Host, workers: int, options: Sequence[str], watch: float) -> None:
    """Another host is on its machine as it dies."""
    host.spared_until = time.monotonic() + watch
    witness = await arena.start_host(workers, *options, machine=host.machine)
    witness.spared_until = time.monotonic() + watch
    host.kill_all("service")


def _victims(arena: Arena) -> list[Host]:
    return [host for host in arena.living() if time.monotonic() > host.spared_until]


async def _pause(rng: Random, span: Span, until: float) -> bool:
    """Some time; whether it is not over by then."""
    seconds = rng.uniform(*span)
    if time.monotonic() + seconds > until:
        return False
    await asyncio.sleep(seconds)
    return True
