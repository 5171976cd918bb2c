"""The process of a proxy: passes on what it reads, as far as the faults of each direction allow.

``proxy.py`` runs it as a script, so it imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import sys
from collections import deque
from collections.abc import Coroutine
from typing import Any

#: Bytes under way in one direction of a connection before its sender is kept waiting.
_ROOM = 1 << 20
#: Seconds of traffic in one piece when the bandwidth is limited.
_SLICE = 0.02


class _Side:
    """One direction: what is wrong with it now."""

    def __init__(self) -> None:
        self.passed = self.swallowed = 0
        self.changed = asyncio.Event()
        self.turn = 0  # counts the cuts that were ordered
        self.free_at = 0.0  # when the limited bandwidth is free again
        self.set(delay=0.0, jitter=0.0, rate=None, cut=None, swallow=False, hold=False)

    def set(self, **values: Any) -> None:
        self.turn += "cut" in values
        self.__dict__.update(values)
        self.changed.set()
        self.changed = asyncio.Event()

    delay: float
    jitter: float
    rate: float | None
    cut: int | None
    swallow: bool
    hold: bool


class _Link:
    """One accepted connection and its twin to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers = client, server
        for writer in self.writers:
            writer.transport.set_write_buffer_limits(high=64 * 1024)

    def end(self, *, reset: bool = False) -> None:
        for writer in self.writers:
            if reset:
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()


class _Pump:
    """Carries one direction of one link: reads at once, writes when and if the faults of its side allow."""

    def __init__(
        self, side: _Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
    ) -> None:
        self.side, self.reader, self.writer, self.rng = side, reader, writer, rng
        self.lost = False
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.bytes_waiting = 0
        self.news = asyncio.Event()
        self.turn, self.written = side.turn, 0

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0
        while data := await self.reader.read(64 * 1024):
            side = self.side
            if side.swallow or self.lost:
                self.lost = True
                side.swallowed += len(data)
                continue
            last = max(last, loop.time() + side.delay + self.rng.uniform(0, side.jitter))
            self.put(last, data)
            while self.bytes_waiting > (_ROOM if side.rate is None else max(1, side.rate * _SLICE)):
                await asyncio.sleep(_SLICE / 4)
        if not self.lost:  # nobody hears the end of what was lost either
            self.put(last, b"")
        await asyncio.Event().wait()

    def put(self, at: float, data: bytes) -> None:
        self.waiting.append((at, data))
        self.bytes_waiting += len(data)
        self.news.set()

    async def write(self) -> None:
        """Ends when the sender has ended or the connection is to be cut."""
        while True:
            while not self.waiting:
                self.news.clear()
                await self.news.wait()
            at, data = self.waiting[0]
            await self.due(at)
            if not data or await self.pass_on(data):
                return
            self.waiting.popleft()
            self.bytes_waiting -= len(data)

    async def due(self, at: float) -> None:
        """Until nothing keeps this piece here any more."""
        while True:
            side, left = self.side, at - asyncio.get_running_loop().time()
            if side.hold:
                await side.changed.wait()
            elif left > 0 and (side.delay or side.jitter):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(side.changed.wait(), left)
            else:
                return

    async def pass_on(self, data: bytes) -> bool:
        """Whether the connection is to be cut now."""
        loop = asyncio.get_running_loop()
        while data:
            side = self.side
            if self.turn != side.turn:
                self.turn, self.written = side.turn, 0
            piece = data
            if side.rate is not None:
                piece = data[: max(1, int(side.rate * _SLICE))]
                side.free_at = max(side.free_at, loop.time()) + len(piece) / side.rate
                await asyncio.sleep(side.free_at - loop.time())
            if side.cut is not None:
                piece = piece[: max(0, side.cut - self.written)]
            self.writer.write(piece)
            await self.writer.drain()
            self.written += len(piece)
            side.passed += len(piece)
            if side.cut is not None and self.written >= side.cut:
                return True
            data = data[len(piece) :]
            await self.due(0.0)
        return False


class _Process:
    """Everything that runs in the process of a proxy."""

    def __init__(self, target: str, seed: int) -> None:
        self.target = target
        self.rng = random.Random(seed)
        self.sides = {"up": _Side(), "down": _Side()}
        self.links: set[_Link] = set()
        self.accepted = 0
        self.port = 0
        self.server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, control: socket.socket) -> None:
        await self.listen()
        reader, writer = await asyncio.open_connection(sock=control)
        writer.write(json.dumps({"port": self.port}).encode() + b"\n")
        while line := await reader.readline():
            answer = await self.obey(**json.loads(line))
            writer.write(json.dumps(answer).encode() + b"\n")
        for link in list(self.links):
            link.end(reset=True)

    async def listen(self) -> None:
        if self.server is None:
            ear = socket.socket()
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Else the system would take megabytes from a sender whose line is to be slow.
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            ear.bind(("127.0.0.1", self.port))
            self.server = await asyncio.start_server(self.accept, sock=ear, backlog=1024, limit=16 * 1024)
            self.port = ear.getsockname()[1]

    async def obey(
        self,
        sides: tuple[str, ...] = (),
        set: dict[str, Any] | None = None,
        refuse: bool | None = None,
        reset: bool = False,
        heal: bool = False,
    ) -> dict[str, Any]:
        for side in sides:
            self.sides[side].set(**(set or {}))
        if heal:
            refuse = False
            for one in self.sides.values():
                one.set(delay=0.0, jitter=0.0, rate=None, cut=None, swallow=False, hold=False)
        if refuse is False:
            await self.listen()
        elif refuse and self.server is not None:
            self.server.close()
            self.server = None
        ended = list(self.links) if reset else []
        for link in ended:
            link.end(reset=True)
            self.links.discard(link)
        return {
            "open": len(self.links),
            "accepted": self.accepted,
            "reset": len(ended),
            "passed": {name: side.passed for name, side in self.sides.items()},
            "swallowed": {name: side.swallowed for name, side in self.sides.items()},
        }

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if self.target.startswith("/"):
                its_reader, its_writer = await asyncio.open_unix_connection(self.target)
            else:
                host, _, port = self.target.rpartition(":")
                its_reader, its_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, its_writer)
        self.links.add(link)
        up = _Pump(self.sides["up"], reader, its_writer, self.rng)
        down = _Pump(self.sides["down"], its_reader, writer, self.rng)
        await self.carry(link, up.read(), up.write(), down.read(), down.write())

    async def carry(self, link: _Link, *flows: Coroutine[Any, Any, None]) -> None:
        """Until one flow ends: then the link does."""
        tasks = [asyncio.create_task(flow) for flow in flows]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            broken = any(isinstance(task.exception(), OSError) for task in tasks if not task.cancelled())
            link.end(reset=broken)
            self.links.discard(link)


async def _watch_parent(parent: int) -> None:
    """The control socket may have been inherited by others; the parent's end is the end."""
    while os.getppid() == parent:
        await asyncio.sleep(1)


async def _main(target: str, control: int, seed: int) -> None:
    serving = asyncio.create_task(_Process(target, seed).serve(socket.socket(fileno=control)))
    watching = asyncio.create_task(_watch_parent(os.getppid()))
    done, _ = await asyncio.wait([serving, watching], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    os._exit(0)  # no farewell to what is still open


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
