"""The audit on Redis: a stream of the newest actions, and one of the newest refusals."""

from __future__ import annotations

from ..audit import AuditEntry
from ..bounds import AUDIT_LINES, REFUSALS
from .codec import text
from .connection import Wire

__all__ = ["AuditVerbs"]


class AuditVerbs:
    """The verbs of ``Audit``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str

    async def note_action(self, sealed: bytes, *, refused: bool = False) -> None:
        most = REFUSALS if refused else AUDIT_LINES
        await self.wire.call("XADD", self._stream(refused), "MAXLEN", most, "*", "a", sealed)

    async def actions(self, limit: int = 100, *, refused: bool = False) -> list[AuditEntry]:
        found = await self.wire.call("XREVRANGE", self._stream(refused), "+", "-", "COUNT", limit)
        return [
            AuditEntry(int(text(entry).partition("-")[0]) / 1000, fields[fields.index(b"a") + 1])
            for entry, fields in found
            if b"a" in fields[::2]
        ]

    def _stream(self, refused: bool) -> str:
        return f"{self.prefix}{'refusals' if refused else 'audit'}"
