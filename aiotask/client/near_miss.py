"""What live workers have that parked jobs need, and tasks whose names are close to one that no worker knows."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from ..broker import Broker
from ..brokers import inspect
from ..errors import BrokerError
from ..inspector import WorkerInfo
from ..job import WIRE_VERSION

__all__ = ["near_misses", "needs_of_workers"]

#: Names that a suggestion lists at most.
_AT_MOST = 3
#: Release above which a worker's fact is no release.
_MOST_RELEASES = 1_000


async def needs_of_workers(broker: Broker) -> frozenset[str]:
    """The needs of parked jobs that live workers meet; empty if the broker does not answer."""
    try:
        workers = await inspect(broker).workers()
    except BrokerError:
        return frozenset()
    return frozenset(need for worker in workers for need in _needs(worker))


def _needs(worker: WorkerInfo) -> list[str]:
    release, python = worker.facts.get("release"), str(worker.facts.get("python", "")).split(".")
    releases = range(WIRE_VERSION + 1, min(release, _MOST_RELEASES) + 1) if isinstance(release, int) else ()
    met = [f"release:{number}" for number in releases] + [f"task:{name}" for name in _tasks(worker)]
    return [*met, f"python:{python[0]}.{python[1]}"] if len(python) > 1 else met


def _tasks(worker: WorkerInfo) -> list[str]:
    tasks = worker.facts.get("tasks")
    return [name for name in tasks if isinstance(name, str)] if isinstance(tasks, list | tuple) else []


def near_misses(name: str, known: Iterable[str]) -> str:
    """A sentence that lists the known tasks with a similar name or the same function name; empty if there is none."""
    names = sorted(set(known) - {name})
    function = name.rpartition(":")[2]
    near = [other for other in names if other.rpartition(":")[2] == function]
    near += [other for other in get_close_matches(name, names, n=_AT_MOST, cutoff=0.8) if other not in near]
    quoted = ", ".join(f'"{other}"' for other in near[:_AT_MOST])
    return f" Workers know {quoted}." if quoted else ""
