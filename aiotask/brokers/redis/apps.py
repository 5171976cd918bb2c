"""The names of the apps on a server: a set that each app joins when it first sends or works."""

from __future__ import annotations

from typing import Any

from ...errors import BrokerError, ConnectionLost
from .codec import server_url, text
from .connection import Wire
from .keys import APPS, prefix

__all__ = ["Listed", "namespaces"]

#: Member of the set once a scan has found the apps that joined it in no other way: those of older releases.
_COMPLETE = b"."


class Listed:
    """The part of ``RedisBroker`` that joins the set."""

    wire: Wire
    app: str
    _is_listed = False

    async def list_app(self) -> None:
        """Join the set, once for each broker object. Where this user may not write there, commands scan."""
        if self._is_listed:
            return
        self._is_listed = True
        try:
            await self.wire.call("SADD", APPS, self.app)
        except BrokerError as error:
            self._is_listed = not isinstance(error, ConnectionLost)


async def namespaces(url: str) -> list[str]:
    """Names of the apps that have keys on this server: those in the set; a scan finds them if it is not complete."""
    wire = Wire(server_url(url))
    try:
        known = await _members(wire)
        if _COMPLETE not in known:
            return sorted(await _scan(wire))
        names = sorted(map(text, known - {_COMPLETE}))
        return [name for name in names if await wire.call("EXISTS", f"{prefix(name)}queues", f"{prefix(name)}live")]
    finally:
        await wire.close()


async def _members(wire: Wire) -> set[bytes]:
    try:
        return set(await wire.call("SMEMBERS", APPS))
    except ConnectionLost:
        raise
    except BrokerError:
        return set()


async def _scan(wire: Wire) -> set[str]:
    """The names in the keys of the server; from then on the set is complete."""
    found: set[str] = set()
    for suffix in ("queues", "live"):
        cursor: Any = b"0"
        while True:
            cursor, keys = await wire.call("SCAN", cursor, "MATCH", f"aiotask1:{{*}}:{suffix}", "COUNT", 1000)
            found.update(text(key)[len("aiotask1:{") : -len(f"}}:{suffix}")] for key in keys)
            if cursor == b"0":
                break
    try:
        await wire.call("SADD", APPS, _COMPLETE, *found)
    except BrokerError as error:
        if isinstance(error, ConnectionLost):
            raise
    return found
