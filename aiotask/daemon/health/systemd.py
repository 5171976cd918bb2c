"""What systemd is told: datagrams to the socket in ``NOTIFY_SOCKET``, as ``sd_notify(3)`` describes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

__all__ = ["Notify"]


class Notify:
    """Says how this process stands, to whoever started it and wants to know; otherwise every word is unheard.

    The variables are taken out of the environment: what a task starts must not speak for this process.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        watchdog, meant = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        # An abstract socket is written with an @.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address[:1] in ("/", "@") else None
        if self._socket is not None:
            self._socket.setblocking(False)
        #: Seconds between two signs of life, half of what they are awaited for; None: nobody waits for them.
        self.interval: float | None = None
        if self._socket and watchdog.isdecimal() and int(watchdog) and meant in ("", str(os.getpid())):
            self.interval = int(watchdog) / 2e6
        self._beat = 0.0
        self._status = ""

    def ready(self) -> None:
        """The start, or the replacement of all processes, is over."""
        self._say("READY=1")

    def reloading(self) -> None:
        """The processes are being replaced."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, seconds: float) -> None:
        """It ends, and has so many seconds for that, whatever the unit allows."""
        self._say("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """One line for people; said when it changes."""
        if text != self._status:
            self._status = text
            self._say(f"STATUS={text}")

    def beat(self) -> None:
        """All is alive; passed on as often as somebody waits for it."""
        if self.interval is not None and time.monotonic() - self._beat >= self.interval:
            self._beat = time.monotonic()
            self._say("WATCHDOG=1")

    def _say(self, *lines: str) -> None:
        if self._socket is not None:
            # A full or vanished socket is no reason to stop working.
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """In a child, which says nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
