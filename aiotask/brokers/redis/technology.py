"""Redis and Valkey as a technology. Its modules, and redis-py, are loaded at first use."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from ..technology import (
    AUDIT,
    DUE_NOW,
    EXPIRY,
    GRAPHS,
    HIDES,
    HISTORY,
    LIMITS,
    METRICS,
    MOVE,
    PAUSES,
    PROCESSES,
    SCHEDULES,
    STREAMS,
    UNIQUE,
    Technology,
)

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from ...broker import Broker
    from ...inspector import Inspector
    from ..technology import PushBlocking, PushGraphBlocking

__all__ = ["REDIS"]


def _connect(url: str, app: str) -> Broker:
    from .broker import RedisBroker

    return RedisBroker(url, app)


def _inspect(broker: Broker) -> Inspector:
    from .broker import RedisBroker
    from .inspector import RedisInspector

    assert isinstance(broker, RedisBroker)
    return RedisInspector(broker)


async def _namespaces(url: str) -> list[str]:
    from .apps import namespaces

    return await namespaces(url)


def _push_blocking(url: str) -> PushBlocking:
    from . import blocking

    blocking.load(url)
    return blocking.push_blocking


def _push_graph_blocking(url: str) -> PushGraphBlocking:
    from . import blocking

    blocking.load(url)
    return blocking.push_graph_blocking


def _check_url(parts: SplitResult) -> str:
    path = parts.path.strip("/")
    if parts.scheme == "unix":
        return "" if path and not parts.hostname else "the path of a socket is absolute, as in unix:///so"
    if parts.port == 0 or (path and not path.isdecimal()):
        return "the host must be followed by a port above 0 and a database number"
    return ""


def _is_private(url: str) -> bool:
    """Whether it is a socket file, or a loopback address."""
    parts = urlsplit(url)
    # redis-py takes a host from the query where none stands in its place.
    host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "localhost")
    if parts.scheme == "unix" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


REDIS = Technology(
    connect=_connect,
    inspect=_inspect,
    namespaces=_namespaces,
    push_blocking=_push_blocking,
    check_url=_check_url,
    is_private=_is_private,
    features=frozenset(
        {
            AUDIT,
            DUE_NOW,
            EXPIRY,
            GRAPHS,
            HIDES,
            HISTORY,
            LIMITS,
            METRICS,
            MOVE,
            PAUSES,
            PROCESSES,
            SCHEDULES,
            STREAMS,
            UNIQUE,
        }
    ),
    examples=("redis://host:6379/0", "rediss://…", "unix:///path/to/sock"),
    push_graph_blocking=_push_graph_blocking,
)
