"""Brokers: one module per technology, chosen by the URL's scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ..errors import ConfigError
from .shown import hide_password

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..broker import Broker, Finish, Overflow, Push, Room
    from ..inspector import Inspector

__all__ = ["check_url", "connect", "inspect", "namespaces", "push_blocking"]

_REDIS = ("redis", "rediss", "unix", "valkey", "valkeys")
_SCHEMES = (*_REDIS, "memory")
_USE = "Use redis://host:6379/0, rediss://…, unix:///path/to/sock or memory://."


def check_url(url: object) -> str:
    """The URL, if it is one of a broker; nothing is contacted.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(url, str):
        raise ConfigError(f"url={url!r} is not text. {_USE}")
    if fault := _fault(url):
        raise ConfigError(f'"{hide_password(url)}" is not a broker URL: {fault}. {_USE}')
    return url


def _fault(url: str) -> str:
    """What is wrong with a URL. Much of it would go unnoticed later: a database that is no number counts as 0."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its host cannot be parsed"
    if "://" not in url or parts.scheme not in _SCHEMES:
        return f"it does not begin with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}"
    if parts.fragment or "@" in parts.path:
        return "in a user, password or path, write %23 for #, %2F for / and %40 for @"
    try:
        port = parts.port
    except ValueError:
        return "its port is not a number up to 65535 (in a password, write %2F for / and %3A for :)"
    if parts.scheme == "unix":
        return (
            "" if parts.path.strip("/") and not parts.hostname else "the path of a socket is absolute, as in unix:///so"
        )
    if parts.scheme in _REDIS and (port == 0 or (parts.path.strip("/") and not parts.path.strip("/").isdecimal())):
        return "the host must be followed by a port above 0 and a database number"
    return ""


def _scheme(url: str) -> str:
    return urlsplit(check_url(url)).scheme


def connect(url: str, app: str) -> Broker:
    """The broker at a URL, for one app and the running event loop; nothing is sent yet."""
    if _scheme(url) == "memory":
        from .memory.broker import MemoryBroker

        return MemoryBroker(url, app)
    from .redis.broker import RedisBroker

    return RedisBroker(url, app)


def inspect(broker: Broker) -> Inspector:
    """The read side of a broker."""
    # Told by its address: the memory broker is 2 MB of modules that a worker process has no use for.
    if urlsplit(broker.url).scheme == "memory":
        from .memory.broker import MemoryBroker

        assert isinstance(broker, MemoryBroker)
        return broker
    from .redis.broker import RedisBroker
    from .redis.inspector import RedisInspector

    assert isinstance(broker, RedisBroker)
    return RedisInspector(broker)


async def namespaces(url: str) -> list[str]:
    """Names of the apps that have something at this address."""
    if _scheme(url) == "memory":
        from .memory.broker import MemoryBroker

        return MemoryBroker.namespaces(url)
    from .redis.inspector import namespaces

    return await namespaces(url)


class PushBlocking(Protocol):
    """``Broker.push`` over a plain blocking socket: at interpreter exit no loop and no thread can start."""

    def __call__(
        self,
        url: str,
        app: str,
        client: str,
        sequence: int,
        batch: Sequence[Push],
        room: Room | None = None,
        drop: Sequence[Finish] = (),
    ) -> Overflow | None: ...


def push_blocking(url: str) -> PushBlocking:
    """How to push to this URL without a loop. Ask early: at the end nothing can be imported, and no file be opened."""
    if _scheme(url) == "memory":
        from .memory.broker import push_now

        return push_now
    from .redis import blocking

    blocking.load(url)
    return blocking.push_blocking
