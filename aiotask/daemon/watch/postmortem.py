"""What is known of a worker process that has ended, and who is to blame for it."""

from __future__ import annotations

import logging
import signal

from ...broker import Obituary
from ..child import Forked
from ..messages import WorkerDeath
from .blame import End, Signalled, blame, is_from_outside
from .stack_file import is_in_job, last_stack, where

__all__ = ["Postmortem", "how_it_ended", "say_it_did_not_load"]

logger = logging.getLogger("aiotask.supervisor")


class Postmortem:
    """Made before the number, the page and the files of the process go to another one.

    Args:
        code: its exit code; negative: the signal.
        peak_memory: bytes that it held at most; 0: not known.
        signalled: counts the ends by signals from outside.
        out_of_memory: the kernel killed in its memory cgroup just then.
    """

    def __init__(
        self, child: Forked, code: int, peak_memory: int, signalled: Signalled, *, out_of_memory: bool = False
    ) -> None:
        self._child = child
        self._dump = child.told_stacks()
        self._started = child.board.started()
        is_killed = bool(child.killed) or child.not_live
        #: How it ended, for people.
        self.reason = child.killed or how_it_ended(code, out_of_memory=out_of_memory)
        if child.broke and not child.killed:
            self.reason += f", since its event loop broke: {child.broke}"
        if (self._dump.startswith("Fatal") or child.overdue) and (place := where(self._dump)):
            self.reason += f" in {place}"
        self._peak_memory = peak_memory
        self._obituary = Obituary(
            max(0, -code),
            max(0, code),
            peak_memory,
            last_stack(self._dump) if self._dump.startswith("Fatal") else "",
            child.words.take(),
        )
        #: It died by itself, or by what it ran.
        self.own_fault = not is_killed and (code != 0 or bool(self._started))
        #: A signal ended it that an operator sent, or another program.
        self.from_outside = not is_killed and is_from_outside(code)
        end = End(code, is_killed, child.draining, child.board.is_alone, is_in_job(self._dump))
        found = blame(
            end, self._started, signalled.count([job.id for job in self._started]) if self.from_outside else {}
        )
        self._blame = found
        self._recent = child.board.ring() if found.recent else b""

    def deaths(self) -> list[WorkerDeath]:
        """What the keeper has to know, per name under which the process worked."""
        return [
            WorkerDeath(
                incarnation=name,
                reason=self.reason,
                blame=self._blame.ran,
                waited=self._blame.waited,
                recent=self._recent,
                overdue=self._child.overdue,
                exceeded=self._child.exceeded,
                obituary=self._obituary,
            )
            for name in self._child.board.incarnations
        ]

    def say(self) -> None:
        """In the log of the supervisor."""
        child = self._child
        running = f" while it ran {', '.join(job.id for job in self._started[:5])}" if self._started else ""
        peak = f" It held {self._peak_memory / 1e6:,.0f} MB of memory at most." if self._peak_memory else ""
        logger.warning("worker-%d (pid %d) ended by %s%s.%s", child.number, child.pid, self.reason, running, peak)
        if self._dump:
            logger.warning("The stacks of worker-%d (pid %d):\n%s", child.number, child.pid, self._dump)


def say_it_did_not_load(child: Forked, how: str, *, ever_up: bool) -> None:
    """In the log of the supervisor: a process could not load its apps, or found that their settings are wrong.

    Args:
        how: it ended.
        ever_up: another process has been in service before.
    """
    reason = child.failure or f"it ended by {how} while it was imported"
    if child.replaces is not None:
        what = "The new settings are wrong" if child.misused else "The new code does not load"
        logger.error("%s, so the old processes keep running. %s", what, reason)
    elif ever_up:
        what = "has wrong settings" if child.misused else "could not load the app"
        logger.error("A new worker process %s; trying again: %s", what, reason)
    else:
        what = "" if child.misused else "The app could not be loaded. "
        logger.error("%s%s", what, reason, extra={"facts": {"event": "not_started"}})


def how_it_ended(code: int, *, out_of_memory: bool = False) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "?"
    if -code == signal.SIGKILL:
        name += (
            ", by the kernel: likely out of memory"
            if out_of_memory
            else ": from outside, perhaps by the kernel for want of memory"
        )
    return f"signal {-code} ({name})"
