"""Asks the hosts of an app through the broker: for the stacks of their processes, or to drain or recycle themselves."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..broker import Notice
from ..brokers import connect
from ..errors import ConfigError, SealError
from ..wire.control import Answer, Control
from .connection import Connection, Place, inspectors
from .likely import likely

__all__ = ["ANSWER_TIMEOUT", "Answers", "Host", "ask_hosts", "choose_processes", "live_hosts", "steer_hosts"]

#: Seconds that hosts have to answer, and seconds between two requests to a host.
ANSWER_TIMEOUT, REPEAT_INTERVAL = 5.0, 1.0

#: The answer of each host; None for a host that gave none.
Answers = dict[str, dict[str, Any] | None]


class Host(NamedTuple):
    """A live host, and the app through which it is asked: others may share it."""

    name: str
    connection: Connection


# ---- stacks


async def ask_hosts(place: Place) -> Answers:
    """Ask every host of the named app or of all apps for the stacks of its processes. Several apps may share a host.

    Raises:
        ConfigError: no server is named, and the embedded server does not run.
    """
    found: Answers = {}
    if not place.has_broker:
        raise ConfigError(
            "Workers are asked for their stacks through a server, and none is named; a database cannot pass the "
            "request on. Send USR1 to the supervisor of the workers: kill -USR1 PID. The stacks are then in its log."
        )
    async with inspectors(replace(place, database=None)) as opened:
        # Rows have no broker.
        asking = [_ask_for_stacks(each) for each in opened if each.app is not None]
        for answers in await asyncio.gather(*asking):
            found |= {host: answer for host, answer in answers.items() if answer is not None or host not in found}
    return found


async def _ask_for_stacks(connection: Connection) -> Answers:
    """Ask every host of one app."""
    hosts = await connection.broker.leases()
    answers = await _exchange(connection, hosts, lambda control, id, address, _: control.ask(id, address))
    return {
        host: None if answer is None else {"note": answer.note, "processes": answer.processes}
        for host, answer in answers.items()
    }


def choose_processes(answer: dict[str, Any], target: str | None) -> dict[str, Any]:
    """The answer of a host with the processes that ``target`` means: a name, a process id or a job id; None: all."""
    processes = [process for process in answer["processes"] if target is None or _is_meant(process, target)]
    return {**answer, "processes": processes}


def _is_meant(process: dict[str, Any], target: str) -> bool:
    names = {process["name"], str(process["pid"]), *process.get("incarnations", ())}
    return target in names or any(job["id"] == target for job in process["jobs"])


# ---- verbs


async def live_hosts(place: Place, name: str = "") -> list[Host]:
    """The live hosts of the named app or of all apps: all, or the one whose name this is, or begins with this.

    The connections are those of ``place.opened``.

    Raises:
        ConfigError: no live host is meant, or several are.
    """
    found: dict[str, Host] = {}
    for connection in place.opened:
        if connection.app is not None:
            for host in await connection.broker.leases():
                found.setdefault(host, Host(host, connection))
    if not name:
        return [found[each] for each in sorted(found)]
    if name in found:
        return [found[name]]
    meant = [host for host in sorted(found) if host.startswith(name)]
    if len(meant) > 1:
        raise ConfigError(
            f'Nothing was done: "{name}" is the beginning of several hosts: {", ".join(meant)}. Name one.'
        )
    if not meant:
        there = f" Live hosts: {', '.join(sorted(found))}." if found else " No host is live."
        raise ConfigError(f'Nothing was done: no live host is called "{name}".{likely(name, sorted(found))}{there}')
    return [found[meant[0]]]


async def steer_hosts(hosts: Sequence[Host], verb: str, by: str, why: str = "") -> list[dict[str, Any]]:
    """Ask hosts to do something: what became of it on each, in their order.

    Args:
        verb: ``drain``, ``resume`` or ``recycle``.
        by: who asks.
        why: the reason. It is shown behind the name of who asked.
    """
    by = by[:100] + (f" ({why[:150]})" if why else "")
    by_app: dict[str, list[Host]] = {}
    for host in hosts:
        by_app.setdefault(host.connection.name, []).append(host)
    found: dict[str, dict[str, Any]] = {}
    for part in await asyncio.gather(*(_steer(own, verb, by) for own in by_app.values())):
        found |= part
    return [found[host.name] for host in hosts]


async def _steer(hosts: Sequence[Host], verb: str, by: str) -> dict[str, dict[str, Any]]:
    connection = hosts[0].connection
    at = (await connection.inspector.facts()).time

    def sealed(control: Control, id: str, address: str, host: str) -> bytes:
        return control.ask_for(verb, id, address, host=host, by=by, at=at)

    answers = await _exchange(connection, [host.name for host in hosts], sealed)
    return {host: _told(connection, host, verb, answer) for host, answer in answers.items()}


def _told(connection: Connection, host: str, verb: str, answer: Answer | None) -> dict[str, Any]:
    said = f"It did not answer within {ANSWER_TIMEOUT:g} s. Look whether it is alive: aiotask workers"
    if answer is not None:
        said = answer.note
    if answer is not None and not answer.verb:
        # It has answered with stacks, as to every question that it knows.
        signal = "send its supervisor HUP" if verb == "recycle" else "stop it with TERM to the supervisor"
        said = f"Its release of aiotask does not know {verb}, so nothing was done there. Update it, or {signal}."
    done = answer is not None and answer.verb == verb and answer.done
    return {"app": connection.name, "host": host, "did": "done" if done else "nothing", "said": said}


# ---- one question, and the answers


async def _exchange(
    connection: Connection, hosts: Collection[str], sealed: Callable[[Control, str, str, str], bytes]
) -> dict[str, Answer | None]:
    """Ask these hosts, again and again until they have answered or the time is over.

    Args:
        sealed: makes the message, from the id of the question, the address for answers and the host.
    """
    app = connection.app
    assert app is not None
    broker, control = connect(app.url, app.name), Control(app.secrets, app.name)
    id, address = secrets.token_hex(8), f"operator-{secrets.token_hex(8)}"
    answers: dict[str, Answer | None] = dict.fromkeys(hosts)
    complete, listening = asyncio.Event(), asyncio.Event()

    def on_notices(notices: list[Notice]) -> None:
        for notice in notices:
            # Any client of the server can send messages to this address.
            with contextlib.suppress(SealError):
                answer = control.open_answer(notice.outcome or b"")
                if answer.id == id and answer.host in answers:
                    answers[answer.host] = answer
        if all(answer is not None for answer in answers.values()):
            complete.set()

    listener = asyncio.create_task(broker.listen(address, on_notices, listening.set))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await listening.wait()
                while answers and not complete.is_set():
                    for host in [host for host, answer in answers.items() if answer is None]:
                        await broker.publish(host, Notice(id, sealed(control, id, address, host)))
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(complete.wait(), REPEAT_INTERVAL)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await broker.close()
    return answers
