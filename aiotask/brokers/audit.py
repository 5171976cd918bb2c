"""The audit: what people have done through tools, line by line; the verbs of brokers with the feature ``AUDIT``."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..broker import Broker

__all__ = ["Audit", "AuditEntry"]


class AuditEntry(NamedTuple):
    """One line, sealed by who has written it; ``at`` in Unix seconds, by the broker's clock."""

    at: float
    sealed: bytes


class Audit(Broker, Protocol):
    """A broker that keeps what people have done, the newest ``bounds.AUDIT_LINES`` lines; and, apart from these, what
    they were refused, the newest ``bounds.REFUSALS``."""

    async def note_action(self, sealed: bytes, *, refused: bool = False) -> None:
        """Keep a line; the oldest of its kind goes once there are too many.

        Args:
            refused: the line says that an action was refused.
        """
        ...

    async def actions(self, limit: int = 100, *, refused: bool = False) -> list[AuditEntry]:
        """The newest lines of one kind, the newest first."""
        ...
