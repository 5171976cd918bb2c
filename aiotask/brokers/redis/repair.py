"""Repairs the index of jobs, and what is known of limits, when it, or a part of it, was deleted by hand."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from .connection import Wire
from .letters import mend_facts
from .script import script

__all__ = ["audit"]

logger = logging.getLogger("aiotask.keeper")

#: Pages of the index that one call repairs at most.
_PAGES = 20


async def audit(wire: Wire, prefix: str, *, graphs: bool) -> None:
    """Check one page of the index, or up to 20 pages when the whole index was deleted.

    Args:
        graphs: whether there may be graphs, whose nodes are checked too.

    Raises:
        BrokerError: the server failed a command.
    """
    for page in range(_PAGES):
        _, found, is_lost, is_limited, is_bare = await wire.run(script("audit"), prefix, "1" if graphs else "")
        if is_limited:
            await _mend_limits(wire, prefix)
        if is_bare:
            await mend_facts(wire, prefix)
        if not is_lost:
            return
        if not page:
            await _gather_buckets(wire, f"{prefix}index")
        if not found:
            # The index is complete again. Without "." in it, no caller was told that a job is unknown.
            await wire.call("SADD", f"{prefix}index", ".")
            return


async def _mend_limits(wire: Wire, prefix: str) -> None:
    unrecorded, strays = await wire.run(script("mend_lines"), prefix)
    if unrecorded:
        logger.warning(
            "%d of the jobs that their limits have admitted had no record: the hash %sadmitted was deleted, or a part "
            "of it. They are recorded again; until then, more jobs may have run than the limits allow.",
            unrecorded,
            prefix,
        )
    if unrecorded or strays:
        # Slots of jobs that have ended since then are in no set that anything leads to.
        async for names in _scanned(wire, f"{prefix}slots:"):
            await wire.run(script("free_slots"), prefix, *(name[len(prefix) :] for name in names))


async def _gather_buckets(wire: Wire, index: str) -> None:
    """Restore the set of the buckets, without which the buckets would stay for ever."""
    async for names in _scanned(wire, f"{index}:"):
        await wire.call("SADD", index, *(name[len(index) + 1 :] for name in names))


async def _scanned(wire: Wire, beginning: str) -> AsyncIterator[list[bytes]]:
    """Pages of the keys whose names begin like this."""
    cursor = b"0"
    while True:
        cursor, names = await wire.call("SCAN", cursor, "MATCH", f"{beginning}*", "COUNT", 1000)
        if names:
            yield names
        if cursor == b"0":
            return
