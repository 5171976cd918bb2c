"""Push over a plain blocking socket, at interpreter exit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import redis
import redis.exceptions as wrong
from redis._parsers import _RESP2Parser  # the usual one imports hiredis when it connects
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...broker import Finish, Overflow, Push, Room
from ...errors import BrokerError, ConnectionLost, QueueFull
from ..graphs import Part, Taken
from ..shown import hide_password
from .codec import overflow, push_arguments, server_url
from .connection import UNNAMED, parse
from .graphs import graph_arguments
from .keys import prefix
from .script import script

__all__ = ["load", "push_blocking", "push_graph_blocking"]

#: Seconds in which the server has to accept the connection, and in which it has to answer.
ANSWER_TIMEOUT = 5.0


#: Connection objects that are not connected, by URL.
_spare: defaultdict[str, list[Any]] = defaultdict(list)


def load(url: str) -> None:
    """Read the scripts, and make a connection object: at interpreter exit no file can be opened, and redis-py cannot
    import the modules that a new one needs.

    Raises:
        ConfigError: the URL has options that redis-py does not know, or values that it does not take.
    """
    parse(url, ANSWER_TIMEOUT)
    for name in ("push", "push_special", "push_unique", "graph"):
        script(name)
    "localhost".encode("idna")
    if not _spare[url]:
        _spare[url].append(_make(url))


def _make(url: str) -> Any:
    options = {
        "socket_timeout": ANSWER_TIMEOUT,
        "socket_connect_timeout": ANSWER_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
        "parser_class": _RESP2Parser,
        **UNNAMED,
    }
    pool = redis.ConnectionPool.from_url(server_url(url), **options)
    return pool.connection_class(**{**pool.connection_kwargs, **options})


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
    return overflow(_run(url, app, *push_arguments(client, sequence, batch, room, drop)))


def push_graph_blocking(url: str, app: str, client: str, sequence: int, part: Part, room: Room | None = None) -> Taken:
    """Take a part of a graph, as ``RedisBroker.push_graph`` does, in one attempt."""
    return Taken(_run(url, app, "graph", graph_arguments(client, sequence, part, room)))


def _run(url: str, app: str, name: str, args: list[Any]) -> Any:
    """What the server replies to a script."""
    source = script(name).source
    try:
        # A signal handler may push in the middle of this push: that push takes another connection.
        connection = _spare[url].pop()
    except IndexError:
        connection = _make(url)
    try:
        connection.connect()
        connection.send_command("EVAL", source, 1, prefix(app), *args)
        return connection.read_response()
    except wrong.OutOfMemoryError as error:
        raise QueueFull(f'The server at "{hide_password(url)}" is out of memory.') from error
    except (wrong.ConnectionError, wrong.TimeoutError, OSError) as error:
        raise ConnectionLost(f'No answer from the broker at "{hide_password(url)}": {error}.') from error
    except wrong.RedisError as error:
        raise BrokerError(f'The server at "{hide_password(url)}" rejected the jobs: {error}') from error
    finally:
        connection.disconnect()
        _spare[url].append(connection)
