"""Asks the hosts of an app for the stacks of their processes; supervisors and keepers answer through the broker."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import Any

from ..broker import Notice
from ..brokers import connect
from ..errors import ConfigError, SealError
from ..wire.control import Control
from .connection import Connection, Place, inspectors

__all__ = ["ANSWER_TIMEOUT", "Answers", "ask_hosts", "choose_processes"]

#: Seconds that hosts have to answer, and seconds between two requests to a host.
ANSWER_TIMEOUT, REPEAT_INTERVAL = 5.0, 1.0

#: The answer of each host; None for a host that gave none.
Answers = dict[str, dict[str, Any] | None]


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
        for answers in await asyncio.gather(*(_ask(each) for each in opened)):
            found |= {host: answer for host, answer in answers.items() if answer is not None or host not in found}
    return found


async def _ask(connection: Connection) -> Answers:
    """Ask every host of one app."""
    app = connection.app
    assert app is not None
    broker, control = connect(app.url, app.name), Control(app.secrets, app.name)
    id, address = secrets.token_hex(8), f"operator-{secrets.token_hex(8)}"
    answers: Answers = dict.fromkeys(await broker.leases())
    complete, listening = asyncio.Event(), asyncio.Event()

    def on_notices(notices: list[Notice]) -> None:
        for notice in notices:
            # Any client of the server can send messages to this address.
            with contextlib.suppress(SealError):
                answer = control.open_answer(notice.outcome or b"")
                if answer.id == id and answer.host in answers:
                    answers[answer.host] = {"note": answer.note, "processes": answer.processes}
        if all(answer is not None for answer in answers.values()):
            complete.set()

    listener = asyncio.create_task(broker.listen(address, on_notices, listening.set))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await listening.wait()
                while answers and not complete.is_set():
                    for host in [host for host, answer in answers.items() if answer is None]:
                        await broker.publish(host, Notice(id, control.ask(id, address)))
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(complete.wait(), REPEAT_INTERVAL)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await broker.close()
    return answers


def choose_processes(answer: dict[str, Any], target: str | None) -> dict[str, Any]:
    """The answer of a host with the processes that ``target`` means: a name, a process id or a job id; None: all."""
    processes = [process for process in answer["processes"] if target is None or _is_meant(process, target)]
    return {**answer, "processes": processes}


def _is_meant(process: dict[str, Any], target: str) -> bool:
    names = {process["name"], str(process["pid"]), *process.get("incarnations", ())}
    return target in names or any(job["id"] == target for job in process["jobs"])
