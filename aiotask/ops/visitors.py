"""Who looks and acts: the verbs, what a visitor may do, and the roles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from ..errors import AiotaskError, ConfigError
from ..parts.pausing import this_user
from .likely import likely

__all__ = ["ACTS", "READS", "ROLES", "NotAllowed", "Verb", "Visitor", "operator", "verbs_named"]


class Verb(StrEnum):
    """What people can do. Each verb is one permission, and one line of the audit."""

    PAUSE = "pause"
    RESUME = "resume"
    #: End the pending jobs of a queue.
    PURGE = "purge"
    CANCEL = "cancel"
    #: Run at once what is scheduled: a job, or the call of a schedule.
    RUN_NOW = "run_now"
    #: Send a job again, as a new job.
    RESEND = "resend"
    #: Put jobs into another queue, under their ids.
    MOVE = "move"
    #: Run a dead letter, or the failed jobs of a graph, again under their ids.
    REPLAY = "replay"
    #: Remove a dead letter for good.
    DISCARD = "discard"
    #: Remove a schedule.
    REMOVE = "remove"
    SET_LIMIT = "set_limit"
    RESET_LIMIT = "reset_limit"
    #: Ask hosts where their processes stand.
    STACKS = "stacks"
    #: Have a host take no new jobs; RESUME ends that.
    DRAIN = "drain"
    #: Have a host replace its worker processes.
    RECYCLE = "recycle"


#: What a visitor of each role may do; every visitor may look.
READS: frozenset[str] = frozenset()
ACTS: frozenset[str] = frozenset(Verb)
ROLES = {"read": READS, "act": ACTS}


@dataclass(frozen=True)
class Visitor:
    """Somebody who looks, and may act.

    Attributes:
        name: for the audit, and for those who find a queue paused.
        may: the verbs that are allowed.
        source: where the visitor comes from: an address, ``cli`` or ``top``.
    """

    name: str
    may: Collection[str] = READS
    source: str = ""


class NotAllowed(AiotaskError):
    """A visitor has asked for a verb that is not allowed; nothing was done."""

    def __init__(self, visitor: Visitor, verb: Verb) -> None:
        allowed = ", ".join(map(_written, sorted(visitor.may))) or "only look"
        super().__init__(
            f'Nothing was done: "{visitor.name}" may not {verb.replace("_", " ")}. Allowed: {allowed}. Whoever runs '
            "the dashboard can allow it: the role act in the users file, and no --read-only or --allow without it."
        )


def operator() -> Visitor:
    """The user of this process, who may do everything that the secret and the server allow."""
    return Visitor(this_user(), ACTS, "cli")


def _written(verb: str) -> str:
    """A verb as people write it in options."""
    return verb.replace("_", "-")


def verbs_named(names: Collection[str]) -> frozenset[str]:
    """Some verbs by their names, with hyphens or underscores.

    Raises:
        ConfigError: there is no such verb.
    """
    found = {name.strip().lower().replace("-", "_") for name in names if name.strip()}
    verbs = [_written(verb) for verb in sorted(ACTS)]
    for name in map(_written, sorted(found - ACTS)):
        raise ConfigError(f'There is no verb "{name}".{likely(name, verbs)} Verbs: {", ".join(verbs)}.')
    return frozenset(found)
