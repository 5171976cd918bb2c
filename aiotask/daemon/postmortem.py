"""What is known of a worker process that has ended, and who is to blame for it."""

from __future__ import annotations

import logging
import signal
from typing import Any

from ..broker import Obituary
from .forked import Forked
from .stacks import is_in_job, last_stack, where

__all__ = ["Postmortem", "how_it_ended"]

logger = logging.getLogger("aiotask.supervisor")

#: Signals that no job brings upon its process, unless it sends them.
_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGQUIT}


class Postmortem:
    """Made before the number, the page and the files of the process go to another one.

    Args:
        code: its exit code; negative: the signal.
        peak_memory: bytes that it held at most; 0: not known.
        out_of_memory: the kernel killed in its memory cgroup just then.
    """

    def __init__(self, child: Forked, code: int, peak_memory: int = 0, *, out_of_memory: bool = False) -> None:
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
        alone = child.board.is_alone
        ran = [job.id for job in self._started if not (alone and job.away)] if self.own_fault else []
        #: Who only waits for another job's outcome beside a suspect is to blame if nobody else is.
        waited = [job.id for job in self._started if alone and job.away] if self.own_fault else []
        # It need not have been what ran: what had ended may have left something behind. Of that the keeper finds
        # what nobody was told of; after a clean end there is none.
        in_doubt = not is_killed and not child.draining and code not in _FROM_OUTSIDE
        certain = is_in_job(self._dump) or (alone and ran)
        self._blame = {"blame": ran, "waited": waited, "recent": child.board.ring() if in_doubt and not certain else ""}

    def notices(self) -> list[dict[str, Any]]:
        """What the keeper has to know, per name under which the process worked."""
        return [
            {
                "incarnation": name,
                "reason": self.reason,
                **self._blame,
                "obituary": [getattr(self._obituary, field) for field in Obituary.__struct_fields__],
                "overdue": self._child.overdue,
                "exceeded": self._child.exceeded,
            }
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
