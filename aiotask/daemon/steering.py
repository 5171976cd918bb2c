"""What operators ask of a host: that it takes no new jobs, takes them again, or replaces its worker processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from ..log.events import counted
from .child import Child
from .health.vitals import Drain, Vitals
from .messages import HostAnswer, HostRequest, Steered

__all__ = ["Steering"]

logger = logging.getLogger("aiotask.supervisor")

#: Requests whose answers are remembered. A keeper hears far fewer in the seconds in which one may be sent again.
_REMEMBERED = 1_000


class Steering:
    """Obeys the requests that the keeper passes on, each once: one keeper after the other may pass on the same.

    Whether the host is drained stands on the supervisor's page alone, so that it outlives every keeper and worker
    process, and each new one finds it there before its first claim.

    Args:
        replace_all: has these worker processes replaced, one by one.
    """

    def __init__(self, vitals: Vitals, replace_all: Callable[[Collection[Child]], None]) -> None:
        self._vitals = vitals
        self._replace_all = replace_all
        self._answers: dict[str, tuple[bool, str]] = {}

    def obey(self, asked: HostRequest, children: Collection[Child]) -> HostAnswer:
        """Do what is asked, unless it was done already; the answer for the keeper."""
        if asked.id not in self._answers:
            self._answers[asked.id] = self._do(asked, children)
            while len(self._answers) > _REMEMBERED:
                del self._answers[next(iter(self._answers))]
        return HostAnswer(asked.request, *self._answers[asked.id])

    def _do(self, asked: HostRequest, children: Collection[Child]) -> tuple[bool, str]:
        drained = self._vitals.drained
        match asked.verb:
            case "drain" if drained is not None:
                return True, f"It was drained already, by {drained.by or 'an unknown operator'}."
            case "drain":
                self._steer(Drain(asked.at, asked.by), children)
                logger.info("Drained by %s: no new jobs are taken, and running ones end.", asked.by)
                running = sum(len(child.board.started()) for child in children)
                return True, f"It takes no new jobs; {counted(running, 'job')} still {_runs(running)}."
            case "resume" if drained is None:
                return False, "It was not drained."
            case "resume":
                self._steer(None, children)
                logger.info("Resumed by %s: jobs are taken again.", asked.by)
                return True, "It takes jobs again."
            case "recycle" if self._vitals.stopping:
                return False, "It is stopping, so no process is replaced."
            case "recycle":
                logger.info("Recycled by %s.", asked.by)
                self._replace_all(children)
                return True, f"{counted(len(children), 'worker process')} {_are(children)} replaced one by one."
        return False, f'Its release of aiotask does not know "{asked.verb}". Update it.'

    def _steer(self, drain: Drain | None, children: Collection[Child]) -> None:
        self._vitals.drain(drain)
        for child in children:
            child.send(Steered())


def _runs(number: int) -> str:
    return "runs" if number == 1 else "run"


def _are(children: Collection[Child]) -> str:
    return "is" if len(children) == 1 else "are"
