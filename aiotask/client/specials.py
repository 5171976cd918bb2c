"""What few jobs have on their way to the broker: fields of ``Job.more``, and what the broker has to know of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..broker import Special, special_of
from ..brokers import require
from ..brokers.technology import UNIQUE
from ..job import More

if TYPE_CHECKING:
    from ..context import JobContext
    from ..tasks.task import Definition
    from .client import Client
    from .session import Session

__all__ = ["more_for", "special_for"]


def more_for(
    client: Client,
    session: Session,
    parent: JobContext | None,
    id: str,
    more: More | None,
    headers: dict[str, str] | None,
) -> More:
    """``Job.more`` of a job with headers, or of one that a job sends, which is listed among that job's children."""
    if parent is not None:
        client.list_child(session, parent, id)
    return msgspec.structs.replace(more or More(), parent=parent.id if parent is not None else "", headers=headers)


def special_for(client: Client, session: Session, task: Definition, id: str, more: More, ttl: float) -> Special | None:
    """What the broker has to know of a job with these fields and this result TTL (seconds); None: nothing. Its limit is
    declared before.

    Raises:
        ConfigError: the broker lacks what the job needs.
    """
    if more.unique:
        require(client.url, UNIQUE, "unique= or on_conflict=")
        session.send_buffer.is_answered = True
    special = special_of(more, ttl)
    if special is not None and special.limit:
        client.meet_limit(session, task.more["limit"].spec, id, special.limit)
    return special
