"""A TCP proxy in front of a server, whose faults are switched while it runs.

It lives in a process of its own, so that neither a busy test nor a busy worker slows it. Every fault
works at once, on open connections too, and until it is healed::

    with Proxy(server.url) as proxy:          # unix:///path or redis://host:port
        app = App("shop", url=proxy.url)
        with proxy.delay(0.2, jitter=0.1):    # only inside the block ...
            ...
        proxy.swallow("down")                 # ... or until heal()
        proxy.reset()                         # once: every open connection ends with RST
        proxy.heal()

Directions: "up" is from client to server, "down" from server to client.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = ["Direction", "Fault", "Proxy"]

Direction = Literal["up", "down", "both"]

_PROCESS = Path(__file__).resolve().with_name("proxy_process.py")
#: Seconds that the proxy process may take to start, to carry out a command and to end.
_PROXY_TIMEOUT = 30.0


class Fault:
    """A fault that is on; as a context manager it is healed at the end of the block."""

    def __init__(self, proxy: Proxy, heal: dict[str, Any]) -> None:
        self._proxy = proxy
        self._heal = heal

    def heal(self) -> None:
        self._proxy._order(**self._heal)

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()


class Proxy:
    """Listens on a free port of the loopback interface and forwards to the server behind a URL.

    Args:
        target: ``unix:///path/to/socket`` or ``redis://host:port`` (rest of the URL is kept for ``url``).
        seed: for the jitter.
    """

    def __init__(self, target: str, *, seed: int = 0) -> None:
        self._target = urlsplit(target)
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Any = None
        self.port = 0

    def start(self) -> Proxy:
        ours, its = socket.socketpair()
        where = self._target
        address = unquote(where.path) if where.scheme == "unix" else f"{where.hostname}:{where.port or 6379}"
        with its:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROCESS), address, str(its.fileno()), str(self._seed)],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        ours.settimeout(_PROXY_TIMEOUT)
        self._control = ours.makefile("rwb")
        ours.close()  # the file holds it now
        self.port = self._answer()["port"]
        return self

    def stop(self) -> None:
        """End it; whoever is connected sees a reset."""
        if self._process is not None:
            self._control.close()
            self._process.terminate()
            self._process.wait(_PROXY_TIMEOUT)
            self._process = None

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL of the server, by way of the proxy."""
        if self._target.scheme == "unix":
            query = f"?{self._target.query}" if self._target.query else ""
            return f"redis://127.0.0.1:{self.port}{query}"
        user = self._target.netloc.rpartition("@")[0]
        place = f"{user}@127.0.0.1:{self.port}" if user else f"127.0.0.1:{self.port}"
        return urlunsplit(self._target._replace(netloc=place))

    # ---- faults

    def delay(self, seconds: float, *, jitter: float = 0.0, direction: Direction = "both") -> Fault:
        """Everything arrives that much later, plus up to ``jitter`` seconds; in order."""
        return self._switch(direction, {"delay": seconds, "jitter": jitter}, {"delay": 0.0, "jitter": 0.0})

    def throttle(self, rate: float, *, direction: Direction = "both") -> Fault:
        """At most ``rate`` bytes per second and direction, over all connections."""
        return self._switch(direction, {"rate": rate}, {"rate": None})

    def truncate(self, after: int, *, direction: Direction = "down") -> Fault:
        """Each connection passes ``after`` more bytes in this direction, then it is closed in both."""
        return self._switch(direction, {"cut": after}, {"cut": None})

    def swallow(self, direction: Direction = "both") -> Fault:
        """Accept and read, pass nothing on (half-open). What was swallowed is gone, so a connection that
        lost bytes stays dumb in that direction after the healing; new ones work again."""
        return self._switch(direction, {"swallow": True}, {"swallow": False})

    def hold(self, direction: Direction = "both") -> Fault:
        """Pass nothing on, but keep it: all of it arrives after the healing (a partition that TCP outlives)."""
        return self._switch(direction, {"hold": True}, {"hold": False})

    def refuse(self) -> Fault:
        """New connections are refused; open ones live on."""
        self._order(refuse=True)
        return Fault(self, {"refuse": False})

    def reset(self) -> int:
        """End every open connection with RST now; returns how many there were."""
        return int(self._order(reset=True)["reset"])

    def heal(self) -> None:
        """Pass everything again."""
        self._order(heal=True)

    # ---- what it has seen

    @property
    def open(self) -> int:
        """Connections now."""
        return int(self._order()["open"])

    @property
    def accepted(self) -> int:
        """Connections since the start."""
        return int(self._order()["accepted"])

    def passed(self, direction: Literal["up", "down"]) -> int:
        """Bytes that went through."""
        return int(self._order()["passed"][direction])

    def swallowed(self, direction: Literal["up", "down"]) -> int:
        """Bytes that were read and thrown away."""
        return int(self._order()["swallowed"][direction])

    # ---- the wire to the process

    def _switch(self, direction: Direction, on: dict[str, Any], off: dict[str, Any]) -> Fault:
        sides = ["up", "down"] if direction == "both" else [direction]
        self._order(sides=sides, set=on)
        return Fault(self, {"sides": sides, "set": off})

    def _order(self, **order: Any) -> dict[str, Any]:
        if self._process is None:
            raise RuntimeError("The proxy does not run; use it as a context manager, or call start().")
        self._control.write(json.dumps(order).encode() + b"\n")
        self._control.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._control.readline()
        if not line:
            raise RuntimeError("The process of the proxy has ended; its reason is on stderr.")
        return dict(json.loads(line))
