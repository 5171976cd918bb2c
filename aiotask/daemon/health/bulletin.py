"""What the supervisor publishes at every turn: on its page for the keeper, and to systemd."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Collection

from ...log.events import counted
from ..child import Child
from .systemd import Notify
from .vitals import Vitals

__all__ = ["Bulletin"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds for which a keeper's verdict holds: as long as the next keeper may be on its way.
VERDICT_LIFETIME = 15.0


class Bulletin:
    """Made before any fork.

    Args:
        stop_timeout: seconds that a stop may take at most.
    """

    def __init__(self, stop_timeout: float) -> None:
        self.vitals = Vitals()
        self._notify = Notify(os.environ)
        self._stop_timeout = stop_timeout
        #: Whether all wanted processes have been in service at the same time.
        self._complete = False
        self._reloading = False
        self._stopping = False

    def reloading(self) -> None:
        """All processes are going to be replaced."""
        if self._complete:
            self._reloading = True
            self._notify.reloading()

    def turn(self, children: Collection[Child], wanted: int, apps: int, *, rolling: bool, stopping: bool) -> None:
        """Publish that the loop has turned once more.

        Args:
            apps: how many apps are served; 0: that is not known yet.
            rolling: some processes are still to be replaced.
        """
        serving = [child for child in children if apps and child.is_up and not child.draining]
        complete = self._complete or 0 < wanted <= len(serving)
        if complete and not self._complete and not stopping:
            self._notify.ready()
            how = " Ctrl-C to stop." if _on_a_terminal() else ""
            logger.info("Ready: %s.%s", counted(len(serving), "worker process"), how)
        self._complete = complete
        if self._reloading and not rolling and not any(child.replaces for child in children):
            self._reloading = False
            self._notify.ready()
        if stopping and not self._stopping:
            self._stopping = True
            self._notify.stopping(self._stop_timeout)
        self.vitals.turn(wanted, len(serving), stopping=stopping, complete=complete)
        self._notify.status(self._status(len(children), len(serving), wanted))
        if self._is_alive():
            self._notify.beat()

    def _status(self, children: int, serving: int, wanted: int) -> str:
        if self._stopping:
            return f"Stopping: {counted(children, 'worker process')} still running."
        what = "Drained; " if self.vitals.is_drained() else ""
        what += "Replacing the worker processes; " if self._reloading else ""
        return f"{what}{serving} of {counted(wanted, 'worker process')} ready"

    def _is_alive(self) -> bool:
        """Whether more than this loop is alive: the keeper judges itself and the workers."""
        at, live = self.vitals.judged
        if not at:
            # Before an app is loaded there is no keeper.
            return not self._complete
        return live and time.monotonic() - at < VERDICT_LIFETIME

    def close(self) -> None:
        """In a child, which does not speak for the supervisor."""
        self._notify.close()


def _on_a_terminal() -> bool:
    """Whether stderr is a terminal, so that its reader can press Ctrl-C."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
