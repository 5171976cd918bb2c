"""The row of the SQLite broker: what ``sqlite://`` means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult

from aiotask.broker import Broker, Finish, Overflow, Push, Room
from aiotask.brokers.technology import HISTORY, PROCESSES, PushBlocking, Technology
from aiotask.inspector import Inspector

from .broker import SqliteBroker, directory_of

__all__ = ["SQLITE"]


def inspect(broker: Broker) -> Inspector:
    assert isinstance(broker, SqliteBroker)
    return broker


async def namespaces(url: str) -> list[str]:
    return sorted(path.stem for path in directory_of(url).glob("*.db"))


def push_now(
    url: str,
    app: str,
    client: str,
    sequence: int,
    batch: Sequence[Push],
    room: Room | None = None,
    drop: Sequence[Finish] = (),
) -> Overflow | None:
    broker = SqliteBroker(url, app)
    try:
        return broker.accept(client, sequence, batch, room, drop)
    finally:
        broker.disconnect()


def push_blocking(url: str) -> PushBlocking:
    return push_now


def check_url(parts: SplitResult) -> str:
    is_absolute = not parts.netloc and Path(parts.path).is_absolute() and parts.path.strip("/")
    return "" if is_absolute else "the path of its directory is absolute, as in sqlite:///var/lib/jobs"


SQLITE = Technology(
    connect=SqliteBroker,
    inspect=inspect,
    namespaces=namespaces,
    push_blocking=push_blocking,
    check_url=check_url,
    is_private=lambda url: True,
    features=frozenset({HISTORY, PROCESSES}),
    examples=("sqlite:///directory",),
)
