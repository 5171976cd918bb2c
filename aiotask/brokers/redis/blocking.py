"""Push over a plain blocking socket, for the last moments of an interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
import redis.exceptions as wrong
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...broker import Finish, Overflow, Push, Room
from ...errors import BrokerError, ConnectionLost, QueueFull
from ..shown import hide_password
from .broker import script
from .keys import prefix
from .messages import overflow, push_arguments, server_url

__all__ = ["load", "push_blocking"]

#: Seconds to wait for the server, to connect as for an answer.
PATIENCE = 5.0


def load() -> None:
    """Read the script: its file cannot be opened any more when the interpreter ends."""
    script("push")


def push_blocking(
    url: str,
    app: str,
    client: str,
    sequence: int,
    batch: Sequence[Push],
    room: Room | None = None,
    drop: Sequence[Finish] = (),
) -> Overflow | None:
    """Accept a batch, as ``RedisBroker.push`` does, in one attempt."""
    push = script("push")
    args: list[Any] = push_arguments(client, sequence, batch, room, drop)
    try:
        with redis.Redis.from_url(
            server_url(url),
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        ) as server:
            return overflow(server.execute_command("EVAL", push.source, 1, prefix(app), *args))
    except wrong.OutOfMemoryError as error:
        raise QueueFull(f'The server at "{hide_password(url)}" is out of memory.') from error
    except (wrong.ConnectionError, wrong.TimeoutError, OSError) as error:
        raise ConnectionLost(f'No answer from the broker at "{hide_password(url)}": {error}.') from error
    except wrong.RedisError as error:
        raise BrokerError(f'The server at "{hide_password(url)}" refused the jobs: {error}') from error
