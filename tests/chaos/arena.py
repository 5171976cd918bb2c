"""Where a trial takes place: an own server, hosts with workers, the ledger, and the record of every fault."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self
from uuid import uuid4

import pytest

from aiotask import App

from ..helpers import wait_until_async
from ..server import PrivateServer
from ..workers import DATABASES, Supervisor, Workers
from .deaths import Deaths
from .hosts import Fault, Host
from .ledger import VARIABLE, Ledger
from .producer import Producer

__all__ = ["Arena"]

#: Told what goes on: a text, and how much of how much is done.
Tell = Callable[[str, float, float], None]

#: Modules of this folder's apps that have a database.
_WITH_DATABASE = ("both", "outbox", "rows")
#: Seconds between two looks at how late the event loop is.
_LOOK = 0.02


class Arena:
    """One trial's world; whatever is started in it is gone after it.

    Args:
        directory: for ledger, logs and files; the server's own lies elsewhere (a socket path is short).
        kind: ``redis``, ``valkey``, or None for whatever is there.
        options: of the server, as on its command line.
        module: the app that workers run.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kind: str | None = None,
        options: Sequence[str] = (),
        module: str = "tests.chaos.app",
        tell: Tell | None = None,
    ) -> None:
        self.directory = directory
        self.kind = kind
        self.module = module
        self.name = f"chaos-{uuid4().hex[:8]}"
        self.server = PrivateServer(*options, kind=kind)
        #: Further ones that the app's module reads.
        self.variables: dict[str, str] = {}
        self.hosts: list[Host] = []
        self.faults: list[Fault] = []
        self.producers: list[Producer] = []
        self.ledger_directory = directory / "ledger"
        self.began = time.monotonic()
        #: By how many seconds the caller's event loop was late, at every look.
        self.lags: list[float] = []
        self._tell = tell
        self._machines = itertools.count(1)
        self._workers = Workers(directory / "workers", self.server.url)
        self._deaths: Deaths | None = None
        self._tasks: ModuleType | None = None

    async def __aenter__(self) -> Self:
        self.ledger_directory.mkdir(parents=True, exist_ok=True)
        self._workers.directory.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self.server.start)
        self._deaths = Deaths(lambda: [pid for host in list(self.hosts) for pid in host.processes()])
        self.keep_history()
        self._feeling = asyncio.create_task(self._feel_the_loop())
        return self

    async def _feel_the_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LOOK)
            self.lags.append(time.monotonic() - before - _LOOK)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.deaths.close()
        self._feeling.cancel()
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(10):
                    for producer in self.producers:
                        await producer.close()
            for host in self.hosts:
                host.thaw()
            await asyncio.to_thread(self._end_workers)
        finally:
            self.server.remove()

    def _end_workers(self) -> None:
        for host in self.hosts:
            with contextlib.suppress(AssertionError):
                host.supervisor.clear()

    # ---- what is there

    @property
    def deaths(self) -> Deaths:
        assert self._deaths is not None
        return self._deaths

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def prefix(self) -> str:
        """What every key of the app begins with."""
        return f"aiotask1:{{{self.name}}}:"

    @property
    def tasks(self) -> Any:
        """The app's module as this process sees it: ``arena.tasks.noop``."""
        if self._tasks is None:
            self._tasks = self.load()
        return self._tasks

    @property
    def app(self) -> App:
        app: App = self.tasks.app
        return app

    def load(self, url: str | None = None) -> ModuleType:
        """The app's module imported afresh, for a client that reaches the server under another address."""
        parts = (f"{__package__}.app", self.module)
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in self.environment(url).items():
                patch.setenv(variable, value)
            for name in [name for name in sys.modules if name.startswith(parts)]:
                del sys.modules[name]
            return importlib.import_module(self.module)

    def environment(self, url: str | None = None) -> dict[str, str]:
        """What the app's module reads."""
        return {
            # Jobs that fail as planned have no place in a log that is searched for faults of the worker.
            "AIOTASK_LOG_TRACEBACKS": "0",
            "CHAOS_APP": self.name,
            "CHAOS_URL": url or self.url,
            VARIABLE: str(self.ledger_directory),
            **self.variables,
        }

    def ledger(self) -> Ledger:
        """As it is now."""
        return Ledger.read(self.ledger_directory)

    def producer(self, tasks: Any = None) -> Producer:
        """Sends jobs and knows what became of each.

        Args:
            tasks: what ``load`` gave, for a client at another address.
        """
        app: App = (tasks or self.tasks).app
        producer = Producer(app, self.directory / f"producer-{len(self.producers) + 1}.log")
        self.producers.append(producer)
        return producer

    # ---- what can be done

    async def start_host(
        self,
        workers: int = 2,
        *options: str,
        env: Mapping[str, str] | None = None,
        url: str | None = None,
        wait: bool = True,
        prepare: Callable[[Supervisor], None] | None = None,
        machine: str = "",
    ) -> Host:
        """A supervisor with so many workers, once they are in service (``wait=False``: at once).

        Args:
            options: further ones of ``aiotask worker``.
            url: under which its workers reach the server, as through a proxy.
            machine: that of another host; else it is on one of its own.
        """
        machine = machine or f"machine-{next(self._machines)}"

        def start() -> Supervisor:
            supervisor = self._workers.start(
                self.module,
                concurrency=workers,
                options=options,
                env={
                    **self.environment(url),
                    "AIOTASK_URL": url or self.url,
                    "AIOTASK_MACHINE": machine,
                    **(env or {}),
                },
                wait=False,
                loaded=DATABASES if self.module.rpartition(".")[2] in _WITH_DATABASE else (),
            )
            if prepare is not None:
                prepare(supervisor)
            return supervisor

        supervisor = await asyncio.to_thread(start)
        host = Host(supervisor, workers, self.deaths, self.faults.append, machine)
        self.hosts.append(host)
        if wait:
            await self.in_service(host)
        return host

    async def in_service(self, host: Host, timeout: float = 60.0) -> None:
        """Return once its workers are."""
        await asyncio.to_thread(host.supervisor.wait_for_banner, timeout)
        # Until then the death of a worker that imports the app ends the supervisor.
        await wait_until_async(
            lambda: "Ready: " in host.supervisor.log, description="workers are ready", timeout=timeout
        )
        host.fds = host.count_fds()
        host.ready = True

    def living(self) -> list[Host]:
        """Hosts whose supervisor runs and whose workers have been in service.

        Before that they are no victims: a worker that dies as its app is imported for the first time ends its
        supervisor, by contract.
        """
        return [host for host in self.hosts if host.ready and host.alive]

    def keep_history(self) -> None:
        """Have the server keep every finished job: one entry per outcome is what the checker counts."""
        with contextlib.suppress(Exception):
            self.server.call("XGROUP", "CREATE", f"{self.prefix}history", "recorders", "0", "MKSTREAM")

    def fault(self, kind: str, pids: Sequence[int] = ()) -> Fault:
        """Record a fault that the trial has caused by itself, now."""
        fault = Fault(kind, time.monotonic(), tuple(pids))
        self.faults.append(fault)
        return fault

    def tell(self, text: str, done: float = 0.0, total: float = 0.0) -> None:
        """Progress for whoever looks on."""
        if self._tell is not None:
            self._tell(text, done, total)

    def logs(self) -> str:
        """What all supervisors said."""
        return "\n".join(f"---- {host.supervisor.log_path}\n{host.supervisor.log}" for host in self.hosts)
