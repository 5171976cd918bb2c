"""Notifications to systemd: datagrams to the socket in ``NOTIFY_SOCKET``, as ``sd_notify(3)`` describes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

__all__ = ["Notify"]


class Notify:
    """Notifies the service manager that has started this process, if it asks for that; otherwise nothing is sent.

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
        #: Seconds between two signs of life, half of what systemd waits for them; None: it does not.
        self.interval: float | None = None
        if self._socket and watchdog.isdecimal() and int(watchdog) and meant in ("", str(os.getpid())):
            self.interval = int(watchdog) / 2e6
        self._beat = 0.0
        self._status = ""

    def ready(self) -> None:
        """The start, or the replacement of all processes, is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The processes are being replaced."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, seconds: float) -> None:
        """The process ends, and takes up to these seconds for that, whatever the unit allows."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """One line for people; sent when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def beat(self) -> None:
        """All processes are alive; sent as often as systemd waits for it."""
        if self.interval is not None and time.monotonic() - self._beat >= self.interval:
            self._beat = time.monotonic()
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            # A full or vanished socket is no reason to stop working.
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """In a child, which sends no notifications."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
