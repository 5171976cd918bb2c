"""The audit: what people have done."""

from __future__ import annotations

from typing import Any

from ...brokers.bounds import AUDIT_LINES
from ..audit import read_audit
from .look import Look

__all__ = ["audit"]


async def audit(look: Look) -> dict[str, Any]:
    lines = await read_audit(look.place, AUDIT_LINES)
    text, verb, ended = (look.asked(name) for name in ("q", "verb", "ended"))
    found = [
        line
        for line in lines
        if verb in ("", line["verb"])
        and ended in ("", line["ended"])
        and text.casefold()
        in f"{line['who']} {line['subject']} {line['said']} {line['source']} {line['action']}".casefold()
    ]
    start = look.start
    following = str(start + look.rows) if len(found) > start + look.rows else ""
    return {
        "title": "Audit",
        "lines": found[start : start + look.rows],
        "after": following,
        "verbs": sorted({line["verb"] for line in lines}),
        "endings": sorted({line["ended"] for line in lines}),
        "total": len(lines),
        "q": text,
        "verb": verb,
        "ended": ended,
    }
