"""The audit on Redis: a stream of the newest lines."""

from __future__ import annotations

from ..audit import AuditEntry
from ..bounds import AUDIT_LINES
from .codec import text
from .connection import Wire

__all__ = ["AuditVerbs"]


class AuditVerbs:
    """The verbs of ``Audit``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str

    async def note_action(self, sealed: bytes) -> None:
        await self.wire.call("XADD", f"{self.prefix}audit", "MAXLEN", AUDIT_LINES, "*", "a", sealed)

    async def actions(self, limit: int = 100) -> list[AuditEntry]:
        found = await self.wire.call("XREVRANGE", f"{self.prefix}audit", "+", "-", "COUNT", limit)
        return [
            AuditEntry(int(text(entry).partition("-")[0]) / 1000, fields[fields.index(b"a") + 1])
            for entry, fields in found
            if b"a" in fields[::2]
        ]
