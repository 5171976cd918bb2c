"""Lines of the audit: who did what, from where, with how many, and how it ended.

An action on many things has a line when it begins, too: if its process is killed, nothing else tells of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from ..brokers import audit_of, features
from ..brokers.bounds import AUDIT_LINES
from ..brokers.technology import AUDIT
from ..errors import BrokerError, SealError
from ..wire.seal import Sealer
from .connection import Connection, Place, inspectors

__all__ = ["AUDIT_LINES", "BEGUN", "DONE", "FAILED", "REFUSED", "STOPPED", "AuditLine", "note", "read_audit"]

#: How an action ended: as asked; refused, since the visitor may not; with an error; or stopped on the way. Of one on
#: many things a line tells that it has begun.
DONE, REFUSED, FAILED, STOPPED, BEGUN = "done", "refused", "failed", "stopped", "begun"

logger = logging.getLogger("aiotask.audit")

#: Characters of each part of a line at most.
_LONGEST = 500


class AuditLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One action, as it is kept."""

    who: str
    #: Where the visitor came from: an address, ``cli`` or ``top``.
    source: str
    verb: str
    #: What it was done to, in words.
    subject: str
    #: How many jobs, letters or other things it was done with.
    number: int = 0
    #: ``done``, ``refused``, ``failed`` or ``stopped``; ``begun``: its end is another line.
    ended: str = DONE
    #: What there is to say about the end; empty: nothing.
    said: str = ""
    #: The same in both lines of an action, which begins and ends; empty: this is its only line.
    action: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AuditLine).decode


async def note(opened: Iterable[Connection], line: AuditLine, lost: str = "") -> None:
    """Write a line into the log, and keep it with every app that was concerned.

    What was done is done: that a server cannot keep the line is logged, and no error.

    Args:
        lost: why the app that was concerned could not be opened; empty: all are here.
    """
    line = msgspec.structs.replace(
        line, **{name: getattr(line, name)[:_LONGEST] for name in ("who", "source", "verb", "subject", "said")}
    )
    try:
        for each in opened:
            if AUDIT in features(each.broker.url):
                lost = await _keep(each, line) or lost
    except BaseException as error:
        lost = f"it was not kept in time ({type(error).__name__})"
        raise
    finally:
        _log(line, lost)


async def _keep(connection: Connection, line: AuditLine) -> str:
    """Keep a line with an app; why the server cannot, if so."""
    try:
        sealed = Sealer(connection.secrets, "audit").seal(_encode(line))
        await audit_of(connection.broker).note_action(sealed, refused=line.ended == REFUSED)
    except BrokerError as error:
        return str(error)
    return ""


def _log(line: AuditLine, lost: str) -> None:
    """Args:
    lost: why the line is in this log alone; empty: the server has it, too.
    """
    level = logging.WARNING if lost or line.ended == REFUSED else logging.INFO
    said = f": {line.said}" if line.said else ""
    alone = f" (in this log alone, since the server cannot keep it: {lost})" if lost else ""
    # Text of others in a log: quoted, so that it cannot pass for another line.
    logger.log(
        level,
        "%s %s %s%s: %s by %s from %s%s%s",
        line.verb,
        _quoted(line.subject),
        line.ended,
        f" (action {line.action})" if line.action else "",
        f"{line.number:,}",
        _quoted(line.who),
        _quoted(line.source),
        _quoted(said),
        _quoted(alone),
    )


def _quoted(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


async def read_audit(place: Place, limit: int) -> list[dict[str, Any]]:
    """The newest actions and refusals of the named app or of all apps, the newest first."""
    found: list[dict[str, Any]] = []
    async with inspectors(place) as opened:
        for each in opened:
            if AUDIT in features(each.broker.url):
                sealer = Sealer(each.secrets, "audit")
                audit = audit_of(each.broker)
                for entry in [*await audit.actions(limit), *await audit.actions(limit, refused=True)]:
                    found.append({"app": each.name, "at": entry.at, **_opened(sealer, entry.sealed)})
    return sorted(found, key=lambda line: -line["at"])[:limit]


def _opened(sealer: Sealer, sealed: bytes) -> dict[str, Any]:
    try:
        line = _decode(sealer.open(sealed))
    except (SealError, msgspec.MsgspecError) as error:
        line = AuditLine("?", "?", "?", "?", ended="unreadable", said=str(error))
    return msgspec.structs.asdict(line)
