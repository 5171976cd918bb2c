"""Limits of one or more apps: what they allow, who is in, who waits, and other numbers for them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from ..brokers import features
from ..brokers.lanes import is_line
from ..brokers.limits import LimitInfo, Limits, LimitsReader
from ..brokers.technology import LIMITS
from ..errors import ConfigError, ResultExpired, SealError
from ..inspector import JobInfo
from ..job import Status, decode_job
from ..log import events
from ..tasks.limits import check_rate, in_words, rate_text
from ..tasks.options import meant
from ..values.limit import NUMBERS
from ..wire.seal import Sealer
from .connection import Connection, Place, inspectors
from .likely import likely

__all__ = ["READ", "by_hand", "numbers_of", "read_limit", "read_limits", "reset_limit", "set_limit", "why_in_line"]

#: Jobs of each status that are read for one limit at most.
READ = 1_000
_REMOVED = "everything, since no task has this limit any more"
_MOST_IN_ALL = 1_000_000
#: A value of each kind of number, by the first part of its name.
_EXAMPLES = {"max": "3", "rate": "10/s", "burst": "20"}


async def read_limits(place: Place) -> list[dict[str, Any]]:
    """Every limit of the named app or of all apps, app by app, by its name or that of its task."""
    async with inspectors(place) as opened:
        found = [described(each, info) for each in opened for info in await _infos(each)]
    return sorted(found, key=lambda limit: (limit["app"], limit["task"] or limit["name"]))


async def by_hand(connection: Connection) -> dict[str, str]:
    """What each limit of an app allows whose numbers were set by hand, by its name or that of its task."""
    found = [described(connection, info) for info in await _infos(connection) if info.declared is not None]
    return {limit["task"] or limit["name"]: limit["allows"] for limit in found}


async def read_limit(place: Place, name: str) -> dict[str, Any]:
    """One limit, by its name or that of its task, with its keys whose jobs are in or wait, those with most waiting jobs
    first; the jobs that are in; and in ``oldest`` the seconds since the job was sent that waits longest (None: none
    waits).

    Raises:
        ResultExpired: there is no such limit.
        ConfigError: several apps have one.
    """
    async with inspectors(place) as opened:
        connection, info = await _find(opened, name)
        inspector = connection.inspector
        known = await cast("LimitsReader", inspector).limit_keys(info.name, READ)
        waiting = Counter({each.key: each.waiting for each in known if each.waiting})
        running = [
            (job.id, key)
            for job in await inspector.jobs(status=Status.RUNNING, queue=None, limit=READ)
            if (key := _sealed_key(connection, job, info.name)) is not None
        ]
        # Slots tell more than the first jobs of all that run, but only a limit of their number has slots.
        counts = Counter(key for _, key in running) | Counter({each.key: each.running for each in known})
        keys = [
            {"key": key, "running": counts[key], "waiting": waiting[key]}
            for key in sorted({*waiting, *counts}, key=lambda key: (-waiting[key], key))
        ]
        found = described(connection, info)
        held = await _seconds_held(connection, info)
        why = _why(info, info.waiting or sum(waiting.values()), counts, held)
        oldest = await _age(connection, min((each.oldest for each in known if each.oldest), default=None))
        return found | {"keys": keys, "jobs": [id for id, _ in running], "why": why, "oldest": oldest}


async def _age(connection: Connection, place: tuple[int, str] | None) -> float | None:
    """Seconds since a job was sent, by its number and id; None: it is gone, or cannot be read."""
    info = await connection.inspector.job(place[1]) if place is not None else None
    if info is None:
        return None
    try:
        job = decode_job(Sealer(connection.secrets, "job").open(info.sealed or b""))
    except SealError:
        return None
    return max(0.0, time.time() - job.sent_at)


async def why_in_line(connection: Connection, info: JobInfo) -> str:
    """Why a job that waits in a line is not admitted, as a sentence without its end; empty: its turn comes, or it is in
    no line."""
    line, _, _ = info.position.rpartition("|")
    if not is_line(line):
        return ""
    name = line.split(":", 4)[3]
    limit = next((each for each in await _infos(connection) if each.name == name), None)
    if limit is None or limit.spec is None:
        return "no worker has declared its limit, which admits nothing until then"
    if limit.removed:
        return ""
    if limit.spec.max_running and limit.running >= limit.spec.max_running:
        return f"its limit is full: {limit.running:,} of {limit.spec.max_running:,} run"
    state = await cast("LimitsReader", connection.inspector).line(line)
    if state.seconds is not None:
        return f"the rate of its limit, or a retry with limit=True, allows the next start in {_words(state.seconds)}"
    if not state.has_turn:
        return f"{limit.spec.max_running_each:,} of its key run, as many as its limit allows"
    return ""


async def set_limit(place: Place, name: str, numbers: dict[str, float]) -> dict[str, Any]:
    """Replace numbers of a limit until they are reset; the limit as it is then.

    Raises:
        ResultExpired, ConfigError: as ``read_limit``; or there are numbers for each key, and its jobs have none.
    """
    async with inspectors(place) as opened:
        connection, info = await _find(opened, name)
        _refuse_without_keys(info, numbers)
        await cast("Limits", connection.broker).set_limit(info.name, numbers)
        return described(connection, (await _find([connection], info.name))[1])


def _refuse_without_keys(info: LimitInfo, numbers: dict[str, float]) -> None:
    of_keys = [number for number, value in numbers.items() if number.endswith("_each") and value]
    if of_keys and info.spec is not None and not info.spec.has_keys:
        in_all = of_keys[0].removesuffix("_each")
        raise ConfigError(
            f'{of_keys[0]} is for each key, and the jobs of the limit "{_names(info)[-1]}" have none, since it has no '
            f'by=. Set {in_all}, or give the limit a key in the code: Limit(…, by="tenant").'
        )


async def reset_limit(place: Place, name: str) -> dict[str, Any]:
    """Let the numbers of a limit hold again that its tasks give; the limit as it is then, and in ``done`` whether it
    had others.

    Raises:
        ResultExpired, ConfigError: as ``read_limit``.
    """
    async with inspectors(place) as opened:
        connection, info = await _find(opened, name)
        await cast("Limits", connection.broker).reset_limit(info.name)
        found = described(connection, (await _find([connection], info.name))[1])
        return found | {"done": info.declared is not None}


def number_text(name: str, value: float) -> str:
    """A number of a limit as people give it: ``3``, ``10/s``, ``none``."""
    if not value:
        return "none"
    return rate_text(value) if name.startswith("rate") else f"{value:g}"


def numbers_of(given: Sequence[str]) -> dict[str, float]:
    """Numbers of a limit in texts such as ``max_running=3`` and ``rate=10/s``; ``none``: no limit.

    Raises:
        ConfigError: a text is none of these.
    """
    numbers: dict[str, float] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign and name in NUMBERS:
            raise ConfigError(f'"{name}" lacks its value. Write {name}={_EXAMPLES[name.partition("_")[0]]}, or none.')
        if not sign or name not in NUMBERS:
            raise ConfigError(
                f'"{text}" is no number of a limit. {meant(name, NUMBERS)} Write max_running=3, rate=10/s.'
            )
        if value.lower() == "none":
            numbers[name] = 0
        elif name.startswith("rate"):
            numbers[name] = check_rate(value, name)
        elif not value.isdecimal() or not 1 <= int(value) <= _MOST_IN_ALL:
            raise ConfigError(f"{text}: give a whole number from 1 to {_MOST_IN_ALL}, or none.")
        else:
            numbers[name] = int(value)
    return numbers


# ---- how it is described


def described(connection: Connection, info: LimitInfo) -> dict[str, Any]:
    """A limit as a value that JSON can hold."""
    spec = info.spec
    return {
        "app": connection.name,
        "name": info.name,
        "task": spec.task if spec is not None else "",
        "allows": "nothing" if spec is None else _REMOVED if info.removed else in_words(spec),
        "numbers": {name: value for name in NUMBERS if spec is not None and (value := getattr(spec, name))},
        "declared": None if info.declared is None else in_words(info.declared),
        "declared_by": info.by,
        "removed": info.removed,
        "running": info.running,
        "waiting": info.waiting,
        "open": sum(keys for _, _, keys in info.places),
    }


def _words(seconds: float) -> str:
    """A duration for people, who are not shown less than a second."""
    return events.in_words(max(1.0, seconds))


async def _seconds_held(connection: Connection, info: LimitInfo) -> float | None:
    """Seconds until the rate of a limit as a whole admits the next job; None: it holds none back."""
    reader = cast("LimitsReader", connection.inspector)
    lines = [await reader.line(f"l:{queue}:{priority}:{info.name}:") for queue, priority, _ in info.places]
    return min((line.seconds for line in lines if line.seconds is not None), default=None)


def _why(info: LimitInfo, waiting: int, counts: Counter[str], held: float | None) -> str:
    """Why nothing goes on, or that something does, as a sentence; empty: nothing waits.

    Args:
        held: seconds until the rate of the limit as a whole admits the next job; None: it holds none back.
    """
    spec = info.spec
    if not waiting:
        return ""
    if spec is None:
        return "No worker has declared this limit, so it admits nothing. Start a worker of the app whose task has it."
    if info.removed:
        return "No task has this limit any more: its jobs run without it."
    if spec.max_running and info.running >= spec.max_running:
        return f"It is full: {info.running:,} of {spec.max_running:,} run."
    if held is not None:
        return f"Its rate, or a retry with limit=True, allows the next start in {_words(held)}."
    if sum(keys for _, _, keys in info.places):
        return "Some of its jobs may start now: they wait for a worker with a free seat, or for their turn."
    full = sum(count >= spec.max_running_each for count in counts.values()) if spec.max_running_each else 0
    if full:
        return f"Every key that waits is full ({full:,} of them), or its rate holds it back."
    return "The rate of each key that waits holds it back, or a retry with limit=True does."


def _sealed_key(connection: Connection, job: JobInfo, name: str) -> str | None:
    try:
        more = decode_job(Sealer(connection.secrets, "job").open(job.sealed or b"")).more
    except SealError:
        return None
    limit, _, key = more.limit.partition(":") if more is not None else ("", "", "")
    return key if limit == name else None


# ---- finding


async def _infos(connection: Connection) -> list[LimitInfo]:
    if LIMITS not in features(connection.broker.url):
        return []
    return await cast("LimitsReader", connection.inspector).limits()


def _names(info: LimitInfo) -> list[str]:
    """The name of a limit, and that of the task whose own limit it is."""
    return [name for name in (info.name, info.spec.task if info.spec is not None else "") if name]


async def _shared_by(connection: Connection, task: str) -> str:
    """The name of the limit that a task shares with others, as live workers know; empty: none of them knows one."""
    for worker in await connection.inspector.workers():
        limits = worker.facts.get("limits")
        if isinstance(limits, dict) and task in limits:
            return str(limits[task])
    return ""


async def _find(opened: Sequence[Connection], name: str) -> tuple[Connection, LimitInfo]:
    known = [(each, info) for each in opened for info in await _infos(each)]
    found = [pair for pair in known if name in _names(pair[1])]
    if not found:
        shared = [(each, await _shared_by(each, name)) for each in opened]
        found = [pair for pair in known if (pair[0], pair[1].name) in shared]
    if not found:
        close = likely(name, [_names(info)[-1] for _, info in known])
        raise ResultExpired(
            f'No limit "{name}" is known, and no live worker has a task "{name}" with one.{close} '
            "List them: aiotask limits"
        )
    if len(found) > 1:
        raise ConfigError(
            f'Several apps have a limit "{name}": {", ".join(each.name for each, _ in found)}. Name one with --name.'
        )
    return found[0]
