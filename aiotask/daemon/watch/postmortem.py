"""What is known of a worker process that has ended: facts for the judgement, the keeper and the log."""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass

from ...job import Obituary
from ..board import Started
from ..child import Child
from ..messages import WorkerDeath
from .blame import Blame, End
from .stack_file import is_in_job, last_stack, where

__all__ = ["Postmortem", "how_it_ended", "log_failed_load"]

logger = logging.getLogger("aiotask.supervisor")


@dataclass(frozen=True, slots=True)
class Postmortem:
    """Facts about one worker process; which jobs they count against, ``blame`` judges."""

    #: The process for people.
    title: str
    #: The names under which the process is known to the brokers.
    incarnations: tuple[str, ...]
    end: End
    #: How the process ended, for people, and as one of ``report.EXITS``.
    reason: str
    why: str
    #: Jobs that ran as the process ended.
    started: tuple[Started, ...]
    #: ``SharedBoard.ring``: the last jobs that were started.
    ring: bytes
    #: The stacks that the process wrote last; empty: none.
    dump: str
    obituary: Obituary
    #: Jobs for whose limit the process was killed; see ``WorkerDeath``.
    overdue: dict[str, float]
    exceeded: dict[str, tuple[str, str]]

    @classmethod
    def gather(cls, child: Child, code: int, peak_memory: int, *, out_of_memory: bool = False) -> Postmortem:
        """To be called before the number, the board and the files of the process go to another one.

        Args:
            code: the exit code of the process; negative: the signal.
            peak_memory: bytes that the process held at most; 0: not known.
            out_of_memory: the kernel killed in the memory cgroup of the process just then.
        """
        board, dump = child.board, child.take_stacks()
        killed = bool(child.killed) or child.not_live
        return cls(
            title=child.title,
            incarnations=tuple(board.incarnations),
            end=End(code, killed, child.draining, board.is_alone, is_in_job(dump)),
            reason=_reason(child, code, dump, out_of_memory=out_of_memory),
            why=_why(child, code, out_of_memory=out_of_memory),
            started=tuple(board.started()),
            ring=board.ring(),
            dump=dump,
            obituary=Obituary(
                signal=max(0, -code),
                exit_code=max(0, code),
                peak_memory=peak_memory,
                stack=last_stack(dump) if _is_fatal(dump) else "",
                stderr=child.words.take(),
            ),
            overdue=child.overdue,
            exceeded=child.exceeded,
        )

    def deaths(self, blame: Blame) -> list[WorkerDeath]:
        """What the keeper has to know, per name under which the process worked."""
        return [
            WorkerDeath(
                incarnation=name,
                reason=self.reason,
                blame=blame.ran,
                waited=blame.waited,
                recent=self.ring if blame.recent else b"",
                overdue=self.overdue,
                exceeded=self.exceeded,
                obituary=self.obituary,
            )
            for name in self.incarnations
        ]

    def log(self) -> None:
        """Write it into the log of the supervisor."""
        running = f" while it ran {', '.join(job.id for job in self.started[:5])}" if self.started else ""
        peak = self.obituary.peak_memory
        memory = f" It held {peak / 1e6:,.0f} MB of memory at most." if peak else ""
        logger.warning("%s ended by %s%s.%s", self.title, self.reason, running, memory)
        if self.dump:
            logger.warning("The stacks of %s:\n%s", self.title, self.dump)


def _is_fatal(dump: str) -> bool:
    """Whether these stacks were written as the process died, and not because the supervisor asked for them."""
    return dump.startswith("Fatal")


def _reason(child: Child, code: int, dump: str, *, out_of_memory: bool) -> str:
    """How a process ended, and where it was, for people."""
    reason = child.killed or how_it_ended(code, out_of_memory=out_of_memory)
    if child.loop_error and not child.killed:
        reason += f", since its event loop broke: {child.loop_error}"
    if (_is_fatal(dump) or child.overdue) and (place := where(dump)):
        reason += f" in {place}"
    return reason


def _why(child: Child, code: int, *, out_of_memory: bool) -> str:
    """Why a process ended, as it is counted."""
    if not child.booted:
        return "not_loaded"
    if out_of_memory:
        return "out_of_memory"
    if child.killed or child.overdue:
        return "killed"
    return "signal" if code < 0 else "exit_code" if code else "done"


def log_failed_load(child: Child, how: str, *, ever_up: bool) -> None:
    """Log that a process could not load its apps, or found that their settings are wrong.

    Args:
        how: how the process ended, for people.
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
